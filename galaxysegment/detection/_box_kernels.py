"""Kernels of the background mesh: clipped statistics of boxes, as numpy and as sep compute them.

numba takes a while to import, so functions import this module.
"""

import math

import numpy as np

from .._utils.compiled import BARE, INNER, OPTIONS, njit

_CLIP, _MAX_CLIPS = 3.0, 10
_LEVELS, _SPAN = 4096, 4.0  # that sort a box, and the scatters that they reach from its middle
_TURNS = 5  # in which neighbours change places; more leave less to do one by one
_CROWD = 64  # pixels of a level that are sorted one by one in the time of a heap
_LANES = 16  # boxes that are measured at once: their numbers fill a register
_TILE = 16  # pixels of each of these boxes whose levels are computed at once
_MOST_LEVELS = 4096  # of sep's histogram
_STEP = math.sqrt(2 / math.pi) * 5 / 4  # its levels for each pixel
_LEAST_SIGMA, _CHANGE, _MOST_ROUNDS = 0.1, 1e-4, 100  # where sep's clipping of it ends
_NO_VALUE = -1e30  # a pixel this low is none for sep


@njit(**BARE)
def sum_from_middle(samples, middle, stop, centre, sums):
    """Sum deviations from a number, and their squares, outwards from a sample.

    Parameters
    ----------
    samples : ndarray of float, shape (n,)
    middle, stop : int
        The sums of samples ``0…stop`` are made.
    centre : float
    sums : ndarray of float64, shape (2, n + 1)
        Filled: the sum over samples ``low…high`` is ``sums[:, high] - sums[:, low]``.
    """
    totals, squares = sums[0], sums[1]
    total = square = 0.0
    totals[middle], squares[middle] = total, square
    for index in range(middle, stop):
        deviation = samples[index] - centre
        total, square = total + deviation, square + deviation * deviation
        totals[index + 1], squares[index + 1] = total, square
    total = square = 0.0
    for index in range(middle - 1, -1, -1):
        deviation = samples[index] - centre
        total, square = total - deviation, square - deviation * deviation
        totals[index], squares[index] = total, square


@njit(**BARE)
def scatter_of(sums, low, high):
    """Return the standard deviation of samples ``low…high``, given their `sum_from_middle`."""
    if high <= low:
        return 0.0
    n = high - low
    mean, square = (sums[0, high] - sums[0, low]) / n, (sums[1, high] - sums[1, low]) / n
    variance = square - mean * mean
    return 0.0 if variance < 0 else math.sqrt(variance)


@njit(**BARE)
def sorted_median(samples, low, high):
    """Median of sorted samples ``low…high``."""
    middle = low + high
    return (np.float64(samples[max(middle - 1, 0) // 2]) + np.float64(samples[middle // 2])) / 2


@njit(**BARE)
def number_below(samples, limit):
    """Number of sorted samples below a limit; NaN, which is last, is below nothing."""
    low, high = 0, samples.size
    while low < high:
        middle = (low + high) // 2
        if samples[middle] < limit:
            low = middle + 1
        else:
            high = middle
    return low


@njit(**OPTIONS)
def clip_boxes(image, height, width, statistics):
    """Median, scatter and number of what clipping at 3 sigma leaves of each box.

    Parameters
    ----------
    image : ndarray of float, shape (n_boxes_y * height, n_columns)
        NaN is "no data".
    height, width : int
        Of a box; the last of a row may be narrower.
    statistics : ndarray of float64, shape (n_boxes_y, n_boxes_x, 3)
        Filled.
    """
    pixels = np.empty(height * width, image.dtype)
    samples = np.empty(height * width + 1, image.dtype)
    places, ends = np.empty(pixels.size, np.int32), np.empty(_LEVELS, np.int32)
    sums = np.empty((2, samples.size + 1))
    centre, scatter = 0.0, 0.0  # of the box before
    for row in range(statistics.shape[0]):
        for column in range(statistics.shape[1]):
            n = take_box(pixels, image, row * height, column * width, height, width)
            if not (np.isfinite(centre) and scatter > 0):
                centre, scatter = moments_of(pixels[:n])
            sort_box(samples, pixels[:n], places, ends, centre, scatter)
            samples[n] = np.nan
            clip_sorted(samples[: n + 1], sums, statistics[row, column])
            centre, scatter = statistics[row, column, 0], statistics[row, column, 1]


@njit(**BARE)
def take_box(pixels, image, y0, x0, height, width):
    """Copy the pixels of a box that are not NaN to the beginning of `pixels`; return how many."""
    n, x1 = np.uintp(0), min(x0 + width, image.shape[1])
    for y in range(y0, y0 + height):
        for x in range(np.uintp(x0), np.uintp(x1)):
            pixels[n] = image[y, x]
            n += np.uintp(image[y, x] == image[y, x])
    return np.int64(n)


@njit(**BARE)
def moments_of(pixels):
    """Mean and standard deviation of the finite pixels; not finite if there are none."""
    n = total = square = 0.0
    for index in range(pixels.size):
        value = np.float64(pixels[index])
        if np.isfinite(value):
            n, total, square = n + 1, total + value, square + value * value
    mean = total / n
    return mean, math.sqrt(max(square / n - mean * mean, 0.0))


@njit(**BARE)
def sort_box(samples, pixels, places, ends, centre, scatter):
    """Sort the pixels of a box into the beginning of `samples`.

    They are counted by level, each is put where its level begins, and neighbours change places
    until all are in order. numpy's sort takes up to three times as long, for it depends on
    instructions that some processors are slow at.

    Parameters
    ----------
    samples : ndarray of float
    pixels : ndarray of float, shape (n,)
        Not NaN.
    places : ndarray of int32, shape (n,) or longer
        Work space.
    ends : ndarray of int32, shape (4096,)
        Work space.
    centre, scatter : float
        About those of the pixels: the levels lie there. The result does not depend on them.
    """
    step, zero, last = np.uintp(1), pixels.dtype.type(0), pixels.dtype.type(_LEVELS - 1)
    low = pixels.dtype.type(centre - _SPAN * scatter)
    scale = pixels.dtype.type(_LEVELS / (2 * _SPAN * scatter))
    for level in range(_LEVELS):
        ends[level] = 0
    for index in range(pixels.size):
        place = (pixels[index] - low) * scale
        place = place if place > zero else zero  # NaN, too: what infinite numbers make
        places[index] = np.int32(place if place < last else last)
    for index in range(pixels.size):
        ends[np.uintp(places[index])] += np.int32(1)
    before = most = np.int32(0)
    for level in range(_LEVELS):
        n = ends[level]
        ends[level], before, most = before, before + n, max(most, n)
    for index in range(pixels.size):
        level = np.uintp(places[index])
        samples[np.uintp(ends[level])] = pixels[index]
        ends[level] += np.int32(1)
    if most > _CROWD:
        sort_crowds(samples, ends)
    for turn in range(_TURNS):
        for left in range(np.uintp(turn % 2), np.uintp(max(pixels.size - 1, 0)), np.uintp(2)):
            first, second = samples[left], samples[left + step]
            samples[left], samples[left + step] = min(first, second), max(first, second)
    for index in range(step, np.uintp(pixels.size)):
        value, place = samples[index], index
        while place > 0 and samples[place - step] > value:
            samples[place] = samples[place - step]
            place -= step
        samples[place] = value


@njit(**BARE)
def sort_crowds(samples, ends):
    """Sort the levels with many pixels, in the time that the worst order takes: that of a heap."""
    start = np.int64(0)
    for level in range(ends.size):
        crowd, start = samples[start : ends[level]], np.int64(ends[level])
        if crowd.size <= _CROWD:
            continue
        is_sorted = True  # rounded pixels are equal
        for index in range(1, crowd.size):
            is_sorted &= crowd[index - 1] <= crowd[index]
        if is_sorted:
            continue
        for root in range(crowd.size // 2 - 1, -1, -1):
            sink(crowd, root, crowd.size)
        for stop in range(crowd.size - 1, 0, -1):
            crowd[0], crowd[stop] = crowd[stop], crowd[0]
            sink(crowd, np.int64(0), stop)


@njit(**BARE)
def sink(heap, root, stop):
    """Let a number sink in a heap that ends before `stop`, until none below it is larger."""
    value = heap[root]
    while 2 * root + 1 < stop:
        child = 2 * root + 1
        if child + 1 < stop and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= value:
            break
        heap[root], root = heap[child], child
    heap[root] = value


@njit(**BARE)
def clip_sorted(samples, sums, statistics):
    """Fill in median, scatter and number of what clipping at 3 sigma leaves of sorted samples.

    The last sample is NaN. `sums` is work space, of shape (2, n_samples + 1) or more.
    """
    low, high = np.int64(0), np.int64(samples.size - 1)
    centre = sorted_median(samples, low, high)
    sum_from_middle(samples, high // 2, high, centre, sums)
    new_low, new_high = low, high
    for _ in range(_MAX_CLIPS):
        median = sorted_median(samples, low, high)
        reach = _CLIP * scatter_of(sums, low, high)
        new_low = number_below(samples, median - reach)
        new_high = number_below(samples, np.nextafter(median + reach, np.inf))
        if new_low <= low and new_high >= high:
            break
        low, high = max(low, new_low), min(high, new_high)
    statistics[0] = sorted_median(samples, new_low, new_high)
    statistics[1] = scatter_of(sums, new_low, new_high)
    statistics[2] = new_high - new_low


@njit(**OPTIONS)
def sep_boxes(image, no_data, height, width, meshes):
    """Background and noise of boxes, the bits of `sep.Background`.

    Mean and scatter are clipped once at 2 sigma. A histogram around them is clipped at 3 sigma
    until its scatter converges. Mode and median say what the background is.

    Parameters
    ----------
    image : ndarray of float, shape (height, width)
    no_data : ndarray of bool, shape (height, width) or (0, 0)
    height, width : int
        Of a box; the last ones may be smaller.
    meshes : ndarray of float64, shape (3, n_boxes_y, n_boxes_x)
        Zeros, filled with background, noise, and 1 where at least half of a box has data.
    """
    n_rows, n_columns = image.shape
    n_boxes = meshes.shape[2]
    samples = np.empty((height * width, _LANES), dtype=np.float32)
    for row in range(meshes.shape[1]):
        y0, y1 = row * height, min((row + 1) * height, n_rows)
        n_whole = n_columns // width
        for first in range(0, n_whole, _LANES):
            own = meshes[:, row, first : min(first + _LANES, n_whole)]
            take_boxes(samples, image, no_data, y0, y1, first * width, width, own.shape[1])
            measure_lanes(samples[: (y1 - y0) * width], own)
        if n_whole < n_boxes:  # a narrower box
            rest = n_columns - n_whole * width
            take_boxes(samples, image, no_data, y0, y1, n_whole * width, rest, np.int64(1))
            measure_lanes(samples[: (y1 - y0) * rest], meshes[:, row, n_whole:])


@njit(**BARE)
def take_boxes(samples, image, no_data, y0, y1, x0, width, n_boxes):
    """Copy the pixels of boxes side by side into a column each; NaN where there are no data."""
    rest = np.uintp(n_boxes)
    for index in range(np.uintp(len(samples))):
        for box in range(rest, np.uintp(_LANES)):
            samples[index, box] = np.nan
    for y in range(y0, y1):
        first = np.uintp((y - y0) * width)
        for box in range(rest):
            start = np.uintp(x0) + box * np.uintp(width)
            for x in range(np.uintp(width)):
                samples[first + x, box] = np.float32(image[y, start + x])
            if no_data.size:
                for x in range(np.uintp(width)):
                    if no_data[y, start + x]:
                        samples[first + x, box] = np.nan


@njit(**INNER)
def measure_lanes(samples, meshes):
    """Measure the boxes that are columns of `samples`; fill their meshes, shape (3, n_boxes)."""
    n_pixels, n_boxes = len(samples), meshes.shape[1]
    low, high = np.empty(_LANES, dtype=np.float32), np.empty(_LANES, dtype=np.float32)
    for box in range(_LANES):
        low[box], high[box] = _NO_VALUE, np.inf
    sums = np.empty((3, _LANES))
    clipped_moments(samples, low, high, sums)
    is_trusted = np.zeros(_LANES, dtype=np.bool_)
    for box in range(_LANES):
        is_trusted[box] = np.float32(sums[0, box]) >= np.float32(n_pixels * 0.5)
        mean, sigma = sums[1, box], sums[2, box]
        low[box], high[box] = np.float32(mean - 2 * sigma), np.float32(mean + 2 * sigma)
    clipped_moments(samples, low, high, sums)
    n_levels = np.zeros(_LANES, dtype=np.int64)
    scale, offset = np.zeros(_LANES, dtype=np.float32), np.zeros(_LANES, dtype=np.float32)
    zero = np.zeros(_LANES, dtype=np.float32)
    for box in range(_LANES):
        scale[box] = 1
    for box in range(n_boxes):
        n, mean, sigma = sums[0, box], sums[1, box], sums[2, box]
        if not is_trusted[box]:
            continue
        n_levels[box] = min(int(_STEP * n + 1), _MOST_LEVELS)
        if sigma > 0:
            scale[box] = np.float32(10 * sigma / n_levels[box])
        zero[box] = np.float32(mean - 5 * sigma)
        offset[box] = np.float32(0.499999 - np.float64(zero[box] / scale[box]))
    most = 1
    for box in range(n_boxes):
        most = max(most, n_levels[box])
    counts = np.zeros((_LANES, most), dtype=np.int32)
    places, work = (
        np.empty(_TILE * _LANES, dtype=np.int32),
        np.empty((2, _TILE * _LANES), np.float32),
    )
    scales, offsets = work[0], work[1]
    for index in range(len(places)):
        scales[index], offsets[index] = scale[index % _LANES], offset[index % _LANES]
    count_levels(samples.ravel(), scales, offsets, places, n_levels, counts)
    running = np.empty((3, most + 1), dtype=np.int64)
    for box in range(n_boxes):
        if is_trusted[box]:
            mean, own = np.float64(np.float32(sums[1, box])), counts[box, : n_levels[box]]
            mode, sigma = mode_of(own, running, mean, zero[box], scale[box])
            meshes[0, box], meshes[2, box] = mode, 1.0
            meshes[1, box] = sigma if sigma > 0 else np.float32(1)


@njit(**BARE)
def clipped_moments(samples, low, high, sums):
    """Fill in number, mean and scatter of the samples of each box from `low` to `high`.

    `sums` has the shape (3, 16).

    The boxes are the inner loop, because a sum waits for itself, but not for those of other boxes.
    """
    for kind in range(3):
        for box in range(_LANES):
            sums[kind, box] = 0
    number, total, square = sums[0], sums[1], sums[2]
    for index in range(len(samples)):
        row = samples[index]
        for box in range(_LANES):
            value = row[box]
            is_counted = (low[box] <= value) & (value <= high[box])
            wide = np.float64(value) if is_counted else 0.0
            number[box] += 1.0 if is_counted else 0.0
            total[box] += wide
            square[box] += wide * wide
    for box in range(_LANES):
        total[box] /= number[box]
        variance = square[box] / number[box] - total[box] * total[box]
        square[box] = math.sqrt(variance) if variance > 0 else 0.0


@njit(**BARE)
def count_levels(samples, scales, offsets, places, n_levels, counts):
    """Count the samples of each box by level.

    Parameters
    ----------
    samples : ndarray of float32, shape (n_pixels * 16,)
    scales, offsets : ndarray of float32, shape (256,)
        Those of the boxes, sixteen times.
    places : ndarray of int32, shape (256,)
        Work space.
    n_levels : ndarray of int64, shape (16,)
    counts : ndarray of int32, shape (16, n)
        Zeros, filled.
    """
    below, above = np.float32(-2), np.float32(_MOST_LEVELS + 1)
    for first in range(0, len(samples), len(places)):
        tile = samples[first : first + len(places)]
        for index in range(len(tile)):
            place = tile[index] / scales[index] + offsets[index]
            place = place if place > below else below  # NaN, too
            places[index] = np.int32(place if place < above else above)
        for row in range(np.uintp(len(tile) // _LANES)):
            for box in range(np.uintp(_LANES)):
                place = places[row * np.uintp(_LANES) + box]
                if 0 <= place < n_levels[box]:
                    counts[box, np.uintp(place)] += 1


@njit(**BARE)
def mode_of(counts, running, mean, zero, scale):
    """Background and scatter of a histogram, in the units of the image.

    All sums over levels are differences of running sums of whole numbers; `running` is work space
    for them, of shape (3, n_levels + 1) or more.
    """
    n_levels = counts.size
    # of pixels, of levels and their squares
    below, firsts, seconds = running[0], running[1], running[2]
    n = first = second = np.int64(0)
    below[0] = firsts[0] = seconds[0] = n
    for level in range(n_levels):
        weighted = counts[level] * level  # of 64 bits, as the level
        n, first, second = n + counts[level], first + weighted, second + weighted * level
        below[level + 1], firsts[level + 1], seconds[level + 1] = n, first, second
    last = n_levels - 1
    low, high = np.int64(0), last  # a plain 0 is a type of its own, compiled on its own
    sigma, before = 10.0 * last, 1.0
    centre = middle = mean
    for _ in range(_MOST_ROUNDS):
        if not (sigma >= _LEAST_SIGMA and abs(sigma / before - 1.0) > _CHANGE):
            break
        before = sigma
        middle = middle_level(counts, below, low, high)
        n = below[high + 1] - below[low]
        centre = np.float64(firsts[high + 1] - firsts[low])
        sigma = np.float64(seconds[high + 1] - seconds[low])
        if n:
            centre /= n
            sigma = sigma / n - centre * centre
        sigma = math.sqrt(sigma) if sigma > 0 else 0.0
        lowest, highest = middle - 3.0 * sigma, middle + 3.0 * sigma
        low = min(np.int64(lowest + 0.5), last) if lowest > 0 else 0
        high = last
        if highest < last:
            high = np.int64(highest + 0.5) if highest > 0 else np.int64(highest - 0.5)
    place = centre
    if sigma > 0:
        place = 2.5 * middle - 1.5 * centre if abs((centre - middle) / sigma) < 0.3 else middle
    return np.float32(zero + place * scale), np.float32(sigma * scale)


@njit(**BARE)
def middle_level(counts, below, low, high):
    """Where walks from both ends of the levels ``low…high`` meet, the fuller side waiting."""
    n_twice = below[high + 1] + below[low]
    first, end = low, high
    while first < end:
        level = (first + end) // 2
        if below[level] + below[level + 1] >= n_twice:
            end = level
        else:
            first = level + 1
    if first == 0:
        return 0.0
    n_low, n_high = below[first] - below[low], below[high + 1] - below[first]
    larger = max(counts[first], counts[first - 1])
    return first - 0.5 + np.float64(n_high - n_low) / (2.0 * larger)
