"""Light beyond the Kron aperture."""

import numpy as np

_GRID = np.geomspace(2.29, 20, 400)  # radius of the aperture in scale lengths of the disk


def _enclosed(radius):
    """Share of an exponential disk within a radius in scale lengths."""
    return 1 - (1 + radius) * np.exp(-radius)


def _half_light(radius):
    """Radius that holds half of the light within `radius`, by bisection."""
    low, high = np.zeros_like(radius), radius.copy()
    for _ in range(60):
        middle = (low + high) / 2
        less = _enclosed(middle) < _enclosed(radius) / 2
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return (low + high) / 2


def total_over_aperture(aperture_radius, half_light_radius):
    """Return the total light over the light in an aperture, for an exponential disk.

    Parameters
    ----------
    aperture_radius : ndarray of float
        Radius of the circle of the same area as the aperture.
    half_light_radius : ndarray of float
        Radius that holds half of the light in the aperture, in the same unit.

    Returns
    -------
    ndarray of float
        1 to 1.5. The larger the aperture is compared with the half-light radius, the nearer to 1. A
        ratio of 2.7, usual for Kron apertures of faint galaxies, gives 1.08.
    """
    ratios = _GRID / _half_light(_GRID)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.interp(aperture_radius / half_light_radius, ratios, 1 / _enclosed(_GRID))
