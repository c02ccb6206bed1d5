"""What is in the sky: magnitudes, sizes, shapes and colours of galaxies and stars.

The relations are rough fits to deep space surveys: they make fields that look right, and are no
substitute for a survey's own simulation.
"""

from functools import lru_cache

import numpy as np
from scipy import optimize, special

from ..structures import GALAXY, STAR

#: One row per source. ``x``, ``y`` in pixels, ``mag`` in r, ``radius`` (half of the light within
#: it, geometric mean of the axes) in arcseconds, ``angle`` of the major axis from +x towards +y in
#: degrees.
#: ``*_gr`` and ``*_rz`` are the colours g - r and r - z; a star has the colours of the "disk".
SOURCE = np.dtype(
    [("class", np.int8)]
    + [
        (name, np.float64)
        for name in (
            *(
                "x",
                "y",
                "mag",
                "radius",
                "bulge_fraction",
                "disk_axis_ratio",
                "bulge_axis_ratio",
                "angle",
            ),
            *("disk_gr", "disk_rz", "bulge_gr", "bulge_rz"),
        )
    ]
)

#: Slopes of the number counts, dex per magnitude.
GALAXY_SLOPE = 0.32
STAR_SLOPE = 0.15
#: Half-light radius of the bulge over the half-light radius of the disk.
BULGE_TO_DISK = 0.5

_EXPONENTIAL, _DE_VAUCOULEURS = 1.6783469900166605, 7.669249442500804


def draw_galaxies(rng, n, brightest, faintest):
    """Draw `n` galaxies with r magnitudes in ``[brightest, faintest]``; positions are left at 0."""
    galaxies = np.zeros(n, dtype=SOURCE)
    galaxies["class"] = GALAXY
    galaxies["mag"] = mag = _magnitudes(rng.uniform(size=n), GALAXY_SLOPE, brightest, faintest)
    galaxies["radius"] = np.clip(
        10 ** (-0.42 - 0.11 * (mag - 24) + 0.16 * rng.standard_normal(n)), 0.05, 4.0
    )
    galaxies["angle"] = rng.uniform(0, 180, n)
    _draw_shapes(rng, galaxies)
    _draw_galaxy_colours(rng, galaxies)
    return galaxies


def draw_stars(rng, n, brightest, faintest):
    """Draw `n` stars with r magnitudes in ``[brightest, faintest]``; positions are left at 0."""
    stars = np.zeros(n, dtype=SOURCE)
    stars["class"] = STAR
    stars["mag"] = _magnitudes(rng.uniform(size=n), STAR_SLOPE, brightest, faintest)
    stars["disk_axis_ratio"] = stars["bulge_axis_ratio"] = 1
    # Two fifths are the blue stars of the halo, the rest the red dwarfs that end the locus in g -
    # r.
    dwarf = rng.uniform(size=n) < 0.6
    stars["disk_gr"] = np.where(dwarf, rng.normal(1.4, 0.07, n), rng.normal(0.5, 0.15, n))
    stars["disk_rz"] = np.where(
        dwarf, rng.uniform(0.9, 2.4, n), 0.55 * stars["disk_gr"] + rng.normal(0, 0.03, n)
    )
    return stars


def _magnitudes(u, slope, brightest, faintest):
    """Turn uniform numbers into magnitudes with counts proportional to ``10 ** (slope * mag)``."""
    low, high = 10 ** (slope * (brightest - faintest)), 1.0
    return faintest + np.log10(low + u * (high - low)) / slope


def _draw_shapes(rng, galaxies):
    n = len(galaxies)
    elliptical = rng.uniform(size=n) < 0.12
    fraction = np.clip(np.abs(rng.normal(0, 0.25, n)), 0, 0.8)
    galaxies["bulge_fraction"] = np.where(elliptical, 1.0, np.where(fraction < 0.03, 0.0, fraction))
    cosine = rng.uniform(size=n)  # disks of thickness 0.2, seen from any direction
    galaxies["disk_axis_ratio"] = np.sqrt(cosine**2 * (1 - 0.2**2) + 0.2**2)
    galaxies["bulge_axis_ratio"] = rng.uniform(0.55, 1.0, n)


def _draw_galaxy_colours(rng, galaxies):
    n = len(galaxies)
    bluer = 0.04 * (galaxies["mag"] - 24)
    galaxies["disk_gr"] = rng.normal(0.45, 0.15, n) - bluer
    galaxies["disk_rz"] = rng.normal(0.35, 0.15, n) - bluer
    galaxies["bulge_gr"] = rng.normal(1.1, 0.12, n) - bluer
    galaxies["bulge_rz"] = rng.normal(0.8, 0.10, n) - bluer


def component_radii(sources):
    """Half-light radii of disk and bulge in arcseconds, from the galaxy's own."""
    fractions, ratios = _radius_table()
    disk = sources["radius"] / np.interp(sources["bulge_fraction"], fractions, ratios)
    pure_bulge = sources["bulge_fraction"] == 1
    return np.where(pure_bulge, 0, disk), np.where(
        pure_bulge, sources["radius"], BULGE_TO_DISK * disk
    )


@lru_cache(maxsize=1)
def _radius_table():
    """Half-light radius of the sum, in units of the disk's, for a grid of bulge fractions."""

    def excess(radius, fraction):
        disk = special.gammainc(2, _EXPONENTIAL * radius)
        bulge = special.gammainc(8, _DE_VAUCOULEURS * (radius / BULGE_TO_DISK) ** 0.25)
        return fraction * bulge + (1 - fraction) * disk - 0.5

    fractions = np.linspace(0, 1, 101)
    return fractions, np.array(
        [optimize.brentq(excess, 0.1, 2, args=(fraction,)) for fraction in fractions]
    )


def component_mags(sources, band):
    """Magnitudes of disk and bulge in one band; infinite if there is no such component."""
    colour = {"g": "gr", "r": None, "z": "rz"}[band]
    sign = {"g": 1, "r": 0, "z": -1}[band]
    with np.errstate(divide="ignore"):
        disk = sources["mag"] - 2.5 * np.log10(1 - sources["bulge_fraction"])
        bulge = sources["mag"] - 2.5 * np.log10(sources["bulge_fraction"])
    if colour is None:
        return disk, bulge
    return disk + sign * sources[f"disk_{colour}"], bulge + sign * sources[f"bulge_{colour}"]


def surface_brightness_radius(flux, radius, axis_ratio, level, profile):
    """Distance along the major axis at which a profile falls to `level`, in the unit of `radius`.

    Parameters
    ----------
    flux, radius, axis_ratio : ndarray
        Total flux, half-light radius (geometric mean of the axes), minor over major axis.
    level : float
        Flux per square of the unit of `radius`.
    profile : {"disk", "bulge"}

    Returns
    -------
    ndarray
        0 where the profile is nowhere as bright or has no flux.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if profile == "disk":
            scale = radius / _EXPONENTIAL
            units = np.log(flux / (2 * np.pi * scale**2 * level))
        else:
            scale = radius
            effective = (
                flux
                * _DE_VAUCOULEURS**8
                / (8 * np.pi * radius**2 * np.exp(_DE_VAUCOULEURS) * special.gamma(8))
            )
            units = np.maximum(1 + np.log(effective / level) / _DE_VAUCOULEURS, 0) ** 4
        distance = scale / np.sqrt(axis_ratio) * np.maximum(units, 0)
    return np.where((flux > 0) & (radius > 0), distance, 0.0)
