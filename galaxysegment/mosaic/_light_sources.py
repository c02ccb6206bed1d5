"""The sources of a mosaic whose light is separated: a label map, `Instances`, or positions."""

import numpy as np

from .._utils.identity import identify, identify_file
from ..io._pixels import read_labels
from ..separation._blends import nearest_pixels
from ..separation._positions import MOST_RADIUS, masks_at
from ..structures import Instances, check_label_map


class LabelSources:
    """Sources of a label map in memory or in a file, which is read window by window.

    Parameters
    ----------
    labels : ndarray of int, shape (height, width), or Hdu
    """

    #: Pixels around a window that tell the masks of the sources in it.
    context = 0
    has_masks = True

    def __init__(self, labels):
        self.labels = labels
        self.in_file = not isinstance(labels, np.ndarray)
        self.shape = tuple(labels.image_shape if self.in_file else labels.shape)

    def identity(self):
        """Return what tells these sources from others, as JSON values."""
        if self.in_file:
            return [self.labels.index, *identify_file(self.labels.path)]
        return identify(self.labels)

    def for_workers(self, folder):
        """Put an array into a file, so that no worker holds a copy of its own."""
        if self.in_file:
            return self
        path = folder / "labels.npy"
        np.save(path, self.labels)
        return _StoredLabels(path, self.shape)

    def _read(self, window):
        if self.in_file:
            return read_labels(self.labels, window.slices)
        return check_label_map(np.array(self.labels[window.slices]), "sources")

    def around(self, core, _read):
        """Return the sources in a tile and in the ring of one pixel around it.

        Parameters
        ----------
        core : Window
        _read : callable
            Returns the `Exposure` of a window, for sources without masks.

        Returns
        -------
        ids : ndarray of int64
        instances : Instances
        window : Window
            What `instances` were cut at.
        """
        window = core.grow(1, self.shape)
        ids, instances, _ = self.inside(window)
        return ids, instances, window

    def inside(self, window, _exposure=None):
        """Return the sources of a window, cut at its edges.

        Returns
        -------
        ids : ndarray of int64
            Labels, in increasing order.
        instances : Instances
            In the frame of the window.
        places : None
        """
        labels = self._read(window)
        ids = np.unique(labels[labels > 0]).astype(np.int64)
        return ids, Instances.from_label_map(labels), None

    def cover(self, window):
        """Return which pixels of a window belong to sources."""
        return self._read(window) > 0


class _StoredLabels(LabelSources):
    """A label map in a file of numpy's own format, mapped anew for every window."""

    def __init__(self, path, shape):
        self.path, self.shape, self.in_file = path, shape, False

    def _read(self, window):
        return check_label_map(np.array(np.load(self.path, mmap_mode="r")[window.slices]))


class InstanceSources:
    """Sources with masks that may overlap; each is known by its index."""

    context = 0
    has_masks = True

    def __init__(self, instances):
        self.instances, self.shape = instances, instances.shape

    def identity(self):
        """Return what tells these sources from others, as JSON values."""
        return identify(self.instances)

    def for_workers(self, _folder):
        """Workers get a copy: masks are small beside the image."""
        return self

    def around(self, core, _read):
        """Return the sources in a tile and around it; see `LabelSources.around`."""
        window = core.grow(1, self.shape)
        ids, instances, _ = self.inside(window)
        return ids, instances, window

    def inside(self, window, _exposure=None):
        """Return the sources of a window, cut at its edges; see `LabelSources.inside`."""
        return cut_instances(self.instances, window)

    def cover(self, window):
        """Return which pixels of a window belong to sources."""
        return cut_instances(self.instances, window)[1].to_mask()


class PlaceSources:
    """Sources known by ``y, x``; their masks are made from the light around them.

    Parameters
    ----------
    places : ndarray of float, shape (n, 2)
    shape : tuple of int
        ``(height, width)`` of the mosaic.
    """

    context = MOST_RADIUS + 6  # its own mask, and what smoothing looks at beyond it
    has_masks = False

    def __init__(self, places, shape):
        self.places, self.shape = places, tuple(shape)

    def identity(self):
        """Return what tells these sources from others, as JSON values."""
        return identify(self.places)

    def for_workers(self, _folder):
        """Workers get a copy."""
        return self

    def around(self, core, read):
        """Return the sources whose masks may touch those of a tile; see `LabelSources.around`."""
        near = core.grow(2 * (MOST_RADIUS + 1), self.shape)
        window = near.grow(self.context, self.shape)
        ids, instances, places = self.inside(window, read(window))
        low = np.array([near.y0 - window.y0, near.x0 - window.x0])
        rounded = nearest_pixels(places)
        kept = ((rounded >= low) & (rounded < low + near.shape)).all(axis=1)
        return ids[kept], instances.select(kept), window

    def inside(self, window, exposure):
        """Return the sources of a window; see `LabelSources.inside`.

        Parameters
        ----------
        window : Window
        exposure : Exposure
            The light of the window.
        """
        low, high = np.array([window.y0, window.x0]), np.array([window.y1, window.x1])
        rounded = nearest_pixels(self.places)
        ids = np.flatnonzero(((rounded >= low) & (rounded < high)).all(axis=1))
        places = self.places[ids] - low
        return ids, masks_at(places, exposure.smooth, exposure.detection_noise), places

    def cover(self, window):
        """Return no pixels: the masks are not known before the sky is."""
        return np.zeros(window.shape, dtype=bool)


def cut_instances(instances, window):
    """Cut instances at a window; return their indices, and them in its frame (and None)."""
    boxes = instances.boxes
    near = (boxes[:, 0] < window.y1) & (boxes[:, 2] > window.y0)
    near &= (boxes[:, 1] < window.x1) & (boxes[:, 3] > window.x0)
    ids, cut_boxes, crops = [], [], []
    for index in np.flatnonzero(near).tolist():
        y0, x0, y1, x1 = boxes[index].tolist()
        top, left = max(y0, window.y0), max(x0, window.x0)
        bottom, right = min(y1, window.y1), min(x1, window.x1)
        crop = instances.crops[index][top - y0 : bottom - y0, left - x0 : right - x0]
        if crop.any():
            ids.append(index)
            cut_boxes.append((top, left, bottom, right))
            crops.append(crop)
    corner = np.array([window.y0, window.x0] * 2)
    moved = np.array(cut_boxes, dtype=np.int64).reshape(-1, 4) - corner
    ids = np.array(ids, dtype=np.int64)
    classes = None if instances.classes is None else instances.classes[ids]
    return ids, Instances(window.shape, moved, crops, instances.scores[ids], classes), None
