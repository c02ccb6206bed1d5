"""When compiled functions are worth the time that numba takes to start."""

import sys

_PAYS = 1 << 22  # pixels for which compiled functions pay


def compiling_pays(n_pixels):
    """Whether compiled functions save more time on so many pixels than numba takes to start.

    numba takes 0.3 s to start; numpy takes 0.05 s longer for each million pixels.
    """
    return n_pixels >= _PAYS or "numba" in sys.modules
