import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.metrics import panoptic_quality


def blocks(rng, low, high, cells, size):
    return np.kron(
        rng.integers(low, high, (cells, cells)), np.ones((size, size), dtype=np.int32)
    ).astype(np.int32)


def random_panoptic(seed, n_images=3, lowest_class=-1):
    """Truth with void, and a prediction that is the truth with errors and without void."""
    rng = np.random.default_rng(seed)
    truth = np.stack(
        [
            np.stack([blocks(rng, lowest_class, 3, 6, 4), blocks(rng, 0, 4, 3, 8)])
            for _ in range(n_images)
        ]
    )
    predicted = truth.copy()
    wrong = rng.random(predicted.shape) < rng.choice([0.02, 0.1, 0.3])
    predicted[wrong] = rng.integers(0, 3, wrong.sum())
    predicted[:, 0][predicted[:, 0] < 0] = rng.integers(0, 3)
    return truth, predicted


@given(st.integers(0, 2**32 - 1), st.sampled_from([-1, 0]))
@settings(max_examples=25, deadline=None)
def test_quality_equals_that_of_torchmetrics(seed, lowest_class):
    import torch
    from torchmetrics.functional import detection as functional

    truth, predicted = random_panoptic(seed, lowest_class=lowest_class)
    ours = panoptic_quality(truth, predicted)
    target, preds = (torch.tensor(np.moveaxis(panoptic, 1, -1)) for panoptic in (truth, predicted))
    classes = {
        "things": {1, 2},
        "stuffs": {0},
    }  # torchmetrics takes other classes of the truth as void
    mean = functional.panoptic_quality(preds, target, **classes, return_sq_and_rq=True)
    assert (ours.pq, ours.sq, ours.rq) == pytest.approx(mean.tolist())
    each = functional.panoptic_quality(
        preds, target, **classes, return_sq_and_rq=True, return_per_class=True
    )
    for class_id, row in zip((1, 2, 0), each.tolist(), strict=True):
        assert ours.per_class[class_id][:3] == pytest.approx(row)


def test_void_is_treated_as_in_the_paper():
    truth = np.array([[[-1, -1, -1, 1, 1, 1, 0, 0]], [[0, 0, 0, 1, 1, 1, 0, 0]]])
    inside_void = np.array([[[2, 2, 0, 1, 1, 1, 0, 0]], [[5, 5, 0, 1, 1, 1, 0, 0]]])
    quality = panoptic_quality(truth[None], inside_void[None])
    assert 2 not in quality.per_class  # a segment mostly in void is no error
    assert quality.pq == 1  # and void pixels do not enter the IoU
    half_in_void = np.array([[[0, 0, 2, 2, 1, 1, 0, 0]], [[0, 0, 5, 5, 1, 1, 0, 0]]])
    quality = panoptic_quality(truth[None], half_in_void[None])
    assert quality.per_class[2].fp == 1  # half is not more than half
    assert quality.per_class[1].sq == pytest.approx(2 / 3)
    assert panoptic_quality(truth[None], inside_void[None], void=-9).pq < 1
    assert panoptic_quality(truth[None], truth[None]).pq == 1  # void in both


def test_void_pixels_of_a_prediction_belong_to_no_segment():
    truth = np.array([[[1, 1, 1, 0]], [[1, 1, 1, 0]]])
    predicted = np.array([[[1, 1, -1, 0]], [[1, 1, 0, 0]]])
    quality = panoptic_quality(truth[None], predicted[None])
    assert list(quality.per_class) == [0, 1]
    assert quality.per_class[1].sq == pytest.approx(2 / 3)
    void = np.stack([np.full((1, 4), -1), np.zeros((1, 4), int)])
    nothing = panoptic_quality(truth[None], void[None])
    assert (nothing.all.tp, nothing.all.fp, nothing.all.fn) == (0, 0, 2)
    assert np.isnan(panoptic_quality(void[None], predicted[None]).pq)


def test_every_form_of_a_segmentation_scores_the_same():
    rng = np.random.default_rng(0)
    y_true, y_pred = (np.stack([blocks(rng, 0, 3, 4, 5) for _ in range(2)]) for _ in range(2))
    expected = panoptic_quality(y_true, y_pred)
    instances = [Instances.from_label_map(predicted_map) for predicted_map in y_pred]
    assert panoptic_quality(y_true, instances) == expected
    assert panoptic_quality(y_true, [sources.to_panoptic() for sources in instances]) == expected
    assert (
        panoptic_quality(list(y_true), np.stack([sources.to_panoptic() for sources in instances]))
        == expected
    )


def test_boolean_masks_are_split_into_components():
    labels = np.array([[1, 0, 2]])
    assert panoptic_quality(labels, labels > 0).pq == 1


def test_a_perfect_and_an_empty_prediction():
    labels = np.array([[1, 1, 0, 2], [0, 0, 0, 2]])
    perfect = panoptic_quality(labels, labels)
    assert perfect.all[:3] == perfect.things[:3] == perfect.stuff[:3] == (1, 1, 1)
    empty = panoptic_quality(labels, np.zeros_like(labels))
    assert empty.things == (0, 0, 0, 0, 0, 2)
    assert empty.stuff == (
        0,
        0,
        0,
        0,
        1,
        1,
    )  # half of what it calls sky is sky, and a match needs more
    nothing = panoptic_quality(np.zeros_like(labels), np.zeros_like(labels))
    assert nothing.pq == 1
    assert np.isnan(nothing.things.pq)


def test_qualities_multiply_and_counts_add_up():
    truth, predicted = random_panoptic(1)
    quality = panoptic_quality(truth, predicted)
    for row in quality.per_class.values():
        assert row.pq == pytest.approx(row.sq * row.rq)
        assert row.rq == pytest.approx(row.tp / (row.tp + (row.fp + row.fn) / 2))
    assert quality.all.tp == sum(row.tp for row in quality.per_class.values())
    assert quality.pq == pytest.approx(np.mean([row.pq for row in quality.per_class.values()]))
    assert quality.things.pq == pytest.approx(np.mean([quality.per_class[k].pq for k in (1, 2)]))


def test_stuff_is_a_choice():
    truth = np.array([[[1, 1, 1, 1]], [[1, 1, 2, 2]]])
    predicted = np.array([[[1, 1, 1, 1]], [[3, 3, 3, 3]]])
    assert panoptic_quality(truth[None], predicted[None]).per_class[1].tp == 0
    assert panoptic_quality(truth[None], predicted[None], stuff=(0, 1)).stuff.pq == 1


def test_prints_as_a_table():
    lines = str(panoptic_quality(np.array([[1, 0, 0]]), np.array([[1, 0, 0]]))).splitlines()
    assert [line.split()[0] for line in lines] == ["PQ", "all", "things", "stuff", "sky", "galaxy"]
    assert lines[-1].split() == ["galaxy", "1.000", "1.000", "1.000", "1", "0", "0"]


def test_bad_maps_are_refused():
    good = np.zeros((1, 2, 3, 3), dtype=int)
    with pytest.raises(ValueError, match=r"y_pred\[0\] has shape \(3, 4\)"):
        panoptic_quality(good, np.zeros((1, 2, 3, 4), dtype=int))
    with pytest.raises(ValueError, match=r"y_true\[0\]\[1\] must be 0 for background and positive"):
        panoptic_quality(np.stack([good[:, 0], good[:, 1] - 1], axis=1), good)
    with pytest.raises(ValueError, match=r"y_pred\[0\]\[0\] must hold the class of every pixel"):
        panoptic_quality(good, good + 0.5)
