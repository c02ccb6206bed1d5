"""Kernels of deblending: which sources may split, their markers, and their parts.

Pixels of a source are numbered in raster order. They lie in a box with a frame of one pixel, so
that each has all its neighbours. numba takes a while to import, so functions import this module.
"""

import numpy as np

from .._utils.compiled import BARE, INNER, OPTIONS, njit
from ..structures._label_kernels import root_of
from ._flood_kernels import flood, flood_by_levels


@njit(**INNER)
def sorted_order(keys):
    """Return the indices that sort numbers, ties in their order, as `numpy.argsort` does.

    numba takes more than a second to compile its own sort.
    """
    order, merged = np.empty(len(keys), dtype=np.int64), np.empty(len(keys), dtype=np.int64)
    fill_order(keys, order, merged)
    return order


@njit(**BARE)
def fill_order(keys, order, merged):
    """Fill `order` with the result of `sorted_order`; `merged` is work space of its size."""
    n, width, n_merges = len(keys), 16, 0
    first, second = order, merged
    while width < n:
        width, n_merges = 2 * width, n_merges + 1
    if n_merges % 2:  # the last goes from `merged` to `order`
        first, second = merged, order
    sort_stretches(keys, first)
    width = 16
    while width < n:
        for start in range(0, n, 2 * width):
            merge(keys, first, second, start, min(start + width, n), min(start + 2 * width, n))
        first, second, width = second, first, 2 * width


@njit(**BARE)
def sort_stretches(keys, order):
    """Sort each sixteen indices, ties in their order."""
    width = 16
    for index in range(len(keys)):
        first, place = index - index % width, index
        while place > first and keys[order[place - 1]] > keys[index]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = index


@njit(**BARE)
def merge(keys, order, merged, start, middle, stop):
    """Merge two sorted parts of `order`, without a jump that a processor would have to guess."""
    place, left, right = np.uintp(start), np.uintp(start), np.uintp(middle)
    middle, stop, step = np.uintp(middle), np.uintp(stop), np.uintp(1)
    while left < middle and right < stop:
        first, second = order[left], order[right]
        is_left = keys[first] <= keys[second]
        merged[place] = first if is_left else second
        left += np.uintp(is_left)
        right += np.uintp(not is_left)
        place += step
    while left < middle:
        merged[place] = order[left]
        left, place = left + step, place + step
    while right < stop:
        merged[place] = order[right]
        right, place = right + step, place + step


@njit(**OPTIONS)
def neighbours(width, connectivity):
    """Return the offsets to the neighbours in a box with rows of `width` pixels, nearest first."""
    around = np.empty(8, dtype=np.int64)
    fill_neighbours(around, width)
    return around[:connectivity]


@njit(**BARE)
def fill_neighbours(around, width):
    """Fill in the offsets of `neighbours`, all eight."""
    around[0], around[1], around[2], around[3] = -width, -1, 1, width
    around[4], around[5], around[6], around[7] = -width - 1, -width + 1, width - 1, width + 1


@njit(**INNER)
def number_box(places, box_size):
    """Return the pixel at each place of a box, -1 where there is none."""
    node_at = np.empty(box_size, dtype=np.int64)
    for place in range(box_size):
        node_at[place] = -1
    for node in range(len(places)):
        node_at[places[node]] = node
    return node_at


@njit(**OPTIONS)
def group_pixels(owner):
    """Sort pixels by their label, 0…n.

    Returns
    -------
    order : ndarray of int64
        Indices of the pixels, label by label, those of a label in their order.
    starts : ndarray of int64, shape (n + 2,)
        The pixels of label k are ``order[starts[k]:starts[k + 1]]``.
    """
    highest = 0
    for index in range(len(owner)):
        highest = max(highest, owner[index])
    starts = np.zeros(highest + 2, dtype=np.int64)
    free = np.zeros(highest + 2, dtype=np.int64)
    for index in range(len(owner)):
        starts[owner[index] + 1] += 1
    for label in range(1, len(starts)):
        starts[label] += starts[label - 1]
        free[label] = starts[label]
    order = np.empty(len(owner), dtype=np.int64)
    for index in range(len(owner)):
        order[free[owner[index]]] = index
        free[owner[index]] += 1
    return order, starts


@njit(**OPTIONS)
def place_in_box(pixels, width):
    """Return the positions of pixels in the box around them, its width and its number of pixels.

    Parameters
    ----------
    pixels : ndarray of int64
        Positions in raster order in an image with rows of `width` pixels.
    """
    places, rows = np.empty(len(pixels), dtype=np.int64), np.empty(len(pixels), dtype=np.int64)
    box_width, box_size = fill_places(places, rows, pixels, width)
    return places, box_width, box_size


@njit(**BARE)
def fill_places(places, rows, pixels, width):
    """Fill `places` as `place_in_box`; return width and size of the box. `rows` is work space."""
    start, row = pixels[0] - pixels[0] % width, 0
    left, right = width, 0
    for index in range(len(pixels)):
        while pixels[index] - start >= width:  # a division would take longer
            start, row = start + width, row + 1
        x = pixels[index] - start
        left, right = min(left, x), max(right, x)
        places[index], rows[index] = x, row
    box_width = right - left + 3
    for index in range(len(pixels)):
        places[index] += (rows[index] + 1) * box_width + 1 - left
    return box_width, (row + 3) * box_width


@njit(**BARE)
def has_peaks(values, places, around, node_at):
    """Return whether two pixels of a source are as bright as all their neighbours."""
    n_peaks = 0
    for node in range(len(values)):
        is_peak = True
        for offset in around:
            other = node_at[places[node] + offset]
            if other >= 0 and values[other] > values[node]:
                is_peak = False
                break
        n_peaks += is_peak
        if n_peaks > 1:
            return True
    return False


@njit(**BARE)
def may_split(values, work, light, around, node_at, n_pixels, least):
    """Return whether some threshold can leave two parts of `n_pixels` pixels of a source.

    Pixels are added from the brightest on. The source may split if two parts that meet are both
    large enough, and each has more than `least` light above the pixel where they meet.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    work : ndarray of int64, shape (5, n) or larger
        Places in the box, then work space.
    light : ndarray of float64, shape (n,) or larger
        Work space.
    around, node_at
        As of `neighbours` and `number_box`.
    """
    n = len(values)
    places, order, merged = work[0, :n], work[1, :n], work[2, :n]
    parent, size = work[3], work[4]
    if not has_peaks(values, places, around, node_at):
        return False
    fill_order(values, order, merged)
    for node in range(n):
        node_at[places[node]] = -1
        parent[node], size[node], light[node] = node, 1, values[node]
    n_parts = 0
    for step in range(n - 1, -1, -1):
        own = node = order[step]
        value = values[node]
        n_parts += 1
        n_large = 0
        for offset in around:
            other = node_at[places[node] + offset]
            if other < 0:
                continue
            root = root_of(parent, other)
            if root == own:
                continue
            n_large += size[root] >= n_pixels and light[root] - value * size[root] > least
            parent[own] = root
            size[root] += size[own]
            light[root] += light[own]
            own = root
            n_parts -= 1
        if n_large > 1:
            return True
        node_at[places[node]] = node
    return n_parts > 1


@njit(**OPTIONS)
def find_candidates(values, pixels, starts, width, n_pixels, connectivity, share):
    """Return which labels may split, shape (n_labels + 1,); see `may_split`.

    With a `share` above 0, parts need this fraction of the light of their source above where they
    meet.
    """
    chosen = np.zeros(len(starts) - 1, dtype=np.bool_)
    largest = 0
    for label in range(1, len(starts) - 1):
        largest = max(largest, starts[label + 1] - starts[label])
    work, light = np.empty((5, largest), dtype=np.int64), np.empty(largest)
    around, node_at = neighbours(1, 8), number_box(starts[:0], 256)
    for label in range(1, len(starts) - 1):
        start, stop = starts[label], starts[label + 1]
        if stop - start < 2 * n_pixels:
            continue
        own = values[start:stop]
        box_width, box_size = fill_places(work[0], work[1], pixels[start:stop], width)
        if box_size > len(node_at):
            node_at = number_box(starts[:0], 2 * box_size)
        fill_neighbours(around, box_width)
        total = 0.0
        for node in range(len(own)):
            total += own[node]
            node_at[work[0, node]] = node
        least = share * total if share > 0 else -np.inf
        chosen[label] = may_split(own, work, light, around[:connectivity], node_at, n_pixels, least)
        for node in range(len(own)):
            node_at[work[0, node]] = -1
    return chosen


@njit(**OPTIONS)
def count_peaks(labels, image, wanted, diagonal):
    """Number of local maxima of each label: pixels that no neighbour of their label exceeds.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
    image : ndarray of float, shape (height, width)
        A value that is not finite is the lowest.
    wanted : ndarray of bool, shape (n_labels + 1,)
        Labels that count; 0 must not.
    diagonal : bool
        Whether pixels that touch at a corner are neighbours.
    """
    height, width = labels.shape
    n_peaks = np.zeros(wanted.size, dtype=np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if wanted[label] and is_peak(labels, image, y, x, diagonal):
                n_peaks[label] += 1
    return n_peaks


@njit(**BARE)
def is_peak(labels, image, y, x, diagonal):
    """Whether no neighbour of the same label is brighter than a pixel."""
    value, label = image[y, x], labels[y, x]
    if not np.isfinite(value):
        value = -np.inf
    for below in range(max(y - 1, 0), min(y + 2, labels.shape[0])):
        for right in range(max(x - 1, 0), min(x + 2, labels.shape[1])):
            if labels[below, right] != label or not (diagonal or below == y or right == x):
                continue
            if np.isfinite(image[below, right]) and image[below, right] > value:
                return False
    return True


@njit(**INNER)
def count_parts(values, order, places, around, node_at, thresholds, n_pixels):
    """Return the number of parts of at least `n_pixels` pixels above each rising threshold.

    `order` sorts the pixels from the faintest to the brightest.
    """
    n = len(values)
    parent, size = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    is_above = np.zeros(n, dtype=np.bool_)
    for node in range(n):
        parent[node], size[node] = node, 1
    counts = np.zeros(len(thresholds), dtype=np.int64)
    step, n_large = n - 1, 0
    for level in range(len(thresholds) - 1, -1, -1):
        while step >= 0 and values[order[step]] > thresholds[level]:
            node = order[step]
            step -= 1
            is_above[node] = True
            n_large += n_pixels <= 1
            for offset in around:
                other = node_at[places[node] + offset]
                if other < 0 or not is_above[other]:
                    continue
                root, own = root_of(parent, other), root_of(parent, node)
                if root == own:
                    continue
                if size[root] < size[own]:
                    root, own = own, root
                n_large -= (size[root] >= n_pixels) + (size[own] >= n_pixels)
                parent[own] = root
                size[root] += size[own]
                n_large += size[root] >= n_pixels
        counts[level] = n_large
    return counts


@njit(**BARE)
def fill_large_parts(part, stack, bright, values, places, around, node_at, threshold, n_pixels):
    """Fill in, for each pixel above a threshold, 1 + the first pixel of its part.

    0 if the part has fewer than `n_pixels` pixels.

    Parameters
    ----------
    part : ndarray of int64, shape (n,)
        Zeros, filled for the pixels `bright`.
    stack : ndarray of int64, shape (n,)
        Work space.
    bright : ndarray of int64
        The pixels above the threshold.
    """
    for start in bright:
        if part[start]:
            continue
        stack[0], part[start], first = start, -1, start
        n_done, n_stacked = 0, 1
        while n_done < n_stacked:
            node = stack[n_done]
            n_done += 1
            for offset in around:
                other = node_at[places[node] + offset]
                if other >= 0 and part[other] == 0 and values[other] > threshold:
                    stack[n_stacked], part[other] = other, -1
                    first = min(first, other)
                    n_stacked += 1
        if n_stacked >= n_pixels:
            for index in range(n_stacked):
                part[stack[index]] = first + 1
    for node in bright:
        part[node] = max(part[node], 0)


@njit(**OPTIONS)
def find_markers(values, order, pixels, width, thresholds, n_pixels, connectivity):
    """Number the parts that a rising threshold separates.

    A part is replaced by those that it falls into, if these are two or more of at least `n_pixels`
    pixels. `order` sorts the pixels from the faintest to the brightest.

    Returns
    -------
    markers : ndarray of int64, shape (n,)
        1… in the order of their first pixels; 0 for pixels of no marker.
    n_markers : int
        0 if no threshold separates parts.
    """
    n = len(values)
    places, box_width, box_size = place_in_box(pixels, width)
    around, node_at = neighbours(box_width, connectivity), number_box(places, box_size)
    counts = count_parts(values, order, places, around, node_at, thresholds, n_pixels)
    part, stack = np.zeros(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    markers = np.zeros(n, dtype=np.int64)
    n_inside = np.zeros(n + 1, dtype=np.int64)  # parts inside each marker
    first, has_markers = 0, False
    for level in range(len(counts)):
        if counts[level] <= 1:
            continue
        for step in range(first, n):
            part[order[step]] = 0
        threshold = thresholds[level]
        while first < n and not values[order[first]] > threshold:
            first += 1
        bright = order[first:]
        fill_large_parts(part, stack, bright, values, places, around, node_at, threshold, n_pixels)
        if not has_markers:
            has_markers = True
            for node in range(n):
                markers[node] = part[node]
            continue
        falls_apart = False
        for node in bright:
            n_inside[markers[node]] = 0
        for node in bright:
            if part[node] == node + 1 and markers[node]:
                n_inside[markers[node]] += 1
                falls_apart |= n_inside[markers[node]] > 1
        if falls_apart:
            for node in range(n):
                if n_inside[markers[node]] > 1:
                    markers[node] = part[node]
            n_inside[:] = 0
    return markers, number_in_order(markers)


@njit(**INNER)
def number_in_order(parts):
    """Number parts 1… in the order of their first pixels, in place; return how many there are.

    No part is above the number of pixels.
    """
    number = np.zeros(len(parts) + 1, dtype=np.int64)
    n_parts = 0
    for node in range(len(parts)):
        part = parts[node]
        if part and not number[part]:
            n_parts += 1
            number[part] = n_parts
        parts[node] = number[part]
    return n_parts


@njit(**OPTIONS)
def divide(values, order, pixels, width, markers, n_markers, total, contrast, connectivity):
    """Divide a source among its markers; drop the faintest part while it is below `contrast`.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    order : ndarray of int64, shape (n,)
        Pixels from the faintest to the brightest.
    pixels : ndarray of int64, shape (n,)
    width : int
    markers : ndarray of int64, shape (n,)
        1…`n_markers`, or 0. Becomes the part of each pixel.
    n_markers : int
    total, contrast : float
        A part must have the fraction `contrast` of the flux `total`.
    connectivity : {4, 8}

    Returns
    -------
    int
        Number of parts; 1 if the source stays whole.
    """
    n = len(values)
    places, box_width, box_size = place_in_box(pixels, width)
    around, node_at = neighbours(box_width, connectivity), number_box(places, box_size)
    flooded, following = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    if not flood_by_levels(values, order, places, around, node_at, markers):
        flood(values, places, around, node_at, markers, nodes_with(markers), flooded)
    flux, latest = np.zeros(n_markers + 1), np.empty(n_markers + 1, dtype=np.int64)
    for part in range(n_markers + 1):
        latest[part] = -1
    for node in range(n):
        flux[markers[node]] += values[node]
        following[node], latest[markers[node]] = latest[markers[node]], node
    if latest[0] >= 0:  # a piece without a marker: no connected source
        return 1
    n_parts = n_markers
    while n_parts > 1:
        part = faintest_part(flux, total, latest, contrast)
        if not part:
            break
        n_parts -= 1
        shores = remove(latest[part], following, values, places, around, node_at, markers)
        latest[part] = -1
        n_flooded = flood(values, places, around, node_at, markers, shores, flooded)
        for step in range(n_flooded):
            node = flooded[step]
            flux[markers[node]] += values[node]
            following[node], latest[markers[node]] = latest[markers[node]], node
    number = np.zeros(n_markers + 1, dtype=np.int64)
    for part in range(1, n_markers + 1):
        number[part] = number[part - 1] + (latest[part] >= 0)
    for node in range(n):
        markers[node] = number[markers[node]]
    return n_parts


@njit(**INNER)
def nodes_with(chosen):
    """Return the indices of the elements that are not 0."""
    nodes, n_nodes = np.empty(len(chosen), dtype=np.int64), 0
    for node in range(len(chosen)):
        if chosen[node]:
            nodes[n_nodes] = node
            n_nodes += 1
    return nodes[:n_nodes]


@njit(**INNER)
def remove(latest, following, values, places, around, node_at, parts):
    """Remove a part, in place; return the pixels of other parts that the flood starts from.

    These are the neighbours of the part. If two of them are equally bright, all pixels of other
    parts are returned, because the whole heap says which comes first.

    Parameters
    ----------
    latest : int
        One pixel of the part.
    following : ndarray of int64, shape (n,)
        The next pixel of the same part; -1 for the last.
    """
    node = latest
    while node >= 0:
        parts[node] = 0
        node = following[node]
    is_shore = np.zeros(len(parts), dtype=np.int64)
    node = latest
    while node >= 0:
        for offset in around:
            other = node_at[places[node] + offset]
            if other >= 0 and parts[other]:
                is_shore[other] = 1
        node = following[node]
    shores = nodes_with(is_shore)
    brightness = np.empty(len(shores))
    for index in range(len(shores)):
        brightness[index] = values[shores[index]]
    order = sorted_order(brightness)
    for index in range(1, len(order)):
        if brightness[order[index]] == brightness[order[index - 1]]:
            return nodes_with(parts)
    return shores


@njit(**BARE)
def faintest_part(flux, total, latest, contrast):
    """Return the part with the smallest share of the flux; 0 if no share is below `contrast`.

    Shares are NaN for a total of zero; the first of these goes, as by `numpy.argmin`.
    """
    faintest, least, is_faint = 0, 0.0, False
    for part in range(1, len(flux)):
        if latest[part] < 0:  # removed
            continue
        share = flux[part] / total
        is_faint |= share < contrast
        if faintest == 0 or (not np.isnan(least) and not share >= least):
            faintest, least = part, share
    return faintest if is_faint else 0
