"""Large sources of an instance segmenter, whole: connected pixels in place of the net's pieces.

A net whose boxes end at a hundred pixels cuts larger galaxies. They are connected pixels above the
noise, and the boosted trees of ``deblend="galaxy"`` say which of their peaks are sources of their
own.
"""

import numpy as np
from scipy import ndimage

from ..detection._galaxies import deblend_galaxies
from ..structures import Instances

__all__ = ["keep_whole"]

_SMOOTHING = 3 / 2.3548  # a FWHM of 3 pixels
_N_SIGMA = 1.0
_ACROSS, _AREA = 80, 700  # pixels of a large source, at least
_FILLED = 0.75  # share of its pixels in an ellipse of its moments: chains of sources fill less
_INSIDE = 0.5  # share of the light of a source from which on it lies in a large one
_FAINT = 0.05  # of the light of a large source: fainter ones in it may be stars or companions
_SMALL = 0.07  # of the pixels of a large source: more of them with little light are a faint arm
_WHOLE = 0.8  # of the pixels of a large source: a mask with so many shows all of it
_LEAST_PARTS = 10  # pixels
_OUTLINE = 5  # pixels, the side of the square whose majority says where the outline runs


def keep_whole(sources, scaled_image, least_score=0.0):
    """Put large sources in place of the pieces that lie in them.

    Sources with less than 5 % of the light and 7 % of the pixels of a large source stay, and take
    their pixels from it. A single source that shows all of it stays, too.

    Parameters
    ----------
    sources : Instances
        The class of each is the index of its box.
    scaled_image : ndarray of float, shape (n_bands, height, width)
        What the net sees: the arcsinh of the light in units of the noise; NaN is "no data".
    least_score : float
        Sources with lower scores stay as they are and change nothing.

    Returns
    -------
    Instances
        Large sources come last, with the class and the score of the surest of their pieces. Those
        in which the net sees nothing are left out.
    """
    light = np.sinh(np.nan_to_num(scaled_image.astype(np.float64))).mean(axis=0)
    labels, is_large = _large_labels(light)
    if not is_large.any():
        return sources
    owner, is_piece = _owners(sources, labels, is_large, np.maximum(light, 0))
    owner[sources.scores < least_score] = 0
    is_piece &= owner > 0
    if not is_piece.any():
        return sources
    free = ~sources.select((owner > 0) & ~is_piece).to_mask()
    boxes, crops, members, stay = [], [], [], ~is_piece
    for label in np.unique(owner[is_piece]).tolist():
        own = np.flatnonzero(is_piece & (owner == label))
        if len(own) == 1 and _shows_all(sources, own[0], labels, label):
            stay[own] = True
            continue
        box, crop = _draw(labels, label, free)
        if crop.any():
            boxes.append(box)
            crops.append(crop)
            members.append(own[sources.scores[own].argmax()])
    kept = sources if stay.all() else sources.select(stay)
    if not boxes:
        return kept
    scores, classes = sources.scores[members], sources.classes[members]
    return Instances.concatenate([kept, Instances(sources.shape, boxes, crops, scores, classes)])


def _large_labels(light):
    """Label map of connected pixels, split by the trees, and which of the labels are large."""
    light = ndimage.gaussian_filter(light, _SMOOTHING)
    labels = ndimage.label(light > _N_SIGMA, np.ones((3, 3)))[0].astype(np.int32)
    is_large = _find_large(labels)
    labels = np.where(is_large, np.cumsum(is_large), 0)[labels].astype(np.int32)
    labels = deblend_galaxies(labels, light, _LEAST_PARTS, in_place=True)
    is_large = _find_large(labels)
    boxes = ndimage.find_objects(labels)
    for label in np.flatnonzero(is_large).tolist():
        is_large[label] = _filled(labels[boxes[label - 1]] == label) >= _FILLED
    return labels, is_large


def _find_large(labels):
    """Whether each label has the pixels and the width of a large source."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return (areas >= _AREA) & (_across(labels, len(areas)) >= _ACROSS)


def _across(labels, n_labels):
    """Longest side of the box of each label."""
    sides = np.zeros(n_labels, dtype=np.int64)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        sides[label] = 0 if box is None else max(side.stop - side.start for side in box)
    return sides


def _filled(mask):
    """Area of a mask over that of the ellipse with its second moments."""
    moments = np.cov(np.nonzero(mask)) + np.eye(2) / 12  # of a pixel
    return np.count_nonzero(mask) / (4 * np.pi * np.sqrt(np.linalg.det(moments)))


def _owners(sources, labels, is_large, light):
    """Large label in which each source lies, or 0, and whether it is a piece of that source."""
    areas = np.bincount(labels.ravel())
    total = np.bincount(labels.ravel(), weights=light.ravel())
    owner = np.zeros(len(sources), dtype=np.int64)
    is_piece = np.zeros(len(sources), dtype=bool)
    pairs = zip(sources.boxes.tolist(), sources.crops, strict=True)
    for index, ((y0, x0, y1, x1), crop) in enumerate(pairs):
        own, weights = labels[y0:y1, x0:x1][crop], light[y0:y1, x0:x1][crop]
        shares = np.bincount(own, weights=weights, minlength=len(total)) * is_large
        label = int(shares.argmax())
        if shares[label] > _INSIDE * weights.sum():
            owner[index] = label
            is_bright = weights.sum() >= _FAINT * total[label]
            is_piece[index] = is_bright or len(own) >= _SMALL * areas[label]
    return owner, is_piece


def _shows_all(sources, index, labels, label):
    """Whether the mask of a source covers a label."""
    y0, x0, y1, x1 = sources.boxes[index].tolist()
    n_shared = np.count_nonzero(labels[y0:y1, x0:x1][sources.crops[index]] == label)
    return n_shared >= _WHOLE * np.count_nonzero(labels == label)


def _draw(labels, label, free):
    """Box and mask of a label without holes, its outline smooth, in free pixels of no other."""
    rows, columns = (np.flatnonzero((labels == label).any(axis=axis)) for axis in (1, 0))
    y0, x0 = max(rows[0] - _OUTLINE, 0), max(columns[0] - _OUTLINE, 0)
    window = slice(y0, rows[-1] + 1 + _OUTLINE), slice(x0, columns[-1] + 1 + _OUTLINE)
    share = ndimage.uniform_filter((labels[window] == label).astype(np.float32), _OUTLINE)
    mask = ndimage.binary_fill_holes(_largest_part(share > 0.5))
    mask &= np.isin(labels[window], (0, label)) & free[window]
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None, mask
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return (y0 + rows[0], x0 + columns[0], y0 + rows[-1] + 1, x0 + columns[-1] + 1), crop


def _largest_part(mask):
    """Leave out what a smooth outline cuts off."""
    parts, n_parts = ndimage.label(mask)
    return parts == np.bincount(parts.ravel(), minlength=2)[1:].argmax() + 1 if n_parts else mask
