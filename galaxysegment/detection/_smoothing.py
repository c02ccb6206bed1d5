"""Separable convolution of a block of rows that fits into the cache."""

from functools import lru_cache

import numpy as np

_BLOCK = 1 << 18  # pixels that are worked on at once
_OVERSAMPLING = 10


def row_blocks(shape):
    """Cut an image into blocks of whole rows; yield ``(y0, y1)``."""
    height, width = shape
    step = max(16, _BLOCK // width)
    for y0 in range(0, height, step):
        yield y0, min(y0 + step, height)


@lru_cache(maxsize=16)
def gaussian_profile(fwhm, size):
    """One-dimensional factor of `photutils.segmentation.make_2dgaussian_kernel`, read-only.

    Each pixel has the mean of ten points of the Gaussian. Nothing is imported for it: that costs
    more than a tile takes.
    """
    sigma = fwhm / np.sqrt(8 * np.log(2))
    points = (
        np.arange(size)[:, None]
        - size // 2
        + (np.arange(_OVERSAMPLING) + 0.5) / _OVERSAMPLING
        - 0.5
    )
    profile = np.exp(-0.5 * (points / sigma) ** 2).mean(axis=1)
    profile /= profile.sum()
    profile.setflags(write=False)
    return profile


def convolve_rows(rows, profile):
    """Convolve a block of rows along both axes with a symmetric profile.

    Parameters
    ----------
    rows : ndarray of float, shape (n_rows + 2 * radius, width)
        Without NaN. The first and last `radius` rows are the border of the block; beyond the left
        and the right edge the image is zero.
    profile : ndarray of shape (2 * radius + 1,)

    Returns
    -------
    ndarray of shape (n_rows, width)
        In the dtype of `rows`.
    """
    profile = profile.astype(rows.dtype)
    return _along_x(_along_y(rows, profile), profile)


def _along_y(rows, profile):
    radius = len(profile) // 2
    n_rows = len(rows) - 2 * radius
    total = rows[radius : radius + n_rows] * profile[radius]
    pair = np.empty_like(total)
    for shift in range(1, radius + 1):
        np.add(rows[radius - shift :][:n_rows], rows[radius + shift :][:n_rows], out=pair)
        pair *= profile[radius - shift]
        total += pair
    return total


def _along_x(rows, profile):
    radius = len(profile) // 2
    width = rows.shape[1]
    padded = np.zeros((len(rows), width + 2 * radius), dtype=rows.dtype)
    padded[:, radius : radius + width] = rows
    total = np.multiply(rows, profile[radius], out=rows)
    pair = np.empty_like(total)
    for shift in range(1, radius + 1):
        left, right = radius - shift, radius + shift
        np.add(padded[:, left : left + width], padded[:, right : right + width], out=pair)
        pair *= profile[left]
        total += pair
    return total


def convolve_block(image, y0, y1, profile, prepare=None):
    """Convolve rows ``y0…y1`` of an image as `astropy.convolution.convolve` does by default.

    Beyond the image is zero; a pixel without data takes the weighted mean of its neighbours that
    have.

    Parameters
    ----------
    image : ndarray of float, shape (height, width)
    y0, y1 : int
        Half-open.
    profile : ndarray of shape (2 * radius + 1,)
        Sums to one.
    prepare : callable, optional
        ``prepare(rows, y)`` returns what is to be convolved instead of `rows`, which start at row
        `y`.

    Returns
    -------
    ndarray of shape (y1 - y0, width)
        Zero where no pixel under the kernel has data.
    """
    radius = len(profile) // 2
    top, bottom = max(0, y0 - radius), min(image.shape[0], y1 + radius)
    rows = image[top:bottom] if prepare is None else prepare(image[top:bottom], top)
    border = ((top - (y0 - radius), y1 + radius - bottom), (0, 0))
    missing = np.isnan(rows)
    any_missing = missing.any()
    if any_missing:
        rows = np.where(missing, rows.dtype.type(0), rows)
    if any(border[0]):
        rows, missing = np.pad(rows, border), np.pad(missing, border)
    smooth = convolve_rows(rows, profile)
    if any_missing:
        weight = 1 - convolve_rows(missing.astype(smooth.dtype), profile)
        empty = weight < 1e-5  # what rounding leaves of zero in float32
        smooth = np.where(empty, 0, smooth / np.where(empty, 1, weight))
    return smooth
