import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.preprocessing import augment
from galaxysegment.preprocessing._augment import AUGMENTATIONS
from galaxysegment.testing import make_images

X, Y = make_images(3, shape=(48, 48))


def disks(shape=(64, 64)):
    """Label map of two disks of different sizes, and an image that holds the label itself."""
    rows, columns = np.indices(shape)
    labels = np.zeros(shape, dtype=np.int32)
    labels[(rows - 25) ** 2 + (columns - 30) ** 2 < 64] = 1
    labels[(rows - 40) ** 2 + (columns - 44) ** 2 < 25] = 2
    return labels


@given(seed=st.integers(0, 10_000))
def test_flips_move_labels_with_pixels_exactly(seed):
    images = np.stack([Y, Y + 0.5], axis=1)
    moved, labels = augment(images, Y, 2, kinds="flip", random_state=seed)
    np.testing.assert_array_equal(moved[:, 0] > 0, labels > 0)
    np.testing.assert_array_equal(moved[:, 1], moved[:, 0] + 0.5)
    np.testing.assert_array_equal(
        np.sort(moved[:, 0], axis=None), np.sort(np.repeat(Y, 2, axis=0), axis=None)
    )


def test_flips_reach_all_eight_symmetries():
    image = np.arange(16.0).reshape(1, 4, 4)
    moved, _ = augment(image, np.ones((1, 4, 4), dtype=int), 200, kinds="flip", random_state=0)
    assert len({one.tobytes() for one in moved}) == 8


def test_oblong_images_keep_their_shape():
    moved, labels = augment(X[:, :30], Y[:, :30], 4, random_state=0)
    assert moved.shape == (12, 30, 48) and labels.shape == moved.shape
    assert moved.dtype == X.dtype and labels.dtype == np.int32


@given(
    seed=st.integers(0, 10_000),
    kinds=st.sampled_from([("rotate",), ("affine",), ("rotate", "affine")]),
)
def test_resampling_moves_labels_with_pixels(seed, kinds):
    labels = disks()
    moved, new = augment(
        (labels > 0).astype(float)[None], labels[None], kinds=kinds, random_state=seed
    )
    inside = np.nan_to_num(moved[0]) > 0.5
    disagree = np.count_nonzero(inside != (new[0] > 0))
    assert disagree <= 0.12 * np.count_nonzero(labels)
    assert new.max() >= 1


@given(seed=st.integers(0, 10_000))
def test_instances_move_like_their_label_map(seed):
    labels = disks()
    sources = Instances.from_label_map(labels, classes=[1, 2])
    _, as_map = augment(labels[None].astype(float), labels[None], random_state=seed)
    _, as_sources = augment(labels[None].astype(float), [sources], random_state=seed)
    found = as_sources[0]
    assert len(found) == as_map[0].max()
    np.testing.assert_array_equal(found.to_mask(), as_map[0] > 0)
    if len(found) == 2:
        assert found.classes.tolist() == [1, 2]


def test_a_rotation_turns_what_leaves_the_frame_into_no_data():
    moved, _ = augment(X, Y, kinds="rotate", random_state=1)
    assert np.isnan(moved).any() and not np.isnan(moved[:, 20:28, 20:28]).any()


def test_brightness_and_noise_leave_labels_and_places():
    moved, labels = augment(X, Y, kinds=("brightness", "noise"), random_state=0)
    np.testing.assert_array_equal(labels, Y)
    for before, after in zip(X, moved, strict=True):
        assert not np.array_equal(before, after)
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_nan_stays_and_containers_are_kept():
    holed = X.copy()
    holed[:, :5] = np.nan
    moved, labels = augment(
        list(holed), list(Y), 2, kinds=("flip", "brightness", "noise"), random_state=0
    )
    assert isinstance(moved, list) and isinstance(labels, list) and len(moved) == 6
    assert all(np.isnan(one).sum() == 5 * 48 for one in moved)
    empty, _ = augment(np.full((1, 8, 8), np.nan), np.ones((1, 8, 8), dtype=int), random_state=0)
    assert np.isnan(empty).all()


def test_a_seed_repeats_itself():
    first, second = (augment(X, Y, 2, random_state=5) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_bad_arguments():
    with pytest.raises(ValueError, match=f"Unknown augmentation 'blur'.*{AUGMENTATIONS[0]}"):
        augment(X, Y, kinds=["blur"])
    with pytest.raises(ValueError, match="n must be at least 1"):
        augment(X, Y, 0)
