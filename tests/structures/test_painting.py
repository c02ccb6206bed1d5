"""In which order sources that overlap are painted."""

import numpy as np
import pytest

from galaxysegment import Instances
from galaxysegment.structures._painting import painting_order

SHAPE = (60, 70)


def square(y, x, side):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_a_small_source_in_a_large_one_is_on_top():
    """Companions of a large galaxy keep their labels, though the net is surer of the galaxy."""
    sources = Instances.from_masks(
        [square(5, 5, 50), square(20, 30, 4), square(40, 40, 6)], [0.9, 0.5, 0.4]
    )
    labels = sources.to_label_map()
    assert labels[21, 31] == 2  # 16 of 2500 pixels
    assert labels[41, 41] == 1  # 36 pixels are more than 1 %: the surest is on top
    assert labels.max() == 2
    assert painting_order(sources).tolist() == [2, 0, 1]
    assert sources.to_panoptic()[1, 21, 31] == 2


@pytest.mark.parametrize(("x", "label"), [(52, 2), (53, 1), (3, 1), (4, 2)])
def test_most_of_a_small_source_lies_in_the_large_one(x, label):
    """The large source ends at column 55."""
    sources = Instances.from_masks([square(5, 5, 50), square(20, x, 4)], [0.9, 0.5])
    column = min(max(x, 5), 54)
    assert sources.to_label_map()[21, column] == label


def test_scores_decide_otherwise():
    rng = np.random.default_rng(0)
    for _ in range(20):
        sides = rng.integers(8, 24, 12)
        masks = [square(*rng.integers(0, 50, 2), side) for side in sides]
        scores = rng.integers(0, 4, 12) / 4
        order = painting_order(Instances.from_masks(masks, scores))
        assert order.tolist() == np.argsort(scores, kind="stable").tolist()


def test_sources_within_sources_within_sources():
    masks = [square(28, 28, 2), square(20, 20, 21), square(0, 0, 60), square(30, 30, 3)]
    sources = Instances.from_masks(masks, [0.1, 0.95, 0.99, 0.2])
    # the square of 21 pixels is more than 1 % of the largest one, but not of a mosaic
    assert painting_order(sources).tolist() == [1, 2, 0, 3]
    wide = np.ones((400, 400), dtype=bool)
    padded = [np.pad(mask, ((0, 340), (0, 330))) for mask in masks]
    sources = Instances.from_masks([*padded, wide], [0.1, 0.95, 0.5, 0.2, 0.99])
    assert painting_order(sources).tolist() == [2, 4, 3, 1, 0]
    labels = sources.to_label_map()
    assert [labels[29, 29], labels[38, 38], labels[10, 10]] == [1, 2, 3]


def test_every_source_is_painted_once():
    rng = np.random.default_rng(1)
    masks = [square(*rng.integers(0, 30, 2), side) for side in rng.integers(1, 40, 60)]
    order = painting_order(Instances.from_masks(masks, rng.uniform(size=60)))
    assert sorted(order.tolist()) == list(range(60))
    assert painting_order(Instances(SHAPE, [], [])).shape == (0,)
