"""Find the estimators of this package and of others: tests, pages and commands need no list.

Another package adds its own by an entry point, for instance in its ``pyproject.toml``::

    [project.entry-points."galaxysegment.segmenters"]
    starfinder = "starfinder:StarFinder"

The name on the left is its ``--method`` on the command line.
"""

import inspect
import warnings
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points

from ..exceptions import UnusableEntryPointWarning

# Where estimators of a kind are, and the group of the entry points that add others.
_KINDS = {
    "transformer": "galaxysegment.preprocessing",
    "segmenter": "galaxysegment.segmenters",
    "separator": "galaxysegment.separation",
}
_METHODS = {"transformer": "transform", "segmenter": "predict", "separator": "separate"}


def all_estimators(kind=None):
    """List the public estimators of galaxysegment and those that installed packages add.

    Parameters
    ----------
    kind : {"transformer", "segmenter", "separator"} or None, default=None
        Which estimators to list; ``None`` lists all.

    Returns
    -------
    list of (str, type)
        Name and class, sorted by name.

    Warns
    -----
    UnusableEntryPointWarning
        If an entry point of another package cannot be loaded, is no estimator, or has the name of
        another estimator. It is left out.
    """
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"kind must be one of {sorted(_KINDS)} or None. Got {kind!r} instead.")
    kinds = [kind] if kind else list(_KINDS)
    estimators = {}
    for each in kinds:
        estimators.update(own_estimators(each))
    for each in kinds:
        for entry in added_entry_points(each).values():
            _add_entry_point(estimators, entry, each)
    return sorted(estimators.items())


def own_classes(kind):
    """Return the public names of a kind's module, each with a function that imports its value."""
    module = import_module(_KINDS[kind])
    return {name: partial(getattr, module, name) for name in module.__all__}


def own_estimators(kind):
    """Return the estimators of galaxysegment itself, a dict of class by name."""
    members = {name: load() for name, load in own_classes(kind).items()}
    return {
        name: member
        for name, member in members.items()
        if inspect.isclass(member)
        and hasattr(member, "get_params")
        and not inspect.isabstract(member)
    }


def added_entry_points(kind):
    """Return the entry points that add estimators of a kind, by their names; import nothing."""
    return {entry.name: entry for entry in entry_points(group=_KINDS[kind])}


def persistent_class(name):
    """Return the class that a model file calls `name`, or None.

    An estimator of galaxysegment has its own name. An estimator of another package is called after
    its package, as in "starfinder.StarFinder". It is kept only if its class says
    ``_in_model_files = True``.
    """
    for kind in _KINDS:
        own = own_estimators(kind).get(name)
        if own is not None:
            return own
    package = name.split(".")[0]
    for kind in _KINDS:
        for entry in added_entry_points(kind).values():
            if entry.module.split(".")[0] == package:
                member = load_entry_point(entry, kind)
                if persistent_name(member) == name:
                    return member
    return None


def persistent_name(estimator_class):
    """Return what a model file calls a class, or None if it is not kept in model files."""
    name, module = estimator_class.__name__, estimator_class.__module__
    package = module.split(".")[0]
    if package == __name__.split(".")[0]:
        return name
    return f"{package}.{name}" if getattr(estimator_class, "_in_model_files", False) else None


def load_entry_point(entry, kind):
    """Import the class of an entry point.

    Raises
    ------
    ImportError
        If that fails.
    TypeError
        If it is no estimator of that kind.
    """
    try:
        member = entry.load()
    except Exception as error:
        raise ImportError(
            f"The {kind} {entry.name} of another package ({entry.value}) cannot be imported "
            f"({type(error).__name__}: {error}): mend or uninstall that package."
        ) from error
    needed = ("get_params", "fit", _METHODS[kind])
    if not inspect.isclass(member) or not all(hasattr(member, name) for name in needed):
        raise TypeError(
            f"The {kind} {entry.name} of another package ({entry.value}) must be a class with "
            f"{', '.join(needed)}."
        )
    return member


def _add_entry_point(estimators, entry, kind):
    try:
        member = load_entry_point(entry, kind)
    except (ImportError, TypeError) as error:
        warnings.warn(str(error), UnusableEntryPointWarning, stacklevel=3)
        return
    name = member.__name__
    if estimators.get(name, member) is not member:
        warnings.warn(
            f"The {kind} {entry.name} of another package ({entry.value}) is left out, because "
            f"{estimators[name].__module__} has a class {name} too: use another name.",
            UnusableEntryPointWarning,
            stacklevel=3,
        )
        return
    estimators[name] = member
