"""Bright stars as a telescope shows them: halo, diffraction spikes, saturation, bleeding, ghosts.

The halo follows the aureole of King (1971, :doi:`10.1086/129100`), which falls as the inverse
square of the radius.
"""

from typing import NamedTuple

import numpy as np

from ._profiles import MOFFAT_BETA
from ._scene import Stamp

_FADED = 0.05  # light under this many times the noise of the sky is left out
_LARGEST = 1024  # side of a star's stamp


class Optics(NamedTuple):
    """What a telescope does to bright stars.

    Parameters
    ----------
    halo : float
        Fraction of the light that goes into the halo.
    halo_radius : float
        Radius of the halo's core, in units of the FWHM.
    n_spikes : int
        Number of diffraction spikes, 0 for none.
    spike_angle : float
        Direction of the first, degrees.
    spikes : float
        Fraction of the light that goes into them.
    bleeds : bool
        Whether full pixels spill their charge along the column.
    ghosts : float
        Fraction of the light that comes back as a ghost.
    """

    halo: float = 0.04
    halo_radius: float = 1.5
    n_spikes: int = 4
    spike_angle: float = 45.0
    spikes: float = 0.01
    bleeds: bool = True
    ghosts: float = 0.002


def draw_star(camera, optics, source, fluxes):
    """Draw a star with its halo: a `Stamp` out to where its light is lost in the noise."""
    fwhm = camera.psf_fwhm / camera.pixel_scale
    flux, noise = fluxes.sum(axis=1), camera.sky_rms
    relative = float((flux / noise).max())
    core = fwhm / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    extent = optics.halo_radius * fwhm
    reach = max(
        core * (relative * 0.64 / core**2 / _FADED) ** (0.5 / MOFFAT_BETA),
        extent * (0.05 * optics.halo * relative / extent**2 / _FADED) ** 0.5,
        8.0,
    )
    size = int(min(2 * np.ceil(reach) + 4, _LARGEST))
    size += size % 2
    y, x = round(float(source["y"])), round(float(source["x"]))
    dy, dx = source["y"] - y, source["x"] - x
    rows, columns = np.mgrid[:size, :size] - size // 2
    squared = (rows - dy) ** 2 + (columns - dx) ** 2
    # analytic wings; the sampled core in the middle
    unit = (MOFFAT_BETA - 1) / (np.pi * core**2) * (1 + squared / core**2) ** -MOFFAT_BETA
    inner = min(64, size)
    middle = slice(size // 2 - inner // 2, size // 2 - inner // 2 + inner)
    sampled = camera.drawer.star(64, dy, dx)
    offset = 32 - inner // 2
    unit[middle, middle] = sampled[offset : offset + inner, offset : offset + inner]
    halo = 0.1 / (np.pi * extent**2) * (1 + squared / extent**2) ** -1.1
    light = (1 - optics.halo) * np.maximum(unit, 0) + optics.halo * halo
    return Stamp(y - size // 2, x - size // 2, (flux[:, None, None] * light).astype(np.float32))


def add_spikes(light, camera, optics, source, fluxes):
    """Add the diffraction spikes of a star to ``light``, (n_bands, height, width)."""
    if not optics.n_spikes:
        return
    fwhm = camera.psf_fwhm / camera.pixel_scale
    flux = optics.spikes * fluxes.sum(axis=1) / optics.n_spikes
    noise = camera.sky_rms
    # along a spike the light falls as the inverse of the distance, to the power 1.4
    length = min(float((flux / fwhm / noise / 0.3).max()) ** (1 / 1.4), 700.0)
    if length < 2 * fwhm:
        return
    for index in range(optics.n_spikes):
        angle = np.radians(optics.spike_angle + 360 * index / optics.n_spikes)
        _add_beam(light, source, angle, length, fwhm, flux)


def _add_beam(light, source, angle, length, fwhm, flux):
    """Add one spike: thin, bright at the star, a little wider and fainter outwards."""
    height, width = light.shape[1:]
    end_y, end_x = source["y"] + length * np.sin(angle), source["x"] + length * np.cos(angle)
    pad = 3 * fwhm
    window = []
    for begin, end, side in ((source["y"], end_y, height), (source["x"], end_x, width)):
        low, high = int(min(begin, end) - pad), int(max(begin, end) + pad) + 1
        if high <= 0 or low >= side:
            return
        window.append(slice(max(low, 0), min(high, side)))
    rows, columns = np.mgrid[window[0], window[1]].astype(np.float32)
    rows, columns = rows - source["y"], columns - source["x"]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    sigma = fwhm / 2.35 * (0.6 + 0.5 * np.clip(along / length, 0, 1))
    fall = np.maximum(along, 0.5) ** -1.4 * np.clip(1.2 - along / length, 0, 1)
    beam = np.where(along > 0, fall * np.exp(-0.5 * (across / sigma) ** 2) / sigma / 2.5, 0)
    light[:, window[0], window[1]] += flux[:, None, None] * beam


def add_ghost(light, camera, optics, source, fluxes, rng):
    """Add the ghost of a star, a faint disk with a hole, mirrored about the middle of the field."""
    shape = np.array(light.shape[1:])
    radius = rng.uniform(0.03, 0.12) * shape.min() + 8
    brightness = optics.ghosts * fluxes.sum(axis=1) / (np.pi * radius**2)
    strongest = (brightness / camera.sky_rms).max()
    if strongest < 0.2:
        return
    brightness *= min(1.0, rng.uniform(0.3, 2.5) / strongest)
    middle = shape / 2
    place = np.array([source["y"], source["x"]])
    centre = middle + rng.uniform(-0.8, 0.8) * (place - middle) + rng.normal(0, 0.05, 2) * shape
    low = np.clip((centre - radius - 3).astype(int), 0, shape)
    high = np.clip((centre + radius + 4).astype(int), 0, shape)
    rows, columns = np.mgrid[low[0] : high[0], low[1] : high[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    edge = rng.uniform(1.5, 6)
    ring = 1 / (1 + np.exp(np.clip((distance - radius) / edge, -30, 30)))
    hole = 1 / (1 + np.exp(np.clip((distance - rng.uniform(0.2, 0.5) * radius) / edge, -30, 30)))
    tilt = 1 + 0.3 * (columns - centre[1]) / radius
    window = slice(low[0], high[0]), slice(low[1], high[1])
    light[:, *window] += brightness[:, None, None] * np.clip(ring - hole, 0, 1) * tilt


def saturate(light, saturation, bleeds):
    """Clip `light` at `saturation` and let full pixels spill their charge along the columns.

    Parameters
    ----------
    light : ndarray of shape (n_bands, height, width)
        Electrons; clipped in place, without what is spilled.
    saturation : float
    bleeds : bool

    Returns
    -------
    ndarray of shape (n_bands, height, width)
        What the spilled charge adds.
    """
    spilled = np.zeros_like(light)
    for band, trail in zip(light, spilled, strict=True):
        excess = np.maximum(band - saturation, 0)
        full = excess > 0
        np.minimum(band, saturation, out=band)
        if not (bleeds and full.any()):
            continue
        for column in np.flatnonzero(full.any(axis=0)):
            _spill(band[:, column], trail[:, column], excess[:, column], saturation)
    return spilled


def _spill(column, trail, excess, saturation):
    """Fill the pixels above and below each run of full pixels of a column."""
    height = len(column)
    full = np.flatnonzero(excess > 0)
    for run in np.split(full, np.flatnonzero(np.diff(full) > 1) + 1):
        # charge is also lost: long trails are shorter than their charge
        length = int(min((excess[run].sum() / saturation / 2) ** 0.75, 0.4 * height))
        if not length:
            continue
        fade = np.clip(1.15 - (np.arange(length) + 1) / length, 0.05, 1) ** 0.5
        for start, step in ((run[-1] + 1, 1), (run[0] - 1, -1)):
            places = start + step * np.arange(length)
            inside = (places >= 0) & (places < height)
            places = places[inside]
            level = saturation * fade[inside]
            trail[places] = np.maximum(trail[places], np.maximum(level - column[places], 0))
