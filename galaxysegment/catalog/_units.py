"""Magnitude zero points, and what headers say about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS

_KEYWORDS = (
    "MAGZERO",
    "MAGZPT",
    "MAGZP",
    "MAG_ZP",
    "ZEROPNT",
    "ZEROPOIN",
    "PHOTZP",
    "ZP_AB",
    "ABZP",
)
_MICRO_JANSKY = 23.9  # AB magnitude of 1 µJy
_STMAG_TO_AB = -2.408  # STScI: ABMAG_ZP = -2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408


def ab_zero_point(
    header: Mapping[str, Any], *, band: str | None = None, wcs: WCS | None = None
) -> float:
    """Return the AB magnitude of a flux of 1, as the header of an image tells it.

    Parameters
    ----------
    header : `astropy.io.fits.Header` or dict
        Looked at in this order: a zero point (``MAGZERO``, ``MAGZPT``, ``MAGZP``, ``MAG_ZP``,
        ``ZEROPNT``, ``ZEROPOIN``, ``PHOTZP``, ``ZP_AB`` or ``ABZP``, each also with the band, like
        ``MAGZP_R``); ``BUNIT`` if it is a flux density, like ``uJy``, ``nanomaggy`` or ``MJy/sr``;
        ``PHOTFLAM`` with ``PHOTPLAM``, as of the Hubble Space Telescope.
    band : str, optional
        Name of the band, for keywords like ``MAGZP_R``.
    wcs : `astropy.wcs.WCS`, optional
        Gives the area of a pixel for ``MJy/sr`` if the header has no ``PIXAR_SR``.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the header says nothing about it.

    Examples
    --------
    >>> from galaxysegment.catalog import ab_zero_point
    >>> ab_zero_point({"BUNIT": "nJy"}), ab_zero_point({"MAGZERO": 26.5, "BUNIT": "adu"})
    (31.4, 26.5)
    >>> round(ab_zero_point({"PHOTFLAM": 7.07e-20, "PHOTPLAM": 8045.0}), 2)
    25.94
    """
    names = [*_KEYWORDS, *(f"{name}_{band.upper()}" for name in _KEYWORDS if band)]
    for name in reversed(names):  # the keyword of the band comes first
        if name in header:
            return float(header[name])
    from_unit = _from_unit(str(header.get("BUNIT", "")), header, wcs)
    if from_unit is not None:
        return from_unit
    if "PHOTFLAM" in header and "PHOTPLAM" in header:
        flam, pivot = float(header["PHOTFLAM"]), float(header["PHOTPLAM"])
        if flam > 0 and pivot > 0:
            return float(-2.5 * np.log10(flam) - 5 * np.log10(pivot) + _STMAG_TO_AB)
    raise ValueError(
        f"The header has no zero point: none of {', '.join(_KEYWORDS)}, no PHOTFLAM with PHOTPLAM, "
        "and BUNIT is no flux density. Pass zero_point=, the AB magnitude of a flux of 1."
    )


def _from_unit(text, header, wcs):
    """Return the zero point of a unit of flux density, or None."""
    from astropy import units as u

    if text.strip().lower() in ("nanomaggy", "nanomaggies", "nmgy"):
        return 22.5
    try:
        unit = u.Unit(text)
    except ValueError:
        return None
    if unit.is_equivalent(u.Jy / u.sr):
        unit = u.Unit(unit * _pixel_area(header, wcs))
    if not unit.is_equivalent(u.Jy):
        return None
    return float(round(_MICRO_JANSKY - 2.5 * np.log10(unit.to(u.uJy)), 10))


def _pixel_area(header, wcs):
    from astropy import units as u
    from astropy.wcs.utils import proj_plane_pixel_area

    if "PIXAR_SR" in header:
        return float(header["PIXAR_SR"]) * u.sr
    if wcs is None:
        raise ValueError(
            "The image is in flux per solid angle, but neither PIXAR_SR in the header nor a WCS "
            "tells the area of a pixel: pass zero_point=."
        )
    return (proj_plane_pixel_area(wcs.celestial) * u.deg**2).to(u.sr)


def header_zero_points(header, unit, bands, wcs):
    """Return the AB zero point of each band, from the header or the unit of the pixels."""
    header = {} if header is None else header
    if unit is not None and "BUNIT" not in header:
        header = {**header, "BUNIT": str(unit)}
    return [ab_zero_point(header, band=band, wcs=wcs) for band in bands]


def check_zero_point(zero_point, flux_unit, pixels, bands, wcs):
    """Return the zero point of each band, shape (n_bands, 1), or None."""
    n_bands = pixels.n_bands - pixels.with_rms
    if isinstance(zero_point, str) or (zero_point is None and flux_unit is not None):
        if zero_point not in (None, "header"):
            raise ValueError(
                "zero_point must be a number, one per band, or 'header'. "
                f"Got {zero_point!r} instead."
            )
        names = [None] * n_bands if bands is None else bands
        zero_point = header_zero_points(pixels.header, pixels.unit, names, wcs)
    if zero_point is None:
        return None
    values = np.asarray(zero_point, dtype=float)
    if values.shape not in ((), (n_bands,)) or not np.isfinite(values).all():
        raise ValueError(
            f"zero_point must be one number, or one per band of the image, which has {n_bands}. "
            f"Got {zero_point!r} instead."
        )
    return np.broadcast_to(values, n_bands)[:, None]


def check_flux_unit(flux_unit):
    """Return a unit of flux density, or None."""
    from astropy import units as u

    if flux_unit is None:
        return None
    try:
        unit = u.Unit(flux_unit)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"flux_unit must be a unit like 'uJy'. Got {flux_unit!r} instead."
        ) from error
    if not unit.is_equivalent(u.Jy):
        raise ValueError(f"flux_unit must be a unit like 'uJy'. Got {flux_unit!r} instead.")
    return unit


def scale_to(unit, zero_point):
    """Return what fluxes are multiplied with to be in `unit`, shape (n_bands, 1)."""
    from astropy import units as u

    return 10 ** (-0.4 * (zero_point - _MICRO_JANSKY)) * u.uJy.to(unit)
