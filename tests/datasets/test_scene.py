"""Any block of cells drawn alone equals the same block of the whole field."""

import numpy as np
import pytest

from galaxysegment.datasets._scene import CELL, Camera, Scene, add_light

pytest.importorskip("galsim")


@pytest.fixture(scope="module")
def scene():
    return Scene(
        shape=(700, 600),
        camera=Camera(0.1, 0.17, "gr", (400.0, 500.0), (27.0, 27.0), 9.0),
        seed=3,
        galaxy_density=6e-4,
        star_density=3e-5,
        galaxy_mags=(17.0, 27.0),
        star_mags=(18.0, 26.0),
        sky_gradient=0.1,
        sky_angle=1.0,
    )


@pytest.fixture(scope="module")
def whole(scene):
    light = add_light(scene.camera.draw(scene.sources()), scene.shape, n_bands=2)
    return light, *scene.expose(light)


@pytest.mark.parametrize("corner", [(0, 0), (CELL, CELL), (2 * CELL, 0), (2 * CELL, 2 * CELL)])
def test_a_block_is_the_same_alone(scene, whole, corner):
    y0, x0 = corner
    box = y0, x0, min(y0 + CELL, 700), min(x0 + CELL, 600)
    shape = box[2] - y0, box[3] - x0
    light = add_light(scene.camera.draw(scene.sources(box)), shape, corner, n_bands=2)
    for alone, part in zip((light, *scene.expose(light, box)), whole, strict=True):
        np.testing.assert_array_equal(alone, part[:, y0 : box[2], x0 : box[3]])


def test_a_block_needs_only_the_sources_nearby():
    wide = Scene(
        (4096, 4096),
        Camera(0.1, 0.17, "r", (500.0,), (27.0,), 9.0),
        0,
        1e-4,
        0.0,
        (20, 27),
        (20, 26),
        0.0,
        0.0,
    )
    some = wide.sources((0, 0, CELL, CELL))
    assert 0 < len(some) < 0.1 * len(wide.sources())
    assert some["x"].max() < 3 * CELL


def test_light_adds_up(scene):
    sources = scene.sources()
    inside = sources[(np.abs(sources["x"] - 300) < 30) & (np.abs(sources["y"] - 350) < 60)]
    light = add_light(scene.camera.draw(inside), scene.shape, n_bands=2)
    expected = scene.camera.fluxes(inside).sum(axis=(0, 2))
    np.testing.assert_allclose(light.sum(axis=(1, 2)), expected, rtol=1e-4)


def test_depth_is_the_magnitude_of_signal_to_noise_five(scene):
    camera = scene.camera
    stamp = camera.drawer.star(64, 0.0, 0.0)
    flux = 10 ** (0.4 * (camera.zero_point - 27.0))
    signal_to_noise = np.sqrt(
        np.sum((flux[:, None, None] * stamp / camera.sky_rms[:, None, None]) ** 2, axis=(1, 2))
    )
    np.testing.assert_allclose(signal_to_noise, 5)
