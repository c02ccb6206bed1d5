"""The signal to noise that nets see."""

import numpy as np
import pytest

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
