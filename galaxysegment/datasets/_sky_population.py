"""What is in the sky of `make_sky`: the sources of `make_field` with forms, ages and redshifts.

Large galaxies, clusters and bright stars come on top. Their sizes are chosen in pixels and their
brightness in units of the noise, so that they look the same to every telescope.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..structures import GALAXY, STAR
from ._population import SOURCE, component_mags
from ._scene import Camera
from ._spectra import galaxy_colour, star_colour

#: Forms of a source. `SMOOTH` sources are drawn by GalSim, `POINT` sources are stars.
SMOOTH, SPIRAL, BARRED, IRREGULAR, ELLIPTICAL, MERGER, POINT = range(7)
FORM_NAMES = ("smooth", "spiral", "barred", "irregular", "elliptical", "merger", "star")

#: `SOURCE` and: age (0 is young, 1 is old) of disk and bulge, redshift, temperature of a star in
#: kelvin, form, and a seed of the source's own.
SKY_SOURCE = np.dtype(
    SOURCE.descr
    + [(name, np.float64) for name in ("disk_age", "bulge_age", "redshift", "temperature")]
    + [("form", np.int8), ("seed", np.int64)]
)

_EXPONENTIAL = 1.678
#: Smaller galaxies (half-light radius, pixels) have no visible form.
_LEAST_RADIUS = 2.5


class Cluster(NamedTuple):
    """The light between the galaxies of a cluster: its centre and radius in pixels, and redshift.

    `brightness` is in units of the noise of the sky in the reference band, at `radius`.
    """

    y: float
    x: float
    radius: float
    axis_ratio: float
    angle: float
    brightness: float
    redshift: float


@dataclass(frozen=True)
class SkyCamera(Camera):
    """A `Camera` whose sources have ages, redshifts and temperatures, and bands from u to H."""

    def fluxes(self, sources):
        """Electrons of disk and bulge, shape (n, n_bands, 2); a star's are all in the disk."""
        base = np.array(component_mags(sources, "r"))
        is_star = sources["class"] == STAR
        mags = np.empty((len(self.bands), 2, len(sources)))
        for index, band in enumerate(self.bands):
            for part, name in enumerate(("disk_age", "bulge_age")):
                colour = galaxy_colour(band, sources[name], sources["redshift"])
                if is_star.any():
                    stars = star_colour(band, np.where(is_star, sources["temperature"], 5000.0))
                    colour = np.where(is_star, stars, colour)
                mags[index, part] = base[part] + colour
        return 10 ** (0.4 * (self.zero_point[:, None, None] - mags)).transpose(2, 0, 1)

    def relative_fluxes(self, age, redshift):
        """Electrons of a galaxy in each band for an electron in the reference band, (n_bands,)."""
        colours = np.array([galaxy_colour(band, age, redshift) for band in self.bands])
        mags = colours - self.zero_point
        return 10 ** (0.4 * (mags[self.reference] - mags))


def with_forms(sources, camera, rng):
    """Return the sources of a `Scene` as `SKY_SOURCE`, with forms, ages and redshifts."""
    n = len(sources)
    rich = np.zeros(n, dtype=SKY_SOURCE)
    for name in SOURCE.names:
        rich[name] = sources[name]
    rich["seed"] = rng.integers(2**62, size=n)
    median = 0.1 + 0.06 * np.maximum(sources["mag"] - 18, 0) ** 1.3
    redshift = np.clip(median * np.exp(0.45 * rng.standard_normal(n)), 0.01, 5)
    rich["redshift"] = np.where(rich["class"] == STAR, 0, redshift)
    rich["disk_age"] = np.clip(rng.normal(0.15, 0.2, n), -0.3, 0.8)
    rich["bulge_age"] = np.clip(rng.normal(0.9, 0.12, n), 0.4, 1.1)
    rich["temperature"] = _temperatures(rng, n)
    rich["form"] = _forms(rng, rich, camera)
    return rich


def _temperatures(rng, n):
    dwarf = rng.uniform(size=n) < 0.55
    hot = rng.uniform(size=n) < 0.05
    warm = np.where(hot, rng.uniform(8000, 16000, n), rng.normal(5600, 600, n))
    return np.maximum(np.where(dwarf, rng.uniform(2700, 4200, n), warm), 2500)


def _forms(rng, sources, camera):
    n = len(sources)
    drawn = rng.choice(
        [SPIRAL, BARRED, IRREGULAR, MERGER, SMOOTH], size=n, p=[0.4, 0.2, 0.18, 0.06, 0.16]
    )
    drawn[sources["bulge_fraction"] == 1] = ELLIPTICAL
    seen = (sources["radius"] / camera.pixel_scale > _LEAST_RADIUS) & (
        sources["mag"] < camera.depth[camera.reference] - 2.5
    )
    return np.where(sources["class"] == STAR, POINT, np.where(seen, drawn, SMOOTH))


def _blank(n, kind, rng):
    sources = np.zeros(n, dtype=SKY_SOURCE)
    sources["class"] = kind
    sources["seed"] = rng.integers(2**62, size=n)
    sources["disk_axis_ratio"] = sources["bulge_axis_ratio"] = 1
    sources["angle"] = rng.uniform(0, 180, n)
    return sources


def _mag_of(camera, electrons):
    return camera.zero_point[camera.reference] - 2.5 * np.log10(electrons)


def _place(sources, rng, shape, margin=0.0):
    for axis, length in zip(("y", "x"), shape, strict=True):
        sources[axis] = rng.uniform(-margin * length, (1 + margin) * length, len(sources)) - 0.5


def draw_large(rng, n, shape, camera):
    """Draw `n` large galaxies, 60 to 600 pixels across where they are as bright as the noise."""
    galaxies = _blank(n, GALAXY, rng)
    largest = max(min(600.0, 0.9 * min(shape)), 61.0)
    diameter = np.exp(rng.uniform(np.log(60), np.log(largest), n))
    # brightness at the half-light radius, in units of the noise
    bright = np.exp(rng.uniform(np.log(1.5), np.log(30), n))
    galaxies["form"] = rng.choice(
        [SPIRAL, BARRED, IRREGULAR, ELLIPTICAL, MERGER], size=n, p=[0.4, 0.22, 0.13, 0.15, 0.1]
    )
    elliptical = galaxies["form"] == ELLIPTICAL
    cosine = rng.uniform(0.08, 1, n)
    ratio = np.where(elliptical, rng.uniform(0.55, 1, n), np.sqrt(cosine**2 * 0.96 + 0.04))
    reach = np.where(
        elliptical, (1 + np.log(bright) / 7.67) ** 4, 1 + np.log(bright) / _EXPONENTIAL
    )
    major = diameter / 2 / np.maximum(reach, 1.0)
    radius = major * np.sqrt(ratio)
    noise = camera.sky_rms[camera.reference]
    # total flux over (brightness at the half-light radius times its square)
    total = np.where(elliptical, 22.67, 11.95)
    galaxies["mag"] = _mag_of(camera, total * bright * noise * radius**2)
    galaxies["radius"] = radius * camera.pixel_scale
    galaxies["disk_axis_ratio"] = ratio
    galaxies["bulge_axis_ratio"] = np.where(elliptical, ratio, np.maximum(ratio, 0.55))
    galaxies["bulge_fraction"] = np.where(
        elliptical, 1, np.where(galaxies["form"] == IRREGULAR, 0, rng.uniform(0.02, 0.4, n) ** 1.3)
    )
    galaxies["disk_age"] = rng.uniform(-0.35, 0.3, n)
    galaxies["bulge_age"] = rng.uniform(0.75, 1.05, n)
    galaxies["redshift"] = rng.uniform(0.003, 0.05, n)
    _place(galaxies, rng, shape)
    return galaxies


def draw_cluster(rng, shape, camera):
    """Draw a cluster: its cD first, then its members; and the `Cluster` of its diffuse light."""
    n = int(rng.integers(15, 60))
    galaxies = _blank(n + 1, GALAXY, rng)
    noise = camera.sky_rms[camera.reference]
    side = min(shape)
    cd_radius = rng.uniform(0.015, 0.06) * side
    y, x = (rng.uniform(0.15, 0.85) * length for length in shape)
    bright = np.exp(rng.uniform(np.log(2), np.log(15)))
    angle, ratio = rng.uniform(0, 180), rng.uniform(0.55, 0.9)
    cd_mag = _mag_of(camera, 22.67 * bright * noise * cd_radius**2)
    fainter = rng.exponential(1.3, n) + rng.uniform(1, 2)
    distance = 0.5 * cd_radius + 0.3 * side * rng.uniform(size=n) ** 1.2
    around = rng.uniform(0, 2 * np.pi, n)
    galaxies["y"] = np.r_[y, y + distance * np.sin(around)]
    galaxies["x"] = np.r_[x, x + distance * np.cos(around)]
    galaxies["mag"] = np.r_[cd_mag, cd_mag + fainter]
    radii = np.r_[cd_radius, cd_radius * 0.5 * 10 ** (-0.18 * fainter)]
    radii *= np.r_[1.0, np.exp(0.2 * rng.standard_normal(n))]
    galaxies["radius"] = np.maximum(radii, 0.8) * camera.pixel_scale
    galaxies["bulge_fraction"] = np.r_[1.0, np.where(rng.uniform(size=n) < 0.75, 1.0, 0.5)]
    ratios = np.r_[ratio, rng.uniform(0.5, 1, n)]
    galaxies["disk_axis_ratio"] = galaxies["bulge_axis_ratio"] = ratios
    galaxies["angle"][0] = angle
    galaxies["disk_age"] = rng.normal(0.85, 0.1, n + 1)
    galaxies["bulge_age"] = rng.normal(1.0, 0.03, n + 1)
    galaxies["redshift"] = redshift = rng.uniform(0.03, 0.6)
    seen = radii > _LEAST_RADIUS
    galaxies["form"] = np.where(seen & (galaxies["bulge_fraction"] == 1), ELLIPTICAL, SMOOTH)
    inside = (np.abs(galaxies["y"] - shape[0] / 2) < shape[0] / 2) & (
        np.abs(galaxies["x"] - shape[1] / 2) < shape[1] / 2
    )
    radius, brightness = cd_radius * rng.uniform(3, 5), rng.uniform(0.3, 2.0)
    light = Cluster(y, x, radius, ratio * 0.9, angle, brightness, redshift)
    return galaxies[inside], light


def draw_bright_stars(rng, n, shape, camera, saturation):
    """Draw `n` stars whose peaks are 1 to 3000 times the `saturation`, electrons per pixel."""
    stars = _blank(n, STAR, rng)
    peak = camera.drawer.star(64, 0.0, 0.0).max()
    over = 10 ** (3.5 * rng.uniform(size=n) ** 1.6)
    stars["mag"] = _mag_of(camera, saturation * over / peak)
    stars["temperature"] = _temperatures(rng, n)
    stars["form"] = POINT
    _place(stars, rng, shape)
    return stars
