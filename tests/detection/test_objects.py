"""Boxes of a background mesh that belong to a large galaxy."""

import numpy as np
import pytest

from galaxysegment.detection import _objects
from galaxysegment.detection._objects import boxes_of_objects


def mesh(shape=(14, 14), seed=0):
    """Sky of 100 with the scatter of box medians of noise of 1."""
    return 100 + np.random.default_rng(seed).normal(0, 0.02, shape)


def galaxy(shape, centre, peak=20.0, scale=1.5):
    y, x = np.indices(shape)
    return peak * np.exp(-np.hypot(y - centre[0], x - centre[1]) / scale)


def objects_of(level, used=None, **options):
    used = np.ones(level.shape, bool) if used is None else used
    return boxes_of_objects(level, np.ones(level.shape), used, **options)


def test_a_galaxy_wider_than_the_boxes_is_marked_down_to_its_wings():
    light = galaxy((14, 14), (6, 7), scale=1)
    objects = objects_of(mesh() + light)
    assert objects[light > 0.2].all()
    assert not objects[light < 0.02].any()


@pytest.mark.parametrize("shape", [(14, 14), (40, 50)])
def test_sky_gradients_and_plateaus_are_no_objects(shape):
    level = mesh(shape)
    assert not objects_of(level).any()
    y, x = np.indices(shape)
    assert not objects_of(level + 0.3 * y + 0.2 * x).any()
    assert not objects_of(level + 2.0 * (x > shape[1] // 2)).any()
    assert not objects_of(level + 2.0 * ((x > 4) & (x < 9) & (y > 3) & (y < 9))).any()


def test_a_galaxy_on_a_gradient_of_a_large_mesh():
    y, x = np.indices((40, 50))
    light = galaxy((40, 50), (20, 33), peak=30, scale=2)
    objects = objects_of(mesh((40, 50)) + 0.05 * y + 0.05 * x + light)
    assert objects[light > 0.3].all() and not objects[light < 0.01].any()


def test_boxes_that_do_not_count_are_never_marked():
    light = galaxy((14, 14), (6, 7))
    used = light < 5
    objects = objects_of(np.where(used, mesh() + light, np.nan), used)
    assert not objects[~used].any() and objects.any()


def test_holes_as_large_as_an_object_are_off_the_sky():
    shape = (30, 30)
    light, hole = galaxy(shape, (5, 5), scale=1), galaxy(shape, (22, 24), scale=1)
    level = mesh(shape) + light - hole
    off_sky = objects_of(level, holes=True)
    assert off_sky[(light > 0.2) | (hole > 0.2)].all()
    assert not off_sky[(light < 0.02) & (hole < 0.02)].any()
    assert not objects_of(level)[hole > 0.2].any()


def test_few_boxes_hold_no_object():
    assert not objects_of(np.array([[1.0, 50.0]])).any()
    assert not objects_of(np.full((5, 5), 3.0)).any()
    assert not boxes_of_objects(np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((3, 3), bool)).any()


def test_an_image_full_of_light_keeps_its_boxes():
    level = 100 + np.random.default_rng(0).exponential(20, (8, 8))
    assert objects_of(level).mean() < 0.8


@pytest.mark.parametrize("seed", range(30))
def test_rounds_that_repeat_are_not_computed_again(monkeypatch, seed):
    """The result after 20 rounds is known as soon as a round gives what one before it gave."""
    n_boxes, n_states = 40, 1 + seed
    rng = np.random.default_rng(seed)
    states = np.zeros((n_states, n_boxes), dtype=bool)
    states[1:, :20] = rng.random((n_states - 1, 20)) > 0.5
    following = rng.integers(0, n_states, n_states)
    n_calls = 0

    def next_groups(level, noise, used, sky, least):
        nonlocal n_calls
        n_calls += 1
        index = next(k for k, state in enumerate(states) if (state == (used & ~sky)).all())
        return states[following[index]]

    monkeypatch.setattr(_objects, "_groups", next_groups)
    expected, visited = 0, {0}
    for _ in range(20):
        expected = following[expected]
        visited.add(expected)
    level = np.zeros(n_boxes)
    objects = boxes_of_objects(level, level, np.ones(n_boxes, dtype=bool))
    np.testing.assert_array_equal(objects, states[expected])
    assert n_calls == min(len(visited), 20)
