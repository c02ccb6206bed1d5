"""What modules that hold numba kernels need; imported only by them."""

from .later import put_off
from .shared import NO_COLLECTION

with NO_COLLECTION, put_off("yaml"):  # numba reads a file of settings with it, if there is one
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


def _without_counts():
    """Return the option that turns numba's counting of references off, if numba has it."""
    option = {"_nrt": False}
    try:
        from numba.core.compiler import Flags
        from numba.core.cpu import CPUTargetOptions

        CPUTargetOptions.parse_as_flags(Flags(), option)
    except (ImportError, AttributeError, KeyError):  # numba says nothing about it in its manual
        return {}
    return option


#: Of inner kernels that make no array, and call only such kernels. numba counts the references to
#: each array, and frees its memory at the last: of kernels that work on single sources, counting
#: took 60 % of the time. Here it counts none: an array that was made here would never be freed, and
#: arrays of the caller live on because the caller counts them. Without the option, all is the same
#: but slower.
BARE = {**INNER, **_without_counts()}
