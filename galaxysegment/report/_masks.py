"""The sources of a label map or of instances, whose outlines are read window by window."""

from pathlib import Path

import numpy as np

from .._utils.validation import check_same_shape
from ..io import image_shape, read_label_map
from ..structures import Instances, check_label_map
from ._outlines import encode_outline, thinning

_STRIP = 256  # rows
_PIXELS = 1 << 22  # of a block of rows


def open_masks(sources, shape, hdu=None):
    """Return `LabelMasks` or `InstanceMasks`; refuse sources of another shape than the image."""
    if isinstance(sources, Instances):
        check_same_shape(sources.shape, shape, "sources", "image")
        return InstanceMasks(sources)
    if isinstance(sources, str | Path):
        check_same_shape(image_shape(sources, hdu=hdu), shape, "sources", "image")

        def read(rows, columns):
            return read_label_map(sources, hdu=hdu, section=(rows, columns))

        return LabelMasks(read, shape)
    labels = check_label_map(sources, "sources")
    check_same_shape(labels.shape, shape, "sources", "image")
    return LabelMasks(lambda rows, columns: labels[rows, columns], shape)


class InstanceMasks:
    """Masks of `Instances`, which may overlap; label ``k`` is source ``k - 1``."""

    def __init__(self, instances):
        self.instances = instances

    def outlines(self, labels, boxes, advance):
        """Return the outlines of sources as text; see `LabelMasks.outlines`."""
        texts = []
        for label, box in zip(labels.tolist(), boxes.tolist(), strict=True):
            if not 0 < label <= len(self.instances):
                raise _missing(label)
            step = thinning(box)
            texts.append(encode_outline(self.instances.crops[label - 1][::step, ::step], step))
        advance(self.instances.shape[0])
        return texts


class LabelMasks:
    """Masks of a label map, of which windows are read.

    Parameters
    ----------
    read : callable
        ``read(rows, columns)`` returns a window of the map.
    shape : tuple of int
        ``(height, width)`` of the map.
    """

    def __init__(self, read, shape):
        self.read, self.shape = read, shape

    def outlines(self, labels, boxes, advance):
        """Return the outlines of sources as text.

        Parameters
        ----------
        labels : ndarray of int, shape (n,)
        boxes : ndarray of int, shape (n, 4)
            ``y0, x0, y1, x1``, half-open.
        advance : callable
            Called with the number of rows read.

        Returns
        -------
        list of str
            As of `encode_outline`.
        """
        height, width = self.shape
        texts = [""] * len(labels)
        order = np.argsort(boxes[:, 0], kind="stable")
        starts = boxes[order, 0]
        for y0 in range(0, height, _STRIP):
            y1 = min(y0 + _STRIP, height)
            members = order[np.searchsorted(starts, y0) : np.searchsorted(starts, y1)]
            steps = np.array([thinning(box) for box in boxes[members].tolist()], dtype=int)
            small = members[steps == 1]
            bottom = int(boxes[small, 2].max(initial=y0))
            window = self.read(slice(y0, bottom), slice(0, width)) if bottom > y0 else None
            for index in small.tolist():
                top, left, low, right = boxes[index].tolist()
                crop = window[top - y0 : low - y0, left:right] == labels[index]
                texts[index] = _outline(crop, 1, labels[index])
            for index, step in zip(members[steps > 1], steps[steps > 1], strict=True):
                crop = self._thin(labels[index], boxes[index].tolist(), int(step))
                texts[index] = _outline(crop, int(step), labels[index])
            advance(y1 - y0)
        return texts

    def _thin(self, label, box, step):
        """Return every `step`-th row and column of a mask, read in blocks of rows."""
        top, left, low, right = box
        n_rows = max(1, _PIXELS // ((right - left) * step)) * step
        blocks = [
            self.read(slice(y0, min(y0 + n_rows, low)), slice(left, right))[::step, ::step] == label
            for y0 in range(top, low, n_rows)
        ]
        return np.concatenate(blocks)


def _outline(crop, step, label):
    if not crop.any() and step == 1:
        raise _missing(label)
    return encode_outline(crop, step)


def _missing(label):
    return ValueError(
        f"catalog lists the source {label}, which is not in sources, or not in its box: pass the "
        "catalog of these sources."
    )
