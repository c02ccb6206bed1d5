"""Keep the memory of one training step for the next one."""

import ctypes
import threading

__all__ = ["kept_memory"]

# Options of glibc's mallopt, from malloc.h, and what they are set to inside and after the block.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_INSIDE = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20}
# The first three are glibc's defaults. Its threshold for mmap starts low and adapts until it is
# first set; the largest value that it would adapt to is the one to leave behind.
_AFTER = {
    _MMAP_MAX: 65536,
    _TRIM_THRESHOLD: 128 << 10,
    _TOP_PAD: 128 << 10,
    _MMAP_THRESHOLD: 32 << 20,
}


class kept_memory:  # noqa: N801 - a context manager reads like a function
    """Inside a ``with`` block, freed memory stays with the process.

    glibc returns every large array to the kernel when it is freed, and gets it back page by page,
    each zeroed first. A net makes and frees its activations in every step: on a CPU that costs a
    quarter to a half of the time. After the block, the memory goes back the next time a large array
    is freed. Elsewhere than on glibc the block does nothing.
    """

    _lock = threading.Lock()
    _depth = 0

    def __enter__(self):
        with self._lock:
            kept_memory._depth += 1
            if self._depth == 1:
                _set_options(_INSIDE)

    def __exit__(self, *error):
        with self._lock:
            kept_memory._depth -= 1
            if self._depth == 0:
                _set_options(_AFTER)


def _set_options(options):
    libc = _find_glibc()
    if libc is None:
        return
    for option, value in options.items():
        libc.mallopt(option, value)


def _find_glibc():
    try:
        libc = ctypes.CDLL(None)
    except TypeError:  # Windows knows no library without a name
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
