"""The catalog of the labelled sources of a simulated field."""

import numpy as np
from astropy import units as u
from astropy.table import Table

from ._population import component_radii


def truth_catalog(camera, sources, parts, labels, rms):
    """Describe the labelled sources, one row per label.

    Parameters
    ----------
    camera : Camera
    sources : ndarray of dtype SOURCE, shape (n,)
    parts : list of n Visible
    labels : ndarray of int32, shape (height, width)
    rms : ndarray of float32, shape (height, width)
        Noise in the reference band.

    Returns
    -------
    `astropy.table.Table`
        ``ra`` and ``dec`` are left at 0; see `make_field` for the columns.
    """
    n = len(sources)
    fluxes = camera.fluxes(sources).sum(axis=2).reshape(n, len(camera.bands))
    mags = camera.zero_point - 2.5 * np.log10(fluxes)
    disk_radii, bulge_radii = component_radii(sources)
    columns = {
        "label": np.arange(1, n + 1, dtype=np.int32),
        "x": sources["x"] * u.pix,
        "y": sources["y"] * u.pix,
        "ra": np.zeros(n) * u.deg,
        "dec": np.zeros(n) * u.deg,
        "mag": mags[:, camera.reference] * u.mag,
        "flux": fluxes[:, camera.reference] * u.ct,
        "class": sources["class"].astype(np.int16),
        "half_light_radius": sources["radius"] * u.arcsec,
        "bulge_fraction": sources["bulge_fraction"],
        "disk_radius": disk_radii * u.arcsec,
        "bulge_radius": bulge_radii * u.arcsec,
        "disk_axis_ratio": sources["disk_axis_ratio"],
        "bulge_axis_ratio": sources["bulge_axis_ratio"],
        # `angle` runs from +x, which is west, towards +y, which is north
        "position_angle": ((sources["angle"] - 90) % 180) * u.deg,
        "n_pixels": np.bincount(labels.ravel(), minlength=n + 1)[1:],
        "n_pixels_total": np.array([np.count_nonzero(part.mask) for part in parts], dtype=np.int64),
        "snr": np.array([_signal_to_noise(part, rms) for part in parts], dtype=np.float64),
    }
    if len(camera.bands) > 1:
        for index, band in enumerate(camera.bands):
            columns[f"mag_{band}"] = mags[:, index] * u.mag
            columns[f"flux_{band}"] = fluxes[:, index] * u.ct
    return Table(columns)


def _signal_to_noise(part, rms):
    noise = rms[part.window][part.mask].astype(np.float64)
    return part.flux[part.mask].sum(dtype=np.float64) / np.sqrt(np.sum(noise**2))
