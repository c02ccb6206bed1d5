"""A smooth curve through fractions in bins, by binomial likelihood."""

import numpy as np

_PENALTIES = np.geomspace(1e-3, 1e5, 25)
_STEPS = 100
_LIMIT = 12.0  # of the logit: fractions of 6e-6 and 1 - 6e-6


def smooth_fractions(centres, n, n_hit, monotone):
    """Fit fractions whose logit is as straight as the counts allow.

    Parameters
    ----------
    centres : ndarray of float, shape (n_bins,)
    n, n_hit : ndarray of int, shape (n_bins,)
    monotone : bool
        Whether the curve must not turn: it then falls or rises, whichever fits better.

    Returns
    -------
    logit, variance : ndarray of float, shape (n_bins,)

    Notes
    -----
    The logit of each bin is free; its second derivative has a penalty (Eilers and Marx 1996), whose
    weight has the least AIC. A second penalty holds steps in the wrong direction at zero
    (Bollaerts, Eilers and van Mechelen 2006).
    """
    bend = _second_derivative(centres)
    signs = (-1.0, 1.0) if monotone else (0.0,)
    fits = [_fit(n, n_hit, weight * bend.T @ bend, sign) for weight in _PENALTIES for sign in signs]
    _, logit, inverse = min(fits, key=lambda fit: fit[0])
    return logit, np.diag(inverse)


def _second_derivative(centres):
    """Matrix of the second derivatives at the inner bins, in units of the middle distance."""
    x = centres / np.median(np.diff(centres))
    rows = np.zeros((len(x) - 2, len(x)))
    for k in range(len(rows)):
        left, right = x[k + 1] - x[k], x[k + 2] - x[k + 1]
        width = (left + right) / 2
        rows[k, k : k + 3] = (
            1 / (left * width),
            -(1 / left + 1 / right) / width,
            1 / (right * width),
        )
    return rows


def _fit(n, n_hit, penalty, sign):
    """Return AIC, logits and their covariance by Newton's steps; a curve of `sign` +1 rises."""
    start = np.log((n_hit.sum() + 0.5) / ((n - n_hit).sum() + 0.5))
    logit = np.full(len(n), start)
    steps = np.diff(np.eye(len(n)), axis=0)
    tiny = 1e-6 * np.eye(len(n))  # bins beyond the data, and the ends of a curve that is 0 or 1
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-logit))
        wrong = sign * np.diff(logit) < 0 if sign else np.zeros(len(n) - 1, dtype=bool)
        order = 1e4 * steps[wrong].T @ steps[wrong]
        curvature = np.diag(n * chance * (1 - chance)) + penalty + order + tiny
        slope = n_hit - n * chance - (penalty + order + tiny) @ logit
        step = np.linalg.solve(curvature, slope)
        logit = np.clip(logit + np.clip(step, -2, 2), -_LIMIT, _LIMIT)
        if np.abs(step).max() < 1e-8:
            break
    chance = np.clip(1 / (1 + np.exp(-logit)), 1e-12, 1 - 1e-12)
    likelihood = (n_hit * np.log(chance) + (n - n_hit) * np.log1p(-chance)).sum()
    inverse = np.linalg.inv(curvature)
    freedom = np.trace(inverse * (n * chance * (1 - chance)))
    return 2 * freedom - 2 * likelihood, logit, inverse
