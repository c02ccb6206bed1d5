"""Options of numba kernels; imported only by modules that hold kernels."""

from numba import njit


def _can_cache():
    """Whether numba finds a folder it may write to; without one it raises instead of compiling."""
    try:
        njit(cache=True)(lambda: None)
    except RuntimeError:
        return False
    return True


#: numpy's error model: without it each division is checked, which costs nine times the division.
OPTIONS = {"cache": _can_cache(), "nogil": True, "error_model": "numpy"}
