"""Weigh sources that lie inside a surer source: second masks of a galaxy, or its companions.

The core or the rim of a galaxy, or the gap between two galaxies, can pass for one more source. A
companion has a peak of light of its own. Small and round companions that are much brighter than
their surroundings are rarely knots or pieces of arms.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from ..metrics._matching import find_overlaps

__all__ = ["find_peaks", "weigh_nested"]

_INSIDE = 0.6  # share of its pixels from which on a source lies inside another
_SIGMA = 1.0  # pixels of the Gaussian kernel that finds peaks
_SURROUND = 3.0  # pixels of the wider one that a peak is compared with
_LEAST_PEAK, _LEAST_CONTRAST = 2.5, 1.0  # in units of the noise of the smoothed image
_SURE = 0.5  # score of a companion that may get its host's score
_SMALL = 0.03  # of the pixels of its host
_BRIGHT = 4.0  # its peak over the median light around it
_ROUND = 0.7  # its pixels over those of the circle around its peak that holds them all
_RIM = 1, 3  # pixels between a companion and the ring around it, and to the end of this ring
_LEAST_LIGHT = 0.3  # of the ring, in units of the noise of a pixel


def weigh_nested(instances, scaled_image, factor):
    """Change the scores of sources inside surer ones.

    Parameters
    ----------
    instances : Instances
        In order of falling score. The surest sources get a peak first.
    scaled_image : ndarray of float, shape (n_bands, height, width)
        What the net sees: the arcsinh of the light in units of the noise; NaN is "no data".
    factor : float
        Of the scores of sources without a peak of their own. Companions that stand out get the
        score of their host; the order among equal scores puts them on top of it.

    Returns
    -------
    Instances
        In order of falling score.
    """
    host, source = _pairs(instances)
    if not len(source):
        return instances
    light = np.sinh(np.nan_to_num(scaled_image).astype(np.float64)).mean(axis=0)
    smooth = ndimage.gaussian_filter(light, _SIGMA)
    has_peak = _own_peaks(instances, find_peaks(light, smooth))
    areas, before, scores = instances.areas, instances.scores, instances.scores.copy()
    nested = np.unique(source)
    scores[nested[~has_peak[nested]]] *= factor
    small = has_peak[source] & (before[source] >= _SURE) & (areas[source] < _SMALL * areas[host])
    for index in np.unique(source[small]).tolist():
        if _stands_out(light, smooth, instances.boxes[index], instances.crops[index]):
            scores[index] = before[host[small & (source == index)]].max()
    return replace(instances, scores=scores).select(np.argsort(-scores, kind="stable"))


def _pairs(instances):
    """Return the indices of surer sources and of sources inside them, pair by pair."""
    overlaps, areas = find_overlaps([instances], [instances]), instances.areas
    host, source, iou = overlaps.i, overlaps.j, overlaps.iou
    # whole pixels again: a share of exactly `_INSIDE` must not fail by rounding
    shared = np.rint(iou / (1 + iou) * (areas[host] + areas[source]))
    is_nested = (host < source) & (shared >= _INSIDE * areas[source])
    return host[is_nested], source[is_nested]


def find_peaks(light, smooth):
    """Return the places of the peaks of the light, int64 of shape (n, 2).

    Parameters
    ----------
    light : ndarray of float64, shape (height, width)
        In units of the noise.
    smooth : ndarray of float64, shape (height, width)
        The same after a Gaussian of `_SIGMA` pixels.
    """
    unit = np.sqrt(4 * np.pi) * _SIGMA  # noise of one pixel becomes noise of 1
    is_peak = (smooth == ndimage.maximum_filter(smooth, 3)) & (unit * smooth > _LEAST_PEAK)
    around = ndimage.gaussian_filter(light, _SURROUND)
    return np.argwhere(is_peak & (unit * (smooth - around) > _LEAST_CONTRAST))


def _stands_out(light, smooth, box, crop):
    """Say whether a source is round, and much brighter than what surrounds it."""
    far = _RIM[1] + 1
    y0, x0 = np.maximum(box[:2] - far, 0)
    window = slice(y0, box[2] + far), slice(x0, box[3] + far)
    mask = np.zeros(light[window].shape, dtype=bool)
    mask[box[0] - y0 : box[2] - y0, box[1] - x0 : box[3] - x0] = crop
    near, wide = (ndimage.binary_dilation(mask, iterations=rim) for rim in _RIM)
    ring = light[window][wide & ~near]
    around = max(np.median(ring), _LEAST_LIGHT) if len(ring) else _LEAST_LIGHT
    own = np.where(mask, smooth[window], -np.inf)
    peak = np.unravel_index(own.argmax(), own.shape)
    radius = max(np.hypot(*(np.argwhere(mask) - peak).T).max(), 1.0)
    is_round = np.count_nonzero(crop) >= _ROUND * np.pi * radius**2
    return bool(is_round and own[peak] >= _BRIGHT * around)


def _own_peaks(instances, peaks):
    """Say which sources have a peak of their own, if the surest sources choose first.

    A source gives its peak away if it has another one, so that no galaxy takes the only peak of a
    source on it (Kuhn's matching).
    """
    numbers = np.full(instances.shape, -1, dtype=np.int64)
    numbers[tuple(peaks.T)] = np.arange(len(peaks))
    choices, owner = [], {}
    for (y0, x0, y1, x1), crop in zip(instances.boxes.tolist(), instances.crops, strict=True):
        own = numbers[y0:y1, x0:x1][crop]
        choices.append(own[own >= 0].tolist())
    return np.array([_match(index, choices, owner) for index in range(len(choices))], dtype=bool)


def _match(index, choices, owner):
    """Give a source a peak, moving others to their other peaks if needed; say if that worked."""
    path, seen = [(index, iter(choices[index]))], set()
    taken = []  # the peak that each source of the path wants
    while path:
        options = path[-1][1]
        peak = next((option for option in options if option not in seen), None)
        if peak is None:
            path.pop()
            if taken:
                taken.pop()
            continue
        seen.add(peak)
        taken.append(peak)
        if peak not in owner:
            for (moved, _), wanted in zip(path, taken, strict=True):
                owner[wanted] = moved
            return True
        path.append((owner[peak], iter(choices[owner[peak]])))
    return False
