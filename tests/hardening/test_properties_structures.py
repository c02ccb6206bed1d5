"""Properties of label maps, masks and instances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from properties import covers, few, instances, label_maps, shapes

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


def same_sources(first, second):
    """Whether two label maps divide the pixels alike, whatever the numbers."""
    both = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return len(np.unique(both[0])) == len(np.unique(both[1])) == both.shape[1]


@covers("structures.relabel")
@given(label_maps(highest=40))
@few
def test_relabel_closes_gaps_and_nothing_else(labels):
    once = relabel(labels)
    assert once.dtype == np.int32 and same_sources(once, labels)
    assert np.unique(once[once > 0]).tolist() == list(range(1, once.max() + 1))
    assert (np.diff([labels[once == k][0] for k in range(1, once.max() + 1)]) > 0).all()
    np.testing.assert_array_equal(relabel(once), once)


@covers("structures.check_label_map", "structures.as_label_map", "structures.as_binary_mask")
@given(label_maps(), st.sampled_from(["i1", ">i2", "i4", ">i8", "u4", "f4", ">f8"]))
@few
def test_label_maps_of_any_type_are_one(labels, dtype):
    for check in (check_label_map, as_label_map):
        checked = check(labels.astype(dtype))
        assert checked.dtype == np.int32
        np.testing.assert_array_equal(checked, labels)
    np.testing.assert_array_equal(as_binary_mask(labels.astype(dtype)), labels > 0)


@covers("structures.check_label_map")
@given(hnp.arrays(np.float64, shapes(5), elements=st.floats(allow_nan=True, allow_infinity=True)))
@few
def test_numbers_that_are_no_labels_are_refused(values):
    known = values[~np.isnan(values)]
    if ((known >= 0) & (known == np.rint(known)) & np.isfinite(known) & (known < 2**31)).all():
        np.testing.assert_array_equal(check_label_map(values), np.nan_to_num(values))
    elif not ((known >= 0) & (known == np.rint(known))).all():
        with pytest.raises(ValueError, match="labels must"):
            check_label_map(values)


@covers("structures.label_components")
@given(hnp.arrays(bool, shapes()), st.sampled_from([4, 8]))
@few
def test_components_touch_within_and_not_without(mask, connectivity):
    labels = label_components(mask, connectivity)
    np.testing.assert_array_equal(labels > 0, mask)
    assert same_sources(label_components(mask[::-1], connectivity)[::-1], labels)
    for step in ((0, 1), (1, 0)):
        here = labels[: labels.shape[0] - step[0], : labels.shape[1] - step[1]]
        there = labels[step[0] :, step[1] :]
        assert (here == there)[(here > 0) & (there > 0)].all()
    assert label_components(mask, 8).max(initial=0) <= label_components(mask, 4).max(initial=0)


@covers("structures.remove_small")
@given(label_maps(), st.integers(1, 30))
@few
def test_small_sources_go_and_others_stay(labels, n_pixels):
    left = remove_small(labels, n_pixels)
    sizes = np.bincount(labels.ravel())
    np.testing.assert_array_equal(left > 0, (labels > 0) & (sizes[labels] >= n_pixels))
    assert same_sources(left, np.where(left > 0, labels, 0))


@covers("structures.is_binary")
@given(st.lists(label_maps(), max_size=3))
@few
def test_binary_means_nothing_above_one(maps):
    assert is_binary(maps) == all(label_map.max() <= 1 for label_map in maps)
    assert is_binary([label_map > 0 for label_map in maps])


@covers("structures.Instances")
@given(label_maps())
@few
def test_instances_of_a_label_map_are_the_label_map(labels):
    sources = Instances.from_label_map(labels)
    np.testing.assert_array_equal(sources.to_label_map(), relabel(labels))
    np.testing.assert_array_equal(
        sources.areas, np.bincount(labels.ravel())[np.unique(labels[labels > 0])]
    )
    assert Instances.from_panoptic(sources.to_panoptic()).areas.tolist() == sources.areas.tolist()


@covers("structures.Instances", "structures.as_label_map", "structures.as_binary_mask")
@given(instances(), st.integers(-4, 4), st.integers(-4, 4))
@few
def test_instances_keep_masks_that_overlap(sources, dy, dx):
    again = Instances.from_masks(
        sources.masks, sources.scores, sources.classes, shape=sources.shape
    )
    assert again == sources
    assert sources.select(np.arange(len(sources))) == sources and len(sources.select([])) == 0
    np.testing.assert_array_equal(
        as_binary_mask(sources), sources.masks.any(axis=0) if len(sources) else False
    )
    np.testing.assert_array_equal(as_label_map(sources) > 0, as_binary_mask(sources))
    height, width = sources.shape
    far = sources.shift(4 + dy, 4 + dx, (height + 8, width + 8))
    assert far.areas.tolist() == sources.areas.tolist()
    moved = sources.shift(dy, dx)
    assert len(moved) <= len(sources) and moved.areas.sum() <= sources.areas.sum()


@covers("catalog.to_regions", "catalog.from_regions")
@given(instances())
@few
def test_regions_come_back_as_sources(sources):
    pytest.importorskip("regions", reason="the package regions is not installed")
    from galaxysegment.catalog import from_regions, to_regions

    back = from_regions(to_regions(sources), sources.shape)
    assert len(back) == len(sources)
    for mask, filled in zip(sources.masks, back.masks, strict=True):
        assert not (mask & ~filled).any()  # holes are filled, nothing is lost
