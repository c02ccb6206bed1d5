"""A kernel that reads rows of pixels from a file without the interpreter's lock.

numba takes a while to import, so functions import this module.
"""

from numba import types

from .._utils.compiled import OPTIONS, njit

_ARGUMENTS = types.intc, types.intp, types.uintp, types.int64
# Of the system: fills memory from a place in an open file, and returns how many bytes it has read.
_pread = types.ExternalFunction("pread", types.intp(*_ARGUMENTS))


@njit(**OPTIONS)
def read_swapped_rows(file, start, row_bytes, rows):
    """Read rows of numbers of four bytes, and turn the order of the bytes of each.

    Parameters
    ----------
    file : int
        Descriptor of the open file.
    start, row_bytes : int
        Place of the first row in the file, and from each row to the next.
    rows : ndarray of uint32, shape (n_rows, n_columns)
        Filled in.

    Returns
    -------
    bool
        False if the system has read less than was asked for.
    """
    n_bytes = rows.shape[1] * rows.itemsize
    for y in range(len(rows)):
        row = rows[y]
        if _pread(file, row.ctypes.data, n_bytes, start + y * row_bytes) != n_bytes:
            return False
        for x in range(row.size):  # while the row is in the cache
            number = row[x]
            outer = ((number & 0xFF) << 24) | (number >> 24)
            row[x] = outer | ((number & 0xFF00) << 8) | ((number >> 8) & 0xFF00)
    return True
