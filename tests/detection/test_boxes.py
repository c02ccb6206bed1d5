"""Compiled statistics of boxes are those of numpy and of sep, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment.detection import _background as background
from galaxysegment.detection._box_kernels import sep_boxes
from galaxysegment.segmenters._sep_mesh import measure_boxes

NO_MASK = np.zeros((0, 0), dtype=bool)


def sky(rng, shape, level, dtype):
    """A sky with sources in 2 % of its pixels."""
    image = rng.normal(level, 1, shape)
    return (image + (rng.random(shape) < 0.02) * rng.exponential(100, shape)).astype(dtype)


KINDS = ["plain", "rounded", "missing", "empty", "infinite", "flat", "steep", "two levels", "tiny"]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    box=st.sampled_from([(1, 1), (1, 2), (2, 3), (3, 43), (8, 16), (10, 30), (50, 50)]),
    dtype=st.sampled_from([np.float32, np.float64]),
    level=st.sampled_from([0, 1000]),
    kind=st.sampled_from(KINDS),
    order=st.sampled_from(["C", "F"]),
)
def test_clipped_statistics_are_those_of_numpy(seed, box, dtype, level, kind, order):
    rng = np.random.default_rng(seed)
    height, width = box
    rows = sky(rng, (2 * height, 3 * width + width // 2), level, dtype)
    if kind == "rounded":
        rows = np.round(rows)
    elif kind == "missing":
        rows[rng.random(rows.shape) < 0.4] = np.nan
    elif kind == "empty":
        rows[:, :width] = np.nan
    elif kind == "infinite":
        rows[0, width], rows[-1, -1] = np.inf, -np.inf
    elif kind == "flat":
        rows[:, : 2 * width] = level
    elif kind == "steep":  # the box before says nothing about the next
        rows *= 10.0 ** (10 * rng.integers(-3, 4, rows.shape[1]))
    elif kind == "two levels":
        rows[:, ::2] += 1e6
    elif kind == "tiny":
        rows = (rows * dtype(1e-38)).astype(dtype)
    rows = np.asarray(rows, order=order)
    rows.flags.writeable = order == "C"
    with np.errstate(invalid="ignore", over="ignore"):
        expected = background._measure_sorted(rows, height, width)
    compiled = background._measure_compiled(rows, height, width)
    assert np.array_equal(compiled, expected, equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([np.float32, np.float64]),
    level=st.sampled_from([0, 1000]),
    kind=st.sampled_from(["plain", "rounded", "masked", "flat", "half flat"]),
)
def test_boxes_are_those_of_sep(seed, dtype, level, kind):
    sep = pytest.importorskip("sep")
    rng = np.random.default_rng(seed)
    shape, box = rng.integers(5, 200, 2), tuple(rng.integers(2, 60, 2).tolist())
    image, no_data = sky(rng, shape, level, dtype), None
    if kind == "rounded":
        image = np.round(image)
    elif kind == "masked":
        no_data = rng.random(shape) < 0.2
        no_data[: shape[0] // 2, : shape[1] // 3] = True
        image[no_data] = 0
    elif kind != "plain":
        image[:: 1 if kind == "flat" else 2] = level
    expected = measure_boxes(sep, image, no_data, box)
    meshes = np.zeros_like(expected)
    sep_boxes(image, NO_MASK if no_data is None else no_data, *box, meshes)
    assert np.array_equal(meshes, expected)


@pytest.mark.parametrize("n_all", [0, 1 << 30])
def test_the_size_of_the_mosaic_chooses_the_functions(n_all, monkeypatch):
    asked = []
    monkeypatch.setattr(background, "compiling_pays", asked.append)
    background.box_statistics(np.ones((20, 30)), (10, 10), n_all=n_all)
    assert asked == [max(n_all, 600)]
