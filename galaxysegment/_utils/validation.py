"""Every array that users pass is checked and brought to one form here.

Inside the package an image is always a native-order float array ``(n_bands, height, width)`` in
which a pixel without data is NaN. `Layout` remembers what came in, so the same container goes out.
"""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..exceptions import ChannelsLastWarning

_MOST_CHANNELS = 5  # u, g, r, i, z
_LEAST_SIDE = 32
_INSIDE = ("galaxysegment.", "sklearn.")


@dataclass(frozen=True)
class Layout:
    """How the user's images were packed: one stack or a list, with or without a band axis."""

    is_list: bool
    has_bands: bool

    def pack(self, images, keeps_rms=True):
        """Pack images (n_bands, height, width) as they came; `keeps_rms` is for fields only.

        The band axis is dropped only if the input had none and one band is left.
        """
        if not self.has_bands and all(image.shape[0] == 1 for image in images):
            images = [image[0] for image in images]
        return self.pack_maps(images)

    def pack_maps(self, maps):
        """Stack per-image arrays if the input was a stack, else leave them in a list."""
        return list(maps) if self.is_list else np.stack(maps)

    def pack_list(self, results):
        """Return results that do not stack, one per image, as a list."""
        return list(results)


def is_path(value):
    """Whether `value` is a path, or a list of paths."""
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return (
        all(isinstance(path, str | Path) for path in value)
        if is_list
        else isinstance(value, str | Path)
    )


def as_float_image(array, name="X"):
    """Return `array` as native-order floats, infinities as NaN, without a copy if possible.

    float32 and float64 stay; float16 and integers of up to 16 bits become float32; all else
    float64.
    """
    if np.ma.isMaskedArray(array):
        kind = array.dtype if array.dtype.kind == "f" else np.float64
        array = np.ma.filled(array.astype(kind), np.nan)
    array = np.asarray(array)
    if array.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} has dtype {array.dtype}. Pass its modulus or real "
            "part."
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold real numbers. Got an array of dtype {array.dtype} instead: "
            "convert it with `.astype(float)`."
        )
    if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    else:
        array = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    infinite = np.isinf(array)
    if infinite.any():
        array = np.where(infinite, array.dtype.type(np.nan), array)
    return array


def check_images(X, *, n_bands=None):
    """Check a container of images and split it into `(n_bands, height, width)` float arrays.

    Parameters
    ----------
    X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or \
            list of arrays of shape (height, width) or (n_bands, height, width)
        The images. Any real dtype and byte order; NaN and infinities mean "no data".
    n_bands : int, optional
        The number of bands that is required; unset means any.

    Returns
    -------
    images : list of ndarray of shape (n_bands, height, width)
        Native float32 or float64; views of `X` if nothing had to change. Do not write to them.
    layout : Layout
        Packs results the way `X` came.
    """
    if hasattr(X, "tocsr"):
        raise TypeError("Sparse data was passed, but X must be dense: use `.toarray()`.")
    is_list = isinstance(X, list | tuple)
    if is_list:
        images = [np.asanyarray(image) for image in X]
        dimensions = {image.ndim for image in images}
        allowed, what = (
            ({2}, {3}),
            "a list of (height, width) or of (n_bands, height, width) arrays",
        )
        if images and dimensions not in allowed:
            raise ValueError(
                f"X is a list whose arrays have {sorted(dimensions)} dimensions. Expected "
                f"{what}." + _path_hint(images[0], "X[0]")
            )
        has_bands = dimensions == {3}
        if images and has_bands:
            warn_if_channels_last(images[0].shape, "X[0]", 0)
    else:
        X = np.asanyarray(X)
        if X.ndim not in (3, 4):
            raise ValueError(
                f"X must have shape (n_images, height, width) or (n_images, n_bands, height, "
                "width). "
                f"Got {X.ndim} dimensions, shape {X.shape}, instead." + _reshape_hint(X)
            )
        images, has_bands = list(X), X.ndim == 4
        warn_if_channels_last(X.shape, "X", 1 if X.ndim == 4 else 0, n_images=X.ndim - 2)
    if not images:
        raise ValueError("X holds 0 images (sample) while a minimum of 1 is required.")
    images = [as_float_image(image if has_bands else image[None]) for image in images]
    _check_shapes(images, n_bands)
    return images, Layout(is_list, has_bands)


def check_window(image, n_bands=None):
    """Check a window of an image, of shape (n_bands, height, width); return it as floats.

    The image was checked as a whole before, so that nothing is said about the order of its axes.
    """
    image = as_float_image(image)
    _check_shapes([image], n_bands)
    return image


def warn_if_channels_last(shape, name, first, n_images=0):
    """Warn if bands seem to come last: a last axis of at most 5, the others at least 32.

    Parameters
    ----------
    shape : tuple of int
    name : str
        How to call the argument in the warning.
    first : int
        The axis that the bands should move to.
    n_images : {0, 1, 2}, default=0
        1 for a stack (n_images, height, width), 2 for one with bands; 0 for one image with bands.
    """
    *others, last = shape
    if len(shape) < 3 or last > _MOST_CHANNELS or min(others[-2:]) < _LEAST_SIDE:
        return
    axes = " × ".join(map(str, shape[-2:]))
    what = f"{shape[-3]} bands of {axes} pixels"
    fix = f"np.moveaxis({name}, -1, {first})"
    if n_images == 1:
        what, fix = f"{shape[0]} images of {axes} pixels", f"{fix}[np.newaxis]"
    warnings.warn(
        f"{name} has shape {tuple(shape)} and is read as {what}. If the last axis holds the bands, "
        "which "
        f"come first here, pass {fix}.",
        ChannelsLastWarning,
        stacklevel=level_of_caller(),
    )


def level_of_caller():
    """Stack level of the first caller outside this package and scikit-learn."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    return level


def _reshape_hint(X):
    if X.ndim == 2:
        return " Reshape your data: pass a single image as X[np.newaxis]."
    if X.ndim == 0:
        return _path_hint(X) or " Pass an array or a list of arrays."
    return ""


def _path_hint(X, name="X"):
    is_text = X.ndim == 0 and isinstance(X.item(), str | Path)
    return f" Pass the pixels of a file: {name}=galaxysegment.io.read_field(path)." * is_text


def _check_shapes(images, n_bands):
    for index, image in enumerate(images):
        if 0 in image.shape:
            raise ValueError(
                f"X[{index}] is empty: 0 pixels or bands (n_bands, height, width = "
                f"{image.shape}) "
                "while a minimum of 1 along each axis is required."
            )
    counts = {image.shape[0] for image in images}
    if len(counts) > 1:
        raise ValueError(
            f"All images of X must have the same number of bands. Got {sorted(counts)} instead."
        )
    if n_bands is not None and counts != {n_bands}:
        raise ValueError(
            f"X has {counts.pop()} bands, but the estimator was fitted with {n_bands}: "
            f"pass images with {n_bands} band(s), in the same order."
        )


def split_rms(image, rms_band):
    """Split an image into its science bands and its RMS band.

    Parameters
    ----------
    image : ndarray of shape (n_bands, height, width)
    rms_band : int or None
        Index of the RMS band; ``None`` means there is none.

    Returns
    -------
    science : ndarray of shape (n_science_bands, height, width)
    rms : ndarray of shape (height, width) or None
        The RMS; NaN, "no data", where the RMS is not positive.
    """
    if rms_band is None:
        return image, None
    check_rms_band(rms_band, image.shape[0])
    rms = image[rms_band]
    bad = ~(rms > 0)
    science = np.delete(image, rms_band, axis=0)
    # An image without data may well come with an empty map: the corner of a mosaic.
    if bad.all() and not np.isnan(science).all():
        raise ValueError(
            f"The RMS map (band {rms_band}) has no positive value, so it says nothing about the "
            "noise: "
            "check the file, or set rms_band=None to estimate the noise from the image."
        )
    if bad.any():
        rms = np.where(bad, rms.dtype.type(np.nan), rms)
    return science, rms


def check_rms_band(rms_band, n_bands):
    """Refuse the index of an RMS band that images of `n_bands` bands do not have."""
    if n_bands < 2 or not -n_bands <= rms_band < n_bands:
        raise ValueError(
            f"rms_band={rms_band} asks for an RMS map among the bands, but X has {n_bands} "
            "band(s): stack image and RMS map as two bands, pass rms= with a file or Field, or set "
            "rms_band=None."
        )


def check_odd(estimator, names):
    """Refuse an even number for parameters of `estimator` that are the side of a window."""
    for name in names:
        value = getattr(estimator, name)
        if value % 2 == 0:
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be odd, because the "
                f"window has a centre. Got {value} instead: use {value + 1}."
            )


def check_same_shape(shape, expected, name, other):
    """Refuse a map whose `(height, width)` differs from its image's."""
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but {other} has shape {tuple(expected)}: they must "
            "agree."
        )


def check_weights(weights, n_images):
    """Return the weights of the images as an array, or None; refuse negative numbers."""
    if weights is None:
        return None
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n_images,) or not (weights >= 0).all() or not weights.any():
        raise ValueError(
            f"sample_weight must hold {n_images} numbers, one an image, none of them negative and "
            f"not all of them 0. Got shape {weights.shape} instead."
            if weights.shape != (n_images,)
            else "sample_weight must not be negative nor 0 for all images. "
            f"Got {weights.tolist()} instead."
        )
    return weights


def common_shape(images):
    """Return ``(height, width)`` of images, or None if they differ."""
    shapes = {tuple(image.shape[-2:]) for image in images}
    return shapes.pop() if len(shapes) == 1 else None
