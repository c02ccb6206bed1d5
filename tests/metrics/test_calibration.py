"""Reliability of probability maps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from galaxysegment import Instances, KMeansSegmenter
from galaxysegment.base import ProbabilisticSegmenter
from galaxysegment.metrics import (
    brier_score,
    calibration_scorer,
    expected_calibration_error,
    get_scorer,
    reliability_curve,
    source_calibration_error,
    source_reliability_curve,
)


@pytest.fixture
def maps():
    """Labels drawn with the probabilities themselves: calibrated but for chance."""
    rng = np.random.default_rng(0)
    proba = rng.uniform(size=(3, 60, 50)).astype(np.float32)
    return (rng.uniform(size=proba.shape) < proba).astype(np.int32), proba


class Constant(ProbabilisticSegmenter):
    """Says `proba` of every pixel."""

    _requires_fit = False

    def __init__(self, *, proba=0.5, n_pixels=1, deblend=False):
        self.proba = proba
        self.n_pixels = n_pixels
        self.deblend = deblend

    def _image_proba(self, image):
        return np.full(image.shape[1:], self.proba, dtype=np.float32)


def test_the_curve_is_that_of_scikit_learn(maps):
    y, proba = maps
    curve = reliability_curve(y, proba, n_bins=8)
    observed, predicted = calibration_curve(y.ravel(), proba.ravel(), n_bins=8)
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.predicted, predicted, rtol=1e-6)
    assert curve.count.sum() == y.size
    assert brier_score(y, proba) == pytest.approx(brier_score_loss(y.ravel(), proba.ravel()))


def test_calibrated_probabilities_err_by_chance_only(maps):
    y, proba = maps
    assert expected_calibration_error(y, proba) < 0.02
    assert expected_calibration_error(y, proba**3) > 0.2
    assert brier_score(y, proba) < brier_score(y, proba**3)


def test_forms_of_the_truth_agree(maps):
    y, proba = maps
    expected = reliability_curve(y, proba)
    forms = (
        y > 0,
        [Instances.from_label_map(truth) for truth in y],
        np.stack([y > 0, y], axis=1).astype(int),
        list(3 * y),
    )
    for form in forms:
        for got, wanted in zip(reliability_curve(form, list(proba)), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_pixels_that_do_not_count(maps):
    y, proba = maps
    hidden = np.zeros(y.shape, dtype=bool)
    hidden[:, :20] = True
    expected = reliability_curve(y[:, 20:], proba[:, 20:])
    by_mask = reliability_curve(y, proba, ignore=hidden)
    by_nan = reliability_curve(y, np.where(hidden, np.nan, proba))
    for got in (by_mask, by_nan):
        for values, wanted in zip(got, expected, strict=True):
            np.testing.assert_array_equal(values, wanted)
    assert np.isnan(brier_score(y, proba, ignore=np.ones_like(hidden)))
    assert np.isnan(expected_calibration_error(y, np.full(y.shape, np.nan)))


def test_empty_bins_are_nan():
    curve = reliability_curve([[0, 1]], [[0.05, 0.95]], n_bins=10)
    assert np.isnan(curve.predicted[1:9]).all()
    assert np.isnan(curve.observed[1:9]).all()
    assert curve.count.tolist() == [1, *[0] * 8, 1]


def test_edges_of_bins():
    curve = reliability_curve([[0, 0, 1]], [[0.0, 0.5, 1.0]], n_bins=2)
    assert curve.count.tolist() == [1, 2]


@settings(max_examples=50, deadline=None)
@given(
    proba=arrays(np.float64, (2, 4, 5), elements=st.floats(0, 1)),
    truth=arrays(np.bool_, (2, 4, 5)),
    n_bins=st.integers(1, 12),
)
def test_what_always_holds(proba, truth, n_bins):
    curve = reliability_curve(truth, proba, n_bins=n_bins)
    filled = curve.count > 0
    assert curve.count.sum() == proba.size
    edges = np.linspace(0, 1, n_bins + 1)
    assert (curve.predicted[filled] >= edges[:-1][filled] - 1e-12).all()
    assert (curve.predicted[filled] <= edges[1:][filled] + 1e-12).all()
    assert (curve.observed[filled] * curve.count[filled]).sum() == pytest.approx(
        np.count_nonzero(truth)
    )
    error = expected_calibration_error(truth, proba, n_bins=n_bins)
    gaps = np.abs(curve.predicted - curve.observed)[filled]
    assert error == pytest.approx(np.average(gaps, weights=curve.count[filled]))
    # the mean of squares is at least the square of the mean of what is left in a bin
    assert error**2 <= brier_score(truth, proba) + 1e-12
    assert brier_score(truth, truth.astype(float)) == 0


@pytest.mark.parametrize(
    ("y", "proba", "message"),
    [
        (
            [[0, 1]],
            [[0.5, 1.5]],
            r"proba\[0\] must hold probabilities, between 0 and 1\. Got values from 0.5 to 1.5",
        ),
        ([[0, 1]], [[-0.1, 0.5]], r"Got values from -0.1 to 0.5"),
        (
            [[0, 1]],
            [[0.5, 0.5, 0.5]],
            r"proba\[0\] has shape \(1, 3\), but y_true\[0\] has shape \(1, 2\)",
        ),
        (np.zeros((2, 3, 3), int), np.zeros((1, 3, 3)), "proba holds 1 images, but y_true holds 2"),
        (
            np.zeros((1, 3, 3), int),
            np.zeros((1, 2, 3, 3)),
            r"proba\[0\] must be a \(height, width\) map of prob",
        ),
    ],
)
def test_bad_input(y, proba, message):
    for score in (reliability_curve, expected_calibration_error, brier_score):
        with pytest.raises(ValueError, match=message):
            score(y, proba)


def test_bad_ignore():
    with pytest.raises(
        ValueError, match=r"ignore\[0\] has shape \(2, 2\), but y_true\[0\] has shape \(1, 2\)"
    ):
        brier_score([[0, 1]], [[0.5, 0.5]], ignore=[np.ones((2, 2), bool)])
    with pytest.raises(
        ValueError, match="The 'n_bins' parameter of reliability_curve must be an int"
    ):
        reliability_curve([[0, 1]], [[0.5, 0.5]], n_bins=0)


def test_the_scorer_prefers_the_calibrated(maps):
    y, _ = maps
    X = np.random.default_rng(1).normal(size=y.shape)
    share = float((y > 0).mean())
    assert calibration_scorer(Constant(proba=share), X, y) == pytest.approx(1, abs=1e-6)
    assert calibration_scorer(Constant(proba=0.9), X, y) == pytest.approx(
        1 - abs(0.9 - share), abs=1e-6
    )
    assert get_scorer("calibration") is calibration_scorer


def test_the_scorer_needs_probabilities(maps):
    y, _ = maps
    with pytest.raises(
        TypeError, match="needs predict_proba, which KMeansSegmenter does not have: use a segmenter"
    ):
        calibration_scorer(KMeansSegmenter().fit(y.astype(float)), y.astype(float), y)


def test_uncertain_pixels_alone(maps):
    y, proba = maps
    sky, sure = np.zeros((3, 60, 500), dtype=int), np.zeros((3, 60, 500))
    wide, with_sky = np.concatenate([y, sky], axis=2), np.concatenate([proba**3, sure], axis=2)
    uncertain = {"between": (0.05, 0.95)}
    assert expected_calibration_error(wide, with_sky) < 0.04  # the sky hides the error
    expected = expected_calibration_error(y, proba**3, **uncertain)
    assert expected > 0.2
    assert expected_calibration_error(wide, with_sky, **uncertain) == pytest.approx(expected)
    curve = reliability_curve(y, proba, n_bins=4, between=(0.25, 0.5))
    assert curve.count[[0, 3]].tolist() == [0, 0]
    assert curve.count.sum() == np.count_nonzero((proba >= 0.25) & (proba <= 0.5))


def test_scores_of_sources():
    rng = np.random.default_rng(0)
    y = np.zeros((40, 100, 100), dtype=int)
    predicted = []
    for image in y:
        boxes = [(5 * r, 5 * c, 5 * r + 3, 5 * c + 3) for r in range(20) for c in range(20)]
        scores = rng.uniform(size=len(boxes))
        for label, (y0, x0, y1, x1) in enumerate(boxes, 1):
            if rng.uniform() < scores[label - 1]:
                image[y0:y1, x0:x1] = label
        crops = [np.ones((3, 3), dtype=bool)] * len(boxes)
        predicted.append(Instances((100, 100), boxes, crops, scores))
    assert source_calibration_error(y, predicted) < 0.02
    curve = source_reliability_curve(y, predicted, n_bins=5)
    np.testing.assert_allclose(curve.observed, [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.04)
    assert curve.count.sum() == 16_000
    sure = [
        Instances(sources.shape, sources.boxes, sources.crops, np.ones(len(sources)))
        for sources in predicted
    ]
    assert source_calibration_error(y, sure) == pytest.approx(0.5, abs=0.02)


def test_the_score_of_a_source_is_its_mean_probability():
    y, proba = np.zeros((1, 8, 8), dtype=int), np.full((1, 8, 8), 0.1)
    y[0, 1:3, 1:3] = 1
    predicted = y.copy()
    predicted[0, 5:8, 5:8] = 2
    proba[0, 1:3, 1:3] = [[0.9, 0.7], [0.9, 0.7]]
    proba[0, 5:8, 5:8] = 0.4
    curve = source_reliability_curve(y, predicted, proba=proba, n_bins=2)
    assert curve.predicted.tolist() == pytest.approx([0.4, 0.8])
    assert curve.observed.tolist() == [0, 1]
    assert np.isnan(source_calibration_error(y, np.zeros_like(y), proba=proba))


def test_scores_that_are_no_probabilities():
    sources = Instances.from_masks(np.ones((1, 2, 2), dtype=bool), scores=[7.5])
    with pytest.raises(ValueError, match=r"scores between 0 and 1\. Got scores from 7.5 to 7.5"):
        source_calibration_error(np.ones((2, 2), dtype=int), sources)
    with pytest.raises(ValueError, match="proba holds 2 images, but y_pred holds 1"):
        source_calibration_error(
            np.eye(3, dtype=int), np.eye(3, dtype=int), proba=np.ones((2, 3, 3))
        )


class Overconfident(ProbabilisticSegmenter):
    """Gives a pixel of brightness `b` the probability ``sigmoid(3 b)``."""

    _requires_fit = False

    def __init__(self, *, threshold=0.5, n_pixels=1, deblend=False):
        self.threshold = threshold
        self.n_pixels = n_pixels
        self.deblend = deblend

    def _image_proba(self, image):
        return (1 / (1 + np.exp(-3 * image[0]))).astype(np.float32)


@pytest.fixture
def brightness():
    """Images whose pixels are galaxy with the probability ``sigmoid(b)``, and the truth."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(4, 80, 80))
    return X, (rng.uniform(size=X.shape) < 1 / (1 + np.exp(-X))).astype(int)


@pytest.mark.parametrize("method", ["isotonic", "temperature"])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_calibrate_changes_probabilities_and_no_label(brightness, method, threshold):
    X, y = brightness
    segmenter = Overconfident(threshold=threshold)
    before, labels = segmenter.predict_proba(X[2:]), segmenter.predict(X[2:])
    assert segmenter.proba_threshold_ == threshold
    assert expected_calibration_error(y[2:], before, between=(0.05, 0.95)) > 0.1
    segmenter.calibrate(X[:2], y[:2], method=method)
    proba = segmenter.predict_proba(X[2:])
    assert expected_calibration_error(y[2:], proba, between=(0.05, 0.95)) < 0.03
    np.testing.assert_array_equal(segmenter.predict(X[2:]), labels)
    np.testing.assert_array_equal(proba > segmenter.proba_threshold_, labels > 0)
    np.testing.assert_array_equal(segmenter.fit(X, y).predict_proba(X[2:]), before)


def test_calibrate_refuses(brightness):
    X, y = brightness
    with pytest.raises(ValueError, match=r"method must be one of .* Got 'platt' instead"):
        Overconfident().calibrate(X, y, method="platt")
    with pytest.raises(ValueError, match="have only sky"):
        Overconfident().calibrate(X, np.zeros_like(y))


def test_calibrate_leaves_out_pixels_without_data(brightness):
    X, y = brightness
    gap, false = X.copy(), y.copy()
    gap[:, :40], false[:, :40] = np.nan, 1
    first = Overconfident().calibrate(gap, false).calibration_
    second = Overconfident().calibrate(X[:, 40:], y[:, 40:]).calibration_
    np.testing.assert_array_equal(first, second)
