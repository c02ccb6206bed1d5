"""Scores of sources: completeness, purity and agreement of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, overload

import numpy as np

from ..structures._types import Floats, Sources
from ._matching import best_pairs, find_overlaps, greedy_pairs

__all__ = ["DetectionScores", "average_precision", "detection_scores", "precision_recall_curve"]

#: The IoU thresholds .50, .55, …, .95 of the COCO challenge.
COCO_IOUS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_AVERAGES = ("sources", "images", None)


@dataclass(frozen=True)
class DetectionScores:
    """Numbers and fractions of matched sources, as `detection_scores` returns them.

    Parameters
    ----------
    precision : float
        Fraction of the predicted sources that match a true one.
    recall : float
        Fraction of the true sources that match a predicted one.
    f1 : float
        Harmonic mean of the two: ``2 n_matched / (n_true + n_pred)``.
    n_true, n_pred, n_matched : int
        Number of true, predicted and matched sources.
    """

    precision: float
    recall: float
    f1: float
    n_true: int
    n_pred: int
    n_matched: int

    def __str__(self) -> str:
        return (
            f"F1 {self.f1:.3f}, precision {self.precision:.3f}, recall {self.recall:.3f} "
            f"({self.n_matched} matched of {self.n_pred} predicted and {self.n_true} true sources)"
        )


@overload
def detection_scores(
    y_true: Sources,
    y_pred: Sources,
    iou: float = 0.5,
    *,
    average: Literal["sources", "images"] = "sources",
    kind: str = "segm",
    class_id: int | None = None,
) -> DetectionScores: ...
@overload
def detection_scores(
    y_true: Sources,
    y_pred: Sources,
    iou: float = 0.5,
    *,
    average: None,
    kind: str = "segm",
    class_id: int | None = None,
) -> list[DetectionScores]: ...
def detection_scores(y_true, y_pred, iou=0.5, *, average="sources", kind="segm", class_id=None):
    """Precision, recall and F1 of sources at an IoU.

    True and predicted sources are matched one to one if their IoU is at least `iou`: as many as
    possible. If several choices match equally many, the one with the largest sum of IoU is taken.

    Parameters
    ----------
    y_true, y_pred : array of shape (height, width) or (n_images, height, width), Instances, or list
        Truth and prediction: label maps, boolean masks (split into connected components), panoptic
        maps ``(2, height, width)`` or instances. Integers are labels: one value per source.
    iou : float, default=0.5
        Least intersection over union of a match, above 0 and up to 1.
    average : {"sources", "images"} or None, default="sources"
        ``"sources"`` pools the sources of all images. ``"images"`` is the mean of the images'
        scores, with the counts of all. ``None`` returns a list with the scores of each image.
    kind : {"segm", "bbox"}, default="segm"
        Compare masks or bounding boxes.
    class_id : int, optional
        Score the sources of this class only (1 = galaxy, 2 = star). Sources without a class count
        as galaxies. By default all sources count and classes need not agree.

    Returns
    -------
    DetectionScores or list of DetectionScores
        If neither truth nor prediction has a source, all scores are 1. If only one of them has
        none, all scores are 0.

    Raises
    ------
    ValueError
        If numbers of images or shapes differ, or `iou` is not in (0, 1].

    Examples
    --------
    >>> from galaxysegment.metrics import detection_scores
    >>> detection_scores([[1, 1, 0, 2]], [[1, 1, 0, 0]])
    DetectionScores(precision=1.0, recall=0.5, f1=0.6666666666666666,
                    n_true=2, n_pred=1, n_matched=1)
    """
    if average not in _AVERAGES:
        raise ValueError(f"average must be one of {_AVERAGES}. Got {average!r} instead.")
    _check_iou(iou)
    overlaps = _overlaps(y_true, y_pred, kind, class_id)
    matched = overlaps.true.image[overlaps.i[best_pairs(overlaps, iou)]]
    images = (overlaps.true.image, overlaps.pred.image, matched)
    counts = np.array([np.bincount(image, minlength=overlaps.n_images) for image in images])
    if average is None:
        return [_as_scores(_ratios(numbers), numbers) for numbers in counts.T]
    total = counts.sum(axis=1)
    return _as_scores(
        _ratios(counts).mean(axis=1) if average == "images" else _ratios(total), total
    )


def _as_scores(ratios, counts):
    return DetectionScores(*ratios.tolist(), *counts.tolist())


def _ratios(counts):
    """Precision, recall and F1 from the numbers of true, predicted and matched sources."""
    n_true, n_pred, n_matched = counts
    whole = np.array([n_pred, n_true, (n_true + n_pred) / 2])
    return np.where(whole > 0, n_matched / np.maximum(whole, 0.5), n_true + n_pred == 0)


def average_precision(
    y_true: Sources,
    y_pred: Sources,
    *,
    iou: float | Sequence[float] | None = None,
    kind: str = "segm",
    class_id: int | None = None,
) -> float:
    """Average precision of the sources, as the COCO challenge defines it [1]_.

    In order of decreasing score, each prediction takes the free true source with the largest IoU,
    if it reaches the threshold. The average precision is the mean of the best precision at 101
    values of recall. All predictions count: COCO's limit of 100 per image does not apply.

    Parameters
    ----------
    y_true, y_pred : array of shape (height, width) or (n_images, height, width), Instances, or list
        As in `detection_scores`. The predicted `Instances` hold the scores. Sources of label maps
        all have a score of 1, so their order decides.
    iou : float or sequence of float, optional
        Threshold or thresholds to average over; ``None`` means .50, .55, …, .95.
    kind : {"segm", "bbox"}, default="segm"
        Compare masks or bounding boxes.
    class_id : int, optional
        Score the sources of this class only (1 = galaxy, 2 = star). Sources without a class count
        as galaxies. By default the result is the mean over the classes of the truth if truth and
        prediction both have classes; else all sources are one class.

    Returns
    -------
    float
        Between 0 and 1; NaN if the truth has no source.

    Raises
    ------
    ValueError
        If numbers of images or shapes differ, a threshold is not in (0, 1] or a score is NaN.

    See Also
    --------
    coco_summary : The table of COCO's scores.
    precision_recall_curve : The curve below the number.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014,
       :doi:`10.1007/978-3-319-10602-1_48`

    Examples
    --------
    >>> from galaxysegment.metrics import average_precision
    >>> average_precision([[1, 1, 0, 2]], [[1, 1, 0, 2]])
    1.0
    """
    thresholds = COCO_IOUS if iou is None else np.atleast_1d(np.asarray(iou))
    for threshold in thresholds.tolist():
        _check_iou(threshold)
    overlaps = _overlaps(y_true, y_pred, kind, class_id)
    if class_id is None and overlaps.true.told_apart and overlaps.pred.told_apart:
        groups = [overlaps.of_class(class_id) for class_id in np.unique(overlaps.true.classes)]
    else:
        groups = [overlaps] if len(overlaps.true) else []
    return (
        float(np.mean([_interpolated(group, thresholds) for group in groups]))
        if groups
        else float("nan")
    )


def _interpolated(overlaps, thresholds):
    """Mean precision over thresholds and 101 recalls."""
    order = np.argsort(-overlaps.pred.scores, kind="stable")
    total = 0.0
    for matched in greedy_pairs(overlaps, order, thresholds):
        hits = np.cumsum(matched)
        # COCOeval adds the last term
        precision = hits / (np.arange(1, len(hits) + 1) + np.spacing(1))
        best = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(hits / len(overlaps.true), _RECALLS)
        total += best[at[at < len(best)]].sum()
    return total / (len(_RECALLS) * len(thresholds))


def precision_recall_curve(
    y_true: Sources,
    y_pred: Sources,
    *,
    iou: float = 0.5,
    kind: str = "segm",
    class_id: int | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Precision and recall of the sources at every threshold of the score.

    Parameters
    ----------
    y_true, y_pred : array of shape (height, width) or (n_images, height, width), Instances, or list
        As in `average_precision`, with the same matching.
    iou : float, default=0.5
        Least intersection over union of a match.
    kind : {"segm", "bbox"}, default="segm"
        Compare masks or bounding boxes.
    class_id : int, optional
        Score the sources of this class only (1 = galaxy, 2 = star). Sources without a class count
        as galaxies. By default all sources count and classes need not agree.

    Returns
    -------
    precision : ndarray of shape (n_thresholds + 1,)
        Element ``k`` is the precision of the predictions with a score of at least
        ``thresholds[k]``. The last element is 1.
    recall : ndarray of shape (n_thresholds + 1,)
        The recall of the same predictions; decreasing. The last element is 0. NaN if the truth has
        no source.
    thresholds : ndarray of shape (n_thresholds,)
        The distinct scores, increasing.

    Examples
    --------
    >>> from galaxysegment.metrics import precision_recall_curve
    >>> precision, recall, thresholds = precision_recall_curve([[1, 1, 0, 2]], [[1, 1, 3, 0]])
    >>> precision.tolist(), recall.tolist(), thresholds.tolist()
    ([0.5, 1.0], [0.5, 0.0], [1.0])
    """
    _check_iou(iou)
    overlaps = _overlaps(y_true, y_pred, kind, class_id)
    order = np.argsort(-overlaps.pred.scores, kind="stable")
    (matched,) = greedy_pairs(overlaps, order, [iou])
    scores = overlaps.pred.scores[order]
    last = (
        np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
        if len(scores)
        else np.zeros(0, dtype=int)
    )
    hits = np.cumsum(matched)[last]
    n_true = len(overlaps.true)
    recall = hits / n_true if n_true else np.full(len(hits), np.nan)
    precision = hits / (last + 1)
    return np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0), scores[last][::-1]


def _overlaps(y_true, y_pred, kind, class_id):
    overlaps = find_overlaps(y_true, y_pred, kind)
    return overlaps if class_id is None else overlaps.of_class(class_id)


def _check_iou(iou):
    if not isinstance(iou, Real) or not 0 < iou <= 1:
        raise ValueError(f"iou must be above 0 and at most 1. Got {iou!r} instead.")
