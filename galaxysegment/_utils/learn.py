"""The parts of scikit-learn that every segmenter needs, imported in half of their usual time.

Import these names from here, and before any other part of scikit-learn: see `later`.
"""

from .later import SELDOM_USED, put_off
from .shared import NO_COLLECTION

with NO_COLLECTION, put_off(*SELDOM_USED):
    # Each setting of astropy looks through all modules that are there: the fewer, the better.
    import astropy.io.fits  # noqa: F401
    from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
    from sklearn.utils._param_validation import (
        Interval,
        Options,
        StrOptions,
        validate_parameter_constraints,
        validate_params,
    )
    from sklearn.utils.validation import check_is_fitted

__all__ = [
    "BaseEstimator",
    "Interval",
    "Options",
    "StrOptions",
    "TransformerMixin",
    "_fit_context",
    "check_is_fitted",
    "validate_parameter_constraints",
    "validate_params",
]
