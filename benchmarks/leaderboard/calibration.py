"""How far the probabilities of pixels can be trusted."""

import numpy as np

from galaxysegment import metrics


def curve_of(estimator, patches):
    """Reliability curve, calibration error and Brier score of a segmenter with probabilities.

    None for other segmenters.
    """
    if not hasattr(estimator, "predict_proba"):
        return None
    proba = estimator.predict_proba(patches.X)
    curve = metrics.reliability_curve(patches.labels, proba, n_bins=20)
    return {
        "predicted": np.round(curve.predicted, 5).tolist(),
        "observed": np.round(curve.observed, 5).tolist(),
        "count": curve.count.tolist(),
        "ECE": metrics.expected_calibration_error(patches.labels, proba, n_bins=20),
        "Brier": metrics.brier_score(patches.labels, proba),
        "loss": cross_entropy(patches.labels, proba),
    }


def cross_entropy(labels, proba, least=1e-6):
    """Mean binary cross-entropy of all pixels, the loss that studies report."""
    total = n = 0.0
    for target, image in zip(labels, proba, strict=True):
        mask = np.asarray(target) > 0
        likely = np.clip(np.where(mask, image, 1 - image), least, 1)
        total, n = total - np.log(likely).sum(), n + likely.size
    return float(total / n)
