"""From an image and its sources to parts: blends, their scenes, and the shares of a separator.

What happens to a blend depends on the pixels and sources around it alone, so that a window of a
mosaic gives the same parts as the whole image.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..detection._statistics import sample_step
from ..exceptions import UnsubtractedSkyWarning
from ..structures import GALAXY, Instances
from ._blends import find_blends, find_centres, find_peaks, smooth_light, stamp_boxes
from ._canvas import Canvas
from ._positions import masks_at
from ._scene import cut_scene, order_by_light, reaches_of, room_for

_NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
#: RMS that the templates of a pixel must reach together: what is fainter stays in the residual.
_FAINTEST = 0.1
_FREEDOM = 1.0  # pixels that the symmetry of light may move the centre of a mask by
_LEAST_SKY = 100  # pixels outside all sources that tell the noise


@dataclass(frozen=True)
class Exposure:
    """An image, or a window of it, and what is derived from its pixels.

    Attributes
    ----------
    image, noise : ndarray of float, shape (n_bands, height, width)
        Light, NaN where there are no data, and RMS, 1 where there are none.
    no_data : ndarray of bool, shape (height, width)
        Pixels without data in any band.
    detection, detection_noise, smooth : ndarray of float64, shape (height, width)
        Mean of the bands weighted by their inverse variance, its RMS, and the mean smoothed.
    """

    image: NDArray
    noise: NDArray
    no_data: NDArray[np.bool_]
    detection: NDArray[np.float64]
    detection_noise: NDArray[np.float64]
    smooth: NDArray[np.float64]

    @classmethod
    def of(cls, image, noise):
        """Make an exposure of an image and its RMS map, which may be NaN or 0 without data."""
        no_data = np.isnan(image).any(axis=0) | ~(noise > 0).all(axis=0)
        noise = np.where(no_data, 1.0, noise)
        weight = 1 / noise.astype(np.float64) ** 2
        total = weight.sum(axis=0)
        detection = (np.where(no_data, 0.0, image) * weight).sum(axis=0) / total
        return cls(image, noise, no_data, detection, 1 / np.sqrt(total), smooth_light(detection))


def separate_image(separator, image, noise, entry):
    """Divide the light of a whole image.

    Parameters
    ----------
    separator : BaseSeparator
    image : ndarray of float, shape (n_bands, height, width)
    noise : ndarray of float, shape (n_bands, height, width), or None
        RMS map; None estimates it.
    entry : Instances or ndarray of float, shape (n, 2)
        The sources, or their ``y, x``.

    Returns
    -------
    canvas : Canvas
    instances : Instances
        The sources given, and after them those that the separator added.
    """
    masks = entry if isinstance(entry, Instances) else None
    values, outside = sample_sky(image, masks, (0, 0), image.shape[1:], noise)
    if noise is None:
        noise = noise_levels(values, outside)[:, None, None]
        noise = np.broadcast_to(noise, image.shape)
    exposure = Exposure.of(image, noise)
    places = None if isinstance(entry, Instances) else entry
    instances = entry
    if places is not None:
        instances = masks_at(places, exposure.smooth, exposure.detection_noise)
        values, outside = sample_sky(image, instances, (0, 0), image.shape[1:], noise)
    _check_sky(values, outside, noise)
    canvas, _ = divide(separator, exposure, instances, places)
    from_light = places is not None or separator.masks == "light"
    return canvas, all_masks(canvas, instances, from_light=from_light)


def _check_sky(values, outside, noise):
    """Warn if the sky outside the sources is more than 1 RMS from zero."""
    spreads = [np.median(rms[rms > 0]) for rms in noise]
    warn_of_sky(values[:, outside], spreads, stacklevel=5)


def warn_of_sky(sky, spreads, stacklevel):
    """Warn if a band of pixels outside all sources, (n_bands, n), is over 1 RMS from zero."""
    if sky.shape[1] < _LEAST_SKY:
        return
    for band, (values, spread) in enumerate(zip(sky, spreads, strict=True)):
        level = np.median(values)
        if abs(level) > spread:
            warnings.warn(
                f"The sky of band {band} is at {level:.4g}, {abs(level) / spread:.1f} times the "
                "noise from zero, and would be divided among the sources: subtract it first, for "
                "example with BackgroundSubtractor.",
                UnsubtractedSkyWarning,
                stacklevel=stacklevel + 1,
            )


def divide(separator, exposure, instances, places=None, wanted=None):
    """Divide the light of the blends of an exposure.

    Parameters
    ----------
    separator : BaseSeparator
    exposure : Exposure
    instances : Instances
    places : ndarray of float, shape (n, 2), optional
        ``y, x`` of the sources; otherwise peaks of light in their masks.
    wanted : ndarray of bool, shape (n,), optional
        Only blends with such a source are divided.

    Returns
    -------
    canvas : Canvas
    blends : list of ndarray of int
        Members of each blend; ``canvas.blends`` counts in them.
    """
    canvas = Canvas(exposure, len(instances))
    is_peak = find_peaks(exposure.smooth) if places is None else None
    blends = []
    for blend in find_blends(instances, separator.growth):
        if wanted is not None and not wanted[blend.members].any():
            continue
        corner = np.array([side.start for side in blend.window])
        if places is None:
            centres = find_centres(instances, exposure.smooth, is_peak, blend.members, corner)
        else:
            centres = places[blend.members] - corner
        # The brightest first, whatever the order of the sources, because templates are fitted in
        # turn.
        order = order_by_light(centres, exposure.smooth[blend.window])
        for member in blend.members.tolist():
            canvas.blends[member] = len(blends)
        sorted_blend = replace(blend, members=blend.members[order])
        scene = cut_scene(exposure, blend)
        freedom = np.full(len(order), _FREEDOM if places is None else 0.0)
        scene = replace(scene, centres=centres[order], freedom=freedom)
        _add_blend(separator, canvas, scene, sorted_blend, instances)
        blends.append(blend.members)
    return canvas, blends


def _add_blend(separator, canvas, scene, blend, instances):
    """Divide the light of a scene whose sources have centres, but no boxes yet."""
    top, left = (side.start for side in blend.window)
    sources = instances[blend.members]
    masks = sources.boxes - np.array([top, left] * 2)
    reaches = reaches_of(masks, scene.centres, separator.growth)
    reaches = np.minimum(reaches, room_for(scene.centres, sources.areas, scene))
    boxes = stamp_boxes(scene.centres, reaches, scene.has_data.shape)
    scene = separator._complete(replace(scene, boxes=boxes))
    n_added = len(scene.centres) - len(blend.members)
    members = [*blend.members, *canvas.reserve(n_added, canvas.blends[blend.members[0]])]
    places = scene.centres + np.array([top, left])
    shares, light = divide_light(scene, separator._templates(scene))
    for member, place, (y0, x0, y1, x1), share in zip(
        members, places, scene.boxes, shares, strict=True
    ):
        cut = (slice(None), slice(y0, y1), slice(x0, x1))
        box = (top + y0, left + x0, top + y1, left + x1)
        canvas.add(member, place, box, share, light[cut], scene.noise[cut])


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


def all_masks(canvas, instances, *, from_light):
    """Return the sources given and those added, whose masks come from the parts.

    With `from_light`, all masks do, and scores are the signal to noise of the separated light.
    """
    n_given = len(instances)
    if from_light and n_given:
        instances = replace(canvas.masks(range(n_given)), classes=instances.classes)
    if len(canvas) > n_given:
        added = canvas.masks(range(n_given, len(canvas)))
        if instances.classes is not None:
            added = replace(added, classes=np.full(len(added), GALAXY))
        instances = Instances.concatenate([instances, added])
    return replace(instances, scores=canvas.signal_to_noise()) if from_light else instances


def sample_sky(image, masks, corner, shape, noise=None):
    """Take the pixels that tell the noise of an image: about 4 million of a large image.

    Parameters
    ----------
    image : ndarray of float, shape (n_bands, height, width)
        A window.
    masks : Instances or None
        Sources of the window.
    corner : tuple of int
        ``y, x`` of the first pixel of the window.
    shape : tuple of int
        ``(height, width)`` of the whole image.
    noise : ndarray of float, shape (n_bands, height, width), optional
        RMS; pixels where it is not positive have no data.

    Returns
    -------
    values : ndarray of float, shape (n_bands, n)
        Pixels with data.
    outside : ndarray of bool, shape (n,)
        Whether no source covers them.
    """
    grid = sample_grid(corner, shape)
    image = image[:, *grid]
    has_data = ~np.isnan(image).any(axis=0)
    if noise is not None:
        has_data &= (noise[:, *grid] > 0).all(axis=0)
    covered = np.zeros_like(has_data) if masks is None else masks.to_mask()[grid]
    return image[:, has_data], ~covered[has_data]


def sample_grid(corner, shape):
    """Slices of a window whose pixels are in the sample of `sample_sky`."""
    step = sample_step(shape)
    return tuple(slice(-start % step, None, step) for start in corner)


def noise_levels(values, outside):
    """RMS of each band, from the pixels outside all masks (all pixels where those are too few).

    Parameters are what `sample_sky` returns.
    """
    if outside.sum() >= min(_LEAST_SKY, len(outside)):
        values = values[:, outside]
    levels = np.ones(len(values))
    if values.shape[1]:
        for band, sky in enumerate(values):
            spread = _NORMAL * np.median(np.abs(sky - np.median(sky)))
            levels[band] = spread if spread > 0 else sky.std() or 1.0
    return levels
