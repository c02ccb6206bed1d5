"""Check that the parts of a field fit together, before any pixel is read."""

from functools import partial

import numpy as np

from .._utils.validation import check_same_shape
from ..structures import Instances
from ._sources import ArraySource


def as_classes(classes):
    """Return classes as int64, one per source."""
    classes = np.asarray(classes)
    if classes.ndim != 1 or (classes.size and classes.dtype.kind not in "iu"):
        raise ValueError(
            "classes must hold a whole number for every source. "
            f"Got an array of shape {classes.shape}, dtype {classes.dtype}, instead."
        )
    return classes.astype(np.int64)


def check_classes(classes, labels):
    """Refuse classes that do not reach to the last label, if both are in memory."""
    if not isinstance(classes, np.ndarray) or not isinstance(labels, ArraySource):
        return
    highest = labels.array.max(initial=0)
    if highest > len(classes):
        raise ValueError(
            f"classes has {len(classes)} entries, but labels go up to {highest}: "
            "give a class for every label, 1 to n."
        )


def check_shapes(sources, instances):
    """Refuse an RMS map, labels or instances of another shape than the image."""
    n_bands, *shape = sources["image"].shape
    shape = tuple(shape)
    if "rms" in sources and tuple(sources["rms"].shape) not in (shape, (n_bands, *shape)):
        raise ValueError(
            f"The RMS map has shape {tuple(sources['rms'].shape)}, but the image has shape "
            f"{(n_bands, *shape)}: "
            f"it must have shape {shape}, or the shape of the image."
        )
    if "labels" in sources:
        check_same_shape(sources["labels"].shape, shape, "The label map", "the image")
    if instances is None or isinstance(instances, partial):
        return
    if not isinstance(instances, Instances):
        raise TypeError(
            "instances must be galaxysegment.Instances or None. "
            f"Got {type(instances).__name__} instead."
        )
    check_same_shape(instances.shape, shape, "instances", "the image")
