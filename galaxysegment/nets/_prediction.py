"""Probability maps of many images: in batches, and in tiles where an image is large."""

import numpy as np
import torch

from ._memory import kept_memory

__all__ = ["predict_proba"]

_TILE = 2048  # pixels of a side; a net of base width 16 takes about 1 GB for it


def predict_proba(net, images, batch_size):
    """Sigmoid of the module's first output for each scaled image, as float32 ``(height, width)`` arrays.

    Images of one shape go together, at most `batch_size` and at most a tile's worth of pixels at a time.
    """
    with kept_memory():
        return _predict_all(net, images, batch_size)


def _predict_all(net, images, batch_size):
    result = [None] * len(images)
    by_shape = {}
    for index, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(index)
    for shape, indices in by_shape.items():
        if max(shape[1:]) > _TILE:
            for index in indices:
                result[index] = _predict_tiled(net, images[index])
            continue
        step = max(1, min(batch_size, _TILE**2 // (shape[1] * shape[2])))
        for start in range(0, len(indices), step):
            chunk = indices[start : start + step]
            for index, one in zip(chunk, _predict_batch(net, [images[i] for i in chunk]), strict=True):
                result[index] = one
    return result


def _predict_batch(net, images):
    batch = torch.from_numpy(np.nan_to_num(np.stack(images), nan=0.0))
    return torch.sigmoid(net.evaluation_step((batch, None))[:, 0]).cpu().numpy()


def _predict_tiled(net, image):
    """Predict one image tile by tile; the tiles overlap so far that no pixel misses what it would see."""
    halo, (height, width) = net.module_.halo, image.shape[1:]
    # a core is a whole number of the deepest level's pixels, so that all tiles are pooled in phase
    core = max(_TILE - 2 * halo, net.module_.multiple) // net.module_.multiple * net.module_.multiple
    proba = np.empty((height, width), dtype=np.float32)
    for y in range(0, height, core):
        for x in range(0, width, core):
            y0, x0 = max(y - halo, 0), max(x - halo, 0)
            tile = image[:, y0 : y + core + halo, x0 : x + core + halo]
            found = _predict_batch(net, [tile])[0]
            proba[y : y + core, x : x + core] = found[y - y0 : y - y0 + core, x - x0 : x - x0 + core]
    return proba
