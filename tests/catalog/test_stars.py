"""Stars told from galaxies without training."""

import numpy as np
import pytest

from galaxysegment.catalog import source_catalog


def moffat(rows, columns, y, x, fwhm):
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))
    return (1 + ((rows - y) ** 2 + (columns - x) ** 2) / alpha**2) ** -3


def galaxy(rows, columns, y, x, scale, angle):
    """Rings of points with an exponential profile, each seen through the PSF."""
    light = np.zeros(rows.shape)
    for radius in np.linspace(0.2, 4, 12) * scale:
        for turn in np.arange(8) * np.pi / 4:
            along, across = radius * np.cos(turn), 0.7 * radius * np.sin(turn)
            dy = across * np.cos(angle) + along * np.sin(angle)
            dx = along * np.cos(angle) - across * np.sin(angle)
            light += radius * np.exp(-radius / scale) * moffat(rows, columns, y + dy, x + dx, 3.0)
    return light


@pytest.fixture(scope="module")
def crowd():
    """Stars and galaxies on a grid, on the left and right of each other: image, labels, truth."""
    rng = np.random.default_rng(5)
    n, side = 14, 41
    image, labels = np.zeros((n * side, n * side)), np.zeros((n * side, n * side), dtype=int)
    rows, columns = np.indices((side, side))
    is_star = rng.random(n * n) < 0.25
    for index, star in enumerate(is_star):
        y, x = 20 + rng.uniform(-0.5, 0.5, 2)
        if star:
            light = moffat(rows, columns, y, x, 3.0)
        else:
            light = galaxy(rows, columns, y, x, rng.uniform(1.0, 2.5), rng.uniform(0, np.pi))
        corner = (index // n) * side, (index % n) * side
        part = np.s_[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
        image[part] = light / light.sum() * 10 ** rng.uniform(2.7, 4.5)
    noisy = image + rng.normal(0, 1, image.shape)
    grid = np.arange(n * n).reshape(n, n).repeat(side, axis=0).repeat(side, axis=1) + 1
    labels[image > 2] = grid[image > 2]
    return noisy, labels, is_star


def test_stars_are_told_from_galaxies(crowd):
    image, labels, is_star = crowd
    catalog = source_catalog(labels, image, rms=np.ones(image.shape), star_probability=True)
    probability, truth = catalog["star_probability"], is_star[catalog["label"] - 1]
    assert ((probability >= 0) & (probability <= 1)).all()
    called = probability > 0.5
    assert (called & truth).sum() >= 0.9 * truth.sum()
    assert (called & truth).sum() >= 0.9 * called.sum()
    # FWHM 3 of a Moffat profile of exponent 3: the half-light radius is 1.9 pixels with the pixel.
    assert catalog.meta["psf_half_light_radius"] == pytest.approx(1.9, abs=0.15)
    assert "half_light_radius" not in catalog.colnames


def test_bands_share_a_probability(crowd):
    image, labels, _ = crowd
    options = {"rms": np.ones(image.shape), "star_probability": True}
    one_band = source_catalog(labels, image, **options)["star_probability"]
    bands = source_catalog(labels, np.stack([image, image]), bands="gr", **options)
    assert np.corrcoef(bands["star_probability"], one_band)[0, 1] > 0.98


def test_a_few_galaxies_show_no_stellar_locus():
    rows, columns = np.indices((60, 60))
    image = 100 * np.exp(-np.hypot(rows - 30, columns - 30) / 4)
    options = {"rms": np.ones(image.shape), "star_probability": True}
    catalog = source_catalog((image > 3).astype(int), image, **options)
    assert np.isnan(catalog["star_probability"][0])
    assert np.isnan(catalog.meta["psf_half_light_radius"])
    empty = source_catalog(np.zeros((60, 60), dtype=int), image, **options)
    assert len(empty) == 0 and "star_probability" in empty.colnames


def test_the_probability_needs_noise():
    with pytest.raises(ValueError, match="star_probability needs the noise of each pixel"):
        source_catalog(np.eye(9, dtype=int), np.eye(9), star_probability=True)
