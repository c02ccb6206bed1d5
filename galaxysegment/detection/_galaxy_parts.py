"""Kernels of `_galaxies`: the peaks of a source, and the noise of its pixels.

A *part* is a peak of a source with the pixels that lead up to it.
"""

import numpy as np

from .._utils.compiled import INNER, OPTIONS, njit
from ..structures._label_kernels import root_of
from ._seam_kernels import median_of


@njit(**INNER)
def values_at(image, pixels):
    """Return the values of an image at flat positions."""
    width, values = image.shape[1], np.empty(pixels.size)
    for index in range(pixels.size):
        values[index] = image[pixels[index] // width, pixels[index] % width]
    return values


@njit(**INNER)
def minus_ones(n):
    """Return `n` times -1."""
    numbers = np.empty(n, np.int64)
    for index in range(n):
        numbers[index] = -1
    return numbers


@njit(**INNER)
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


@njit(**INNER)
def _drop_dead(alive, peak, saddle, saddle_pixel, winner):
    """Move the parts that are alive to the front; return the new number of each, and how many."""
    number, n_kept = np.empty(alive.size, np.int64), 0
    for index in range(alive.size):
        if alive[index]:
            peak[n_kept], saddle[n_kept] = peak[index], saddle[index]
            saddle_pixel[n_kept], winner[n_kept] = saddle_pixel[index], winner[index]
            n_kept += 1
        number[index] = n_kept - 1
    for index in range(1, n_kept):
        winner[index] = number[winner[index]]
    return number, n_kept


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
    part = np.empty(height * width, np.int32)
    for pixel in range(part.size):
        part[pixel] = -1
    absorbed, group = np.empty(order.size, np.int32), np.empty(order.size, np.int32)
    top, area = np.empty(order.size, np.int32), np.empty(order.size, np.int64)
    peak, near = np.empty(order.size, np.int64), np.empty(8, np.int64)
    saddle, saddle_pixel = np.empty(order.size), minus_ones(order.size)
    winner, alive = minus_ones(order.size), np.zeros(order.size, np.bool_)
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
            part[pixel], alive[n] = n, True
            n += 1
            continue
        best = root_of(absorbed, best)
        area[root_of(group, best)] += 1
        for neighbour in near[:n_near]:
            if part[neighbour] < 0:
                continue
            other = root_of(absorbed, part[neighbour])
            high, low = root_of(group, best), root_of(group, other)
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
                best = root_of(absorbed, best)
            else:
                saddle[loser], saddle_pixel[loser], winner[loser] = value, pixel, top[high]
            group[low] = high
            area[high] += area[low]
        part[pixel] = best
    number, n_kept = _drop_dead(alive[:n], peak, saddle, saddle_pixel, winner)
    for pixel in order:
        part[pixel] = number[root_of(absorbed, part[pixel])]
    saddle[0] = flat[order[-1]]
    part = part.reshape(height, width)
    return part, peak[:n_kept], saddle[:n_kept], saddle_pixel[:n_kept], winner[:n_kept]


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
    return median_of(values[:n]) / 0.6745 / np.sqrt(1.5)
