"""Light beyond the Kron aperture."""

from functools import lru_cache

import numpy as np

#: Ellipses in which the growth of the light is measured, as shares of the Kron aperture.
GROWTH = (0.25, 0.5, 0.75, 1.0)
_SHAPE = 1.0, 0.5  # Sérsic index of most galaxies, and its scatter in ln
_SIZE = 0.45, 0.3  # half-light radius over the Kron aperture, and its scatter in ln
_SHAPES = np.geomspace(0.5, 6, 12)
_SIZES = np.geomspace(0.12, 1.6, 40)
_MISFIT = 0.01  # of the Kron flux: how well a smooth profile describes a galaxy at best
_CHUNK = 4096  # sources at once
_DISK = np.geomspace(2.29, 20, 400)  # radius of the aperture in scale lengths of the disk


def extrapolate(growth):
    """Return the total light over the light in the Kron aperture, and its standard deviation.

    Parameters
    ----------
    growth : ndarray of float, shape (n, 4, 2)
        Flux and variance in the ellipses of `GROWTH`.

    Returns
    -------
    factor, error : ndarray of float, shape (n,)
        NaN without a flux.

    Notes
    -----
    Sérsic profiles of 12 indices and 40 sizes are compared with the light of the four rings. The
    factor is the mean over the profiles, each with its probability, which the noise of the rings
    and what is known of galaxies decide: an index of 1 and a half-light radius of .45 of the
    aperture, with a scatter of factors 1.6 and 1.3. So a bright galaxy is extrapolated by its own
    profile, and a faint one by that of a typical disk.
    """
    factor, error = np.full((2, len(growth)), np.nan)
    known = np.flatnonzero(np.isfinite(growth).all(axis=(1, 2)))
    for start in range(0, len(known), _CHUNK):
        part = known[start : start + _CHUNK]
        factor[part], error[part] = _mean_of_profiles(growth[part])
    return factor, error


def _mean_of_profiles(growth):
    rings, beyond, prior = _profiles()
    flux = growth[:, -1, 0]
    light, variance = (np.diff(growth[..., k], axis=1, prepend=0.0) for k in (0, 1))
    tiny = np.finfo(float).tiny ** 0.5
    weight = 1 / np.maximum(variance + (_MISFIT * flux[:, None]) ** 2, tiny)
    # The amplitude of each profile that fits best, and its chi squared, from sums over the rings.
    overlap = np.maximum((weight * light) @ rings.T, 0)
    likely = prior + overlap**2 / (weight @ (rings**2).T) / 2
    likely = np.exp(likely - likely.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    inside = likely @ (1 - beyond)
    spread = likely @ (1 - beyond) ** 2 - inside**2
    return 1 / inside, np.sqrt(np.maximum(spread, 0)) / inside**2


@lru_cache(maxsize=1)
def _profiles():
    """Return the light of profiles in the rings, their light beyond, and the log of the prior."""
    from scipy.special import gammainc, gammaincinv

    shape, size = (part.ravel() for part in np.meshgrid(_SHAPES, _SIZES, indexing="ij"))
    half = gammaincinv(2 * shape, 0.5)
    grown = np.stack(
        [gammainc(2 * shape, half * (share / size) ** (1 / shape)) for share in (0, *GROWTH)]
    )
    prior = sum(
        -((np.log(values / middle) / scatter) ** 2) / 2
        for values, (middle, scatter) in ((shape, _SHAPE), (size, _SIZE))
    )
    return np.diff(grown, axis=0).T, 1 - grown[-1], prior


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
    ratios = _DISK / _half_light(_DISK)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.interp(aperture_radius / half_light_radius, ratios, 1 / _enclosed(_DISK))
