"""Pixels of tiles of any size come to their places."""

import numpy as np
import pytest

from galaxysegment.mosaic._join import _core_pixels, _paint_tile
from galaxysegment.mosaic._plan import Window


@pytest.mark.parametrize(("side", "dtype"), [(40_000, np.int32), (50_000, np.int64)])
def test_tiles_of_more_than_two_to_the_31_pixels(side, dtype):
    y, x = np.array([0, side - 3, side - 1]), np.array([7, 5, side - 1])
    core = Window(100, 200, 100 + side, 200 + side)
    record = _core_pixels(y + 100, x + 200, np.array([1, 2, 1]), core, (60_000, 60_000), 2)
    assert record["pixels"].dtype == dtype
    np.testing.assert_array_equal(record["pixels"].astype(object), y.astype(object) * side + x)
    rows = np.zeros((4, side), dtype=np.int32)
    _paint_tile(rows, record, np.array([0, 11, 12]), side - 4)
    assert np.argwhere(rows).tolist() == [[1, 5], [3, side - 1]]
    assert rows[rows > 0].tolist() == [12, 11]
