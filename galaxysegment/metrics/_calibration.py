"""Reliability of probabilities: of pixels, and of the scores of sources."""

from __future__ import annotations

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from .._utils.typed import validated
from ..structures import Instances, as_binary_mask
from ..structures._types import Floats, Images, Sources
from ._inputs import as_image_list, is_panoptic
from ._matching import as_instances, as_sources, best_pairs, find_overlaps

__all__ = [
    "ReliabilityCurve",
    "brier_score",
    "expected_calibration_error",
    "reliability_curve",
    "source_calibration_error",
    "source_reliability_curve",
]

_BINS = {"n_bins": [Interval(Integral, 1, None, closed="left")]}
_SOURCES = {**_BINS, "iou": [Interval(Real, 0, 1, closed="right")]}


class ReliabilityCurve(NamedTuple):
    """Predicted probability against observed fraction, one value for each bin.

    Parameters
    ----------
    predicted : ndarray of float, shape (n_bins,)
        Mean predicted probability in the bin; NaN if the bin is empty.
    observed : ndarray of float, shape (n_bins,)
        Fraction that is galaxy (pixels) or matches a true source (sources); NaN if the bin is
        empty.
    count : ndarray of int, shape (n_bins,)
        Number of pixels or sources.
    """

    predicted: Floats
    observed: Floats
    count: NDArray[np.int64]  # type: ignore[assignment]  # hides tuple.count, which nobody needs here


@validated(_BINS)
def reliability_curve(
    y_true: Sources,
    proba: Images,
    *,
    n_bins: int = 10,
    ignore: Images | None = None,
    between: tuple[float, float] | None = None,
) -> ReliabilityCurve:
    """Compare the probabilities of pixels with how often such pixels are galaxy.

    Calibrated probabilities lie on the diagonal: of 1000 pixels with a probability of about 0.3,
    about 300 belong to a galaxy.

    Parameters
    ----------
    y_true : array of shape (height, width) or (n_images, height, width), Instances, or list of them
        Truth: label maps, binary masks, panoptic maps ``(2, height, width)`` or instances.
    proba : array of float, shape (height, width) or (n_images, height, width), or list of them
        Probability of each pixel to belong to a galaxy, as `predict_proba` returns it.
    n_bins : int, default=10
        Number of bins of equal width between 0 and 1. A probability on an edge belongs to the upper
        bin.
    ignore : array or list, optional
        Boolean masks of pixels to leave out, in the form of `y_true`. Pixels with a NaN in `proba`
        are always left out.
    between : tuple of two floats, optional
        Count only pixels with a probability in this closed range. ``(0.05, 0.95)`` leaves out the
        sky and the centres of galaxies, which are easy: in a typical field 98 of 100 pixels.

    Returns
    -------
    ReliabilityCurve
        Named tuple ``(predicted, observed, count)``.

    Raises
    ------
    ValueError
        If numbers of images or shapes differ, or a probability is not between 0 and 1.

    See Also
    --------
    expected_calibration_error, brier_score : The same in one number.
    source_reliability_curve : The curve of the scores of sources.

    References
    ----------
    .. [1] M. H. DeGroot and S. E. Fienberg, "The Comparison and Evaluation of Forecasters", The
       Statistician 32, 12 (1983), :doi:`10.2307/2987588`

    Examples
    --------
    >>> from galaxysegment.metrics import reliability_curve
    >>> curve = reliability_curve([[0, 0, 0, 1]], [[0.1, 0.1, 0.7, 0.9]], n_bins=2)
    >>> curve.predicted.round(2).tolist(), curve.observed.tolist(), curve.count.tolist()
    ([0.1, 0.8], [0.0, 0.5], [2, 2])
    """
    return _curve(*_tally(_pixels(y_true, proba, ignore), n_bins, between))


@validated(_BINS)
def expected_calibration_error(
    y_true: Sources,
    proba: Images,
    *,
    n_bins: int = 10,
    ignore: Images | None = None,
    between: tuple[float, float] | None = None,
) -> float:
    """Mean distance of the reliability curve from the diagonal, weighted by pixels in each bin.

    Parameters
    ----------
    y_true, proba, n_bins, ignore, between
        As in `reliability_curve`.

    Returns
    -------
    float
        Between 0 (calibrated) and 1; NaN if no pixel counts. Over all pixels the error is small for
        every map, because most of the sky is easy: 0.002 over all pixels went with 0.11 over the
        uncertain ones. ``between=(0.05, 0.95)`` gives the error of the uncertain pixels.

    References
    ----------
    .. [1] C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, PMLR 70, 1321.
       https://proceedings.mlr.press/v70/guo17a.html

    Examples
    --------
    >>> from galaxysegment.metrics import expected_calibration_error
    >>> truth, proba = [[0, 0, 0, 1]], [[0.0, 0.0, 0.6, 0.8]]
    >>> round(expected_calibration_error(truth, proba, n_bins=2), 3)
    0.1
    >>> round(expected_calibration_error(truth, proba, n_bins=2, between=(0.05, 0.95)), 3)
    0.2
    """
    return _error(*_tally(_pixels(y_true, proba, ignore), n_bins, between))


def brier_score(y_true: Sources, proba: Images, *, ignore: Images | None = None) -> float:
    """Mean squared difference between the probability of a pixel and the truth (galaxy 1, sky 0).

    Parameters
    ----------
    y_true, proba, ignore
        As in `reliability_curve`.

    Returns
    -------
    float
        Between 0 (sure and right) and 1; NaN if no pixel counts. Its expectation is smallest for
        the true probabilities.

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly
       Weather Review 78, 1 (1950),
       https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2

    Examples
    --------
    >>> from galaxysegment.metrics import brier_score
    >>> round(brier_score([[0, 1]], [[0.1, 0.8]]), 3)
    0.025
    """
    total = n_pixels = 0
    for truth, values in _pixels(y_true, proba, ignore):
        total, n_pixels = total + float(np.sum((values - truth) ** 2)), n_pixels + len(values)
    return total / n_pixels if n_pixels else float("nan")


@validated(_SOURCES)
def source_reliability_curve(
    y_true: Sources,
    y_pred: Sources,
    *,
    proba: Images | None = None,
    iou: float = 0.5,
    n_bins: int = 10,
) -> ReliabilityCurve:
    """Compare the scores of predicted sources with how often such sources are real.

    A predicted source is real if it matches a true source, one to one, at a mask IoU of at least
    `iou`. Calibrated scores lie on the diagonal: of 100 sources with a score of 0.9, 90 are real.

    Parameters
    ----------
    y_true : array of shape (height, width) or (n_images, height, width), Instances, or list of them
        Truth, as in `detection_scores`.
    y_pred : array, Instances or list of them
        Predicted sources. `Instances` carry scores; a source of a label map has the score 1.
    proba : array of float, shape (height, width) or (n_images, height, width), or list, optional
        Probabilities of the pixels, as `predict_proba` returns them. The score of a source is then
        their mean over its mask.
    iou : float, default=0.5
        Least IoU of a match.
    n_bins : int, default=10
        Number of bins of equal width between 0 and 1.

    Returns
    -------
    ReliabilityCurve
        Named tuple ``(predicted, observed, count)``.

    Raises
    ------
    ValueError
        If a score is not between 0 and 1, as in a ranking by signal to noise.

    See Also
    --------
    source_calibration_error : The same in one number.
    reliability_curve : The curve of the pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.metrics import source_reliability_curve
    >>> truth = np.array([[1, 1, 0, 0, 0]])
    >>> predicted, proba = np.array([[1, 1, 0, 0, 2]]), np.array([[0.9, 0.7, 0.1, 0.1, 0.6]])
    >>> curve = source_reliability_curve(truth, predicted, proba=proba, n_bins=2)
    >>> curve.predicted.round(2).tolist(), curve.observed.tolist(), curve.count.tolist()
    ([nan, 0.7], [nan, 0.5], [0, 2])
    """
    return _curve(*_tally(_scored(y_true, y_pred, proba, iou), n_bins))


@validated(_SOURCES)
def source_calibration_error(
    y_true: Sources,
    y_pred: Sources,
    *,
    proba: Images | None = None,
    iou: float = 0.5,
    n_bins: int = 10,
) -> float:
    """Mean distance of the sources' reliability curve from the diagonal, weighted by number.

    Parameters
    ----------
    y_true, y_pred, proba, iou, n_bins
        As in `source_reliability_curve`.

    Returns
    -------
    float
        Between 0 (calibrated) and 1; NaN if there is no predicted source.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment import Instances
    >>> from galaxysegment.metrics import source_calibration_error
    >>> truth = np.array([[1, 1, 0, 0, 0]])
    >>> masks = np.array([[[1, 1, 0, 0, 0]], [[0, 0, 0, 0, 1]]], dtype=bool)
    >>> predicted = Instances.from_masks(masks, scores=[0.9, 0.2])
    >>> round(source_calibration_error(truth, predicted), 3)
    0.15
    """
    return _error(*_tally(_scored(y_true, y_pred, proba, iou), n_bins))


def _curve(count, total, hits):
    shared = np.where(count > 0, count, np.nan)
    return ReliabilityCurve(total / shared, hits / shared, count)


def _error(count, total, hits):
    return float(np.abs(total - hits).sum() / count.sum()) if count.any() else float("nan")


def _tally(pairs, n_bins, between=None):
    """Count, sum of the probabilities and number of true ones, for each bin."""
    lowest, highest = (0, 1) if between is None else between
    tally = np.zeros((3, n_bins))
    for truth, values in pairs:
        kept = (values >= lowest) & (values <= highest)
        index = np.minimum((values[kept] * n_bins).astype(int), n_bins - 1)
        tally += [
            np.bincount(index, weights=weights, minlength=n_bins)
            for weights in (None, values[kept], truth[kept])
        ]
    return tally[0].astype(int), tally[1], tally[2]


def _scored(y_true, y_pred, proba, iou):
    """Yield whether each predicted source is real, and its score."""
    if proba is not None:
        y_pred = _with_mean_proba(as_image_list(y_pred, "y_pred"), as_image_list(proba, "proba"))
    overlaps = find_overlaps(y_true, y_pred)
    scores = overlaps.pred.scores.astype(np.float64)
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise ValueError(
            f"y_pred must have scores between 0 and 1. Got scores from {scores.min():.3g} to "
            f"{scores.max():.3g} instead: give proba=, the probabilities of the pixels, or scores "
            "that are probabilities."
        )
    real = np.zeros(len(scores), dtype=bool)
    real[overlaps.j[best_pairs(overlaps, iou)]] = True
    yield real, scores


def _with_mean_proba(images, maps):
    """`Instances` whose scores are the mean probability over each mask."""
    if len(maps) != len(images):
        raise ValueError(
            f"proba holds {len(maps)} images, but y_pred holds {len(images)}: give one per image."
        )
    scored = []
    for index, (image, values) in enumerate(zip(images, maps, strict=True)):
        sources = as_instances(as_sources(image, f"y_pred[{index}]"))
        probabilities = _check_proba(values, f"proba[{index}]")
        _check_shape(probabilities.shape, sources.shape, f"proba[{index}]", f"y_pred[{index}]")
        scores = [
            probabilities[y0:y1, x0:x1][crop].mean()
            for (y0, x0, y1, x1), crop in zip(sources.boxes.tolist(), sources.crops, strict=True)
        ]
        scored.append(
            Instances(sources.shape, sources.boxes, sources.crops, scores, sources.classes)
        )
    return scored


def _pixels(y_true, proba, ignore):
    """Yield truth (bool) and probability (float64) of the pixels that count, image by image."""
    truths, maps = as_image_list(y_true, "y_true"), as_image_list(proba, "proba")
    ignored = [None] * len(truths) if ignore is None else as_image_list(ignore, "ignore")
    for name, group in (("proba", maps), ("ignore", ignored)):
        if len(group) != len(truths):
            raise ValueError(
                f"{name} holds {len(group)} images, but y_true holds {len(truths)}: give one per "
                "image."
            )
    for index, (truth, values, hidden) in enumerate(zip(truths, maps, ignored, strict=True)):
        truth_mask = _mask(truth, f"y_true[{index}]")
        probabilities = _check_proba(values, f"proba[{index}]")
        counts = ~np.isnan(probabilities)
        _check_shape(probabilities.shape, truth_mask.shape, f"proba[{index}]", f"y_true[{index}]")
        if hidden is not None:
            hidden_mask = _mask(hidden, f"ignore[{index}]")
            _check_shape(
                hidden_mask.shape, truth_mask.shape, f"ignore[{index}]", f"y_true[{index}]"
            )
            counts &= ~hidden_mask
        yield truth_mask[counts], probabilities[counts]


def _mask(image, name):
    return as_binary_mask(image[1] if is_panoptic(image) else image, name)


def _check_shape(shape, expected, name, other):
    if shape != expected:
        raise ValueError(
            f"{name} has shape {shape}, but {other} has shape {expected}: they must agree."
        )


def _check_proba(values, name):
    if isinstance(values, Instances) or np.ndim(values) != 2:
        raise ValueError(
            f"{name} must be a (height, width) map of probabilities, as predict_proba returns it. "
            f"Got {type(values).__name__} of shape {values.shape} instead."
        )
    values = np.asarray(values, dtype=np.float64)
    lowest, highest = (
        np.fmin.reduce(values, axis=None, initial=0.5),
        np.fmax.reduce(values, axis=None, initial=0.5),
    )
    if lowest < 0 or highest > 1:
        raise ValueError(
            f"{name} must hold probabilities, between 0 and 1. Got values from {lowest:.3g} to "
            f"{highest:.3g} instead."
        )
    return values
