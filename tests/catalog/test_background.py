"""The background of a catalog is that of the sky between the sources."""

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from galaxysegment import Instances
from galaxysegment.catalog import morphology, profiles, source_catalog
from galaxysegment.detection import _sky_between
from galaxysegment.detection._background import background_maps


def disk(scale_length, side=700):
    """An inclined exponential disk, a sky of 100 with noise of 1, and the disk's mask."""
    y, x = np.indices((side, side)) - side // 2
    light = 30 * np.exp(-np.hypot(y / 0.7, x) / scale_length)
    sky = np.random.default_rng(0).normal(100, 1, light.shape)
    return light, sky + light, (light > 1).astype(int)


@pytest.fixture(scope="module")
def crowd():
    """Sources of twice the noise over a quarter of the pixels of a sky that rises."""
    rng = np.random.default_rng(1)
    image = rng.normal(0, 1, (2, 400, 430))
    rise = np.linspace(50, 54, 430) + np.zeros((400, 1))
    labels = np.zeros((400, 430), dtype=np.int32)
    for number, (y, x) in enumerate(rng.integers((0, 0), (390, 420), (480, 2)), 1):
        labels[y : y + 10, x : x + 10] = number
    return image + rise + 2 * (labels > 0), labels, rise


@pytest.mark.parametrize("scale_length", [8, 15, 28, 45])
def test_a_galaxy_over_many_boxes_keeps_its_light(scale_length):
    light, image, mask = disk(scale_length)
    known = source_catalog(mask, image, background=100, kron=True)[0]
    measured = source_catalog(mask, image, background="mesh", kron=True)[0]
    assert known["flux_kron"] / light.sum() > 0.94
    assert measured["flux_kron"] / known["flux_kron"] == pytest.approx(1, abs=0.03)
    assert measured["flux"] / known["flux"] == pytest.approx(1, abs=0.02)


def test_shapes_profiles_and_morphology_see_the_whole_galaxy():
    light, image, mask = disk(20, side=500)
    options = {"detection": image, "kron": True}
    row = source_catalog(mask, light, detection=image - 100, kron=True)[0]
    forced = source_catalog(mask, image, background="mesh", **options)[0]
    for name, limit in {"semi_major": 0.02, "kron_radius": 0.03, "flux_kron": 0.02}.items():
        ratio = np.asarray(forced[name]) / np.asarray(row[name])
        assert ratio == pytest.approx(1, abs=limit), name
    growth = profiles(mask, image, radii=[3], background="mesh")["growth"][0, 0]
    expected = profiles(mask, image, radii=[3], background=100)["growth"][0, 0]
    assert growth / expected == pytest.approx(1, abs=0.02)
    known, measured = (morphology(mask, image, background=sky)[0] for sky in (100, "mesh"))
    for name in ("gini", "concentration", "petrosian_radius"):
        ratio = np.asarray(measured[name]) / np.asarray(known[name])
        assert ratio == pytest.approx(1, abs=0.03)


def test_a_crowded_field_on_a_rising_sky_has_no_bias(crowd):
    image, labels, rise = crowd
    measured = source_catalog(labels, image, background="mesh")
    known = source_catalog(labels, image - rise)
    off = (measured["flux"] - known["flux"]) / measured["area"][:, np.newaxis]
    assert np.abs(np.median(off, axis=0)).max() < 0.03
    assert np.abs(off).max() < 0.25


def test_the_mesh_is_that_of_the_pixels_that_are_left():
    rng = np.random.default_rng(0)
    image = rng.normal(5, 1, (2, 230, 270)) + np.linspace(0, 20, 270)
    labels = (rng.random((230, 270)) < 0.001).astype(int)
    labels[labels > 0] = np.arange(1, labels.sum() + 1)
    near = ndimage.binary_dilation(labels > 0, iterations=3)
    sky = [background_maps(np.where(near, np.nan, band), plane=True)[0] for band in image]
    measured = source_catalog(labels, image, background="mesh")
    np.testing.assert_allclose(measured["flux"], source_catalog(labels, image - sky)["flux"])


def test_blocks_of_rows_instances_and_files_change_no_number(crowd, monkeypatch, tmp_path):
    image, labels, _ = crowd
    whole = source_catalog(labels, image, background="mesh", kron=True)
    for name, data in (("image", image), ("labels", labels)):
        fits.writeto(tmp_path / f"{name}.fits", data)
    monkeypatch.setattr(_sky_between, "_BLOCK", 1)
    files = tmp_path / "labels.fits", tmp_path / "image.fits"
    for sources, pixels in ((labels, image), (Instances.from_label_map(labels), image), files):
        table = source_catalog(sources, pixels, background="mesh", kron=True)
        for name in ("flux", "flux_kron"):
            np.testing.assert_array_equal(table[name], whole[name])


@pytest.mark.parametrize("shape", [(60, 60), (130, 170)])
def test_sources_everywhere_leave_the_mesh_of_all_pixels(shape):
    image = np.random.default_rng(0).normal(7, 1, shape)
    row = source_catalog(np.ones(shape, dtype=int), image, background="mesh")[0]
    assert abs(row["flux"]) / image.size < 0.1


def test_pixels_without_data_stay_out():
    _, image, mask = disk(15, side=400)
    image[:, 300:] = np.nan
    measured = source_catalog(mask, image, background="mesh")[0]
    known = source_catalog(mask, image, background=100)[0]
    assert measured["flux"] / known["flux"] == pytest.approx(1, abs=0.02)
    empty = source_catalog(mask, np.full_like(image, np.nan), background="mesh")[0]
    assert np.isnan(empty["flux"])
