"""Growth curves and surface-brightness profiles."""

import numpy as np
import pytest
from photutils.aperture import EllipticalAperture

from galaxysegment import Instances
from galaxysegment.catalog import profiles, source_catalog


@pytest.fixture
def disk():
    """An exponential disk, and its labels."""
    rows, columns = np.indices((141, 161))
    image = 100 * np.exp(-np.hypot((rows - 70) / 0.6, columns - 80) / 7)
    return image, (image > 5).astype(int)


def test_growth_is_the_flux_in_ellipses(disk):
    image, labels = disk
    rms = np.full(image.shape, 2.0)
    row = profiles(labels, image, radii=[0.5, 1, 3], rms=rms, noise_factor=1.5)[0]
    catalog = source_catalog(labels, image, rms=rms, ellipses=[0.5, 1, 3], noise_factor=1.5)[0]
    for index, name in enumerate(["flux_ellipse_0_5", "flux_ellipse_1", "flux_ellipse_3"]):
        assert row["growth"][index] == pytest.approx(catalog[name])
        assert row["growth_error"][index] == pytest.approx(catalog[f"{name}_error"])
    np.testing.assert_allclose(
        row["radius"].value, catalog["semi_major"].value * np.array([0.5, 1, 3])
    )


def test_a_profile_follows_the_disk(disk):
    image, labels = disk
    rms = np.full(image.shape, 0.5)
    row = profiles(labels, image, rms=rms)[0]
    expected = 100 * np.exp(-row["ring_radius"].value / 7)
    inner = row["ring_radius"].value < 35
    np.testing.assert_allclose(row["surface_brightness"][inner], expected[inner], rtol=0.08)
    np.testing.assert_allclose(row["coverage"], 1)
    shape = source_catalog(labels, image)[0]
    within = np.zeros(image.shape)
    for index, outer in enumerate(row["radius"].value):
        minor = outer * (shape["semi_minor"] / shape["semi_major"]).value
        ellipse = EllipticalAperture((shape["x"], shape["y"]), outer, minor, theta=shape["angle"])
        share = ellipse.to_mask().to_image(image.shape)
        ring, within = share - within, share
        expected = 0.5 * np.sqrt(np.sum(ring**2)) / ring.sum()
        assert row["surface_brightness_error"][index] == pytest.approx(expected)


def test_a_masked_neighbour_and_missing_data_change_little(disk):
    image, labels = disk
    expected = profiles(labels, image)[0]
    labels, image = labels.copy(), image.copy()
    rows, columns = np.indices(image.shape)
    neighbour = np.hypot(rows - 95, columns - 80) < 8
    image[neighbour] += 500
    labels[neighbour & (labels == 0)] = 2
    image[60:64, 90:93] = np.nan
    row = profiles(labels, image)[0]
    reached = expected["radius"].value < 30
    np.testing.assert_allclose(row["growth"][reached], expected["growth"][reached], rtol=0.1)
    assert row["coverage"].min() < 0.95
    kept = profiles(labels, image, neighbours="none")[0]
    assert kept["growth"][-1] > 1.5 * row["growth"][-1]


def test_bands_and_labels(disk):
    image, labels = disk
    labels = labels * 4
    bands = np.stack([image, 2 * image])
    table = profiles(labels, bands, radii=[1, 2], labels=[4])
    assert table["growth"].shape == (1, 2, 2)
    np.testing.assert_allclose(table["growth"][0, 1], 2 * table["growth"][0, 0])
    instances = Instances.from_label_map((labels > 0).astype(int))
    np.testing.assert_allclose(
        profiles(instances, image, radii=2)["growth"][0], table["growth"][0, 0, 1]
    )


def test_bad_radii_and_labels_are_refused(disk):
    image, labels = disk
    for radii in ([2, 1], [0, 1], [], [np.nan]):
        with pytest.raises(ValueError, match="radii must rise from above 0"):
            profiles(labels, image, radii=radii)
    with pytest.raises(ValueError, match="labels holds 9"):
        profiles(labels, image, labels=[9])


def test_workers_change_no_bit():
    rng = np.random.default_rng(0)
    image, labels = rng.normal(size=(120, 150)), np.zeros((120, 150), dtype=int)
    for label in range(1, 13):
        row, column = 15 + 30 * ((label - 1) % 4), 20 + 48 * ((label - 1) // 4)
        labels[row - 5 : row + 5, column - 5 : column + 5] = label
        image[row - 5 : row + 5, column - 5 : column + 5] += 20
    alone, three = (profiles(labels, image, n_jobs=n_jobs) for n_jobs in (1, 3))
    for name in ("growth", "surface_brightness", "coverage"):
        np.testing.assert_array_equal(alone[name], three[name])
