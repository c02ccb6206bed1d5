"""Kron radii, sums over apertures and light radii of many sources in one window of an image.

A window is described by these arrays, which all functions take in this order:

- ``image``: float32 or float64, shape (height, width); NaN is "no data";
- ``noise``: likewise, or of shape (0, 0) without an RMS map;
- ``labels``: int32 of the same shape: which source a pixel belongs to, 0 for none;
- ``stamps``: see `InstanceSource.stamps`: own pixels and own light of each source.

numba takes a second to import, so this module is imported inside functions.
"""

import math

import numpy as np

from .._utils.compiled import OPTIONS, njit
from ._overlap_kernels import ellipse_box, ellipse_map, pixel_share

#: What happens to the pixels of other sources.
KEEP, MASK, CORRECT = 0, 1, 2
#: The Kron radius is measured in the ellipse of this many semi-axes.
KRON_SCALE = 6.0
_USED, _MISSING, _NEIGHBOUR, _MIRRORED = 0, 1, 2, 3
_LEAST_RADIUS = 0.1  # pixels, of a light radius
_FEWEST_FOR_BACKGROUND = 10


@njit(**OPTIONS)
def _is_other(labels, own, source, boxes, offsets, shapes, y, x):
    """Whether a pixel belongs to another source, and not to this source as well."""
    label = labels[y, x]
    if label in (0, own):
        return False
    y0, x0, y1, x1 = boxes[source]
    if y0 <= y < y1 and x0 <= x < x1:
        return not shapes[offsets[source] + (y - y0) * (x1 - x0) + x - x0]
    return True


@njit(**OPTIONS)
def _largest_box(places, axes, scale, shape):
    """Return the number of pixels of the largest box around an ellipse."""
    largest = 0
    for i in range(len(places)):
        major, minor, angle = axes[i]
        if math.isfinite(major) and math.isfinite(minor):
            y0, y1, x0, x1 = ellipse_box(
                places[i, 0], places[i, 1], scale * major, scale * minor, angle, *shape
            )
            largest = max(largest, (y1 - y0) * (x1 - x0))
    return largest


@njit(**OPTIONS)
def _look(image, noise, labels, stamps, own, source, mode, centre, box, scratch):
    """Copy a box of pixels as a source sees them into `scratch`.

    Parameters
    ----------
    own, source : int
        Label of the source, and its place among the stamps.
    centre : tuple of float
        ``y, x`` around which the pixels of other sources are mirrored.
    box : tuple of int
        ``y0, y1, x0, x1``.
    scratch : ndarray of float64, shape (3, at least the pixels of the box)
        Rows: value; variance; 0 for a pixel with data, 1 without data, 2 of another source, 3 for
        such a pixel that got the light of its mirror image. The pixels of the box in raster order.
    """
    boxes, offsets, shapes, parts = stamps
    has_noise = noise.size > 0
    place = 0
    for y in range(box[0], box[1]):
        for x in range(box[2], box[3]):
            value = float(image[y, x])
            variance = float(noise[y, x]) ** 2 if has_noise else 0.0
            label = labels[y, x]
            if not (math.isfinite(value) and math.isfinite(variance)):
                scratch[0, place], scratch[1, place], scratch[2, place] = 0.0, 0.0, _MISSING
            elif (
                mode != KEEP
                and label not in (0, own)
                and _is_other(labels, own, source, boxes, offsets, shapes, y, x)
            ):
                scratch[0, place], scratch[1, place], scratch[2, place] = 0.0, 0.0, _NEIGHBOUR
            else:
                scratch[0, place], scratch[1, place], scratch[2, place] = value, variance, _USED
            place += 1
    if len(parts):
        _add_part(parts, boxes[source], offsets[source], box, scratch)
    if mode == CORRECT:
        _mirror(centre, box, scratch)


@njit(**OPTIONS)
def _add_part(parts, part_box, offset, box, scratch):
    """Add the light that belongs to a source alone."""
    y0, x0, y1, x1 = part_box
    for y in range(max(y0, box[0]), min(y1, box[1])):
        for x in range(max(x0, box[2]), min(x1, box[3])):
            place = (y - box[0]) * (box[3] - box[2]) + x - box[2]
            scratch[0, place] += parts[offset + (y - y0) * (x1 - x0) + x - x0]


@njit(**OPTIONS)
def _mirror(centre, box, scratch):
    """Give the pixels of other sources the light on the opposite side of the source."""
    height, width = box[1] - box[0], box[3] - box[2]
    across_y = 2 * (math.floor(centre[0] + 0.5) - box[0])
    across_x = 2 * (math.floor(centre[1] + 0.5) - box[2])
    for place in range(height * width):
        if scratch[2, place] != _NEIGHBOUR:
            continue
        y, x = across_y - place // width, across_x - place % width
        if 0 <= y < height and 0 <= x < width and scratch[2, y * width + x] == _USED:
            scratch[0, place] = scratch[0, y * width + x]
            scratch[1, place] = scratch[1, y * width + x]
            scratch[2, place] = _MIRRORED


@njit(**OPTIONS)
def kron_radii(image, noise, labels, stamps, own, places, axes, mode):
    """First moments of the light of sources, in units of their semi-axes.

    Parameters
    ----------
    image, noise, labels, stamps
        See the module.
    own : ndarray of int64, shape (n,)
        Label of each source.
    places : ndarray of float64, shape (n, 2)
        ``y, x`` in the window.
    axes : ndarray of float64, shape (n, 3)
        Semi-axes (major, minor) and angle from x to y in radians.
    mode : int
        `KEEP`, `MASK` or `CORRECT`.

    Returns
    -------
    ndarray of float64, shape (n,)
        0 if the sums are not positive; NaN if no pixel is left.
    """
    n = len(own)
    radii = np.full(n, np.nan)
    scratch = np.empty((3, _largest_box(places, axes, KRON_SCALE, image.shape)))
    for i in range(n):
        y, x = places[i]
        major, minor, angle = axes[i]
        box = ellipse_box(y, x, KRON_SCALE * major, KRON_SCALE * minor, angle, *image.shape)
        _look(image, noise, labels, stamps, own[i], i, mode, (y, x), box, scratch)
        radii[i] = _first_moment(scratch, box, y, x, major, minor, angle, mode)
    return radii


@njit(**OPTIONS)
def _counts(kind, mode):
    """Whether a pixel is added up: another source's is without a mirror image too, as zero."""
    return kind in (_USED, _MIRRORED) or (kind == _NEIGHBOUR and mode == CORRECT)


@njit(**OPTIONS)
def _above(scratch, place, level):
    """Light above the local background; 0 for a pixel that is not measured."""
    return scratch[0, place] - level if scratch[2, place] in (_USED, _MIRRORED) else 0.0


@njit(**OPTIONS)
def _first_moment(scratch, box, y, x, major, minor, angle, mode):
    ux, uy, vx, vy, _ = ellipse_map(major, minor, angle)
    total, moment, count, place = 0.0, 0.0, 0, 0
    for row in range(box[0], box[1]):
        for column in range(box[2], box[3]):
            dy, dx = row - y, column - x
            u, v = ux * dx + uy * dy, vx * dx + vy * dy
            square = u * u + v * v
            kind = scratch[2, place]
            if square <= KRON_SCALE * KRON_SCALE and _counts(kind, mode):
                total += scratch[0, place]
                moment += scratch[0, place] * math.sqrt(square)
                count += 1
            place += 1
    if count == 0:
        return np.nan
    return moment / total if total > 0 and moment > 0 else 0.0


@njit(**OPTIONS)
def aperture_sums(image, noise, labels, stamps, own, places, axes, mode, levels, inner):
    """Add up light and variance in one ellipse around each source.

    A pixel that lies in the ellipse by a share w adds w times its light, and w**2 times its
    variance.

    Parameters
    ----------
    image, noise, labels, stamps, own, places, mode
        As of `kron_radii`.
    axes : ndarray of float64, shape (n, 3)
        Semi-axes in pixels and angle of each ellipse; NaN for no ellipse.
    levels : ndarray of float64, shape (n,)
        Local background, which is subtracted from each pixel.
    inner : float
        Size of the ellipse within, as a share of each ellipse, that leaves a ring; 0 for none.

    Returns
    -------
    ndarray of float64, shape (n, 7)
        Flux, variance, and areas in pixels: of the pixels added up; without data; of other sources;
        inside the image; then the variance of the light in the ring. NaN without an ellipse; flux
        and variances also if no pixel is left.
    """
    n = len(own)
    sums = np.full((n, 7), np.nan)
    scratch = np.empty((3, _largest_box(places, axes, 1.0, image.shape)))
    for i in range(n):
        y, x = places[i]
        major, minor, angle = axes[i]
        if not (math.isfinite(major) and math.isfinite(minor)):
            continue
        box = ellipse_box(y, x, major, minor, angle, *image.shape)
        _look(image, noise, labels, stamps, own[i], i, mode, (y, x), box, scratch)
        _add_up(scratch, box, y, x, (major, minor, angle, inner), mode, levels[i], sums[i])
    return sums


@njit(**OPTIONS)
def growth_sums(image, noise, labels, stamps, own, places, axes, shares, mode, levels):
    """Add up light and variance in ellipses within one another around each source.

    Parameters
    ----------
    image, noise, labels, stamps, own, places, mode, levels
        As of `aperture_sums`.
    axes : ndarray of float64, shape (n, 3)
        The largest ellipse, as of `aperture_sums`.
    shares : ndarray of float64, shape (n_ellipses,)
        Size of each ellipse as a share of the largest.

    Returns
    -------
    ndarray of float64, shape (n, n_ellipses, 2)
        Flux and variance.
    """
    n = len(own)
    growth = np.full((n, len(shares), 2), np.nan)
    scratch = np.empty((3, _largest_box(places, axes, 1.0, image.shape)))
    sums = np.empty(7)
    for i in range(n):
        y, x = places[i]
        major, minor, angle = axes[i]
        if not (math.isfinite(major) and math.isfinite(minor)):
            continue
        box = ellipse_box(y, x, major, minor, angle, *image.shape)
        _look(image, noise, labels, stamps, own[i], i, mode, (y, x), box, scratch)
        for k in range(len(shares)):
            ellipse = shares[k] * major, shares[k] * minor, angle, 0.0
            _add_up(scratch, box, y, x, ellipse, mode, levels[i], sums)
            growth[i, k] = sums[:2]
    return growth


@njit(**OPTIONS)
def _add_up(scratch, box, y, x, ellipse, mode, level, sums):
    major, minor, angle, inner = ellipse
    ux, uy, vx, vy, corner = ellipse_map(major, minor, angle)
    flux, total, used, missing, others, inside, ring = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    place = -1
    for row in range(box[0], box[1]):
        for column in range(box[2], box[3]):
            place += 1
            share = pixel_share(row - y, column - x, ux, uy, vx, vy, corner)
            if share == 0:
                continue
            inside += share
            kind = scratch[2, place]
            if kind == _MISSING:
                missing += share
            elif kind != _USED:
                others += share
            if _counts(kind, mode):
                used += share
                flux += share * _above(scratch, place, level)
                total += share**2 * scratch[1, place]
                if inner > 0:
                    map_within = ux / inner, uy / inner, vx / inner, vy / inner, corner / inner
                    share -= pixel_share(row - y, column - x, *map_within)
                ring += share**2 * scratch[1, place]
    if used == 0:
        flux = total = ring = np.nan
    sums[0], sums[1], sums[2] = flux, total, used
    sums[3], sums[4], sums[5], sums[6] = missing, others, inside, ring


@njit(**OPTIONS)
def local_backgrounds(image, labels, boxes, width):
    """Background in a rectangular annulus around each source, beside all sources.

    The annulus begins at 1.5 times the bounding box; the level is SExtractor's mode after clipping
    at 3 standard deviations.

    Parameters
    ----------
    image, labels
        See the module.
    boxes : ndarray of int64, shape (n, 4)
        ``y0, x0, y1, x1`` of the masks in the window.
    width : float
        Of the annulus, in pixels.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN if fewer than ten pixels are left.
    """
    n = len(boxes)
    levels = np.full(n, np.nan)
    for i in range(n):
        y0, x0, y1, x1 = boxes[i]
        y, x = (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2
        inner_y, inner_x = 0.75 * (y1 - y0), 0.75 * (x1 - x0)
        outer_y, outer_x = inner_y + width, inner_x + width
        top, bottom = (
            max(0, math.floor(y - outer_y)),
            min(image.shape[0], math.ceil(y + outer_y) + 1),
        )
        left, right = (
            max(0, math.floor(x - outer_x)),
            min(image.shape[1], math.ceil(x + outer_x) + 1),
        )
        values = np.empty((bottom - top) * (right - left))
        count = 0
        for row in range(top, bottom):
            for column in range(left, right):
                dy, dx = abs(row - y), abs(column - x)
                if not (dy < outer_y and dx < outer_x) or (dy < inner_y and dx < inner_x):
                    continue
                if labels[row, column] == 0 and math.isfinite(image[row, column]):
                    values[count] = float(image[row, column])
                    count += 1
        if count >= _FEWEST_FOR_BACKGROUND:
            levels[i] = _clipped_mode(values[:count])
    return levels


@njit(**OPTIONS)
def _clipped_mode(values):
    """SExtractor's estimate of the mode, after clipping at 3 standard deviations."""
    for _ in range(20):
        median, deviation = np.median(values), np.std(values)
        kept = values[np.abs(values - median) <= 3 * deviation]
        if len(kept) == len(values):
            break
        values = kept
    median, mean, deviation = np.median(values), np.mean(values), np.std(values)
    if deviation == 0:
        return mean
    if abs(mean - median) / deviation >= 0.3:
        return median
    return 2.5 * median - 1.5 * mean


@njit(**OPTIONS)
def light_radii(image, noise, labels, stamps, own, places, most, mode, levels, fluxes, fractions):
    """Radii of the circles that hold given fractions of a flux.

    Parameters
    ----------
    image, noise, labels, stamps, own, places, mode, levels
        As of `aperture_sums`.
    most : ndarray of float64, shape (n,)
        Largest radius to look at.
    fluxes : ndarray of float64, shape (n,)
        What the fractions refer to.
    fractions : ndarray of float64, shape (n_fractions,)

    Returns
    -------
    ndarray of float64, shape (n, n_fractions)
        NaN if no radius holds the fraction.
    """
    n = len(own)
    radii = np.full((n, len(fractions)), np.nan)
    circles = np.column_stack((most, most, np.zeros(n)))
    size = _largest_box(places, circles, 1.0, image.shape)
    scratch, sums = np.empty((3, size)), np.empty(size + image.shape[0])
    edges = np.empty((3, image.shape[1] + 1))
    for i in range(n):
        if not (math.isfinite(fluxes[i]) and math.isfinite(most[i])) or fluxes[i] == 0:
            continue
        y, x = places[i]
        box = ellipse_box(y, x, most[i], most[i], 0.0, *image.shape)
        if box[0] >= box[1] or box[2] >= box[3]:
            continue
        _look(image, noise, labels, stamps, own[i], i, mode, (y, x), box, scratch)
        height, width = box[1] - box[0], box[3] - box[2]
        along = sums[: height * (width + 1)].reshape(height, width + 1)
        _sum_along_rows(scratch, levels[i], along)
        for k in range(len(fractions)):
            largest = most[i]
            while largest > _LEAST_RADIUS:
                flux = fractions[k] * fluxes[i]
                radius = _root(along, y - box[0], x - box[2], flux, largest, edges)
                if math.isfinite(radius):
                    radii[i, k] = radius
                    break
                largest -= 0.1 * most[i]
    return radii


@njit(**OPTIONS)
def _sum_along_rows(scratch, level, along):
    """Write the sums of each row from its left end: pixels inside a circle cost two look-ups."""
    height, width = along.shape[0], along.shape[1] - 1
    for y in range(height):
        along[y, 0] = 0.0
        for x in range(width):
            along[y, x + 1] = along[y, x] + _above(scratch, y * width + x, level)


@njit(**OPTIONS)
def circle_sum(along, y, x, radius, edges):
    """Light in a circle of an image that is given by the sums along its rows.

    Parameters
    ----------
    along : ndarray of float64, shape (height, width + 1)
        Sums of each row from its left end, from 0 to the whole row.
    y, x : float
        Centre of the circle.
    radius : float
    edges : ndarray of float64, shape (3, at least width + 1)
        Scratch: the disk to the left of each edge between columns, and the areas of the disk to the
        left of these edges and above the edges between two rows.

    Returns
    -------
    float

    Notes
    -----
    A pixel shares with the disk what four corners say: the areas of the disk left of and above
    each of them. Neighbouring pixels share corners, so that a circle costs a square root and an
    arc sine for each row and column, and none for each pixel.
    """
    height, width = along.shape[0], along.shape[1] - 1
    first_row = max(0, math.floor(y - radius + 0.5))
    last_row = min(height, math.floor(y + radius + 1.5))
    first, end = max(0, math.floor(x - radius + 0.5)), min(width, math.floor(x + radius + 1.5))
    if first_row >= last_row or first >= end:
        return 0.0
    area, total = math.pi * radius * radius, 0.0
    beside, above, below = edges[0], edges[1], edges[2]
    for column in range(first, end + 1):
        beside[column] = _disk_left_of(column - 0.5 - x, radius)
    _corner_areas(above, beside, first, end, first_row - 0.5 - y, x, radius, area)
    for row in range(first_row, last_row):
        _corner_areas(below, beside, first, end, row + 0.5 - y, x, radius, area)
        far = abs(row - y) + 0.5
        inner = math.sqrt(radius * radius - far * far) if far < radius else 0.0
        # Pixels from `full` up to `rest` lie inside with all their corners.
        full, rest = first, first
        if inner >= 0.5:
            full = max(first, math.ceil(x - inner + 0.5))
            rest = min(end - 1, math.floor(x + inner - 0.5)) + 1
        if rest <= full:
            full = rest = first
        total += along[row, rest] - along[row, full]
        for column in range(first, full):
            share = below[column + 1] - below[column] - above[column + 1] + above[column]
            total += share * (along[row, column + 1] - along[row, column])
        for column in range(rest, end):
            share = below[column + 1] - below[column] - above[column + 1] + above[column]
            total += share * (along[row, column + 1] - along[row, column])
        above, below = below, above
    return total


@njit(**OPTIONS)
def _disk_left_of(edge, radius):
    """Area of a disk to the left of an upright line at `edge` from its centre."""
    if edge <= -radius:
        return 0.0
    if edge >= radius:
        return math.pi * radius * radius
    square = radius * radius
    return (
        math.pi / 2 * square + edge * math.sqrt(square - edge * edge)
        + square * math.asin(edge / radius)
    )  # fmt: skip


@njit(**OPTIONS)
def _corner_areas(areas, beside, first, end, edge, x, radius, area):
    """Write the areas of a disk to the left of each column's edge and above a row's edge."""
    above = _disk_left_of(edge, radius)
    square = radius * radius - edge * edge
    for column in range(first, end + 1):
        across = column - 0.5 - x
        left = beside[column]
        if across * across < square:
            # The corner is inside: half a disk each, and the rectangle between centre and corner.
            areas[column] = (left + above) / 2 - area / 4 + across * edge
        elif across < 0:
            areas[column] = left if edge > 0 else 0.0
        else:
            areas[column] = left + above - area if edge > 0 else above


@njit(**OPTIONS)
def _root(along, y, x, flux, largest, edges):  # noqa: PLR0912  (Brent's method as scipy writes it)
    """Radius of the circle with this flux, by Brent's method; NaN if the ends do not bracket it."""
    a, b = _LEAST_RADIUS, largest
    fa = 1 - circle_sum(along, y, x, a, edges) / flux
    fb = 1 - circle_sum(along, y, x, b, edges) / flux
    if fa == 0:
        return a
    if fb == 0:
        return b
    if (fa > 0) == (fb > 0):
        return np.nan
    c, fc, before, step = a, fa, 0.0, 0.0
    for _ in range(100):
        if fa != 0 and fb != 0 and (fa < 0) != (fb < 0):
            c, fc = a, fa
            before = step = b - a
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        tolerance = (2e-12 + 8.881784197001252e-16 * abs(b)) / 2
        half = (c - b) / 2
        if fb == 0 or abs(half) < tolerance:
            return b
        if abs(before) > tolerance and abs(fb) < abs(fa):
            if a == c:
                trial = -fb * (b - a) / (fb - fa)
            else:
                slope_a, slope_c = (fa - fb) / (a - b), (fc - fb) / (c - b)
                trial = -fb * (fc * slope_c - fa * slope_a) / (slope_c * slope_a * (fc - fa))
            if 2 * abs(trial) < min(abs(before), 3 * abs(half) - tolerance):
                before, step = step, trial
            else:
                before = step = half
        else:
            before = step = half
        a, fa = b, fb
        if abs(step) > tolerance:
            b += step
        else:
            b += tolerance if half > 0 else -tolerance
        fb = 1 - circle_sum(along, y, x, b, edges) / flux
    return b
