"""The parts of scikit-learn that every segmenter needs, imported in half of their usual time.

scikit-learn imports `scipy.stats` for the mode of numbers, which few of its estimators need. That
takes longer than all the rest. Here the import is put off until something asks for it. Import these
names from here, and before any other part of scikit-learn: else nothing is saved.

Nothing is put off while another thread runs, because that thread could import the same module.
"""

import sys
import threading
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from .shared import NO_COLLECTION

_PUT_OFF = "scipy.stats"


class _Later(ModuleType):
    """Stands in for a module in `sys.modules`; gives way to it as soon as an attribute is used."""

    def __getattr__(self, name):
        # Tools that look through sys.modules ask for names such as __file__: no reason to import.
        if name.startswith("__") and name not in ("__path__", "__all__"):
            raise AttributeError(name)
        _give_way(self)
        return getattr(import_module(self.__name__), name)


def _give_way(stand_in):
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]


@contextmanager
def _put_off(name):
    """Skip ``import name`` statements in the block; later ones find the module as ever."""
    if name in sys.modules or threading.active_count() > 1:
        yield
        return
    stand_in = sys.modules[name] = _Later(name)
    try:
        yield
    finally:
        _give_way(stand_in)


with NO_COLLECTION, _put_off(_PUT_OFF):
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
