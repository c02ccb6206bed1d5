"""Detection by compiled functions gives the same labels as by numpy, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment import PhotutilsSegmenter


def field(rng, shape, dtype):
    """Blobs on a tilted, noisy sky."""
    y, x = np.indices(shape)
    image = rng.normal(100 + 0.1 * x, 1, shape)
    for _ in range(6):
        cy, cx, width = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(1, 4)
        image += 30 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return image.astype(dtype)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([np.float32, np.float64]),
    fwhm=st.sampled_from([None, 2, 3]),
    kernel_size=st.sampled_from([1, 3, 5, 9]),
    n_sigma=st.sampled_from([0, 1.0, 2.5]),
    connectivity=st.sampled_from([4, 8]),
    with_rms=st.booleans(),
    share_missing=st.sampled_from([0, 0.02, 0.5]),
)
def test_strips_equal_blocks(
    seed, dtype, fwhm, kernel_size, n_sigma, connectivity, with_rms, share_missing
):
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 50)), int(rng.integers(1, 200))  # three blocks of columns
    image = field(rng, shape, dtype)
    image[rng.random(shape) < share_missing] = np.nan
    image[5:15, 3:20] = np.nan if share_missing else image[5:15, 3:20]
    rms = rng.uniform(0.5, 2, shape).astype(dtype) if with_rms else None
    options = {"fwhm": fwhm, "kernel_size": kernel_size, "connectivity": connectivity}
    segmenter = PhotutilsSegmenter(n_pixels=3, box_size=20, **options)
    meshes = segmenter._meshes(image)
    labels, smooth = segmenter._find_in_strips(image, rms, *meshes, n_sigma)
    expected, expected_smooth = segmenter._find_in_blocks(
        image, rms, np.isnan(image), *meshes, n_sigma
    )
    assert np.array_equal(labels, expected)
    assert np.array_equal(smooth[labels > 0], expected_smooth[labels > 0])


@pytest.mark.parametrize("corner", [(0, 0), (13, 7)])
def test_strips_of_a_window_of_a_mosaic(corner):
    rng = np.random.default_rng(1)
    image = field(rng, (90, 80), np.float32)
    segmenter = PhotutilsSegmenter(n_pixels=3, box_size=20)
    meshes = [mesh.at(*corner) for mesh in segmenter._meshes(image)]
    window = image[corner[0] :, corner[1] : 60]
    labels, _ = segmenter._find_in_strips(window, None, *meshes, 1.5)
    expected, _ = segmenter._find_in_blocks(window, None, None, *meshes, 1.5)
    assert labels.any() and np.array_equal(labels, expected)
