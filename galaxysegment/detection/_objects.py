"""Boxes of a background mesh that a large object fills, so that it is not taken for sky."""

import numpy as np
from scipy import ndimage

from ._background import fit_plane

_WINDOW = 17  # boxes of the side of the window that the level of the sky is a median of
_ROUNDS = 20
_PEAK = 0.5  # noise of a pixel: the brightest box of an object lies so high above the sky
_WING = 2.5  # scatter of the boxes of the sky: the faintest box of an object
_LEAST_WING = 0.05  # noise of a pixel
_PEAKED = 0.6  # of its peak is the most that the mean of an object can reach: a plateau has more
_SMALL = 4  # boxes of a group too small to have a peak and wings
_LONGEST = 5.0  # ratio of the axes of an object: the side of a seam is longer
_MOST = 0.8  # of the boxes can belong to objects


def boxes_of_objects(level, noise, used, *, peak=_PEAK, holes=False):
    """Find the boxes of a background mesh that a large object fills.

    An object is a group of boxes that rises above the sky to a peak: a galaxy or a star wider than
    the boxes, but no plateau. The sky is a plane, or the median of 17 × 17 boxes on a larger mesh,
    of the boxes without objects. It takes a few rounds, because the first sky still holds them.

    Parameters
    ----------
    level, noise : ndarray of shape (n_boxes_y, n_boxes_x)
        Background and noise of each box.
    used : ndarray of bool, the same shape
        Boxes that count.
    peak : float, default=0.5
        How far the brightest box of an object lies above the sky, in units of the noise of a pixel.
    holes : bool, default=False
        Whether holes in the sky count as objects, too: what a pipeline leaves that took the wings
        of a large galaxy for sky.

    Returns
    -------
    ndarray of bool, the same shape
    """
    objects = np.zeros(used.shape, dtype=bool)
    if np.count_nonzero(used) < 4:
        return objects
    seen, rounds = [objects], {objects.tobytes(): 0}
    while len(seen) <= _ROUNDS:
        sky = used & ~seen[-1]
        objects = _groups(level, noise, used, sky, peak)
        if holes:
            objects |= _groups(-level, noise, used, sky, peak)
        if np.count_nonzero(objects) > _MOST * np.count_nonzero(used):
            return seen[-1]
        first = rounds.setdefault(objects.tobytes(), len(seen))
        if first < len(seen):  # what follows is known: the rounds since then, again and again
            return seen[first + (_ROUNDS - first) % (len(seen) - first)]
        seen.append(objects)
    return objects


def _groups(level, noise, used, sky, least):
    """Groups of boxes above the level that the boxes `sky` give, with peaks above `least`."""
    above = np.where(used, level - _sky_level(level, sky), 0.0)
    depth = float(np.median(noise[sky]))
    below = above[sky & (above < 0)]  # without the wings
    scatter = 1.4826 * float(np.median(-below)) if below.size else 0.0
    wing = max(_WING * scatter, _LEAST_WING * depth)
    if above.max() <= max(least * depth, wing):
        return np.zeros(used.shape, dtype=bool)
    groups, n_groups = ndimage.label(above > wing, np.ones((3, 3)))
    places = np.nonzero(groups)
    owner, heights = groups[places] - 1, above[places]
    size, peak = np.bincount(owner), np.zeros(n_groups)
    np.maximum.at(peak, owner, heights)  # positive
    mean = np.bincount(owner, heights) / size
    is_peaked = (mean < _PEAKED * peak) | (size < _SMALL)
    is_compact = _elongation(owner, size, places) < _LONGEST
    is_object = (peak > max(least * depth, wing)) & is_peaked & is_compact
    return np.concatenate([[False], is_object])[groups]


def _elongation(owner, size, places):
    """Ratio of the axes of each group, from the second moments of the places of its boxes."""
    places = [place.astype(float) for place in places]
    middles = [np.bincount(owner, place) / size for place in places]
    y, x = (place - middle[owner] for place, middle in zip(places, middles, strict=True))
    # A box is not a point.
    yy, xx, xy = (
        np.bincount(owner, product) / size + extent
        for product, extent in ((y * y, 1 / 12), (x * x, 1 / 12), (x * y, 0))
    )
    half, root = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    return np.sqrt((half + root) / (half - root))


def _sky_level(level, sky):
    """Level of the sky in each box: a plane, and on a large mesh a map of medians on top."""
    rows, columns = (np.arange(n, dtype=float) for n in level.shape)
    plane = fit_plane(level, sky, rows[:, None], columns).at(rows[:, None], columns)
    rest = np.where(sky, level - plane, np.nan)
    if max(level.shape) <= _WINDOW:
        return plane + np.nanmedian(rest)
    nodes = [_nodes(n) for n in level.shape]
    medians = _window_medians(rest, *nodes)
    for axis, places in enumerate((rows, columns)):
        medians = _interpolated(medians, nodes[axis], places, axis)
    return plane + medians


def _nodes(n_boxes):
    """Boxes that the window is put around: every eighth, and the last."""
    return np.unique(np.append(np.arange(0, n_boxes, _WINDOW // 2), n_boxes - 1))


def _window_medians(values, rows, columns):
    """Median of the window around each node; that of the nearest node if it has no box."""
    reach = _WINDOW // 2
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_WINDOW, _WINDOW))
    around = np.sort(windows[np.ix_(rows, columns)].reshape(len(rows), len(columns), -1), axis=-1)
    count = np.count_nonzero(~np.isnan(around), axis=-1)
    middle = np.take_along_axis(around, np.maximum(count - 1, 0)[..., None] // 2, axis=-1)[..., 0]
    if (count == 0).any():
        nearest = ndimage.distance_transform_edt(
            count == 0, return_distances=False, return_indices=True
        )
        middle = middle[tuple(nearest)]
    return middle


def _interpolated(values, nodes, places, axis):
    """Values at places between nodes along an axis, by straight lines."""
    if len(nodes) == 1:
        return np.repeat(values, len(places), axis=axis)
    left = np.clip(np.searchsorted(nodes, places, side="right") - 1, 0, len(nodes) - 2)
    share = (places - nodes[left]) / (nodes[left + 1] - nodes[left])
    share = share[:, None] if axis == 0 else share
    near, far = (np.take(values, index, axis=axis) for index in (left, left + 1))
    return near + share * (far - near)
