"""Targets of set prediction, and the way from candidates to instances."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.nets.queries._data import (
    SegmentCollate,
    centre_map,
    choose_points,
    decode_target,
    encode_target,
)
from galaxysegment.nets.queries._prediction import (
    Candidates,
    _sureness,
    cut_windows,
    join_windows,
    to_instances,
)

LABELS = np.zeros((12, 16), dtype=np.int32)
LABELS[2:5, 3:7], LABELS[8:11, 10:14], LABELS[11, 0] = 1, 2, 3


def test_classes_travel_with_the_labels():
    codes = encode_target(LABELS, np.array([1, 2, 1]))
    labels, classes, small = decode_target(codes, min_pixels=3)
    np.testing.assert_array_equal(labels, np.where(LABELS == 3, 0, LABELS))
    assert classes.tolist() == [1, 2] and np.argwhere(small).tolist() == [[11, 0]]
    cropped, classes, _ = decode_target(codes[6:], min_pixels=1)
    assert cropped.max() == 2 and classes.tolist() == [2, 1]


def test_batches_of_different_sizes():
    image = np.ones((1, 12, 16), dtype=np.float32)
    image[0, 0] = np.nan
    codes = encode_target(LABELS, np.array([1, 2, 1]))
    batch, _ = SegmentCollate(n_points=50)([(image, codes), (image[..., :9], codes[:, :9])])
    assert batch.images.shape == (2, 1, 12, 16) and len(batch) == 2
    targets = batch.targets
    assert [values.tolist() for values in targets["classes"]] == [[1, 2, 0], [1, 0]]
    assert targets["weight"][0, 0].sum() == 0 and targets["weight"][0, 11, 0] == 0
    np.testing.assert_allclose(targets["boxes"][0][0], [5 / 16, 3.5 / 12, 4 / 16, 3 / 12])
    np.testing.assert_allclose(targets["boxes"][1][-1], [0.5, 0.5, 1, 1])
    for index, labels in enumerate(targets["labels"]):
        y, x = targets["points"][index].T
        near = labels[y, x] > 0
        assert near.any() and not near.all()


def test_an_image_without_sources_has_the_sky():
    batch, _ = SegmentCollate(n_points=20)(
        [(np.zeros((2, 8, 8), np.float32), np.zeros((8, 8), np.int32))]
    )
    assert batch.targets["classes"][0].tolist() == [0] and batch.targets["heat"].max() == 0


def test_every_pixel_near_a_source_is_looked_at_where_there_is_room():
    labels = np.zeros((64, 64), dtype=int)
    labels[30:34, 30:34] = 1
    chosen = choose_points(labels, np.ones_like(labels, dtype=bool), 400)
    assert {(y, x) for y, x in np.argwhere(labels)} <= {tuple(pixel) for pixel in chosen.tolist()}
    assert len(chosen) == 400
    none = choose_points(labels, np.zeros_like(labels, dtype=bool), 10)
    assert none.shape == (10, 2)


def test_centres_lie_on_their_sources():
    ring = np.zeros((20, 20), dtype=int)
    y, x = np.indices(ring.shape)
    distance = np.hypot(y - 10, x - 10)
    ring[(distance < 8) & (distance > 5)] = 1
    heat = centre_map(ring, [(slice(0, 20), slice(0, 20))])
    assert (heat == 1).sum() == 1 and ring[heat == 1] == 1


def candidates(masks, scores, sky=None):
    masks = np.asarray(masks, dtype=np.float32)
    sky = np.full(masks.shape[1:], 0.1, np.float32) if sky is None else sky
    return Candidates(masks.shape[1:], np.array(scores), np.ones(len(masks), int), masks, sky, 3)


def test_pixels_go_to_one_source_and_the_sky_takes_its_own():
    masks = np.zeros((2, 4, 6))
    masks[0, :, :3], masks[1, :, 2:5] = 0.9, 0.95
    predicted = to_instances(candidates(masks, [0.8, 0.6]), 0.5, 1, np.array([0, 1]))
    assert predicted.areas.tolist() == [12, 8] and predicted.scores.tolist() == [0.8, 0.6]
    assert len(to_instances(candidates(masks, [0.8, 0.6]), 0.7, 1, np.array([0, 1]))) == 1
    assert len(to_instances(candidates(masks, [0.8, 0.6]), 0.5, 10, np.array([0, 1]))) == 1
    sky = np.ones((4, 6), np.float32)
    assert len(to_instances(candidates(masks, [0.8, 0.6], sky), 0.5, 1, np.array([0, 1]))) == 0
    assert candidates(masks, [0.8, 0.6]).is_full(0.5) is False
    assert candidates([masks[0]] * 3, [0.9] * 3).is_full(0.5)


def test_the_sky_has_a_say_in_scores():
    masks = torch.full((3, 4, 4), 0.1)
    masks[0], masks[1, :2], masks[2, 2:] = 0.7, 0.9, 0.9
    sky = torch.full((4, 4), 0.05)
    sky[2:] = 0.8
    hesitant, denied, granted = _sureness(masks, sky).tolist()
    assert denied == pytest.approx((0.9 * 0.95) ** 0.5)
    assert granted == pytest.approx((0.9 * 0.2) ** 0.5)
    assert hesitant == pytest.approx((0.7 * (1 - sky.mean().item())) ** 0.5)
    assert _sureness(torch.zeros(1, 4, 4), sky).tolist() == [0]


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([None, 32, 64, 128]))
def test_cores_of_windows_cover_every_place_once(height, width, size):
    windows = cut_windows((height, width), size)
    for y, x in ((0, 0), (height - 1, width - 1), (height / 2, width / 3)):
        owners = [w for w in windows if w.core[0] <= y < w.core[1] and w.core[2] <= x < w.core[3]]
        assert len(owners) == 1
        assert (
            owners[0].rows.start <= y < owners[0].rows.stop
            and owners[0].columns.start <= x < owners[0].columns.stop
        )


def test_windows_are_joined_without_doubles():
    labels = np.zeros((64, 96), dtype=np.int32)
    for number, (y, x) in enumerate([(10, 10), (32, 48), (30, 31), (60, 90), (16, 64)], start=1):
        labels[y - 3 : y + 4, x - 3 : x + 4] = number
    windows = cut_windows(labels.shape, 32)
    collected = []
    for window in windows:
        part = labels[window.rows, window.columns]
        n_found = len(np.unique(part[part > 0]))
        collected.append(
            Instances.from_label_map(part, np.linspace(0.5, 0.9, n_found), np.ones(n_found, int))
        )
    joined = join_windows(windows, collected, labels.shape, 4)
    assert len(joined) == 5
    np.testing.assert_array_equal(joined.to_label_map() > 0, labels > 0)
