"""One truth in many forms: label map, binary mask or `Instances`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._instances import Instances
from ._labels import check_label_map, label_components


def is_binary(y: Iterable[ArrayLike]) -> bool:
    """Whether `y` holds binary masks: booleans, or nothing but 0 and 1 in the whole of it.

    Parameters
    ----------
    y : iterable of array-like
        One map an image.

    Returns
    -------
    bool
    """
    maps = [np.asarray(one) for one in y]
    return all(
        one.dtype.kind == "b" or (one.size and one.max() <= 1 and one.min() >= 0) for one in maps
    )


def as_label_map(truth: ArrayLike | Instances, name: str = "y") -> NDArray[np.int32]:
    """Return the label map of a label map, a boolean mask (its components) or `Instances` (painted).

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
    truth = np.asarray(truth)
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
    truth = np.asarray(truth)
    if truth.ndim != 2:
        raise ValueError(
            f"{name} must be a (height, width) label map or mask. Got shape {truth.shape} instead."
        )
    if truth.dtype.kind == "b":
        return truth
    return check_label_map(truth, name) > 0
