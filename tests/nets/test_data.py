import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galaxysegment.nets.common._data import (
    PatchDataset,
    PixelDataset,
    collate_padded,
    split_indices,
)


def images_and_masks(*shapes):
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(2, *shape)).astype(np.float32) for shape in shapes]
    return images, [image[0] > 0 for image in images]


@given(size=st.integers(1, 200), patch=st.integers(16, 64))
def test_patches_cover_every_pixel(size, patch):
    images = [np.zeros((1, size, size), dtype=np.float32)]
    dataset = PatchDataset(images, [images[0][0] > 0], patch_size=patch)
    seen = np.zeros((size, size), dtype=int)
    for _, rows, columns in dataset.windows:
        seen[slice(*rows), slice(*columns)] += 1
    assert seen.min() >= 1
    assert len(dataset) == (-(-size // patch)) ** 2
    assert all(image.shape[1] <= patch and image.shape[2] <= patch for image, _ in dataset)


def test_training_patches_move_and_keep_labels_with_pixels():
    images, masks = images_and_masks((100, 80))
    dataset = PatchDataset(images, masks, patch_size=32, training=True)
    torch.manual_seed(0)
    first, second = dataset[0], dataset[0]
    assert not np.array_equal(first[0], second[0])
    for image, mask in (first, second):
        assert image.shape == (2, 32, 32)
        np.testing.assert_array_equal(image[0] > 0, mask)


def test_the_seed_of_torch_decides_the_patches():
    images, masks = images_and_masks((100, 80))
    dataset = PatchDataset(images, masks, patch_size=32, training=True)
    torch.manual_seed(3)
    first = dataset[4]
    torch.manual_seed(3)
    np.testing.assert_array_equal(dataset[4][0], first[0])


def test_collate_pads_and_weighs():
    images, masks = images_and_masks((5, 7), (8, 3))
    images[0][:, 2, 3] = np.nan
    images[1][0, 1, 1] = np.nan  # the other band has data: the pixel counts
    x, y = collate_padded(list(PixelDataset(images, masks)))
    assert x.shape == (2, 2, 8, 7) and y.shape == (2, 2, 8, 7)
    assert torch.isfinite(x).all() and x[0, 0, 2, 3] == 0 and x[1, 0, 1, 1] == 0
    assert y[0, 1].sum() == 5 * 7 - 1 and y[1, 1].sum() == 8 * 3
    np.testing.assert_array_equal(y[1, 0, :8, :3].numpy(), masks[1])


@given(n=st.integers(2, 50), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_split_is_a_partition_with_both_sides(n, fraction, seed):
    learn, hold = split_indices(n, fraction, np.random.default_rng(seed))
    assert len(learn) >= 1 and len(hold) >= 1
    assert sorted([*learn, *hold]) == list(range(n))


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.5), (5, 0.0)])
def test_split_without_validation(n, fraction):
    learn, hold = split_indices(n, fraction, np.random.default_rng(0))
    assert len(learn) == n and len(hold) == 0
