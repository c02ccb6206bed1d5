"""Matching the PSF of one band to that of another."""

import numpy as np


def check_kernels(kernels, n_bands, separated):
    """Return a kernel, or None, for each band; None if no band has one."""
    if kernels is None:
        return None
    if separated:
        raise ValueError(
            "kernels needs sources as a label map or Instances: separated light is not convolved."
        )
    single = isinstance(kernels, np.ndarray) and kernels.ndim == 2
    kernels = [kernels] * n_bands if single else list(kernels)
    if len(kernels) != n_bands:
        raise ValueError(
            f"kernels has {len(kernels)} entries, but the image has {n_bands} bands: give one per "
            "band, None for a band that stays as it is."
        )
    if all(kernel is None for kernel in kernels):
        return None
    return [None if kernel is None else _check_kernel(kernel) for kernel in kernels]


def _check_kernel(kernel):
    kernel = np.asarray(kernel, dtype=float)
    odd = kernel.ndim == 2 and all(side % 2 for side in kernel.shape)
    if not odd or not np.isfinite(kernel).all() or kernel.sum() <= 0:
        raise ValueError(
            "kernels must be arrays of two axes with odd sides and a positive sum. "
            f"Got shape {kernel.shape} with sum {kernel.sum():g} instead."
        )
    return kernel / kernel.sum()


def convolve(image, kernel):
    """Convolve an image; pixels without data, and beyond its edge, take no part.

    Parameters
    ----------
    image : ndarray of float, shape (height, width)
        NaN is "no data", and stays so.
    kernel : ndarray of float, shape (odd, odd)
        Sums up to 1.
    """
    from scipy.signal import oaconvolve

    known = np.isfinite(image)
    light = oaconvolve(np.where(known, image, 0.0), kernel, mode="same")
    weight = oaconvolve(known.astype(float), kernel, mode="same")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, light / weight, np.nan)
