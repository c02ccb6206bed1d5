"""Where sources are on the sky, and how they lie there."""

import numpy as np


def sky_columns(wcs, x, y, angle, major, minor):
    """Positions and shapes on the sky, right wherever the field is and however it is turned.

    Parameters
    ----------
    wcs : `astropy.wcs.WCS`
        Of two celestial axes.
    x, y : ndarray
        Centroids, 0-based pixels.
    angle : ndarray
        Of the major axis from the x axis towards the y axis, in radians.
    major, minor : ndarray
        Semi-axes in pixels.

    Returns
    -------
    dict of columns
        ``ra``, ``dec`` (ICRS), ``sky_position``, ``position_angle`` (of the major axis, from north
        through east), ``semi_major_sky``, ``semi_minor_sky``.
    """
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    if not len(x):
        centre = SkyCoord([], [], unit="deg")
        return _columns(centre, np.zeros(0) * u.deg, np.zeros(0) * u.arcsec, np.zeros(0) * u.arcsec)
    centre = wcs.pixel_to_world(x, y).icrs
    steps = []
    for turn in (0, np.pi / 2):
        # Half a pixel to either side: distortions cancel to first order.
        dx, dy = 0.5 * np.cos(angle + turn), 0.5 * np.sin(angle + turn)
        behind, ahead = (wcs.pixel_to_world(x + sign * dx, y + sign * dy).icrs for sign in (-1, 1))
        steps.append((centre.position_angle(ahead), behind.separation(ahead)))
    along, across = steps
    # Seen from the centre: nearer to a pole than half a pixel, north turns within the pixel.
    return _columns(centre, along[0] % (180 * u.deg), major * along[1], minor * across[1])


def _columns(centre, position_angle, major, minor):
    from astropy import units as u

    bare = type(centre)(centre.ra % (360 * u.deg), centre.dec, frame="icrs")
    return {
        "ra": u.Quantity(bare.ra, u.deg),
        "dec": u.Quantity(bare.dec, u.deg),
        "sky_position": bare,
        "position_angle": u.Quantity(position_angle, u.deg),
        "semi_major_sky": u.Quantity(major, u.arcsec),
        "semi_minor_sky": u.Quantity(minor, u.arcsec),
    }
