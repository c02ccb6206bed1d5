"""Masks: which pixels have no data, from booleans, or from the bits of a data quality map."""

import numbers
from functools import partial

import numpy as np

from .._utils.validation import is_path
from ._hdus import check_complete, find_image, scan
from ._pixels import _read_raw, _scaling, read_floats
from ._sources import ArraySource, FitsSource, MaskedSource, StackSource


def check_bits(bits):
    """Return the bits that mean "no data" as one number; None takes every bit."""
    if bits is None:
        return None
    flags = bits if isinstance(bits, list | tuple | np.ndarray) else [bits]
    total = 0
    for flag in flags:
        is_whole = isinstance(flag, numbers.Integral) and not isinstance(flag, bool)
        if not is_whole or flag == 0 or not -(2**63) <= flag < 2**63:
            raise ValueError(
                "mask_bits must be a whole number, or a list of them, whose bits mean no data: "
                f"1 + 4096 or [1, 4096], or ~4 for every bit but 4. Got {bits!r} instead."
            )
        total |= int(flag)
    return total or None


def as_mask(mask, bits=None, name="mask"):
    """Return a boolean mask, True where there are no data.

    Parameters
    ----------
    mask : array-like of shape (height, width) or (n_bands, height, width)
        Booleans or numbers; every value but 0 masks, NaN too.
    bits : int, list of int or None
        Only these bits of a map of integers mask; None takes all.
    name : str
        How to call the argument in an error message.
    """
    mask = np.asarray(mask)
    bits = check_bits(bits)
    if mask.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold booleans or numbers. Got an array of dtype {mask.dtype} instead."
        )
    if bits is None:
        return mask if mask.dtype.kind == "b" else mask != 0
    if mask.dtype.kind == "f":
        raise TypeError(
            f"mask_bits={bits} picks bits of whole numbers, but {name} holds {mask.dtype} numbers: "
            "pass integers, or "
            "leave mask_bits out."
        )
    return (mask.astype(np.int64) & bits) != 0


def blank(image, mask):
    """Return an image (n_bands, height, width) with NaN where `mask` is True.

    Raises
    ------
    ValueError
        If the mask has neither the shape of the image nor of one band.
    """
    if mask is None:
        return image
    check_mask_shape(mask.shape, image.shape)
    return np.where(mask, image.dtype.type(np.nan), image) if mask.any() else image


def check_mask_shape(shape, image_shape):
    """Refuse a mask that fits neither an image (n_bands, height, width) nor one of its bands."""
    shape, image_shape = tuple(shape), tuple(image_shape)
    if shape not in (image_shape, image_shape[1:]):
        raise ValueError(
            f"The mask has shape {shape}, but the image has shape {image_shape}: it must have "
            "shape "
            f"{image_shape[1:]}, or the shape of the image."
        )


def mask_source(image, mask, hdu=None, bits=None, limits=True):
    """Return the source of an image with NaN where a mask says so.

    Parameters
    ----------
    image : source of shape (n_bands, height, width)
    mask : path, list of paths, array-like or None
        One mask for all bands, or one per band. The pixels of files are read when those of the
        image are.
    hdu : int, str, (str, int) or a list of them, optional
    bits : int, list of int or None
        As for `as_mask`.
    limits : bool, default=True
        As for `read_image`.
    """
    bits = check_bits(bits)
    if mask is None:
        return image
    if is_path(mask):
        booleans = _open_masks(mask, hdu, bits, limits, image.shape[0])
    elif hdu is not None:
        raise ValueError(f"mask_hdu={hdu!r} names an HDU of a file, but mask is an array.")
    else:
        booleans = ArraySource(as_mask(mask, bits))
    check_mask_shape(booleans.shape, image.shape)
    return MaskedSource(image, booleans)


def _open_masks(paths, hdu, bits, limits, n_bands):
    paths = list(paths) if isinstance(paths, list | tuple) else [paths]
    hdus = hdu if isinstance(hdu, list) else [hdu] * len(paths)
    paths = paths * len(hdus) if len(paths) == 1 else paths
    if len(paths) != len(hdus) or len(paths) not in (1, n_bands):
        raise ValueError(
            f"mask lists {len(paths)} files and mask_hdu {len(hdus)} HDUs for {n_bands} bands: "
            "give one for all, "
            "or one per band."
        )
    mask_hdus = [
        find_image(path, own, scan(path, limits)) for path, own in zip(paths, hdus, strict=True)
    ]
    for image in mask_hdus:
        check_complete(image)
    sources = [FitsSource(partial(_read, bits=bits), image) for image in mask_hdus]
    return StackSource(sources) if len(sources) > 1 else sources[0]


def read_mask(hdu, section=None, bits=None):
    """Read an HDU as a boolean mask, True where there are no data; BLANK masks."""
    scale, zero, blank = _scaling(hdu)
    if hdu.bitpix < 0 or scale != 1 or zero != int(zero):
        return as_mask(read_floats(hdu, section), bits, hdu.label)
    raw = _read_raw(hdu, section)
    missing = False if blank is None else raw == blank
    # Sums modulo 2**64 leave the bits of unsigned numbers (BZERO = 2**63) as they should be.
    values = raw.astype(np.int64).view(np.uint64) + np.uint64(int(zero) % 2**64)
    return as_mask(values.view(np.int64), bits, hdu.label) | missing


def _read(hdu, section, bits):
    return read_mask(hdu, section, bits)
