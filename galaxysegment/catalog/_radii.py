"""Radii of apertures: numbers of pixels, or angles on the sky."""

import numpy as np


def check_radii(values):
    """Check the radii of `source_catalog`.

    Parameters
    ----------
    values : float, `astropy.units.Quantity`, or sequence of them, or None

    Returns
    -------
    radii : tuple of float or Quantity
        Pixels, or angles.
    names : tuple of str
        "5" for 5 pixels, "0_5arcsec" for half an arcsecond.
    """
    if values is None:
        return (), ()
    several = isinstance(values, list | tuple) or np.ndim(values) > 0
    radii = tuple(_check_radius(value, values) for value in (values if several else [values]))
    names = tuple(_name(radius) for radius in radii)
    if len(set(names)) < len(names):
        raise ValueError(f"apertures must differ from each other. Got {values!r} instead.")
    return radii, names


def _check_radius(value, values):
    from astropy import units as u

    try:
        radius = u.Quantity(value)
    except (TypeError, ValueError):
        radius = u.Quantity(np.nan)
    if radius.unit in (u.dimensionless_unscaled, u.pix):
        radius = u.Quantity(radius.value)
    is_angle = radius.unit.physical_type == "angle"
    known = is_angle or radius.unit == u.dimensionless_unscaled
    if not (known and radius.ndim == 0 and np.isfinite(radius.value) and radius.value > 0):
        raise ValueError(
            "apertures must be a positive number of pixels, or an angle like 1 * u.arcsec, or "
            f"several. Got {values!r} instead."
        )
    return radius if is_angle else float(radius.value)


def _name(radius):
    if isinstance(radius, float):
        return number_name(radius)
    return f"{number_name(radius.value)}{radius.unit}"


def number_name(value):
    """Return a number as part of a column's name: 5 is "5", 2.5 is "2_5"."""
    return f"{value:g}".replace(".", "_")


def in_pixels(radius, wcs):
    """Return a radius in pixels; an angle is turned by the area of a pixel on the sky."""
    if isinstance(radius, float):
        return radius
    if wcs is None:
        raise ValueError(
            "apertures must be numbers of pixels, because the image has no WCS that tells the size "
            f"of a pixel: pass wcs=, or pixels. Got {radius} instead."
        )
    from astropy import units as u
    from astropy.wcs.utils import proj_plane_pixel_area

    side = np.sqrt(proj_plane_pixel_area(wcs)) * u.deg
    return float((radius / side).to_value(u.dimensionless_unscaled))
