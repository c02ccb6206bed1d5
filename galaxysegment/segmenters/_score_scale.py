"""What the scores of a detector are worth as probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

__all__ = ["ScoreScale", "check_score_scale"]

_LEAST = 1e-6  # scores closer to 0 or 1 have the logit of this one


class ScoreScale(NamedTuple):
    """Turn scores into probabilities by a line through their logits [1]_.

    The order of the sources stays, so average precision does not change.

    Parameters
    ----------
    slope : float
        Above 0.
    shift : float

    References
    ----------
    .. [1] Platt 1999, "Probabilistic outputs for support vector machines", in Advances in Large
       Margin Classifiers, 61.

    Examples
    --------
    >>> import numpy as np
    >>> scale = ScoreScale(slope=1.0, shift=0.5)
    >>> scale.apply(np.array([0.2, 0.5])).round(3)
    array([0.292, 0.622])
    >>> round(scale.undo(0.622), 2)
    0.5
    """

    slope: float
    shift: float

    def apply(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the probability that a source is true, for each score."""
        return expit(self.slope * _logit(scores) + self.shift)

    def undo(self, probability: float) -> float:
        """Return the score that has a probability."""
        return float(expit((_logit(probability) - self.shift) / self.slope))


def check_score_scale(values: Any) -> ScoreScale:
    """Return the numbers of a model file as a `ScoreScale`, or refuse them."""
    scale = ScoreScale(*(float(value) for value in values))
    if not np.isfinite(scale).all() or scale.slope <= 0:
        raise ValueError(f"{values!r} is no scale of scores: a slope above 0 and a shift.")
    return scale


def _logit(scores):
    return logit(np.clip(np.asarray(scores, dtype=np.float64), _LEAST, 1 - _LEAST))
