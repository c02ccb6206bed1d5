"""Kernels of `_galaxies`: models of galaxies and stars, and the pixels that are theirs.

A *host* is a part (see `_galaxy_parts`) that is a galaxy or star of its own. Its model is an
ellipse and a profile of the light that is symmetric about its peak.
"""

import numpy as np

from .._utils.compiled import INNER, OPTIONS, njit
from ._galaxy_parts import values_at

N_BINS = 24  # of the radial profile of a host
N_HOST = 13  # numbers that describe a host; see `take_host`
_MAX_WIDER = 3  # wider hosts that may get pixels of a host
_FAINT_SHARE = 0.2  # of the light of a pixel: what a wider host must account for


@njit(**INNER)
def symmetric_light(light, y0, x0, reach):
    """Sum over the pairs of pixels opposite of each other of twice the fainter."""
    height, width = light.shape
    total = 0.0
    for y in range(max(0, y0 - reach, 2 * y0 - height + 1), min(height, y0 + reach + 1)):
        if 2 * y0 - y < 0:
            break
        for x in range(max(0, x0 - reach, 2 * x0 - width + 1), min(width, x0 + reach + 1)):
            if 2 * x0 - x < 0:
                break
            total += max(0.0, min(light[y, x], light[2 * y0 - y, 2 * x0 - x]))
    return total


@njit(**INNER)
def radius_of(host, y, x):
    dy, dx = y - host[0], x - host[1]
    return np.sqrt(host[4] * dx * dx + host[3] * dy * dy + host[5] * dx * dy)


@njit(**INNER)
def _symmetric_model(light, y0, x0, top, left, model):
    """Fill `model` with the fainter of each pixel and the one opposite of it.

    `top` and `left` are the first pixel of the model. Returns sum and second moments yy, xx, xy.
    """
    height, width = light.shape
    flux, yy, xx, xy = 1e-12, 1e-9, 1e-9, 0.0
    for y in range(top, top + model.shape[0]):
        my = 2 * y0 - y
        if my < 0 or my >= height:
            continue
        for x in range(left, left + model.shape[1]):
            mx = 2 * x0 - x
            if mx < 0 or mx >= width:
                continue
            value = min(light[y, x], light[my, mx])
            if value > 0:
                model[y - top, x - left] = value
                dy, dx = y - y0, x - x0
                flux += value
                yy += value * dy * dy
                xx += value * dx * dx
                xy += value * dx * dy
    return flux, yy / flux + 0.3, xx / flux + 0.3, xy / flux


@njit(**INNER)
def _set_ellipse(host, flux, yy, xx, xy):
    """Write light, ellipse, width of the bins and axis ratio of a host."""
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    major, minor = np.sqrt(middle + spread), np.sqrt(max(middle - spread, 0.05))
    ratio = max(minor / major, 0.15)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    cosine, sine = np.cos(angle), np.sin(angle)
    host[2] = flux
    # squared radius of the circle with the area of the ellipse
    host[3] = ratio * sine**2 + cosine**2 / ratio
    host[4] = ratio * cosine**2 + sine**2 / ratio
    host[5] = 2 * cosine * sine * (ratio - 1 / ratio)
    host[7] = max(4.5 * np.sqrt(major * minor) / N_BINS, 1.0)
    host[10] = ratio


@njit(**INNER)
def _sum_of(numbers):
    total = 0.0
    for index in range(numbers.size):
        total += numbers[index]
    return total


@njit(**INNER)
def _set_profile(host, profile, sums, counts):
    """Write the profile of a host, which never rises outwards, and its half-light radius."""
    half = _sum_of(sums) / 2
    inside, half_bin = 0.0, -1
    for index in range(N_BINS):
        profile[index] = sums[index] / max(counts[index], 1.0)
        if index and profile[index] > profile[index - 1]:
            profile[index] = profile[index - 1]
        if half_bin < 0:
            if inside + sums[index] >= half:
                half_bin = index
            else:
                inside += sums[index]
    share = (half - inside) / max(sums[half_bin], 1e-12)
    host[6] = max(host[7] * (half_bin + share), 0.7)


@njit(**INNER)
def take_host(light, y0, x0, reach, host, profile, scatter, noise):
    """Model the light that is symmetric about a peak, and subtract it.

    `host` gets position, light, the coefficients of the ellipse, half-light radius, width of the
    bins, share of the light within half of that radius, roughness, axis ratio. The last two of its
    numbers are left as they are.
    """
    height, width = light.shape
    top, bottom = max(0, y0 - reach), min(height, y0 + reach + 1)
    left, right = max(0, x0 - reach), min(width, x0 + reach + 1)
    model = np.zeros((bottom - top, right - left))
    host[0], host[1] = y0, x0
    _set_ellipse(host, *_symmetric_model(light, y0, x0, top, left, model))
    sums, counts = np.zeros(N_BINS), np.zeros(N_BINS)
    for y in range(top, bottom):
        for x in range(left, right):
            index = int(radius_of(host, y, x) / host[7])
            if index < N_BINS:
                sums[index] += model[y - top, x - left]
                counts[index] += 1
    _set_profile(host, profile, sums, counts)
    inner = 0.0
    for index in range(N_BINS):
        scatter[index] = 0.0
    for y in range(top, bottom):
        for x in range(left, right):
            radius = radius_of(host, y, x)
            index = int(radius / host[7])
            if index < N_BINS:
                most = profile[index] + 3 * noise
                scatter[index] += min(abs(light[y, x] - profile[index]), most)
            if radius < host[6] / 2:
                inner += model[y - top, x - left]
            light[y, x] -= model[y - top, x - left]
    rough, weight = 0.0, 1e-12
    for index in range(N_BINS):
        if index * host[7] < 2 * host[6]:
            rough += scatter[index]
            weight += counts[index] * profile[index]
        scatter[index] /= max(counts[index], 1.0)
    host[8], host[9] = inner / max(_sum_of(sums), 1e-12), rough / weight


@njit(**INNER)
def light_at(host, profile, radius):
    """Profile of a host at a radius; falls as the last bins do, beyond them."""
    place = radius / host[7] - 0.5
    if place <= 0:
        return profile[0]
    if place < N_BINS - 1:
        index = int(place)
        return profile[index] + (place - index) * (profile[index + 1] - profile[index])
    return profile[N_BINS - 1] * np.exp(-(place - N_BINS + 1) / 4)


@njit(**INNER)
def _shine(host, hosts, profiles, y, x):
    """Light of a host at a pixel."""
    return light_at(hosts[host], profiles[host], radius_of(hosts[host], y, x))


@njit(**INNER)
def _keep_brightest(host, value, n_kept, kept, shine):
    """Keep a host if it is among those that shine most; return how many are kept."""
    if n_kept < kept.size:
        kept[n_kept], shine[n_kept] = host, value
        return n_kept + 1
    faintest = 0
    for place in range(1, kept.size):
        if shine[place] < shine[faintest]:
            faintest = place
    if value > shine[faintest]:
        kept[faintest], shine[faintest] = host, value
    return n_kept


@njit(**INNER)
def nearest_hosts(host_list, hosts, profiles, y, x, near, shine):
    """Fill `near` with the hosts that shine most at a pixel, `shine` with their light."""
    n_near = 0
    for host in host_list:
        n_near = _keep_brightest(host, _shine(host, hosts, profiles, y, x), n_near, near, shine)
    return n_near


@njit(**INNER)
def _find_wider(host, owner, hosts, profiles, wider, shine):
    """Fill `wider` with the hosts of larger half-light radius that shine most at a host's peak."""
    n_wider, y, x = 0, hosts[host, 0], hosts[host, 1]
    for other in range(owner.size):
        if owner[other] != other or hosts[other, 6] <= hosts[host, 6]:
            continue
        value = _shine(other, hosts, profiles, y, x)
        n_wider = _keep_brightest(other, value, n_wider, wider, shine)
    for place in range(n_wider, wider.size):
        wider[place] = -1


@njit(**INNER)
def _brightest_host(host, behind, wider, hosts, profiles, y, x, value, floor):
    """The host of a pixel: that of its part, the one behind it, or a wider one."""
    chosen, light, most = host, 0.0, _FAINT_SHARE * value
    for place in range(-2, wider.size):
        other = host
        if place >= -1:
            other = behind if place < 0 else wider[place]
        if other < 0:
            continue
        shine = _shine(other, hosts, profiles, y, x)
        if place == -2:
            light = shine
        elif place >= 0:
            if shine > most and (light < value / 2 or shine > light - floor):
                chosen, most = other, shine
        elif hosts[behind, 6] > hosts[host, 6]:
            if shine > light - floor:
                chosen = behind
        elif shine > max(light, value / 2):
            chosen = behind
    return chosen


@njit(**OPTIONS)
def draw_objects(image, own, part, peak, saddle, area, owner, hosts, profiles, inside):
    """Give the pixels of each part to its host, or to another host that shines more there.

    Light that no model accounts for, as that of arms, is the wider host's. So a host gives a pixel
    to a wider one if it accounts for less than half of the light, or for less than the other does.
    The host behind it gets the pixel as well if it shines more there, less the light of the host
    that may be left of the one behind. If the host behind is the narrower one, as a star that is
    brighter than its galaxy, it must account for half of the light.

    Returns
    -------
    ndarray of int32, shape (height, width)
        Number of the host of each pixel, -1 outside.
    """
    height, width = image.shape
    result, values = np.empty((height, width), np.int32), values_at(image, peak)
    floor, wider = np.zeros(peak.size), np.empty((peak.size, _MAX_WIDER), np.int64)
    shine = np.empty(_MAX_WIDER)
    for host in range(peak.size):
        if owner[host] != host:
            continue
        _find_wider(host, owner, hosts, profiles, wider[host], shine)
        behind = inside[host]
        if behind >= 0:
            y, x = hosts[host, 0], hosts[host, 1]
            share = min(_shine(behind, hosts, profiles, y, x) / max(saddle[host], 1e-12), 1.0)
            edge = 1.5 * np.sqrt(area[host] / np.pi)
            floor[host] = share * light_at(hosts[host], profiles[host], edge)
    for y in range(height):
        for x in range(width):
            if not own[y, x]:
                result[y, x] = -1
                continue
            index = part[y, x]
            host = owner[index]
            result[y, x] = host
            half = saddle[host] + (values[host] - saddle[host]) / 2
            is_alone = inside[host] < 0 and wider[host, 0] < 0
            if not is_alone and (index != host or image[y, x] < half):
                result[y, x] = _brightest_host(
                    *(host, inside[host], wider[host], hosts, profiles),
                    *(y, x, image[y, x], floor[host]),
                )
    return result
