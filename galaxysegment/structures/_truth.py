"""One truth in many forms: label map, binary mask or `Instances`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._instances import Instances
from ._labels import check_label_map, label_components, plain_array


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
    truth = _check_has_data(truth, name)
    if truth.dtype.kind == "b":
        if truth.ndim != 2:
            raise ValueError(
                f"{name} must be a (height, width) mask. Got shape {truth.shape} instead."
            )
        return label_components(truth)
    return check_label_map(truth, name)


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
