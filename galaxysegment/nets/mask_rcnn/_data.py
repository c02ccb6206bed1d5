"""From images and instances to batches for detection: patches, crops of masks, padding."""

import numpy as np
import torch

from ...structures import GALAXY, Instances
from ..common._data import PatchDataset, cut

__all__ = ["DetectionBatch", "DetectionCollate", "SourceDataset"]


class SourceDataset(PatchDataset):
    """Patches of images with their `Instances`; parameters as for `PatchDataset`."""

    def _cut(self, target, rows, columns):
        return cut(target, rows, columns)


class DetectionBatch:
    """Images of a batch, padded to one size, and the true sources of each.

    Parameters
    ----------
    images : tensor of shape (n, n_bands, height, width)
        Smaller images stand in the upper left corner, zeros elsewhere.
    sizes : list of (int, int)
        ``(height, width)`` of each image before padding.
    targets : list of dict, or None
        For each image ``boxes`` (float, x0, y0, x1, y1), ``labels`` (1… in the order of the
        declared classes) and ``crops`` (uint8, all of one size, each mask with a rim of at least
        one pixel; its pixel ``(1, 1)`` is the corner of the box).
    weights : tuple of float or None
        Weight of each image in the losses.
    """

    def __init__(self, images, sizes, targets=None, weights=None):
        self.images, self.sizes, self.targets = images, sizes, targets
        self.weights = weights

    def __len__(self):
        return len(self.images)

    def to(self, device, non_blocking=False, **kwargs):
        """Move to a device; the images also change their memory format if asked to."""
        images = self.images.to(device, non_blocking=non_blocking, **kwargs)
        targets = self.targets and [
            {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in target.items()}
            for target in self.targets
        ]
        return DetectionBatch(images, self.sizes, targets, self.weights)

    def part(self, index):
        """Return the batch of a single image, without its weight."""
        own = slice(index, index + 1)
        return DetectionBatch(self.images[own], self.sizes[own], self.targets[own])


class DetectionCollate:
    """Make a `DetectionBatch` of (image, instances) or (image, instances, weight).

    A class, so that it can be pickled.

    Parameters
    ----------
    multiple : int
        Height and width of a batch are multiples of this, so that every level of the pyramid is in
        phase.
    classes : sequence of int
        The declared classes; sources without a class are galaxies.
    """

    def __init__(self, multiple, classes):
        self.multiple = multiple
        self.labels = {int(number): label for label, number in enumerate(classes, start=1)}

    def __call__(self, items):
        images, instances, *weights = zip(*items, strict=True)
        targets = [self._target(sources) for sources in instances]
        padded = stack_padded(images, self.multiple)
        return DetectionBatch(*padded, targets, *weights), torch.zeros(len(items))

    def _target(self, instances):
        boxes = instances.boxes[:, [1, 0, 3, 2]]
        height, width = (boxes[:, 2:] - boxes[:, :2]).max(axis=0, initial=0)[::-1]
        crops = np.zeros((len(boxes), height + 2, width + 2), dtype=np.uint8)
        for out, crop in zip(crops, instances.crops, strict=True):
            out[1 : 1 + crop.shape[0], 1 : 1 + crop.shape[1]] = crop
        classes = [GALAXY] * len(boxes) if instances.classes is None else instances.classes.tolist()
        labels = np.array([self.labels[number] for number in classes], dtype=np.int64)
        return {
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.from_numpy(labels),
            "crops": torch.from_numpy(crops),
        }


def stack_padded(images, multiple):
    """Stack images of any sizes, NaN as 0, which is the sky; return the tensor and the sizes."""
    sizes = [image.shape[1:] for image in images]
    height, width = (-(-max(side) // multiple) * multiple for side in zip(*sizes, strict=True))
    stack = np.zeros((len(images), len(images[0]), height, width), dtype=np.float32)
    for image, out in zip(images, stack, strict=True):
        out[:, : image.shape[1], : image.shape[2]] = np.nan_to_num(image, nan=0.0)
    return torch.from_numpy(stack), sizes


def as_instances(target):
    """`Instances` of a checked target: a label map becomes one instance per label."""
    return target if isinstance(target, Instances) else Instances.from_label_map(target)
