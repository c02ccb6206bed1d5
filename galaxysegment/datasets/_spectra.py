"""Colours of galaxies by age and redshift, and of stars by temperature.

Two spectra, of an old and of a young galaxy, follow the colours of ellipticals and late spirals of
Coleman, Wu & Weedman (1980, :doi:`10.1086/190674`) by eye. Stars are black bodies.
"""

from functools import lru_cache

import numpy as np

#: Effective wavelength of each band, ångström.
WAVELENGTHS = {
    "u": 3600.0,
    "g": 4800.0,
    "r": 6200.0,
    "i": 7600.0,
    "z": 8900.0,
    "y": 9700.0,
    "J": 12500.0,
    "H": 16500.0,
}
# Flux density per frequency at these wavelengths, in units of its value at 6200 Å or so.
# fmt: off
_LAMBDA = np.array([
    600, 900, 930, 1500, 2000, 2500, 3000, 3500, 3900, 4100, 4800, 5500,
    6200, 7600, 8900, 12500, 16500, 22000,
], dtype=float)
_OLD = np.array([
    1e-5, 1e-5, 0.002, 0.006, 0.006, 0.012, 0.035, 0.07, 0.10, 0.22, 0.37, 0.58,
    0.75, 1.08, 1.4, 2.0, 2.5, 2.1,
])
_YOUNG = np.array([
    1e-4, 1e-4, 0.15, 0.22, 0.24, 0.25, 0.27, 0.30, 0.36, 0.58, 0.72, 0.88,
    1.0, 1.15, 1.2, 1.3, 1.35, 1.1,
])
# fmt: on
_REDSHIFTS = np.linspace(0, 6, 241)
_HALF_WIDTH = 0.08  # of a band, relative to its wavelength
_PLANCK = 1.4388e8  # h c / k, ångström kelvin


def galaxy_colour(band, age, redshift):
    """Return the magnitude in `band` minus the magnitude in r.

    Parameters
    ----------
    band : str
        A key of `WAVELENGTHS`.
    age : ndarray
        From 0, young and blue, to 1, old and red.
    redshift : ndarray

    Returns
    -------
    ndarray
    """
    old, young = _colours(band)
    return age * np.interp(redshift, _REDSHIFTS, old) + (1 - age) * np.interp(
        redshift, _REDSHIFTS, young
    )


@lru_cache(maxsize=16)
def _colours(band):
    """Colours of the old and of the young spectrum on the grid of redshifts."""
    return tuple(_mag(spectrum, band) - _mag(spectrum, "r") for spectrum in (_OLD, _YOUNG))


def _mag(spectrum, band):
    within = WAVELENGTHS[band] * np.linspace(1 - _HALF_WIDTH, 1 + _HALF_WIDTH, 9)
    rest = within / (1 + _REDSHIFTS[:, None])
    flux = np.exp(np.interp(np.log(rest), np.log(_LAMBDA), np.log(spectrum)))
    # hydrogen between the galaxies absorbs what is bluer than Lyman α
    depth = np.where(rest < 1216, 0.0036 * (1 + _REDSHIFTS[:, None]) ** 3.46, 0.0)
    return -2.5 * np.log10((flux * np.exp(-np.minimum(depth, 10))).mean(axis=1))


def star_colour(band, temperature):
    """Return the magnitude in `band` minus the magnitude in r of stars of some kelvin."""
    return _planck_mag(band, temperature) - _planck_mag("r", temperature)


def _planck_mag(band, temperature):
    wavelength = WAVELENGTHS[band]
    return 2.5 * np.log10(wavelength**3 * np.expm1(_PLANCK / (wavelength * temperature)))
