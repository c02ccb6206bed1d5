"""From images and masks to batches: patches, augmentation, padding and the hold-out split."""

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

__all__ = ["MaskDataset", "batches_by_shape", "collate_padded", "split_by", "split_indices"]


class MaskDataset(Dataset):
    """Patches of images with their galaxy/background masks.

    An image larger than `patch_size` is cut into as many patches as cover it: at random places when
    training, on an even grid otherwise.

    Parameters
    ----------
    images : list of ndarray of float32, shape (n_bands, height, width)
        Scaled images; NaN is "no data".
    targets : list of ndarray of bool, shape (height, width)
        Masks.
    patch_size : int or None
        Longest side of a patch in pixels; ``None`` for whole images.
    augmenter : callable or None
        ``augmenter(image, target, generator)`` returns the two, changed. Asked for in training only.
    training : bool
        Whether places and augmentation are random.
    """

    def __init__(self, images, targets, *, patch_size=None, augmenter=None, training=False):
        self.images, self.targets = images, targets
        self.augmenter, self.training = augmenter, training
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
        image, target = self.images[index], self.targets[index]
        if self.training:
            # torch's stream is seeded by the estimator, and differs in each worker process
            generator = np.random.default_rng(torch.randint(2**62, ()).item())
            spans = [
                _shifted(span, size, generator)
                for span, size in zip(spans, target.shape, strict=True)
            ]
        rows, columns = (slice(*span) for span in spans)
        image, target = image[:, rows, columns], self._cut(target, rows, columns)
        if self.training and self.augmenter is not None:
            image, target = self.augmenter(image, target, generator)
        return image, target

    @staticmethod
    def _cut(target, rows, columns):
        return target[rows, columns]


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
    """Stack images of any sizes: (n, n_bands, h, w) and (n, 2, h, w), the mask and each pixel's weight.

    Smaller images are padded with zeros. Padding and pixels without data in any band weigh nothing;
    NaN becomes zero, the background in scaled units.
    """
    height = max(image.shape[1] for image, _ in batch)
    width = max(image.shape[2] for image, _ in batch)
    images = np.zeros((len(batch), len(batch[0][0]), height, width), dtype=np.float32)
    targets = np.zeros((len(batch), 2, height, width), dtype=np.float32)
    for (image, mask), image_out, target_out in zip(batch, images, targets, strict=True):
        h, w = mask.shape
        no_data = np.isnan(image)
        image_out[:, :h, :w] = np.where(no_data, 0, image)
        target_out[0, :h, :w] = mask
        target_out[1, :h, :w] = ~no_data.all(axis=0)
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
        ``train_split(dataset, None)`` returns two `torch.utils.data.Subset` of a dataset with an item for
        each image, as `skorch.dataset.ValidSplit` does. None: no image is held out.
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
            f"net_params={{'train_split': {train_split!r}}} must return two torch Subsets of the dataset that it is "
            "called with, as skorch.dataset.ValidSplit does. Pass None to hold out no image, or use "
            "validation_fraction."
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
    """Indices of images of one shape, at most `batch_size` and at most `most_pixels` pixels at a time."""
    by_shape = {}
    for index, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(index)
    for (_, height, width), indices in by_shape.items():
        step = max(1, min(batch_size, most_pixels // (height * width)))
        for start in range(0, len(indices), step):
            yield indices[start : start + step]
