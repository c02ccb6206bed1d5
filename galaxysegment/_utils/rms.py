"""An image and its RMS map become one array: the one place where they are put together."""

import numpy as np


def append_rms(image, rms):
    """Append an RMS map to an image as its last band.

    Parameters
    ----------
    image : ndarray of float, shape (n_bands, height, width)
        NaN is "no data".
    rms : ndarray of float, shape (height, width) or (n_bands, height, width), or None
        NaN is "no data"; None leaves the image as it is.

    Returns
    -------
    ndarray of shape (n_bands + 1, height, width)
        The dtype is the image's. Pixels without RMS are NaN in the image too: in all bands for a
        single map, in their own band for a map per band. Maps of several bands become one by
        `mean_rms`, so that a pixel has an RMS where any band has one.
    """
    if rms is None:
        return image
    appended = np.empty((len(image) + 1, *image.shape[1:]), dtype=image.dtype)
    appended[:-1] = image
    appended[-1] = rms if rms.ndim == 2 else mean_rms(rms)
    missing = np.isnan(rms)
    if missing.any():
        appended[:-1][np.broadcast_to(missing, image.shape)] = np.nan
    return appended


def mean_rms(rms):
    """Root mean square over the bands that have an RMS; NaN where none has.

    Parameters
    ----------
    rms : ndarray of float, shape (n_bands, height, width)

    Returns
    -------
    ndarray of shape (height, width)
        The typical noise of a band: two bands of RMS 3 and 4 give 3.54.
    """
    if len(rms) == 1:
        return rms[0]
    valid = np.isfinite(rms)
    squares = np.where(valid, rms, 0).astype(np.float64) ** 2
    counts = valid.sum(axis=0)
    mean = squares.sum(axis=0) / np.maximum(counts, 1)
    return np.where(counts > 0, np.sqrt(mean), np.nan).astype(rms.dtype)
