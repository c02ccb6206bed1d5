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


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_pixels=st.sampled_from([1, 2, 7, 8, 9, 127, 128, 129, 130, 300, 2500]),
    dtype=st.sampled_from([np.float32, np.float64]),
    level=st.sampled_from([0, 1000]),
    kind=st.sampled_from(["plain", "rounded", "missing", "empty", "infinite", "flat"]),
)
def test_clipped_statistics_are_those_of_numpy(seed, n_pixels, dtype, level, kind):
    rng = np.random.default_rng(seed)
    boxes = sky(rng, (2, 3, n_pixels), level, dtype)
    if kind == "rounded":
        boxes = np.round(boxes)
    elif kind == "missing":
        boxes[rng.random(boxes.shape) < 0.4] = np.nan
    elif kind == "empty":
        boxes[0] = np.nan
    elif kind == "infinite":
        boxes[0, 1, 0] = np.inf
    elif kind == "flat":
        boxes[1] = level
    with np.errstate(invalid="ignore"):
        expected = background._clipped_statistics(boxes, background._clip_sorted)
    compiled = background._clipped_statistics(boxes, background._clip_compiled)
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
