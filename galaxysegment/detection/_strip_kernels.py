"""Kernels that detect sources in one pass over the rows of an image.

Background, smoothing, threshold and connected pixels are done for a few rows at a time, which stay
in the cache. Each sum has the order of the same sum in numpy, or in sep, so that the results are
equal to the bit. numba takes a while to import, so functions import this module.
"""

import numpy as np

from .._utils.compiled import INNER, OPTIONS, njit
from ._deblend_kernels import root_of


@njit(**INNER)
def map_row(out, y, smooth_map):
    """Fill a row of a background or noise map.

    Parameters
    ----------
    out : ndarray of shape (width,)
    y : int
    smooth_map : tuple
        For each row, four lines and their weights; the lines, shape (n, width); the lowest and the
        highest sum, and what is added to the sum.
    """
    lines, weights, columns, low, high, base = smooth_map
    a, b, c, d = lines[y, 0], lines[y, 1], lines[y, 2], lines[y, 3]
    first, second, third, fourth = columns[a], columns[b], columns[c], columns[d]
    for x in range(out.size):
        value = first[x] * weights[y, 0]
        value += second[x] * weights[y, 1]
        value += third[x] * weights[y, 2]
        value += fourth[x] * weights[y, 3]
        value = low if value < low else value
        out[x] = (high if value > high else value) + base


@njit(**INNER)
def smooth_row(out, padded, ring, y, profile):
    """Smooth row `y` with a symmetric profile along both axes, as `convolve_rows` does.

    Parameters
    ----------
    out : ndarray of shape (width,)
    padded : ndarray of shape (width + 2 * radius,)
        Work space, zero at its ends.
    ring : ndarray of shape (2 * radius + 1, width)
        Row `y` of the image is row ``y % (2 * radius + 1)``.
    """
    n, width = ring.shape
    radius = n // 2
    total = padded[radius : radius + width]
    middle, weight = ring[y % n], profile[radius]
    for x in range(width):
        total[x] = middle[x] * weight
    for shift in range(1, radius + 1):
        above, below, weight = ring[(y - shift) % n], ring[(y + shift) % n], profile[radius - shift]
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


@njit(**INNER)
def interpolate_row(smooth, share_missing):
    """Divide a smoothed row by the weight of the pixels with data; 0 where there are none."""
    full, zero = smooth.dtype.type(1), smooth.dtype.type(0)
    least = smooth.dtype.type(1e-5)  # what rounding leaves of zero in float32
    for x in range(smooth.size):
        weight = full - share_missing[x]
        smooth[x] = zero if weight < least else smooth[x] / weight


@njit(**INNER)
def add_runs(runs, n_runs, first_above, y, is_above, reach):
    """Append the runs of a row, and join them with those of the row above.

    Parameters
    ----------
    runs : ndarray of int64, shape (n, 4)
        Row, first column, column after the last, and parent of each run.
    n_runs : int
        Number of runs so far; those of the row above begin at `first_above`.
    is_above : ndarray of bool, shape (8 * n_words,)
        Pixels above the threshold; False behind the end of the row.
    reach : int
        1 if pixels that touch at a corner are connected, else 0.

    Returns
    -------
    runs : ndarray
        Another one if there was no room.
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
            runs = with_room(runs, n_runs)
            runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2], runs[n_runs, 3] = y, start, x, n_runs
            n_runs, start = n_runs + 1, -1
    if start >= 0:
        runs = with_room(runs, n_runs)
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
    return runs, n_runs, first_own


@njit(**INNER)
def with_room(runs, n_runs):
    """Return runs with room for another one."""
    if n_runs < len(runs):
        return runs
    larger = np.empty((2 * n_runs, 4), dtype=np.int64)
    for run in range(n_runs):
        for column in range(4):
            larger[run, column] = runs[run, column]
    return larger


@njit(**INNER)
def label_runs(runs, n_pixels, labels):
    """Paint the components with enough pixels, numbered in the order of their first pixels.

    The last column of `runs` becomes the label. Returns the number of components.
    """
    n_runs = len(runs)
    sizes, number = np.zeros(n_runs, dtype=np.int64), np.zeros(n_runs, dtype=np.int64)
    for run in range(n_runs):
        root = root_of(runs[:, 3], run)
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
    ring, gaps = np.zeros((n, width), image.dtype), np.zeros((n, width), image.dtype)
    has_gap = np.zeros(n, dtype=np.bool_)
    padded = np.zeros(width + 2 * radius, image.dtype)
    work = np.empty((3, width), image.dtype)
    row, missing, level = work[0], work[1], work[2]
    is_above = np.zeros(-(-width // 8) * 8, dtype=np.bool_)
    runs = np.empty((1024, 4), dtype=np.int64)
    n_runs = first_above = np.int64(0)  # a plain 0 is a type of its own, compiled on its own
    for line in range(height + radius):
        slot = line % n
        if line < height:
            map_row(level, line, background)
            has_gap[slot] = subtract_row(ring[slot], gaps[slot], image[line], level)
        else:
            ring[slot], gaps[slot], has_gap[slot] = zero, zero, False
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
        if rms.size:
            for x in range(width):
                level[x] = rms[y, x]
        else:
            map_row(level, y, noise)
        gap = gaps[y % n]
        for x in range(width):
            is_above[x] = (row[x] > n_sigma * level[x]) & (gap[x] == zero)
        before = n_runs
        runs, n_runs, first_above = add_runs(runs, n_runs, first_above, y, is_above, reach)
        for run in range(before, n_runs):
            for x in range(runs[run, 1], runs[run, 2]):
                smooth[y, x] = row[x]
    label_runs(runs[:n_runs], n_pixels, labels)


@njit(**INNER)
def subtract_row(out, gap, pixels, level):
    """Subtract the background of a row; zero where there are no data, and `gap` is 1 there.

    Returns whether there is such a pixel.
    """
    zero, full = out.dtype.type(0), out.dtype.type(1)
    n_missing = 0
    for x in range(out.size):
        out[x] = pixels[x] - level[x]
        n_missing += out[x] != out[x]
    if not n_missing:
        gap[:] = zero
        return False
    for x in range(out.size):
        is_missing = out[x] != out[x]
        gap[x] = full if is_missing else zero
        out[x] = zero if is_missing else out[x]
    return True


@njit(**INNER)
def smooth_row_in_full(out, ring, y, kernel):
    """Smooth row `y` with a square kernel, pixel after pixel of the kernel, as sep does.

    Parameters
    ----------
    out : ndarray of shape (width,)
    ring : ndarray of shape (side, width + side - 1)
        Row `y` of the image is row ``y % side``, with a frame of zeros at both ends.
    kernel : ndarray of shape (side, side)
    """
    side, radius = len(kernel), len(kernel) // 2
    out[:] = 0
    for down in range(side):
        line = ring[(y + down - radius) % side]
        if side == 5:  # the usual size: five pixels at once, in the same order
            add_five(out, line, kernel[down])
            continue
        for across in range(side):
            shifted, weight = line[across:], kernel[down, across]
            for x in range(out.size):
                out[x] += weight * shifted[x]


@njit(**INNER)
def add_five(out, line, weights):
    """Add five neighbours of each pixel of a line, one after the other."""
    a, b, c, d, e = weights[0], weights[1], weights[2], weights[3], weights[4]
    for x in range(out.size):
        value = out[x]
        value += a * line[x]
        value += b * line[x + 1]
        value += c * line[x + 2]
        value += d * line[x + 3]
        value += e * line[x + 4]
        out[x] = value


@njit(**INNER)
def noise_row(level, y, rms, noise, floor, factor):
    """Fill a row of the noise: the RMS map, or that of the background, at least `floor`."""
    if rms.size:
        for x in range(level.size):
            level[x] = rms[y, x] * factor
    else:
        map_row(level, y, noise)
        for x in range(level.size):
            level[x] = max(level[x], floor) * factor


@njit(**OPTIONS)
def detect_like_sep(
    image, rms, background, noise, floor, factor, kernel, profile, n_sigma, n_pixels, labels
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

    Returns
    -------
    pixels : ndarray of int64, shape (n,)
        Positions of the pixels of sources, in raster order.
    values : ndarray of float32, shape (4, n)
        Without background, noise, smoothed along each axis, smoothed by the kernel.
    """
    height, width = image.shape
    side, radius = len(kernel), len(kernel) // 2
    ring = np.zeros((side, width + 2 * radius), image.dtype)
    padded = np.zeros(width + 2 * radius, image.dtype)
    work = np.empty((4, width), image.dtype)
    level, row, separate, plain = work[0], work[1], work[2], work[3]
    inside = ring[:, radius : radius + width]
    is_above = np.zeros(-(-width // 8) * 8, dtype=np.bool_)
    runs, values = np.empty((1024, 4), dtype=np.int64), np.empty((1 << 16, 4), image.dtype)
    n_runs = first_above = np.int64(0)  # a plain 0 is a type of its own, compiled on its own
    n_values = 0
    for line in range(height + radius):
        if line < height:
            map_row(level, line, background)
            for x in range(width):
                inside[line % side, x] = image[line, x] - level[x]
        else:
            inside[line % side] = 0
        y = line - radius
        if y < 0:
            continue
        smooth_row_in_full(row, ring, y, kernel)
        noise_row(level, y, rms, noise, floor, factor)
        for x in range(width):
            is_above[x] = row[x] > n_sigma * level[x]
        before = n_runs
        runs, n_runs, first_above = add_runs(runs, n_runs, first_above, y, is_above, 1)
        if n_runs == before:
            continue
        smooth_row(separate, padded, inside, y, profile)
        for x in range(width):
            plain[x] = inside[y % side, x]
        values = with_room_for_row(values, n_values, width)
        for run in range(before, n_runs):
            for x in range(runs[run, 1], runs[run, 2]):
                values[n_values, 0], values[n_values, 1] = plain[x], level[x]
                values[n_values, 2], values[n_values, 3] = separate[x], row[x]
                n_values += 1
    label_runs(runs[:n_runs], n_pixels, labels)
    return pixels_of_sources(runs[:n_runs], width, values[:n_values])


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
        map_row(subtracted[y], y, background)
        for x in range(image.shape[1]):
            subtracted[y, x] = image[y, x] - subtracted[y, x]
        noise_row(depth[y], y, rms, noise, floor, factor)
    return subtracted, depth
