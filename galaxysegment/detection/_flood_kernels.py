"""Kernels that flood a source from its markers, the brightest pixels first.

Pixels of a source are numbered as in `_deblend_kernels`. numba takes a while to import, so
functions import this module.
"""

import numpy as np

from .._utils.compiled import BARE, INNER, OPTIONS, njit


@njit(**BARE)
def is_before(depth, age, node, other):
    """Return whether a pixel is flooded before another one: it is deeper, or waits longer."""
    return depth[node] < depth[other] or (depth[node] == depth[other] and age[node] < age[other])


@njit(**BARE)
def push(heap, n_nodes, node, depth, age):
    """Put a pixel into the heap of those to be flooded; return their number."""
    place = n_nodes
    heap[place] = node
    while place > 0:
        above = (place - 1) // 2
        if not is_before(depth, age, heap[place], heap[above]):
            break
        heap[place], heap[above] = heap[above], heap[place]
        place = above
    return n_nodes + 1


@njit(**BARE)
def pop(heap, n_nodes, depth, age):
    """Take the next pixel to be flooded out of the heap; return it and the number of the others."""
    n_nodes -= 1
    first, heap[0] = heap[0], heap[n_nodes]
    place = 0
    while True:
        left, least = 2 * place + 1, place
        if left >= n_nodes:
            break
        if is_before(depth, age, heap[left], heap[place]):
            least = left
        if left + 1 < n_nodes and is_before(depth, age, heap[left + 1], heap[least]):
            least = left + 1
        if least == place:
            break
        heap[place], heap[least] = heap[least], heap[place]
        place = least
    return first, n_nodes


@njit(**OPTIONS)
def flood(values, places, around, node_at, parts, shores, flooded):
    """Flood a source from its parts, the brightest pixels first, in place.

    Ties are settled as `skimage.segmentation.watershed` does, release 0.26.

    Parameters
    ----------
    parts : ndarray of int64, shape (n,)
        0 where no part is.
    shores : ndarray of int64
        Pixels of the parts, among them all that have neighbours without a part, in raster order.
    flooded : ndarray of int64, shape (n,)
        Filled with the pixels that belong to a part now, in the order in which they were reached.

    Returns
    -------
    int
        Number of these pixels.
    """
    n = len(values)
    depth, age = np.empty(n), np.zeros(n, dtype=np.int64)
    for node in range(n):
        depth[node] = -values[node]
    heap = np.empty(n, dtype=np.int64)
    n_nodes = n_flooded = np.int64(0)  # a plain 0 is a type of its own, compiled on its own
    for node in shores:
        n_nodes = push(heap, n_nodes, node, depth, age)
    while n_nodes:
        node, n_nodes = pop(heap, n_nodes, depth, age)
        for offset in around:
            other = node_at[places[node] + offset]
            if other < 0 or parts[other]:
                continue
            flooded[n_flooded] = other
            n_flooded += 1
            parts[other], age[other] = parts[node], n_flooded
            depth[other] = max(depth[other], depth[node])
            n_nodes = push(heap, n_nodes, other, depth, age)
    return n_flooded


@njit(**INNER)
def flood_by_levels(values, order, places, around, node_at, parts):
    """Flood a source as `flood` does, level by level of brightness, in a fraction of its time.

    Pixels of a level wait in the order in which they were reached. Among equally bright pixels of
    two parts it would matter which comes first in the heap.

    Parameters
    ----------
    order : ndarray of int64, shape (n,)
        Pixels from the faintest to the brightest.

    Returns
    -------
    bool
        False if two such pixels were met: nothing is flooded then.
    """
    n = len(values)
    level_of = np.empty(n, dtype=np.int64)
    n_levels = 0
    for step in range(n - 1, -1, -1):
        if step < n - 1 and values[order[step]] < values[order[step + 1]]:
            n_levels += 1
        level_of[order[step]] = n_levels
    n_levels += 1
    first, last = np.empty(n_levels, dtype=np.int64), np.empty(n_levels, dtype=np.int64)
    following = np.empty(n, dtype=np.int64)
    first[:] = -1
    for node in range(n):
        if parts[node]:
            level = level_of[node]
            if first[level] >= 0 and parts[first[level]] != parts[node]:
                return False
            wait(node, level, first, last, following)
    for level in range(n_levels):
        node = first[level]
        while node >= 0:
            for offset in around:
                other = node_at[places[node] + offset]
                if other >= 0 and not parts[other]:
                    parts[other] = parts[node]
                    wait(other, max(level, level_of[other]), first, last, following)
            node = following[node]
    return True


@njit(**BARE)
def wait(node, level, first, last, following):
    """Put a pixel at the end of those that wait at a level."""
    following[node] = -1
    if first[level] < 0:
        first[level] = node
    else:
        following[last[level]] = node
    last[level] = node
