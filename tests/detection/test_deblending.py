"""Our deblending against photutils', numbers included."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.segmentation import SegmentationImage, deblend_sources
from scipy import ndimage
from skimage.segmentation import watershed

from galaxysegment._utils.packages import without_bar
from galaxysegment.detection import _deblend_kernels as kernels
from galaxysegment.detection import _deblending as deblending
from galaxysegment.detection._deblending import deblend
from galaxysegment.structures import label_components, remove_small


def crowd(seed, shape=(80, 90), n=40, noise=1.0):
    """A smoothed crowded image."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = rng.normal(0, noise, shape)
    for _ in range(n):
        cy, cx, width = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(1, 4)
        image += rng.uniform(3, 60) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return ndimage.gaussian_filter(image, 1)


def by_photutils(labels, image, n_pixels, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The deblending mode")
        return deblend_sources(
            image, SegmentationImage(labels), n_pixels, **without_bar(), **options
        ).data


# photutils 3.1 splits sources with negative pixels otherwise
THRESHOLDS = [-0.5, 0.3, 1.0, 3.0] if without_bar() else [0.3, 1.0, 3.0]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from(THRESHOLDS),
    n_pixels=st.integers(1, 12),
    contrast=st.sampled_from([0, 0.001, 0.02, 0.3, 1.0]),
    n_levels=st.integers(1, 40),
    connectivity=st.sampled_from([4, 8]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_equals_photutils(seed, threshold, n_pixels, contrast, n_levels, connectivity, dtype):
    image = crowd(seed).astype(dtype)
    labels = remove_small(label_components(image > threshold, connectivity), n_pixels)
    options = {"n_levels": n_levels, "contrast": contrast, "connectivity": connectivity}
    if labels.any():
        expected = by_photutils(labels, image, n_pixels, **options)
        assert np.array_equal(deblend(labels, image, n_pixels, **options), expected)


def test_splits_what_there_is_to_split():
    image = crowd(3)
    labels = remove_small(label_components(image > 1), 5)
    parts = deblend(labels, image, 5)
    assert parts.max() > labels.max() + 5
    assert np.array_equal(parts > 0, labels > 0)
    assert np.array_equal(np.unique(parts), np.arange(parts.max() + 1))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_values=st.sampled_from([2, 5, 100, 10**6]),
    connectivity=st.sampled_from([4, 8]),
)
def test_floods_as_scikit_image_does_ties_included(seed, n_values, connectivity):
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 25, 2)
    footprint = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    own = ndimage.label(rng.random(shape) < 0.85, footprint)[0] == 1
    image = rng.integers(0, n_values, shape).astype(np.float64)
    markers = np.where(own & (rng.random(shape) < 0.2), rng.integers(1, 4, shape), 0)
    if not markers.any():
        return
    pixels = np.flatnonzero(own)
    places, width, size = kernels.place_in_box(pixels, shape[1])
    node_at = np.full(size, -1)
    node_at[places] = np.arange(len(pixels))
    parts = markers.ravel()[pixels]
    around = kernels.neighbours(width, connectivity)
    shores = np.flatnonzero(parts)
    kernels.flood(
        image.ravel()[pixels], places, around, node_at, parts, shores, np.empty_like(parts)
    )
    expected = watershed(-image, markers, mask=own, connectivity=footprint)
    assert np.array_equal(parts, expected.ravel()[pixels])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_pixels=st.integers(1, 12),
    connectivity=st.sampled_from([4, 8]),
    has_ties=st.booleans(),
)
def test_passes_over_no_source_that_a_level_separates(seed, n_pixels, connectivity, has_ties):
    image = crowd(seed, shape=(40, 40), n=12)
    image = np.round(image, 1) if has_ties else image
    labels = remove_small(label_components(image > 0.3, connectivity), n_pixels)
    for label in range(1, labels.max() + 1):
        own = labels == label
        pixels, values = np.flatnonzero(own), image[own]
        place = pixels, labels.shape[1]
        levels = np.unique(values)
        order = np.argsort(values)
        _, n_markers = kernels.find_markers(values, order, *place, levels, n_pixels, connectivity)
        starts = np.array([0, 0, len(values)])
        chosen = kernels.find_candidates(
            *(values, pixels, starts, labels.shape[1]), n_pixels, connectivity, 0.0
        )
        may_split = chosen[1]
        assert may_split or n_markers < 2
        assert has_ties or may_split == (n_markers > 1)


def test_too_many_markers_fall_back_to_linear_levels():
    image = np.random.default_rng(0).uniform(1, 2, (48, 48))
    image[::2] *= 100
    own = np.ones(image.shape, dtype=bool)
    counts = []
    for exponential in (True, False):
        levels = deblending._thresholds(image[own], 32, exponential)
        place = np.argsort(image.ravel()), np.arange(image.size), image.shape[1]
        counts.append(kernels.find_markers(image.ravel(), *place, levels, 1, 8)[1])
    assert counts[0] > deblending._MOST_MARKERS > 1
    assert counts[0] != counts[1]
    labels = own.astype(np.int32)
    parts = deblend(labels, image, 1, contrast=0)
    assert parts.max() == counts[1]
    assert np.array_equal(parts, by_photutils(labels, image, 1, contrast=0))


@pytest.mark.parametrize("value", [0.0, -3.0, 5.0])
def test_flat_source_stays_whole(value):
    labels = np.zeros((20, 20), dtype=np.int32)
    labels[3:9, 3:9] = 1
    assert np.array_equal(deblend(labels, np.full((20, 20), value), 1), labels)


def test_nothing_to_do():
    labels = np.zeros((5, 6), dtype=np.int32)
    assert not deblend(labels, np.ones((5, 6)), 1).any()


def test_missing_pixels_and_masks_as_image():
    image = crowd(7)
    labels = remove_small(label_components(image > 1), 5)
    image[labels == 2] = np.nan
    assert np.array_equal(deblend(labels, image, 5) > 0, labels > 0)
    assert np.array_equal(deblend(labels, labels > 0, 5), labels)
