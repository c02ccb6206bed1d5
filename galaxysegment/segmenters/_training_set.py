"""What a net is trained on: images and their truth, of which only windows are in memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .._utils.streams import ArrayStream, MaskedStream, blocks
from .._utils.validation import as_float_image, check_same_shape
from ..io._inputs import stack
from ..structures import Instances, as_label_map, check_label_map, is_binary, relabel
from ..structures._truth import check_targets

__all__ = [
    "FieldStream",
    "FieldTruth",
    "FloatStream",
    "TrainingSet",
    "TruthStream",
    "class_counts",
    "lazy_truths",
    "mask_streams",
    "split_ignored",
    "tuning_windows",
]

_BLOCK = 1 << 22  # pixels of a block of rows that is looked at at once


@dataclass
class TrainingSet:
    """Images, their targets, and what each image weighs.

    Parameters
    ----------
    images : list of streams of shape (n_bands, height, width)
    targets : list of ndarray, streams or Instances
    weights : ndarray of shape (n_images,) or None
        None: all weigh the same.
    """

    images: list[Any]
    targets: list[Any]
    weights: np.ndarray | None = None

    def __len__(self):
        return len(self.images)

    def part(self, indices):
        """Return the set of some of the images."""
        weights = None if self.weights is None else self.weights[indices]
        images, targets = (
            [items[index] for index in indices] for items in (self.images, self.targets)
        )
        return TrainingSet(images, targets, weights)


class FloatStream(ArrayStream):
    """An image of any real dtype, whose windows are floats; infinities are NaN."""

    def window(self, rows, columns):
        return as_float_image(super().window(rows, columns))


class FieldStream:
    """The image of a `Field`, read window by window.

    Parameters
    ----------
    field : Field
    with_rms : bool
        Whether its RMS map is the last band.
    """

    def __init__(self, field, with_rms):
        self.field, self.with_rms = field, with_rms
        self.shape = (field.n_bands + with_rms, *field.shape)

    def window(self, rows, columns):
        """Return the pixels of two slices; NaN where mask or RMS map say "no data"."""
        return as_float_image(stack(self.field.section(rows, columns), self.with_rms))


class TruthStream(ArrayStream):
    """A label map or a mask.

    Parameters
    ----------
    array : ndarray of int or bool, shape (height, width)
        0 is the sky; negative values do not count.
    is_mask : bool
        Whether sources are the connected components of the positive pixels.
    """

    def __init__(self, array, is_mask):
        super().__init__(array)
        self.is_mask = is_mask

    def any(self):
        """Return whether there is a source."""
        return _any_positive(self)

    def labels(self, rows, columns):
        """Return the label map of a window, numbered from 1."""
        values = self.window(rows, columns)
        return as_label_map(values > 0) if self.is_mask else relabel(np.maximum(values, 0))


class FieldTruth:
    """The label map of a `Field`, read window by window."""

    def __init__(self, field):
        self.field, self.shape = field, field.shape

    def any(self):
        """Return whether there is a source."""
        return _any_positive(self)

    def window(self, rows, columns):
        """Return the labels of two slices."""
        return self.field.section(rows, columns).labels

    def labels(self, rows, columns):
        """Return the label map of a window, numbered from 1."""
        return relabel(self.window(rows, columns))


def _any_positive(stream):
    n_rows = max(1, _BLOCK // stream.shape[1])
    return any((values > 0).any() for _, values in blocks(stream, n_rows))


def class_counts(target):
    """Number of pixels of the sky and of galaxies of a target, a stream or `Instances`."""
    if isinstance(target, Instances):
        n_galaxy = np.count_nonzero(target.to_mask())
        return np.array([target.shape[0] * target.shape[1] - n_galaxy, n_galaxy])
    n_rows = max(1, _BLOCK // target.shape[1])
    return sum(
        np.array([np.count_nonzero(values == 0), np.count_nonzero(values > 0)])
        for _, values in blocks(target, n_rows)
    )


def lazy_truths(y, images):
    """Check the truth of `images` and return streams of it; `Instances` stay as they are.

    Raises
    ------
    ValueError
        As `galaxysegment.base.check_targets`.
    """
    targets = list(y)
    if any(isinstance(target, Instances) or np.ndim(target) != 2 for target in targets):
        return check_targets(targets, images)
    targets = [np.asarray(target) for target in targets]
    is_mask = is_binary(
        [np.maximum(target, 0) if _ignores(target) else target for target in targets]
    )
    if len(targets) != len(images):
        check_targets(targets, images)  # which says so
    for index, (target, image) in enumerate(zip(targets, images, strict=True)):
        check_same_shape(target.shape, image.shape[1:], f"y[{index}]", f"X[{index}]")
        if not is_mask and target.dtype.kind != "b":
            targets[index] = _check_labels(target, f"y[{index}]")
    return [TruthStream(target, is_mask or target.dtype.kind == "b") for target in targets]


def _check_labels(target, name):
    """Return a label map that may hold −1, as integers."""
    if not _ignores(target):
        checked = check_label_map(target, name)
        return target if target.dtype.kind in "iu" else checked  # as small as it came
    checked = check_label_map(np.where(target == -1, 0, target), name)
    return np.where(target == -1, np.int32(-1), checked)


def _ignores(target):
    """Whether a map holds the label −1, which is for pixels that do not count."""
    return (
        isinstance(target, np.ndarray) and target.dtype.kind in "if" and bool((target == -1).any())
    )


def has_sources(target):
    """Whether a checked target, a label map or `Instances`, holds a source."""
    return bool(len(target) if isinstance(target, Instances) else target.any())


def split_ignored(y):
    """Return the truth with 0 in place of −1, and a mask of those pixels for each target, or None.

    Returns
    -------
    targets, masks : list
    """
    targets = list(y)
    masks = [
        None
        if isinstance(target, Instances) or not _ignores(np.asarray(target))
        else np.asarray(target) == -1
        for target in targets
    ]
    targets = [
        target if mask is None else np.where(mask, 0, target)
        for target, mask in zip(targets, masks, strict=True)
    ]
    return targets, masks


def mask_streams(images, masks, name):
    """Return images whose masked pixels are NaN.

    Parameters
    ----------
    images : list of streams
    masks : sequence of ndarray of bool, shape (height, width), or of None
    name : str
        How to call the masks in an error message.
    """
    if len(masks) != len(images):
        raise ValueError(
            f"X holds {len(images)} images, but {name} holds {len(masks)} masks: give one per "
            "image."
        )
    pairs = zip(images, masks, strict=True)
    return [
        image
        if mask is None
        else _masked(image, np.asarray(mask), f"{name}[{index}]", f"X[{index}]")
        for index, (image, mask) in enumerate(pairs)
    ]


def _masked(image, mask, name, image_name):
    if mask.dtype.kind != "b":
        raise TypeError(
            f"{name} must be boolean, True for pixels without data. Got dtype {mask.dtype}: "
            "convert it, for example with `mask != 0`."
        )
    check_same_shape(mask.shape, image.shape[1:], name, image_name)
    return MaskedStream(image, ArrayStream(mask))


def tuning_windows(images, side, most_pixels):
    """List windows to tune on: whole images, and windows of `side` pixels of larger images.

    Parameters
    ----------
    images : list of streams
    side : int
        Side of a window.
    most_pixels : int
        Of more than this many pixels in all, every k-th window is taken.

    Returns
    -------
    list of (index, rows, columns)
        Number of the image and two slices.
    """
    windows = [
        (index, rows, columns)
        for index, image in enumerate(images)
        for rows in _spans(image.shape[1], side)
        for columns in _spans(image.shape[2], side)
    ]
    n_pixels = sum(
        (rows.stop - rows.start) * (columns.stop - columns.start) for _, rows, columns in windows
    )
    return windows[:: max(1, -(-n_pixels // most_pixels))]


def _spans(length, side):
    count = -(-length // side)
    edges = np.linspace(0, length, count + 1).round().astype(int).tolist()
    return [slice(start, stop) for start, stop in pairwise(edges)]
