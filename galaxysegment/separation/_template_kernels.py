"""Fit a template to each source of a blend, all sources in turn, until they agree on the light.

numba takes a second to import, so this module is imported inside methods.
"""

import numpy as np

from .._utils.compiled import OPTIONS, njit

#: Sums may be taken in any order.
SUMS = {**OPTIONS, "fastmath": {"reassoc", "contract"}}
#: Light that every pixel of a stamp has at least: shares are defined everywhere.
_FLOOR = 1e-6
_LEAST_VARIANCE = 0.7  # pixels², of a star under sharp seeing
_LEAST_AXIS_RATIO = 0.15
#: Light of a pixel over the mean of its annulus, where its mirror image is beyond the edge.
_MOST_LOPSIDED = 1.5
_MOVES = (3, 6, 10, 14)  # rounds in which centres move
_STEPS = 16  # of a pixel at which profiles are tabulated
#: Level of a profile, in units of the noise, up to which all pixels of an annulus are equal.
_BRIGHT = 0.03
#: Part of its light by which a template changes in a round until it counts as settled.
_SETTLED = 1e-3


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
    changes = np.full(len(boxes), np.inf)
    for iteration in range(first, last):
        if iteration == 1:
            # Round 0 divides the light; from round 1 on templates add up to it.
            _add_up(templates, boxes, offsets, total)
        for i in range(len(boxes)):
            moves = freedom[i] > 0 and iteration in _MOVES
            if not moves and _is_settled(i, boxes, changes):
                continue
            y0, x0, y1, x1 = boxes[i]
            stamp = templates[offsets[i] : offsets[i + 1]].reshape(y1 - y0, x1 - x0)
            changes[i] = _update(
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
def _is_settled(i, boxes, changes):
    """Whether a template and all that overlap it changed little when they were last made anew."""
    y0, x0, y1, x1 = boxes[i]
    for j in range(len(boxes)):
        touches = boxes[j, 0] < y1 and boxes[j, 2] > y0 and boxes[j, 1] < x1 and boxes[j, 3] > x0
        if touches and changes[j] >= _SETTLED:
            return False
    return True


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
    """Make the template of a source anew from what the other templates leave of the image.

    Returns the part of its light that changed.
    """
    height, width = stamp.shape
    size = height * width
    y0, x0 = box[0], box[1]
    rest = buffers[0, :size].reshape(height, width)
    trust = buffers[1, :size].reshape(height, width)
    radius = buffers[2, :size].reshape(height, width)
    renewed = buffers[3, :size].reshape(height, width)
    turned = buffers[4, :size].reshape(height, width)
    noise = noise[y0 : y0 + height, x0 : x0 + width]
    centre_y, centre_x = centre[0] - y0, centre[1] - x0
    light, everything = image[y0 : y0 + height, x0 : x0 + width], total[y0:, x0:]
    _divide(light, everything, weight[y0:, x0:], stamp, iteration == 0, rest, trust)
    metric = _ellipse(stamp, noise, centre_y, centre_x)
    n_bins = _elliptical_radii(metric, centre_y, centre_x, radius)
    levels, radii = _falling_profile(rest, trust, radius, n_bins)
    table = _table(levels, radii, n_bins)
    _fill(radius, table, renewed)
    inner = _inner_box(levels, radii, metric, centre_y, centre_x, height, width)
    mirror_y, mirror_x = round(2 * centre_y), round(2 * centre_x)
    shift_y, shift_x = 2 * centre_y - mirror_y, 2 * centre_x - mirror_x
    top, left, bottom, right = inner
    opposite = (
        max(mirror_y - bottom + 1, 0),
        max(mirror_x - right + 1, 0),
        min(mirror_y - top + 1, height),
        min(mirror_x - left + 1, width),
    )
    _shift(rest, shift_y, shift_x, opposite, radius, turned)
    for y in range(top, bottom):
        yy = mirror_y - y
        for x in range(left, right):
            annulus = renewed[y, x]
            ratio = annulus / (noise[y, x] * smoothing)
            own = ratio * ratio / (ratio * ratio + 1)
            xx = mirror_x - x
            here, there = trust[y, x], 0.0
            own_light = here * rest[y, x]
            if 0 <= yy < height and 0 <= xx < width:
                there = trust[yy, xx]
                own_light += there * turned[yy, xx]
            own_light = own_light / (here + there) if here + there > 0 else annulus
            if there <= 0:  # no mirror image tells whose light this is
                own_light = min(own_light, _MOST_LOPSIDED * annulus)
            renewed[y, x] = max(own * max(own_light, 0.0) + (1 - own) * annulus, _FLOOR)
    if freedom > 0 and iteration in _MOVES:
        _move(rest, renewed, trust, centre, given, freedom)
    return _replace(stamp, renewed, everything, iteration > 0)


@njit(**OPTIONS)
def _divide(light, everything, weight, stamp, is_first, rest, trust):
    """Write what the other templates leave of the light, and how much each pixel counts."""
    height, width = stamp.shape
    for y in range(height):
        for x in range(width):
            value = stamp[y, x]
            share = value / everything[y, x]
            own = share * light[y, x]
            rest[y, x] = own if is_first else light[y, x] - everything[y, x] + value
            trust[y, x] = (share * np.sqrt(share) + _FLOOR) * weight[y, x]


@njit(**OPTIONS)
def _fill(radius, table, renewed):
    """Write the level of the profile at each radius, at least `_FLOOR`."""
    height, width = radius.shape
    for y in range(height):
        for x in range(width):
            place = radius[y, x] * _STEPS
            k = int(place)
            level = table[k] + (place - k) * (table[k + 1] - table[k])
            renewed[y, x] = max(level, _FLOOR)


@njit(**SUMS)
def _replace(stamp, renewed, everything, is_sum):
    """Put the renewed template in the place of the old one; return the part that changed."""
    height, width = stamp.shape
    change = light = 0.0
    for y in range(height):
        for x in range(width):
            difference = renewed[y, x] - stamp[y, x]
            change += abs(difference)
            light += renewed[y, x]
            if is_sum:
                everything[y, x] += difference
            stamp[y, x] = renewed[y, x]
    return change / light if is_sum else np.inf


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
def _shift(image, dy, dx, box, between, result):
    """Write the light at ``(y + dy, x + dx)``, at most half a pixel away, into a box of `result`.

    Catmull-Rom splines; `between` is overwritten. Pixels at the edges stay as they are.
    """
    height, width = image.shape
    top, left, bottom, right = box
    first, weights = _spline(dx)
    a, b, c, d = weights
    start, stop = max(left, -first), min(right, width - first - 3)
    first_y, weights = _spline(dy)
    for y in range(max(top + first_y, 0), min(bottom + first_y + 3, height)):
        between[y, left:right] = image[y, left:right]
        row = image[y]
        for x in range(start, stop):
            k = x + first
            between[y, x] = a * row[k] + b * row[k + 1] + c * row[k + 2] + d * row[k + 3]
    a, b, c, d = weights
    for y in range(top, bottom):
        k = y + first_y
        if k < 0 or k + 3 >= height:
            result[y, left:right] = between[y, left:right]
            continue
        for x in range(left, right):
            result[y, x] = (
                a * between[k, x]
                + b * between[k + 1, x]
                + c * between[k + 2, x]
                + d * between[k + 3, x]
            )


@njit(**OPTIONS)
def _spline(shift):
    """First pixel and weights of the four pixels that a Catmull-Rom spline interpolates."""
    first = -1 if shift >= 0 else -2
    t = shift - (first + 1)
    weights = (
        -0.5 * t**3 + t**2 - 0.5 * t,
        1.5 * t**3 - 2.5 * t**2 + 1,
        -1.5 * t**3 + 2 * t**2 + 0.5 * t,
        0.5 * t**3 - 0.5 * t**2,
    )
    return first, weights


@njit(**SUMS)
def _ellipse(stamp, noise, centre_y, centre_x):
    """Return the metric ``yy, xy, xx`` of radii in units of the second moments of a template."""
    height, width = stamp.shape
    flux = yy = xx = xy = 0.0
    for y in range(height):
        row = along = square = 0.0
        for x in range(width):
            light = stamp[y, x] if stamp[y, x] > 0.5 * noise[y, x] else 0.0
            dx = x - centre_x
            row += light
            along += light * dx
            square += light * dx * dx
        dy = y - centre_y
        flux += row
        yy += row * dy * dy
        xx += square
        xy += along * dy
    if flux > 0:
        yy, xx, xy = yy / flux, xx / flux, xy / flux
    mean, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    largest, smallest = max(mean + half, _LEAST_VARIANCE), max(mean - half, _LEAST_VARIANCE)
    ratio = max(np.sqrt(smallest / largest), _LEAST_AXIS_RATIO)
    angle = np.arctan2(2 * xy, xx - yy) / 2
    cosine, sine = np.cos(angle), np.sin(angle)
    along_x = ratio * cosine**2 + sine**2 / ratio
    along_y = ratio * sine**2 + cosine**2 / ratio
    return along_y, (ratio - 1 / ratio) * cosine * sine, along_x


@njit(**OPTIONS)
def _elliptical_radii(metric, centre_y, centre_x, radius):
    """Write the radius of each pixel; return the number of rings of one pixel."""
    height, width = radius.shape
    along_y, mixed, along_x = metric
    for y in range(height):
        dy = y - centre_y
        for x in range(width):
            dx = x - centre_x
            radius[y, x] = np.sqrt(along_y * dy * dy + 2 * mixed * dy * dx + along_x * dx * dx)
    # The farthest pixel of a box is one of its corners.
    farthest = max(radius[0, 0], radius[0, -1], radius[-1, 0], radius[-1, -1])
    return int(farthest) + 1


@njit(**OPTIONS)
def _inner_box(levels, radii, metric, centre_y, centre_x, height, width):
    """Box around the ellipse in which the profile is bright enough for pixels of their own."""
    last = -1
    for k in range(len(levels)):
        if levels[k] > _BRIGHT:
            last = k
    if last < 0:
        return 0, 0, 0, 0
    reach = radii[min(last + 1, len(radii) - 1)]
    along_y, mixed, along_x = metric
    area = along_y * along_x - mixed * mixed
    reach_y, reach_x = reach * np.sqrt(along_x / area), reach * np.sqrt(along_y / area)
    return (
        min(max(int(centre_y - reach_y), 0), height),
        min(max(int(centre_x - reach_x), 0), width),
        min(max(int(centre_y + reach_y) + 2, 0), height),
        min(max(int(centre_x + reach_x) + 2, 0), width),
    )


@njit(**OPTIONS)
def _falling_profile(rest, trust, radius, n_bins):
    """Levels and radii, at least one of each: mean light in rings of one pixel, made to fall."""
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
def _table(levels, radii, n_bins):
    """Interpolate the profile at every eighth of a pixel; constant beyond its ends."""
    table = np.empty(n_bins * _STEPS + 2)
    last, k = len(radii) - 1, 0
    for i in range(len(table)):
        radius = i / _STEPS
        if radius <= radii[0]:
            table[i] = levels[0]
        elif radius >= radii[last]:
            table[i] = levels[last]
        else:
            while radii[k + 1] < radius:
                k += 1
            part = (radius - radii[k]) / (radii[k + 1] - radii[k])
            table[i] = levels[k] + part * (levels[k + 1] - levels[k])
    return table
