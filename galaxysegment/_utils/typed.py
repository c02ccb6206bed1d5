"""Decorators of scikit-learn that keep the types of what they decorate."""

from collections.abc import Callable
from typing import Any, TypeVar

from .learn import _fit_context, validate_params

_Function = TypeVar("_Function", bound=Callable[..., Any])


def fit_context(method: _Function) -> _Function:
    """Check an estimator's parameters before its ``fit``."""
    return _fit_context(prefer_skip_nested_validation=True)(method)


def validated(constraints: dict[str, list[Any]]) -> Callable[[_Function], _Function]:
    """Check the arguments of a function."""
    return validate_params(constraints, prefer_skip_nested_validation=True)
