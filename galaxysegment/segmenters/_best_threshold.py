"""The threshold of a probability that suits images with a truth best."""

import numpy as np

from ..metrics import detection_scores
from ..structures import label_components, remove_small

__all__ = ["THRESHOLDS", "best_threshold", "threshold_quality"]

THRESHOLDS = np.linspace(0.2, 0.8, 13)


def best_threshold(pairs, n_pixels):
    """Return the threshold with the best sum of pixel IoU and source F1; F1 often decides.

    Parameters
    ----------
    pairs, n_pixels
        As of `threshold_quality`.
    """
    return float(THRESHOLDS[int(np.argmax(threshold_quality(pairs, n_pixels)))])


def threshold_quality(pairs, n_pixels):
    """Return the sum of pixel IoU and source F1 at each of `THRESHOLDS`.

    True sources under `n_pixels` pixels are ignored, because the segmenter drops such sources.

    Parameters
    ----------
    pairs : iterable of (ndarray, ndarray)
        Probabilities and label map of an image.
    n_pixels : int

    Returns
    -------
    ndarray of float, shape (n_thresholds,)
    """
    # for each threshold: pixels of both, of either; sources matched, true, predicted
    counts = np.zeros((len(THRESHOLDS), 5), dtype=np.int64)
    for proba, truth in pairs:
        wanted = remove_small(truth, n_pixels)
        small = (truth > 0) & (wanted == 0)
        for index, threshold in enumerate(THRESHOLDS):
            predicted = remove_small(label_components((proba > threshold) & ~small), n_pixels)
            both = np.count_nonzero((wanted > 0) & (predicted > 0))
            either = np.count_nonzero((wanted > 0) | (predicted > 0))
            scores = detection_scores(wanted, predicted)
            counts[index] += both, either, scores.n_matched, scores.n_true, scores.n_pred
    both, either, matched, n_true, n_pred = counts.T
    return _ratio(both, either) + _ratio(2 * matched, n_true + n_pred)


def _ratio(part, total):
    """Fraction, 1 for nothing of nothing."""
    return np.divide(part, total, out=np.ones(len(part)), where=total > 0)
