"""The truth of `make_sky` follows from its light, and its parts do what they say."""

import numpy as np
import pytest

from galaxysegment.datasets import make_sky
from galaxysegment.structures import (
    ARTEFACT,
    CIRRUS,
    CLASS_NAMES,
    DIFFUSE,
    GALAXY,
    SKY,
    STAR,
    TRAIL,
    VOID,
)

pytest.importorskip("galsim")

EMPTY = {
    "density": 0.0,
    "large_galaxies": 0.0,
    "clusters": 0.0,
    "bright_stars": 0.0,
    "satellites": 0.0,
    "cosmic_rays": 0.0,
    "mosaic": False,
    "sky_gradient": 0.0,
}


def light_over_noise(field):
    """All light over the noise, from the RMS map, which knows the light without noise."""
    variance = field.rms.astype(np.float64) ** 2
    return (variance - 9.0**2 - 500.0) / field.rms


@pytest.fixture(scope="module")
def rich():
    return make_sky(
        (384, 400),
        large_galaxies=12,
        bright_stars=20,
        clusters=1,
        cirrus=0.7,
        satellites=4,
        cosmic_rays=100,
        mosaic=False,
        sky_gradient=0.0,
        random_state=3,
    )


def test_every_class_is_where_its_light_is(rich):
    field, class_map = rich
    assert {int(value) for value in np.unique(class_map)} == set(CLASS_NAMES)
    snr = light_over_noise(field)
    for code in (GALAXY, STAR, ARTEFACT, TRAIL):
        assert snr[class_map == code].min() > 0.999, CLASS_NAMES[code]
    for code in (DIFFUSE, CIRRUS):
        assert snr[class_map == code].min() > 0.499, CLASS_NAMES[code]
    # the sky holds the light of sources too faint for a label, and of the edges of others
    assert snr[class_map == SKY].mean() < 0.6


def test_labels_and_classes_agree(rich):
    field, class_map = rich
    assert class_map.dtype == np.int8
    things = np.concatenate([[0], field.classes])[field.labels]
    np.testing.assert_array_equal(things > 0, np.isin(class_map, [GALAXY, STAR]))
    np.testing.assert_array_equal(class_map[things > 0], things[things > 0])
    np.testing.assert_array_equal(np.bincount(field.labels.ravel())[1:], field.catalog["n_pixels"])
    assert field.catalog["n_pixels"].min() >= 10
    boxes = zip(field.instances.boxes.tolist(), field.instances.crops, strict=True)
    for label, ((y0, x0, y1, x1), crop) in enumerate(boxes, start=1):
        own = field.labels == label
        assert own.sum() == own[y0:y1, x0:x1].sum()
        assert crop[own[y0:y1, x0:x1]].all()


@pytest.mark.parametrize(("kind", "code"), [("large_galaxies", GALAXY), ("bright_stars", STAR)])
def test_a_pixel_is_of_the_source_exactly_where_it_outshines_the_noise(kind, code):
    number = 4 * 1024**2 / 300**2
    field, class_map = make_sky((300, 300), **{**EMPTY, kind: number}, random_state=4)
    assert field.labels.max() >= 1
    bright = light_over_noise(field) > 1
    named = np.isin(class_map, [code, ARTEFACT])
    # where two overlap neither alone may exceed the noise
    assert np.count_nonzero(named & ~bright) <= 1e-4 * bright.sum() + 1
    assert np.count_nonzero(bright & ~named) <= 0.02 * bright.sum()
    assert (class_map == ARTEFACT).any() == (code == STAR)


def test_an_empty_sky_is_sky():
    field, class_map = make_sky((96, 96), **EMPTY, random_state=0)
    assert not class_map.any() and not field.labels.any() and len(field.catalog) == 0
    residual = (field.image[0] - 500) / field.rms
    assert abs(residual.mean()) < 0.05
    assert residual.std() == pytest.approx(1, abs=0.03)


def test_gaps_and_steps_of_a_mosaic():
    settings = {**EMPTY, "mosaic": True}
    for seed in range(20):
        field, class_map = make_sky((160, 160), **settings, random_state=seed)
        if (class_map == VOID).any() and len(np.unique(field.rms)) > 2:
            break
    gap = class_map == VOID
    assert 0 < gap.sum() < gap.size
    np.testing.assert_array_equal(gap, np.isnan(field.image[0]))
    np.testing.assert_array_equal(gap, np.isnan(field.rms))
    plateaus, sizes = np.unique(field.rms[~gap], return_counts=True)
    deep, shallow = plateaus[sizes > 2000][[0, -1]]
    assert shallow > 1.1 * deep
    measured = [field.image[0][field.rms == level].std() for level in (deep, shallow)]
    # the level of the sky may step within a plateau, too
    assert measured[1] > 1.05 * measured[0]
    assert measured[0] > 0.9 * deep


def test_full_pixels_are_clipped_and_bleed_along_columns():
    field, _ = make_sky(
        (400, 400), **{**EMPTY, "bright_stars": 20.0}, saturation=20_000.0, random_state=2
    )
    assert field.image.max() < 20_000 + 500 + 6 * np.sqrt(20_500)
    assert np.count_nonzero(field.image > 15_000) >= 30


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_seeded_whatever_the_workers(n_jobs):
    settings = {"large_galaxies": 20, "bright_stars": 20, "clusters": 1, "bands": "gr"}
    first, first_map = make_sky((200, 220), **settings, random_state=5)
    again, again_map = make_sky((200, 220), **settings, random_state=5, n_jobs=n_jobs)
    other, _ = make_sky((200, 220), **settings, random_state=6)
    for name in ("image", "rms", "labels", "classes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name), err_msg=name)
    np.testing.assert_array_equal(first_map, again_map)
    assert not np.array_equal(first.image, other.image, equal_nan=True)


def test_bands_keep_the_sources_and_have_colours():
    settings = {**EMPTY, "density": 40.0, "star_fraction": 0.5}
    field, class_map = make_sky((300, 300), bands="griz", **settings, random_state=0)
    alone, alone_map = make_sky((300, 300), bands="r", **settings, random_state=0)
    assert field.image.shape == (4, 300, 300) and field.rms.shape == (4, 300, 300)
    # stamps reach a little further in some bands
    assert np.mean((field.labels > 0) != (alone.labels > 0)) < 1e-3
    assert np.mean(class_map != alone_map) < 1e-3
    np.testing.assert_allclose(field.catalog["mag_r"], alone.catalog["mag"])
    colour = np.asarray(field.catalog["mag_g"]) - np.asarray(field.catalog["mag_r"])
    assert 0.1 < np.median(colour) < 1.5 and colour.std() > 0.2


def test_the_truth_of_a_stack_is_deeper_than_that_of_a_band():
    settings = {**EMPTY, "density": 60.0, "sky_gradient": 0.0, "sky_level": [500.0, 2000.0, 900.0]}
    settings |= {"depth": [25.5, 26.0, 25.0], "random_state": 0}
    field, class_map = make_sky((300, 300), bands="gri", truth="stack", **settings)
    alone, alone_map = make_sky((300, 300), bands="gri", **settings)
    np.testing.assert_array_equal(field.image, alone.image)
    assert field.labels.max() > 1.1 * alone.labels.max()
    sky = np.array(settings["sky_level"])[:, None, None]
    light = field.rms.astype(np.float64) ** 2 - sky - 9.0**2  # all light, without noise
    unit = np.sqrt(sky + 9.0**2)
    stack = (light / unit).sum(axis=0) / np.sqrt(((field.rms / unit) ** 2).sum(axis=0))
    inside = np.isin(class_map, (GALAXY, STAR))
    assert stack[inside].min() > 0.999 and np.mean(stack[~inside] > 1.5) < 0.01
    in_r = light[1] / field.rms[1]
    assert in_r[np.isin(alone_map, (GALAXY, STAR))].min() > 0.999 > in_r[inside].min()


def test_the_truth_of_a_stack_of_one_band_is_that_of_the_band():
    settings = {**EMPTY, "density": 40.0, "random_state": 1, "bands": "r"}
    (field, class_map), (alone, alone_map) = (
        make_sky((160, 160), truth=truth, **settings) for truth in ("stack", "reference")
    )
    assert np.mean(field.labels != alone.labels) < 1e-3  # up to rounding at the edge of masks
    assert np.mean(class_map != alone_map) < 1e-3


def test_the_catalog_names_forms_and_redshifts(rich):
    catalog = rich[0].catalog
    assert {"spiral", "star", "smooth"} <= set(catalog["form"])
    np.testing.assert_array_equal(catalog["form"] == "star", catalog["class"] == STAR)
    np.testing.assert_array_equal(catalog["redshift"] > 0, catalog["class"] == GALAXY)


@pytest.mark.parametrize("bands", ["", "rr", "rx"])
def test_unknown_bands_are_refused(bands):
    with pytest.raises(ValueError, match="each at most once"):
        make_sky((64, 64), bands=bands)


def test_correlated_noise_keeps_its_size():
    field, _ = make_sky((200, 200), **EMPTY, correlation=0.8, random_state=0)
    residual = (field.image[0] - 500) / field.rms
    assert residual.std() == pytest.approx(1, abs=0.03)
    assert np.mean(residual[:, 1:] * residual[:, :-1]) > 0.4
