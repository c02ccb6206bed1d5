import re

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from galaxysegment import Instances, metrics

PEERS = {
    metrics.iou_score: sklearn.metrics.jaccard_score,
    metrics.dice_score: sklearn.metrics.f1_score,
    metrics.f1_score: sklearn.metrics.f1_score,
    metrics.precision_score: sklearn.metrics.precision_score,
    metrics.recall_score: sklearn.metrics.recall_score,
}
ALL = [*PEERS, metrics.accuracy_score]

stacks = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(*[arrays(np.int32, shape, elements=st.integers(0, 3))] * 2)
)


def peer_scores(score, y_true, y_pred):
    peer = PEERS[score]
    values = []
    for truth, predicted in zip(y_true > 0, y_pred > 0, strict=True):
        both_empty = not truth.any() and not predicted.any()  # ours is 1 there by definition
        values.append(
            1.0 if both_empty else peer(truth.ravel(), predicted.ravel(), zero_division=0)
        )
    return values


@pytest.mark.parametrize("score", PEERS)
@given(stacks)
def test_scores_equal_those_of_scikit_learn(score, pair):
    y_true, y_pred = pair
    expected = peer_scores(score, y_true, y_pred)
    np.testing.assert_allclose(score(y_true, y_pred, average=None), expected)
    np.testing.assert_allclose(score(y_true, y_pred), np.mean(expected))
    pooled = peer_scores(score, y_true.reshape(1, -1), y_pred.reshape(1, -1))
    np.testing.assert_allclose(score(y_true, y_pred, average="pixels"), pooled[0])


@given(stacks)
def test_accuracy_equals_that_of_scikit_learn(pair):
    y_true, y_pred = pair
    expected = sklearn.metrics.accuracy_score((y_true > 0).ravel(), (y_pred > 0).ravel())
    assert metrics.accuracy_score(y_true, y_pred, average="pixels") == pytest.approx(expected)
    assert metrics.accuracy_score(y_true, y_pred) == pytest.approx(expected)  # images of one size


@pytest.mark.parametrize("score", ALL)
def test_every_form_of_a_segmentation_scores_the_same(score):
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 3, (2, 3, 7, 8))
    expected = score(y_true, y_pred)
    assert 0 < expected < 1
    assert score(y_true > 0, (y_pred > 0).astype(np.uint8)) == expected
    assert score(list(y_true), [predicted_map.tolist() for predicted_map in y_pred]) == expected
    assert (
        score([Instances.from_label_map(true_map) for true_map in y_true], y_pred.astype(">f4"))
        == expected
    )
    panoptic = np.stack(
        [np.stack([predicted_map > 0, predicted_map]) for predicted_map in y_pred]
    ).astype(np.int32)
    assert score(y_true, panoptic) == expected
    assert score(y_true, list(panoptic)) == expected


@pytest.mark.parametrize("score", ALL)
def test_one_image_stands_for_itself(score):
    y_true, y_pred = np.array([[0, 1, 1, 0]]), np.array([[0, 0, 1, 1]])
    expected = score(y_true[None], y_pred[None])
    assert score(y_true, y_pred) == expected
    assert score(y_true.tolist(), y_pred.tolist()) == expected
    assert score(Instances.from_label_map(y_true), Instances.from_label_map(y_pred)) == expected
    assert score(y_true, y_pred, average=None).tolist() == [expected]


@pytest.mark.parametrize("score", ALL)
def test_images_of_different_sizes(score):
    rng = np.random.default_rng(1)
    y_true = [rng.integers(0, 2, shape) for shape in [(4, 5), (9, 3), (2, 2)]]
    y_pred = [rng.integers(0, 2, true_map.shape) for true_map in y_true]
    separate = [score(*pair) for pair in zip(y_true, y_pred, strict=True)]
    assert score(y_true, y_pred) == pytest.approx(np.mean(separate))
    ragged = np.empty(3, dtype=object)
    ragged[:] = y_true
    assert score(ragged, y_pred, average=None).tolist() == separate


@pytest.mark.parametrize("score", ALL)
def test_two_empty_images_agree(score):
    assert score(np.zeros((2, 3, 3), dtype=int), np.zeros((2, 3, 3), dtype=int)) == 1.0


@pytest.mark.parametrize("average", ["images", "pixels"])
def test_zero_division(average):
    empty, full = np.zeros((3, 3), dtype=int), np.ones((3, 3), dtype=int)
    assert metrics.precision_score(full, empty, average=average) == 0
    assert metrics.precision_score(full, empty, average=average, zero_division=1) == 1
    assert metrics.recall_score(empty, full, average=average) == 0
    assert metrics.recall_score(empty, full, average=average, zero_division=1) == 1
    assert np.isnan(metrics.recall_score(empty, full, average=average, zero_division=np.nan))


def test_nan_leaves_an_image_out_of_the_mean():
    y_true, y_pred = np.array([[[1, 1]], [[1, 1]]]), np.array([[[1, 0]], [[0, 0]]])
    assert metrics.precision_score(y_true, y_pred) == 0.5
    assert metrics.precision_score(y_true, y_pred, zero_division=np.nan) == 1.0


@pytest.mark.parametrize("score", ALL)
@given(stacks, st.integers(0, 2**32 - 1))
def test_ignored_pixels_do_not_count(score, pair, seed):
    y_true, y_pred = pair
    ignore = np.random.default_rng(seed).random(y_true.shape) < 0.3
    expected = score(y_true[~ignore][None], y_pred[~ignore][None])
    assert score(y_true, y_pred, ignore=ignore, average="pixels") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "options", "message"),
    [
        (
            np.zeros((2, 3, 3), int),
            np.zeros((1, 3, 3), int),
            {},
            r"y_true holds 2 images, but y_pred holds 1",
        ),
        (
            np.zeros((2, 3, 3), int),
            np.zeros((2, 3, 4), int),
            {},
            r"y_pred\[0\] has shape \(3, 4\), but y_true\[0\]",
        ),
        (
            np.zeros(3, int),
            np.zeros(3, int),
            {},
            r"y_true must be a \(height, width\).*Got shape \(3,\)",
        ),
        (np.zeros((1, 3, 3, 3), int), np.zeros((1, 3, 3), int), {}, r"Got shape \(1, 3, 3, 3\)"),
        (
            [np.zeros((3, 3, 3), int)],
            np.zeros((1, 3, 3), int),
            {},
            r"y_true\[0\] must be.*Got shape \(3, 3, 3\)",
        ),
        (np.zeros((3, 3), int), np.full((3, 3), 0.5), {}, r"y_pred\[0\] must hold whole numbers"),
        (
            np.zeros((3, 3), int),
            np.full((3, 3), -1),
            {},
            r"y_pred\[0\] must be 0 for background and positive",
        ),
        (
            np.zeros((3, 3), int),
            np.zeros((3, 3), int),
            {"average": "macro"},
            r"average must be one of .*'macro'",
        ),
        (
            np.zeros((3, 3), int),
            np.zeros((3, 3), int),
            {"ignore": np.zeros((2, 3, 3), bool)},
            r"ignore holds 2 masks for 1",
        ),
        (
            np.zeros((3, 3), int),
            np.zeros((3, 3), int),
            {"ignore": np.zeros((3, 4), bool)},
            r"ignore\[0\] has shape",
        ),
        ([], [], {}, r"y_true holds 0 images"),
    ],
)
def test_bad_input_is_refused(y_true, y_pred, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.iou_score(y_true, y_pred, **options)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 4), ()])
@pytest.mark.parametrize("score", ALL)
def test_what_are_no_maps_is_refused(score, shape):
    with pytest.raises(
        ValueError,
        match=rf"y_true must be a .*label map.*Got shape {re.escape(str(shape))} instead",
    ):
        score(np.zeros(shape), np.zeros((4, 4)))
