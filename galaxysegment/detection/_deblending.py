"""Split blended sources by multi-threshold deblending, as photutils and SExtractor do."""

import numpy as np
from scipy import ndimage

_MOST_MARKERS = 200  # as photutils: more are noise, and slow to flood
_CUBE = 1 << 18  # pixels of a stack of levels
_NEIGHBOURS = {
    4: ((-1, 0), (0, -1), (0, 1), (1, 0)),
    8: ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
}


def deblend(labels, image, n_pixels, *, n_levels=32, contrast=0.001, connectivity=8):
    """Split the blended sources of a label map.

    The result is that of `photutils.segmentation.deblend_sources`, numbering included, in a
    fraction of the time: sources in which the image has no second peak cannot split and are passed
    over, and the levels of the others are labelled all at once.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
        Label map with consecutive labels.
    image : ndarray of shape (height, width)
        What to look for saddles in: the smoothed image or a probability map. NaN counts as its
        minimum.
    n_pixels : int
        Smallest number of pixels of a part.
    n_levels : int, default=32
        Number of thresholds between a source's minimum and maximum.
    contrast : float, default=0.001
        Smallest fraction of the source's flux that a part must have.
    connectivity : {4, 8}, default=8
        Whether pixels that touch at a corner belong together; as when the sources were found.

    Returns
    -------
    ndarray of int32, shape (height, width)
        Consecutive labels: the sources that stay whole in their order, then the parts of the
        others.
    """
    pixels = np.flatnonzero(labels)
    if not pixels.size:
        return labels
    image = image if image.dtype.kind == "f" else image.astype(np.float64)
    finite = np.isfinite(image)
    if not finite.all():
        image = np.where(finite, image, image[finite].min() if finite.any() else 0)
    owner = labels.ravel()[pixels]
    footprint = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    candidates = _splittable(labels, image, pixels, owner, n_pixels, connectivity)
    n_found = int(owner.max())
    result, whole = labels.copy(), np.ones(n_found + 1, dtype=bool)
    windows = ndimage.find_objects(labels) if candidates.size else []
    for label in candidates.tolist():
        window = windows[label - 1]
        own = labels[window] == label
        parts = _split(image[window], own, n_pixels, n_levels, contrast, footprint)
        if parts is not None:
            result[window][own] = parts[own] + n_found
            n_found += int(parts.max())
            whole[label] = False
    return result if whole.all() else _close_gaps(result, pixels, whole, n_found)


def _splittable(labels, image, pixels, owner, n_pixels, connectivity):
    """Labels that are large enough for two parts and have more than one local maximum.

    Whatever the threshold, each part of a source above it holds a local maximum of the source:
    where there is but one, no threshold makes two parts.
    """
    large = np.bincount(owner) >= 2 * n_pixels
    keep = large[owner]
    pixels, owner = pixels[keep], owner[keep]
    height, width = labels.shape
    y, x = np.divmod(pixels, width)
    labels, image = labels.ravel(), image.ravel()
    value = image[pixels]
    is_peak = np.ones(pixels.size, dtype=bool)
    for dy, dx in _NEIGHBOURS[connectivity]:
        inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        neighbour = np.where(inside, pixels + (dy * width + dx), pixels)
        is_peak &= (image[neighbour] <= value) | (labels[neighbour] != owner)
    return np.flatnonzero(np.bincount(owner[is_peak]) > 1)


def _split(image, own, n_pixels, n_levels, contrast, footprint):
    """Parts 1…n of the one source where `own` is true, or None if it stays whole."""
    values = image[own]
    if values.min() == values.max():
        return None
    for exponential in (True, False):
        markers = _markers(
            image, own, _thresholds(values, n_levels, exponential), n_pixels, footprint
        )
        if markers is None:
            return None
        if markers.max() <= _MOST_MARKERS:  # else again with linear levels: fewer at the faint end
            break
    parts = _watershed(image, own, markers, values.sum(), contrast, footprint)
    kept = np.unique(parts[own])
    return None if len(kept) == 1 else np.searchsorted(np.append(0, kept), parts)


def _thresholds(values, n_levels, exponential):
    """Levels from the faintest to the brightest pixel; exponential if the minimum is positive."""
    low, high = values.min(), values.max()
    linear = np.linspace(low, high, n_levels + 2)
    if not exponential or low <= 0:
        return linear[1:-1]
    return (low * (high / low) ** ((linear - low) / (high - low)))[1:-1]


def _markers(image, own, thresholds, n_pixels, footprint):
    """Number the parts that a rising threshold separates; None where it never separates any.

    A part is replaced by those that it falls into, if these are two or more of at least `n_pixels`.
    """
    markers = None
    for parts, count in _levels(image, own, thresholds, n_pixels, footprint):
        if markers is None:
            markers = parts
            continue
        parents = markers.ravel()[_first_pixels(parts, count)]
        split = np.flatnonzero(np.bincount(parents[parents > 0]) > 1)
        if split.size:
            inside = np.isin(markers, split)
            markers, _ = ndimage.label(np.where(inside, parts, markers), footprint)
    return markers


def _levels(image, own, thresholds, n_pixels, footprint):
    """Yield the numbered parts above each threshold, and their number, where there are several.

    Many levels are labelled at once, as planes of a cube that do not touch.
    """
    planes = np.zeros((3, 3, 3), dtype=int)
    planes[1] = footprint
    step = max(1, _CUBE // image.size)
    for first in range(0, len(thresholds), step):
        levels = thresholds[first : first + step, None, None]
        cube, n_parts = ndimage.label((image > levels) & own, planes)
        flat = cube.ravel()
        pixels = np.flatnonzero(flat)
        large = np.bincount(flat[pixels], minlength=n_parts + 1) >= n_pixels
        level = np.zeros(n_parts + 1, dtype=np.int64)
        level[flat[pixels]] = pixels // image.size
        counts = np.bincount(level[1:][large[1:]], minlength=len(cube))
        for index in np.flatnonzero(counts > 1):
            here = large & (level == index)
            here[0] = False
            yield np.where(here, np.cumsum(here), 0)[cube[index]], counts[index]


def _first_pixels(parts, count):
    """Flat index of a pixel of each of the parts 1…count."""
    pixels = np.flatnonzero(parts)
    some = np.empty(count + 1, dtype=np.int64)
    some[parts.ravel()[pixels]] = pixels
    return some[1:]


def _watershed(image, own, markers, total, contrast, footprint):
    """Flood the source from its markers; drop the faintest part while it is below `contrast`."""
    from skimage.segmentation import watershed

    while True:
        markers = watershed(-image, markers, mask=own, connectivity=footprint)
        kept = np.unique(markers[own])
        if len(kept) == 1:
            return markers
        with np.errstate(
            divide="ignore", invalid="ignore"
        ):  # a total of zero: nothing is too little
            share = ndimage.sum_labels(image, markers, index=kept) / total
        if not (share < contrast).any():
            return markers
        markers[markers == kept[np.argmin(share)]] = 0


def _close_gaps(labels, pixels, whole, n_found):
    """Renumber 1…n once the sources that are not `whole` have given way to their parts."""
    stays = np.concatenate([whole, np.ones(n_found + 1 - len(whole), dtype=bool)])
    stays[0] = False
    labels.ravel()[pixels] = np.cumsum(stays, dtype=np.int32)[labels.ravel()[pixels]]
    return labels
