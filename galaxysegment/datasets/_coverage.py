"""Where a mosaic has data, how deep it is, and how the level of its sky steps between chips."""

from typing import NamedTuple

import numpy as np


class Coverage(NamedTuple):
    """Relative exposure and level of each pixel, both (height, width).

    `exposure` is 1 in the deepest part and 0 where there are no data; `level` is in units of the
    noise of the sky.
    """

    exposure: np.ndarray
    level: np.ndarray


def whole_frame(shape):
    """Return the coverage of one chip that is larger than the field."""
    return Coverage(np.ones(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32))


def draw_mosaic(rng, shape, n_exposures=None, step=None):
    """Draw exposures by a camera of many chips, each shifted and perhaps turned a little.

    Parameters
    ----------
    rng : `numpy.random.Generator`
    shape : tuple of int
    n_exposures : int, optional
        1 to 5 by default.
    step : float, optional
        Standard deviation of the levels of the chips, in units of the noise.

    Returns
    -------
    Coverage
    """
    n_exposures = int(rng.integers(1, 6)) if n_exposures is None else n_exposures
    step = rng.choice([0.0, rng.uniform(0.1, 1.5)]) if step is None else step
    side = max(shape)
    chip = rng.uniform(0.45, 1.6, 2) * side
    gaps = rng.uniform(0.008, 0.06, 2) * side
    tilt = rng.normal(0, 0.01) if rng.uniform() < 0.3 else 0.0
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    count = np.zeros(shape, dtype=np.float32)
    level = np.zeros(shape, dtype=np.float32)
    limits = _outline(rng, side)
    for _ in range(n_exposures):
        turn = tilt + (rng.normal(0, 0.004) if tilt else 0.0)
        shift = rng.uniform(0, 1, 2) * chip if n_exposures == 1 else rng.normal(0, 0.06, 2) * side
        y = rows * np.cos(turn) - columns * np.sin(turn) + shift[0] + 0.3 * side
        x = columns * np.cos(turn) + rows * np.sin(turn) + shift[1] + 0.3 * side
        number_y, number_x = np.floor(y / chip[0]), np.floor(x / chip[1])
        inside = (y - number_y * chip[0] > gaps[0]) & (x - number_x * chip[1] > gaps[1])
        if limits is not None:
            inside = inside & (y > limits[0]) & (x > limits[1])
        levels = step * rng.standard_normal((16, 16))
        place = levels[number_y.astype(int) % 16, number_x.astype(int) % 16]
        count += inside
        level += np.where(inside, place, 0)
    level = np.divide(level, count, out=np.zeros_like(level), where=count > 0)
    return Coverage(count / max(float(count.max()), 1.0), level)


def _outline(rng, side):
    """Edges of the camera within the field, in half of the mosaics; lengths of rows and columns."""
    if rng.uniform() < 0.5:
        return None
    return [
        0.3 * side + (rng.uniform(0.02, 0.3) * side if rng.uniform() < 0.5 else -np.inf)
        for _ in range(2)
    ]
