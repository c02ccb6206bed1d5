"""Calibration: a monotone table from a model's probabilities to observed fractions."""

import numpy as np

METHODS = ("isotonic", "temperature")
_LARGEST_LOGIT = 9.0  # probabilities are told apart from 0.0001 to 0.9999
_BIN_WIDTH = 0.25  # of the logit
_LEAST_COUNT = 50  # pixels in a step of the isotonic table


def fit_calibration(probas, truths, method="isotonic"):
    """Fit a table that turns probabilities into observed fractions.

    Parameters
    ----------
    probas : list of ndarray
        Probabilities of the pixels (or sources).
    truths : list of ndarray of bool
        Whether each is a galaxy.
    method : {"isotonic", "temperature"}, default="isotonic"
        ``"isotonic"`` fits a rising curve of any form, ``"temperature"`` divides the logit by a
        number.

    Returns
    -------
    ndarray of float64, shape (2, n_knots)
        Logits before and after, both strictly rising.
    """
    counts, hits = _tally(probas, truths)
    if not 0 < hits.sum() < counts.sum():
        raise ValueError(
            "Calibration needs pixels of galaxies and of sky. The images given have only "
            f"{'galaxies' if hits.sum() else 'sky'}: give images with sources and sky."
        )
    fit = {"isotonic": _isotonic_table, "temperature": _temperature_table}[method]
    return fit(_bin_centres(), counts, hits)


def apply_calibration(table, proba):
    """Calibrated probabilities; linear in the logit between the knots and beyond them."""
    before, after = np.asarray(table, dtype=np.float64)
    slope = (after[-1] - after[0]) / (before[-1] - before[0])
    logit = _logit(np.asarray(proba, dtype=np.float64))
    inside = np.interp(logit, before, after)
    outside = np.minimum(logit - before[0], 0) + np.maximum(logit - before[-1], 0)
    return _sigmoid(inside + slope * outside).astype(np.asarray(proba).dtype, copy=False)


def check_table(table):
    """Return a table read from a file, or raise `ValueError`."""
    table = np.asarray(table, dtype=np.float64)
    if table.ndim != 2 or len(table) != 2 or table.shape[1] < 2:
        raise ValueError(
            f"a calibration table has shape (2, n), n >= 2, but this one {table.shape}"
        )
    if not (np.isfinite(table).all() and (np.diff(table) > 0).all()):
        raise ValueError("a calibration table must rise strictly")
    return table


def _logit(proba):
    least = _sigmoid(-_LARGEST_LOGIT)
    clipped = np.clip(proba, least, 1 - least)
    return np.log(clipped) - np.log1p(-clipped)


def _sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def _bin_centres():
    return np.arange(-_LARGEST_LOGIT, _LARGEST_LOGIT + _BIN_WIDTH / 2, _BIN_WIDTH)


def _tally(probas, truths):
    """Number of pixels, and of galaxy pixels, in each bin of the logit."""
    n_bins = len(_bin_centres())
    counts, hits = np.zeros(n_bins), np.zeros(n_bins)
    for proba, truth in zip(probas, truths, strict=True):
        index = np.rint((_logit(np.ravel(proba)) + _LARGEST_LOGIT) / _BIN_WIDTH).astype(int)
        counts += np.bincount(index, minlength=n_bins)
        hits += np.bincount(index, weights=np.ravel(truth).astype(float), minlength=n_bins)
    return counts, hits


def _isotonic_table(centres, counts, hits):
    from sklearn.isotonic import isotonic_regression

    filled = counts >= min(_LEAST_COUNT, counts.max())
    before, counts, hits = centres[filled], counts[filled], hits[filled]
    observed = (hits + 0.5) / (counts + 1)  # never 0 or 1: their logit is infinite
    after = _logit(isotonic_regression(observed, sample_weight=counts))
    # a flat part becomes one knot at its middle, so that the table rises strictly
    values, step = np.unique(after, return_inverse=True)
    middles = np.bincount(step, before * counts) / np.bincount(step, counts)
    return np.stack([middles, values]) if len(values) > 1 else _shift(middles[0], values[0])


def _shift(before, after):
    """Table that moves all logits by the same amount."""
    return np.array([[before - 1, before + 1], [after - 1, after + 1]])


def _temperature_table(centres, counts, hits):
    from scipy.optimize import minimize_scalar

    def loss(log_scale):
        logit = centres * np.exp(log_scale)
        return (counts * np.logaddexp(0, logit) - hits * logit).sum()

    scale = np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)
    return np.array([[-1.0, 1.0], [-scale, scale]])
