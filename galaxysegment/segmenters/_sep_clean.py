"""The cleaning of SExtractor for a mosaic: which detections are bumps in the wings of a neighbour.

sep cleans all detections of an image against each other. The detections of a mosaic are measured
tile by tile and cleaned once all are known.
"""

import numpy as np
from scipy.spatial import cKDTree

#: Detections that are farther apart than this many times the sum of their semi-major axes do not
#: matter to each other, as in SExtractor.
_ZONE = 10.0
_LISTED = 100  # most pixels of a detection whose pixels are listed as sep lists them
_QUERIES = 4096  # detections whose neighbours are looked up at once
_COLUMNS = ("x", "y", "a", "b", "cxx", "cyy", "cxy", "flux", "n_pixels", "correction", "threshold")
N_NUMBERS = len(_COLUMNS) + 1


def measure_detections(pixels, owner, width, value, convolved, threshold, *, n_pixels, corner):
    """Measure detections as SExtractor does for its cleaning.

    Parameters
    ----------
    pixels, owner : ndarray of int, shape (n,)
        Positions of the pixels of all detections in the window, in raster order, and the label of
        each. Labels are consecutive.
    width : int
        Pixels of a row of the window.
    value, convolved, threshold : ndarray of float, shape (n,)
        The image without its background, the same after the kernel, and the detection threshold,
        at these pixels.
    n_pixels : int
        Smallest number of pixels of a detection.
    corner : tuple of int
        Row and column in the mosaic of the first pixel of the window.

    Returns
    -------
    ndarray of float64, shape (n_detections, 12)
        Position, semi-axes, ellipse, flux, number of pixels, correction of the area, threshold, and
        the excess over the threshold of the `n_pixels`-th brightest pixel.
    """
    if not pixels.size:
        return np.zeros((0, N_NUMBERS))
    # Detection by detection, each in raster order.
    order = np.argsort(owner, kind="stable")
    owner = owner[order] - 1
    y, x = np.divmod(pixels[order], width)
    value, convolved, threshold = (
        numbers[order].astype(np.float64) for numbers in (value, convolved, threshold)
    )
    count = np.bincount(owner)
    start = np.cumsum(count) - count
    top, left = np.minimum.reduceat(y, start), np.minimum.reduceat(x, start)
    peak = np.maximum.reduceat(value, start)
    excess = _faintest_that_counts(convolved - threshold, owner, y, x, count, n_pixels)

    def total(weights):
        return np.bincount(owner, weights=weights)

    flux, level = total(convolved), total(threshold) / count
    half = (level + peak) / 2
    n_above = total(value > level[owner])
    n_half = total(value > half[owner])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_y, mean_x, ellipse = _moments(y - top[owner], x - left[owner], convolved, flux, total)
        correction = _area_correction(n_half - n_above, level / half, ellipse[0] * ellipse[1])
    position = left + corner[1] + mean_x, top + corner[0] + mean_y
    return np.stack([*position, *ellipse, flux, count, correction, level, excess], axis=1)


def _faintest_that_counts(excess, owner, y, x, count, n_pixels):
    """Excess of the `n_pixels`-th brightest pixel over the threshold.

    SExtractor finds it with a heap that it fills from its list of the pixels, and with quirks: it
    takes the first pixel of the list if a detection has just `n_pixels`, leaves out the next pixel
    if there are more, and its heap is not always in order. Detections of up to 100 pixels are
    treated in the same way; larger ones take the pixel itself.
    """
    start = np.cumsum(count) - count
    listed = excess[_listed(owner, y, x)]
    result = np.where(count == n_pixels, listed[start], 0)
    chosen = np.flatnonzero((count > n_pixels) & (count <= _LISTED))
    chosen = chosen[np.argsort(-count[chosen], kind="stable")]
    result[chosen] = _heap_tops(listed, start[chosen], count[chosen], n_pixels)
    for large in np.flatnonzero(count > np.maximum(n_pixels, _LISTED)).tolist():
        place = count[large] - n_pixels
        own = excess[start[large] : start[large] + count[large]]
        result[large] = np.partition(own, place)[place]
    return result


def _heap_tops(listed, start, count, n_pixels):
    """Top of SExtractor's heap of each detection; the detections with most pixels come first."""
    heaps = np.sort(listed[start[:, None] + np.arange(n_pixels)], axis=1)
    for place in range(n_pixels + 1, int(count.max(initial=0))):
        n_active = int(np.searchsorted(-count, -place))
        value = listed[start[:n_active] + place]
        rows = np.flatnonzero(value > heaps[:n_active, 0])
        heaps[rows, 0] = value[rows]
        _sift(heaps, rows)
    return heaps[:, 0]


def _sift(heaps, rows):
    """Let the top of some heaps sink, as SExtractor does."""
    n_pixels = heaps.shape[1]
    parent = np.zeros(len(rows), dtype=np.int64)
    while rows.size:
        child = 2 * parent + 1
        inside = child < n_pixels
        rows, parent, child = rows[inside], parent[inside], child[inside]
        has_next = child + 1 < n_pixels
        sibling = np.where(has_next, child + 1, child)
        child = np.where(heaps[rows, child] > heaps[rows, sibling], sibling, child)
        sinks = heaps[rows, parent] > heaps[rows, child]
        rows, parent, child = rows[sinks], parent[sinks], child[sinks]
        upper, lower = heaps[rows, parent], heaps[rows, child]
        heaps[rows, parent], heaps[rows, child] = lower, upper
        parent = child + 1  # a quirk of SExtractor: the place after the child


def _listed(owner, y, x):
    """Order of the pixels of each detection in sep's list, from the scan of Lutz (1980).

    Pixels of a row to the left of where the row above begins come before all pixels above, the
    others after them. This is exact for detections with one run of pixels in each row. Pixels come
    detection by detection, each in raster order.
    """
    height, width = int(y.max()) + 1, int(x.max()) + 1
    is_first = np.ones(len(owner), dtype=bool)  # of its row of its detection
    is_first[1:] = (owner[1:] != owner[:-1]) | (y[1:] != y[:-1])
    first = np.flatnonzero(is_first)
    begin_above = np.full(len(first), -1)
    has_above = (owner[first[1:]] == owner[first[:-1]]) & (y[first[1:]] == y[first[:-1]] + 1)
    begin_above[1:][has_above] = x[first[:-1]][has_above]
    is_before = x < begin_above[np.cumsum(is_first) - 1]
    place = np.where(is_before, height - 1 - y, height + y) * np.int64(width) + x
    return np.argsort(owner * np.int64(2 * height * width) + place, kind="stable")


def _moments(y, x, weight, flux, total):
    """Centroid, semi-axes a, b and coefficients cxx, cyy, cxy of the second moments."""
    mean_y, mean_x = total(weight * y) / flux, total(weight * x) / flux
    yy = total(weight * y * y) / flux - mean_y**2
    xx = total(weight * x * x) / flux - mean_x**2
    xy = total(weight * x * y) / flux - mean_x * mean_y
    determinant = xx * yy - xy**2
    is_line = determinant < 0.00694
    xx, yy = (np.where(is_line, moment + 0.0833333, moment) for moment in (xx, yy))
    determinant = np.where(is_line, xx * yy - xy**2, determinant)
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    a, b = np.sqrt(middle + spread), np.sqrt(np.maximum(middle - spread, 0))
    return mean_y, mean_x, (a, b, yy / determinant, xx / determinant, -2 * xy / determinant)


def _area_correction(change, ratio, area):
    """What the area above half of the peak says about the profile; at most 1."""
    usable = ratio > 0
    logarithm = np.log(np.where(usable & (ratio < 1), ratio, 0.99))
    correction = np.where(change < 0, change, -1) / (2 * np.pi * logarithm * area)
    return np.where(usable, np.minimum(correction, 1), 1)


def surviving(measured, clean_param):
    """Find the detections that no brighter neighbour accounts for.

    A detection goes if the wing of a brighter neighbour, a Moffat profile, is brighter at its place
    than its own excess over the threshold.

    Parameters
    ----------
    measured : ndarray of float64, shape (n, 12)
        As of `measure_detections`, in the order of their first pixels; NaN for detections that stay
        and touch no other.
    clean_param : float
        Exponent of the Moffat profile.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    known = np.flatnonzero(np.isfinite(measured[:, 0]))
    eaters, eaten = _eats(measured[known], clean_param)
    eaters, eaten = known[eaters], known[eaten]
    low, high = np.minimum(eaters, eaten), np.maximum(eaters, eaten)
    # The order of SExtractor's two loops: a detection that a former one has eaten eats no other.
    gone_as_second, gone_as_first = np.zeros((2, len(measured)), dtype=bool)
    for index in np.lexsort((high, low)).tolist():
        first, second = low[index], high[index]
        if not (gone_as_second[first] or gone_as_second[second]):
            (gone_as_second if eaten[index] == second else gone_as_first)[eaten[index]] = True
    return ~(gone_as_second | gone_as_first)


def _eats(measured, clean_param):
    """Pairs of a detection and a fainter neighbour that its wing outshines."""
    columns = dict(zip(_COLUMNS, measured.T, strict=False))
    x, y, a = columns["x"], columns["y"], columns["a"]
    excess = measured[:, -1]
    with np.errstate(all="ignore"):
        unit = np.pi * a * columns["b"]
        amplitude = columns["flux"] / (2 * unit * columns["correction"])
        slope = (amplitude / columns["threshold"]) ** (1 / clean_param) - 1
        slope *= unit / columns["n_pixels"]
    eaters, eaten = [], []
    for first, second in _neighbours(x, y, a):
        is_first = columns["flux"][second] < columns["flux"][first]
        big, small = np.where(is_first, first, second), np.where(is_first, second, first)
        dx, dy = x[big] - x[small], y[big] - y[small]
        with np.errstate(all="ignore"):
            distance = columns["cxx"][big] * dx**2 + columns["cyy"][big] * dy**2
            distance += columns["cxy"][big] * dx * dy
            wing = 1 + slope[big] * distance
            light = np.where(wing < 1e10, amplitude[big] * wing**-clean_param, 0)
            goes = (wing > 1) & (light > excess[small])
        eaters.append(big[goes])
        eaten.append(small[goes])
    if not eaters:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate(eaters), np.concatenate(eaten)


def _neighbours(x, y, a):
    """Yield pairs ``(first, second)``, first < second, that are within the zone of each other."""
    if not len(x):
        return
    points = np.stack([x, y], axis=1)
    tree = cKDTree(points)
    for start in range(0, len(x), _QUERIES):
        own = np.arange(start, min(start + _QUERIES, len(x)))
        # of a pair, the larger one asks
        lists = tree.query_ball_point(points[own], 2 * _ZONE * a[own])
        sizes = np.fromiter(map(len, lists), dtype=np.int64, count=len(own))
        asking = np.repeat(own, sizes)
        other = np.concatenate([np.array(near, dtype=np.int64) for near in lists])
        asks = (a[other] < a[asking]) | ((a[other] == a[asking]) & (asking < other))
        asking, other = asking[asks], other[asks]
        near = np.hypot(x[asking] - x[other], y[asking] - y[other]) <= _ZONE * (
            a[asking] + a[other]
        )
        yield np.minimum(asking, other)[near], np.maximum(asking, other)[near]
