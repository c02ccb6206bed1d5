"""What modules that hold numba kernels need; imported only by them."""

from .shared import NO_COLLECTION

with NO_COLLECTION:
    import numba
    import numba.cpython.hashing  # makes symbols known that the machine code may refer to
    from numba.core.caching import FunctionCache
    from numba.core.runtime import rtsys

__all__ = ["INNER", "OPTIONS", "njit"]


class _QuickCache(FunctionCache):
    """Load a kernel from the disk without all that numba needs to compile one.

    numba makes the types and functions of its language known first: a tenth of a second that only
    a kernel needs that is compiled, and numba makes them known then, too.
    """

    def load_overload(self, sig, target_context):
        try:
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)
        except Exception:  # whatever a kernel misses, the usual way provides
            return super().load_overload(sig, target_context)


def njit(**options):
    """Return the decorator that compiles a kernel with these options of `numba.njit`."""

    def compiled(function):
        kernel = numba.njit(**options)(function)
        if options["cache"]:
            kernel._cache = _QuickCache(function)
        return kernel

    return compiled


def _can_cache():
    """Whether numba finds a folder it may write to; without one it raises instead of compiling."""
    try:
        numba.njit(cache=True)(lambda: None)
    except RuntimeError:
        return False
    return True


#: numpy's error model: without it each division is checked, which costs nine times the division.
OPTIONS = {"cache": _can_cache(), "nogil": True, "error_model": "numpy"}
#: Of kernels that only other kernels call: Python cannot call these, and those that call them keep
#: a copy. They compile in four fifths of the time, and none is loaded from the disk.
INNER = {**OPTIONS, "cache": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
