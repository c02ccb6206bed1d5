"""From the boxes of Mask R-CNN to `Instances`: masks are pasted into their own boxes only."""

import numpy as np

from ...structures import Instances
from ..common._data import batches_by_shape
from ..common._memory import kept_memory
from ._data import DetectionBatch, stack_padded

__all__ = ["draw_masks", "find_boxes", "paste"]

_PARTS = ("boxes", "masks", "scores", "labels", "proba")
_BATCH_PIXELS = 1024**2  # a batch of larger images would not fit into the memory of a small machine


def find_boxes(net, images, batch_size, *, score_threshold, box_nms, soft_nms, any_class):
    """Return the sources of each scaled image, and the indices of images that may hold more.

    A dict of arrays for each image: ``boxes`` (n, 4), ``masks`` (n, size, size) of probabilities,
    ``scores``, ``labels``, the module's, 1… in the order of the declared classes, and ``proba`` of
    the background and of these. Images of one shape go together.
    """

    def prepare(module):
        heads = module.roi_heads
        heads.score_thresh, heads.nms_thresh, heads.soft_nms = score_threshold, box_nms, soft_nms
        heads.any_class = any_class

    result, saturated = [None] * len(images), []
    with kept_memory():
        predict = net.predictor(prepare)
        for chunk in batches_by_shape(images, batch_size, _BATCH_PIXELS):
            batch = DetectionBatch(*stack_padded([images[i] for i in chunk], net.module_.multiple))
            for index, sources in zip(chunk, predict(batch), strict=True):
                result[index] = {name: sources[name].cpu() for name in _PARTS}
                saturated += [index] if sources["saturated"] else []
    return result, sorted(saturated)


def draw_masks(sources, shape, n_pixels, threshold):
    """Return `Instances` of an image's boxes, each with the pixels above a threshold.

    The class of each is the index of its box.
    """
    boxes, masks, scores = (sources[name].float().numpy() for name in ("boxes", "masks", "scores"))
    pasted = [
        paste(box, mask, shape, n_pixels, threshold) for box, mask in zip(boxes, masks, strict=True)
    ]
    keep = [index for index, drawn in enumerate(pasted) if drawn is not None]
    boxes, crops = ([pasted[index][part] for index in keep] for part in (0, 1))
    return Instances(shape, boxes, crops, scores[keep], keep)


def paste(box, mask, shape, n_pixels=1, threshold=0.5):
    """Return a box of whole pixels and the mask in it; None if the mask is too small.

    Parameters
    ----------
    box : array-like of float, (x0, y0, x1, y1)
        Edges in pixels: the first pixel reaches from 0 to 1.
    mask : ndarray of float, shape (size, size)
    shape : tuple of int
        ``(height, width)`` of the image.
    n_pixels : int, default=1
        Least number of pixels.
    threshold : float, default=0.5

    Returns
    -------
    (y0, x0, y1, x1), crop
        The tightest box, and the pixels at whose centres the interpolated probability is above the
        threshold.
    """
    rows, across = _interpolation(box[1], box[3], shape[0], len(mask))
    columns, along = _interpolation(box[0], box[2], shape[1], len(mask))
    crop = across @ mask @ along.T > threshold
    if np.count_nonzero(crop) < max(n_pixels, 1):
        return None
    used_rows, used_columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    y0, y1, x0, x1 = used_rows[0], used_rows[-1] + 1, used_columns[0], used_columns[-1] + 1
    return (rows + y0, columns + x0, rows + y1, columns + x1), crop[y0:y1, x0:x1]


def _interpolation(low, high, side, size):
    """Return the first pixel of an interval, and the weight of each cell in each pixel."""
    # outer cells count up to half a cell beyond the edge
    rim = 0.5 * (high - low) / size
    first, last = max(int(np.floor(low - rim)), 0), min(int(np.ceil(high + rim)), side)
    places = (np.arange(first, last) + 0.5 - low) * (size / (high - low)) - 0.5
    return first, np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size))).astype(np.float32)
