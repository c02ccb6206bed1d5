"""Kernel of the search for seams.

numba takes a while to import, so functions import this module.
"""

import numpy as np

from .._utils.compiled import OPTIONS, njit


@njit(**OPTIONS)
def mean_of_twelve(line, start):
    """Return the mean of 12 numbers, added in the order of `_steps._step`."""
    a, b, c, d = line[start], line[start + 1], line[start + 2], line[start + 3]
    e, f, g, h = line[start + 4], line[start + 5], line[start + 6], line[start + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    total = total + line[start + 8] + line[start + 9] + line[start + 10] + line[start + 11]
    return total / 12


@njit(**OPTIONS)
def mark_lines_with_steps(lines, low, chosen):
    """Mark the lines whose highest step can exceed the limit of `_steps._steps`.

    Parameters
    ----------
    lines : ndarray of float64, shape (n, length)
    low : float
        A line is left out if half of its steps exceed its highest step over this number.
    chosen : ndarray of bool, shape (n,)
        Filled.
    """
    length = lines.shape[1]
    means, sizes = np.empty(length - 11), np.empty(length - 23)
    for index in range(len(lines)):
        line = lines[index]
        for x in range(means.size):
            means[x] = mean_of_twelve(line, x)
        highest, n_missing = 0.0, 0
        for x in range(sizes.size):
            sizes[x] = abs(means[x + 12] - means[x])
            n_missing += sizes[x] != sizes[x]
            highest = max(highest, sizes[x])
        n_low, limit = 0, highest / low
        for x in range(sizes.size):
            n_low += sizes[x] < limit
        chosen[index] = n_missing > 0 or 2 * n_low >= sizes.size - 1
