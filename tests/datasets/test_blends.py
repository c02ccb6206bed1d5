import sys

import numpy as np
import pytest

from galaxysegment import Instances
from galaxysegment.datasets import make_blends

pytest.importorskip("galsim")


@pytest.fixture(scope="module")
def blends():
    return make_blends(60, random_state=0, return_isolated=True, return_catalog=True)


def test_shapes_and_types(blends):
    X, y, isolated, catalog = blends
    assert X.shape == (60, 120, 120) and X.dtype == np.float32
    assert isolated.shape == (60, 2, 120, 120) and isolated.dtype == np.float32
    assert len(y) == 60 and all(
        isinstance(image, Instances) and image.shape == (120, 120) for image in y
    )
    assert len(catalog) == 120
    assert all(image.classes.tolist() == [1, 1] for image in y)
    assert len(make_blends(2, random_state=0)) == 2


def test_masks_are_where_the_own_light_exceeds_the_local_rms(blends):
    _, y, isolated, _ = blends
    for instances, alone in zip(y, isolated, strict=True):
        rms = np.sqrt(500 + 81 + alone.sum(axis=0))
        different = np.count_nonzero(instances.masks != (alone > rms))
        assert different <= 1  # rounding of the sum


def test_the_threshold_is_in_units_of_the_rms():
    _, low, isolated = make_blends(5, random_state=3, threshold=3.0, return_isolated=True)
    for instances, alone in zip(low, isolated, strict=True):
        rms = np.sqrt(500 + 81 + alone.sum(axis=0))
        assert np.count_nonzero(instances.masks != (alone > 3 * rms)) <= 1


def test_masks_overlap_and_have_pixels(blends):
    _, y, _, catalog = blends
    for instances in y:
        first, second = instances.masks
        assert (first & second).any()
    assert min(image.areas.min() for image in y) >= 10
    np.testing.assert_array_equal(catalog["n_pixels"], np.concatenate([image.areas for image in y]))


def test_image_is_isolated_galaxies_plus_noise(blends):
    X, _, isolated, _ = blends
    light = isolated.sum(axis=1)
    residual = (X - light) / np.sqrt(500 + 81 + light)
    assert abs(residual.mean()) < 0.01
    assert residual.std() == pytest.approx(1, abs=0.01)


def test_separations_and_positions(blends):
    _, _, isolated, catalog = blends
    x, y = (np.array(catalog[name]).reshape(60, 2) for name in ("x", "y"))
    distance = np.hypot(np.diff(x), np.diff(y))
    assert distance.min() >= 3 and distance.max() <= 36
    peaks = isolated.reshape(120, -1).argmax(axis=1)
    np.testing.assert_allclose(peaks % 120, catalog["x"], atol=1)
    np.testing.assert_allclose(peaks // 120, catalog["y"], atol=1)


def test_close_pairs_on_request():
    *_, catalog = make_blends(10, separation=(1, 2), random_state=0, return_catalog=True)
    x, y = (np.array(catalog[name]).reshape(10, 2) for name in ("x", "y"))
    assert np.hypot(np.diff(x), np.diff(y)).max() <= 2


def test_more_sources_and_other_shapes():
    X, y = make_blends(4, shape=(64, 90), n_sources=4, random_state=0)
    assert X.shape == (4, 64, 90)
    for instances in y:
        masks = instances.masks
        assert len(masks) == 4
        shared = masks.sum(axis=0) > 1
        assert all((mask & shared).any() for mask in masks)
    assert [len(image) for image in make_blends(2, n_sources=1, random_state=0)[1]] == [1, 1]


def test_the_seed_decides():
    X, y = make_blends(55, random_state=1)
    fewer, _ = make_blends(3, random_state=1)
    np.testing.assert_array_equal(X[:3], fewer)
    again, same = make_blends(55, random_state=1, n_jobs=2)
    np.testing.assert_array_equal(X, again)
    assert all(image == other for image, other in zip(y, same, strict=True))
    assert not np.array_equal(fewer, make_blends(3, random_state=2)[0])


def test_several_bands_hold_the_same_galaxies_in_their_colours():
    options = {"random_state": 4, "return_isolated": True, "return_catalog": True}
    X, y, isolated, catalog = make_blends(
        6, bands="grz", depth=[27.4, 27.0, 26.2], sky_level=[300.0, 500.0, 900.0], **options
    )
    assert X.shape == (6, 3, 120, 120) and isolated.shape == (6, 2, 3, 120, 120)
    noise = X - isolated.sum(axis=1)
    expected = np.sqrt(np.array([300.0, 500.0, 900.0])[:, None, None] + 81 + isolated.sum(axis=1))
    assert np.allclose((noise / expected).std(axis=(0, 2, 3)), 1, atol=0.02)
    assert np.abs(np.corrcoef(noise.transpose(1, 0, 2, 3).reshape(3, -1)) - np.eye(3)).max() < 0.02
    light = isolated.sum(axis=(3, 4)).reshape(-1, 3)
    assert np.allclose(light[:, 1], catalog["flux"].value, rtol=0.05)
    assert (light[:, 0] / light[:, 2]).std() > 0.01  # colours differ
    for image, masks in zip(isolated[:, :, 1], y, strict=True):
        rms = np.sqrt(500.0 + 81 + image.sum(axis=0))
        assert np.array_equal(masks.masks, image > rms)


def test_one_band_is_as_before_and_needs_no_axis():
    X, _ = make_blends(2, random_state=1)
    named, _ = make_blends(2, bands="r", random_state=1)
    blue, _ = make_blends(2, bands="g", random_state=1)
    assert np.array_equal(X, named) and X.shape == blue.shape == (2, 120, 120)
    with pytest.raises(ValueError, match="depth has 2 values, but bands='grz' asks for 3"):
        make_blends(1, bands="grz", depth=[27, 27])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "'n' parameter of make_blends must be"),
        ({"n_sources": 0}, "'n_sources' parameter"),
        ({"shape": 120}, "'shape' parameter"),
        (
            {"separation": (5, 2)},
            r"separation must be \(smallest, largest\).* Got \(5, 2\) instead",
        ),
        (
            {"separation": (150, 160), "shape": (400, 400)},
            "200 galaxies were tried .* ask for smaller separations",
        ),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_blends(**{"n": 2, "random_state": 0, **arguments})


def test_without_galsim(monkeypatch):
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(
        ImportError, match=r'make_blends draws .* run `pip install "galaxysegment\[simulate\]"`'
    ):
        make_blends(2)
