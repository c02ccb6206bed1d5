"""Kernels of `_galaxies`: the peaks of a source, and the noise of its pixels.

A *part* is a peak of a source with the pixels that lead up to it.
"""

import numpy as np

from .._utils.compiled import OPTIONS, njit


@njit(**OPTIONS)
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(**OPTIONS)
def _neighbours(pixel, height, width, eight, near):
    """Fill `near` with the flat positions of the neighbours of a pixel; return how many."""
    y, x = pixel // width, pixel % width
    n = 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if (dy == 0 and dx == 0) or (dy != 0 and dx != 0 and not eight):
                continue
            if 0 <= y + dy < height and 0 <= x + dx < width:
                near[n] = pixel + dy * width + dx
                n += 1
    return n


@njit(**OPTIONS)
def grow_parts(image, order, eight, least, share, n_pixels):
    """Flood a source from its peaks down.

    Parameters
    ----------
    image : ndarray of float64, shape (height, width)
    order : ndarray of int64
        Flat positions of the pixels of the source, the brightest first.
    eight : bool
        Whether pixels that touch at a corner are neighbours.
    least, share : float
        A peak must rise over its saddle by `least`, and by `share` of the saddle's value.
    n_pixels : int
        Smallest number of pixels of a part above its saddle.

    Returns
    -------
    part : ndarray of int32, shape (height, width)
        Number of the part that each pixel leads up to, -1 outside.
    peak : ndarray of int64, shape (n,)
        Flat position of the peaks, the brightest first.
    saddle : ndarray of float64, shape (n,)
        Value at which a part meets a brighter one; that of the faintest pixel for the first.
    saddle_pixel, winner : ndarray of int64, shape (n,)
        Where this is, and the brightest part of the group that is met there; -1 for the first.
    """
    height, width = image.shape
    flat = image.ravel()
    part = np.full(height * width, -1, np.int32)
    absorbed, group = np.empty(order.size, np.int32), np.empty(order.size, np.int32)
    top, area = np.empty(order.size, np.int32), np.empty(order.size, np.int64)
    peak, near = np.empty(order.size, np.int64), np.empty(8, np.int64)
    saddle, saddle_pixel = np.empty(order.size), np.full(order.size, -1, np.int64)
    winner, alive = np.full(order.size, -1, np.int64), np.ones(order.size, np.bool_)
    n = 0
    for pixel in order:
        best, value = -1, flat[pixel]
        n_near = _neighbours(pixel, height, width, eight, near)
        brightest = -np.inf
        for other in near[:n_near]:
            if part[other] >= 0 and flat[other] > brightest:
                best, brightest = part[other], flat[other]
        if best < 0:
            absorbed[n], group[n], top[n], area[n], peak[n] = n, n, n, 1, pixel
            part[pixel] = n
            n += 1
            continue
        best = _root(absorbed, best)
        area[_root(group, best)] += 1
        for neighbour in near[:n_near]:
            if part[neighbour] < 0:
                continue
            other = _root(absorbed, part[neighbour])
            high, low = _root(group, best), _root(group, other)
            if high == low:
                continue
            keeper = best
            if top[high] > top[low]:  # parts are numbered from the brightest peak down
                high, low, keeper = low, high, other
            loser = top[low]
            rise = flat[peak[loser]] - value
            if rise < least or rise < share * abs(value) or area[low] < n_pixels:
                alive[loser] = False
                absorbed[loser] = keeper
                best = _root(absorbed, best)
            else:
                saddle[loser], saddle_pixel[loser], winner[loser] = value, pixel, top[high]
            group[low] = high
            area[high] += area[low]
        part[pixel] = best
    number, kept = np.cumsum(alive[:n]) - 1, np.flatnonzero(alive[:n])
    for pixel in order:
        part[pixel] = number[_root(absorbed, part[pixel])]
    saddle[0] = flat[order[-1]]
    met = winner[kept]
    met[1:] = number[met[1:]]
    return part.reshape(height, width), peak[kept], saddle[kept], saddle_pixel[kept], met


@njit(**OPTIONS)
def noise_of(image, own, faint, step):
    """Scatter of the pixels under `faint` about the mean of the pixels `step` away on both sides.

    0 if there are fewer than 50 such pixels.
    """
    height, width = image.shape
    values = np.empty(2 * height * width)
    n = 0
    for y in range(height):
        for x in range(width):
            if not own[y, x] or image[y, x] > faint:
                continue
            if y >= step and y + step < height and own[y - step, x] and own[y + step, x]:
                values[n] = abs(image[y, x] - (image[y - step, x] + image[y + step, x]) / 2)
                n += 1
            if x >= step and x + step < width and own[y, x - step] and own[y, x + step]:
                values[n] = abs(image[y, x] - (image[y, x - step] + image[y, x + step]) / 2)
                n += 1
    if n < 50:
        return 0.0
    return np.median(values[:n]) / 0.6745 / np.sqrt(1.5)
