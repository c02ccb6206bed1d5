"""Stars told from galaxies by the share of their light that lies near the centre."""

import numpy as np

from ._flags import CatalogFlags
from ._photometry import Apertures

_BRIGHT, _LESS_BRIGHT = 30.0, 10.0  # S/N of sources that show the stellar locus
_ENOUGH = 30  # sources to find the locus among
_FEWEST_STARS = 5
_WIDTH = 0.04  # of the kernel that finds the locus, in ln(radius)
_LOCUS = 0.10  # a star's half-light radius is within 10 % of that of the PSF
_PEAK = 0.3  # the locus is at least this high, relative to the highest peak
_OUTER = 2.0  # radius of the outer circle in half-light radii of the PSF
_GROUP = 100  # sources of about the same flux, which share one fraction of stars
_MOST_GROUPS = 300
_FRACTIONS = 0.01, 0.9  # of stars, least and most
_FEWER = 0.2  # dex per magnitude by which galaxies outgrow stars
_SPOILED = CatalogFlags.MISSING | CatalogFlags.TRUNCATED | CatalogFlags.BLENDED


def star_probability(measured, shape_flags):
    """Return the probability that each source is a point source, and the radius of the PSF.

    Parameters
    ----------
    measured : Photometry
        With Kron fluxes and half-light radii, measured with an RMS map.
    shape_flags : ndarray of int, shape (n,)

    Returns
    -------
    probability : ndarray of float, shape (n,)
        NaN where it cannot be told.
    psf_radius : float
        Half-light radius of the PSF in pixels; NaN if the image shows no stellar locus.
    """
    flux, variance = (measured.sums["kron"][..., column].mean(axis=0) for column in (0, 1))
    radius = measured.radii[..., measured.apertures.fractions.index(0.5)].mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        signal = flux / np.sqrt(variance / measured.n_bands)
    clean = ((measured.flags | shape_flags) & _SPOILED) == 0
    psf_radius = _locus(radius, signal, clean)
    probability = np.full(len(flux), np.nan)
    if not np.isfinite(psf_radius):
        return probability, psf_radius
    share, error = _central_share(measured, psf_radius)
    known = np.isfinite(share) & np.isfinite(error) & np.isfinite(flux)
    near = clean & known & (np.abs(radius / psf_radius - 1) < _LOCUS) & (signal > _LESS_BRIGHT)
    if near.sum() < _FEWEST_STARS:
        return probability, np.nan
    typical, spread = _point_sources(share[near], error[near], signal[near])
    excess = typical - share[known]
    probability[known] = _probabilities(excess, np.hypot(error[known], spread), flux[known])
    return probability, psf_radius


def _locus(radius, signal, clean):
    """Return the radius at which the smallest sources pile up."""
    good = clean & np.isfinite(radius) & (radius > 0)
    bright = good & (signal > _BRIGHT)
    if bright.sum() < _ENOUGH:
        bright = good & (signal > _LESS_BRIGHT)
    if bright.sum() < _FEWEST_STARS:
        return np.nan
    values = np.log(radius[bright])
    grid = np.arange(values.min() - 3 * _WIDTH, values.max() + 3 * _WIDTH, _WIDTH / 4)
    # Stars are few but alike: what counts is how many sources share a radius.
    density = np.exp(-(((grid[:, None] - values) / _WIDTH) ** 2) / 2).sum(axis=1)
    peaks = np.flatnonzero((density[1:-1] >= density[:-2]) & (density[1:-1] > density[2:])) + 1
    high = peaks[density[peaks] >= max(_PEAK * density.max(), 2.0)]
    return float(np.exp(grid[high[0]])) if len(high) else np.nan


def _central_share(measured, psf_radius):
    """Return the share of the light of a circle that lies in its inner half, and its error."""
    circles = Apertures(
        circles=(psf_radius, _OUTER * psf_radius),
        circle_names=("inner", "outer"),
        mode=measured.apertures.mode,
        local_background=measured.apertures.local_background,
        n_jobs=measured.apertures.n_jobs,
    )
    again = measured.again(circles)
    (inner, inner_variance), (whole, whole_variance) = (
        (sums[..., 0].mean(axis=0), sums[..., 1].mean(axis=0) / measured.n_bands)
        for sums in again.sums.values()
    )
    rest, rest_variance = whole - inner, np.maximum(whole_variance - inner_variance, 0)
    factor = measured.apertures.noise_factor
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(rest**2 * inner_variance + inner**2 * rest_variance) / whole**2
        share = np.where(whole > 0, inner / whole, np.nan)
    return share, factor * error


def _point_sources(share, error, signal):
    """Return the central share of point sources and its scatter beyond the noise."""
    weight = 1 / (error**2 + 0.01**2)
    typical = _weighted_median(share, weight)
    bright = signal >= np.median(signal)
    deviation = 1.4826 * np.median(np.abs(share[bright] - typical))
    noise = np.median(error[bright])
    return typical, max(np.sqrt(max(deviation**2 - noise**2, 0)), 0.005)


def _weighted_median(values, weight):
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return values[order][np.searchsorted(total, total[-1] / 2)]


def _probabilities(excess, error, flux):
    """Return the probabilities of a mixture of stars and galaxies, in groups of similar flux.

    A group expects the stars that the next brighter group leads to, which counts as much as all its
    own sources: among faint sources that look alike, probabilities tend to what is expected.
    """
    probability = np.empty(len(excess))
    order = np.argsort(-flux)
    n_groups = min(max(1, len(order) // _GROUP), _MOST_GROUPS)
    fraction = brighter = None
    for group in np.array_split(order, n_groups):
        level = np.median(flux[group]) if len(group) else np.nan
        expected = _fainter(fraction, brighter, level)
        probability[group] = belongs = _mixture(excess[group], error[group], expected)
        fraction = belongs.mean() if expected is None else (belongs.mean() + expected) / 2
        brighter = level
    return probability


def _fainter(fraction, brighter, level):
    """Return the fraction of stars to expect at a flux level, from the fraction at a brighter one.

    Counts of galaxies rise faster with magnitude than counts of stars.
    """
    if fraction is None:
        return None
    fraction = np.clip(fraction, *_FRACTIONS)
    fainter = 2.5 * np.log10(brighter / level) if level > 0 else 0.0
    odds = fraction / (1 - fraction) * 10 ** (-_FEWER * fainter)
    return odds / (1 + odds)


def _mixture(excess, error, expected):
    """Fit stars at 0 and galaxies about a free mean, each widened by the noise, by EM.

    `expected` is the fraction of stars to begin with, which counts as much as the sources; None if
    nothing is known.
    """
    stars = _gaussian(excess, error)
    fraction = 0.3 if expected is None else expected
    mean, width = max(np.median(excess), 0.05), 0.1
    for _ in range(100):
        galaxies = _gaussian(excess - mean, np.hypot(error, width))
        belongs = fraction * stars / (fraction * stars + (1 - fraction) * galaxies + 1e-300)
        others = 1 - belongs
        own = belongs.mean()
        fraction = np.clip(own if expected is None else (own + expected) / 2, *_FRACTIONS)
        weight = others / (width**2 + error**2)
        mean = max((weight * excess).sum() / max(weight.sum(), 1e-9), 0.03)
        square = (others * ((excess - mean) ** 2 - error**2)).sum() / max(others.sum(), 1e-9)
        width = np.sqrt(np.clip(square, 0.03**2, 0.3**2))
    return belongs


def _gaussian(value, sigma):
    return np.exp(-((value / sigma) ** 2) / 2) / sigma
