"""Kernels that detect sources in one pass over the rows of an image.

Background, smoothing, threshold and connected pixels are done for a few rows at a time, which stay
in the cache. Each sum has the order of the same sum in numpy, or in sep, so that the results are
equal to the bit. numba takes a while to import, so functions import this module.

Loops over a part of a row run over numbers without a sign: else numba asks of each index whether it
counts from the end.
"""

import numpy as np

from .._utils.compiled import BARE, INNER, OPTIONS, njit
from ..structures._label_kernels import root_of
from ._map_kernels import (
    BLOCK,
    SLACK,
    extremes_of_blocks,
    fill_columns,
    limit_blocks,
    line_of_map,
    map_row,
)


@njit(**BARE)
def has_above(row, x0, x1, limit):
    """Whether one of the pixels ``x0…x1`` of a row is not at most `limit`."""
    is_any = False
    for x in range(np.uintp(x0), np.uintp(x1)):
        is_any |= not (row[x] <= limit)
    return is_any


@njit(**BARE)
def smooth_row(out, padded, ring, y, profile):
    """Smooth row `y` with a symmetric profile along both axes, as `convolve_rows` does.

    Parameters
    ----------
    out : ndarray of shape (width,)
    padded : ndarray of shape (width + 2 * radius,)
        Work space, zero at its ends.
    ring : ndarray of shape (2 * radius + 1, width + 2 * radius)
        Row `y` of the image is row ``y % (2 * radius + 1)``, with a frame at both ends.
    """
    n, width = len(ring), out.size
    radius = n // 2
    total, middle = padded[radius : radius + width], ring[y % n][radius:]
    if n == 5:  # the usual size: five pixels at once, in the same order
        first, last = ring[(y - 2) % n][2:], ring[(y + 2) % n][2:]
        above, below = ring[(y - 1) % n][2:], ring[(y + 1) % n][2:]
        weigh_five(total, middle, above, below, first, last, profile)
        weigh_five(out, total, padded[1:], padded[3:], padded, padded[4:], profile)
        return
    weight = profile[radius]
    for x in range(width):
        total[x] = middle[x] * weight
    for shift in range(1, radius + 1):
        above, below = ring[(y - shift) % n][radius:], ring[(y + shift) % n][radius:]
        weight = profile[radius - shift]
        for x in range(width):
            total[x] += (above[x] + below[x]) * weight
    weight = profile[radius]
    for x in range(width):
        out[x] = total[x] * weight
    for shift in range(1, radius + 1):
        left, right = padded[radius - shift :], padded[radius + shift :]
        weight = profile[radius - shift]
        for x in range(width):
            out[x] += (left[x] + right[x]) * weight


@njit(**BARE)
def weigh_five(out, middle, left, right, first, last, profile):
    """Sum five lines, weighted with a symmetric profile, from the middle to its ends."""
    a, b, c = profile[0], profile[1], profile[2]
    for x in range(out.size):
        total = middle[x] * c
        total += (left[x] + right[x]) * b
        total += (first[x] + last[x]) * a
        out[x] = total


@njit(**BARE)
def interpolate_row(smooth, share_missing):
    """Divide a smoothed row by the weight of the pixels with data; 0 where there are none."""
    full, zero = smooth.dtype.type(1), smooth.dtype.type(0)
    least = smooth.dtype.type(1e-5)  # what rounding leaves of zero in float32
    for x in range(smooth.size):
        weight = full - share_missing[x]
        smooth[x] = zero if weight < least else smooth[x] / weight


@njit(**BARE)
def add_runs(runs, n_runs, first_above, y, is_above, reach):
    """Append the runs of a row, and join them with those of the row above.

    Parameters
    ----------
    runs : ndarray of int64, shape (n, 4)
        Row, first column, column after the last, and parent of each run; with room for a row.
    n_runs : int
        Number of runs so far; those of the row above begin at `first_above`.
    is_above : ndarray of bool, shape (8 * n_words,)
        Pixels above the threshold; False behind the end of the row.
    reach : int
        1 if pixels that touch at a corner are connected, else 0.

    Returns
    -------
    n_runs, first_own : int
    """
    first_own = n_runs
    start = -1
    words = is_above.view(np.uint64)
    for word in range(words.size):
        if words[word] == 0 and start < 0:
            continue
        for x in range(8 * word, 8 * word + 8):
            if is_above[x] == (start >= 0):
                continue
            if start < 0:
                start = x
                continue
            runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2], runs[n_runs, 3] = y, start, x, n_runs
            n_runs, start = n_runs + 1, -1
    if start >= 0:
        runs[n_runs, 0], runs[n_runs, 1] = y, start
        runs[n_runs, 2], runs[n_runs, 3] = is_above.size, n_runs
        n_runs += 1
    above, parent = first_above, runs[:, 3]
    for own in range(first_own, n_runs):
        while above < first_own and runs[above, 2] + reach <= runs[own, 1]:
            above += 1
        other = above
        while other < first_own and runs[other, 1] < runs[own, 2] + reach:
            root, own_root = root_of(parent, other), root_of(parent, own)
            parent[max(root, own_root)] = min(root, own_root)
            other += 1
    return n_runs, first_own


@njit(**INNER)
def with_room(runs, n_runs, width):
    """Return runs with room for those of another row."""
    n_rows = len(runs)
    while n_runs + width // 2 + 1 > n_rows:
        n_rows *= 2
    if n_rows == len(runs):
        return runs
    larger = np.empty((n_rows, 4), dtype=np.int64)
    for run in range(n_runs):
        for column in range(4):
            larger[run, column] = runs[run, column]
    return larger


@njit(**INNER)
def label_runs(runs, n_pixels, labels):
    """Paint the components with enough pixels, numbered in the order of their first pixels.

    The last column of `runs` becomes the label. Returns the number of components.
    """
    n_runs, parent = len(runs), runs[:, 3]
    sizes, number = np.zeros(n_runs, dtype=np.int64), np.zeros(n_runs, dtype=np.int64)
    for run in range(n_runs):
        root = root_of(parent, run)
        runs[run, 3] = root
        sizes[root] += runs[run, 2] - runs[run, 1]
    n_sources = 0
    for run in range(n_runs):
        root, y = runs[run, 3], runs[run, 0]  # the root is never after the run itself
        if root == run and sizes[run] >= n_pixels:
            n_sources += 1
            number[run] = n_sources
        runs[run, 3] = number[root]
        if number[root]:
            for x in range(runs[run, 1], runs[run, 2]):
                labels[y, x] = number[root]
    return n_sources


@njit(**OPTIONS)
def detect(image, rms, background, noise, profile, n_sigma, n_pixels, reach, labels, smooth):
    """Detect the sources of an image whose missing pixels are interpolated.

    Parameters
    ----------
    image : ndarray of float, shape (height, width)
        NaN is "no data".
    rms : ndarray of float, shape (height, width) or (0, 0)
        Noise map; of no size if the noise is that of the background.
    background, noise : tuple
        As for `map_row`.
    profile : ndarray of float, shape (2 * radius + 1,)
    n_sigma : float
    n_pixels, reach : int
        Smallest number of pixels of a source; 1 if corners connect, else 0.
    labels : ndarray of int32, shape (height, width)
        Zeros, filled with the labels.
    smooth : ndarray of float, shape (height, width)
        Filled with the smoothed image where it is above the threshold.
    """
    height, width = image.shape
    n, radius = profile.size, profile.size // 2
    zero = image.dtype.type(0)
    ring = np.zeros((n, width + 2 * radius), image.dtype)
    gaps, has_gap = np.zeros(ring.shape, image.dtype), np.zeros(n, dtype=np.bool_)
    padded = np.zeros(width + 2 * radius, image.dtype)
    work = np.empty((3, width), image.dtype)
    row, missing, level = work[0], work[1], work[2]
    is_above = np.zeros(-(-width // 8) * 8, dtype=np.bool_)
    extremes = extremes_of_blocks(noise)
    limits = np.empty(extremes.shape[1], image.dtype)
    runs = np.empty((1024, 4), dtype=np.int64)
    n_runs = first_above = np.int64(0)  # a plain 0 is a type of its own, compiled on its own
    for line in range(height + radius):
        slot = line % n
        inside, gap = ring[slot, radius : radius + width], gaps[slot, radius : radius + width]
        if line < height:
            has_gap[slot] = subtract_row(inside, gap, image[line], line, background, has_gap[slot])
        else:
            inside[:], gap[:], has_gap[slot] = zero, zero, False
        y = line - radius
        if y < 0:
            continue
        smooth_row(row, padded, ring, y, profile)
        n_gaps = 0
        for slot in range(n):
            n_gaps += has_gap[slot]
        if n_gaps:
            smooth_row(missing, padded, gaps, y, profile)
            interpolate_row(row, missing)
        compare(is_above, row, level, y, rms, noise, limits, extremes, n_sigma)
        if has_gap[y % n]:
            for x in range(width):
                is_above[x] &= gaps[y % n, x + radius] == zero
        before = n_runs
        runs = with_room(runs, n_runs, width)
        n_runs, first_above = add_runs(runs, n_runs, first_above, y, is_above, reach)
        for run in range(before, n_runs):
            for x in range(runs[run, 1], runs[run, 2]):
                smooth[y, x] = row[x]
    label_runs(runs[:n_runs], n_pixels, labels)


@njit(**BARE)
def compare(is_above, row, level, y, rms, noise, limits, extremes, n_sigma):
    """Find the pixels of a row that are above `n_sigma` times the noise.

    The noise of the background is computed in blocks with a pixel above the lower limit.
    """
    if rms.size:
        for x in range(row.size):
            is_above[x] = row[x] > n_sigma * rms[y, x]
        return
    limit_blocks(limits, y, noise, extremes)
    line = line_of_map(y, noise)
    for block in range(limits.size):
        x0, x1 = block * BLOCK, min((block + 1) * BLOCK, row.size)
        if has_above(row, x0, x1, n_sigma * limits[block]):
            fill_columns(level, x0, x1, noise[2], line)
            for x in range(np.uintp(x0), np.uintp(x1)):
                is_above[x] = row[x] > n_sigma * level[x]
        else:
            for x in range(np.uintp(x0), np.uintp(x1)):
                is_above[x] = False


@njit(**BARE)
def subtract_row(out, gap, pixels, y, background, had_gap):
    """Subtract the background of a row; zero where there are no data, and `gap` is 1 there.

    `had_gap` says whether `gap` is not zero before. Returns whether there is such a pixel.
    """
    zero, full = out.dtype.type(0), out.dtype.type(1)
    map_row(out, y, background, np.int64(0), out.size)
    is_any = False
    for x in range(out.size):
        out[x] = pixels[x] - out[x]
        is_any |= out[x] != out[x]
    if not is_any:
        if had_gap:
            gap[:] = zero
        return False
    for x in range(out.size):
        is_missing = out[x] != out[x]
        gap[x] = full if is_missing else zero
        out[x] = zero if is_missing else out[x]
    return True


@njit(**BARE)
def smooth_row_in_full(out, ring, y, kernel, x0, x1):
    """Smooth columns ``x0…x1`` of row `y`, pixel after pixel of a square kernel, as sep does.

    Parameters
    ----------
    out : ndarray of shape (width,)
    ring : ndarray of shape (side, width + side - 1)
        Row `y` of the image is row ``y % side``, with a frame of zeros at both ends.
    kernel : ndarray of shape (side, side)
    x0, x1 : int
    """
    side, radius = len(kernel), len(kernel) // 2
    for x in range(np.uintp(x0), np.uintp(x1)):
        out[x] = 0
    for down in range(side):
        slot = (y + down - radius) % side
        if side == 5:  # the usual size: five pixels at once, in the same order
            add_five(out, ring, slot, kernel, down, x0, x1)
            continue
        for across in range(side):
            shift, weight = np.uintp(across), kernel[down, across]
            for x in range(np.uintp(x0), np.uintp(x1)):
                out[x] += weight * ring[slot, x + shift]


@njit(**BARE)
def add_five(out, ring, slot, kernel, down, x0, x1):
    """Add five neighbours of each pixel of a line, one after the other."""
    a, b, c = kernel[down, 0], kernel[down, 1], kernel[down, 2]
    d, e = kernel[down, 3], kernel[down, 4]
    for x in range(np.uintp(x0), np.uintp(x1)):
        value = out[x]
        value += a * ring[slot, x]
        value += b * ring[slot, x + np.uintp(1)]
        value += c * ring[slot, x + np.uintp(2)]
        value += d * ring[slot, x + np.uintp(3)]
        value += e * ring[slot, x + np.uintp(4)]
        out[x] = value


@njit(**BARE)
def raise_noise(level, x0, x1, floor, factor):
    """Raise columns ``x0…x1`` of a row of noise to at least `floor`, and by a factor."""
    for x in range(np.uintp(x0), np.uintp(x1)):
        level[x] = max(level[x], floor) * factor


@njit(**BARE)
def noise_row(level, y, rms, noise, floor, factor):
    """Fill a row of the noise: the RMS map, or that of the background, at least `floor`."""
    if rms.size:
        for x in range(level.size):
            level[x] = rms[y, x] * factor
    else:
        map_row(level, y, noise, np.int64(0), level.size)
        raise_noise(level, np.int64(0), level.size, floor, factor)


@njit(**BARE)
def put_row(ring, image, y, background):
    """Put row `y` of an image without its background into a ring; zeros below the image."""
    side, width = len(ring), image.shape[1]
    row = ring[y % side][side // 2 :]
    if y < len(image):
        map_row(row, y, background, np.int64(0), width)
        for x in range(width):
            row[x] = image[y, x] - row[x]
    else:
        row[:width] = 0


@njit(**BARE)
def mark_bright(is_bright, slot, row, width, bright):
    """Find the blocks of a row with a pixel whose value is far from 0."""
    for block in range(is_bright.shape[1]):
        is_any = False
        for x in range(np.uintp(block * BLOCK), np.uintp(min((block + 1) * BLOCK, width))):
            is_any |= not (abs(row[x]) <= bright)
        is_bright[slot, block] = is_any


@njit(**BARE)
def is_near_bright(is_bright, block, radius):
    """Whether the kernel reaches a bright block, in any row of `is_bright`, from a block."""
    reach = -(-radius // BLOCK)
    for row in range(len(is_bright)):
        for other in range(max(block - reach, 0), min(block + reach + 1, is_bright.shape[1])):
            if is_bright[row, other]:
                return True
    return False


@njit(**BARE)
def compare_in_full(is_above, row, level, ring, y, kernel, maps, n_sigma):
    """Smooth the marked pixels as sep does, compute the noise there, and compare them.

    Eight pixels at a time become so many. Those above the threshold stay marked.
    """
    rms, noise, floor, factor = maps
    columns, line = noise[2], line_of_map(y, noise)
    words, word = is_above.view(np.uint64), np.int64(0)
    while word < words.size:
        start = word
        while word < words.size and words[word] != 0:
            word += 1
        if word > start:
            x0, x1 = 8 * start, min(8 * word, row.size)
            smooth_row_in_full(row, ring, y, kernel, x0, x1)
            if not rms.size:
                fill_columns(level, x0, x1, columns, line)
                raise_noise(level, x0, x1, floor, factor)
            for x in range(np.uintp(x0), np.uintp(x1)):
                is_above[x] = row[x] > n_sigma * level[x]
        word += 1


@njit(**BARE)
def mark_maybe(is_above, separate, level, y, maps, limits, extremes, is_bright, n_sigma, slack):
    """Mark the pixels of a row that sep's sum may put above the threshold.

    `separate` is not farther from that sum than `slack`, except near bright blocks. The noise is
    computed of an RMS map only; else its lower limit will do.
    """
    rms, noise, floor, factor = maps
    reach = len(is_bright) // 2
    if not rms.size:
        limit_blocks(limits, y, noise, extremes)
    else:
        noise_row(level, y, rms, noise, floor, factor)
    for block in range(limits.size):
        x0, x1 = block * BLOCK, min((block + 1) * BLOCK, separate.size)
        if is_near_bright(is_bright, block, reach):
            for x in range(np.uintp(x0), np.uintp(x1)):
                is_above[x] = True
        elif rms.size:
            for x in range(np.uintp(x0), np.uintp(x1)):
                is_above[x] = not (separate[x] <= n_sigma * level[x] - slack)
        else:
            limit = n_sigma * (max(limits[block], floor) * factor) - slack
            limit = level.dtype.type(limit)
            is_any = has_above(separate, x0, x1, limit)
            for x in range(np.uintp(x0), np.uintp(x1)):
                is_above[x] = is_any and not (separate[x] <= limit)


@njit(**OPTIONS)
def detect_like_sep(
    image, rms, background, noise, floor, factor, kernel, profile, n_sigma, n_pixels, labels, bright
):
    """Detect the sources of an image without gaps before they are split, the bits of `sep.extract`.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    rms : ndarray of float32, shape (height, width) or (0, 0)
        Noise map; of no size if the noise is that of the background.
    background, noise : tuple
        As for `map_row`.
    floor, factor : float
        Lowest noise of the background, and what noise is multiplied with.
    kernel : ndarray of float32, shape (side, side)
        As sep normalizes it.
    profile : ndarray of float32, shape (side,)
        Its factor along one axis.
    n_sigma : float
    n_pixels : int
        Smallest number of pixels of a source.
    labels : ndarray of int32, shape (height, width)
        Zeros, filled with the labels.
    bright : float
        Values that are farther from 0 than this are summed as sep sums them at once. About 1000
        times the threshold is fast; the result does not depend on it.

    Returns
    -------
    pixels : ndarray of int64, shape (n,)
        Positions of the pixels of sources, in raster order.
    values : ndarray of float32, shape (4, n)
        Without background, noise, smoothed along each axis, smoothed by the kernel.
    """
    height, width = image.shape
    side, radius = len(kernel), len(kernel) // 2
    ring, padded = (
        np.zeros((side, width + 2 * radius), image.dtype),
        np.zeros(width + 2 * radius, image.dtype),
    )
    work = np.empty((3, width), image.dtype)
    level, row, separate = work[0], work[1], work[2]
    is_above = np.zeros(-(-width // 8) * 8, dtype=np.bool_)
    maps, extremes = (rms, noise, floor, factor), extremes_of_blocks(noise)
    limits = np.empty(extremes.shape[1], image.dtype)
    is_bright = np.zeros((side, limits.size), dtype=np.bool_)
    slack = image.dtype.type(bright * difference_of(kernel, profile))
    runs, values = np.empty((1024, 4), dtype=np.int64), np.empty((1 << 16, 4), image.dtype)
    n_runs = first_above = n_values = np.int64(0)  # a plain 0 is a type of its own
    for line in range(height + radius):
        put_row(ring, image, line, background)
        mark_bright(is_bright, line % side, ring[line % side, radius:], width, bright)
        y = line - radius
        if y < 0:
            continue
        # Sums along one axis, then the other, are fast. sep's sum, which differs by rounding, is
        # made near the threshold and above.
        smooth_row(separate, padded, ring, y, profile)
        mark_maybe(is_above, separate, level, y, maps, limits, extremes, is_bright, n_sigma, slack)
        compare_in_full(is_above, row, level, ring, y, kernel, maps, n_sigma)
        before = n_runs
        runs = with_room(runs, n_runs, width)
        n_runs, first_above = add_runs(runs, n_runs, first_above, y, is_above, 1)
        if n_runs == before:
            continue
        values = with_room_for_row(values, n_values, width)
        for run in range(before, n_runs):
            for x in range(runs[run, 1], runs[run, 2]):
                values[n_values, 0], values[n_values, 1] = ring[y % side, x + radius], level[x]
                values[n_values, 2], values[n_values, 3] = separate[x], row[x]
                n_values += 1
    label_runs(runs[:n_runs], n_pixels, labels)
    return pixels_of_sources(runs[:n_runs], width, values[:n_values])


@njit(**INNER)
def difference_of(kernel, profile):
    """How far two sums of pixels of at most 1 are apart: by a kernel, and by its factor."""
    total = kernel[0, 0] * 0 + kernel.dtype.type(SLACK)
    for y in range(len(kernel)):
        for x in range(len(kernel)):
            total += abs(kernel[y, x] - profile[y] * profile[x])
    return total


@njit(**INNER)
def with_room_for_row(values, n_values, width):
    """Return values with room for those of another row."""
    n_rows = len(values)
    while n_values + width > n_rows:
        n_rows *= 2
    if n_rows == len(values):
        return values
    larger = np.empty((n_rows, 4), values.dtype)
    for index in range(n_values):
        for kind in range(4):
            larger[index, kind] = values[index, kind]
    return larger


@njit(**INNER)
def pixels_of_sources(runs, width, values):
    """Positions of the pixels of runs with a label, and their values, shape (n_values, n)."""
    n_pixels = 0
    for run in range(len(runs)):
        if runs[run, 3]:
            n_pixels += runs[run, 2] - runs[run, 1]
    pixels = np.empty(n_pixels, dtype=np.int64)
    chosen = np.empty((values.shape[1], n_pixels), values.dtype)
    place = index = 0
    for run in range(len(runs)):
        for x in range(runs[run, 1], runs[run, 2]):
            if runs[run, 3]:
                pixels[place] = runs[run, 0] * width + x
                for kind in range(values.shape[1]):
                    chosen[kind, place] = values[index, kind]
                place += 1
            index += 1
    return pixels, chosen


@njit(**OPTIONS)
def subtract_window(image, rms, background, noise, floor, factor):
    """Return an image without its background, and its noise; arguments as of `detect_like_sep`."""
    subtracted, depth = np.empty(image.shape, image.dtype), np.empty(image.shape, image.dtype)
    for y in range(len(image)):
        map_row(subtracted[y], y, background, np.int64(0), image.shape[1])
        for x in range(image.shape[1]):
            subtracted[y, x] = image[y, x] - subtracted[y, x]
        noise_row(depth[y], y, rms, noise, floor, factor)
    return subtracted, depth
