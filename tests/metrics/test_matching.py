from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from galaxysegment import Instances
from galaxysegment.metrics import _matching
from galaxysegment.metrics._matching import best_pairs, find_overlaps, touching_boxes

maps = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(*[arrays(np.int32, shape, elements=st.integers(0, 4))] * 2)
)
boxes = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)),
    max_size=12,
).map(
    lambda rows: np.array([(y, x, y + h, x + w) for y, x, h, w in rows], dtype=np.int64).reshape(
        -1, 4
    )
)


def dense_iou(y_true, y_pred):
    """IoU of every pair, the slow way."""
    true, pred = y_true.masks, y_pred.masks
    return np.array([[(a & b).sum() / (a | b).sum() for b in pred] for a in true]).reshape(
        len(true), len(pred)
    )


def sparse_iou(overlaps):
    table = np.zeros((len(overlaps.true), len(overlaps.pred)))
    table[overlaps.i, overlaps.j] = overlaps.iou
    return table


@given(maps)
def test_overlaps_of_label_maps_and_instances_equal_the_dense_ones(pair):
    y_true, y_pred = map(Instances.from_label_map, pair)
    expected = dense_iou(y_true, y_pred)
    for forms in (pair, (y_true, y_pred), (pair[0], y_pred)):
        overlaps = find_overlaps(*forms)
        np.testing.assert_allclose(sparse_iou(overlaps), expected)
        assert overlaps.true.areas.tolist() == y_true.areas.tolist()
        assert overlaps.pred.areas.tolist() == y_pred.areas.tolist()


def test_overlapping_instances_of_several_images(make_pair):
    y_true, y_pred = make_pair(3, n_images=5)
    overlaps = find_overlaps(y_true, y_pred)
    table = sparse_iou(overlaps)
    for index, (truth, predicted) in enumerate(zip(y_true, y_pred, strict=True)):
        rows, columns = overlaps.true.image == index, overlaps.pred.image == index
        np.testing.assert_allclose(table[rows][:, columns], dense_iou(truth, predicted))
        assert not table[rows][:, ~columns].any()


def test_classes_of_panoptic_maps_are_read():
    labels, semantic = np.array([[5, 5, 0, 2]]), np.array([[2, 2, 0, 1]])
    panoptic = np.stack([semantic, labels])
    overlaps = find_overlaps(panoptic[None], [labels])
    assert overlaps.true.classes.tolist() == [1, 2]
    assert overlaps.true.told_apart
    assert not overlaps.pred.told_apart
    as_instances = find_overlaps(panoptic[None], Instances.from_label_map(labels))
    assert as_instances.true.classes.tolist() == [1, 2]


def test_boolean_masks_are_split_into_components_and_integers_are_not():
    mask = np.array([[1, 0, 1]])
    assert len(find_overlaps(mask > 0, mask).true) == 2
    assert len(find_overlaps(mask > 0, mask).pred) == 1


@given(boxes, boxes)
def test_touching_boxes_are_all_found_once(first, second):
    i, j, corners = touching_boxes(first, second)
    expected = [
        (a, b)
        for a, (y0, x0, y1, x1) in enumerate(first.tolist())
        for b, (v0, u0, v1, u1) in enumerate(second.tolist())
        if max(y0, v0) < min(y1, v1) and max(x0, u0) < min(x1, u1)
    ]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(corners[:, :2], np.maximum(first[i, :2], second[j, :2]))
    np.testing.assert_array_equal(corners[:, 2:], np.minimum(first[i, 2:], second[j, 2:]))


def best_by_exhaustion(table, iou):
    """Largest (number of matches, sum of IoU) over all one-to-one choices of pairs."""
    pairs = np.argwhere((table >= iou) & (table > 0)).tolist()
    best = (0, 0.0)
    for size in range(1, min(len(pairs), *table.shape) + 1):
        for choice in combinations(pairs, size):
            rows, columns = zip(*choice, strict=True)
            if len(set(rows)) == len(set(columns)) == size:
                best = max(best, (size, round(sum(table[r, c] for r, c in choice), 9)))
    return best


@pytest.mark.parametrize("dense_pairs", [250_000, 0])
@pytest.mark.parametrize("seed", range(6))
def test_matching_is_optimal(seed, dense_pairs, monkeypatch):
    monkeypatch.setattr(
        _matching, "_DENSE_PAIRS", dense_pairs
    )  # 0 sends every component to the sparse solver
    rng = np.random.default_rng(seed)

    def crowd(n):
        corners = rng.integers(0, 4, (n, 2))
        sizes = rng.integers(3, 7, (n, 2))
        crops = [np.ones(size, dtype=bool) for size in sizes]
        return Instances((12, 12), np.hstack([corners, corners + sizes]), crops)

    y_true, y_pred = crowd(4), crowd(4)
    for iou in (0.2, 0.4, 0.6):
        overlaps = find_overlaps(y_true, y_pred)
        chosen = best_pairs(overlaps, iou)
        rows, columns = overlaps.i[chosen], overlaps.j[chosen]
        assert len(set(rows)) == len(set(columns)) == len(chosen)
        assert (overlaps.iou[chosen] >= iou).all()
        expected = best_by_exhaustion(dense_iou(y_true, y_pred), iou)
        assert (len(chosen), overlaps.iou[chosen].sum()) == (
            expected[0],
            pytest.approx(expected[1]),
        )


def test_greed_would_lose_a_match_that_the_optimum_finds():
    y_true = Instances((1, 20), [(0, 0, 1, 10), (0, 3, 1, 13)], [np.ones((1, 10), bool)] * 2)
    y_pred = Instances((1, 20), [(0, 2, 1, 12), (0, 5, 1, 15)], [np.ones((1, 10), bool)] * 2)
    # The best single pair, true 1 with prediction 0 at .82, leaves true 0 only prediction 1 at 1/3.
    overlaps = find_overlaps(y_true, y_pred)
    chosen = best_pairs(overlaps, 0.5)
    assert list(zip(overlaps.i[chosen], overlaps.j[chosen], strict=True)) == [(0, 0), (1, 1)]


def test_contested_sources_may_have_any_numbers():
    """Two true sources, of which the second comes long after, contend for the only prediction."""
    starts = [4, *(100 + 20 * k for k in range(20)), 2]
    crops = [np.ones((1, 10), dtype=bool)] * len(starts)
    y_true = Instances((1, 600), [(0, x, 1, x + 10) for x in starts], crops)
    y_pred = Instances((1, 600), [(0, 3, 1, 13)], crops[:1])
    for pair in ((y_true, y_pred), (y_pred, y_true)):
        overlaps = find_overlaps(*pair)
        assert len(overlaps.i) == 2 and len(best_pairs(overlaps, 0.5)) == 1


def test_a_mosaic_of_many_sources_stays_sparse():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 8000, (20_000, 2))
    stamp = np.ones((6, 6), dtype=bool)
    y_true = Instances((8010, 8010), np.hstack([corners, corners + 6]), [stamp] * 20_000)
    y_pred = y_true.shift(1, 0)
    overlaps = find_overlaps(y_true, y_pred)
    assert len(overlaps.i) < 25_000
    assert len(best_pairs(overlaps, 0.5)) == 20_000


def test_kind_is_checked():
    with pytest.raises(ValueError, match=r"kind must be .segm. or .bbox.\. Got .mask."):
        find_overlaps(np.zeros((2, 2), int), np.zeros((2, 2), int), "mask")


def test_scores_must_be_numbers():
    detections = Instances((2, 2), [(0, 0, 1, 1)], [np.ones((1, 1), bool)], scores=[np.nan])
    with pytest.raises(ValueError, match=r"y_pred\[0\].scores holds NaN"):
        find_overlaps(np.zeros((2, 2), int), detections)
