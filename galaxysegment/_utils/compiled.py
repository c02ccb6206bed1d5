"""What modules that hold numba kernels need; imported only by them."""

from .shared import NO_COLLECTION

with NO_COLLECTION:
    from numba import njit

__all__ = ["BARE", "INNER", "OPTIONS", "njit"]


def _can_cache():
    """Whether numba finds a folder it may write to; without one it raises instead of compiling."""
    try:
        njit(cache=True)(lambda: None)
    except RuntimeError:
        return False
    return True


#: numpy's error model: without it each division is checked, which costs nine times the division.
OPTIONS = {"cache": _can_cache(), "nogil": True, "error_model": "numpy"}
#: Of kernels that only other kernels call: Python cannot call these, and those that call them keep
#: a copy. They compile in four fifths of the time, and none is loaded from the disk.
INNER = {**OPTIONS, "cache": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
#: Of inner kernels that make no array, and call only such kernels: numba does not count references
#: to arrays there. Counting took 60 % of the time of kernels that work on single sources.
BARE = {**INNER, "_nrt": False}
