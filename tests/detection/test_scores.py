"""Sums over sources and the scores made of them."""

import numpy as np

from galaxysegment.detection._scores import (
    ScoreMaps,
    mean_light,
    signal_to_noise,
    sum_over_sources,
)


def test_sums_of_parts_add_up_to_the_sums_of_the_whole():
    rng = np.random.default_rng(0)
    maps = ScoreMaps(rng.normal(size=(6, 8)), rng.uniform(1, 2, (6, 8)))
    pixels, owners = np.arange(48), rng.integers(1, 4, 48)
    whole = sum_over_sources(maps, pixels, owners, 3)
    parts = [sum_over_sources(maps, pixels[s], owners[s], 3) for s in (slice(20), slice(20, None))]
    np.testing.assert_allclose(sum(parts), whole)
    light, noise = maps.light.ravel()[owners == 2], maps.noise.ravel()[owners == 2]
    np.testing.assert_allclose(whole[1], [len(light), light.sum(), (noise**2).sum()])


def test_pixels_that_are_not_finite_add_nothing():
    light = np.array([[1.0, np.nan, 2.0, 4.0]])
    noise = np.array([[1.0, 1.0, np.inf, 2.0]])
    sums = sum_over_sources(ScoreMaps(light, noise), np.arange(4), np.ones(4, int), 2)
    assert sums.tolist() == [[2, 5, 5], [0, 0, 0]]
    assert mean_light(sums).tolist() == [2.5, 0]
    assert signal_to_noise(sums).tolist() == [np.sqrt(5), 0]


def test_light_below_the_sky_and_pixels_without_noise():
    sums = np.array([[4, -3.0, 4.0], [4, 3.0, 0.0], [4, 6.0, 0.0]])
    scores = signal_to_noise(sums)
    assert scores[0] == 0
    assert np.isfinite(scores).all()
    assert scores[1] < scores[2]


def test_the_window_of_maps():
    light = np.arange(12.0).reshape(3, 4)
    window = slice(1, 3), slice(2, 4)
    assert ScoreMaps(light, 1.0).within(window).noise == 1.0
    part = ScoreMaps(light, 2 * light).within(window)
    np.testing.assert_array_equal(part.light, [[6, 7], [10, 11]])
    np.testing.assert_array_equal(part.noise, [[12, 14], [20, 22]])
