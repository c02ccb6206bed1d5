"""Walk around the pixels of a source; numba takes a second to import, so functions import this."""

import numpy as np

from .._utils.compiled import OPTIONS, njit

# Directions along the edges of pixels as (dy, dx); the next direction is a right turn.
_DY = np.array([0, 1, 0, -1])
_DX = np.array([1, 0, -1, 0])


@njit(**OPTIONS)
def walk_outlines(crop, starts, lengths, steps):
    """Walk along the outer edges of a mask, with the mask on the right; holes are left out.

    Parameters
    ----------
    crop : ndarray of bool, shape (height, width)
    starts : ndarray of int64, shape (n, 2)
        Gets the corner ``y, x`` where each loop begins.
    lengths : ndarray of int64, shape (n,)
        Gets the number of edges of each loop.
    steps : ndarray of uint8, shape (m,)
        Gets the directions of all loops: 0 right, 1 down, 2 left, 3 up; rows
        are counted downwards.

    Returns
    -------
    n_loops, n_steps : int
        How many entries are filled.
    """
    height, width = crop.shape
    seen = np.zeros(crop.shape, dtype=np.bool_)
    n_loops, n_steps = 0, 0
    for row in range(height):
        for column in range(width):
            if not crop[row, column] or seen[row, column]:
                continue
            if row > 0 and crop[row - 1, column]:
                continue
            y, x, direction, first, area = row, column, 0, n_steps, 0
            while True:
                steps[n_steps] = direction
                n_steps += 1
                if direction == 0:
                    seen[y, x] = True  # the pixel below this edge
                    area -= y
                elif direction == 2:
                    area += y
                y, x = y + _DY[direction], x + _DX[direction]
                direction = _turn(crop, y, x, direction)
                if y == row and x == column and direction == 0:
                    break
            if area > 0:  # the others run around holes
                starts[n_loops] = row, column
                lengths[n_loops] = n_steps - first
                n_loops += 1
            else:
                n_steps = first
    return n_loops, n_steps


@njit(**OPTIONS)
def _turn(crop, y, x, direction):
    """Choose the next edge at a corner: right if possible, else straight on, else left."""
    dy, dx = _DY[direction], _DX[direction]
    # the pixel ahead on the right hand, and the pixel ahead on the left hand
    right = _pixel(crop, y + (dy - 1 + dx) // 2, x + (dx - 1 - dy) // 2)
    left = _pixel(crop, y + (dy - 1 - dx) // 2, x + (dx - 1 + dy) // 2)
    if not right:
        return (direction + 1) % 4
    return (direction + 3) % 4 if left else direction


@njit(**OPTIONS)
def _pixel(crop, y, x):
    return 0 <= y < crop.shape[0] and 0 <= x < crop.shape[1] and crop[y, x]
