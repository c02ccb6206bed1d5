"""The signal to noise that nets see."""

import numpy as np
import pytest
from scipy import ndimage

from galaxysegment.segmenters._scaling import Scaler, noise_scaled

SIDE = 640


@pytest.fixture(scope="module")
def galaxy():
    """Image with a galaxy wider than the boxes of the mesh, and its light; the noise is 1."""
    y, x = np.indices((SIDE, SIDE))
    light = 60 * np.exp(-np.hypot(y - 300, x - 330) / 40)
    noise = np.random.default_rng(0).normal(size=light.shape)
    return (light + noise + 10).astype(np.float32), light


def mean_in(image, light, low, high):
    return float(np.sinh(image[0][(light > low) & (light < high)]).mean())


@pytest.mark.parametrize("sign", [1, -1])
def test_the_outskirts_of_large_galaxies_and_holes_keep_their_height(galaxy, sign):
    image, light = galaxy
    scaled = noise_scaled((sign * image)[None], None)
    assert sign * mean_in(scaled, light, 1, 2) == pytest.approx(1.4, abs=0.3)
    assert abs(mean_in(scaled, light, 0, 0.05)) < 0.1


def test_a_window_of_a_mosaic_sees_the_background_of_the_whole(galaxy):
    image = galaxy[0][None]
    stream = Scaler("noise").stream(image)
    window = stream.window(slice(192, 448), slice(100, 400))
    np.testing.assert_allclose(window, noise_scaled(image, None)[:, 192:448, 100:400], atol=1e-5)


@pytest.fixture(scope="module")
def crowd():
    """Image that faint sources fill, with its RMS map, 1: its pixels scatter by 4."""
    generator = np.random.default_rng(0)
    light, noise = generator.normal(size=(2, 256, 256))
    light = ndimage.gaussian_filter(light, 3)
    image = 4 * light / light.std() + noise
    return np.stack([image, np.ones_like(image)]).astype(np.float32)


def scatter_of_pixels(scaled):
    """Noise of what a net sees, from neighbouring pixels."""
    differences = np.diff(np.sinh(scaled[0]), axis=1)
    return float(np.median(np.abs(differences)) / 0.6745 / 2**0.5)


def test_sources_that_fill_the_sky_are_not_taken_for_noise(crowd):
    assert scatter_of_pixels(noise_scaled(crowd[:1], None)) < 0.4
    assert 0.65 < scatter_of_pixels(noise_scaled(crowd, -1)) < 1.05


@pytest.mark.parametrize("factor", [0.3, 4])
def test_a_map_that_does_not_agree_with_the_pixels_is_rescaled(crowd, factor):
    """A map in other units, or that of an image resampled to smaller pixels, tells no noise."""
    image, rms = crowd
    scaled = noise_scaled(np.stack([image, factor * rms]), -1)
    alone = noise_scaled(crowd[:1], None)
    assert scatter_of_pixels(scaled) == pytest.approx(scatter_of_pixels(alone), rel=0.1)


def test_a_window_of_a_crowded_mosaic_has_the_noise_of_the_whole(crowd):
    window = Scaler("noise", rms_band=-1).stream(crowd).window(slice(64, 200), slice(100, 256))
    np.testing.assert_allclose(window, noise_scaled(crowd, -1)[:, 64:200, 100:256], atol=1e-5)
