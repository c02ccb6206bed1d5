"""Scores of pixels: is it galaxy or background?

All of them look at label maps, masks and instances the same way: a pixel of any source is galaxy,
all others are background.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict, Unpack, overload

import numpy as np

from ..structures import as_binary_mask
from ..structures._types import Floats, Images, Sources
from ._inputs import as_image_list, check_pair, is_panoptic

__all__ = [
    "accuracy_score",
    "dice_score",
    "f1_score",
    "iou_score",
    "precision_score",
    "recall_score",
]

_AVERAGES = ("images", "pixels", None)
_Average: TypeAlias = Literal["images", "pixels"]


class _Option(TypedDict, total=False):
    """Options of every score in this file."""

    ignore: Images | None


class _Rate(_Option, total=False):
    """Further options of precision and recall."""

    zero_division: float


@overload
def iou_score(
    y_true: Sources, y_pred: Sources, *, average: _Average = "images", **more: Unpack[_Option]
) -> float: ...
@overload
def iou_score(
    y_true: Sources, y_pred: Sources, *, average: None, **more: Unpack[_Option]
) -> Floats: ...
def iou_score(y_true, y_pred, *, average="images", ignore=None):
    """Intersection over union of the galaxy pixels (the Jaccard index).

    Parameters
    ----------
    y_true, y_pred : array of shape (height, width) or (n_images, height, width), Instances, or list
        Truth and prediction: label maps, binary masks, panoptic maps ``(2, height, width)`` or
        instances.
    average : {"images", "pixels"} or None, default="images"
        ``"images"`` is the mean of the images' scores, ``"pixels"`` pools the pixels of all images
        first, ``None`` returns one score per image.
    ignore : array or list, optional
        Boolean masks of the pixels to leave out, in the form of `y_true`.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Between 0 and 1. An image without a galaxy pixel in truth and prediction scores 1.

    Raises
    ------
    ValueError
        If numbers of images or shapes differ, or the maps hold negative numbers or fractions.

    Examples
    --------
    >>> from galaxysegment.metrics import iou_score
    >>> iou_score([[0, 1, 1, 2]], [[0, 0, 1, 1]])
    0.6666666666666666
    """
    hits, n_true, n_pred, _ = _counts(y_true, y_pred, average, ignore)
    return _mean(_ratio(hits, n_true + n_pred - hits), average)


@overload
def dice_score(
    y_true: Sources, y_pred: Sources, *, average: _Average = "images", **more: Unpack[_Option]
) -> float: ...
@overload
def dice_score(
    y_true: Sources, y_pred: Sources, *, average: None, **more: Unpack[_Option]
) -> Floats: ...
def dice_score(y_true, y_pred, *, average="images", ignore=None):
    """Dice coefficient of the galaxy pixels: twice the intersection over the sum of the areas.

    Parameters
    ----------
    y_true, y_pred, average, ignore
        As in `iou_score`.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Between 0 and 1; 1 if neither truth nor prediction has a galaxy pixel.

    Examples
    --------
    >>> from galaxysegment.metrics import dice_score
    >>> dice_score([[0, 1, 1, 2]], [[0, 0, 1, 1]])
    0.8
    """
    hits, n_true, n_pred, _ = _counts(y_true, y_pred, average, ignore)
    return _mean(_ratio(2 * hits, n_true + n_pred), average)


@overload
def f1_score(
    y_true: Sources, y_pred: Sources, *, average: _Average = "images", **more: Unpack[_Option]
) -> float: ...
@overload
def f1_score(
    y_true: Sources, y_pred: Sources, *, average: None, **more: Unpack[_Option]
) -> Floats: ...
def f1_score(y_true, y_pred, *, average="images", ignore=None):
    """Harmonic mean of pixel precision and recall; for masks it equals `dice_score`.

    Parameters
    ----------
    y_true, y_pred, average, ignore
        As in `iou_score`.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Between 0 and 1; 1 if neither truth nor prediction has a galaxy pixel.

    Examples
    --------
    >>> from galaxysegment.metrics import f1_score
    >>> f1_score([[0, 1, 1, 2]], [[0, 0, 1, 1]])
    0.8
    """
    return dice_score(y_true, y_pred, average=average, ignore=ignore)


@overload
def precision_score(
    y_true: Sources, y_pred: Sources, *, average: _Average = "images", **more: Unpack[_Rate]
) -> float: ...
@overload
def precision_score(
    y_true: Sources, y_pred: Sources, *, average: None, **more: Unpack[_Rate]
) -> Floats: ...
def precision_score(y_true, y_pred, *, average="images", ignore=None, zero_division=0.0):
    """Fraction of the predicted galaxy pixels that are galaxy.

    Parameters
    ----------
    y_true, y_pred, average, ignore
        As in `iou_score`.
    zero_division : float, default=0.0
        Score of an image if the truth has galaxy pixels and the prediction has none. NaN leaves
        such images out of the mean. If both have none, the score is 1: the prediction is right.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Between 0 and 1.

    Examples
    --------
    >>> from galaxysegment.metrics import precision_score
    >>> precision_score([[0, 1, 0, 2]], [[0, 0, 1, 1]])
    0.5
    """
    hits, n_true, n_pred, _ = _counts(y_true, y_pred, average, ignore)
    return _mean(_ratio(hits, n_pred, np.where(n_true == 0, 1.0, zero_division)), average)


@overload
def recall_score(
    y_true: Sources, y_pred: Sources, *, average: _Average = "images", **more: Unpack[_Rate]
) -> float: ...
@overload
def recall_score(
    y_true: Sources, y_pred: Sources, *, average: None, **more: Unpack[_Rate]
) -> Floats: ...
def recall_score(y_true, y_pred, *, average="images", ignore=None, zero_division=0.0):
    """Fraction of the true galaxy pixels that are predicted (completeness of pixels).

    Parameters
    ----------
    y_true, y_pred, average, ignore
        As in `iou_score`.
    zero_division : float, default=0.0
        Score of an image if the prediction has galaxy pixels and the truth has none. NaN leaves
        such images out of the mean. If both have none, the score is 1: the prediction is right.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Between 0 and 1.

    Examples
    --------
    >>> from galaxysegment.metrics import recall_score
    >>> recall_score([[0, 1, 1, 2]], [[0, 0, 1, 1]])
    0.6666666666666666
    """
    hits, n_true, n_pred, _ = _counts(y_true, y_pred, average, ignore)
    return _mean(_ratio(hits, n_true, np.where(n_pred == 0, 1.0, zero_division)), average)


@overload
def accuracy_score(
    y_true: Sources, y_pred: Sources, *, average: _Average = "images", **more: Unpack[_Option]
) -> float: ...
@overload
def accuracy_score(
    y_true: Sources, y_pred: Sources, *, average: None, **more: Unpack[_Option]
) -> Floats: ...
def accuracy_score(y_true, y_pred, *, average="images", ignore=None):
    """Fraction of the pixels, galaxy or background, that are predicted right.

    Most of the sky is empty: a prediction without any source is 95 % accurate if galaxies cover 5 %
    of the pixels. Prefer `iou_score`.

    Parameters
    ----------
    y_true, y_pred, average, ignore
        As in `iou_score`.

    Returns
    -------
    float or ndarray of shape (n_images,)
        Between 0 and 1.

    Examples
    --------
    >>> from galaxysegment.metrics import accuracy_score
    >>> accuracy_score([[0, 1, 1, 2]], [[0, 0, 1, 1]])
    0.75
    """
    hits, n_true, n_pred, n_pixels = _counts(y_true, y_pred, average, ignore)
    return _mean(_ratio(n_pixels - n_true - n_pred + 2 * hits, n_pixels), average)


def _counts(y_true, y_pred, average, ignore):
    """Count pixels in both, in the truth, in the prediction, and all: one entry per image."""
    if average not in _AVERAGES:
        raise ValueError(f"average must be one of {_AVERAGES}. Got {average!r} instead.")
    y_true, y_pred = check_pair(y_true, y_pred)
    ignored = [None] * len(y_true) if ignore is None else _check_ignore(ignore, y_true)
    images = zip(y_true, y_pred, ignored, strict=True)
    counts = [_count(*image, f"[{index}]") for index, image in enumerate(images)]
    counts = np.array(counts, dtype=np.int64).T
    return counts.sum(axis=1, keepdims=True) if average == "pixels" else counts


def _count(truth, prediction, ignored, where):
    truth, prediction = _mask(truth, f"y_true{where}"), _mask(prediction, f"y_pred{where}")
    n_pixels = truth.size
    if ignored is not None:
        truth, prediction = truth & ~ignored, prediction & ~ignored
        n_pixels -= np.count_nonzero(ignored)
    return (
        np.count_nonzero(truth & prediction),
        np.count_nonzero(truth),
        np.count_nonzero(prediction),
        n_pixels,
    )


def _mask(image, name):
    return as_binary_mask(image[1] if is_panoptic(image) else image, name)


def _check_ignore(ignore, y_true):
    ignore = [
        _mask(mask, f"ignore[{index}]")
        for index, mask in enumerate(as_image_list(ignore, "ignore"))
    ]
    if len(ignore) != len(y_true):
        raise ValueError(
            f"ignore holds {len(ignore)} masks for {len(y_true)} images: give one per image."
        )
    for index, (mask, truth) in enumerate(zip(ignore, y_true, strict=True)):
        if mask.shape != tuple(truth.shape[-2:]):
            raise ValueError(
                f"ignore[{index}] has shape {mask.shape}, but y_true[{index}] has shape "
                f"{tuple(truth.shape[-2:])}: they must agree."
            )
    return ignore


def _ratio(part, whole, otherwise=1.0):
    """Divide `part` by `whole`; `otherwise` if `whole` is 0."""
    return np.where(whole == 0, otherwise, part / np.maximum(whole, 1))


def _mean(scores, average):
    if average is None:
        return scores
    scores = scores[~np.isnan(scores)]
    return float(scores.mean()) if scores.size else float("nan")
