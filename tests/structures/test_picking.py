"""Instances are iterated, indexed and concatenated."""

import numpy as np
import pytest

from galaxysegment import Instances
from galaxysegment.metrics import iou_score


@pytest.fixture
def sources():
    masks = np.zeros((4, 12, 10), dtype=bool)
    for index in range(4):
        masks[index, 2 * index : 2 * index + 3, index : index + 4] = True
    return Instances.from_masks(masks, scores=[0.1, 0.2, 0.3, 0.4], classes=[1, 2, 1, 2])


def test_iteration_gives_one_source_at_a_time(sources):
    singles = list(sources)
    assert [len(source) for source in singles] == [1, 1, 1, 1]
    assert [source.scores[0] for source in singles] == [0.1, 0.2, 0.3, 0.4]
    assert Instances.concatenate(singles) == sources


def test_a_number_picks_one_source(sources):
    for index, other in ((2, 2), (-1, 3), (np.int64(0), 0)):
        np.testing.assert_array_equal(sources[index].masks[0], sources.masks[other])
        assert len(sources[index]) == 1 and sources[index].classes[0] == sources.classes[other]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (np.array([3, 0, 0]), [3, 0, 0]),
        ([True, False, False, True], [0, 3]),
        (np.array([], dtype=int), []),
        ([], []),
        (slice(4, 9), []),
    ],
)
def test_slices_masks_and_arrays_pick_sources(index, expected, sources):
    picked = sources[index]
    assert picked.scores.tolist() == [sources.scores[i] for i in expected]
    assert picked.shape == sources.shape and len(picked.crops) == len(expected)
    np.testing.assert_array_equal(picked.masks, sources.masks[expected])


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (4, "There are 4 sources"),
        ([-5], "There are 4 sources"),
        ([True, False], "A mask of 2 entries cannot pick among 4 sources"),
        ([0.5], "picked by whole numbers"),
        ((0, 1, [2]), "inhomogeneous|picked by whole numbers"),
        ("a", "picked by whole numbers"),
    ],
)
def test_wrong_indices_are_refused(index, words, sources):
    with pytest.raises((IndexError, ValueError), match=words):
        sources[index]


def test_concatenation_needs_one_frame_and_one_kind(sources):
    plain = Instances(sources.shape, sources.boxes, sources.crops)
    both = Instances.concatenate(iter([plain, plain]))
    assert len(both) == 8 and both.classes is None
    with pytest.raises(ValueError, match=r"parts\[1\] has no classes, but parts\[0\] has"):
        Instances.concatenate([sources, plain])
    with pytest.raises(ValueError, match="bring them into one frame with shift"):
        Instances.concatenate([sources, sources.shift(0, 0, (20, 20))])
    with pytest.raises(ValueError, match="parts is empty"):
        Instances.concatenate([])


def test_numpy_does_not_take_instances_apart(sources):
    assert np.ndim(sources) == 0
    array = np.asarray([sources, sources], dtype=object)
    assert array.shape == (2,) and array[1] is sources
    assert iou_score([sources], [sources]) == 1 == iou_score(array, array)
