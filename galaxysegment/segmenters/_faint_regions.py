"""Regions that a net takes for sources, though they hold no more light than the noise makes."""

import numpy as np

__all__ = ["without_noise"]

# A net sees surroundings and shapes, and takes some clumps of noise for sources. The sum of their
# light tells. Regions of more pixels stay, because they may be diffuse light; those of so few lie
# within the overlap of tiles.
_LARGEST_CLUMP = 64


def without_noise(labels, seen, min_snr):
    """Return a label map without the small regions whose signal to noise is under `min_snr`.

    The signal to noise is the sum of the light over the noise of this sum. The noise of each pixel
    is that of the mesh or of the RMS map, and pixels count as independent. So if the noise is
    correlated, fewer regions go.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
        Regions 1…n, before blends are split.
    seen : ndarray of float, shape (n_bands, height, width)
        What the net sees: the arcsinh of the light in units of the noise; NaN is "no data".
    min_snr : float
        0 or less keeps all regions.

    Returns
    -------
    ndarray of int32, shape (height, width)
        Numbered 1…n.
    """
    if min_snr <= 0:
        return labels
    is_small = np.bincount(labels.ravel()) <= _LARGEST_CLUMP
    is_small[0] = False
    pixels = np.flatnonzero(is_small[labels])
    owners = labels.ravel()[pixels]
    light = np.sinh(seen.reshape(len(seen), -1)[:, pixels].astype(np.float64))
    signal, variance = (
        np.bincount(owners, summands, minlength=len(is_small))
        for summands in (np.nansum(light, axis=0), np.isfinite(light).sum(axis=0))
    )
    stays = ~is_small | (signal >= min_snr * np.sqrt(variance))
    stays[0] = False
    return np.where(stays, np.cumsum(stays), 0).astype(np.int32)[labels]
