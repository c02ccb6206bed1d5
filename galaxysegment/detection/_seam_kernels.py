"""Kernels of the search for seams.

numba takes a while to import, so functions import this module.
"""

import numpy as np

from .._utils.compiled import BARE, INNER, OPTIONS, njit


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


@njit(**INNER)
def median_of(values, guess):
    """Return the median of the numbers but NaN, sooner if it is within 10 % of a guess."""
    n_known, n_below, n_near = 0, 0, 0
    low, high = 0.9 * guess, 1.1 * guess
    for index in range(values.size):
        n_known += values[index] == values[index]
        n_below += values[index] < low
        n_near += low <= values[index] <= high
    first, second = (n_known - 1) // 2 - n_below, n_known // 2 - n_below
    if first < 0 or second >= n_near:  # the guess is wrong
        low, high, n_near = -np.inf, np.inf, n_known
        first, second = (n_known - 1) // 2, n_known // 2
    near, place = np.empty(n_near), 0
    for index in range(values.size):
        if low <= values[index] <= high:
            near[place] = values[index]
            place += 1
    upper = smallest(near, second)
    lower = upper if first == second else near[0]
    for index in range(1, second):
        lower = lower if first == second else max(lower, near[index])
    return (upper + lower) / 2


@njit(**OPTIONS)
def find_steps(lines, low, factor, sharp, owner, place, height):
    """Find the sharp steps of lines of medians, as `_steps._steps_by_numpy` does.

    Parameters
    ----------
    lines : ndarray of float64, shape (n, length)
        At least 24 long.
    low : float
        A line is left out if half of its steps exceed its highest step over this number.
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
        highest, n_missing = 0.0, 0
        for x in range(sizes.size):
            steps[x] = means[x + 12] - means[x]
            sizes[x] = abs(steps[x])
            n_missing += sizes[x] != sizes[x]
            highest = max(highest, sizes[x])
        n_low, limit = 0, highest / low
        for x in range(sizes.size):
            n_low += sizes[x] < limit
        if n_missing == 0 and 2 * n_low < sizes.size - 1:
            continue
        if n_missing == sizes.size:
            continue
        guess = median_of(sizes, guess)
        limit = factor * guess
        for x in range(sizes.size):
            if not sizes[x] > limit:
                continue
            is_highest = True
            for near in range(max(x - 12, 0), min(x + 13, sizes.size)):
                if sizes[near] > sizes[x]:  # false for NaN
                    is_highest = False
                    break
            ratio = (mean_of_four(line, x + 12) - mean_of_four(line, x + 8)) / steps[x]
            if is_highest and sharp < ratio < 1 / sharp:
                if n_steps < owner.size:
                    owner[n_steps], place[n_steps] = index, x + 12
                    height[n_steps] = steps[x]
                n_steps += 1
    return n_steps
