"""One truth in many forms: label map, binary mask or `Instances`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._utils.validation import check_same_shape
from ._instances import Instances
from ._labels import check_label_map, labels_of, plain_array, relabel


def is_binary(y: Iterable[ArrayLike]) -> bool:
    """Whether `y` holds binary masks: booleans, or nothing but 0 and 1 in the whole of it.

    Fractions between 0 and 1, as in a soft mask, are not binary. NaN counts as 0.

    Parameters
    ----------
    y : iterable of array-like
        One map an image.

    Returns
    -------
    bool
    """
    return all(_is_mask(plain_array(target)) for target in y)


def _is_mask(target):
    if target.dtype.kind == "b":
        return True
    if not target.size:
        return False
    if target.dtype.kind == "f":
        return bool(((target == 0) | (target == 1) | np.isnan(target)).all())
    return target.dtype.kind in "iu" and bool(target.max() <= 1 and target.min() >= 0)


def as_label_map(truth: ArrayLike | Instances, name: str = "y") -> NDArray[np.int32]:
    """Return the label map of a truth: components of a boolean mask, painted `Instances`.

    Parameters
    ----------
    truth : array-like of shape (height, width), or Instances
    name : str, default="y"
        How to call the argument in an error message.

    Returns
    -------
    ndarray of int32, shape (height, width)
    """
    if isinstance(truth, Instances):
        return truth.to_label_map()
    return labels_of(_check_has_data(truth, name), name)


def as_binary_mask(truth: ArrayLike | Instances, name: str = "y") -> NDArray[np.bool_]:
    """Return the boolean galaxy/background mask of a label map, a mask or `Instances`.

    Parameters
    ----------
    truth : array-like of shape (height, width), or Instances
    name : str, default="y"
        How to call the argument in an error message.

    Returns
    -------
    ndarray of bool, shape (height, width)
    """
    if isinstance(truth, Instances):
        return truth.to_mask()
    truth = _check_has_data(truth, name)
    if truth.ndim != 2:
        raise ValueError(
            f"{name} must be a (height, width) label map or mask. Got shape {truth.shape} instead."
        )
    if truth.dtype.kind == "b":
        return truth
    return check_label_map(truth, name) > 0


def _check_has_data(truth, name):
    """Return a truth as an array; refuse a truth that is NaN everywhere."""
    truth = plain_array(truth)
    if truth.dtype.kind == "f" and truth.size and np.isnan(truth).all():
        raise ValueError(
            f"{name} is NaN everywhere, so it says nothing about sources: pass zeros if there is "
            "none."
        )
    return truth


def check_targets(y, images):
    """Check the truth of `images` and return a list of int32 label maps or `Instances`.

    A stack of panoptic maps ``(n_images, 2, height, width)`` becomes instances. Binary masks
    (booleans, or nothing but 0 and 1 in the whole of `y`) are split into connected components.
    """
    targets = list(y)
    if len(targets) != len(images):
        raise ValueError(
            f"X holds {len(images)} images, but y holds {len(targets)} targets: give one per image."
        )
    maps_only = not any(isinstance(target, Instances) or np.ndim(target) == 3 for target in targets)
    if maps_only and is_binary(targets):
        targets = [as_binary_mask(target, f"y[{index}]") for index, target in enumerate(targets)]
    checked = [_check_target(target, f"y[{index}]") for index, target in enumerate(targets)]
    for index, (target, image) in enumerate(zip(checked, images, strict=True)):
        check_same_shape(target.shape, image.shape[1:], f"y[{index}]", f"X[{index}]")
    return checked


def _check_target(target, name):
    if isinstance(target, Instances):
        return target
    if np.ndim(target) == 3 and len(target) == 2:
        return Instances.from_panoptic(target)
    return relabel(as_label_map(target, name))


def target_mask(target):
    """Boolean galaxy/background mask of a checked target."""
    return as_binary_mask(target)
