"""`Scene`: one blend, cut out of an image, with all that a separator may look at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._blends import nearest_pixels, smooth_light

_MUCH_BRIGHTER = 4.0  # ratio of the peaks
_MUCH_LARGER = 2.0  # ratio of the pixels of the masks
_LEAST_ROOM = 6.0  # pixels


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
    freedom : ndarray of float, shape (n,)
        Pixels that the light may move each centre by: 0 for a position that was given.
    """

    image: NDArray[np.float64]
    noise: NDArray[np.float64]
    detection: NDArray[np.float64]
    detection_noise: NDArray[np.float64]
    has_data: NDArray[np.bool_]
    centres: NDArray[np.float64]
    boxes: NDArray[np.int64]
    freedom: NDArray[np.float64]


def cut_scene(exposure, blend):
    """Cut the pixels of a blend out of an `Exposure`; the sources are still missing."""
    cut = (slice(None), *blend.window)
    has_data = blend.region & ~exposure.no_data[blend.window]
    return Scene(
        image=np.where(has_data, exposure.image[cut], 0.0).astype(np.float64),
        noise=exposure.noise[cut].astype(np.float64),
        detection=np.where(has_data, exposure.detection[blend.window], 0.0),
        detection_noise=exposure.detection_noise[blend.window],
        has_data=has_data,
        centres=np.empty((0, 2)),
        boxes=np.empty((0, 4), dtype=np.int64),
        freedom=np.empty(0),
    )


def room_for(centres, areas, scene):
    """Most pixels that a source may reach, shape (n,).

    A companion reaches no farther than the centre of the nearest source with a peak four times as
    high: beyond, it would take the asymmetries of the brighter source for its own light. A source
    with a much larger mask is no companion, but a galaxy behind a star.
    """
    if len(centres) == 1:
        return np.array([np.inf])
    rows, columns = nearest_pixels(centres).T
    peaks = smooth_light(scene.detection)[rows, columns]
    distance = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    is_companion = peaks[None, :] >= _MUCH_BRIGHTER * peaks[:, None]
    is_companion &= areas[:, None] < _MUCH_LARGER * areas[None, :]
    distance[~is_companion] = np.inf
    return np.maximum(distance.min(axis=1), _LEAST_ROOM)


def order_by_light(centres, smooth):
    """Order of the sources of a blend by the brightness at their centres."""
    rows, columns = nearest_pixels(centres).T
    return np.lexsort((centres[:, 1], centres[:, 0], -smooth[rows, columns]))


def reaches_of(boxes, centres, growth):
    """Pixels from each centre to the edge of its stamp, beyond the farthest corner of its mask."""
    farthest = np.maximum(np.abs(boxes[:, :2] - centres), np.abs(boxes[:, 2:] - 1 - centres)).max(
        axis=1
    )
    return farthest * (1 + growth) + 3
