"""Targets of set prediction: segments, their classes, and the pixels that the losses look at."""

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

__all__ = [
    "SegmentBatch",
    "SegmentCollate",
    "decode_target",
    "encode_target",
    "masks_at",
    "truth_at",
]

_CODES = 64  # more than there are classes
_NEAR = 3  # pixels around a source of which every one counts


def encode_target(labels, classes):
    """Return a label map that holds the classes too, so that only one map is cropped and augmented.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
    classes : ndarray of int, shape (n_labels,)
        Class index of each label; the sky is 0.
    """
    codes = np.concatenate([[0], np.arange(1, len(classes) + 1) * _CODES + classes])
    return codes[labels].astype(np.int32)


class SegmentBatch:
    """Images of a batch, padded to one size, and the segments to be found in each.

    Parameters
    ----------
    images : tensor of shape (n, n_bands, height, width)
        Smaller images stand in the upper left corner, zeros elsewhere.
    targets : dict, or None
        ``labels`` (n, height, width), sources 1…; ``weight``, which pixels count; ``heat``, the map
        of centres; ``points`` (n, n_points, 2), the pixels at which masks are compared; ``classes``
        and ``boxes``, for each image those of its sources and, last, of the sky.
    weights : tuple of float or None
        Weight of each image in the losses.
    least : float, default=0
        In prediction, probability of its class from which a query gets a mask.
    """

    def __init__(self, images, targets=None, weights=None, least=0.0):
        self.images, self.targets, self.weights, self.least = images, targets, weights, least

    def __len__(self):
        return len(self.images)

    def to(self, device, non_blocking=False, **kwargs):
        """Move to a device; the images also change their memory format if asked to."""
        images = self.images.to(device, non_blocking=non_blocking, **kwargs)
        targets = self.targets and {
            name: [tensor.to(device) for tensor in part]
            if isinstance(part, list)
            else part.to(device)
            for name, part in self.targets.items()
        }
        return SegmentBatch(images, targets, self.weights, self.least)

    def part(self, index):
        """Return the batch of a single image, without its weight."""
        own = slice(index, index + 1)
        targets = {name: values[own] for name, values in self.targets.items()}
        return SegmentBatch(self.images[own], targets)


class SegmentCollate:
    """Make a batch of images and encoded label maps of any sizes, and of weights if there are any.

    Parameters
    ----------
    n_points : int
        Pixels of every image at which masks are compared: those near sources first, others by
        chance.
    min_pixels : int
        What a crop has left of a source counts as one from this many pixels on; smaller pieces
        weigh nothing.
    """

    def __init__(self, n_points=2048, min_pixels=3):
        self.n_points, self.min_pixels = n_points, min_pixels

    def __call__(self, batch):
        """Return a `SegmentBatch` and what skorch wants beside it."""
        weights = [tuple(item[2] for item in batch)] if len(batch[0]) > 2 else []
        batch = [item[:2] for item in batch]
        shape = tuple(max(codes.shape[axis] for _, codes in batch) for axis in (0, 1))
        images = np.zeros((len(batch), len(batch[0][0]), *shape), dtype=np.float32)
        labels = np.zeros((len(batch), *shape), dtype=np.int64)
        weight, heat = np.zeros((2, len(batch), *shape), dtype=np.float32)
        points, classes, boxes = [], [], []
        for index, (image, codes) in enumerate(batch):
            window = (index, slice(codes.shape[0]), slice(codes.shape[1]))
            no_data = np.isnan(image)
            images[index][(slice(None), *window[1:])] = np.where(no_data, 0, image)
            own_labels, present, small = decode_target(codes, self.min_pixels)
            labels[window] = own_labels
            weight[window] = ~(no_data.all(axis=0) | small)
            windows = ndimage.find_objects(own_labels, len(present))
            heat[window] = centre_map(own_labels, windows)
            boxes.append(torch.from_numpy(centred_boxes(windows, shape)))
            points.append(choose_points(own_labels, weight[window] > 0, self.n_points))
            classes.append(torch.from_numpy(np.append(present, 0)))
        targets = {
            "labels": torch.from_numpy(labels),
            "weight": torch.from_numpy(weight),
            "heat": torch.from_numpy(heat),
            "points": torch.from_numpy(np.stack(points)),
            "classes": classes,
            "boxes": boxes,
        }
        return SegmentBatch(torch.from_numpy(images), targets, *weights), torch.zeros(len(batch))


def decode_target(codes, min_pixels):
    """Undo `encode_target` for a crop: return labels, their classes, pixels of small pieces."""
    values, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    kept = (values > 0) & (counts >= min_pixels)
    numbers = np.where(kept, np.cumsum(kept), 0)
    small = ((values > 0) & ~kept)[inverse].reshape(codes.shape)
    return numbers[inverse].reshape(codes.shape), values[kept] % _CODES, small


def centred_boxes(windows, shape):
    """Boxes of sources and, last, of the sky: centre and size (x, y), in units of the frame."""
    frame = (slice(0, shape[0]), slice(0, shape[1]))
    edges = np.array(
        [
            (columns.start, rows.start, columns.stop, rows.stop)
            for rows, columns in [*windows, frame]
        ],
        dtype=np.float32,
    )
    edges /= np.array([shape[1], shape[0]] * 2, dtype=np.float32)
    return np.concatenate([(edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]], axis=1)


def centre_map(labels, windows):
    """Map with a 1 at the centre of each source and a Gaussian around it, (height, width)."""
    heat = np.zeros(labels.shape, dtype=np.float32)
    for label, window in enumerate(windows, start=1):
        mask = labels[window] == label
        y, x = np.nonzero(mask)
        # of the source's own pixels, the one closest to its centre
        nearest = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)
        y0, x0 = y[nearest] + window[0].start, x[nearest] + window[1].start
        sigma = float(np.clip(0.2 * np.sqrt(len(y)), 0.8, 4))
        radius = int(3 * sigma)
        rows = np.arange(max(y0 - radius, 0), min(y0 + radius + 1, labels.shape[0]))
        columns = np.arange(max(x0 - radius, 0), min(x0 + radius + 1, labels.shape[1]))
        bump = np.exp(-((rows[:, None] - y0) ** 2 + (columns - x0) ** 2) / (2 * sigma**2))
        part = heat[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        np.maximum(part, bump, out=part)
    return heat


def choose_points(labels, counts, n_points):
    """Pixels (n_points, 2) at which masks are compared."""
    # torch's stream is seeded by the estimator, and differs in each worker process
    generator = np.random.default_rng(torch.randint(2**62, ()).item())
    near = ndimage.binary_dilation(labels > 0, iterations=_NEAR)
    near_pixels, far_pixels = np.flatnonzero(near & counts), np.flatnonzero(~near & counts)
    n_near = min(len(near_pixels), 3 * n_points // 4)
    near_pixels = generator.permutation(near_pixels)[:n_near]
    rest = n_points - n_near
    others = far_pixels if len(far_pixels) else np.arange(labels.size)
    chosen = np.concatenate([near_pixels, generator.choice(others, rest)])
    return np.stack(np.divmod(chosen, labels.shape[1]), axis=-1)


def masks_at(masks, points, shape):
    """Interpolate mask logits (n, n_masks, …) at pixels (n, n_points, 2) of images of `shape`."""
    if masks.shape[-2:] == shape:
        index = points[..., 0] * shape[1] + points[..., 1]
        return masks.flatten(2).gather(2, index[:, None].expand(-1, masks.shape[1], -1))
    size = torch.tensor(shape, device=masks.device)
    places = ((points + 0.5) / size * 2 - 1).flip(-1)[
        :, None
    ]  # grid_sample wants x, y from -1 to 1
    return functional.grid_sample(
        masks, places.float(), align_corners=False, padding_mode="border"
    )[:, :, 0]


def truth_at(targets):
    """Masks of each image's segments at its points, the sky's last: (n_segments, n_points) each."""
    labels = targets["labels"]
    values = labels.flatten(1).gather(
        1, targets["points"][..., 0] * labels.shape[-1] + targets["points"][..., 1]
    )
    truth = []
    for values_of_image, classes in zip(values, targets["classes"], strict=True):
        numbers = torch.arange(1, len(classes) + 1, device=values_of_image.device)
        numbers[-1] = 0
        truth.append((values_of_image[None] == numbers[:, None]).float())
    return truth
