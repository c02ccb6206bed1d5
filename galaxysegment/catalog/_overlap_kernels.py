"""Exact areas that ellipses share with pixels.

numba takes a second to import, so this module is imported inside functions.
"""

import math

from .._utils.compiled import OPTIONS, njit


@njit(**OPTIONS)
def ellipse_map(major, minor, angle):
    """Return the map that turns an ellipse into the unit circle.

    Returns
    -------
    tuple of float
        ``ux, uy, vx, vy``, with ``u = ux * dx + uy * dy`` and ``v = vx * dx + vy * dy``; and the
        distance of the farthest corner of a pixel from its centre under the map.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    ux, uy, vx, vy = cos / major, sin / major, -sin / minor, cos / minor
    corner = max(math.hypot(ux + uy, vx + vy), math.hypot(ux - uy, vx - vy)) / 2
    return ux, uy, vx, vy, corner


@njit(**OPTIONS)
def ellipse_box(y, x, major, minor, angle, height, width):
    """Return the pixels ``y0, y1, x0, x1`` (half-open) that an ellipse may touch in an image."""
    cos, sin = math.cos(angle), math.sin(angle)
    half_x = math.hypot(major * cos, minor * sin)
    half_y = math.hypot(major * sin, minor * cos)
    return (
        max(0, math.floor(y - half_y + 0.5)),
        min(height, math.floor(y + half_y + 1.5)),
        max(0, math.floor(x - half_x + 0.5)),
        min(width, math.floor(x + half_x + 1.5)),
    )


@njit(**OPTIONS)
def pixel_share(dy, dx, ux, uy, vx, vy, corner):
    """Return the share of a pixel's area that lies in an ellipse, 0 to 1.

    Parameters
    ----------
    dy, dx : float
        Centre of the pixel relative to the centre of the ellipse.
    ux, uy, vx, vy, corner : float
        As of `ellipse_map`.
    """
    u, v = ux * dx + uy * dy, vx * dx + vy * dy
    square = u * u + v * v
    if corner < 1 and square <= (1 - corner) * (1 - corner):
        return 1.0
    if square >= (1 + corner) * (1 + corner):
        return 0.0
    # The corners of the pixel in turn, which are those of a parallelogram under the map.
    au, av = (ux + uy) / 2, (vx + vy) / 2
    bu, bv = (uy - ux) / 2, (vy - vx) / 2
    area = (
        _circle_and_triangle(u - au, v - av, u - bu, v - bv)
        + _circle_and_triangle(u - bu, v - bv, u + au, v + av)
        + _circle_and_triangle(u + au, v + av, u + bu, v + bv)
        + _circle_and_triangle(u + bu, v + bv, u - au, v - av)
    )
    return min(max(area / (ux * vy - uy * vx), 0.0), 1.0)


@njit(**OPTIONS)
def _circle_and_triangle(pu, pv, qu, qv):
    """Signed area that the unit circle shares with the triangle of its centre and two points."""
    cross = pu * qv - pv * qu
    outside = pu * pu + pv * pv - 1
    if outside <= 0 and qu * qu + qv * qv <= 1:
        return cross / 2
    du, dv = qu - pu, qv - pv
    length = du * du + dv * dv
    along = pu * du + pv * dv
    root = along * along - length * outside
    if root <= 0:
        return _sector(pu, pv, qu, qv)
    root = math.sqrt(root)
    enter, leave = (-along - root) / length, (-along + root) / length
    if enter >= 1 or leave <= 0:
        return _sector(pu, pv, qu, qv)
    area = (min(leave, 1.0) - max(enter, 0.0)) * cross / 2
    if enter > 0:
        area += _sector(pu, pv, pu + enter * du, pv + enter * dv)
    if leave < 1:
        area += _sector(pu + leave * du, pv + leave * dv, qu, qv)
    return area


@njit(**OPTIONS)
def _sector(pu, pv, qu, qv):
    """Signed area of the unit circle between the directions of two points."""
    return math.atan2(pu * qv - pv * qu, pu * qu + pv * qv) / 2
