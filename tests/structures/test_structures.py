import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from galaxysegment import Instances
from galaxysegment.structures import (
    as_binary_mask,
    as_label_map,
    check_label_map,
    is_binary,
    label_components,
    relabel,
    remove_small,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
LABEL_MAPS = hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 9))
MASKS = hnp.arrays(bool, SHAPES)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning:skimage")  # numpy 2.5
@given(LABEL_MAPS)
def test_relabel_is_scikit_images(labels):
    ours = relabel(labels)
    np.testing.assert_array_equal(ours, relabel_sequential(labels)[0])
    assert ours.dtype == np.int32


@given(hnp.arrays(np.int64, SHAPES, elements=st.sampled_from([0, 5, 2**33, 2**40])))
def test_relabel_takes_huge_numbers(labels):
    np.testing.assert_array_equal(
        relabel(labels), np.searchsorted(np.unique([0, *labels.flat]), labels)
    )


def test_relabel_keeps_what_is_consecutive():
    labels = np.array([[0, 1], [2, 1]], dtype=np.int32)
    assert relabel(labels) is labels


def test_relabel_refuses_negative_numbers():
    with pytest.raises(ValueError, match=r"positive for sources. Got -1"):
        relabel([[0, -1]])


@given(MASKS, st.sampled_from([4, 8]))
def test_components_are_scipys(mask, connectivity):
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    np.testing.assert_array_equal(
        label_components(mask, connectivity), ndimage.label(mask, structure)[0]
    )


@pytest.mark.parametrize("check", [as_label_map, check_label_map])
@pytest.mark.parametrize("labels", [[["a"]], [[1j]], [[None]]])
def test_label_maps_of_no_numbers_are_refused(check, labels):
    with pytest.raises(TypeError, match=r"must hold integers\. Got dtype"):
        check(np.array(labels))


def test_components_refuse_other_connectivity():
    with pytest.raises(ValueError, match="4 or 8"):
        label_components(np.eye(3), connectivity=6)


@given(LABEL_MAPS, st.integers(1, 8))
def test_remove_small_keeps_large_sources_whole(labels, n_pixels):
    kept = remove_small(labels, n_pixels)
    sizes = np.bincount(labels.ravel(), minlength=10)
    large = np.isin(labels, [label for label in range(1, 10) if sizes[label] >= n_pixels])
    np.testing.assert_array_equal(kept > 0, large)
    np.testing.assert_array_equal(kept, relabel(np.where(large, labels, 0)))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros(3), "label map"),
        (np.zeros((1, 3, 3)), "label map"),
        ([[0, -2]], "Got -2"),
        ([[0, 1.5]], "whole numbers"),
    ],
)
def test_bad_label_maps_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        check_label_map(labels)


def test_label_map_of_text_is_refused():
    with pytest.raises(TypeError, match="integers"):
        check_label_map(np.array([["a"]]))


def test_label_map_of_floats_and_nan():
    np.testing.assert_array_equal(check_label_map([[np.nan, 3.0]]), [[0, 3]])


def test_label_map_beyond_int32_is_renumbered():
    checked = check_label_map(np.array([[0, 2**40]]))
    assert checked.dtype == np.int32 and checked.tolist() == [[0, 1]]


@given(LABEL_MAPS)
def test_instances_of_a_label_map_paint_it_again(labels):
    sources = Instances.from_label_map(labels)
    np.testing.assert_array_equal(sources.to_label_map(), relabel(labels))
    np.testing.assert_array_equal(sources.to_mask(), labels > 0)
    np.testing.assert_array_equal(sources.areas, np.bincount(relabel(labels).ravel())[1:])


@given(hnp.arrays(bool, st.tuples(st.integers(0, 4), st.just(6), st.just(7))))
def test_instances_of_masks_keep_the_masks(masks):
    masks = masks[masks.any(axis=(1, 2))]
    sources = Instances.from_masks(masks, shape=(6, 7))
    np.testing.assert_array_equal(sources.masks, masks)
    np.testing.assert_array_equal(sources.to_mask(), masks.any(axis=0))


@given(LABEL_MAPS)
def test_panoptic_round_trip(labels):
    sources = Instances.from_label_map(labels)
    classes = np.arange(len(sources)) % 2 + 1
    sources = Instances.from_label_map(labels, classes=classes)
    assert Instances.from_panoptic(sources.to_panoptic()) == sources


def test_masks_and_panoptic_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"masks\[0\] has shape \(6,\): .* masks\[np.newaxis\]"):
        Instances.from_masks(np.ones((5, 6), dtype=bool))
    for shape in [(5, 6), (3, 5, 6), (1, 2, 5, 6)]:
        with pytest.raises(ValueError, match=r"panoptic must have shape \(2, height, width\)"):
            Instances.from_panoptic(np.ones(shape, dtype=int))


@settings(max_examples=50)
@given(LABEL_MAPS, st.integers(-6, 6), st.integers(-6, 6))
def test_shift_is_padding_and_cutting(labels, dy, dx):
    moved = Instances.from_label_map(labels).shift(dy, dx, shape=(10, 9))
    wide = np.zeros((40, 40), dtype=int)
    wide[15 + dy : 15 + dy + labels.shape[0], 15 + dx : 15 + dx + labels.shape[1]] = labels
    np.testing.assert_array_equal(moved.to_label_map(), relabel(wide[15:25, 15:24]))


def test_overlaps_are_painted_by_score():
    masks = np.zeros((2, 3, 3), dtype=bool)
    masks[0, :2], masks[1, 1:] = True, True
    first_on_top = Instances.from_masks(masks, scores=[0.9, 0.2]).to_label_map()
    np.testing.assert_array_equal(first_on_top, [[1, 1, 1], [1, 1, 1], [2, 2, 2]])
    second_on_top = Instances.from_masks(masks, scores=[0.2, 0.9]).to_label_map()
    np.testing.assert_array_equal(second_on_top, [[1, 1, 1], [2, 2, 2], [2, 2, 2]])


def test_a_hidden_source_has_no_label_and_labels_stay_consecutive():
    masks = np.zeros((3, 2, 2), dtype=bool)
    masks[0, 0, 0], masks[1, 0], masks[2, 1] = True, True, True
    np.testing.assert_array_equal(
        Instances.from_masks(masks, scores=[0.1, 0.5, 0.9]).to_label_map(), [[1, 1], [2, 2]]
    )


def test_classes_reach_the_panoptic_map():
    sources = Instances.from_label_map([[1, 0, 2]], classes=[2, 1])
    np.testing.assert_array_equal(sources.to_panoptic(), [[[2, 0, 1]], [[1, 0, 2]]])
    assert "classes=[1, 2]" in repr(sources)


def test_select_by_mask_and_by_index():
    sources = Instances.from_label_map([[1, 2, 3]], scores=[0.1, 0.2, 0.3], classes=[1, 2, 1])
    assert sources.select(sources.scores > 0.15).scores.tolist() == [0.2, 0.3]
    assert sources.select([2, 0]).scores.tolist() == [0.3, 0.1]
    assert sources != sources.select([0]) and sources != "something else"


@pytest.mark.parametrize(
    ("boxes", "crops", "options", "words"),
    [
        ([[0, 0, 2, 9]], [np.ones((2, 9))], {}, "not inside the image"),
        ([[1, 1, 1, 2]], [np.ones((0, 1))], {}, "half-open"),
        ([[0, 0, 2, 2]], [np.ones((2, 3))], {}, r"crops\[0\] has shape \(2, 3\)"),
        ([[0, 0, 2, 2]], [np.zeros((2, 2))], {}, "no pixel"),
        ([[0, 0, 1, 1]], [], {}, "crops has 0 entries for 1 boxes"),
        ([[0, 0, 1, 1]], [np.ones((1, 1))], {"scores": [1, 2]}, "scores has 2"),
        ([[0, 0, 1, 1]], [np.ones((1, 1))], {"classes": []}, "classes has 0"),
    ],
)
def test_bad_instances_are_refused(boxes, crops, options, words):
    with pytest.raises(ValueError, match=words):
        Instances((4, 5), boxes, crops, **options)


def test_empty_masks_need_a_shape():
    with pytest.raises(ValueError, match="shape="):
        Instances.from_masks([])
    with pytest.raises(ValueError, match=r"masks\[0\] has no pixel"):
        Instances.from_masks(np.zeros((1, 2, 2)))
    empty = Instances.from_masks([], shape=(2, 3))
    assert (
        len(empty) == 0 and not empty.to_label_map().any() and empty.to_label_map().shape == (2, 3)
    )


def test_truth_in_every_form():
    mask = np.array([[True, False, True]])
    np.testing.assert_array_equal(as_label_map(mask), [[1, 0, 2]])
    np.testing.assert_array_equal(as_binary_mask(as_label_map(mask)), mask)
    np.testing.assert_array_equal(as_binary_mask(Instances.from_label_map([[3, 0, 3]])), mask)
    assert (
        is_binary([mask])
        and is_binary([np.array([[0, 1]])])
        and not is_binary([np.array([[0, 2]]), mask])
    )
    for function in (as_label_map, as_binary_mask):
        with pytest.raises(ValueError, match="shape"):
            function(np.ones((1, 2, 3), dtype=bool))
