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
_ACROSS, _AREA = 100, 1200  # pixels of a large source, at least
_FILLED = 0.8  # share of its pixels in an ellipse of its moments: chains of sources fill less
_INSIDE = 0.5  # share of the pixels of a source from which on it is a piece
_SMALL = 0.02  # of the pixels of a large source: smaller ones may be stars or companions
_LEAST_PARTS = 10  # pixels


def keep_whole(sources, scaled_image):
    """Put large sources in place of the pieces that lie in them.

    Sources of less than 2 % of the pixels of a large source stay, and take their pixels from it.

    Parameters
    ----------
    sources : Instances
        The class of each is the index of its box.
    scaled_image : ndarray of float, shape (n_bands, height, width)
        What the net sees: the arcsinh of the light in units of the noise; NaN is "no data".

    Returns
    -------
    Instances
        Large sources come last, with the class and the score of the surest of their pieces. Those
        in which the net sees nothing are left out.
    """
    labels, areas = _large_labels(scaled_image)
    owner = _owners(sources, labels, areas)
    small = sources.areas < _SMALL * areas[owner]
    stay, pieces = sources.select((owner == 0) | small), sources.select((owner > 0) & ~small)
    free = ~sources.select((owner > 0) & small).to_mask()
    owner = owner[(owner > 0) & ~small]
    boxes, crops, members = [], [], []
    for label in np.unique(owner).tolist():
        mask = (labels == label) & free
        if not mask.any():
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        own = np.flatnonzero(owner == label)
        boxes.append(box)
        crops.append(mask[box[0] : box[2], box[1] : box[3]])
        members.append(own[pieces.scores[own].argmax()])
    if not boxes:
        return sources
    large = Instances(sources.shape, boxes, crops, pieces.scores[members], pieces.classes[members])
    return Instances.concatenate([stay, large])


def _large_labels(scaled_image):
    """Label map of large sources, and the pixels of each label; 0 for labels that are not large."""
    light = np.sinh(np.nan_to_num(scaled_image.astype(np.float64))).mean(axis=0)
    light = ndimage.gaussian_filter(light, _SMOOTHING)
    labels = ndimage.label(light > _N_SIGMA, np.ones((3, 3)))[0].astype(np.int32)
    is_large, _ = _find_large(labels)
    labels = np.where(is_large, np.cumsum(is_large), 0)[labels].astype(np.int32)
    labels = deblend_galaxies(labels, light, _LEAST_PARTS, in_place=True)
    is_large, areas = _find_large(labels)
    for label in np.flatnonzero(is_large).tolist():
        is_large[label] = _filled(labels == label) >= _FILLED
    return labels, np.where(is_large, areas, 0)


def _find_large(labels):
    """Whether each label has the pixels and the width of a large source, and its pixels."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return (areas >= _AREA) & (_across(labels, len(areas)) >= _ACROSS), areas


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


def _owners(sources, labels, areas):
    """Return the large label in which each source lies, or 0."""
    owner = np.zeros(len(sources), dtype=np.int64)
    pairs = zip(sources.boxes.tolist(), sources.crops, strict=True)
    for index, ((y0, x0, y1, x1), crop) in enumerate(pairs):
        counts = np.bincount(labels[y0:y1, x0:x1][crop], minlength=len(areas)) * (areas > 0)
        label = int(counts.argmax())
        if counts[label] > _INSIDE * np.count_nonzero(crop):
            owner[index] = label
    return owner
