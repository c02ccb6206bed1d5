"""Scorers, ``scorer(estimator, X, y)``: metrics as scikit-learn's model selection calls them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import make_scorer

from .._utils.validation import check_weights
from ..structures import Instances, is_binary
from ..structures._types import Images, Predictor, Sources
from . import _pixel
from ._calibration import expected_calibration_error
from ._inputs import as_image_list, is_panoptic
from ._instance import average_precision, detection_scores
from ._panoptic import panoptic_quality
from ._separation import separation_scores

__all__ = [
    "accuracy_scorer",
    "ap_scorer",
    "calibration_scorer",
    "detection_f1_scorer",
    "dice_scorer",
    "f1_scorer",
    "get_scorer",
    "iou_scorer",
    "pq_scorer",
    "precision_scorer",
    "recall_scorer",
    "scorer_names",
    "separation_scorer",
]


class _NamedScorer:
    """A scorer that is shown and pickled by the name that `get_scorer` knows it by."""

    name: str

    def __repr__(self):
        return f"get_scorer({self.name!r})"

    def __reduce__(self):
        return get_scorer, (self.name,)


class SourceScorer(_NamedScorer):
    """Score a segmenter by a metric of sources, which needs more than its label maps.

    Parameters
    ----------
    name : str
        The name under which `get_scorer` finds it.
    metric : callable
        ``metric(y_true, y_pred)`` returns a number, larger is better.
    output : {"labels", "instances", "panoptic"}
        What to ask the segmenter's ``predict`` for.
    """

    def __init__(self, name, metric, output):
        self.name = name
        self.metric = metric
        self.output = output

    def __call__(self, estimator, X, y):
        """Predict `X` and compare with the truth `y`, read as ``fit`` reads it."""
        return self.metric(_as_fit_reads(y), estimator.predict(X, output=self.output))


class CalibrationScorer(_NamedScorer):
    """Score the probabilities of a segmenter: 1 minus their `expected_calibration_error`."""

    name = "calibration"

    def __call__(self, estimator, X, y):
        """Compare ``estimator.predict_proba(X)`` with the truth `y`, read as ``fit`` reads it."""
        if not hasattr(estimator, "predict_proba"):
            raise TypeError(
                "The scorer 'calibration' needs predict_proba, which "
                f"{type(estimator).__name__} does not have: use a segmenter with probabilities, "
                "such as RandomForestSegmenter or UNetSegmenter, or another scorer."
            )
        return 1 - expected_calibration_error(_as_fit_reads(y), estimator.predict_proba(X))


class SeparationScorer(_NamedScorer):
    """Score a separation of light: 1 minus the ``flux_error`` of `separation_scores`."""

    name = "separation"

    def __call__(self, estimator, X, y):
        """Compare ``estimator.separate(X)`` with `y`, the true light of each image's sources."""
        if not hasattr(estimator, "separate"):
            raise TypeError(
                f"The scorer 'separation' needs separate, which {type(estimator).__name__} does "
                "not have: wrap the segmenter in galaxysegment.separation.SegmentThenSeparate."
            )
        return 1 - separation_scores(y, estimator.separate(X))["flux_error"]


def weighted_iou(estimator, X, y, sample_weight):
    """Mean over the images of the pixel IoU, an image's weight being its `sample_weight`."""
    weights = check_weights(sample_weight, len(as_image_list(y, "y")))
    scores = _pixel.iou_score(y, estimator.predict(X), average=None)
    return float(np.average(scores, weights=weights))


def _as_fit_reads(y):
    """Take a `y` that holds only 0 and 1 as binary masks, whose components are the sources."""
    images = as_image_list(y, "y")
    has_sources = any(isinstance(image, Instances) or is_panoptic(image) for image in images)
    if not has_sources and is_binary(images):
        return [image > 0 for image in images]
    return images


def _panoptic_score(y_true, y_pred):
    return panoptic_quality(y_true, y_pred).pq


def _detection_f1(y_true, y_pred):
    return detection_scores(y_true, y_pred).f1


# Scores of pixels need label maps only, so they use scikit-learn's own scorer: in cross_validate
# several of them share the same prediction.
iou_scorer = make_scorer(_pixel.iou_score)
dice_scorer = make_scorer(_pixel.dice_score)
precision_scorer = make_scorer(_pixel.precision_score)
recall_scorer = make_scorer(_pixel.recall_score)
f1_scorer = make_scorer(_pixel.f1_score)
accuracy_scorer = make_scorer(_pixel.accuracy_score)
detection_f1_scorer = SourceScorer("detection_f1", _detection_f1, "instances")
ap_scorer = SourceScorer("ap", average_precision, "instances")
pq_scorer = SourceScorer("pq", _panoptic_score, "panoptic")
calibration_scorer = CalibrationScorer()
separation_scorer = SeparationScorer()

_SCORERS = {
    "accuracy": accuracy_scorer,
    "ap": ap_scorer,
    "calibration": calibration_scorer,
    "detection_f1": detection_f1_scorer,
    "dice": dice_scorer,
    "f1": f1_scorer,
    "iou": iou_scorer,
    "pq": pq_scorer,
    "precision": precision_scorer,
    "recall": recall_scorer,
    "separation": separation_scorer,
}


def scorer_names() -> list[str]:
    """List the names that `get_scorer` knows.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from galaxysegment.metrics import scorer_names
    >>> scorer_names()
    ['accuracy', 'ap', 'calibration', 'detection_f1', 'dice', 'f1', 'iou', 'pq', 'precision',
     'recall', 'separation']
    """
    return sorted(_SCORERS)


def get_scorer(name: str) -> Callable[[Predictor, Images, Sources], float]:
    """Get a scorer by its name.

    ``"iou"``, ``"dice"``, ``"precision"``, ``"recall"``, ``"f1"`` and ``"accuracy"`` score pixels;
    ``"detection_f1"`` (F1 of the sources at an IoU of 0.5), ``"ap"`` (mean average precision) and
    ``"pq"`` (panoptic quality, mean over sky and sources) score sources; ``"calibration"`` (1 minus
    the expected calibration error) scores probabilities and needs a segmenter with
    ``predict_proba``; ``"separation"`` (1 minus the mean error of the fluxes) scores the light of
    separated sources and needs an estimator with ``separate``.

    Parameters
    ----------
    name : str
        One of `scorer_names`.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)`` returns a number, larger is better. The estimator is a segmenter
        or a pipeline that ends in a segmenter.

    Examples
    --------
    >>> from galaxysegment.metrics import get_scorer
    >>> get_scorer("pq")
    get_scorer('pq')
    """
    if name not in _SCORERS:
        raise ValueError(f"name must be one of {scorer_names()}. Got {name!r} instead.")
    return _SCORERS[name]
