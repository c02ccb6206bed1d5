"""Random sources for the tests of metrics."""

import numpy as np
import pytest

from galaxysegment import Instances


def random_instances(rng, n, shape=(40, 50), *, classes=True):
    """Ragged sources that overlap often, with scores that are often equal."""
    boxes, crops = [], []
    for _ in range(n):
        height, width = rng.integers(2, 12, 2)
        y0, x0 = rng.integers(0, shape[0] - height + 1), rng.integers(0, shape[1] - width + 1)
        crop = rng.random((height, width)) < 0.8
        crop[0, 0] = True
        boxes.append((y0, x0, y0 + height, x0 + width))
        crops.append(crop)
    return Instances(
        shape, boxes, crops, np.round(rng.random(n), 1), rng.integers(1, 3, n) if classes else None
    )


def imperfect(rng, truth):
    """Drop some sources, move the rest a little, score them anew and add false ones."""
    kept = truth.select(rng.random(len(truth)) < 0.8)
    moved = kept.shift(*rng.integers(-1, 2, 2))
    false = random_instances(rng, int(rng.integers(0, 4)), truth.shape)
    n = len(moved) + len(false)
    classes = None if truth.classes is None else np.concatenate([moved.classes, false.classes])
    boxes = np.concatenate([moved.boxes, false.boxes])
    return Instances(
        truth.shape, boxes, moved.crops + false.crops, np.round(rng.random(n), 1), classes
    )


@pytest.fixture
def make_pair():
    """Make lists of true and predicted instances.

    ``make_pair(seed, n_images, n_sources, classes=True)``.
    """

    def make(seed, n_images=4, n_sources=15, shape=(40, 50), classes=True):
        rng = np.random.default_rng(seed)
        numbers = rng.integers(0, n_sources + 1, n_images)
        truth = [random_instances(rng, n, shape, classes=classes) for n in numbers]
        return truth, [imperfect(rng, sources) for sources in truth]

    return make
