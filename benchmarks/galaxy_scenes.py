"""Simulated scenes around a large galaxy, with the light of each source, to train and measure with.

A scene holds a spiral, an irregular, a galaxy seen from its edge or an elliptical, and companions
and stars in front of it. Spirals have arms, bars, knots and dust. The noise is 1 per pixel. With
``rich=True``, the large galaxies are those of `galaxysegment.datasets.make_sky`.

Run ``python -m benchmarks.galaxy_scenes folder`` for pictures.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage, special

from galaxysegment.datasets._morphology import paint_galaxy
from galaxysegment.datasets._sky_population import (
    BARRED,
    ELLIPTICAL,
    IRREGULAR,
    MERGER,
    SKY_SOURCE,
    SPIRAL,
)

KINDS = (
    *("spiral",) * 7,
    *("irregular",) * 2,
    *("edge-on",) * 2,
    *("elliptical",) * 2,
    *("pair",) * 2,
    *("cluster",) * 2,
    *("field",) * 2,
)


@dataclass(frozen=True)
class GalaxyScene:
    """An image, its noise, the light of each of its sources, and their signal to noise.

    The large galaxies are the first sources. `light` has shape (n, height, width) and no noise.
    """

    kind: str
    image: np.ndarray
    light: np.ndarray
    centres: np.ndarray  # (n, 2): y, x
    snr: np.ndarray
    fwhm: float
    rms: np.ndarray
    is_star: np.ndarray  # (n,)

    def truth(self, threshold=1.0):
        """Label map: the brightest of the sources that exceed `threshold` at a pixel."""
        label = self.light.argmax(axis=0) + 1
        return np.where(self.light.max(axis=0) > threshold, label, 0).astype(np.int32)


def sersic(r, radius, index):
    """Surface brightness at r, 1 at the half-light radius."""
    b = special.gammaincinv(2 * index, 0.5)
    return np.exp(-b * ((np.maximum(r, 0.2) / radius) ** (1 / index) - 1))


def smooth_noise(rng, shape, scale):
    """Gaussian noise of unit variance that is correlated over `scale` pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), scale, mode="wrap")
    return noise / noise.std()


def plane(shape, centre, axis_ratio, angle):
    """Radius and azimuth in the plane of an inclined disk."""
    y, x = np.indices(shape, dtype=float)
    y, x = y - centre[0], x - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    across = across / axis_ratio
    return np.hypot(along, across), np.arctan2(across, along)


def blur(light, fwhm, beta=3.5):
    """Convolve with a Moffat PSF."""
    y, x = (np.fft.fftfreq(n, 1 / n) for n in light.shape)
    core = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    psf = (1 + (y[:, None] ** 2 + x**2) / core**2) ** -beta
    product = np.fft.rfft2(light) * np.fft.rfft2(psf / psf.sum())
    return np.maximum(np.fft.irfft2(product, light.shape), 0)


def spiral(rng, shape, centre, radius):
    """Disk with logarithmic arms, bulge, perhaps a bar and a ring, knots, dust."""
    axis_ratio, angle = rng.uniform(0.3, 1), rng.uniform(0, np.pi)
    r, phi = plane(shape, centre, axis_ratio, angle)
    n_arms = rng.choice([2, 2, 2, 3, 4, 5])
    pitch = np.tan(np.deg2rad(rng.uniform(8, 35)))
    turn = rng.choice([-1, 1])
    wander = rng.uniform(0, 0.9) * smooth_noise(rng, shape, radius / 4)
    phase = n_arms * (phi - turn * np.log(np.maximum(r, 1) / radius) / pitch) + wander
    if rng.uniform() < 0.3:  # one arm stronger than the others
        phase = phase + 0.5 * np.sin(phi + rng.uniform(0, 6))
    sharp = rng.uniform(1, 6)
    arms = np.exp(sharp * (np.cos(phase) - 1))
    patchy = np.exp(rng.uniform(0, 0.9) * smooth_noise(rng, shape, radius / rng.uniform(6, 15)))
    disk = sersic(r, radius, 1.0)
    inner = 1 / (1 + np.exp(-(r / radius - rng.uniform(0.1, 0.4)) * 8))
    strength = 10 ** rng.uniform(-0.7, 0.9)
    light = disk * (1 + strength * arms * patchy * inner)
    if rng.uniform() < 0.25:
        ring, width = rng.uniform(0.5, 1.3) * radius, rng.uniform(0.05, 0.2) * radius
        light += disk * rng.uniform(0.3, 2) * patchy * np.exp(-(((r - ring) / width) ** 2) / 2)
    light += _bulge(rng, shape, centre, radius, light.sum())
    if rng.uniform() < 0.4:
        length, thick = rng.uniform(0.3, 0.8) * radius, rng.uniform(0.15, 0.4)
        bar, _ = plane(shape, centre, thick * axis_ratio, angle + rng.uniform(0, np.pi))
        light += rng.uniform(0.5, 4) * np.exp(-((bar / length) ** 4))
    light += _knots(rng, shape, light, disk * arms * inner * patchy, radius)
    dust = np.exp(sharp * (np.cos(phase + rng.uniform(0.5, 1.3)) - 1)) * inner
    dust = dust * np.exp(0.5 * smooth_noise(rng, shape, radius / 8))
    return light * np.exp(-rng.uniform(0, 0.9) * dust)


def _bulge(rng, shape, centre, radius, total):
    r, _ = plane(shape, centre, rng.uniform(0.6, 1), rng.uniform(0, np.pi))
    bulge = sersic(r, rng.uniform(0.05, 0.25) * radius, rng.uniform(1, 3))
    return bulge / bulge.sum() * total * 10 ** rng.uniform(-2, -0.3)


def _knots(rng, shape, light, where, radius):
    """Star-forming regions, more of them where `where` is bright."""
    n = rng.poisson(10 ** rng.uniform(0.5, 2.2))
    chance = np.maximum(where, 0).ravel().cumsum()
    places = np.searchsorted(chance, rng.uniform(0, chance[-1], n))
    flux = light.sum() * 10 ** rng.uniform(-3.5, -1.8) * rng.pareto(1.3, n) / max(n, 1)
    flux = np.minimum(flux, 0.015 * light.sum())
    knots = np.zeros(shape)
    small = rng.uniform(size=n) < 0.6
    for group, scale in (
        (small, rng.uniform(0.3, 1.5)),
        (~small, rng.uniform(0.01, 0.06) * radius),
    ):
        points = np.bincount(places[group], weights=flux[group], minlength=knots.size)
        knots += ndimage.gaussian_filter(points.reshape(shape), scale)
    return knots


def irregular(rng, shape, centre, radius):
    """Lopsided disk with clumps of many sizes and perhaps a tidal tail."""
    r, _ = plane(shape, centre, rng.uniform(0.4, 1), rng.uniform(0, np.pi))
    clumps = np.exp(rng.uniform(0.4, 1.2) * smooth_noise(rng, shape, radius / rng.uniform(3, 8)))
    light = sersic(r, radius, rng.uniform(0.7, 1.3)) * clumps
    if rng.uniform() < 0.4:
        bend = rng.uniform(-1, 1) / radius
        y, x = np.indices(shape, dtype=float)
        angle = rng.uniform(0, 2 * np.pi)
        y, x = y - centre[0], x - centre[1]
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        v = v - bend * u**2
        width = radius * rng.uniform(0.1, 0.3)
        tail = np.exp(-((v / width) ** 2) / 2 - np.maximum(u, 0) / (2 * radius))
        light += rng.uniform(0.2, 1) * np.where(u > 0, tail, 0) * (1 - np.exp(-r / radius))
    if rng.uniform() < 0.6:
        light += _bulge(rng, shape, centre, radius, light.sum())
    return light + _knots(rng, shape, light, sersic(r, radius, 1.0) * clumps, radius)


def edge_on(rng, shape, centre, radius):
    """Thin disk with a bulge and a lane of dust."""
    angle = rng.uniform(0, np.pi)
    r, _ = plane(shape, centre, rng.uniform(0.08, 0.25), angle)
    texture = np.exp(rng.uniform(0.1, 0.6) * smooth_noise(rng, shape, radius / 10))
    light = sersic(r, radius, 1.0) * texture
    light += _bulge(rng, shape, centre, radius, light.sum())
    light += _knots(rng, shape, light, light, radius)
    lane, _ = plane(shape, centre, rng.uniform(0.01, 0.05), angle)
    return light * np.exp(-rng.uniform(0, 1.5) * np.exp(-((lane / radius / 2) ** 2)))


def elliptical(rng, shape, centre, radius):
    """Sersic profile, perhaps with the halo of a cD."""
    axis_ratio, angle = rng.uniform(0.5, 1), rng.uniform(0, np.pi)
    r, _ = plane(shape, centre, axis_ratio, angle)
    light = sersic(r, radius, rng.uniform(2, 5))
    if rng.uniform() < 0.4:
        halo, _ = plane(shape, centre, axis_ratio * 0.8, angle + rng.normal(0, 0.2))
        light += rng.uniform(0.1, 0.6) * sersic(halo, 2 * radius, 1.0)
    return light


def disk(rng, shape, centre, radius):
    """Smooth exponential disk."""
    r, _ = plane(shape, centre, rng.uniform(0.2, 1), rng.uniform(0, np.pi))
    return sersic(r, radius, 1.0)


_DRAW = {
    "disk": disk,
    "spiral": spiral,
    "irregular": irregular,
    "edge-on": edge_on,
    "elliptical": elliptical,
}


_FORMS = {
    "spiral": (SPIRAL, SPIRAL, BARRED, MERGER),
    "irregular": (IRREGULAR, IRREGULAR, MERGER),
    "edge-on": (SPIRAL,),
    "elliptical": (ELLIPTICAL,),
}


def rich_galaxy(rng, kind, shape, centre, radius):
    """Galaxy of a kind as `make_sky` paints it, on a square."""
    source = np.zeros(1, dtype=SKY_SOURCE)[0]
    ratio = {"edge-on": (0.2, 0.28), "elliptical": (0.5, 1.0)}.get(kind, (0.3, 1.0))
    source["form"] = rng.choice(_FORMS[kind])
    source["disk_axis_ratio"] = source["bulge_axis_ratio"] = rng.uniform(*ratio)
    if kind != "elliptical":
        source["bulge_axis_ratio"] = max(source["bulge_axis_ratio"], 0.55)
    source["angle"], source["seed"] = rng.uniform(0, 180), rng.integers(2**62)
    share = 1 if kind == "elliptical" else 0 if kind == "irregular" else rng.uniform(0.02, 0.4)
    source["bulge_fraction"] = share
    paint = paint_galaxy(source, radius, shape[0], *(np.asarray(centre) - shape[0] // 2))
    young = rng.uniform(0.1, 0.9)
    return (young * paint.young + (1 - young) * paint.old) * np.exp(-paint.dust)


def companion(rng, shape, centre, fwhm, snr):
    """Light of a star, or of a small galaxy, with the given signal to noise; whether a star."""
    light = np.zeros(shape)
    is_star = rng.uniform() < 0.45
    radius = 0 if is_star else 10 ** rng.uniform(0.1, 0.5 + 0.3 * min(np.log10(snr) - 1, 2))
    half = int(min(max(6 * fwhm, 10 * radius, 20), min(shape) // 2 - 1))
    iy, ix = round(centre[0]), round(centre[1])
    side = (2 * half + 1, 2 * half + 1)
    middle = half + centre[0] - iy, half + centre[1] - ix
    if is_star:
        stamp = np.zeros(side)
        fy, fx = middle[0] - int(middle[0]), middle[1] - int(middle[1])
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
            stamp[int(middle[0]) + dy, int(middle[1]) + dx] = weight
    else:
        r, _ = plane(side, middle, rng.uniform(0.3, 1), rng.uniform(0, np.pi))
        stamp = sersic(r, radius, rng.choice([1.0, 1.0, 2.5, 4.0]))
    stamp = blur(stamp, fwhm)
    stamp *= snr / np.sqrt((stamp**2).sum())
    y0, x0 = iy - half, ix - half
    own = (
        slice(max(y0, 0), min(y0 + side[0], shape[0])),
        slice(max(x0, 0), min(x0 + side[1], shape[1])),
    )
    light[own] = stamp[own[0].start - y0 : own[0].stop - y0, own[1].start - x0 : own[1].stop - x0]
    return light, is_star


def _large(rng, kind, shape, centre, radius):
    """Kinds, centres, half-light radii and brightness of the galaxies that are no companions."""
    if kind not in ("pair", "cluster", "field"):
        return [(kind, centre, radius, 1.0)]
    names = ("spiral", "irregular", "edge-on", "elliptical", "elliptical", "elliptical")
    if kind == "pair":
        size = radius * 10 ** rng.uniform(-0.5, 0.0)
        away, angle = rng.uniform(0.8, 3.5) * (radius + size) / 2, rng.uniform(0, 2 * np.pi)
        other = centre + away * np.array([np.sin(angle), np.cos(angle)])
        share = 10 ** rng.uniform(-0.5, 0.5)
        return [
            (str(rng.choice(names)), centre, radius, 1.0),
            (str(rng.choice(names)), np.clip(other, 2, shape[0] - 3), size, share),
        ]
    galaxies = [("elliptical", centre, radius, 1.0)] if kind == "cluster" else []
    for _ in range(rng.poisson(10 if kind == "cluster" else 10 ** rng.uniform(1.3, 2.2)) + 1):
        if kind == "cluster":
            size = radius * 10 ** rng.uniform(-1.1, -0.2)
            place = centre + rng.normal(0, 0.2 * shape[0], 2)
        else:
            size, place = 10 ** rng.uniform(0.0, 0.8), rng.uniform(0, shape[0], 2)
        name = "elliptical" if rng.uniform() < 0.6 else "disk"
        galaxies.append((name, np.clip(place, 2, shape[0] - 3), size, 10 ** rng.normal(-0.2, 0.4)))
    return galaxies


def make_scene(seed, kind=None, side=None, n_companions=None, rich=False):
    """Draw a scene; `kind` is one of `KINDS`.

    Parameters
    ----------
    seed : int
    kind : str, optional
    side : int, optional
        Pixels of a side; 200 to 520 by default.
    n_companions : int, optional
    rich : bool, default=False
        Whether large galaxies are those of `make_sky`.
    """
    rng = np.random.default_rng([seed, 18])
    kind = kind or str(rng.choice(KINDS))
    side = side or int(200 * 2.6 ** rng.uniform() * (0.6 if kind == "field" else 1))
    shape, fwhm = (side, side), 1.5 * 4 ** rng.uniform()
    centre = side / 2 + rng.uniform(-0.08, 0.08, 2) * side
    radius = side * rng.uniform(0.07, 0.16)
    layers, centres = [], []
    # the mean surface brightness within the half-light radius, in units of the noise
    level = 10 ** rng.uniform(0.3, 1.9)
    for name, place, size, share in _large(rng, kind, shape, centre, radius):
        if rich and name in _FORMS:
            light = rich_galaxy(rng, name, shape, place, size)
        else:
            light = _DRAW[name](rng, shape, place, size)
        light = blur(light, fwhm)
        r, _ = plane(shape, place, 1, 0)
        layers.append(light * (share * level / np.mean(light[r < max(size, 2)])))
        centres.append(place)
    snr = [np.sqrt((light**2).sum()) for light in layers]
    stars = [False] * len(layers)
    inside = np.argwhere(ndimage.gaussian_filter(sum(layers), 1) > 0.5)
    n = rng.poisson(5) if n_companions is None else n_companions
    for _ in range(n):
        strength = 10 ** (rng.uniform(1, 2.7) if rng.uniform() < 0.65 else rng.uniform(2, 4.3))
        near = rng.uniform() < 0.8 and len(inside)
        place = inside[rng.integers(len(inside))] if near else rng.uniform(0, side - 1, 2)
        place = np.clip(place + rng.uniform(-0.5, 0.5, 2), 1, side - 2)
        light, is_star = companion(rng, shape, place, fwhm, strength)
        layers.append(light)
        stars.append(is_star)
        centres.append(place)
        snr.append(strength)
    stack = np.array(layers, dtype=np.float32)
    total = stack.sum(axis=0)
    gain = 10 ** rng.uniform(0, 2.5)  # electrons per unit: photons of the sources count
    rms = np.sqrt(1 + total / (gain * 3))
    image = total + rng.standard_normal(shape) * rms
    return GalaxyScene(
        kind,
        image.astype(np.float32),
        stack,
        np.array(centres),
        np.array(snr),
        fwhm,
        rms,
        np.array(stars),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=12)
    parser.add_argument("--rich", action="store_true", help="galaxies of make_sky")
    arguments = parser.parse_args()
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    arguments.folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(-(-arguments.n // 4), 8, figsize=(32, 4 * -(-arguments.n // 4)))
    for seed, (left, right) in enumerate(axes.reshape(-1, 2)[: arguments.n]):
        scene = make_scene(seed, rich=arguments.rich)
        left.imshow(np.arcsinh(scene.image), cmap="gray", vmin=-1, vmax=5)
        left.set_title(f"{scene.kind} {scene.image.shape[0]}")
        right.imshow(scene.truth(), cmap="nipy_spectral", interpolation="nearest")
    figure.tight_layout()
    figure.savefig(arguments.folder / "scenes.png", dpi=45)


if __name__ == "__main__":
    main()
