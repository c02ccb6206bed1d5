"""Dense Haralick features by mahotas, window by window: the slow reference for `_haralick`."""

import numpy as np

from .._utils.packages import require

N_FEATURES = 9
_SUM_AVERAGE = 5


def haralick_maps(levels, window, n_levels, *, out=None, n_jobs=None):  # noqa: ARG001
    """Compute nine Haralick features of the window around every pixel, mean of four directions.

    Parameters and result are as of `galaxysegment.preprocessing._haralick.haralick_maps`. Each
    pixel takes four co-occurrence matrices of mahotas.
    """
    texture = require('PixelFeatures(engine="mahotas")', "mahotas.features.texture")
    radius = window // 2
    # mahotas leaves out pairs with a zero: levels count from 1, and 0 is no data
    padded = np.pad(np.maximum(levels.astype(np.int32), -1) + 1, radius)
    if out is None:
        out = np.empty((N_FEATURES, *levels.shape))
    for y, x in np.ndindex(levels.shape):
        if levels[y, x] < 0:
            out[:, y, x] = np.nan
        else:
            out[:, y, x] = _features(texture, padded[y : y + window, x : x + window], levels[y, x])
    return out


def _features(texture, around, level):
    """Nine features of one window, whose pixels without data are zero."""
    matrices = [_pairs(texture, around, direction) for direction in range(4)]
    matrices = [matrix for matrix in matrices if matrix.any()]
    if not matrices:
        return [1, 0, 1, 0, 1, 2 * level, 0, 0, 0]
    features = texture.haralick_features(matrices, return_mean=True)[:N_FEATURES]
    features[_SUM_AVERAGE] -= 2  # both levels of a pair are counted from 1
    return features


def _pairs(texture, around, direction):
    """Co-occurrence matrix of one direction, without the pairs of pixels without data."""
    matrix = texture.cooccurence(np.ascontiguousarray(around), direction, symmetric=True)
    matrix[0] = matrix[:, 0] = 0
    return matrix
