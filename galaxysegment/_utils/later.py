"""Imports that scipy and scikit-learn do for few of their functions, put off until they are used.

They take longer than all the rest of scipy and scikit-learn that a segmenter needs. Import this
module before any part of scipy: else nothing is saved. Nothing is put off while another thread
runs, because that thread could import the same module.
"""

import sys
import threading
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from .shared import NO_COLLECTION

#: Modules to put off. scipy copies all names of numpy, and so imports the first two.
SELDOM_USED = (
    "numpy.f2py",
    "numpy.testing",
    "scipy.special",
    "scipy.stats",
    "narwhals",  # the next three are for data frames
    "narwhals.stable",
    "narwhals.stable.v2",
    "asyncio",  # for coroutines of joblib
)


class _Later(ModuleType):
    """Stands in for a module in `sys.modules`; gives way to it as soon as an attribute is used."""

    def __getattr__(self, name):
        # Tools that look through sys.modules ask for names such as __file__: no reason to import.
        if name.startswith("__") and name not in ("__path__", "__all__"):
            raise AttributeError(name)
        _give_way(self)
        return getattr(import_module(self.__name__), name)


def _give_way(stand_in):
    """Remove all stand-ins, because a package and its modules are imported together."""
    if sys.modules.get(stand_in.__name__) is stand_in:
        _remove_stand_ins()


def _remove_stand_ins():
    for name, module in list(sys.modules.items()):
        if isinstance(module, _Later):
            del sys.modules[name]
            package, _, child = name.rpartition(".")
            if package in sys.modules and vars(sys.modules[package]).get(child) is module:
                delattr(sys.modules[package], child)


@contextmanager
def put_off(*names):
    """Skip ``import name`` statements in the block; later ones find the module as ever."""
    if threading.active_count() > 1:
        yield
        return
    names = [name for name in names if name not in sys.modules]
    sys.modules.update((name, _Later(name)) for name in names)
    try:
        for name in names:
            package, _, child = name.rpartition(".")
            if package:
                setattr(import_module(package), child, sys.modules[name])
        yield
    finally:
        _remove_stand_ins()


with NO_COLLECTION, put_off(*SELDOM_USED):
    from scipy import ndimage

__all__ = ["SELDOM_USED", "ndimage", "put_off"]
