"""Diffuse light: Galactic cirrus, and the light between the galaxies of a cluster."""

import numpy as np
from scipy import fft

#: Exponent of the power spectrum of cirrus, Miville-Deschênes et al. (2016, A&A 593, A4).
_SLOPE = -2.9


def cirrus(rng, shape, brightness):
    """Draw wisps of dust that scatter starlight.

    Parameters
    ----------
    rng : `numpy.random.Generator`
    shape : tuple of int
    brightness : float
        Brightness that a tenth of the pixels exceed.

    Returns
    -------
    ndarray of shape (height, width)
        Not negative.
    """
    grid = [fft.next_fast_len(int(1.3 * side) + 16, real=True) for side in shape]
    fields = [_power_law(rng, grid, _SLOPE) for _ in range(2)]
    # the ridges of a random field are filaments
    filaments = np.exp(-2.5 * np.abs(fields[0])) * (1 + 0.5 * fields[1])
    wisps = np.maximum(0.6 * filaments + 0.5 * fields[1], 0) ** 1.3
    wisps = wisps[: shape[0], : shape[1]]
    level = np.quantile(wisps, 0.9)
    return wisps * (brightness / level) if level > 0 else np.zeros(shape)


def _power_law(rng, shape, slope):
    """Gaussian random field of unit standard deviation whose power falls as k to the `slope`."""
    waves = fft.rfft2(rng.standard_normal(shape))
    k = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1]))
    k[0, 0] = np.inf
    field = fft.irfft2(waves * k ** (slope / 2), s=shape)
    return field / field.std()


def intracluster_light(cluster, shape, noise):
    """Light between the galaxies of a `Cluster`, shape (height, width); `noise` is of the sky."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    rows, columns = rows - cluster.y, columns - cluster.x
    cosine, sine = np.cos(np.radians(cluster.angle)), np.sin(np.radians(cluster.angle))
    along = (columns * cosine + rows * sine) * np.sqrt(cluster.axis_ratio)
    across = (rows * cosine - columns * sine) / np.sqrt(cluster.axis_ratio)
    radius = np.hypot(along, across) / cluster.radius
    return cluster.brightness * noise * np.exp(-1.678 * (radius - 1))
