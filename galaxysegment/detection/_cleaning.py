"""The cleaning of SExtractor: which detections are bumps in the wings of a neighbour.

sep cleans all detections of an image against each other. The detections of a mosaic are measured
tile by tile and cleaned once all are known.
"""

import numpy as np

from ..structures._labels import touching_groups

#: Detections that are farther apart than this many times the sum of their semi-major axes do not
#: matter to each other, as in SExtractor.
_ZONE = 10.0
_QUERIES = 4096  # detections whose neighbours are looked up at once
_FEW = 400  # detections of which all pairs are looked at
_COLUMNS = ("x", "y", "a", "b", "cxx", "cyy", "cxy", "flux", "n_pixels", "correction", "threshold")
_AREA = _COLUMNS.index("n_pixels")
_ORDER = slice(11, 14)  # last row and column of the blend, number of the part
_SINGLE = ("a", "b", "cxx", "cyy", "cxy", "flux", "correction", "threshold")  # as sep keeps them
N_NUMBERS = 15


def measure_detections(
    labels, pixels, light, smooth, thresholds, *, options, corner, detections=None
):
    """Measure detections as SExtractor does for its cleaning.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
        Parts of detections, numbered consecutively, in the order of sep among those of a detection.
    pixels : ndarray of int64, shape (n,)
        Positions of the pixels of all sources, in raster order.
    light, smooth, thresholds : ndarray of float, shape (n,)
        The image without its background, the same after the kernel, and the detection threshold,
        at these pixels.
    options : tuple
        Smallest number of pixels of a detection, number of thresholds and contrast of deblending.
    corner : tuple of int
        Row and column in the mosaic of the first pixel of the window.
    detections : tuple, optional
        The pixels of each detection, as of `group_pixels`; by default labels that touch are parts
        of a detection.

    Returns
    -------
    ndarray of float64, shape (n_detections, 15)
        Position, semi-axes, ellipse, flux, number of pixels, correction of the area, threshold,
        place of the last pixel of the blend, number of the part in it, and the excess over the
        threshold of the `n_pixels`-th brightest pixel.
    """
    if not pixels.size:
        return np.zeros((0, N_NUMBERS))
    from ._cleaning_kernels import measure_parts
    from ._deblend_kernels import group_pixels

    owner = labels.ravel()[pixels].astype(np.int64)
    n_labels = int(owner.max())
    if detections is None:
        detections = group_pixels(touching_groups(labels, pixels, n_labels)[owner])
    y, x = np.divmod(pixels, labels.shape[1])
    with np.errstate(over="ignore"):
        light, smooth, thresholds = (
            np.asarray(numbers, dtype=np.float32) for numbers in (light, smooth, thresholds)
        )
    n_pixels, n_levels, contrast = options
    options = int(n_pixels), int(n_levels), float(contrast)
    corner = tuple(map(int, corner))
    numbers = np.full((n_labels, N_NUMBERS), np.nan)
    values = light, smooth
    measure_parts(*detections, y, x, owner, values, thresholds, options, corner, numbers)
    return numbers


def surviving(measured, clean_param, *, zone=_ZONE, least_area=0):
    """Find the detections that no brighter neighbour accounts for.

    A detection goes if the wing of a brighter neighbour, a Moffat profile, is brighter at its place
    than its own excess over the threshold.

    Parameters
    ----------
    measured : ndarray of float64, shape (n, 15)
        As of `measure_detections`, in any order; NaN for detections that stay and touch no other.
    clean_param : float
        Exponent of the Moffat profile.
    zone : float, default=10
        Farthest neighbour that is looked at, in sums of the semi-major axes.
    least_area : int, default=0
        Smallest number of pixels of a neighbour that accounts for others.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    known = np.flatnonzero(np.isfinite(measured[:, 0]))
    # sep judges detections in the order in which it completes them
    known = known[np.lexsort(measured[known, _ORDER].T[::-1])]
    eaters, eaten = _eats(measured[known], clean_param, zone)
    is_large = measured[known[eaters], _AREA] >= least_area
    eaters, eaten = eaters[is_large], eaten[is_large]
    low, high = np.minimum(eaters, eaten), np.maximum(eaters, eaten)
    # The order of SExtractor's two loops: a detection that a former one has eaten eats no other.
    gone_as_second, gone_as_first = np.zeros((2, len(known)), dtype=bool)
    for index in np.lexsort((high, low)).tolist():
        first, second = low[index], high[index]
        if not (gone_as_second[first] or gone_as_second[second]):
            (gone_as_second if eaten[index] == second else gone_as_first)[eaten[index]] = True
    survives = np.ones(len(measured), dtype=bool)
    survives[known] = ~(gone_as_second | gone_as_first)
    return survives


def _eats(measured, clean_param, zone):
    """Pairs of a detection and a fainter neighbour that its wing outshines."""
    columns = dict(zip(_COLUMNS, measured.T, strict=False))
    x, y, a = columns["x"], columns["y"], columns["a"]
    excess = measured[:, -1].astype(np.float32)
    with np.errstate(over="ignore"):
        columns |= {name: columns[name].astype(np.float32) for name in _SINGLE}
    double = {name: columns[name].astype(np.float64) for name in _SINGLE}
    with np.errstate(all="ignore"):
        unit = np.pi * double["a"] * double["b"]
        amplitude = double["flux"] / (2 * unit * double["correction"])
        slope = (amplitude / double["threshold"]) ** (1 / clean_param) - 1
        slope *= unit / columns["n_pixels"]
    eaters, eaten = [], []
    for first, second in _neighbours(x, y, a, zone):
        is_first = columns["flux"][second] < columns["flux"][first]
        big, small = np.where(is_first, first, second), np.where(is_first, second, first)
        dx, dy = ((places[big] - places[small]).astype(np.float32) for places in (x, y))
        with np.errstate(all="ignore"):
            distance = columns["cxx"][big] * dx**2 + columns["cyy"][big] * dy**2
            distance += columns["cxy"][big] * dx * dy
            wing = 1 + slope[big] * distance
            light = np.where(wing < 1e10, amplitude[big] * wing**-clean_param, 0)
            light = light.astype(np.float32)
            goes = (wing > 1) & (light > excess[small])
        eaters.append(big[goes])
        eaten.append(small[goes])
    if not eaters:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate(eaters), np.concatenate(eaten)


def _neighbours(x, y, a, zone):
    """Yield pairs ``(first, second)``, first < second, that are within the zone of each other."""
    for pair in _possible_neighbours(x, y, 2 * zone * a):
        asking, other = pair
        # of a pair, the larger one asks
        asks = (a[other] < a[asking]) | ((a[other] == a[asking]) & (asking < other))
        asking, other = asking[asks], other[asks]
        near = np.hypot(x[asking] - x[other], y[asking] - y[other]) <= zone * (a[asking] + a[other])
        yield np.minimum(asking, other)[near], np.maximum(asking, other)[near]


def _possible_neighbours(x, y, reach):
    """Yield pairs of a detection and each that may be within its reach, itself too.

    The detections are sorted into square cells, row by row of cells. Those near a detection are a
    few stretches of that order.
    """
    if len(x) <= _FEW:
        yield np.repeat(np.arange(len(x)), len(x)), np.tile(np.arange(len(x)), len(x))
        return
    x, y = x - x.min(), y - y.min()
    reach = np.nan_to_num(reach)
    side = max(np.median(reach), np.sqrt(x.max() * y.max() / len(x)), 1.0)
    n_rows, n_columns = int(y.max() / side) + 1, int(x.max() / side) + 1
    cell = (y / side).astype(np.int64) * n_columns + (x / side).astype(np.int64)
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(n_rows * n_columns + 1))
    low, high = (
        [
            (np.clip(places + sign * reach, 0, places.max()) / side).astype(np.int64)
            for places in (y, x)
        ]
        for sign in (-1, 1)
    )
    for first in range(0, len(x), _QUERIES):
        own = slice(first, first + _QUERIES)
        rows, asking = _ranges(low[0][own], high[0][own] + 1)
        asking += first
        begin = starts[rows * n_columns + low[1][asking]]
        places, index = _ranges(begin, starts[rows * n_columns + high[1][asking] + 1])
        yield asking[index], order[places]


def _ranges(begin, end):
    """Whole numbers of several ranges, one after the other, and the range that each is from."""
    sizes = end - begin
    index = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(index)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return begin[index] + within, index
