"""From images and masks to batches: patches, augmentation, padding and the hold-out split."""

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from ..._utils.streams import as_stream
from ...structures import Instances

__all__ = [
    "ClassDataset",
    "PatchDataset",
    "PixelDataset",
    "batches_by_shape",
    "collate_padded",
    "cut",
    "split_by",
    "split_indices",
]


class PatchDataset(Dataset):
    """Patches of images with their targets, read and scaled when asked for.

    An image larger than `patch_size` is cut into as many patches as cover it: at random places when
    training, on an even grid otherwise.

    Parameters
    ----------
    images : list of ndarray of float32 or of `ScaledStream`, shape (n_bands, height, width)
        Scaled images; NaN is "no data".
    targets : list of ndarray or of streams, shape (height, width)
        One map an image.
    patch_size : int or None
        Longest side of a patch in pixels; ``None`` for whole images.
    augmenter : callable or None
        ``augmenter(image, target, generator)`` returns the two, changed. Asked for in training
        only. If its ``before_scaling`` is true, it changes images before they are scaled.
    training : bool
        Whether places and augmentation are random.
    image_weights : ndarray of shape (n_images,) or None, default=None
        Weight of each image, which then is the last part of an item.
    """

    def __init__(
        self,
        images,
        targets,
        *,
        patch_size=None,
        augmenter=None,
        training=False,
        image_weights=None,
    ):
        self.images = [as_stream(image) for image in images]
        self.targets = targets
        self.augmenter, self.training = augmenter, training
        self.image_weights = image_weights
        self.windows = [
            (index, rows, columns)
            for index, image in enumerate(images)
            for rows in _spans(image.shape[1], patch_size)
            for columns in _spans(image.shape[2], patch_size)
        ]

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, item):
        index, *spans = self.windows[item]
        image, generator = self.images[index], None
        if self.training:
            # torch's stream is seeded by the estimator, and differs in each worker process
            generator = np.random.default_rng(torch.randint(2**62, ()).item())
            spans = [
                _shifted(span, size, generator)
                for span, size in zip(spans, image.shape[1:], strict=True)
            ]
        rows, columns = (slice(*span) for span in spans)
        target = self._cut(self.targets[index], rows, columns)
        if not self.training or self.augmenter is None:
            return self._item(index, image.window(rows, columns), target)
        if self.augmenter.before_scaling:
            pixels, target = self.augmenter(image.read(rows, columns), target, generator)
            return self._item(index, image.scale(pixels, rows, columns), target)
        pixels, target = self.augmenter(image.window(rows, columns), target, generator)
        return self._item(index, pixels, target)

    def _cut(self, target, rows, columns):
        """Return the window of a target; override for targets that are no maps."""
        return as_stream(target).window(rows, columns)

    def _item(self, index, image, target):
        """Return the item of a patch of the image `index`; override to add to it."""
        if self.image_weights is None:
            return image, target
        return image, target, float(self.image_weights[index])


class PixelDataset(PatchDataset):
    """Patches of images with the galaxy/background mask and the weight of each pixel.

    Parameters
    ----------
    images, patch_size, augmenter, training, image_weights
        As for `PatchDataset`; an image's weight is part of the weights of its pixels.
    targets : list of ndarray, streams or Instances
        Positive values and instances are galaxies, 0 is the sky, negative values do not count.
    class_weights : tuple of float, default=(1.0, 1.0)
        Weights of the pixels of the sky and of galaxies.
    """

    def __init__(self, images, targets, *, class_weights=(1.0, 1.0), **options):
        super().__init__(images, targets, **options)
        self.class_weights = class_weights

    def _cut(self, target, rows, columns):
        if isinstance(target, Instances):
            return cut(target, rows, columns).to_mask().astype(np.int8)
        values = super()._cut(target, rows, columns)
        return (values > 0).astype(np.int8) - (values < 0)

    def _item(self, index, image, target):
        sky, galaxy = self.class_weights
        weight = np.where(target > 0, np.float32(galaxy), np.float32(sky)) * (target >= 0)
        if self.image_weights is not None:
            weight = weight * np.float32(self.image_weights[index])
        return image, target > 0, weight


class ClassDataset(PatchDataset):
    """Patches of images with the class and the weight of each pixel.

    Parameters
    ----------
    images, patch_size, augmenter, training, image_weights
        As for `PatchDataset`; an image's weight is the weight of its pixels.
    targets : list of ndarray or streams, shape (height, width)
        Index of the class of each pixel, 0 for the sky; negative values do not count.
    """

    def _item(self, index, image, target):
        weight = (target >= 0).astype(np.float32)
        if self.image_weights is not None:
            weight = weight * np.float32(self.image_weights[index])
        return image, np.maximum(target, 0), weight


def cut(instances, rows, columns):
    """Instances of a window, in its frame; looks only at those whose boxes reach into it."""
    y0, x0, y1, x1 = instances.boxes.T
    near = (y0 < rows.stop) & (y1 > rows.start) & (x0 < columns.stop) & (x1 > columns.start)
    shape = rows.stop - rows.start, columns.stop - columns.start
    if shape == instances.shape:
        return instances
    return instances.select(near).shift(-rows.start, -columns.start, shape)


def _spans(size, patch_size):
    """Even spans (start, stop) of at most `patch_size` pixels that cover `size` pixels."""
    if patch_size is None or size <= patch_size:
        return [(0, size)]
    count = -(-size // patch_size)
    starts = np.linspace(0, size - patch_size, count).round().astype(int).tolist()
    return [(start, start + patch_size) for start in starts]


def _shifted(span, size, generator):
    length = span[1] - span[0]
    start = int(generator.integers(size - length + 1))
    return start, start + length


def collate_padded(batch):
    """Stack images of any sizes, and the mask and weight of each pixel.

    The images become (n, n_bands, height, width), mask and weight (n, 2, height, width).

    Smaller images are padded with zeros. Padding and pixels without data in any band weigh nothing;
    NaN becomes zero, the background in scaled units.

    Parameters
    ----------
    batch : list of (image, mask, weight)
        Items of a `PixelDataset`.
    """
    height = max(image.shape[1] for image, _, _ in batch)
    width = max(image.shape[2] for image, _, _ in batch)
    images = np.zeros((len(batch), len(batch[0][0]), height, width), dtype=np.float32)
    targets = np.zeros((len(batch), 2, height, width), dtype=np.float32)
    for (image, mask, weight), image_out, target_out in zip(batch, images, targets, strict=True):
        h, w = mask.shape
        no_data = np.isnan(image)
        image_out[:, :h, :w] = np.where(no_data, 0, image)
        target_out[0, :h, :w] = mask
        target_out[1, :h, :w] = np.where(no_data.all(axis=0), 0, weight)
    return torch.from_numpy(images), torch.from_numpy(targets)


def split_indices(n_images, fraction, generator):
    """Indices of the training and of the validation images, the latter empty below two images."""
    n_valid = round(n_images * fraction)
    if fraction:
        n_valid = min(max(n_valid, 1), n_images - 1)
    order = generator.permutation(n_images)
    return np.sort(order[n_valid:]), np.sort(order[:n_valid])


def split_by(train_split, n_images):
    """Indices of the training and of the validation images that a `train_split` of skorch chooses.

    Parameters
    ----------
    train_split : callable or None
        ``train_split(dataset, None)`` returns two `torch.utils.data.Subset` of a dataset with an
        item for each image, as `skorch.dataset.ValidSplit` does. None: no image is held out.
    n_images : int

    Raises
    ------
    ValueError
        If it returns anything else.
    """
    if train_split is None:
        return np.arange(n_images), np.arange(0)
    dataset = _Numbers(n_images)
    parts = train_split(dataset, None)
    chosen = [
        part.indices for part in parts if isinstance(part, Subset) and part.dataset is dataset
    ]
    if len(chosen) != 2:
        raise ValueError(
            f"net_params={{'train_split': {train_split!r}}} must return two torch Subsets of the "
            "dataset that it is called with, as skorch.dataset.ValidSplit does. Pass None to hold "
            "out no image, or use validation_fraction."
        )
    return tuple(np.sort(np.asarray(indices, dtype=np.int64)) for indices in chosen)


class _Numbers(Dataset):
    """The numbers from 0 on, one for each image, to be split."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        return item


def batches_by_shape(images, batch_size, most_pixels):
    """Yield indices of images of one shape, at most `batch_size` and `most_pixels` at a time."""
    by_shape = {}
    for index, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(index)
    for (_, height, width), indices in by_shape.items():
        step = max(1, min(batch_size, most_pixels // (height * width)))
        for start in range(0, len(indices), step):
            yield indices[start : start + step]
