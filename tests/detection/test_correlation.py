"""How much more the smoothed image scatters than white noise would."""

import numpy as np
import pytest
from scipy import ndimage

from galaxysegment.datasets import make_field
from galaxysegment.detection import _correlation
from galaxysegment.detection._correlation import NoiseCorrelation, noise_factor
from galaxysegment.detection._smoothing import gaussian_profile


def noise(sigma=0.0, shape=(320, 320), seed=0):
    white = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(white, sigma) if sigma else white
    return smooth / smooth.std()


def test_white_noise_has_none():
    assert noise_factor(noise(), None, 3, 5) == 1
    assert noise_factor(3 * noise() + 50, None, 3, 5) == 1


def test_white_noise_is_told_without_smoothing(monkeypatch):
    """Most of the time went into the smoothed boxes."""
    monkeypatch.setattr(_correlation, "_smoothed", None)
    assert noise_factor(noise(), None, 3, 5) == 1
    assert noise_factor(noise(), 1.5 * np.ones_like(noise()), 3, 5) == 1


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.25, 0.6])
@pytest.mark.parametrize("depth", [None, 0.9, 1.0, 1.1])
def test_the_shortcut_changes_no_value(sigma, depth):
    """Light, gaps and an RMS map, near the limit between white and correlated noise."""
    image = make_field((200, 230), density=45, random_state=1).image[0]
    image = noise(sigma, (200, 230)) + image / np.std(image)
    image[50:70, 100:] = np.nan
    rms = None if depth is None else np.full_like(image, depth)
    statistic = NoiseCorrelation(
        lambda rows, y0: (rows[0], None if rms is None else rms[y0 : y0 + rows.shape[1]]), 3, 5
    )
    rows = image[np.newaxis]
    blocks = [statistic.measure(rows[:, y : y + 32], y, image.shape) for y in range(0, 200, 32)]
    assert statistic.of_image(rows) == statistic.combine(blocks, image.shape)


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0])
def test_smoothed_noise_scatters_more_once_it_is_smoothed(sigma):
    image = noise(sigma)
    kernel = np.outer(*2 * [gaussian_profile(3, 5)])
    expected = ndimage.convolve(image, kernel).std() / np.sqrt((kernel**2).sum())
    assert expected > 1.3
    assert noise_factor(image, None, 3, 5) == pytest.approx(expected, rel=0.1)


def test_an_rms_map_says_what_is_expected():
    image = noise(1.0)
    deep = np.ones_like(image)
    assert noise_factor(image, deep, 3, 5) == pytest.approx(
        noise_factor(image, None, 3, 5), rel=0.1
    )
    # The map of a drizzled image is larger than the scatter of its pixels.
    assert noise_factor(image, 3 * deep, 3, 5) == 1
    # A map that is too small by a factor raises the threshold by it.
    assert noise_factor(noise(), deep / 2, 3, 5) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("density", [45, 250])
def test_sources_are_not_taken_for_noise(density):
    image = make_field((320, 320), density=density, random_state=1).image[0]
    assert noise_factor(image, None, 3, 5) < 1.05


def test_the_wings_of_a_star_are_not_taken_for_noise():
    y, x = np.indices((128, 128))
    star = 20000 / (1 + (np.hypot(y - 64, x - 64) / 4) ** 2)
    assert noise_factor((noise(shape=(128, 128)) + star).astype(np.float32), None, 3, 5) == 1


def test_pixels_without_data_do_not_count():
    image = noise(0.7)
    expected = noise_factor(image, None, 3, 5)
    image[:, ::40] = np.nan
    image[:100] = np.nan
    assert noise_factor(image, None, 3, 5) == pytest.approx(expected, rel=0.1)
    assert noise_factor(np.full((100, 100), np.nan), None, 3, 5) == 1


@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (20, 20), (33, 9)])
def test_small_images(shape):
    white = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    assert noise_factor(white, None, 3, 5) >= 1
    assert noise_factor(np.ones(shape, np.float32), None, 3, 5) == 1


@pytest.mark.parametrize("n_rows", [50, 100])
def test_blocks_of_rows_give_the_same(n_rows):
    image = noise(0.7, (330, 900))

    def detection_of(rows, y0):
        np.testing.assert_array_equal(rows[0], image[y0 : y0 + rows.shape[1]])
        return rows[0], None

    statistic = NoiseCorrelation(detection_of, 3, 5, 50)
    assert statistic.block_rows(image.shape) == 50
    parts = [
        statistic.measure(image[np.newaxis, y : y + n_rows], y, image.shape)
        for y in range(0, len(image), n_rows)
    ]
    assert statistic.combine(parts, image.shape) == noise_factor(image, None, 3, 5, 50)
