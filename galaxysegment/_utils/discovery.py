"""Find every estimator of the package, so that shared tests, pages and benchmarks need no list."""

import inspect
from importlib import import_module

_KINDS = {
    "transformer": "galaxysegment.preprocessing",
    "segmenter": "galaxysegment.segmenters",
    "separator": "galaxysegment.separation",
}


def all_estimators(kind=None):
    """List the public estimators of galaxysegment.

    Parameters
    ----------
    kind : {"transformer", "segmenter", "separator"} or None, default=None
        Which estimators to list; ``None`` lists all.

    Returns
    -------
    list of (str, type)
        Name and class, sorted by name.
    """
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"kind must be one of {sorted(_KINDS)} or None. Got {kind!r} instead.")
    found = {}
    for module_name in [_KINDS[kind]] if kind else _KINDS.values():
        module = import_module(module_name)
        for name in module.__all__:
            member = getattr(module, name)
            if (
                inspect.isclass(member)
                and hasattr(member, "get_params")
                and not inspect.isabstract(member)
            ):
                found[name] = member
    return sorted(found.items())
