"""A patch of sky seen by a camera, cell by cell, so that a field of any size can be made in pieces.

The sky is divided into square cells of `CELL` pixels. Sources and noise of a cell come from random
numbers of its own, seeded by its place; so any block of cells can be drawn without the rest of the
field, and is equal to the same block of the whole field.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from ..structures import GALAXY, STAR
from ._population import (
    SOURCE,
    component_mags,
    component_radii,
    draw_galaxies,
    draw_stars,
    surface_brightness_radius,
)
from ._profiles import MAX_RADIUS, MOFFAT_BETA, STAMP_SIZES, profile_drawer

#: Side of a cell, pixels.
CELL = 256
#: Light fainter than this many times the noise of the sky is left out of a stamp.
_CUT = 0.05
_CHUNK = 256
# What the random numbers of a cell are for.
_GALAXIES, _STARS, _NOISE = 0, 1, 2


class Stamp(NamedTuple):
    """Noise-free light of one source: lower left pixel, and electrons (n_bands, size, size)."""

    y0: int
    x0: int
    flux: np.ndarray


@dataclass(frozen=True)
class Camera:
    """Pixels, PSF, bands and noise: what turns magnitudes into electrons.

    `sky_level` (electrons per pixel) and `depth` (magnitude of a point source of S/N 5) hold one
    value per band; `read_noise` is in electrons.
    """

    pixel_scale: float
    psf_fwhm: float
    bands: str
    sky_level: tuple
    depth: tuple
    read_noise: float

    @property
    def drawer(self):
        """What draws profiles through this PSF."""
        return profile_drawer(self.pixel_scale, self.psf_fwhm)

    @property
    def reference(self):
        """Index of the band that defines the truth: r, or else the first."""
        return max(self.bands.find("r"), 0)

    def reference_only(self):
        """The same camera with the reference band alone."""
        only = slice(self.reference, self.reference + 1)
        return replace(
            self, bands=self.bands[only], sky_level=self.sky_level[only], depth=self.depth[only]
        )

    @cached_property
    def sky_rms(self):
        """Noise of the empty sky, electrons, one value per band."""
        return np.sqrt(np.array(self.sky_level) + self.read_noise**2)

    @cached_property
    def zero_point(self):
        """Magnitude of one electron, one value per band."""
        noise_area = 1 / np.sum(self.drawer.star(64, 0.0, 0.0) ** 2)
        return np.array(self.depth) + 2.5 * np.log10(5 * self.sky_rms * np.sqrt(noise_area))

    def fluxes(self, sources):
        """Electrons of disk and bulge, shape (n, n_bands, 2); a star's are all in the disk."""
        mags = np.array([component_mags(sources, band) for band in self.bands])
        return 10 ** (0.4 * (self.zero_point[:, None, None] - mags)).transpose(2, 0, 1)

    def stamp_sizes(self, sources, fluxes):
        """Side of each source's stamp, out to where its light is lost in the noise of the sky."""
        level = _CUT * self.sky_rms[self.reference]
        brightest = (fluxes / self.sky_rms[:, None]).max(axis=1) * self.sky_rms[self.reference]
        core = self.psf_fwhm / self.pixel_scale / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
        peak = brightest.sum(axis=1) * (MOFFAT_BETA - 1) / (np.pi * core**2)
        reach = core * np.sqrt(np.maximum((peak / level) ** (1 / MOFFAT_BETA) - 1, 0))
        for index, (profile, radius) in enumerate(
            zip(("disk", "bulge"), component_radii(sources), strict=True)
        ):
            distance = surface_brightness_radius(
                brightest[:, index],
                radius / self.pixel_scale,
                sources[f"{profile}_axis_ratio"],
                level,
                profile,
            )
            reach = np.hypot(reach, distance) if profile == "disk" else np.maximum(reach, distance)
        return STAMP_SIZES[np.searchsorted(STAMP_SIZES[:-1], 2 * reach + 4)]

    def draw(self, sources):
        """Draw each source's own noise-free, PSF-convolved light.

        Parameters
        ----------
        sources : ndarray of dtype SOURCE, shape (n,)

        Returns
        -------
        list of Stamp
            Electrons in float32; a stamp may reach beyond the field.
        """
        fluxes = self.fluxes(sources)
        sizes = self.stamp_sizes(sources, fluxes)
        radii = np.transpose(component_radii(sources))
        return [
            self._draw_one(*source)
            for source in zip(sources, fluxes, sizes.tolist(), radii, strict=True)
        ]

    def _draw_one(self, source, fluxes, size, radii):
        y, x = round(float(source["y"])), round(float(source["x"]))
        dy, dx = source["y"] - y, source["x"] - x
        if source["class"] == STAR:
            light = self.drawer.star(size, dy, dx) * fluxes.sum(axis=1)[:, None, None]
        else:
            light = 0.0
            for index, profile in enumerate(("disk", "bulge")):
                if fluxes[:, index].any():
                    shape = (source[f"{profile}_axis_ratio"], source["angle"])
                    unit = self.drawer.galaxy(profile, radii[index], *shape, size, dy, dx)
                    light = light + unit * fluxes[:, index, None, None]
        return Stamp(y - size // 2, x - size // 2, light.astype(np.float32))

    def draw_parallel(self, sources, n_jobs):
        """Draw sources on `n_jobs` workers; the result does not depend on their number."""
        chunks = [sources[start : start + _CHUNK] for start in range(0, len(sources), _CHUNK)]
        drawn = Parallel(n_jobs=n_jobs)(delayed(self.draw)(chunk) for chunk in chunks)
        return [stamp for stamps in drawn for stamp in stamps]


@dataclass(frozen=True)
class Scene:
    """Sources, sky and noise of a field of `shape`, all decided by `seed`.

    `galaxy_density` and `star_density` count all sources drawn, per pixel, of magnitudes within
    `galaxy_mags` and `star_mags`. The sky of each band is its level times ``1 + gradient``, where
    the gradient rises by `sky_gradient` from one side of the field to the other, in direction
    `sky_angle`.
    """

    shape: tuple
    camera: Camera
    seed: int
    galaxy_density: float
    star_density: float
    galaxy_mags: tuple
    star_mags: tuple
    sky_gradient: float
    sky_angle: float

    def sources(self, box=None):
        """Sources whose light may reach `box` (``y0, x0, y1, x1``), in order of their cells."""
        cells = [self._cell_sources(*cell) for cell in self._cells(box, margin=MAX_RADIUS + 1)]
        return np.concatenate(cells) if cells else np.zeros(0, SOURCE)

    def _cells(self, box=None, margin=0):
        y0, x0, y1, x1 = (0, 0, *self.shape) if box is None else box
        height, width = self.shape
        rows = range(max(y0 - margin, 0) // CELL, -(-min(y1 + margin, height) // CELL))
        columns = range(max(x0 - margin, 0) // CELL, -(-min(x1 + margin, width) // CELL))
        return [(row, column) for row in rows for column in columns]

    def _cell_sources(self, row, column):
        kinds = (
            (_GALAXIES, draw_galaxies, self.galaxy_density, self.galaxy_mags),
            (_STARS, draw_stars, self.star_density, self.star_mags),
        )
        drawn = []
        for purpose, draw, density, mags in kinds:
            rng = np.random.default_rng([self.seed, purpose, row, column])
            sources = draw(rng, rng.poisson(density * CELL**2), *mags)
            sources["y"] = CELL * (row + rng.uniform(size=len(sources))) - 0.5
            sources["x"] = CELL * (column + rng.uniform(size=len(sources))) - 0.5
            drawn.append(sources)
        sources = np.concatenate(drawn)
        height, width = self.shape
        return sources[(sources["y"] < height - 0.5) & (sources["x"] < width - 0.5)]

    def sky(self, box=None):
        """Expected electrons of the empty sky, float64 (n_bands, height, width) of `box`."""
        y0, x0, y1, x1 = (0, 0, *self.shape) if box is None else box
        height, width = self.shape
        along_y = np.sin(self.sky_angle) * ((np.arange(y0, y1) + 0.5) / height - 0.5)
        along_x = np.cos(self.sky_angle) * ((np.arange(x0, x1) + 0.5) / width - 0.5)
        span = abs(np.sin(self.sky_angle)) + abs(np.cos(self.sky_angle))
        slope = 1 + self.sky_gradient / span * (along_y[:, None] + along_x)
        return np.array(self.camera.sky_level)[:, None, None] * slope

    def expose(self, light, box=None):
        """Add sky and noise to the noise-free `light` of `box`, whose corners are corners of cells.

        Parameters
        ----------
        light : ndarray of shape (n_bands, height, width)
            Electrons; see `add_light`.
        box : tuple of int, optional
            ``y0, x0, y1, x1``; the whole field by default.

        Returns
        -------
        image, rms, sky_rms : ndarray of float32, shape (n_bands, height, width)
            What the detector counts; the noise of sky, sources and read-out; and of sky and
            read-out only.
        """
        y0, x0, y1, x1 = box = (0, 0, *self.shape) if box is None else box
        sky = self.sky(box)
        expected = sky + np.maximum(light, 0)
        image = np.empty(expected.shape, dtype=np.float32)
        for row, column in self._cells(box):
            rows = slice(row * CELL - y0, min(row * CELL + CELL, y1) - y0)
            columns = slice(column * CELL - x0, min(column * CELL + CELL, x1) - x0)
            for band, letter in enumerate(self.camera.bands):
                rng = np.random.default_rng([self.seed, _NOISE, ord(letter), row, column])
                image[band, rows, columns] = add_noise(
                    expected[band, rows, columns], self.camera.read_noise, rng
                )
        variance = self.camera.read_noise**2
        return (
            image,
            np.sqrt(expected + variance, dtype=np.float32),
            np.sqrt(sky + variance, dtype=np.float32),
        )


def add_noise(expected, read_noise, rng):
    """Add the Poisson noise of `expected` electrons and Gaussian read noise."""
    return rng.poisson(expected) + read_noise * rng.standard_normal(expected.shape)


def overlap(stamp, shape, origin=(0, 0)):
    """Where a stamp meets a frame of `shape` whose first pixel is `origin`.

    Returns
    -------
    window, inside : tuple of slice
        The part of the frame, and the same part of the stamp; None where they do not meet.
    """
    size = stamp.flux.shape[-1]
    window, inside = [], []
    for start, length in zip((stamp.y0 - origin[0], stamp.x0 - origin[1]), shape, strict=True):
        first, last = max(start, 0), min(start + size, length)
        if first >= last:
            return None
        window.append(slice(first, last))
        inside.append(slice(first - start, last - start))
    return tuple(window), tuple(inside)


def add_light(stamps, shape, origin=(0, 0), n_bands=1):
    """Sum the stamps over a frame, in their order: float64 (n_bands, height, width)."""
    light = np.zeros((n_bands, *shape))
    for stamp in stamps:
        meeting = overlap(stamp, shape, origin)
        if meeting is not None:
            window, inside = meeting
            light[(slice(None), *window)] += stamp.flux[(slice(None), *inside)]
    return light


@lru_cache(maxsize=32)
def labelled_fraction(camera, kind, mags, n_pixels, n=2000):
    """Fraction of the galaxies or stars within `mags` whose mask has `n_pixels` pixels if alone.

    Drawn from a sample of its own, the same for every seed, so that a field's expected density does
    not depend on its seed. `camera` has one band.
    """
    rng = np.random.default_rng(n)
    sources = (draw_galaxies if kind == GALAXY else draw_stars)(rng, n, *mags)
    sources["y"], sources["x"] = rng.uniform(-0.5, 0.5, (2, n))
    noise = camera.sky_rms[0] ** 2
    light = (stamp.flux[0] for stamp in camera.draw(sources))
    return float(
        np.mean(
            [
                np.count_nonzero(stamp > np.sqrt(noise + np.maximum(stamp, 0))) >= n_pixels
                for stamp in light
            ]
        )
    )
