"""Can the probabilities of a map be taken at their word?"""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from .._utils.typed import validated
from ..structures import Instances, as_binary_mask
from ..structures._types import Floats, Images, Sources
from ._inputs import as_image_list, is_panoptic

__all__ = ["ReliabilityCurve", "brier_score", "expected_calibration_error", "reliability_curve"]

_BINS = {"n_bins": [Interval(Integral, 1, None, closed="left")]}


class ReliabilityCurve(NamedTuple):
    """What `reliability_curve` returns: one value for each bin of probability.

    Parameters
    ----------
    predicted : ndarray of float, shape (n_bins,)
        Mean predicted probability of the pixels in the bin; NaN where it has none.
    observed : ndarray of float, shape (n_bins,)
        Fraction of them that are galaxy; NaN where the bin has no pixel.
    count : ndarray of int, shape (n_bins,)
        Number of pixels.
    """

    predicted: Floats
    observed: Floats
    count: NDArray[np.int64]  # type: ignore[assignment]  # no one asks this tuple to count


@validated(_BINS)
def reliability_curve(
    y_true: Sources, proba: Images, *, n_bins: int = 10, ignore: Images | None = None
) -> ReliabilityCurve:
    """How often pixels of a predicted probability are galaxy.

    The closer the curve is to the diagonal, the better the probabilities can be taken at their word: of the
    pixels with a probability of about 0.3, three in ten should belong to a galaxy.

    Parameters
    ----------
    y_true : array of shape (height, width) or (n_images, height, width), Instances, or list of them
        Truth: label maps, binary masks, panoptic maps ``(2, height, width)`` or instances.
    proba : array of float, shape (height, width) or (n_images, height, width), or list of them
        Probability of each pixel to belong to a galaxy, as `predict_proba` returns it.
    n_bins : int, default=10
        Number of bins of equal width between 0 and 1. A probability on an edge belongs to the upper bin.
    ignore : array or list, optional
        Boolean masks of the pixels that do not count, in the form of `y_true`. Pixels where `proba` is NaN
        do not count either.

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

    References
    ----------
    .. [1] M. H. DeGroot and S. E. Fienberg, "The Comparison and Evaluation of Forecasters", The Statistician
       32, 12 (1983), :doi:`10.2307/2987588`

    Examples
    --------
    >>> from galaxysegment.metrics import reliability_curve
    >>> curve = reliability_curve([[0, 0, 0, 1]], [[0.1, 0.1, 0.7, 0.9]], n_bins=2)
    >>> curve.predicted.round(2).tolist(), curve.observed.tolist(), curve.count.tolist()
    ([0.1, 0.8], [0.0, 0.5], [2, 2])
    """
    count, total, hits = _tally(y_true, proba, n_bins, ignore)
    shared = np.where(count > 0, count, np.nan)
    return ReliabilityCurve(total / shared, hits / shared, count)


@validated(_BINS)
def expected_calibration_error(
    y_true: Sources, proba: Images, *, n_bins: int = 10, ignore: Images | None = None
) -> float:
    """Mean distance of the reliability curve from the diagonal, weighted with the pixels in each bin.

    Parameters
    ----------
    y_true, proba, n_bins, ignore
        As in `reliability_curve`.

    Returns
    -------
    float
        Between 0 (perfectly calibrated) and 1; NaN where no pixel counts. Most of the sky is empty and easy,
        so that a good map is far below 0.01: compare maps of the same images, or look at the curve.

    References
    ----------
    .. [1] C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, PMLR 70, 1321.
       https://proceedings.mlr.press/v70/guo17a.html

    Examples
    --------
    >>> from galaxysegment.metrics import expected_calibration_error
    >>> round(expected_calibration_error([[0, 0, 0, 1]], [[0.1, 0.1, 0.7, 0.9]], n_bins=2), 3)
    0.2
    """
    count, total, hits = _tally(y_true, proba, n_bins, ignore)
    return float(np.abs(total - hits).sum() / count.sum()) if count.any() else float("nan")


def brier_score(y_true: Sources, proba: Images, *, ignore: Images | None = None) -> float:
    """Mean squared difference between the probability of a pixel and what it is (galaxy 1, sky 0).

    Parameters
    ----------
    y_true, proba, ignore
        As in `reliability_curve`.

    Returns
    -------
    float
        Between 0 (sure and right) and 1; NaN where no pixel counts. It is smallest, in the mean, for the true
        probabilities.

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review
       78, 1 (1950), https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2

    Examples
    --------
    >>> from galaxysegment.metrics import brier_score
    >>> round(brier_score([[0, 1]], [[0.1, 0.8]]), 3)
    0.025
    """
    total = n_pixels = 0
    for truth, one in _pixels(y_true, proba, ignore):
        total, n_pixels = total + float(np.sum((one - truth) ** 2)), n_pixels + len(one)
    return total / n_pixels if n_pixels else float("nan")


def _tally(y_true, proba, n_bins, ignore):
    """For each bin: number of pixels, sum of their probabilities, number of galaxy pixels."""
    tally = np.zeros((3, n_bins))
    for truth, one in _pixels(y_true, proba, ignore):
        index = np.minimum((one * n_bins).astype(int), n_bins - 1)
        tally += [
            np.bincount(index, weights=weights, minlength=n_bins) for weights in (None, one, truth)
        ]
    return tally[0].astype(int), tally[1], tally[2]


def _pixels(y_true, proba, ignore):
    """Yield truth (bool) and probability (float64) of the pixels that count, image by image."""
    truths, maps = as_image_list(y_true, "y_true"), as_image_list(proba, "proba")
    ignored = [None] * len(truths) if ignore is None else as_image_list(ignore, "ignore")
    for name, group in (("proba", maps), ("ignore", ignored)):
        if len(group) != len(truths):
            raise ValueError(
                f"{name} holds {len(group)} images, but y_true holds {len(truths)}: give one per image."
            )
    for index, (truth, one, hidden) in enumerate(zip(truths, maps, ignored, strict=True)):
        truth_mask, probabilities = (
            _mask(truth, f"y_true[{index}]"),
            _check_proba(one, f"proba[{index}]"),
        )
        counts = ~np.isnan(probabilities)
        _check_shape(probabilities.shape, truth_mask.shape, f"proba[{index}]", index)
        if hidden is not None:
            hidden_mask = _mask(hidden, f"ignore[{index}]")
            _check_shape(hidden_mask.shape, truth_mask.shape, f"ignore[{index}]", index)
            counts &= ~hidden_mask
        yield truth_mask[counts], probabilities[counts]


def _mask(one, name):
    return as_binary_mask(one[1] if is_panoptic(one) else one, name)


def _check_shape(shape, expected, name, index):
    if shape != expected:
        raise ValueError(
            f"{name} has shape {shape}, but y_true[{index}] has shape {expected}: they must agree."
        )


def _check_proba(one, name):
    if isinstance(one, Instances) or np.ndim(one) != 2:
        raise ValueError(
            f"{name} must be a (height, width) map of probabilities, as predict_proba returns it. "
            f"Got {type(one).__name__} of shape {one.shape} instead."
        )
    one = np.asarray(one, dtype=np.float64)
    lowest, highest = (
        np.fmin.reduce(one, axis=None, initial=0.5),
        np.fmax.reduce(one, axis=None, initial=0.5),
    )
    if lowest < 0 or highest > 1:
        raise ValueError(
            f"{name} must hold probabilities, between 0 and 1. Got values from {lowest:.3g} to {highest:.3g} instead."
        )
    return one
