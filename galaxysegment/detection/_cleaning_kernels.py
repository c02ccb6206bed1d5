"""Kernels of sep's cleaning: its lists of pixels, its cores of blends, and numbers about parts.

sep keeps the pixels of a detection in the order in which the scan of Lutz (1980) joins them. The
number that decides about cleaning depends on that order. numba takes a while to import, so
functions import this module.
"""

import math

import numpy as np

from .._utils.compiled import BARE, INNER, OPTIONS, njit
from ..structures._label_kernels import root_of
from ._deblend_kernels import sorted_order

_FIRST, _LAST, _COUNT, _HIGHEST = range(4)  # columns of a list
_LEAST_PART = 3  # pixels above a threshold, however large a source has to be
_LINE, _PIXEL = 0.00694, 0.0833333  # determinant of a line, variance of a pixel


@njit(**BARE)
def _join(own, other, lists, begins, parent, chain):
    """Join two lists: the object that begins first in the row takes the pixels of the other."""
    own, other = root_of(parent, own), root_of(parent, other)
    if own == other:
        return own
    if begins[other] < begins[own]:
        own, other = other, own
    parent[other] = own
    if lists[own, _COUNT] == 0:
        for column in range(4):
            lists[own, column] = lists[other, column]
    elif lists[other, _COUNT]:
        chain[lists[own, _LAST]] = lists[other, _FIRST]
        lists[own, _LAST] = lists[other, _LAST]
        lists[own, _COUNT] += lists[other, _COUNT]
        lists[own, _HIGHEST] = max(lists[own, _HIGHEST], lists[other, _HIGHEST])
    return own


@njit(**INNER)
def scan(y, x, values, threshold, lit, chain, work):
    """List the pixels above a threshold, object by object, in the order of the scan of Lutz.

    Parameters
    ----------
    y, x : ndarray of int64, shape (n_pixels,)
        Places of the pixels of a detection, in raster order.
    values : ndarray of float32, shape (n_pixels,)
    threshold : float32
    lit : ndarray of int64, shape (n,)
        The pixels that may be above the threshold, in raster order.
    chain : ndarray of int32, shape (n_pixels,)
        Filled with the number of the next pixel of the object; -1 at its end.
    work : tuple of ndarray of int64
        Work space for so many pixels: see `_make_work`.

    Returns
    -------
    n_lit : int
        Number of pixels above the threshold: they are first in `lit` now.
    objects : ndarray of int64, shape (n_objects, 4)
        First and last pixel of the list of each object, number of its pixels, and its highest
        pixel, in the order in which the scan completes them.
    """
    lists, begins, parent, runs = work
    n_lit = np.int64(0)
    for index in range(len(lit)):
        pixel = lit[index]
        lit[n_lit] = pixel
        n_lit += values[pixel] > threshold
    n_lists = n_runs = index = above = np.int64(0)
    while index < n_lit:
        row, above_to = y[lit[index]], n_runs
        if n_runs == 0 or runs[n_runs - 1, 3] != row - 1:
            above = n_runs
        first_own = n_runs
        while index < n_lit and y[lit[index]] == row:
            place = x[lit[index]]
            while above < above_to and runs[above, 1] < place:
                above += 1
            joining = above
            if above < above_to and runs[above, 0] < place:  # a run of the row above goes on
                own, joining = root_of(parent, runs[above, 2]), above + 1
            else:
                own, n_lists = n_lists, n_lists + 1
                begins[own], parent[own], lists[own, _COUNT] = place, own, 0
            runs[n_runs, 0], runs[n_runs, 3] = place, row
            while True:
                if joining < above_to and runs[joining, 0] == place:  # one begins here
                    own = _join(own, runs[joining, 2], lists, begins, parent, chain)
                    joining += 1
                if index == n_lit or y[lit[index]] != row or x[lit[index]] != place:
                    break
                _append(lists, own, lit[index], chain)
                index, place = index + 1, place + 1
            runs[n_runs, 1], runs[n_runs, 2] = place, own
            n_runs += 1
        for run in range(n_runs - 1, first_own - 1, -1):
            begins[root_of(parent, runs[run, 2])] = runs[run, 0]
        above = first_own
    return n_lit, _roots_in_order(lists, n_lists, parent)


@njit(**BARE)
def _append(lists, own, pixel, chain):
    """Append a pixel to a list."""
    chain[pixel] = -1
    if lists[own, _COUNT] == 0:
        lists[own, _FIRST] = pixel
    else:
        chain[lists[own, _LAST]] = pixel
    lists[own, _LAST] = lists[own, _HIGHEST] = pixel
    lists[own, _COUNT] += 1


@njit(**INNER)
def _make_work(n):
    """Work space of `scan` for `n` pixels: lists, where they begin, their parents, and runs."""
    begins, parent = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    # of a run: first column, column after the last, list, and row
    return np.empty((n, 4), dtype=np.int64), begins, parent, np.empty((n, 4), dtype=np.int64)


@njit(**INNER)
def _roots_in_order(lists, n_lists, parent):
    """Return the lists that no other list has taken, sorted by their highest pixel."""
    keys, n_objects = np.empty(n_lists), 0
    for index in range(n_lists):
        if parent[index] == index:
            keys[n_objects], parent[n_objects] = lists[index, _HIGHEST], index
            n_objects += 1
    order = sorted_order(keys[:n_objects])
    objects = np.empty((n_objects, 4), dtype=np.int64)
    for index in range(n_objects):
        for column in range(4):
            objects[index, column] = lists[parent[order[index]], column]
    return objects


@njit(**BARE)
def _flux(values, chain, first):
    """Sum of the values of a list of pixels, in single precision at the end as in sep."""
    total = 0.0
    while first >= 0:
        total += values[first]
        first = chain[first]
    return np.float32(total)


@njit(**INNER)
def _grow(table):
    larger = np.empty((2 * len(table), 4), dtype=np.int64)
    for row in range(len(table)):
        for column in range(4):
            larger[row, column] = table[row, column]
    return larger


@njit(**BARE)
def _highest(values):
    highest = values[0]
    for index in range(1, len(values)):
        highest = max(highest, values[index])
    return highest


@njit(**BARE)
def _lowest(places, members):
    lowest = places[members[0]]
    for pixel in members:
        lowest = min(lowest, places[pixel])
    return lowest


@njit(**INNER)
def find_cores(y, x, values, lowest, contrast, n_pixels, chains, lists, work):
    """Find the cores of the parts of a blend: where sep's tree of thresholds splits it.

    Parameters
    ----------
    y, x, values, work
        As of `scan`.
    lowest : float32
        Threshold of the detection.
    contrast, n_pixels
        Of the segmenter.
    chains : ndarray of int32, shape (n_levels, n_pixels)
        Next pixels, for each level; only those of the first are known, the others are filled.
    lists : ndarray of int64
        Objects of the first level.

    Returns
    -------
    ndarray of int64, shape (n_parts, 2)
        Level and first pixel of each core, in the order of sep.
    """
    n_levels = len(chains)
    lit = _numbers_to(len(values))
    before, n_lit = np.float32(-np.inf), len(values)
    owner = np.zeros(len(values), dtype=np.int64)  # node of each pixel, one level below
    # nodes of the tree: first pixel, the node below, whether it counts, whether it is whole
    nodes = np.zeros((16, 4), dtype=np.int64)
    starts = np.zeros(n_levels + 1, dtype=np.int64)
    nodes[0, 0], nodes[0, 3] = lists[0, _FIRST], 1
    starts[1] = 1
    least = contrast * np.float64(_flux(values, chains[0], lists[0, _FIRST]))
    peak, floor = np.float64(_highest(values)), np.float64(lowest)
    for level in range(1, n_levels):
        threshold = lowest
        if peak > 0:
            threshold = np.float32(floor * math.pow(peak / floor, level / n_levels))
        if not threshold >= before:  # pixels come back
            lit, n_lit = _numbers_to(len(values)), len(values)
        chain, before = chains[level], threshold
        n_lit, lists = scan(y, x, values, threshold, lit[:n_lit], chain, work)
        below, n_nodes = np.empty(len(lists)), starts[level]
        for index in range(len(lists)):
            below[index] = owner[lists[index, _FIRST]]
        for index in sorted_order(below):
            pixel, count = lists[index, _FIRST], lists[index, _COUNT]
            if count < min(n_pixels, _LEAST_PART):
                continue
            if n_nodes == len(nodes):
                nodes = _grow(nodes)
            light = _flux(values, chain, pixel) - threshold * np.float32(count)
            nodes[n_nodes, 0], nodes[n_nodes, 1] = pixel, np.int64(below[index])
            nodes[n_nodes, 2], nodes[n_nodes, 3] = np.int64(light > least), 1
            while pixel >= 0:
                owner[pixel] = n_nodes
                pixel = chain[pixel]
            n_nodes += 1
        starts[level + 1] = n_nodes
    return _cut_branches(nodes, starts)


@njit(**INNER)
def _numbers_to(n):
    numbers = np.empty(n, dtype=np.int64)
    for index in range(n):
        numbers[index] = index
    return numbers


@njit(**INNER)
def _cut_branches(nodes, starts):
    """Level and first pixel of the nodes that become parts, from the top of the tree down."""
    cores = np.empty((len(nodes), 2), dtype=np.int64)
    n_cores = 0
    for level in range(len(starts) - 3, -1, -1):
        sons_from, sons_to = starts[level + 1], starts[level + 2]
        for node in range(starts[level], starts[level + 1]):
            n_branches = 0
            for son in range(sons_from, sons_to):
                if nodes[son, 1] == node:
                    n_branches += nodes[son, 2]
                    nodes[node, 3] &= nodes[son, 3]
            if n_branches > 1:
                for son in range(sons_from, sons_to):
                    if nodes[son, 1] == node and nodes[son, 2] and nodes[son, 3]:
                        cores[n_cores, 0], cores[n_cores, 1] = level + 1, nodes[son, 0]
                        n_cores += 1
                nodes[node, 3] = 0
    return cores[:n_cores]


@njit(**INNER)
def _bare_excess(excess, members, n_pixels):
    """Excess of the `n_pixels`-th brightest pixel, from sep's heap and with its quirks.

    It is that of the first pixel if there are just `n_pixels`. If there are more, the next pixel
    is left out, and a swap goes on at the wrong place.
    """
    if len(members) < n_pixels:
        return np.float32(0)
    if len(members) == n_pixels:
        return excess[members[0]]
    first, heap = np.empty(n_pixels), np.empty(n_pixels, dtype=np.float32)
    for index in range(n_pixels):
        first[index] = excess[members[index]]
    order = sorted_order(first)
    for index in range(n_pixels):
        heap[index] = excess[members[order[index]]]
    for index in range(n_pixels + 1, len(members)):
        member = members[index]
        if not excess[member] > heap[0]:
            continue
        heap[0] = excess[member]
        upper, lower = 0, 2  # lower counts from one
        while lower <= n_pixels:
            if lower != n_pixels and heap[lower - 1] > heap[lower]:
                lower += 1
            if heap[upper] <= heap[lower - 1]:
                break
            heap[upper], heap[lower - 1] = heap[lower - 1], heap[upper]
            upper = lower
            lower = (upper + 1) << 1
    return heap[0]


@njit(**INNER)
def _list_parts(part, n_parts, chains, cores, lists):
    """Pixels of each part in sep's order: those of its core, then the others.

    Returns
    -------
    members : ndarray of int64, shape (n_pixels,)
    starts : ndarray of int64, shape (n_parts + 1,)
    n_core : ndarray of int64, shape (n_parts,)
        How many of the members of each part are its core; 0 for a detection that is no blend.
    """
    n_core, starts = np.zeros(n_parts, dtype=np.int64), np.zeros(n_parts + 1, dtype=np.int64)
    members, free = np.empty(len(part), dtype=np.int64), np.zeros(n_parts, dtype=np.int64)
    for pixel in range(len(part)):
        starts[part[pixel] + 1] += 1
    for index in range(n_parts):
        free[index] = starts[index]
        starts[index + 1] += starts[index]
    taken = np.zeros(len(part), dtype=np.bool_)
    for index in range(len(cores)):
        level, pixel = cores[index, 0], cores[index, 1]
        while pixel >= 0:
            members[free[part[pixel]]] = pixel
            free[part[pixel]] += 1
            taken[pixel] = True
            pixel = chains[level, pixel]
    for index in range(n_parts):
        n_core[index] = free[index] - starts[index]
    for index in range(len(lists)):
        pixel = lists[index, _FIRST]
        while pixel >= 0:
            if not taken[pixel]:
                members[free[part[pixel]]] = pixel
                free[part[pixel]] += 1
            pixel = chains[0, pixel]
    return members, starts, n_core


@njit(**BARE)
def _first_moments(members, y, x, smooth):
    """Flux and centroid of some pixels, with the rounding of sep."""
    top, left = _lowest(y, members), _lowest(x, members)
    total, sum_y, sum_x = 0.0, 0.0, 0.0
    for pixel in members:
        total += smooth[pixel]
        sum_y += smooth[pixel] * np.float32(y[pixel] - top)
        sum_x += smooth[pixel] * np.float32(x[pixel] - left)
    flux = np.float64(np.float32(total))
    return flux, sum_y / flux + top, sum_x / flux + left


@njit(**BARE)
def _describe(members, n_core, y, x, values, threshold, numbers):
    """Fill in the first eleven numbers of a part; `values` are the light and the smooth light."""
    light, smooth = values
    flux, mean_y, mean_x = _first_moments(members, y, x, smooth)
    centre_y, centre_x = mean_y, mean_x
    if n_core:
        _, centre_y, centre_x = _first_moments(members[:n_core], y, x, smooth)
    top, left, highest = _lowest(y, members), _lowest(x, members), light[members[0]]
    for pixel in members:
        highest = max(highest, light[pixel])
    half = (np.float64(threshold) + highest) / 2
    n_above, n_half = 0, 0
    yy, xx, xy = 0.0, 0.0, 0.0
    for pixel in members:
        dy, dx = np.float32(y[pixel] - top), np.float32(x[pixel] - left)
        yy += smooth[pixel] * dy * dy
        xx += smooth[pixel] * dx * dx
        xy += smooth[pixel] * dx * dy
        n_above += light[pixel] > threshold
        n_half += light[pixel] > half
    my, mx, cy, cx = mean_y - top, mean_x - left, centre_y - top, centre_x - left
    yy = yy / flux + cy * cy - 2 * my * cy
    xx = xx / flux + cx * cx - 2 * mx * cx
    xy = xy / flux + cx * cy - mx * cy - cx * my
    determinant = xx * yy - xy * xy
    if determinant < _LINE:
        yy, xx = yy + _PIXEL, xx + _PIXEL
        determinant = xx * yy - xy * xy
    middle, spread = (xx + yy) / 2, math.sqrt((xx - yy) * (xx - yy) / 4 + xy * xy)
    a, b = math.sqrt(middle + spread), math.sqrt(max(middle - spread, 0.0))
    numbers[0], numbers[1], numbers[2], numbers[3] = centre_x, centre_y, a, b
    numbers[4], numbers[5], numbers[6] = yy / determinant, xx / determinant, -2 * xy / determinant
    correction = 1.0
    if threshold / half > 0:
        ratio = threshold / half if threshold < half else 0.99
        area = 2 * math.pi * math.log(ratio) * np.float32(a) * np.float32(b)
        correction = min(min(n_half - n_above, -1) / area, 1.0)
    numbers[7], numbers[8], numbers[9], numbers[10] = flux, len(members), correction, threshold


@njit(**INNER)
def _measure_detection(y, x, owner, values, thresholds, options, corner, numbers, work):
    """Fill in the rows of the parts of a detection; its pixels are in raster order."""
    smooth = values[1]
    n_pixels, n_levels, contrast = options
    n_all = len(y)
    total, excess = 0.0, np.empty(n_all, dtype=np.float32)
    for pixel in range(n_all):
        total += thresholds[pixel]
        excess[pixel] = smooth[pixel] - thresholds[pixel]
    threshold = np.float32(total / n_all)
    labels, part = _number_labels(owner)
    is_blend = len(labels) > 1
    chains = np.empty((n_levels if is_blend else 1, n_all), dtype=np.int32)
    _, lists = scan(y, x, smooth, np.float32(-np.inf), _numbers_to(n_all), chains[0], work)
    cores = np.empty((0, 2), dtype=np.int64)
    if is_blend:
        cores = find_cores(y, x, smooth, threshold, contrast, n_pixels, chains, lists, work)
    members, starts, n_core = _list_parts(part, len(labels), chains, cores, lists)
    for index in range(len(labels)):
        own = members[starts[index] : starts[index + 1]]
        row = numbers[labels[index] - 1]
        _describe(own, n_core[index], y, x, values, threshold, row)
        row[0] += corner[1]
        row[1] += corner[0]
        row[11], row[12], row[13] = y[-1] + corner[0], x[-1] + corner[1], index
        row[14] = _bare_excess(excess, own, n_pixels)


@njit(**INNER)
def _number_labels(owner):
    """Return the labels that occur, in ascending order, and the place of each pixel's there."""
    keys, part = np.empty(len(owner)), np.zeros(len(owner), dtype=np.int64)
    n_other = 0
    for pixel in range(len(owner)):
        keys[pixel] = owner[pixel]
        n_other += owner[pixel] != owner[0]
    if not n_other:  # no blend
        return owner[:1], part
    labels, n_labels = np.empty(len(owner), dtype=np.int64), 0
    for pixel in sorted_order(keys):
        if n_labels == 0 or labels[n_labels - 1] != owner[pixel]:
            labels[n_labels] = owner[pixel]
            n_labels += 1
        part[pixel] = n_labels - 1
    return labels[:n_labels], part


@njit(**INNER)
def _take(values, places):
    taken = np.empty(len(places), dtype=values.dtype)
    for index in range(len(places)):
        taken[index] = values[places[index]]
    return taken


@njit(**OPTIONS)
def measure_parts(order, starts, y, x, owner, values, thresholds, options, corner, numbers):
    """Measure the parts of all detections; see `_cleaning.measure_detections`.

    Parameters
    ----------
    order, starts
        The pixels of detection k are ``order[starts[k]:starts[k + 1]]``, in raster order.
    y, x, owner : ndarray of int64, shape (n,)
        Places of the pixels, and the label of the part of each.
    values : tuple of two ndarray of float32, shape (n,)
        The image without background, and smoothed.
    thresholds : ndarray of float32, shape (n,)
    options : tuple
        Smallest number of pixels, number of thresholds and contrast.
    corner : tuple of int
    numbers : ndarray of float64, shape (n_labels, 15)
        Filled.
    """
    light, smooth = values
    largest = 0
    for group in range(len(starts) - 1):
        largest = max(largest, starts[group + 1] - starts[group])
    work = _make_work(largest)
    for group in range(len(starts) - 1):
        own = order[starts[group] : starts[group + 1]]
        if len(own):
            own_y, own_x, labels = _take(y, own), _take(x, own), _take(owner, own)
            values_of_own = _take(light, own), _take(smooth, own)
            limits = _take(thresholds, own)
            _measure_detection(
                own_y, own_x, labels, values_of_own, limits, options, corner, numbers, work
            )
