"""Label maps: checking, numbering, connected components, sources that touch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse

from .._utils.compiling import compiling_pays

_CONNECTIVITY = {
    4: ndimage.generate_binary_structure(2, 1),
    8: ndimage.generate_binary_structure(2, 2),
}


def plain_array(labels: ArrayLike) -> NDArray[Any]:
    """Return a label map or mask as an array; masked entries become background."""
    return np.ma.filled(labels, 0) if np.ma.isMaskedArray(labels) else np.asarray(labels)


def check_label_map(labels: ArrayLike, name: str = "labels") -> NDArray[np.int32]:
    """Check that `labels` is a 2-D map of whole, non-negative numbers and return it as int32.

    Parameters
    ----------
    labels : array-like of shape (height, width)
        Integers, booleans, or floats that hold whole numbers. NaN and masked entries count as
        background.
    name : str, default="labels"
        How to call the argument in an error message.

    Returns
    -------
    ndarray of int32, shape (height, width)
        Values are kept: see `relabel` for closing gaps.

    Raises
    ------
    ValueError
        If the map is not 2-D, or holds negative, fractional or infinite numbers.
    """
    labels = plain_array(labels)
    if labels.ndim != 2:
        raise ValueError(
            f"{name} must be a (height, width) label map. Got shape {labels.shape} instead."
        )
    if labels.dtype.kind == "f":
        labels = _whole_numbers(labels, name)
    elif labels.dtype.kind not in "biu":
        raise TypeError(f"{name} must hold integers. Got dtype {labels.dtype} instead.")
    if labels.dtype == np.int32:
        lowest, highest = (labels.min(), 0) if labels.size else (0, 0)
    else:
        lowest, highest = (labels.min(), labels.max()) if labels.size else (0, 0)
    if lowest < 0:
        raise ValueError(
            f"{name} must be 0 for background and positive for sources. Got {lowest} instead."
        )
    if int(highest) > np.iinfo(np.int32).max:  # as a float32, the largest int32 would be 2**31
        labels = relabel(labels)
    return labels.astype(np.int32, copy=False)


def _whole_numbers(labels, name):
    whole = np.where(np.isnan(labels), 0, labels)
    if np.isinf(whole).any():
        raise ValueError(
            f"{name} must hold whole numbers, one per source. Got infinite numbers instead: 0 is "
            "background."
        )
    if not np.array_equal(whole, np.rint(whole)):
        is_soft = whole.min() >= 0 and whole.max() <= 1
        what = "fractions between 0 and 1, as in a soft mask," if is_soft else "fractions"
        hint = ": pass a mask, for instance probability > 0.5" if is_soft else ""
        raise ValueError(
            f"{name} must hold whole numbers, one per source. Got {what} instead{hint}."
        )
    return whole


def relabel(labels: ArrayLike) -> NDArray[np.int32]:
    """Renumber the sources 1…n in increasing order of their old number.

    Parameters
    ----------
    labels : array-like of int, any shape
        0 is background; gaps and any integer dtype are fine.

    Returns
    -------
    ndarray of int32, same shape
        The input itself if it is int32 and already consecutive.

    Examples
    --------
    >>> from galaxysegment.structures import relabel
    >>> relabel([[0, 7], [3, 7]]).tolist()
    [[0, 2], [1, 2]]
    """
    labels = plain_array(labels)
    if labels.size == 0:
        return labels.astype(np.int32)
    if labels.dtype.kind == "f":
        labels = _whole_numbers(labels, "labels")
    highest = int(labels.max())
    if int(labels.min()) < 0:
        raise ValueError(
            f"labels must be 0 for background and positive for sources. Got {labels.min()} instead."
        )
    if highest > 4 * labels.size:  # a table of that length would cost more than sorting
        values, inverse = np.unique(labels, return_inverse=True)
        start = 0 if values[0] == 0 else 1
        return (inverse.reshape(labels.shape) + start).astype(np.int32)
    if labels.dtype.kind == "f":
        labels = labels.astype(np.int64)
    used = np.zeros(highest + 1, dtype=bool)
    used[labels.ravel()] = True
    used[0] = False
    if labels.dtype == np.int32 and used[1:].all():
        return labels
    return np.where(used, np.cumsum(used), 0).astype(np.int32)[labels]


def labels_of(result, name="y"):
    """Return a label map as int32, or the components of a boolean mask.

    Parameters
    ----------
    result : array-like of int or bool, shape (height, width)
    name : str, default="y"
        How to call the argument in an error message.
    """
    result = plain_array(result)
    if result.dtype.kind != "b":
        return check_label_map(result, name)
    if result.ndim != 2:
        raise ValueError(
            f"{name} must be a (height, width) mask. Got shape {result.shape} instead."
        )
    return label_components(result)


def label_components(mask: ArrayLike, connectivity: int = 8) -> NDArray[np.int32]:
    """Number the connected components of a binary mask.

    Parameters
    ----------
    mask : array-like of shape (height, width)
        Non-zero where there is a source.
    connectivity : {4, 8}, default=8
        Whether pixels that touch at a corner belong together.

    Returns
    -------
    ndarray of int32, shape (height, width)
        Label map, numbered in the order of each component's first pixel.
    """
    if connectivity not in _CONNECTIVITY:
        raise ValueError(f"connectivity must be 4 or 8. Got {connectivity!r} instead.")
    labels = np.empty(np.shape(mask), dtype=np.int32)
    ndimage.label(mask, structure=_CONNECTIVITY[connectivity], output=labels)
    return labels


def remove_small(labels: NDArray[Any], n_pixels: int) -> NDArray[np.int32]:
    """Drop the sources with fewer than `n_pixels` pixels and renumber the rest.

    Parameters
    ----------
    labels : ndarray of int, shape (height, width)
    n_pixels : int
        Sources of exactly `n_pixels` pixels stay.

    Returns
    -------
    ndarray of int32, shape (height, width)
    """
    if labels.size and labels.max() > 4 * labels.size:  # counting up to it would fill the memory
        labels = relabel(labels)
    sizes = np.bincount(labels.ravel())
    keep = sizes >= n_pixels
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def source_pixels(labels):
    """Positions of the pixels of a label map that are not 0, in raster order."""
    return np.flatnonzero(labels != 0)  # of booleans: six times as fast as of integers


def touching_groups(labels, pixels, n_labels):
    """Number of the group of touching labels that each label belongs to, shape (n_labels + 1,).

    Parameters
    ----------
    labels : ndarray of int, shape (height, width)
    pixels : ndarray of int
        Positions of its non-zero pixels in raster order.
    n_labels : int
        Largest label.
    """
    if not compiling_pays(labels.size):
        return connect(_touching_pairs(labels, pixels), n_labels + 1)
    from ._label_kernels import number_touching

    group = np.arange(n_labels + 1, dtype=np.int32)
    pixels = pixels.astype(np.int64, copy=False)
    number_touching(np.ascontiguousarray(labels, dtype=np.int32), pixels, group)
    return group


def _touching_pairs(labels, pixels):
    """Pairs of labels that touch, shape (2, n_pairs)."""
    height, width = labels.shape
    flat = labels.ravel()
    values, pairs = flat[pixels], []
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        # Neighbours beyond an edge are taken for others here; few pixels are left to be checked.
        other = flat.take(pixels + (dy * width + dx), mode="clip")
        touch = np.flatnonzero((other != 0) & (other != values))
        y, x = np.divmod(pixels[touch], width)
        touch = touch[(y + dy < height) & (x + dx >= 0) & (x + dx < width)]
        pairs.append(np.stack([values[touch], other[touch]]))
    return np.concatenate(pairs, axis=1)


def connect(pairs, n):
    """Number the connected components of `n` nodes, given pairs of nodes, shape (2, n_pairs)."""
    ones = np.ones(pairs.shape[1], dtype=np.int8)
    graph = sparse.coo_array((ones, (pairs[0], pairs[1])), shape=(n, n))
    return sparse.csgraph.connected_components(graph, directed=False)[1]
