"""Dense Haralick features: the co-occurrence statistics of a window around every pixel.

Moving the window by one column changes two columns of pairs, so only those are counted. What the
features need of the counts ``n`` are sums over cells (``n²``, ``n log n``) and sums over pairs (``a
+ b``, ``(a - b)²``, …). All are kept as integers, logarithms in fixed point: adding and removing is
exact, so a pixel's features do not depend on where the sliding began, on the number of threads or
on the tile.

numba takes a second to import, so this module is imported inside methods.
"""

import numpy as np
from joblib import Parallel, delayed

from .._utils.compiled import OPTIONS, njit

N_FEATURES = 9

# Fixed point of n log n and of 1 / (1 + (a - b)²): sums over the largest window stay below 2⁶⁰, and
# the rounding of all cells together changes no feature by 1e-12.
_SCALE = float(1 << 40)
_BLOCK = 32  # rows that a thread works on at a time


# Counts and cells are unsigned: an index that cannot be negative costs less.
_ONE = np.uint32(1)

# Sums over the pairs of a window, in the order they are stored.
_PAIRS, _SUM, _SUM_SQUARED, _GAP_SQUARED, _IDM = range(5)


def haralick_maps(levels, window, n_levels, *, out=None, n_jobs=None):
    """Nine Haralick features of the window around every pixel, averaged over four directions.

    Parameters
    ----------
    levels : ndarray of int, shape (height, width)
        Grey levels 0…`n_levels` - 1; negative where there is no data. Pairs with a missing pixel
        are not counted, and the window is clipped at the border of the image.
    window : int
        Odd side of the window, 3 to 127.
    n_levels : int
        Number of grey levels, at most 256.
    out : ndarray of float, shape (9, height, width), optional
        Where to write the result, float64 unless given; it is computed in integers and float64.
    n_jobs : int, optional
        Threads that share the rows.

    Returns
    -------
    ndarray of shape (9, height, width)
        In the order and by the definitions of ``mahotas.features.haralick``; NaN where `levels` is
        negative. Correlation is 1 where all levels of a direction's pairs are equal. A direction
        without pairs takes no part in the average; a window without any pair counts as constant.
    """
    radius = window // 2
    padded = np.pad(levels.astype(np.int16), radius, constant_values=-1)
    if out is None:
        out = np.empty((N_FEATURES, *levels.shape))
    tables = _tables(window, n_levels)
    Parallel(n_jobs=n_jobs, require="sharedmem")(
        delayed(_fill_rows)(
            padded[first : first + _BLOCK + 2 * radius],
            window,
            n_levels,
            tables,
            out[:, first : first + _BLOCK],
        )
        for first in range(0, len(levels), _BLOCK)
    )
    return out


def _tables(window, n_levels):
    """Tables: gain of ``m log2 m`` by a pair (see `_enter`), log2 of 2 n, and 1/(1+(a-b)²)."""
    pairs = np.arange(window * window + 1)
    entries = np.stack([pairs, 2 * pairs])
    n_log_n = entries * np.log2(np.maximum(entries, 1))
    n_log_n[0] *= 2  # a pair of unequal levels makes two entries of the symmetric matrix
    n_log_n = np.rint(n_log_n * _SCALE).astype(np.int64)
    gains = np.diff(n_log_n, axis=1, prepend=0)
    idm = 1 / (1 + np.arange(n_levels, dtype=np.float64) ** 2)
    return (
        n_log_n,
        gains,
        np.log2(np.maximum(entries[1], 1)),
        np.rint(idm * _SCALE).astype(np.int64),
    )


@njit(**OPTIONS)
def _fill_rows(levels, window, n_levels, tables, out):
    """Fill `out` with the features of the rows of `levels` that have a whole window."""
    n_features, height, width = out.shape
    features = np.zeros((height, width, n_features))
    n_directions = np.zeros((height, width), np.uint8)
    for direction in range(4):
        _add_direction(levels, direction, window, n_levels, tables, features, n_directions)
    radius = window // 2
    for y in range(height):
        for x in range(width):
            level = levels[y + radius, x + radius]
            if n_directions[y, x] == 0:
                _constant_window(level, features[y, x])
            else:
                features[y, x] /= n_directions[y, x]
            for k in range(n_features):
                out[k, y, x] = features[y, x, k] if level >= 0 else np.nan


@njit(**OPTIONS)
def _constant_window(level, features):
    features[:] = 0
    features[0] = features[2] = features[4] = 1
    features[5] = 2 * level


@njit(**OPTIONS)
def _add_direction(levels, direction, window, n_levels, tables, features, n_directions):
    """Add the features of one direction, and count it, at each pixel that has pairs in it."""
    n_log_n, gains, logs, idm = tables
    cells, totals = _number_pairs(levels, direction, n_levels)
    n_rows = window - (
        direction != 0
    )  # of pairs, anchored in the left upper pixel of their 2×2 block
    n_columns = window - (direction != 2)
    height, width = n_directions.shape
    columns = np.zeros((levels.shape[1], 5), np.int64)
    moments = np.empty((width, 5), np.int64)
    cell_sums = np.empty((width, 3), np.int64)
    counts = np.zeros(n_levels * (n_levels + 1) // 2 + 1, np.uint32)
    histogram = np.zeros(2 * n_levels, np.uint32)
    for y in range(n_rows - 1):
        _add_row(levels, y, direction, 1, idm, columns)
    for y in range(height):
        _add_row(levels, y + n_rows - 1, direction, 1, idm, columns)
        _slide_moments(columns, n_columns, moments)
        rows = slice(y, y + n_rows)
        _slide_cells(
            cells[rows],
            totals[rows],
            n_columns,
            np.uint32(n_levels),
            gains,
            counts,
            histogram,
            cell_sums,
        )
        for x in range(width):
            if moments[x, _PAIRS] > 0:
                _add_features(
                    moments[x], cell_sums[x], n_rows * n_columns, n_log_n, logs, features[y, x]
                )
                n_directions[y, x] += 1
        _add_row(levels, y, direction, -1, idm, columns)


@njit(inline="always", **OPTIONS)
def _pair(levels, y, x, direction):
    """Levels of a pair of the 2×2 block at (y, x): right, down right, down, or up right."""
    height, width = levels.shape
    ya = y + 1 if direction == 3 else y
    yb = y + 1 if direction in (1, 2) else y
    xb = x if direction == 2 else x + 1
    if ya >= height or yb >= height or xb >= width:
        return np.int64(-1), np.int64(-1)
    return np.int64(levels[ya, x]), np.int64(levels[yb, xb])


@njit(**OPTIONS)
def _number_pairs(levels, direction, n_levels):
    """Number the cell (unordered pair of levels) and the sum of the pair at each pixel.

    Cells below `n_levels` are those of equal levels. A pair with a missing pixel goes to an extra
    cell and an extra sum, whose share is taken off in the end: cheaper than a test for each pair.
    """
    height, width = levels.shape
    cells = np.empty((height, width), np.uint32)
    totals = np.empty((height, width), np.uint16)
    for y in range(height):
        for x in range(width):
            a, b = _pair(levels, y, x, direction)
            if a < 0 or b < 0:
                cells[y, x] = n_levels * (n_levels + 1) // 2
                totals[y, x] = 2 * n_levels - 1
            else:
                high = max(a, b)
                cells[y, x] = a if a == b else n_levels + high * (high - 1) // 2 + min(a, b)
                totals[y, x] = a + b
    return cells, totals


@njit(**OPTIONS)
def _add_row(levels, y, direction, step, idm, columns):
    """Add one row of pairs to the sums of each column, or take it away (`step` -1)."""
    for x in range(levels.shape[1]):
        a, b = _pair(levels, y, x, direction)
        if a >= 0 and b >= 0:
            columns[x, _PAIRS] += step
            columns[x, _SUM] += step * (a + b)
            columns[x, _SUM_SQUARED] += step * (a + b) ** 2
            columns[x, _GAP_SQUARED] += step * (a - b) ** 2
            columns[x, _IDM] += step * idm[abs(a - b)]


@njit(**OPTIONS)
def _slide_moments(columns, n_columns, moments):
    """Sums over the pairs of each window of a row, from the sums of its columns."""
    for k in range(moments.shape[1]):
        total = np.int64(0)
        for x in range(n_columns - 1):
            total += columns[x, k]
        for x in range(len(moments)):
            total += columns[x + n_columns - 1, k]
            moments[x, k] = total
            total -= columns[x, k]


@njit(inline="always", **OPTIONS)
def _enter(cell, total, n_levels, gains, counts, histogram):
    """Count one pair more; return what the sums over cells (n², n log n) and over totals gain."""
    n = np.uint32(counts[cell] + _ONE)
    counts[cell] = n
    n_total = np.uint32(histogram[total] + _ONE)
    histogram[total] = n_total
    equal = np.uint32(cell < n_levels)
    # Unequal levels make two entries n of the symmetric matrix, equal ones a single entry 2 n.
    return (2 * np.int64(n) - 1) << (1 + np.int64(equal)), gains[equal, n], gains[_ONE, n_total]


@njit(inline="always", **OPTIONS)
def _leave(cell, total, n_levels, gains, counts, histogram):
    """Count one pair less; return what the same sums lose."""
    n = counts[cell]
    counts[cell] = n - _ONE
    n_total = histogram[total]
    histogram[total] = n_total - _ONE
    equal = np.uint32(cell < n_levels)
    return (2 * np.int64(n) - 1) << (1 + np.int64(equal)), gains[equal, n], gains[_ONE, n_total]


@njit(**OPTIONS)
def _slide_cells(cells, totals, n_columns, n_levels, gains, counts, histogram, sums):
    """Sums over the cells of each window of a row; `counts` and `histogram` come and go empty."""
    squared, log, total_log = np.int64(0), np.int64(0), np.int64(0)
    n_rows, width = len(cells), len(sums)
    for x in range(n_columns):
        for i in range(n_rows):
            s, c, t = _enter(cells[i, x], totals[i, x], n_levels, gains, counts, histogram)
            squared, log, total_log = squared + s, log + c, total_log + t
    sums[0, 0], sums[0, 1], sums[0, 2] = squared, log, total_log
    for x in range(1, width):
        old, new = x - 1, x + n_columns - 1
        for i in range(n_rows):
            s, c, t = _enter(cells[i, new], totals[i, new], n_levels, gains, counts, histogram)
            squared, log, total_log = squared + s, log + c, total_log + t
            s, c, t = _leave(cells[i, old], totals[i, old], n_levels, gains, counts, histogram)
            squared, log, total_log = squared - s, log - c, total_log - t
        sums[x, 0], sums[x, 1], sums[x, 2] = squared, log, total_log
    for x in range(width - 1, width + n_columns - 1):
        for i in range(n_rows):
            counts[cells[i, x]] = 0
    histogram[:] = 0


@njit(**OPTIONS)
def _add_features(moments, cell_sums, n_all, n_log_n, logs, features):
    """Add the nine features that follow from the sums over one window.

    Means, variances and the correlation are ratios of exact integers: sums over n pairs stand for
    2 n matrix entries, (a, b) and (b, a).
    """
    n = moments[_PAIRS]
    missing = n_all - n
    squared = cell_sums[0] - 2 * missing * missing
    log = (cell_sums[1] - n_log_n[0, missing]) / _SCALE
    total_log = (cell_sums[2] - n_log_n[1, missing]) / _SCALE
    total, total_squared, gap_squared = moments[_SUM], moments[_SUM_SQUARED], moments[_GAP_SQUARED]
    covariance = n * (total_squared - gap_squared) - total * total  # both times 4 n²
    variance = n * (total_squared + gap_squared) - total * total
    per_pair = 1.0 / n
    features[0] += squared * (0.25 * per_pair * per_pair)
    features[1] += gap_squared * per_pair
    features[2] += covariance / variance if variance > 0 else 1.0
    features[3] += variance * (0.25 * per_pair * per_pair)
    features[4] += moments[_IDM] / _SCALE * per_pair
    features[5] += total * per_pair
    features[6] += (n * total_squared - total * total) * (per_pair * per_pair)
    features[7] += logs[n] - total_log * (0.5 * per_pair)
    features[8] += logs[n] - log * (0.5 * per_pair)
