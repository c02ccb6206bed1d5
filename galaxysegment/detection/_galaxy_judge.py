"""Kernels of `_galaxies`: what the peaks of a source look like, and which galaxy they belong to.

A *part* is a peak of a source with the pixels that lead up to it. A *host* is a part that is a
galaxy or star of its own; see `_galaxy_hosts`.
"""

import numpy as np

from .._utils.compiled import INNER, OPTIONS, njit
from ._deblend_kernels import sorted_order
from ._galaxy_hosts import (
    N_BINS,
    N_HOST,
    light_at,
    nearest_hosts,
    radius_of,
    symmetric_light,
    take_host,
)
from ._galaxy_parts import minus_ones, values_at
from ._seam_kernels import smallest

N_FEATURES = 26
N_ALONE = 23  # the first of them say nothing of other peaks, nor how sharp the peak is
_MAX_HOSTS = 3  # hosts that a part is compared with
KNOT_LIGHT = np.log10(0.03)  # of the light of a host: a part with more is no knot among others
TRUST = 0.35  # weight of the trees that see the other peaks: real knots stay, real stars come apart
_KNOTTED = 3  # half-light radii of a host within which its other peaks count
_FIRST_HOSTS = 8  # parts among which the first host is sought
_BRIGHT = 0.8  # quantile of the pixels above which light does not count for the first host
_NEAR = 0.5  # radii of the source around a peak within which light counts for the first host
_LONG = 1.6  # radii of its area: the semi-major axis of a source that is elongated
_BRIGHT_IF_LONG = 0.6  # as _BRIGHT
_NEAR_IF_LONG = 0.6  # semi-major axes around a peak within which light counts


@njit(**INNER)
def _above(image, own, start, level, seen, mark, stack, result):
    """Flood from a pixel over the pixels above a level: their number, light, moments, centre.

    `result` gets number, light above the level, mean y and x, moments yy, xx, xy.
    """
    height, width = image.shape
    n, light, sy, sx, syy, sxx, sxy = 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    stack[0], depth = start, 1
    seen[start // width, start % width] = mark
    while depth:
        depth -= 1
        y, x = stack[depth] // width, stack[depth] % width
        n += 1
        light += image[y, x] - level
        sy += y
        sx += x
        syy += y * y
        sxx += x * x
        sxy += y * x
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                ny, nx = y + dy, x + dx
                if ny < 0 or ny >= height or nx < 0 or nx >= width:
                    continue
                if own[ny, nx] and seen[ny, nx] != mark and image[ny, nx] > level:
                    seen[ny, nx] = mark
                    stack[depth] = ny * width + nx
                    depth += 1
    sy, sx = sy / n, sx / n
    result[0], result[1], result[2], result[3] = n, light, sy, sx
    result[4], result[5], result[6] = syy / n - sy * sy, sxx / n - sx * sx, sxy / n - sy * sx


@njit(**INNER)
def _re_root(first, saddle, saddle_pixel, winner):
    """Make `first` the part that all others meet in the end."""
    node, met, value, pixel = first, winner[first], saddle[first], saddle_pixel[first]
    root_value = saddle[0]
    winner[first], saddle[first], saddle_pixel[first] = -1, root_value, -1
    while met >= 0:
        following, next_value, next_pixel = winner[met], saddle[met], saddle_pixel[met]
        winner[met], saddle[met], saddle_pixel[met] = node, value, pixel
        node, met, value, pixel = met, following, next_value, next_pixel


@njit(**INNER)
def _log(value):
    return np.log10(max(value, 1e-6))


@njit(**INNER)
def _ring(image, y, x, radius):
    """Mean of 16 pixels on a circle."""
    total = 0.0
    for step in range(16):
        ny = y + int(np.rint(radius * np.sin(np.pi * step / 8)))
        nx = x + int(np.rint(radius * np.cos(np.pi * step / 8)))
        if 0 <= ny < image.shape[0] and 0 <= nx < image.shape[1]:
            total += image[ny, nx]
    return total / 16


@njit(**INNER)
def _describe(row, image, light, host, profile, scatter, y, x, rise, group, core, noise):
    """Features of a part beside a host; `group` and `core` are what `_above` returns."""
    height, width = image.shape
    radius = radius_of(host, y, x)
    model = light_at(host, profile, radius)
    index = min(int(radius / host[7]), N_BINS - 1)
    peak = max(image[y, x], 1e-12)
    spread = max(scatter[index], noise)
    my, mx = int(2 * host[0]) - y, int(2 * host[1]) - x
    partner = 0.0
    if 0 <= my < height and 0 <= mx < width:
        partner = image[my, mx]
    n_group, n_core = group[0], core[0]
    middle, bend = (core[4] + core[5]) / 2, np.hypot((core[5] - core[4]) / 2, core[6])
    across = np.sqrt((max(middle - bend, 0.0) + 0.1) / (middle + bend + 0.1))
    mid_group = (group[4] + group[5]) / 2
    bend_group = np.hypot((group[5] - group[4]) / 2, group[6])
    across_group = np.sqrt(
        (max(mid_group - bend_group, 0.0) + 0.1) / (mid_group + bend_group + 0.1)
    )
    # along the circle around the host (1), or towards it (-1)
    angle = 0.5 * np.arctan2(2 * group[6], group[5] - group[4])
    towards = np.arctan2(y - host[0], x - host[1])
    row[0] = _log(rise / max(noise, 1e-12))
    row[1] = _log(rise / peak)
    row[2] = _log(model / peak)
    row[3] = _log(radius / host[6])
    row[4] = _log(host[6])
    row[5] = _log(group[1] / host[2])
    row[6] = _log(n_group / (np.pi * host[6] ** 2))
    row[7] = _log(n_core)
    row[8] = _log(n_core / n_group)
    row[9] = across
    row[10] = across_group
    row[11] = -np.cos(2 * (angle - towards)) * (1 - across_group)
    row[12] = min(max((partner - model) / max(peak - model, 0.05 * peak), -1.0), 2.0)
    row[13] = _log((peak - model) / spread)
    row[14] = host[8]
    row[15] = _log(host[9])
    row[16] = _log(host[2] / max(noise, 1e-12))
    row[17] = light[y, x] / peak
    row[18] = host[10]
    itself = radius < _KNOTTED * host[6]  # among the peaks that `_count_peaks` counts
    row[23] = _log(1 + host[11] - itself)
    row[24] = _log((host[12] - itself * group[1]) / host[2])
    far = max(image[y, x] - _ring(image, y, x, 6), 1e-9)
    row[25] = min(max((image[y, x] - _ring(image, y, x, 2)) / far, 0.0), 2.0)
    for place in range(3):
        row[20 + place] = 1 - _ring(image, y, x, 2 << place) / peak
    reach = int(min(np.sqrt(n_group / np.pi) + 1, 40.0))
    total = 1e-12
    for ny in range(max(0, y - reach), min(height, y + reach + 1)):
        for nx in range(max(0, x - reach), min(width, x + reach + 1)):
            total += max(0.0, light[ny, nx])
    row[19] = symmetric_light(light, y, x, reach) / total


@njit(**INNER)
def _count_peaks(host, number, peak, light, width):
    """Write how many other peaks lie in the light of a host, and their light over their saddles.

    A galaxy with many peaks has knots: the next peak is more likely one, too.
    """
    host[11], host[12] = 0, 0.0
    for index in range(peak.size):
        if index == number or not np.isfinite(light[index]):
            continue
        if radius_of(host, peak[index] // width, peak[index] % width) < _KNOTTED * host[6]:
            host[11] += 1
            host[12] += light[index]


@njit(**INNER)
def _log_odds(row, feature, threshold, low, high, value, starts, bias):
    """Sum of boosted trees."""
    total = bias
    for tree in range(starts.size):
        node = starts[tree]
        while feature[node] >= 0:
            node = low[node] if row[feature[node]] <= threshold[node] else high[node]
        total += value[node]
    return total


@njit(**INNER)
def probability(row, feature, threshold, low, high, value, starts, bias):
    """Probability that a part belongs to a host, by two groups of boosted trees.

    The first group sees the part and its host. The second also sees how many other peaks the host
    has, and their light: a peak among many is more likely a knot. It is not asked about parts with
    much light, because a bright companion is none, however many knots the galaxy has.
    """
    nodes = feature, threshold, low, high, value
    alone = _log_odds(row, *nodes, starts[0], bias[0])
    among = alone
    if row[5] < KNOT_LIGHT:
        among = _log_odds(row, *nodes, starts[1], bias[1])
    return 1 / (1 + np.exp(-alone - TRUST * (among - alone)))


@njit(**INNER)
def _largest_first(numbers):
    """Return the indices that sort numbers from the largest down, ties in their order."""
    keys = np.empty(numbers.size)
    for index in range(numbers.size):
        keys[index] = -numbers[index]
    return sorted_order(keys)


@njit(**INNER)
def _positive(light):
    """Return the pixels above 0."""
    height, width = light.shape
    lit, n = np.empty(height * width), 0
    for y in range(height):
        for x in range(width):
            if light[y, x] > 0:
                lit[n] = light[y, x]
                n += 1
    return lit[:n]


@njit(**INNER)
def _quantile(numbers, share):
    """Return a quantile, interpolated as numpy does; changes the order of the numbers."""
    rank = 1 + (numbers.size - 1) * share
    place = int(rank)
    weight = rank - place
    upper = smallest(numbers, min(place, numbers.size - 1))
    return smallest(numbers, place - 1) * (1 - weight) + upper * weight


@njit(**INNER)
def _capped(light, most):
    """Return the pixels, the brighter ones as `most`."""
    capped = np.empty(light.shape)
    for y in range(light.shape[0]):
        for x in range(light.shape[1]):
            capped[y, x] = min(light[y, x], most)
    return capped


@njit(**INNER)
def _semi_major_axis(light):
    """Return the semi-major axis of the lit pixels, taken for an ellipse of one brightness."""
    n, sy, sx, syy, sxx, sxy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for y in range(light.shape[0]):
        for x in range(light.shape[1]):
            if light[y, x] > 0:
                n += 1
                sy += y
                sx += x
                syy += y * y
                sxx += x * x
                sxy += y * x
    if not n:
        return 0.0
    sy, sx = sy / n, sx / n
    syy, sxx, sxy = syy / n - sy * sy, sxx / n - sx * sx, sxy / n - sy * sx
    return 2 * np.sqrt((sxx + syy) / 2 + np.hypot((sxx - syy) / 2, sxy))


@njit(**INNER)
def _first_host(light, peak, group_light):
    """The peak with most light that is symmetric about it, among the parts with most light.

    The brightest pixels count no more than the others: a star that outshines a galaxy is not its
    centre. Pixels farther from the peak than half of the radius of the source do not count: in a
    cluster, the middle of all galaxies is not the centre of the largest. An elongated source is
    one galaxy more often. Pixels up to .6 of its semi-major axis away count, so that a star in
    front of one half sees less light on its other side than the centre does.
    """
    width, lit = light.shape[1], _positive(light)
    radius, major = np.sqrt(lit.size / np.pi), _semi_major_axis(light)
    bright, reach = _BRIGHT, int(_NEAR * radius) + 1
    if major > _LONG * radius:
        bright, reach = _BRIGHT_IF_LONG, int(_NEAR_IF_LONG * major) + 1
    light = _capped(light, _quantile(lit, bright))
    first, most = 0, -1.0
    for index in _largest_first(group_light)[:_FIRST_HOSTS]:
        y, x = peak[index] // width, peak[index] % width
        symmetric = symmetric_light(light, y, x, reach)
        if symmetric > most:
            first, most = index, symmetric
    return first


@njit(**INNER)
def _survey(image, own, light, peak, saddle, saddle_pixel, winner):
    """Find the first host, hang the tree of parts from it, and measure what lies above saddles.

    Returns the first host, and what `_above` says of each part above its saddle, and halfway from
    there to the peak.
    """
    n = peak.size
    seen, stack = np.zeros(image.shape, np.int32), np.empty(own.size + 1, np.int64)
    groups, cores = np.zeros((n, 7)), np.zeros((n, 7))
    values = values_at(image, peak)
    mark, first = np.int64(1), -1
    for turn in range(3):  # above saddles, again where the tree has changed, above half
        for index in range(n):
            level = saddle[index]
            if index == max(first, 0):
                level = -np.inf
            if turn == 2:
                level = saddle[index] + (values[index] - saddle[index]) / 2
            elif turn == 1 and groups[index, 0] >= 0:
                continue
            table = cores if turn == 2 else groups
            _above(image, own, peak[index], level, seen, mark, stack, table[index])
            mark += 1
        if turn == 0:
            first = _first_host(light, peak, groups[:, 1])
            chain = first
            while chain >= 0:
                groups[chain, 0] = -1
                chain = winner[chain]
            _re_root(first, saddle, saddle_pixel, winner)
    return first, groups, cores


@njit(**INNER)
def _choose_host(index, part, near, images, models, noise, limit, trees, teacher, row, rows):
    """Find the host that a part belongs to, -1 if to none; fill `rows` if there is a teacher.

    `part` is position, rise over the saddle, and what `_above` says of the part and its core,
    `images` the image and the light that no host accounts for, `models` hosts, profiles and
    scatters. `row` gets the features.
    """
    chosen, chance = -1, limit
    for place, host in enumerate(near):
        model = models[0][host], models[1][host], models[2][host]
        _describe(row, *images, *model, *part, noise)
        if not teacher.size:
            belongs = probability(row, *trees)
            if belongs > chance:
                chosen, chance = host, belongs
            continue
        same = teacher[index] == teacher[host]
        if same:
            chosen = host
        rows[place, 0], rows[place, 1] = index, same
        for number in range(N_FEATURES):
            rows[place, 2 + number] = row[number]
    return chosen


@njit(**OPTIONS)
def judge_parts(image, own, peak, saddle, saddle_pixel, winner, noise, limit, trees, teacher, rows):
    """Decide which parts belong together.

    Parameters
    ----------
    image, own : ndarray of shape (height, width)
        The image, 0 outside the source; the pixels of the source.
    peak, saddle, saddle_pixel, winner
        As of `grow_parts`; the last three change.
    noise : float
        Scatter of the pixels of `image`.
    limit : float
        A part belongs to a host if the probability is larger.
    trees : tuple of ndarray
        As `probability` takes them.
    teacher : ndarray of int64, shape (n,) or (0,)
        The source that each part truly belongs to: decides instead of the trees, if there.
    rows : ndarray of float64, shape (n_rows, 2 + N_FEATURES)
        Gets the part, whether it belongs to the host, and the features of each comparison, with a
        teacher.

    Returns
    -------
    owner : ndarray of int64, shape (n,)
        The host that each part belongs to; that of a host is itself.
    hosts, profiles : ndarray of shape (n, N_HOST) and (n, N_BINS)
    inside : ndarray of int64, shape (n,)
        The host in whose light a host lies, or -1.
    area : ndarray of float64, shape (n,)
        Pixels of each part above its saddle.
    n_rows : int
    """
    width, n = image.shape[1], peak.size
    light, values = np.zeros(image.shape), values_at(image, peak)
    for y in range(image.shape[0]):
        for x in range(width):
            light[y, x] = image[y, x]
    hosts, profiles, scatters = np.zeros((n, N_HOST)), np.zeros((n, N_BINS)), np.zeros((n, N_BINS))
    owner, inside = minus_ones(n), minus_ones(n)
    first, groups, cores = _survey(image, own, light, peak, saddle, saddle_pixel, winner)
    groups[first, 1] = np.inf
    row, host_list = np.zeros(N_FEATURES), np.empty(n, np.int64)
    near, shine = np.empty(_MAX_HOSTS, np.int64), np.empty(_MAX_HOSTS)
    n_hosts, n_rows = 0, 0
    for index in _largest_first(groups[:, 1]):
        y, x = peak[index] // width, peak[index] % width
        n_near = nearest_hosts(host_list[:n_hosts], hosts, profiles, y, x, near, shine)
        if n_near:
            brightest = 0
            for place in range(1, n_near):
                if shine[place] > shine[brightest]:
                    brightest = place
            inside[index] = near[brightest]
        part = y, x, values[index] - saddle[index], groups[index], cores[index]
        chosen = _choose_host(
            *(index, part, near[:n_near], (image, light), (hosts, profiles, scatters)),
            *(noise, limit, trees, teacher, row, rows[n_rows:]),
        )
        if teacher.size:
            n_rows += n_near
        if chosen >= 0:
            owner[index] = chosen
            continue
        owner[index] = host_list[n_hosts] = index
        n_hosts += 1
        reach = max(image.shape)
        if index != first:
            reach = int(2.5 * np.sqrt(groups[index, 0] / np.pi) + 4)
        take_host(light, y, x, reach, hosts[index], profiles[index], scatters[index], noise)
        _count_peaks(hosts[index], index, peak, groups[:, 1], width)
    return owner, hosts, profiles, inside, groups[:, 0], n_rows
