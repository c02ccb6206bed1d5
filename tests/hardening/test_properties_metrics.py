"""Properties of scores: ranges, symmetries, and what they say of each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from properties import covers, few, fewer, instances, pairs, shapes
from sklearn.base import BaseEstimator

from galaxysegment import Instances, metrics
from galaxysegment.structures import relabel

PIXEL = ("iou", "dice", "f1", "precision", "recall", "accuracy")


def pixel_scores(y_true, y_pred):
    return {
        name: getattr(metrics, f"{name}_score")(y_true[None] > 0, y_pred[None] > 0)
        for name in PIXEL
    }


@covers(
    "metrics.iou_score",
    "metrics.dice_score",
    "metrics.f1_score",
    "metrics.precision_score",
    "metrics.recall_score",
    "metrics.accuracy_score",
)
@given(pairs())
@few
def test_pixel_scores_agree_with_each_other(maps):
    scores, back = pixel_scores(*maps), pixel_scores(*maps[::-1])
    assert all(0 <= value <= 1 for value in scores.values())
    assert scores["dice"] == pytest.approx(2 * scores["iou"] / (1 + scores["iou"])) == scores["f1"]
    for name in ("iou", "dice", "f1", "accuracy"):
        assert scores[name] == pytest.approx(back[name])
    if all(label_map.any() for label_map in maps):
        assert scores["precision"] == pytest.approx(back["recall"])
    assert scores["accuracy"] == pytest.approx(np.mean((maps[0] > 0) == (maps[1] > 0)))
    assert pixel_scores(*(label_map[::-1] for label_map in maps)) == pytest.approx(scores)
    assert pixel_scores(maps[0], maps[0])["iou"] == 1


@covers("metrics.detection_scores", "metrics.panoptic_quality", "metrics.average_precision")
@given(pairs(), st.sampled_from([0.5, 0.75]))
@few
def test_source_scores_do_not_see_numbers_or_mirrors(maps, iou):
    true, pred = ([relabel(label_map)] for label_map in maps)
    scores = metrics.detection_scores(true, pred, iou=iou)
    assert scores.n_true == true[0].max() and scores.n_pred == pred[0].max()
    assert 0 <= scores.n_matched <= min(scores.n_true, scores.n_pred)
    mirrored = [[pair[0][::-1, ::-1]] for pair in (true, pred)]
    renumbered = [np.where(pred[0] > 0, pred[0].max() + 1 - pred[0], 0)]
    for other in (
        metrics.detection_scores(*mirrored, iou=iou),
        metrics.detection_scores(true, renumbered, iou=iou),
    ):
        assert (other.n_true, other.n_pred) == (scores.n_true, scores.n_pred)
        np.testing.assert_allclose(other.f1, scores.f1)
    quality = metrics.panoptic_quality(true, pred)
    np.testing.assert_allclose(metrics.panoptic_quality(*mirrored).pq, quality.pq)
    assert np.isnan(quality.pq) or 0 <= quality.pq <= 1
    precision = metrics.average_precision(true, pred, iou=iou)
    assert np.isnan(precision) == (true[0].max() == 0) and (
        np.isnan(precision) or 0 <= precision <= 1
    )
    if true[0].any():
        assert metrics.average_precision(true, true) == pytest.approx(1)
        assert metrics.detection_scores(true, true).f1 == 1


@covers("metrics.precision_recall_curve", "metrics.coco_summary", "metrics.average_precision")
@given(pairs(), instances())
@fewer
def test_the_curve_the_table_and_the_number_agree(maps, sources):
    true = relabel(np.resize(maps[0], sources.shape))
    precision, recall, thresholds = metrics.precision_recall_curve([true], [sources])
    assert len(precision) == len(recall) == len(thresholds) + 1 and precision[-1] == 1
    assert (np.diff(thresholds) > 0).all() and ((precision >= 0) & (precision <= 1)).all()
    if not true.any():
        assert np.isnan(recall[:-1]).all()
        return
    assert (np.diff(recall) <= 0).all() and recall[-1] == 0
    summary = metrics.coco_summary([true], [sources])
    assert summary["n_true"] == true.max() and 0 <= summary["AR"] <= 1
    assert summary["AP"] == pytest.approx(metrics.average_precision([true], [sources]), abs=1e-6)
    assert summary["AP50"] == pytest.approx(
        metrics.average_precision([true], [sources], iou=0.5), abs=1e-6
    )


@st.composite
def probabilities(draw):
    shape = draw(shapes())
    truth = draw(hnp.arrays(bool, shape))
    return truth, draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))


@covers("metrics.brier_score", "metrics.expected_calibration_error", "metrics.reliability_curve")
@given(probabilities(), st.integers(1, 12))
@few
def test_calibration(drawn, n_bins):
    truth, proba = drawn
    brier = metrics.brier_score(truth[None], proba[None])
    assert brier == pytest.approx(np.mean((truth - proba.astype(float)) ** 2), abs=1e-6)
    error = metrics.expected_calibration_error(truth[None], proba[None], n_bins=n_bins)
    curve = metrics.reliability_curve(truth[None], proba[None], n_bins=n_bins)
    assert curve.count.sum() == truth.size and len(curve.count) == n_bins
    gap = (
        np.nansum(
            curve.count * np.abs(np.nan_to_num(curve.observed) - np.nan_to_num(curve.predicted))
        )
        / truth.size
    )
    assert error == pytest.approx(gap, abs=1e-6) and 0 <= error <= 1
    assert metrics.brier_score(truth[None], truth[None].astype(float)) == 0


class Oracle(BaseEstimator):
    """Predicts what it was given, in the form that is asked for."""

    def __init__(self, labels):
        self.labels = labels

    def predict(self, X, output="labels"):
        sources = [Instances.from_label_map(label_map) for label_map in self.labels]
        panoptic = np.stack([instances.to_panoptic() for instances in sources])
        return {"labels": self.labels, "instances": sources, "panoptic": panoptic}[output]

    def predict_proba(self, X):
        return (self.labels > 0).astype(np.float32)


@covers(
    "metrics.get_scorer",
    "metrics.accuracy_scorer",
    "metrics.ap_scorer",
    "metrics.calibration_scorer",
    "metrics.detection_f1_scorer",
    "metrics.dice_scorer",
    "metrics.f1_scorer",
    "metrics.iou_scorer",
    "metrics.pq_scorer",
    "metrics.precision_scorer",
    "metrics.recall_scorer",
)
@given(pairs())
@fewer
def test_scorers_score_what_the_metrics_score(maps):
    true, pred = (relabel(label_map)[None] for label_map in maps)
    true[0, 0, 0], pred[0, -1, -1] = 1, 1
    for name in set(metrics.scorer_names()) - {"separation"}:  # that needs light: see below
        scorer = metrics.get_scorer(name)
        assert scorer is getattr(metrics, f"{name}_scorer")
        assert scorer(Oracle(true), true, true) == pytest.approx(1)
        assert 0 <= scorer(Oracle(pred), true, true) <= 1
    assert metrics.get_scorer("iou")(Oracle(pred), true, true) == pytest.approx(
        metrics.iou_score(true, pred)
    )


@covers("metrics.source_calibration_error", "metrics.source_reliability_curve")
@given(pairs(), instances())
@few
def test_calibration_of_sources(maps, sources):
    true = [relabel(np.resize(maps[0], sources.shape))]
    curve = metrics.source_reliability_curve(true, [sources], n_bins=4)
    assert curve.count.sum() == len(sources)
    seen = curve.count > 0
    assert ((curve.observed[seen] >= 0) & (curve.observed[seen] <= 1)).all()
    error = metrics.source_calibration_error(true, [sources], n_bins=4)
    assert np.isnan(error) == (len(sources) == 0)
    if len(sources):
        gaps = np.abs(curve.observed - curve.predicted)[seen]
        assert error == pytest.approx(np.average(gaps, weights=curve.count[seen]))
