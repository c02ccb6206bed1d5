"""Label maps with huge, infinite, masked, soft or byte-swapped contents: right, or refused."""

import tracemalloc

import matplotlib
import numpy as np
import pytest

from galaxysegment import Instances, RandomForestSegmenter
from galaxysegment.catalog import source_catalog
from galaxysegment.display import SegmentationDisplay
from galaxysegment.io import write_label_map
from galaxysegment.metrics import average_precision, iou_score, panoptic_quality
from galaxysegment.structures import (
    as_binary_mask,
    as_label_map,
    check_label_map,
    is_binary,
    relabel,
    remove_small,
)
from galaxysegment.structures._truth import check_targets

matplotlib.use("agg")

HUGE = 2_000_000_000


@pytest.fixture
def labels():
    labels = np.zeros((50, 50), np.int32)
    labels[3:9, 4:9], labels[20:30, 20:30] = 8, 7
    return labels


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(10, 1, (50, 50))


def peak_of(function, *arguments):
    """Peak of memory in bytes while a function runs."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "function",
    [
        relabel,
        lambda labels: remove_small(labels, 5),
        Instances.from_label_map,
        lambda labels: source_catalog(labels, np.ones(labels.shape)),
        lambda labels: SegmentationDisplay.from_predictions(labels, labels),
        lambda labels: (iou_score(labels, labels), average_precision(labels, labels)),
    ],
    ids=["relabel", "remove_small", "Instances", "catalog", "display", "metrics"],
)
def test_a_huge_label_costs_no_memory(function, labels):
    labels[labels == 8] = HUGE
    function(labels)
    assert peak_of(function, labels) < 50e6


def test_a_catalog_keeps_huge_labels(labels, image, tmp_path):
    expected = source_catalog(labels, image)
    labels[labels == 8] = HUGE
    write_label_map(tmp_path / "labels.fits", labels)
    for sources in (labels, tmp_path / "labels.fits"):
        catalog = source_catalog(sources, image)
        assert catalog["label"].tolist() == [7, HUGE]
        for name in set(expected.colnames) - {"label"}:
            np.testing.assert_array_equal(catalog[name], expected[name])
    with pytest.raises(ValueError, match=f"labels go up to {HUGE}"):
        source_catalog(labels, image, classes=[1, 2])


def test_remove_small_numbers_in_the_order_of_the_labels(labels):
    labels[labels == 8] = HUGE
    assert np.unique(remove_small(labels, 30)).tolist() == [0, 1, 2]
    assert remove_small(labels, 31)[4, 5] == 0 and remove_small(labels, 31)[21, 21] == 1


@pytest.mark.parametrize(
    "function", [check_label_map, relabel, as_label_map, as_binary_mask, Instances.from_label_map]
)
def test_infinite_labels_are_refused(function, labels):
    with pytest.raises(ValueError, match=r"must hold whole numbers.*infinite"):
        function(np.where(labels == 8, np.inf, labels))


def test_masked_entries_are_background(labels, image):
    masked = np.ma.masked_array(labels, mask=labels == 8)
    expected = np.where(labels == 8, 0, labels)
    np.testing.assert_array_equal(check_label_map(masked), expected)
    np.testing.assert_array_equal(relabel(masked), expected > 0)
    np.testing.assert_array_equal(as_binary_mask(masked > 0), expected > 0)
    assert len(Instances.from_label_map(masked)) == 1
    assert source_catalog(masked, image)["label"].tolist() == [7]
    assert iou_score(masked, expected) == 1 == panoptic_quality(masked, expected).pq
    assert iou_score(np.ma.stack([masked, masked]), np.stack([expected, expected])) == 1
    target = check_targets(np.ma.stack([masked]), [image[None]])[0]
    np.testing.assert_array_equal(target, expected > 0)


@pytest.mark.parametrize("dtype", [">i2", ">i4", ">i8", ">u4", ">f4", ">f8"])
def test_big_endian_maps_are_maps(dtype, labels, image):
    swapped = labels.astype(dtype)
    for function in (check_label_map, relabel, as_label_map):
        assert function(swapped).dtype == np.int32 and function(swapped).dtype.isnative
        np.testing.assert_array_equal(function(swapped), function(labels))
    assert Instances.from_label_map(swapped) == Instances.from_label_map(labels)
    assert iou_score(swapped, labels) == 1 == average_precision(swapped, labels)
    np.testing.assert_array_equal(
        source_catalog(swapped, image)["flux"], source_catalog(labels, image)["flux"]
    )
    if not dtype.startswith(">f"):
        np.testing.assert_array_equal(remove_small(swapped, 31), remove_small(labels, 31))


# Soft masks and maps without a number


def test_soft_masks_are_not_binary():
    soft = np.random.default_rng(0).uniform(0, 1, (3, 16, 16))
    assert not is_binary(soft)
    assert is_binary((soft > 0.5).astype(float)) and is_binary(np.where(soft > 0.5, 1, np.nan))
    assert not is_binary([np.full((4, 4), 2)]) and not is_binary([-np.ones((4, 4))])


def test_soft_masks_are_refused_as_truth(image):
    soft = np.random.default_rng(0).uniform(0, 1, (2, 50, 50))
    forest = RandomForestSegmenter(features=None)
    with pytest.raises(ValueError, match=r"y\[0\] must hold.*soft mask.*probability > 0.5"):
        forest.fit(np.stack([image, image]), soft)
    with pytest.raises(ValueError, match="soft mask"):
        iou_score(soft, soft > 0.5)


def test_a_truth_without_a_number_is_refused(image, labels):
    nothing = np.full((50, 50), np.nan)
    forest = RandomForestSegmenter(features=None)
    for y in ([labels, nothing], [labels > 0, nothing], [(labels > 0) * 1.0, nothing]):
        with pytest.raises(ValueError, match=r"y\[1\] is NaN everywhere.*pass zeros"):
            forest.fit(np.stack([image, image]), y)
    with pytest.raises(ValueError, match="NaN everywhere"):
        iou_score(nothing, labels)
    partly = np.where(labels == 8, np.nan, labels)
    np.testing.assert_array_equal(check_targets([partly], [image[None]])[0], labels == 7)
