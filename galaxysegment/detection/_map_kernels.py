"""Kernels of background and noise maps, sums of a few lines each: their rows, and lower limits.

Loops over a part of a row run over numbers without a sign: else numba asks of each index whether it
counts from the end. numba takes a while to import, so functions import this module.
"""

import numpy as np

from .._utils.compiled import BARE, INNER, njit

BLOCK = 64  # pixels of a row that are compared with one limit first
SLACK = 1e-5  # share that rounding can change a sum of a few terms by, with room to spare


@njit(**BARE)
def map_row(out, y, smooth_map, x0, x1):
    """Fill columns ``x0…x1`` of a row of a background or noise map.

    Parameters
    ----------
    out : ndarray of shape (width,)
    y, x0, x1 : int
    smooth_map : tuple
        For each row, four lines and their weights; the lines, shape (n, width); the lowest and the
        highest sum, and what is added to the sum.
    """
    fill_columns(out, x0, x1, smooth_map[2], line_of_map(y, smooth_map))


@njit(**BARE)
def line_of_map(y, smooth_map):
    """Numbers that make row `y` of a map, for `fill_columns`."""
    lines, weights, _, low, high, base = smooth_map
    a, b, c, d = weights[y, 0], weights[y, 1], weights[y, 2], weights[y, 3]
    return lines[y, 0], lines[y, 1], lines[y, 2], lines[y, 3], a, b, c, d, low, high, base


@njit(**BARE)
def fill_columns(out, x0, x1, columns, line):
    """Fill columns ``x0…x1`` of a row of a map, given its `line_of_map`."""
    first, second, third, fourth, a, b, c, d, low, high, base = line
    for x in range(np.uintp(x0), np.uintp(x1)):
        value = columns[first, x] * a
        value += columns[second, x] * b
        value += columns[third, x] * c
        value += columns[fourth, x] * d
        value = low if value < low else value
        out[x] = (high if value > high else value) + base


@njit(**INNER)
def extremes_of_blocks(smooth_map):
    """Lowest and highest value of each line of a map in blocks, shape (2, n_blocks, n_lines)."""
    columns = smooth_map[2]
    n_lines, width = columns.shape
    extremes = np.empty((2, -(-width // BLOCK), n_lines), columns.dtype)
    for line in range(n_lines):
        for block in range(extremes.shape[1]):
            x0 = block * BLOCK
            low = high = columns[line, x0]
            for x in range(x0, min(x0 + BLOCK, width)):
                low, high = min(low, columns[line, x]), max(high, columns[line, x])
            extremes[0, block, line], extremes[1, block, line] = low, high
    return extremes


@njit(**BARE)
def limit_blocks(limits, y, smooth_map, extremes):
    """Fill in, for each block of row `y` of a map, a number that no pixel of it is below."""
    lines, weights, columns, lowest, highest, base = smooth_map
    slack = columns.dtype.type(SLACK)
    for block in range(limits.size):
        total = size = columns.dtype.type(0)
        for index in range(4):
            line, weight = lines[y, index], weights[y, index]
            low, high = weight * extremes[0, block, line], weight * extremes[1, block, line]
            total += min(low, high)
            size += max(abs(low), abs(high))
        total -= size * slack
        total = lowest if total < lowest else total
        limits[block] = (highest if total > highest else total) + base
