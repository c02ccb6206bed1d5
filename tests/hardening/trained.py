"""Mask R-CNN and Mask2Former trained for seconds: they find bright round galaxies on flat sky."""

import warnings
from functools import cache

import numpy as np
from scipy import ndimage

from galaxysegment import DETRSegmenter, MaskRCNNSegmenter

__all__ = ["scenes", "trained"]

_QUICK = {"scaling": "noise", "validation_fraction": 0, "patience": None, "random_state": 0}
_NETS = {
    "MaskRCNNSegmenter": MaskRCNNSegmenter(
        backbone="resnet10",
        channels=16,
        stem_stride=2,
        n_proposals=30,
        max_epochs=14,
        batch_size=4,
        lr=2e-3,
        **_QUICK,
    ),
    "DETRSegmenter": DETRSegmenter(
        base_width=4,
        depth=3,
        d_model=32,
        decoder_layers=1,
        n_queries=32,
        n_points=512,
        max_epochs=25,
        batch_size=4,
        lr=3e-3,
        **_QUICK,
    ),
}


def scenes(n_images, shape=(64, 64), random_state=0):
    """Images of round galaxies anywhere, with their label maps; values are multiples of 1/8."""
    random = np.random.default_rng(random_state)
    rows, columns = np.indices(shape)
    images, labels = np.zeros((n_images, *shape)), np.zeros((n_images, *shape), dtype=np.int32)
    for index in range(n_images):
        for number in range(1, 2 + shape[0] * shape[1] // 1200):
            empty = ndimage.binary_erosion(images[index] < 0.1, iterations=6)
            cy, cx = random.choice(np.argwhere(empty)) + random.uniform(-0.5, 0.5, size=2)
            profile = random.uniform(20, 40) * np.exp(
                -((rows - cy) ** 2 + (columns - cx) ** 2) / 18
            )
            labels[index][(profile > 2) & (profile > images[index])] = number
            images[index] += profile
    images += random.normal(size=images.shape) + 5
    return (np.rint(8 * images) / 8).astype(np.float32), labels


@cache
def trained(name):
    """A net that finds what is in `scenes`; trained once for all tests of a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _NETS[name].fit(*scenes(32, random_state=1))
