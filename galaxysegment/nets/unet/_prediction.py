"""Probability maps of many images: in batches, and in tiles where an image is large."""

import numpy as np
import torch
from torch.nn import functional

from ..common._data import batches_by_shape
from ..common._memory import kept_memory

__all__ = ["VIEWS", "predict_proba"]

# Pixels of a side; a net of base width 16 takes 1.8 GB for it. A tile of `segment_mosaic` with
# its overlap is no larger, so that it is not cut again.
_TILE = 2432

# Mirrored axes, and whether rows and columns change places; the first two differ most.
VIEWS = (
    ((), False),
    ((-2, -1), False),
    ((-2,), False),
    ((-1,), False),
    ((), True),
    ((-2, -1), True),
    ((-2,), True),
    ((-1,), True),
)


def predict_proba(net, images, batch_size, n_views=1):
    """Return the probabilities of each scaled image, float32 of shape (height, width).

    Of a net with several outputs they are the probabilities of its classes, of shape (n_classes,
    height, width). Images of one shape go together, at most `batch_size` and at most a tile's worth
    of pixels at a time. The result is the mean over `n_views` mirrored views of each.
    """
    with kept_memory():
        return _predict_all(net.predictor(), net.module_, images, batch_size, VIEWS[:n_views])


def _predict_all(predict, module, images, batch_size, views):
    result = [None] * len(images)
    for chunk in batches_by_shape(images, batch_size, _TILE**2):
        batch = [images[index] for index in chunk]
        if max(batch[0].shape[1:]) > _TILE:
            probas = [_predict_tiled(predict, module, image, views) for image in batch]
        else:
            probas = _predict_batch(predict, module, batch, views)
        for index, proba in zip(chunk, probas, strict=True):
            result[index] = proba
    return result


def _predict_batch(predict, module, images, views):
    batch = torch.from_numpy(np.nan_to_num(np.stack(images), nan=0.0))
    height, width = batch.shape[-2:]
    # padded first, a mirrored tile is pooled in phase with the mirrored whole
    multiple = module.multiple
    batch = functional.pad(batch, (0, -width % multiple, 0, -height % multiple))
    proba = sum(_predict_view(predict, batch, *view) for view in views) / len(views)
    return proba[..., :height, :width].cpu().numpy()


def _predict_view(predict, batch, mirrored, transposed):
    """Predict from another side, and turn the answer back."""
    batch = batch.flip(mirrored)
    logits = predict(batch.mT if transposed else batch)
    several = logits.shape[1] > 1
    proba = torch.softmax(logits.float(), dim=1) if several else torch.sigmoid(logits[:, 0])
    return (proba.mT if transposed else proba).flip(mirrored)


def _predict_tiled(predict, module, image, views):
    """Predict an image tile by tile; tiles overlap by as much as the net looks around a pixel."""
    halo, multiple, (height, width) = module.halo, module.multiple, image.shape[1:]
    # a core is a whole number of the deepest level's pixels, so that all tiles are pooled in phase
    core = max(_TILE - 2 * halo, multiple) // multiple * multiple
    proba = None
    for y in range(0, height, core):
        for x in range(0, width, core):
            y0, x0 = max(y - halo, 0), max(x - halo, 0)
            tile = image[:, y0 : y + core + halo, x0 : x + core + halo]
            inside = _predict_batch(predict, module, [tile], views)[0]
            if proba is None:
                proba = np.empty((*inside.shape[:-2], height, width), dtype=np.float32)
            proba[..., y : y + core, x : x + core] = inside[
                ..., y - y0 : y - y0 + core, x - x0 : x - x0 + core
            ]
    return proba
