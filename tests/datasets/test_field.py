import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs.utils import proj_plane_pixel_scales

from galaxysegment.datasets import _scene, make_field
from galaxysegment.structures import GALAXY, STAR

galsim = pytest.importorskip("galsim")


@pytest.fixture(scope="module")
def field():
    return make_field((1024, 1024), random_state=1)


@pytest.fixture(scope="module")
def small():
    """Crowded, so that sources overlap and hide one another."""
    return make_field((200, 200), density=500, random_state=2)


@pytest.fixture(scope="module")
def redrawn(small):
    """Noise-free light of each labelled source, drawn from the catalog by GalSim's `drawImage`."""
    return np.array([redraw(row, small.shape) for row in small.catalog])


def redraw(row, shape):
    parts = []
    if row["class"] == GALAXY:
        angle = (row["position_angle"] + 90) * galsim.degrees  # from east of north to +x towards +y
        for kind, name, fraction in (
            (galsim.Exponential, "disk", 1 - row["bulge_fraction"]),
            (galsim.DeVaucouleurs, "bulge", row["bulge_fraction"]),
        ):
            if fraction > 0:
                part = kind(half_light_radius=row[f"{name}_radius"], flux=fraction * row["flux"])
                parts.append(part.shear(q=row[f"{name}_axis_ratio"], beta=angle))
    psf = galsim.Moffat(beta=3, fwhm=0.17)
    seen = galsim.Convolve(galsim.Add(parts), psf) if parts else psf * row["flux"]
    image = galsim.ImageD(shape[1], shape[0], scale=0.1, xmin=0, ymin=0)
    accurate = galsim.GSParams(folding_threshold=1e-3, maximum_fft_size=20000)
    return seen.withGSParams(accurate).drawImage(image=image, center=(row["x"], row["y"])).array


def test_masks_are_where_the_own_light_exceeds_the_local_rms(small, redrawn):
    expected, masks = redrawn > small.rms, small.instances.masks
    assert len(masks) == len(small.catalog) > 30
    assert np.count_nonzero(expected != masks) <= 0.005 * np.count_nonzero(expected)


def test_contested_pixels_belong_to_the_brightest_source_there(small, redrawn):
    masks = small.instances.masks
    assert (masks.sum(axis=0) > 1).any(), "nothing is contested"
    owners = np.where(masks.any(axis=0), np.argmax(np.where(masks, redrawn, 0), axis=0) + 1, 0)
    assert np.count_nonzero(owners != small.labels) <= 0.005 * np.count_nonzero(owners)


def test_labels_lie_within_the_overlapping_masks(field):
    masks = field.instances
    assert np.array_equal(field.labels > 0, masks.to_mask())
    for label, ((y0, x0, y1, x1), crop) in enumerate(
        zip(masks.boxes.tolist(), masks.crops, strict=True), start=1
    ):
        own = field.labels == label
        assert not own[:y0].any() and not own[y1:].any()
        assert crop[own[y0:y1, x0:x1]].all()


def test_light_and_noise_add_up_to_the_image(small, redrawn):
    # unlabelled sources are missing from `redrawn`: look where nothing but a labelled one shines
    isolated = redrawn.sum(axis=0) > 3 * small.rms
    residual = (small.image[0] - 500 - redrawn.sum(axis=0))[isolated] / small.rms[isolated]
    assert abs(residual.mean()) < 0.5
    assert 0.8 < residual.std() < 1.2


def test_noise_has_the_given_rms():
    empty = make_field((512, 512), density=0, sky_gradient=0, random_state=0)
    residual = (empty.image[0] - 500) / empty.rms
    assert abs(residual.mean()) < 0.01
    assert residual.std() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(empty.rms, np.sqrt(500 + 81), rtol=1e-6)
    assert not empty.labels.any() and len(empty.catalog) == len(empty.instances) == 0


def test_catalog_follows_the_labels(field):
    catalog, labels = field.catalog, field.labels
    n = labels.max()
    np.testing.assert_array_equal(catalog["label"], np.arange(1, n + 1))
    np.testing.assert_array_equal(catalog["n_pixels"], np.bincount(labels.ravel())[1:])
    np.testing.assert_array_equal(catalog["n_pixels_total"], field.instances.areas)
    np.testing.assert_array_equal(catalog["class"], field.classes)
    np.testing.assert_array_equal(catalog["class"], field.instances.classes)
    assert catalog["n_pixels"].min() >= 10
    assert catalog["snr"].min() > 3
    at_centre = labels[np.rint(catalog["y"]).astype(int), np.rint(catalog["x"]).astype(int)]
    assert (at_centre == catalog["label"]).mean() > 0.95
    np.testing.assert_allclose(
        catalog["flux"], 10 ** (0.4 * (field.header["MAGZP_R"] - catalog["mag"]))
    )


def test_sky_positions(field):
    x, y = field.wcs.world_to_pixel_values(field.catalog["ra"], field.catalog["dec"])
    np.testing.assert_allclose(x, field.catalog["x"], atol=1e-6)
    np.testing.assert_allclose(y, field.catalog["y"], atol=1e-6)
    np.testing.assert_allclose(proj_plane_pixel_scales(field.wcs) * 3600, 0.1)
    assert field.wcs.wcs.ctype[0] == "RA---TAN"


def test_density_and_stars():
    field = make_field((2048, 2048), random_state=0)
    area = 2048**2 * 0.1**2 / 3600
    assert 80 < len(field.catalog) / area < 100
    assert 0.02 < (field.classes == STAR).mean() < 0.05
    assert set(field.classes) == {GALAXY, STAR}
    counts = [patch.max() for patch in field.patches(size=256)[1]]
    assert 15 < np.mean(counts) < 35


@pytest.mark.parametrize("density", [30, 200])
def test_density_is_the_one_asked_for(density):
    counts = [
        make_field((512, 512), density=density, random_state=seed).labels.max() for seed in range(6)
    ]
    expected = density * 6 * 512**2 * 0.1**2 / 3600
    assert sum(counts) == pytest.approx(expected, rel=0.15)


def test_rms_holds_the_noise_of_the_sources():
    with_sources, without = (
        make_field((256, 256), rms_source_noise=on, random_state=5) for on in (True, False)
    )
    np.testing.assert_array_equal(with_sources.image, without.image)
    np.testing.assert_array_equal(with_sources.labels, without.labels)
    light = with_sources.rms**2 - without.rms**2
    assert light.min() > -0.01
    brightest = with_sources.catalog[np.argmax(with_sources.catalog["flux"])]
    inside = with_sources.labels == brightest["label"]
    assert light[inside].sum() == pytest.approx(brightest["flux"], rel=0.3)
    assert with_sources.rms[inside].mean() > 1.02 * without.rms[inside].mean()


def test_sky_has_a_gradient():
    field = make_field((512, 512), density=0, sky_gradient=0.2, random_state=3)
    y, x = np.mgrid[:512, :512] / 511 - 0.5
    design = np.stack([np.ones(x.size), x.ravel(), y.ravel()], axis=1)
    level, along_x, along_y = np.linalg.lstsq(design, field.image[0].ravel(), rcond=None)[0]
    assert level == pytest.approx(500, abs=1)
    assert abs(along_x) + abs(along_y) == pytest.approx(0.2 * 500, rel=0.03)
    np.testing.assert_allclose(np.ptp(field.rms**2), 0.2 * 500, rtol=0.01)


def test_bands_and_colours():
    field = make_field(
        (512, 512), bands="grz", star_fraction=0.2, random_state=4, sky_level=(400, 500, 600)
    )
    assert field.image.shape == field.rms.shape == (3, 512, 512)
    assert field.image.dtype == field.rms.dtype == np.float32
    np.testing.assert_allclose(np.median(field.image, axis=(1, 2)), (400, 500, 600), rtol=0.05)
    catalog = field.catalog
    np.testing.assert_array_equal(catalog["mag"], catalog["mag_r"])
    red, is_star = catalog["mag_r"] - catalog["mag_z"], catalog["class"] == STAR
    assert np.median(red[is_star]) > np.median(red[~is_star]) > 0
    brightest = catalog[np.argmax(catalog["flux"])]
    own = field.labels == brightest["label"]
    measured = [np.sum(band[own] - np.median(band)) for band in field.image]
    for flux, band in zip(measured, "grz", strict=True):
        assert flux == pytest.approx(brightest[f"flux_{band}"], rel=0.2)


def test_bands_show_the_same_sources():
    single, three = (make_field((256, 256), bands=bands, random_state=6) for bands in ("r", "grz"))
    np.testing.assert_array_equal(single.catalog["x"], three.catalog["x"])
    np.testing.assert_allclose(single.rms, three.rms[1], rtol=1e-3)
    assert (single.labels == three.labels).mean() > 0.999
    assert single.header["REFBAND"] == three.header["REFBAND"] == "r"
    assert make_field((64, 64), bands="gz", random_state=6).header["REFBAND"] == "g"


def equal(field, other):
    return (
        np.array_equal(field.image, other.image)
        and np.array_equal(field.rms, other.rms)
        and np.array_equal(field.labels, other.labels)
        and field.instances == other.instances
        and all(
            np.array_equal(field.catalog[name], other.catalog[name])
            for name in field.catalog.colnames
        )
    )


def test_the_seed_decides():
    first = make_field((200, 300), random_state=11)
    assert equal(first, make_field((200, 300), random_state=11))
    assert not equal(first, make_field((200, 300), random_state=12))
    from_state = make_field((200, 300), random_state=np.random.RandomState(0))
    assert equal(from_state, make_field((200, 300), random_state=from_state.header["SEED"]))
    assert not equal(make_field((64, 64)), make_field((64, 64)))


def test_result_does_not_depend_on_n_jobs():
    assert equal(*(make_field((700, 700), random_state=1, n_jobs=n_jobs) for n_jobs in (1, 2)))


def test_header_survives_fits(small):
    header = fits.Header.fromstring(small.header.tostring())
    assert (header["SEED"], header["DENSITY"], header["PSFFWHM"], header["BANDS"]) == (
        2,
        500,
        0.17,
        "r",
    )


def test_tiny_fields():
    for shape in ((1, 1), (3, 500)):
        assert make_field(shape, random_state=0).image.shape == (1, *shape)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"shape": (10, 20, 30)},
            r"shape must be \(height, width\), two positive whole numbers. Got \(10, 20, 30\)",
        ),
        ({"shape": (0, 20)}, "two positive whole numbers"),
        ({"shape": (10.5, 20)}, "two positive whole numbers"),
        ({"density": -1}, "'density' parameter of make_field must be"),
        ({"pixel_scale": 0}, "'pixel_scale' parameter of make_field must be"),
        ({"psf_fwhm": 0.04}, "psf_fwhm=0.04 is less than half of pixel_scale=0.1"),
        ({"bands": "ugr"}, "'bands' parameter of make_field must be a str among"),
        ({"star_fraction": 1.5}, "'star_fraction' parameter"),
        (
            {"sky_level": (1, 2), "bands": "grz"},
            "sky_level has 2 values, but bands='grz' asks for 3",
        ),
        ({"sky_level": (-5,)}, r"sky_level must be finite and not negative. Got \(-5,\) instead"),
        ({"n_pixels": 10_000}, "n_pixels=10000 leaves 0.0 % of the galaxies a label"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_field(**{"shape": (64, 64), **arguments})


def test_without_galsim(monkeypatch):
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(
        ImportError, match=r'make_field draws .* run `pip install "galaxysegment\[simulate\]"`'
    ):
        make_field((64, 64))


@pytest.mark.parametrize("bands", ["r", "gr"])
def test_isolated_light_adds_up_to_the_image_without_noise(bands, monkeypatch):
    options = {"bands": bands, "density": 400, "random_state": 4}
    plain = make_field((150, 170), **options)
    field, light = make_field((150, 170), return_isolated=True, **options)
    assert np.array_equal(field.image, plain.image) and light.sources == plain.instances
    assert len(light) == len(field.catalog) > 10
    assert light.residual.ndim == (2 if bands == "r" else 3)
    monkeypatch.setattr(_scene, "add_noise", lambda expected, *_: expected)
    noiseless = make_field((150, 170), **options).image
    total = light.total() + light.residual
    assert np.allclose(total, noiseless.reshape(total.shape), rtol=1e-6)


def test_isolated_light_is_that_of_each_source(small, redrawn):
    field, light = make_field((200, 200), density=500, random_state=2, return_isolated=True)
    assert np.array_equal(field.image, small.image)
    for index, expected in enumerate(redrawn):
        # Light fainter than a twentieth of the noise is not drawn.
        assert np.abs(light.isolated(index) - expected).max() < 0.1 * small.rms.min()
    assert np.allclose(light.fluxes, [part.sum(dtype=float) for part in light.parts])
    crowded = light.blendedness > 0.05
    assert 0 < crowded.sum() < len(light) and (light.blendedness > -1e-6).all()
