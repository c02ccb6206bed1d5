"""What a separator learns from: blends with the true light of each source."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ._blends import offset_of_peak
from ._divide import Exposure, divide, divide_light
from ._fit import fit_scene
from ._maps import maps_of, total_light
from ._positions import masks_at


@dataclass(frozen=True)
class Blend:
    """An image of sources whose true light is known.

    Attributes
    ----------
    image, noise : ndarray of float, shape (height, width)
    lights : ndarray of float, shape (n, height, width)
        Noise-free light of each source.
    places : ndarray of float, shape (n, 2)
        ``y, x`` that a separator is told.
    freedom : float
        Pixels that it may move them by.
    """

    image: NDArray
    noise: NDArray
    lights: NDArray
    places: NDArray[np.float64]
    freedom: float


@dataclass(frozen=True)
class Lesson:
    """One blend as the net of `UNetSeparator` and its loss see it, in units of the noise.

    Attributes
    ----------
    inputs : ndarray of float16, shape (n, n_maps, side, side)
        Maps around each source.
    corners : ndarray of int, shape (n, 2)
        Row and column of the first pixel of each stamp.
    centres : ndarray of float, shape (n, 2)
    shares : ndarray of float16, shape (n, height, width)
        Of the templates.
    light : ndarray of float32, shape (height, width)
        All light that is divided.
    truths : ndarray of float16, shape (n, height, width)
        True light.
    fluxes : ndarray of float, shape (n,)
        True light, that outside the window included.
    """

    inputs: NDArray[np.float16]
    corners: NDArray[np.int64]
    centres: NDArray[np.float64]
    shares: NDArray[np.float16]
    light: NDArray[np.float32]
    truths: NDArray[np.float16]
    fluxes: NDArray[np.float64]

    def turned(self, quarters):
        """Return the lesson turned by so many right angles."""
        lesson = self
        for _ in range(quarters):
            lesson = lesson._transposed().mirrored()
        return lesson

    def mirrored(self):
        """Return the lesson with the order of the columns reversed."""
        side, width = self.inputs.shape[-1], self.light.shape[1]
        flipped = {name: getattr(self, name)[..., ::-1] for name in _MAPS}
        corners, centres = self.corners.copy(), self.centres.copy()
        corners[:, 1] = width - side - corners[:, 1]
        centres[:, 1] = width - 1 - centres[:, 1]
        return replace(self, corners=corners, centres=centres, **flipped)

    def _transposed(self):
        swapped = {name: getattr(self, name).swapaxes(-1, -2) for name in _MAPS}
        return replace(
            self, corners=self.corners[:, ::-1], centres=self.centres[:, ::-1], **swapped
        )


_MAPS = ("inputs", "shares", "light", "truths")


def lessons_of(separator, blend):
    """List the lessons of an image: one for each group of sources that share light."""
    exposure = Exposure.of(blend.image[None], blend.noise[None])
    instances = masks_at(blend.places, exposure.smooth, exposure.detection_noise)
    watcher = _Watcher(separator, blend.freedom)
    _, groups = divide(watcher, exposure, instances, blend.places)
    lessons = []
    for members, (scene, templates) in zip(groups, watcher.seen, strict=True):
        if len(members) > 1:
            lessons.append(_lesson(scene, templates, members, blend))
    return lessons


class _Watcher:
    """A separator that keeps what it sees of each blend."""

    def __init__(self, separator, freedom):
        self.separator, self.growth, self.freedom = separator, separator.growth, freedom
        self.seen = []

    def _complete(self, scene):
        return replace(scene, freedom=np.full(len(scene.centres), self.freedom))

    def _templates(self, scene):
        templates = fit_scene(scene, self.separator.n_iterations)
        self.seen.append((scene, templates))
        return [template[None] for template in templates]


def _lesson(scene, templates, members, blend):
    places = blend.places[members]
    top, left = np.rint(places.min(axis=0) - scene.centres.min(axis=0)).astype(int).tolist()
    distance = np.abs(places[None] - scene.centres[:, None] - [top, left]).sum(axis=2)
    lights = blend.lights[members[distance.argmin(axis=1)]]
    height, width = scene.detection.shape
    unit = scene.detection_noise.min()
    total = total_light(scene, templates)
    inputs, corners = maps_of(scene, templates, total)
    parts, light = divide_light(scene, [template[None] for template in templates])
    shares = np.zeros((len(members), height, width), dtype=np.float16)
    for share, part, (y0, x0, y1, x1) in zip(shares, parts, scene.boxes.tolist(), strict=True):
        share[y0:y1, x0:x1] = part[0]
    return Lesson(
        inputs=inputs.astype(np.float16),
        corners=corners,
        centres=scene.centres,
        shares=shares,
        light=(light[0] / unit).astype(np.float32),
        truths=(lights[:, top : top + height, left : left + width] / unit).astype(np.float16),
        fluxes=lights.sum(axis=(1, 2)) / unit,
    )


def blends_of(images, noises, truths):
    """List the blends of images whose sources are given one by one; all lists of arrays."""
    return [
        Blend(image, noise, lights, np.array([_peak(light) for light in lights]), 0.0)
        for image, noise, lights in zip(images, noises, truths, strict=True)
        if len(lights)
    ]


def _peak(light):
    y, x = np.unravel_index(np.argmax(light), light.shape)
    return y + offset_of_peak(light, y, x, 0), x + offset_of_peak(light, y, x, 1)


_SKY, _READ_NOISE = 500.0, 9.0
_CHUNK = 20  # blends with the same camera
_NUMBERS = (2, 2, 2, 3, 4, 4, 5, 7)  # of galaxies in a blend
_FARTHEST = 4  # pixels from the centre of a galaxy to that of its second half


def simulate_blends(n, random_state):
    """Simulate blends of many cameras, with centres that are off as detections are.

    Parameters
    ----------
    n : int
    random_state : numpy.random.Generator

    Returns
    -------
    list of Blend
        Two to seven galaxies, 1.5 to 36 pixels from each other, of which three in ten are lopsided.
        The FWHM of the PSF is 1.6 to 5 pixels. In half of the blends some galaxies are dimmed to 3
        to 100 %, in half of them all are dimmed to 5 to 100 %, and in half of them the places are
        off by .3 pixels.
    """
    from ..datasets import make_blends

    blends = []
    while len(blends) < n:
        n_sources = int(random_state.choice(_NUMBERS))
        pixel_scale = random_state.uniform(0.14, 0.3)
        _, _, isolated, catalog = make_blends(
            min(_CHUNK, n - len(blends)),
            n_sources=n_sources,
            separation=(1.5, 36.0),
            pixel_scale=pixel_scale,
            psf_fwhm=pixel_scale * np.exp(random_state.uniform(np.log(1.6), np.log(5))),
            depth=random_state.uniform(26.0, 27.7),
            sky_level=_SKY,
            read_noise=_READ_NOISE,
            return_isolated=True,
            return_catalog=True,
            random_state=int(random_state.integers(2**31 - 1)),
        )
        places = np.stack([catalog["y"], catalog["x"]], axis=1).reshape(len(isolated), -1, 2)
        blends += [
            _expose(lights, own, random_state) for lights, own in zip(isolated, places, strict=True)
        ]
    return blends


def _expose(lights, places, random_state):
    """Make some of the sources lopsided or faint, and draw noise."""
    lights = np.stack([_lopsided(light, random_state) for light in lights.astype(np.float64)])
    if random_state.uniform() < 0.5:
        factors = np.exp(random_state.uniform(np.log(0.03), 0, len(lights)))
        lights *= np.where(random_state.uniform(size=len(lights)) < 0.5, factors, 1)[:, None, None]
    if random_state.uniform() < 0.5:
        lights *= np.exp(random_state.uniform(np.log(0.05), 0))
    expected = _SKY + lights.sum(axis=0)
    image = random_state.poisson(expected) + random_state.normal(0, _READ_NOISE, expected.shape)
    noise = np.full(image.shape, np.sqrt(_SKY + _READ_NOISE**2))
    freedom = float(random_state.integers(2))
    places = places + freedom * np.clip(random_state.normal(0, 0.3, places.shape), -0.9, 0.9)
    places = np.clip(places, 0, np.array(image.shape) - 1)
    return Blend(image - _SKY, noise, lights, places, freedom)


def _lopsided(light, random_state):
    """Put a part of the light of three galaxies in ten beside their centre."""
    part, offset = (
        random_state.uniform(0.05, 0.3),
        random_state.integers(-_FARTHEST, _FARTHEST + 1, 2),
    )
    if random_state.uniform() > 0.3:
        return light
    return (1 - part) * light + part * ndimage.shift(light, offset, order=0)
