"""Sums over apertures and over an image rotated by 180°, for one stamp.

numba takes a second to import, so this module is imported inside functions.
"""

import math

from .._utils.compiled import OPTIONS, njit
from ._overlap_kernels import ellipse_box, ellipse_map, pixel_share


@njit(**OPTIONS)
def ellipse_sum(image, masked, y, x, major, minor, angle):
    """Return the sum over an ellipse, and the area of the ellipse that is not masked."""
    if major <= 0 or minor <= 0:
        return 0.0, 0.0
    box = ellipse_box(y, x, major, minor, angle, *image.shape)
    ux, uy, vx, vy, corner = ellipse_map(major, minor, angle)
    total, area = 0.0, 0.0
    for row in range(box[0], box[1]):
        for column in range(box[2], box[3]):
            share = pixel_share(row - y, column - x, ux, uy, vx, vy, corner)
            total += share * image[row, column]
            if not masked[row, column]:
                area += share
    return total, area


@njit(**OPTIONS)
def asymmetry_sums(image, masked, y, x, radius):
    """Compare an image with its rotation by 180° about a point, in a circle.

    Returns
    -------
    area, light, difference : float
        Area that is masked neither in the image nor in its rotation; sums of the absolute values,
        and of the absolute differences, over it.
    """
    box = ellipse_box(y, x, radius, radius, 0.0, *image.shape)
    ux, uy, vx, vy, corner = ellipse_map(radius, radius, 0.0)
    area, light, difference = 0.0, 0.0, 0.0
    for row in range(box[0], box[1]):
        for column in range(box[2], box[3]):
            share = pixel_share(row - y, column - x, ux, uy, vx, vy, corner)
            if share == 0 or masked[row, column]:
                continue
            yy, xx = 2 * y - row, 2 * x - column
            near_y, near_x = math.floor(yy + 0.5), math.floor(xx + 0.5)
            if _inside(image, near_y, near_x) and masked[near_y, near_x]:
                continue
            area += share
            light += share * abs(image[row, column])
            difference += share * abs(_between(image, yy, xx) - image[row, column])
    return area, light, difference


@njit(**OPTIONS)
def _inside(image, y, x):
    return 0 <= y < image.shape[0] and 0 <= x < image.shape[1]


@njit(**OPTIONS)
def _between(image, y, x):
    """Bilinear interpolation; 0 outside the image."""
    y0, x0 = math.floor(y), math.floor(x)
    dy, dx = y - y0, x - x0
    value = 0.0
    for row, weight_y in ((y0, 1 - dy), (y0 + 1, dy)):
        for column, weight_x in ((x0, 1 - dx), (x0 + 1, dx)):
            if _inside(image, row, column):
                value += weight_y * weight_x * image[row, column]
    return value
