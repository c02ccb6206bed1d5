"""Kernels of the search for seams.

numba takes a while to import, so functions import this module.
"""

import numpy as np

from .._utils.compiled import BARE, INNER, OPTIONS, njit
from ._chains import link_steps

CHUNK = 256  # numbers of a line that are worked on at once: they stay in the nearest cache


@njit(**BARE)
def mean_of_twelve(line, start):
    """Return the mean of 12 numbers, added in the order of `_steps._step`."""
    a, b, c, d = line[start], line[start + 1], line[start + 2], line[start + 3]
    e, f, g, h = line[start + 4], line[start + 5], line[start + 6], line[start + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    total = total + line[start + 8] + line[start + 9] + line[start + 10] + line[start + 11]
    return total / 12


@njit(**BARE)
def mean_of_four(line, start):
    """Return the mean of 4 numbers, added in the order of `_steps._step_at`."""
    return (line[start] + line[start + 1] + line[start + 2] + line[start + 3]) / 4


@njit(**BARE)
def smallest(values, rank):
    """Return the number of a rank among some numbers; it and all smaller ones come to the front."""
    low, high = 0, values.size - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while pivot < values[right]:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left, right = left + 1, right - 1
        if rank <= right:
            high = right
        elif rank >= left:
            low = left
        else:
            break
    return values[rank]


@njit(**BARE)
def is_highest(sizes, x):
    """Whether no size within 12 places is larger."""
    n_higher = 0
    for near in range(max(x - 12, 0), min(x + 13, sizes.size)):
        n_higher += sizes[near] > sizes[x]  # false for NaN
    return n_higher == 0


@njit(**INNER)
def median_of(values):
    """Return the median of the numbers but NaN."""
    known, n_known = np.empty(values.size), 0
    for index in range(values.size):
        if values[index] == values[index]:
            known[n_known] = values[index]
            n_known += 1
    upper = smallest(known[:n_known], n_known // 2)
    if n_known % 2:
        return (upper + upper) / 2
    lower = known[0]
    for index in range(1, n_known // 2):
        lower = max(lower, known[index])
    return (upper + lower) / 2


@njit(**INNER)
def exceeds_median(size, sizes, n_known, factor):
    """Whether a size exceeds the median of sizes by a factor: as a rule, counting tells."""
    n_less = 0
    for x in range(sizes.size):
        n_less += factor * sizes[x] < size
    if 2 * n_less == n_known:  # the size lies between the two in the middle
        return size > factor * median_of(sizes)
    return 2 * n_less > n_known


@njit(**BARE)
def median_of_few(values):
    """Return the median of a few numbers, which are put into order."""
    n = values.size
    for index in range(1, n):
        value, place = values[index], index
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value
    return (values[(n - 1) // 2] + values[n // 2]) / 2


@njit(**OPTIONS)
def medians_of_lines(stacks, network, medians):
    """Take the median over the lines of each stack; NaN where more than half have no data.

    Parameters
    ----------
    stacks : ndarray of float, shape (n_stacks, n_lines, width)
    network : ndarray of int64, shape (n, 2)
        Pairs of lines that are put into order, in this order, to find the middle ones.
    medians : ndarray of float, shape (n_stacks, width)
        Filled.
    """
    n_stacks, n_lines, width = stacks.shape
    ordered = np.empty((n_lines, CHUNK), dtype=stacks.dtype)
    known = np.empty(n_lines, dtype=stacks.dtype)
    for stack in range(n_stacks):
        for start in range(0, width, CHUNK):
            lines = stacks[stack, :, start : start + CHUNK]
            own, n_missing = medians[stack, start : start + CHUNK], 0
            for line in range(n_lines):
                source, target = lines[line], ordered[line]
                for x in range(own.size):
                    target[x] = source[x]
                    n_missing += source[x] != source[x]
            for index in range(len(network)):
                first, second = ordered[network[index, 0]], ordered[network[index, 1]]
                for x in range(own.size):
                    low, high = first[x], second[x]
                    first[x] = low if low < high else high
                    second[x] = high if low < high else low
            lower, upper = ordered[(n_lines - 1) // 2], ordered[n_lines // 2]
            for x in range(own.size):
                own[x] = (lower[x] + upper[x]) / 2
            for x in range(own.size if n_missing else 0):
                n_known = 0
                for line in range(n_lines):
                    if lines[line, x] == lines[line, x]:
                        known[n_known] = lines[line, x]
                        n_known += 1
                own[x] = median_of_few(known[:n_known]) if 2 * n_known > n_lines else np.nan


@njit(**OPTIONS)
def find_steps(lines, factor, sharp, owner, place, height):
    """Find the sharp steps of lines of medians, as `_steps._steps_by_numpy` does.

    The median of the steps is much like that of the line before. Once counted, 10 % less and 10 %
    more than that are limits of it, which decide about most steps.

    Parameters
    ----------
    lines : ndarray of float64, shape (n, length)
        At least 24 long.
    factor : float
        A step must exceed the median of the steps of its line by this factor.
    sharp : float
        Share of a step that must be there within 8 pixels.
    owner, place : ndarray of int64, shape (n,)
    height : ndarray of float64, shape (n,)
        Filled with the line, the place and the height of each step, as far as there is room.

    Returns
    -------
    int
        Number of steps.
    """
    length, n_steps, guess = lines.shape[1], 0, 0.0
    means, steps, sizes = np.empty(length - 11), np.empty(length - 23), np.empty(length - 23)
    for index in range(len(lines)):
        line = lines[index]
        for x in range(means.size):
            means[x] = mean_of_twelve(line, x)
        for x in range(sizes.size):
            steps[x] = means[x + 12] - means[x]
            sizes[x] = abs(steps[x])
        low, high = 0.9 * guess, 1.1 * guess
        n_known, n_below, n_up_to = 0, 0, 0
        for x in range(sizes.size):
            n_known += sizes[x] == sizes[x]
            n_below += sizes[x] < low
            n_up_to += sizes[x] <= high
        if n_known == 0:
            continue
        if (n_known - 1) // 2 < n_below or n_known // 2 >= n_up_to:  # the guess is wrong
            guess = median_of(sizes)
            low, high = guess, guess
        for x in range(sizes.size):
            if not sizes[x] > factor * low:
                continue
            ratio = (mean_of_four(line, x + 12) - mean_of_four(line, x + 8)) / steps[x]
            if not (sharp < ratio < 1 / sharp and is_highest(sizes, x)):
                continue
            if sizes[x] > factor * high or exceeds_median(sizes[x], sizes, n_known, factor):
                if n_steps < owner.size:
                    owner[n_steps], place[n_steps] = index, x + 12
                    height[n_steps] = steps[x]
                n_steps += 1
    return n_steps


link_steps_compiled = njit(**OPTIONS)(link_steps)
