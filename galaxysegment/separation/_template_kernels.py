"""Fit a template to each source of a blend, all sources in turn, until they agree on the light.

numba takes a second to import, so this module is imported inside methods.
"""

import numpy as np
from numba import njit

from .._utils.compiled import OPTIONS

#: Light that every pixel of a stamp has at least: shares are defined everywhere.
_FLOOR = 1e-6
_LEAST_VARIANCE = 0.7  # pixels², of a star under sharp seeing
_LEAST_AXIS_RATIO = 0.15
#: Light of a pixel over the mean of its annulus, where its mirror image is beyond the edge.
_MOST_LOPSIDED = 1.5
_MOVES = (3, 6, 10, 14)  # rounds in which centres move


@njit(**OPTIONS)
def first_templates(smooth, boxes, centres, offsets, in_turn):
    """Make the first template of each source: the light that is the same on its other side.

    Parameters
    ----------
    smooth : ndarray of float64, shape (height, width)
        The light, smoothed.
    boxes : ndarray of int64, shape (n, 4)
        ``y0, x0, y1, x1`` of the stamps in `smooth`.
    centres : ndarray of float64, shape (n, 2)
        ``y, x`` of the centres in `smooth`.
    offsets : ndarray of int64, shape (n + 1,)
        Where the stamps begin in the flat array of templates.
    in_turn : bool
        Whether the template of a source is made of what the sources before it leave.

    Returns
    -------
    templates : ndarray of float64, shape (offsets[-1],)
        One stamp after the other.
    total : ndarray of float64, shape (height, width)
        Their sum.
    """
    templates = np.empty(offsets[-1])
    total = np.zeros(smooth.shape)
    nothing = np.zeros(smooth.shape)
    for i in range(len(boxes)):
        y0, x0, y1, x1 = boxes[i]
        stamp = templates[offsets[i] : offsets[i + 1]].reshape(y1 - y0, x1 - x0)
        _first_template(smooth, total if in_turn else nothing, y0, x0, centres[i], stamp)
        total[y0:y1, x0:x1] += stamp
    return templates, total


@njit(**OPTIONS)
def renew_templates(
    image,
    noise,
    weight,
    boxes,
    offsets,
    given,
    freedom,
    first,
    last,
    smoothing,
    templates,
    total,
    centres,
):
    """Fit the templates of the sources of one blend, in place.

    Each source in turn is what is left of the image without the present templates of the others. A
    template is the mean of this rest and of its rotation by 180°, where a pixel counts the more,
    the more of its light is the source's. The rotation is about the centre to a fraction of a
    pixel. Where the template is faint against the noise, the mean over an elliptical annulus takes
    the place of the pixels; its radial profile never rises outwards.

    Parameters
    ----------
    image, noise : ndarray of float64, shape (height, width)
        The light and its RMS.
    weight : ndarray of float64, shape (height, width)
        Inverse variance of a pixel relative to the best; 0 where a pixel has no data.
    boxes, offsets : ndarray
        As for `first_templates`.
    given : ndarray of float64, shape (n, 2)
        ``y, x`` of the centres at first.
    freedom : ndarray of float64, shape (n,)
        Pixels that each centre may move by, to where the light is most symmetric.
    first, last : int
        The rounds to do, first <= round < last; round 0 divides the light of the first templates.
    smoothing : float
        S/N of a pixel at which its own light and the annulus count the same.
    templates, total, centres : ndarray of float64
        The present templates, their sum and their centres, made anew.
    """
    largest = 0
    for i in range(len(boxes)):
        largest = max(largest, offsets[i + 1] - offsets[i])
    buffers = np.empty((5, largest))
    for iteration in range(first, last):
        if iteration == 1:
            # Round 0 divides the light; from round 1 on templates add up to it.
            _add_up(templates, boxes, offsets, total)
        for i in range(len(boxes)):
            y0, x0, y1, x1 = boxes[i]
            stamp = templates[offsets[i] : offsets[i + 1]].reshape(y1 - y0, x1 - x0)
            _update(
                image,
                noise,
                weight,
                total,
                stamp,
                boxes[i],
                centres[i],
                given[i],
                freedom[i],
                iteration,
                smoothing,
                buffers,
            )
    _add_up(templates, boxes, offsets, total)


@njit(**OPTIONS)
def _add_up(templates, boxes, offsets, total):
    """Write the sum of all templates into `total`."""
    total[:] = 0
    for i in range(len(boxes)):
        y0, x0, y1, x1 = boxes[i]
        stamp = templates[offsets[i] : offsets[i + 1]].reshape(y1 - y0, x1 - x0)
        total[y0:y1, x0:x1] += stamp


@njit(**OPTIONS)
def _first_template(smooth, total, y0, x0, centre, stamp):
    """Minimum of each pixel and its mirror image, in the light that brighter sources leave."""
    height, width = stamp.shape
    mirror_y, mirror_x = round(2 * (centre[0] - y0)), round(2 * (centre[1] - x0))
    for y in range(height):
        for x in range(width):
            value = smooth[y0 + y, x0 + x] - total[y0 + y, x0 + x]
            yy, xx = mirror_y - y, mirror_x - x
            if 0 <= yy < height and 0 <= xx < width:
                value = min(value, smooth[y0 + yy, x0 + xx] - total[y0 + yy, x0 + xx])
            stamp[y, x] = max(value, _FLOOR)


@njit(**OPTIONS)
def _update(
    image, noise, weight, total, stamp, box, centre, given, freedom, iteration, smoothing, buffers
):
    """Make the template of one source anew from what the other templates leave of the image."""
    height, width = stamp.shape
    size = height * width
    y0, x0 = box[0], box[1]
    rest = buffers[0, :size].reshape(height, width)
    trust = buffers[1, :size].reshape(height, width)
    radius = buffers[2, :size].reshape(height, width)
    renewed = buffers[3, :size].reshape(height, width)
    centre_y, centre_x = centre[0] - y0, centre[1] - x0
    for y in range(height):
        for x in range(width):
            value, everything = stamp[y, x], total[y0 + y, x0 + x]
            share = value / everything
            light = image[y0 + y, x0 + x]
            rest[y, x] = share * light if iteration == 0 else light - everything + value
            trust[y, x] = (share * np.sqrt(share) + _FLOOR) * weight[y0 + y, x0 + x]
    _elliptical_radii(stamp, noise[y0 : y0 + height, x0 : x0 + width], centre_y, centre_x, radius)
    levels, radii = _falling_profile(rest, trust, radius)
    mirror_y, mirror_x = round(2 * centre_y), round(2 * centre_x)
    turned = buffers[4, :size].reshape(height, width)
    _shift(rest, 2 * centre_y - mirror_y, 2 * centre_x - mirror_x, renewed, turned)
    for y in range(height):
        for x in range(width):
            annulus = _level_at(radius[y, x], radii, levels)
            ratio = annulus / (noise[y0 + y, x0 + x] * smoothing)
            own = ratio * ratio / (ratio * ratio + 1)
            yy, xx = mirror_y - y, mirror_x - x
            here, there = trust[y, x], 0.0
            light = here * rest[y, x]
            if 0 <= yy < height and 0 <= xx < width:
                there = trust[yy, xx]
                light += there * turned[yy, xx]
            light = light / (here + there) if here + there > 0 else annulus
            if there <= 0:  # no mirror image tells whose light this is
                light = min(light, _MOST_LOPSIDED * annulus)
            renewed[y, x] = max(own * max(light, 0.0) + (1 - own) * annulus, _FLOOR)
    if freedom > 0 and iteration in _MOVES:
        _move(rest, renewed, trust, centre, given, freedom)
    for y in range(height):
        for x in range(width):
            if iteration > 0:
                total[y0 + y, x0 + x] += renewed[y, x] - stamp[y, x]
            stamp[y, x] = renewed[y, x]


@njit(**OPTIONS)
def _move(rest, template, trust, centre, given, freedom):
    """Move a centre to where the light is most symmetric, at most `freedom` pixels a coordinate."""
    height, width = rest.shape
    yy = xx = xy = ry = rx = 0.0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            dy = (template[y + 1, x] - template[y - 1, x]) / 2
            dx = (template[y, x + 1] - template[y, x - 1]) / 2
            difference = template[y, x] - rest[y, x]
            yy += trust[y, x] * dy * dy
            xx += trust[y, x] * dx * dx
            xy += trust[y, x] * dy * dx
            ry += trust[y, x] * dy * difference
            rx += trust[y, x] * dx * difference
    determinant = yy * xx - xy * xy
    if determinant <= 1e-6 * yy * xx:
        return
    moves = ((xx * ry - xy * rx) / determinant, (yy * rx - xy * ry) / determinant)
    for axis in range(2):
        place = centre[axis] + min(max(moves[axis], -0.5), 0.5)
        centre[axis] = min(max(place, given[axis] - freedom), given[axis] + freedom)


@njit(**OPTIONS)
def _shift(image, dy, dx, between, result):
    """Write the light at ``(y + dy, x + dx)``, at most half a pixel away, into `result`.

    Catmull-Rom splines; `between` is overwritten. Pixels at the edges stay as they are.
    """
    height, width = image.shape
    first, weights = _spline(dx)
    for y in range(height):
        for x in range(width):
            if x + first < 0 or x + first + 3 >= width:
                between[y, x] = image[y, x]
            else:
                value = 0.0
                for k in range(4):
                    value += weights[k] * image[y, x + first + k]
                between[y, x] = value
    first, weights = _spline(dy)
    for y in range(height):
        if y + first < 0 or y + first + 3 >= height:
            result[y] = between[y]
            continue
        for x in range(width):
            value = 0.0
            for k in range(4):
                value += weights[k] * between[y + first + k, x]
            result[y, x] = value


@njit(**OPTIONS)
def _spline(shift):
    """First pixel and weights of the four pixels that a Catmull-Rom spline interpolates."""
    first = -1 if shift >= 0 else -2
    t = shift - (first + 1)
    weights = np.array(
        [
            -0.5 * t**3 + t**2 - 0.5 * t,
            1.5 * t**3 - 2.5 * t**2 + 1,
            -1.5 * t**3 + 2 * t**2 + 0.5 * t,
            0.5 * t**3 - 0.5 * t**2,
        ]
    )
    return first, weights


@njit(**OPTIONS)
def _elliptical_radii(stamp, noise, centre_y, centre_x, radius):
    """Write the distance of each pixel from the centre in units of the second moments."""
    height, width = stamp.shape
    flux = yy = xx = xy = 0.0
    for y in range(height):
        for x in range(width):
            light = stamp[y, x]
            if light > 0.5 * noise[y, x]:
                dy, dx = y - centre_y, x - centre_x
                flux += light
                yy += light * dy * dy
                xx += light * dx * dx
                xy += light * dx * dy
    if flux > 0:
        yy, xx, xy = yy / flux, xx / flux, xy / flux
    mean, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    largest, smallest = max(mean + half, _LEAST_VARIANCE), max(mean - half, _LEAST_VARIANCE)
    ratio = max(np.sqrt(smallest / largest), _LEAST_AXIS_RATIO)
    angle = np.arctan2(2 * xy, xx - yy) / 2
    cosine, sine = np.cos(angle), np.sin(angle)
    along_x = ratio * cosine**2 + sine**2 / ratio
    along_y = ratio * sine**2 + cosine**2 / ratio
    mixed = (ratio - 1 / ratio) * cosine * sine
    for y in range(height):
        for x in range(width):
            dy, dx = y - centre_y, x - centre_x
            radius[y, x] = np.sqrt(along_y * dy * dy + 2 * mixed * dy * dx + along_x * dx * dx)


@njit(**OPTIONS)
def _falling_profile(rest, trust, radius):
    """Levels and radii, at least one of each: mean light in rings of one pixel, made to fall."""
    n_bins = int(radius.max()) + 1
    sums, weights, radii = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins)
    height, width = rest.shape
    for y in range(height):
        for x in range(width):
            k = int(radius[y, x])
            weights[k] += trust[y, x]
            sums[k] += trust[y, x] * rest[y, x]
            radii[k] += trust[y, x] * radius[y, x]
    n = 0
    for k in range(n_bins):
        if weights[k] > 0:
            sums[n], radii[n], weights[n] = sums[k] / weights[k], radii[k] / weights[k], weights[k]
            n += 1
    if n == 0:
        return np.zeros(1), np.zeros(1)
    return _fall(sums[:n], weights[:n]), radii[:n]


@njit(**OPTIONS)
def _fall(values, weights):
    """Nearest sequence that never rises nor is negative: neighbours that rise are pooled."""
    n = len(values)
    level, mass, count = np.empty(n), np.empty(n), np.empty(n, np.int64)
    m = 0
    for i in range(n):
        level[m], mass[m], count[m] = values[i], weights[i], 1
        m += 1
        while m > 1 and level[m - 2] < level[m - 1]:
            both = mass[m - 2] + mass[m - 1]
            level[m - 2] = (level[m - 2] * mass[m - 2] + level[m - 1] * mass[m - 1]) / both
            mass[m - 2] = both
            count[m - 2] += count[m - 1]
            m -= 1
    result = np.empty(n)
    k = 0
    for i in range(m):
        result[k : k + count[i]] = max(level[i], 0.0)
        k += count[i]
    return result


@njit(**OPTIONS)
def _level_at(radius, radii, levels):
    """Interpolate the profile at a radius; constant beyond its ends."""
    last = len(radii) - 1
    if radius <= radii[0]:
        return levels[0]
    if radius >= radii[last]:
        return levels[last]
    k = min(int(radius), last - 1)
    while k > 0 and radii[k] > radius:
        k -= 1
    while radii[k + 1] < radius:
        k += 1
    part = (radius - radii[k]) / (radii[k + 1] - radii[k])
    return levels[k] + part * (levels[k + 1] - levels[k])
