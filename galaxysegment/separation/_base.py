"""`BaseSeparator`: the template of every separator, from images and sources to `Separated`."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from .._utils.typed import fit_context
from .._utils.validation import as_float_image, check_images, check_same_shape
from ..io._inputs import open_observations
from ..structures import GALAXY, Instances, Separated, as_label_map
from ..structures._types import Images
from ._blends import find_blends, find_centres, smooth_light, stamp_boxes
from ._positions import check_positions, masks_at, masks_of_parts

if TYPE_CHECKING:
    from astropy.table import Table

_MUCH_BRIGHTER = 4.0  # ratio of the peaks
_LEAST_ROOM = 6.0  # pixels
#: RMS that the templates of a pixel must reach together: what is fainter stays in the residual.
_FAINTEST = 0.1
_NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


@dataclass(frozen=True)
class Scene:
    """One blend as a separator sees it: pixels of a window, and what is known of the sources in it.

    Attributes
    ----------
    image, noise : ndarray of float64, shape (n_bands, height, width)
        Light and RMS; `image` is 0 where there are no data.
    detection, detection_noise : ndarray of float64, shape (height, width)
        Mean of the bands weighted by their inverse variance, and its RMS.
    has_data : ndarray of bool, shape (height, width)
        Pixels of this blend that have data in every band.
    centres : ndarray of float, shape (n, 2)
        ``y, x`` in the window.
    boxes : ndarray of int, shape (n, 4)
        Stamps ``y0, x0, y1, x1`` in the window.
    """

    image: NDArray[np.float64]
    noise: NDArray[np.float64]
    detection: NDArray[np.float64]
    detection_noise: NDArray[np.float64]
    has_data: NDArray[np.bool_]
    centres: NDArray[np.float64]
    boxes: NDArray[np.int64]


class BaseSeparator(BaseEstimator, metaclass=ABCMeta):
    """Template of a separator: images and their sources in, the light of each source alone out.

    A subclass writes ``_templates(scene)``, the light of each source of one blend as far as it is
    known. Checking, finding blends and centres, dividing the image in proportion to the templates,
    and adding up are done here.
    """

    _parameter_constraints: dict = {"growth": [Interval(Real, 0, None, closed="left")]}

    growth: float

    @fit_context
    def fit(self, X: Images | None = None, y: Any = None) -> Self:
        """Learn nothing; present so that separators can be used like other estimators.

        Parameters
        ----------
        X, y : ignored

        Returns
        -------
        self : object
        """
        return self

    def separate(
        self,
        X: Images,
        sources: NDArray[Any] | Sequence[ArrayLike | Instances | Table],
        rms: Images | None = None,
    ) -> list[Separated]:
        """Divide the light of images among their sources.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images, linear in flux, with the background subtracted; NaN means "no data". A `Field`
            or `NDData` brings its RMS map and its mask.
        sources : array of int, shape (n_images, height, width), or list
            The sources of each image: a label map, `Instances`, or an `astropy.table.Table` with
            columns ``x`` and ``y``, the centres in 0-based pixels.
        rms : array or list, optional
            Standard deviation of the noise in the shape of `X`, or one map of shape (height, width)
            an image for all bands. By default one number a band, estimated from the pixels outside
            all sources.

        Returns
        -------
        list of Separated
            One per image.

        Raises
        ------
        ValueError
            If shapes disagree, or a position is outside the image, not finite, or within half a
            pixel of another.
        """
        self._validate_params()
        fields, _ = open_observations(X)
        if fields is not None:
            X = [field.image for field in fields]
            if rms is None and all(field.has_rms for field in fields):
                rms = [field.rms for field in fields]
            sources = sources if len(sources) == len(fields) else [sources]
        images, layout = check_images(X)
        has_bands = layout.has_bands if fields is None else len(images[0]) > 1
        given = list(sources)
        if len(given) != len(images):
            raise ValueError(
                f"X holds {len(images)} images, but sources holds {len(given)} entries: give one "
                "per image."
            )
        noises = [None] * len(images) if rms is None else _check_rms(rms, images)
        checked = [
            _check_sources(entry, image, f"sources[{index}]")
            for index, (entry, image) in enumerate(zip(given, images, strict=True))
        ]
        return [
            self._separate_image(image, noise, entry, has_bands=has_bands)
            for image, noise, entry in zip(images, noises, checked, strict=True)
        ]

    def _separate_image(self, image, noise, entry, *, has_bands):
        no_data = np.isnan(image).any(axis=0)
        if noise is None:
            noise = _estimate_noise(image, entry)
        else:
            no_data |= ~(noise > 0).all(axis=0)
        noise = np.where(no_data, 1.0, noise)
        detection, detection_noise = _detection_image(np.where(no_data, 0.0, image), noise)
        places = None if isinstance(entry, Instances) else entry
        instances = entry if places is None else masks_at(places, detection, detection_noise)
        canvas = _Canvas(image, no_data, len(instances))
        smooth = smooth_light(detection)
        for blend in find_blends(instances, self.growth):
            centres = (
                find_centres(instances, smooth, blend.members.tolist())
                if places is None
                else places[blend.members]
            )
            # The brightest first, whatever the order of the sources, because templates are fitted
            # in turn.
            order = _order(centres, smooth)
            sorted_blend = replace(blend, members=blend.members[order])
            scene = _cut_scene(image, noise, detection, detection_noise, no_data, blend)
            self._add_blend(canvas, scene, sorted_blend, instances, centres[order])
        n_given = len(instances)
        if places is not None and len(places):
            instances = canvas.masks(range(n_given), detection_noise)
        if len(canvas.parts) > n_given:
            added = canvas.masks(range(n_given, len(canvas.parts)), detection_noise)
            if instances.classes is not None:
                added = replace(added, classes=np.full(len(added), GALAXY))
            instances = Instances.concatenate([instances, added])
        return canvas.result(instances, has_bands=has_bands)

    def _add_blend(self, canvas, scene, blend, instances, centres):
        top, left = (side.start for side in blend.window)
        reaches = _reaches(instances, blend.members, centres, self.growth)
        reaches = np.minimum(reaches, _room(centres, scene, (top, left)))
        centres = centres - np.array([top, left])
        boxes = stamp_boxes(centres, reaches, scene.has_data.shape)
        scene = self._complete(replace(scene, centres=centres, boxes=boxes))
        members = [*blend.members, *canvas.reserve(len(scene.centres) - len(blend.members))]
        places = scene.centres + np.array([top, left])
        shares, light = divide_light(scene, self._templates(scene))
        for member, place, (y0, x0, y1, x1), share in zip(
            members, places, scene.boxes, shares, strict=True
        ):
            canvas.places[member] = place
            cut = (slice(None), slice(y0, y1), slice(x0, x1))
            box = (top + y0, left + x0, top + y1, left + x1)
            canvas.add(member, box, share, light[cut], scene.noise[cut])

    def _complete(self, scene):
        """Return the scene with undetected sources appended; override to find them.

        Parameters
        ----------
        scene : Scene

        Returns
        -------
        Scene
        """
        return scene

    @abstractmethod
    def _templates(self, scene):
        """Return the light of each source in its stamp, without noise.

        Parameters
        ----------
        scene : Scene

        Returns
        -------
        list of ndarray, shape (n_bands, stamp height, stamp width)
            Positive, in the unit of the image.
        """


def divide_light(scene, templates):
    """Divide the light of a scene in proportion to templates.

    With ``L``, the sum of the templates in a pixel, ``weight = L**2 / (L**2 + noise**2)`` of the
    difference between the image and ``L`` is light of the sources; the rest is noise and stays in
    the residual. This is Wiener's filter [1]_ for light of variance ``L**2``: a pixel ten times
    brighter than the noise keeps 99 % of its difference from the templates, one at a tenth of the
    noise 1 %.

    Parameters
    ----------
    scene : Scene
    templates : list of ndarray, shape (n_bands, stamp height, stamp width)

    Returns
    -------
    shares : list of ndarray, shape (n_bands, stamp height, stamp width)
        Of each source in the light of its stamp; 0 where there are no data, and where the templates
        together are below 0.1 RMS.
    light : ndarray, shape (n_bands, height, width)
        Light that all sources have together.

    References
    ----------
    .. [1] Wiener, N. 1949, Extrapolation, Interpolation, and Smoothing of Stationary Time Series,
       MIT Press.
    """
    total = np.zeros(scene.image.shape)
    windows = [(slice(None), slice(y0, y1), slice(x0, x1)) for y0, x0, y1, x1 in scene.boxes]
    for window, template in zip(windows, templates, strict=True):
        total[window] += template
    power = (total / scene.noise) ** 2
    light = total + power / (power + 1) * (scene.image - total)
    is_bright = scene.has_data & (power.sum(axis=0) >= _FAINTEST**2)
    divisor = np.where(is_bright, total, np.inf)
    shares = [
        template / divisor[window] for window, template in zip(windows, templates, strict=True)
    ]
    return shares, light


class _Canvas:
    """Collects the parts of one image."""

    def __init__(self, image, no_data, n):
        self.residual = np.where(no_data, np.nan, image).astype(np.float32)
        self.boxes, self.parts, self.places = [], [], []
        self.fluxes, self.errors, self.blendedness = [], [], []
        self.reserve(n)

    def reserve(self, n):
        """Make room for `n` more sources; return their indices."""
        first = len(self.parts)
        zero = np.zeros(len(self.residual))
        for _ in range(n):
            self.boxes.append((0, 0, 0, 0))
            self.parts.append(None)
            self.places.append(None)
            self.fluxes.append(zero)
            self.errors.append(zero)
            self.blendedness.append(zero)
        return range(first, first + n)

    def add(self, index, box, share, light, noise):
        y0, x0, y1, x1 = box
        light = share * light
        part = light.astype(np.float32)
        self.boxes[index], self.parts[index] = box, part
        self.residual[:, y0:y1, x0:x1] -= part
        own, everything = (share * light).sum(axis=(1, 2)), light.sum(axis=(1, 2))
        self.fluxes[index] = everything
        self.errors[index] = np.sqrt(((share * noise) ** 2).sum(axis=(1, 2)))
        np.divide(own, everything, out=own, where=everything > 0)
        self.blendedness[index] = np.where(everything > 0, 1 - own, np.nan)

    def masks(self, indices, noise):
        """Masks of sources without masks: pixels where their light exceeds 1 RMS."""
        boxes = np.array([self.boxes[index] for index in indices])
        parts = [self.parts[index].mean(axis=0, dtype=np.float64) for index in indices]
        places = [self.places[index] for index in indices]
        return masks_of_parts(boxes, parts, places, noise, self.residual.shape[1:])

    def result(self, instances, *, has_bands):
        n_bands = len(self.residual)
        bands = slice(None) if has_bands else 0

        def column(values):
            return np.array(values, dtype=np.float64).reshape(-1, n_bands)[:, bands]

        return Separated(
            sources=instances,
            boxes=np.array(self.boxes, dtype=np.int64).reshape(-1, 4),
            parts=[part[bands] for part in self.parts],
            residual=self.residual[bands],
            fluxes=column(self.fluxes),
            flux_errors=column(self.errors),
            blendedness=column(self.blendedness),
        )


def _check_rms(rms, images):
    maps = list(rms)
    if len(maps) != len(images):
        raise ValueError(
            f"X holds {len(images)} images, but rms holds {len(maps)}: give one per image."
        )
    checked = []
    for index, (entry, image) in enumerate(zip(maps, images, strict=True)):
        noise = as_float_image(np.asanyarray(entry), f"rms[{index}]")
        check_same_shape(noise.shape[-2:], image.shape[1:], f"rms[{index}]", f"X[{index}]")
        if noise.ndim == 3 and len(noise) not in (1, len(image)):
            raise ValueError(
                f"rms[{index}] has {len(noise)} bands, but X[{index}] has {len(image)}: give one "
                "map for all "
                "bands, or one for each."
            )
        if not (noise > 0).any():
            raise ValueError(
                f"rms[{index}] has no positive value, so it says nothing about the noise: check "
                "the file, or "
                "leave rms out to estimate the noise from the image."
            )
        checked.append(np.broadcast_to(noise, image.shape))
    return checked


def _check_sources(entry, image, name):
    """`Instances` of a label map or of `Instances`; the positions of a table."""
    if hasattr(entry, "colnames"):
        return check_positions(entry, image.shape[1:], name)
    instances = (
        entry
        if isinstance(entry, Instances)
        else Instances.from_label_map(as_label_map(entry, name))
    )
    check_same_shape(instances.shape, image.shape[1:], name, f"X{name.removeprefix('sources')}")
    return instances


def _estimate_noise(image, entry):
    """One RMS a band, from the pixels outside all masks (all pixels where those are too few)."""
    sky = ~np.isnan(image).any(axis=0)
    if isinstance(entry, Instances):
        outside = sky & ~entry.to_mask()
        sky = outside if outside.sum() >= min(100, sky.sum()) else sky
    noise = np.ones(image.shape)
    for band, level in zip(image, noise, strict=True):
        values = band[sky]
        if values.size:
            spread = _NORMAL * np.median(np.abs(values - np.median(values)))
            level[:] = spread if spread > 0 else values.std() or 1.0
    return noise


def _detection_image(image, noise):
    weight = 1 / noise.astype(np.float64) ** 2
    total = weight.sum(axis=0)
    return (image * weight).sum(axis=0) / total, 1 / np.sqrt(total)


def _cut_scene(image, noise, detection, detection_noise, no_data, blend):
    cut = (slice(None), *blend.window)
    has_data = blend.region & ~no_data[blend.window]
    return Scene(
        image=np.where(has_data, image[cut], 0.0).astype(np.float64),
        noise=noise[cut].astype(np.float64),
        detection=np.where(has_data, detection[blend.window], 0.0),
        detection_noise=detection_noise[blend.window],
        has_data=has_data,
        centres=np.empty((0, 2)),
        boxes=np.empty((0, 4), dtype=np.int64),
    )


def _room(centres, scene, corner):
    """Most pixels that a source may reach, shape (n,).

    A companion reaches no farther than the centre of the nearest source with a peak four times as
    high: beyond, it would take the asymmetries of the brighter source for its own light.
    """
    rows, columns = np.rint(centres - np.array(corner)).astype(int).T
    peaks = smooth_light(scene.detection)[rows, columns]
    distance = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    distance[peaks[None, :] < _MUCH_BRIGHTER * peaks[:, None]] = np.inf
    return np.maximum(distance.min(axis=1), _LEAST_ROOM)


def _order(centres, smooth):
    """Order of the sources of a blend by the brightness at their centres."""
    rows, columns = np.rint(centres).astype(int).T
    return np.lexsort((centres[:, 1], centres[:, 0], -smooth[rows, columns]))


def _reaches(instances, members, centres, growth):
    """Pixels from each centre to the edge of its stamp, beyond the farthest corner of its mask."""
    boxes = instances.boxes[members]
    farthest = np.maximum(np.abs(boxes[:, :2] - centres), np.abs(boxes[:, 2:] - 1 - centres)).max(
        axis=1
    )
    return farthest * (1 + growth) + 3
