"""Pixel IoU at several isophotes, because the truth depends on one.

The true masks of the leaderboard end where the noise-free light of a source falls to 1 local RMS.
Here they end at half of it, at 1, 2 and 4 times it. A system whose masks reach further than ours is
thus seen at the isophote that it aims at.
"""

from functools import lru_cache

import numpy as np

from galaxysegment.datasets import make_field

from .fields import without_sky
from .settings import DEEP
from .systems import predict

ISOPHOTES = (0.5, 1.0, 2.0, 4.0)
SIZE = 256


@lru_cache(maxsize=1)
def faint_light(seed, scale):
    """Patches of a field of setting A, and the brightest source's noise-free light in units of the
    RMS, (n, 256, 256).
    """
    side = {"full": 1024, "small": 512, "tiny": 256}[scale]
    seed = 2400 + 1000 * seed
    field, separated = make_field((side, side), random_state=seed, return_isolated=True, **DEEP)
    ratio = np.zeros((side, side), dtype=np.float32)
    for (y0, x0, y1, x1), part in zip(separated.boxes.tolist(), separated.parts, strict=True):
        window = slice(y0, y1), slice(x0, x1)
        light = part.reshape(-1, *part.shape[-2:])[0]
        ratio[window] = np.maximum(ratio[window], light / np.asarray(field.rms)[window])
    X, _ = without_sky(field).patches(SIZE, rms=True)
    windows = [
        ratio[y : y + SIZE, x : x + SIZE]
        for y in range(0, side, SIZE)
        for x in range(0, side, SIZE)
    ]
    return X, np.stack(windows)


def isophote_scores(estimator, seed, scale):
    """Pooled pixel IoU of a prediction with the truth at each isophote."""
    X, ratio = faint_light(seed, scale)
    marked = np.stack([sources.to_mask() for sources in predict(estimator, X)])
    scores = []
    for level in ISOPHOTES:
        truth = ratio > level
        scores.append(float((marked & truth).sum() / max((marked | truth).sum(), 1)))
    return {"level": list(ISOPHOTES), "iou": scores}
