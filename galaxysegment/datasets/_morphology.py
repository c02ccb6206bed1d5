"""Galaxies with a form: spirals with arms, bars, knots and dust, irregulars, ellipticals, mergers.

A galaxy is painted on its own pixels as two images of unit flux: the light of its old stars and of
its young ones, which have colours of their own, and the optical depth of its dust. Radii are in
units of the half-light radius of the whole galaxy unless they are in pixels.
"""

from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from ._sky_population import BARRED, ELLIPTICAL, IRREGULAR, MERGER, SPIRAL
from ._spectra import WAVELENGTHS

_RINGS, _SPOKES = 96, 256  # of the polar maps that hold the texture of a disk
_EDGE_ON = 0.28  # axis ratio below which a disk is painted as seen from the side
_REDDENING = -1.2  # exponent of the optical depth with wavelength


class Paint(NamedTuple):
    """What a galaxy looks like before the PSF: two images of unit flux, and dust in r."""

    old: np.ndarray
    young: np.ndarray
    dust: np.ndarray


def paint_galaxy(source, radius, size, dy, dx):
    """Paint a galaxy of a form.

    Parameters
    ----------
    source : element of dtype `SKY_SOURCE`
    radius : float
        Half-light radius, pixels.
    size : int
        Side of the stamp, pixels.
    dy, dx : float
        Centre relative to pixel ``(size // 2, size // 2)``.

    Returns
    -------
    Paint
    """
    rng = np.random.default_rng(source["seed"])
    rows, columns = np.mgrid[:size, :size].astype(np.float32) - size // 2
    rows, columns = (rows - dy) / radius, (columns - dx) / radius
    form = source["form"]
    if form == ELLIPTICAL:
        return _elliptical(rng, source, rows, columns, 0.5 / radius)
    if form == IRREGULAR:
        return _irregular(rng, source, rows, columns, radius)
    if source["disk_axis_ratio"] < _EDGE_ON and form in (SPIRAL, BARRED):
        return _edge_on(rng, source, rows, columns, radius)
    return _disk(rng, source, rows, columns, radius)


def expose_galaxy(paint, fluxes, bands, drawer):
    """Return the electrons of a painted galaxy through the PSF, float32 (n_bands, size, size).

    Parameters
    ----------
    paint : Paint
    fluxes : ndarray of shape (n_bands, 2)
        Electrons of the disk (young) and of the bulge (old), with dust in r.
    bands : str
    drawer : ProfileDrawer
    """
    size = paint.old.shape[0]
    grid = fft.next_fast_len(size + 64, real=True)
    psf = np.zeros((grid, grid))
    core = drawer.star(64, 0.0, 0.0)
    psf[:64, :64] = core / core.sum()
    transfer = fft.rfft2(np.roll(psf, (-32, -32), axis=(0, 1)))
    # dust takes light away and does not add any: what a component has left is its flux in r
    left = [
        max(float((part * np.exp(-paint.dust)).sum()), 1e-6) for part in (paint.young, paint.old)
    ]
    light = np.empty((len(bands), size, size), dtype=np.float32)
    for index, band in enumerate(bands):
        depth = paint.dust * (WAVELENGTHS[band] / WAVELENGTHS["r"]) ** _REDDENING
        stars = paint.young * (fluxes[index, 0] / left[0]) + paint.old * (
            fluxes[index, 1] / left[1]
        )
        waves = fft.rfft2(stars * np.exp(-depth), s=(grid, grid)) * transfer
        light[index] = fft.irfft2(waves, s=(grid, grid))[:size, :size]
    return np.maximum(light, 0)


def _turn(rows, columns, angle):
    """Coordinates along the major and the minor axis; `angle` in degrees from +x to +y."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return columns * cosine + rows * sine, rows * cosine - columns * sine


def _unit(image):
    total = image.sum()
    return image / total if total > 0 else image


def _noise(rng, shape, scale, wrap=True):
    """Smooth Gaussian noise of unit standard deviation."""
    mode = ("nearest", "wrap") if wrap else "nearest"
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), scale, mode=mode)
    return noise / noise.std()


def _polar(field, log_radius, angle):
    """Look a polar map up at the logarithm of the radius (−2.5 to 2.5) and the angle."""
    rings = np.clip((log_radius + 2.5) / 5 * (_RINGS - 1), 0, _RINGS - 1)
    spokes = (angle / (2 * np.pi) * _SPOKES) % _SPOKES
    return ndimage.map_coordinates(field, [rings, spokes], order=1, mode="grid-wrap")


def _sersic(radius, n, soft=0.05):
    """Sérsic profile, 1 at the half-light radius; `soft` keeps the cusp finite."""
    b = 2 * n - 1 / 3
    return np.exp(-b * (np.hypot(radius, soft) ** (1 / n) - 1))


def _disk(rng, source, rows, columns, pixels):
    """A disk with arms, perhaps a bar, knots and dust; a merger has tails, too."""
    ratio, bulge = source["disk_axis_ratio"], source["bulge_fraction"]
    along, across = _turn(rows, columns, source["angle"])
    across = across / ratio
    # the half-light radius of the source is the geometric mean of the axes
    along, across = along * np.sqrt(ratio), across * np.sqrt(ratio)
    lopsided = rng.uniform(0, 0.12) if source["form"] != MERGER else rng.uniform(0.15, 0.45)
    radius = np.hypot(along, across) + 1e-3
    angle = np.arctan2(across, along)
    radius = radius * (1 + lopsided * np.cos(angle - rng.uniform(0, 2 * np.pi)) * _rise(radius))
    log_radius = np.log(radius)
    smooth = np.exp(-1.678 * radius) * (1 - _rise(radius, rng.uniform(2.6, 4.0), 0.35))
    bar_length = rng.uniform(0.35, 0.9) if source["form"] == BARRED else 0.0
    arms, lane, feathers = _arms(rng, log_radius, angle, max(bar_length, rng.uniform(0.15, 0.4)))
    old = smooth * (1 + 0.35 * arms)
    if bar_length:
        old = old + _bar(rng, along, across, bar_length, old)
    young = smooth * np.exp(feathers) * (0.12 + rng.uniform(0.5, 2.5) * arms)
    young = _unit(young) + _knots(rng, young * (0.2 + arms), pixels, rng.uniform(0.02, 0.22))
    depth = rng.uniform(0.1, 1.3) / np.sqrt(ratio)
    dust = depth * lane * np.exp(-0.7 * radius) * np.exp(0.6 * feathers)
    # the side of the disk that is nearer to us hides the bulge
    dust = dust * (1 + (1 - ratio) * np.sign(rng.uniform(-1, 1)) * np.tanh(3 * across))
    if source["form"] == MERGER:
        young = _unit(young) + rng.uniform(0.08, 0.3) * _tails(rng, log_radius, angle)
    round_ratio = source["bulge_axis_ratio"]
    bx, by = _turn(rows, columns, source["angle"])
    middle = np.hypot(bx * np.sqrt(round_ratio), by / np.sqrt(round_ratio))
    core = _sersic(middle / rng.uniform(0.12, 0.35), rng.uniform(1.2, 3.5), 0.3 / pixels)
    share = (0.5 * (1 - bulge)) / max(0.5 * (1 - bulge) + bulge, 1e-3)
    old = share * _unit(old) + (1 - share) * _unit(core)
    young = 0.45 * _unit(smooth) + 0.55 * _unit(young)
    return Paint(_unit(old), _unit(young), np.maximum(dust, 0))


def _rise(radius, start=0.6, width=0.4):
    return 1 / (1 + np.exp(-np.clip((radius - start) / width, -30, 30)))


def _arms(rng, log_radius, angle, begin):
    """Strength of the arms (0 to 1), of the dust lanes on their inner edge, and fine texture."""
    n_arms = rng.choice([1, 2, 2, 2, 2, 3, 4, 5])
    turn = rng.choice([-1, 1]) / np.tan(np.radians(rng.uniform(9, 32)))
    winding = angle - turn * log_radius
    # texture lives in coordinates that wind with the arms
    bends = _noise(rng, (_RINGS, _SPOKES), (6, 14))
    patches = _noise(rng, (_RINGS, _SPOKES), (3, 6))
    fine = _noise(rng, (_RINGS, _SPOKES), (1.0, 2.2))
    phase = n_arms * winding + rng.uniform(0, 2 * np.pi)
    phase = phase + rng.uniform(0.3, 1.4) * _polar(bends, log_radius, angle)
    sharp = rng.uniform(0.5, 3.0)
    strength = np.exp(rng.uniform(0.3, 1.0) * _polar(patches, log_radius, winding))
    arms = np.exp(sharp * (np.cos(phase) - 1)) * strength
    arms = arms * _rise(np.exp(log_radius), begin, 0.08)
    lane = np.exp(2.5 * sharp * (np.cos(phase + np.sign(turn) * rng.uniform(0.5, 1.0)) - 1))
    feathers = rng.uniform(0.2, 0.65) * _polar(fine, log_radius, winding)
    return np.minimum(arms, 2.5), lane * strength + 0.15 * np.exp(feathers), feathers


def _bar(rng, along, across, length, old):
    turned = rng.uniform(0, np.pi)
    x = along * np.cos(turned) + across * np.sin(turned)
    y = across * np.cos(turned) - along * np.sin(turned)
    inside = np.clip(1 - (x / length) ** 2 - (y / (length * rng.uniform(0.22, 0.4))) ** 2, 0, None)
    bar = inside**1.3
    return bar * old.sum() / max(bar.sum(), 1e-6) * rng.uniform(0.15, 0.5)


def _knots(rng, weight, pixels, fraction):
    """Star-forming regions, `fraction` of the flux, where `weight` is high."""
    total = weight.sum()
    if total <= 0 or pixels < 3:
        return np.zeros_like(weight)
    count = int(rng.uniform(10, 90) * min(pixels / 20, 2) + 3)
    places = np.searchsorted(np.cumsum(weight.ravel()) / total, rng.uniform(size=count))
    luminosity = np.minimum((1 - rng.uniform(size=count)) ** -0.9, 12)
    knots = np.zeros_like(weight)
    for width in (0.012 * pixels, 0.03 * pixels, 0.06 * pixels):
        chosen = rng.uniform(size=count) < 0.5
        drops = np.zeros(weight.size)
        np.add.at(drops, np.minimum(places[chosen], weight.size - 1), luminosity[chosen])
        knots += ndimage.gaussian_filter(drops.reshape(weight.shape), width, mode="constant")
    return fraction * _unit(knots)


def _tails(rng, log_radius, angle):
    """Tidal tails: one or two arcs far out, which fade and break into clumps."""
    radius = np.exp(log_radius)
    clumps = _noise(rng, (_RINGS, _SPOKES), (3, 8))
    tails = np.zeros_like(radius)
    for start in rng.uniform(0, 2 * np.pi) + np.array([0, np.pi])[: rng.integers(1, 3)]:
        opening = rng.choice([-1, 1]) / np.tan(np.radians(rng.uniform(35, 70)))
        off = (angle - start - opening * log_radius + np.pi) % (2 * np.pi) - np.pi
        width = rng.uniform(0.1, 0.25)
        fade = np.exp(-radius / rng.uniform(1.2, 2.5)) * _rise(radius, 1.3, 0.25)
        tails += np.exp(-0.5 * (off / width) ** 2) * fade
    return _unit(tails * np.exp(0.5 * _polar(clumps, log_radius, angle)))


def _edge_on(rng, source, rows, columns, pixels):
    """A disk seen from the side, with a lane of dust and perhaps a warp."""
    along, height = _turn(rows, columns, source["angle"])
    ratio = source["disk_axis_ratio"]
    along, height = along * np.sqrt(ratio), height * np.sqrt(ratio)
    height = height + rng.normal(0, 0.015) * along**3 / (1 + along**2)
    thick = rng.uniform(0.08, 0.16)
    vertical = 1 / np.cosh(np.clip(height / thick, -30, 30)) ** 2
    radial = np.exp(-1.678 * np.abs(along))
    texture = _noise(rng, rows.shape, max(0.03 * pixels, 1.0), wrap=False)
    disk = radial * vertical * np.exp(0.15 * texture)
    young = _unit(radial / np.cosh(np.clip(height / (0.4 * thick), -30, 30)) ** 2)
    young = young + _knots(rng, young, pixels, rng.uniform(0.02, 0.12))
    wiggle = (
        0.25
        * thick
        * np.interp(
            along.ravel(), np.linspace(-6, 6, 200), _noise(rng, 200, 4, wrap=False)
        ).reshape(along.shape)
    )
    lane = np.exp(-0.5 * ((height - wiggle - rng.normal(0, 0.2) * thick) / (0.3 * thick)) ** 2)
    dust = rng.uniform(0.0, 2.2) * lane * np.exp(-0.6 * np.abs(along)) * np.exp(0.4 * texture)
    bulge = _sersic(np.hypot(along, height / 0.75) / rng.uniform(0.12, 0.4), 2.0, 0.3 / pixels)
    share = 0.5 * (1 - source["bulge_fraction"])
    share = share / max(share + source["bulge_fraction"], 1e-3)
    old = share * _unit(disk) + (1 - share) * _unit(bulge)
    return Paint(_unit(old), _unit(0.4 * _unit(disk) + 0.6 * _unit(young)), dust)


def _irregular(rng, source, rows, columns, pixels):
    """A ragged disk with an off-centre bar and clumps of young stars."""
    ratio = max(source["disk_axis_ratio"], 0.35)
    along, across = _turn(rows, columns, source["angle"])
    along, across = along * np.sqrt(ratio), across / np.sqrt(ratio)
    for scale, shift in ((0.8, 0.35), (0.3, 0.12)):
        along = along + shift * _noise(rng, rows.shape, scale * pixels, wrap=False)
        across = across + shift * _noise(rng, rows.shape, scale * pixels, wrap=False)
    radius = np.hypot(along, across)
    smooth = np.exp(-1.678 * radius**1.15)
    ragged = _noise(rng, rows.shape, max(0.12 * pixels, 0.8), wrap=False)
    patches = _noise(rng, rows.shape, max(0.35 * pixels, 0.8), wrap=False)
    young = smooth * np.exp(0.35 * ragged + rng.uniform(0.4, 0.9) * patches)
    old = smooth * np.exp(0.3 * patches)
    off = rng.normal(0, 0.2, 2)
    bar = np.exp(-(((along - off[0]) / 0.6) ** 2) - ((across - off[1]) / 0.2) ** 2)
    old = _unit(old) + rng.uniform(0, 0.25) * _unit(bar)
    young = _unit(young) + _knots(rng, young**2, pixels, rng.uniform(0.05, 0.35))
    dust = rng.uniform(0, 0.5) * np.exp(ragged - 1) * np.exp(-0.8 * radius)
    return Paint(_unit(old), _unit(young), dust)


def _elliptical(rng, source, rows, columns, soft):
    """An elliptical with a twist, boxy or disky isophotes, and perhaps shells or a dust lane."""
    ratio = source["bulge_axis_ratio"]
    distance = np.hypot(rows, columns)
    twist = rng.normal(0, 8) * np.tanh(distance / 2)
    along, across = _turn(rows, columns, source["angle"] + twist)
    ratio = np.clip(ratio + rng.normal(0, 0.06) * np.tanh(distance - 1), 0.35, 1.0)
    power = rng.uniform(1.85, 2.2)
    radius = (
        (np.abs(along) * np.sqrt(ratio)) ** power + (np.abs(across) / np.sqrt(ratio)) ** power
    ) ** (1 / power)
    light = _sersic(radius, rng.uniform(2.5, 5.5), soft)
    if rng.uniform() < 0.2:
        ripples = np.cos(rng.uniform(4, 8) * radius + rng.uniform(0, 6)) * (along > 0)
        light = light * (1 + 0.2 * np.sign(ripples) * _rise(radius, 1.2, 0.3))
    dust = np.zeros_like(light)
    if rng.uniform() < 0.12:
        lane = np.exp(-0.5 * ((across + 0.1 * along**2) / 0.08) ** 2 - np.abs(along) / 0.6)
        dust = rng.uniform(0.3, 1.2) * lane
    return Paint(_unit(light), _unit(light), dust)
