import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

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
    assert len({image.tobytes() for image in moved}) == 8


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
    moved = as_sources[0]
    assert len(moved) == as_map[0].max()
    np.testing.assert_array_equal(moved.to_mask(), as_map[0] > 0)
    if len(moved) == 2:
        assert moved.classes.tolist() == [1, 2]


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
    assert all(np.isnan(image).sum() == 5 * 48 for image in moved)
    empty, _ = augment(np.full((1, 8, 8), np.nan), np.ones((1, 8, 8), dtype=int), random_state=0)
    assert np.isnan(empty).all()


def test_a_seed_repeats_itself():
    first, second = (augment(X, Y, 2, random_state=5) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def with_rms(n_bands=1, seed=0, shape=(48, 48)):
    """Images with their sky subtracted, and an RMS map that varies and has pixels without data."""
    rng = np.random.default_rng(seed)
    rms = rng.uniform(1, 4, size=shape)
    rms[:3, :5] = [np.nan, 0, -1, np.nan, 0]
    science = rng.normal(0, 3, size=(n_bands, *shape))
    return np.concatenate([science, rms[None]])[None]


NO_SOURCE = np.zeros((1, 48, 48), dtype=int)


@given(seed=st.integers(0, 10_000), n_bands=st.integers(1, 3), explicit=st.booleans())
def test_the_rms_stays_positive_wherever_it_was(seed, n_bands, explicit):
    X_rms = with_rms(n_bands)
    options = {"rms_band": -1}
    if not explicit:  # "auto" finds an RMS map that is never negative
        X_rms[:, -1] = np.maximum(X_rms[:, -1], 0)
        options = {}
    moved, _ = augment(X_rms, NO_SOURCE, 2, random_state=seed, **options)
    assert not (moved[:, -1] <= 0).any()
    still, _ = augment(
        X_rms, NO_SOURCE, kinds=("brightness", "noise"), random_state=seed, **options
    )
    np.testing.assert_array_equal(still[0, -1] > 0, X_rms[0, -1] > 0)


@given(seed=st.integers(0, 10_000), n_bands=st.integers(1, 3))
def test_added_noise_shows_in_the_rms(seed, n_bands):
    X_rms = with_rms(n_bands, shape=(256, 256))
    moved, _ = augment(
        X_rms,
        np.zeros((1, 256, 256), dtype=int),
        kinds="noise",
        rms_band=-1,
        random_state=seed,
    )
    added = np.mean((moved - X_rms)[0, :-1] ** 2)
    good = X_rms[0, -1] > 0
    gained = moved[0, -1][good] ** 2 - X_rms[0, -1][good] ** 2
    np.testing.assert_allclose(gained, gained[0], rtol=1e-6, atol=1e-9)
    assert gained[0] == pytest.approx(added, rel=0.03) and 0 <= added <= 1.05


@given(seed=st.integers(0, 10_000), rms_band=st.sampled_from([0, 1, -1]))
def test_brightness_gives_each_band_a_gain_and_the_rms_their_mean(seed, rms_band):
    X_rms = np.roll(with_rms(3), 1 + rms_band, axis=1)
    moved, _ = augment(X_rms, NO_SOURCE, kinds="brightness", rms_band=rms_band, random_state=seed)
    science, after = (np.delete(image[0], rms_band, axis=0) for image in (X_rms, moved))
    gains = after.std(axis=(1, 2)) / science.std(axis=(1, 2))
    assert len(np.unique(gains.round(6))) == 3 and (abs(gains - 1) < 0.2 + 1e-9).all()
    rms, rms_after = X_rms[0, rms_band], moved[0, rms_band]
    ratio = (rms_after / rms)[rms > 0]
    np.testing.assert_allclose(ratio, np.sqrt(np.mean(gains**2)))


def test_colours_change():
    """Three equal bands are grey before, and not after."""
    grey = np.repeat(X[:, None], 3, axis=1)
    moved, _ = augment(grey, Y, kinds="brightness", random_state=0)
    peaks = moved.max(axis=(2, 3)) - np.median(moved, axis=(2, 3))
    assert (np.ptp(peaks, axis=1) > 0.05 * peaks.mean(axis=1)).all()
    noisy, _ = augment(grey, Y, kinds="noise", random_state=0)
    assert abs(np.corrcoef((noisy - grey)[0].reshape(3, -1)) - np.eye(3)).max() < 0.1


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-9, 0.5, 1e4]),
    zero=st.sampled_from([-3, 8]),
)
@pytest.mark.parametrize("kinds", ["brightness", "noise"])
def test_the_unit_and_the_zero_level_of_an_image_do_not_matter(kinds, seed, scale, zero):
    """Counts or nanojansky, sky or none: the same change, in that unit, about that level."""
    images = with_rms(2)[:, :2].astype(np.float64)
    options = {"kinds": kinds, "rms_band": None, "random_state": seed}
    plain, _ = augment(images, NO_SOURCE, **options)
    other, _ = augment(scale * (images + zero), NO_SOURCE, **options)
    np.testing.assert_allclose(other / scale - zero, plain, atol=1e-6)


def test_brightness_and_noise_keep_to_the_promised_limits():
    """Gain 0.8 to 1.2, level within a fifth of the standard deviation, noise up to a third."""
    images = 7 * with_rms(2, shape=(64, 64))[:, :2] + 100
    spread, sky = images.std(axis=(0, 2, 3)), np.median(images, axis=(0, 2, 3))
    nothing = np.zeros((1, 64, 64), dtype=int)
    moved, _ = augment(images, nothing, 200, kinds="brightness", rms_band=None, random_state=0)
    gains = moved.std(axis=(2, 3)) / spread
    levels = (np.median(moved, axis=(2, 3)) - sky) / spread
    for values, low, high in ((gains, 0.8, 1.2), (levels, -0.2, 0.2)):
        assert low <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high + 1e-9
    assert abs(np.corrcoef(gains.T)[0, 1]) < 0.2 and abs(np.corrcoef(levels.T)[0, 1]) < 0.2
    noisy, _ = augment(images, nothing, 200, kinds="noise", rms_band=None, random_state=0)
    added = (noisy - images).std(axis=(2, 3)) / spread
    assert added.min() < 0.01 and 0.31 < added.max() < 0.36


def test_the_rms_moves_with_the_image_and_no_data_spreads_no_zeros():
    X_rms = with_rms()
    X_rms[0, -1] = 2.0
    X_rms[0, -1, 20:24, 20:24] = 0
    moved, _ = augment(X_rms, NO_SOURCE, 4, kinds=("rotate", "affine"), rms_band=1, random_state=0)
    for rms in moved[:, 1]:
        hole = ndimage.binary_fill_holes(np.isfinite(rms)) & np.isnan(rms)
        assert hole.sum() >= 8
        np.testing.assert_allclose(rms[np.isfinite(rms)], 2.0)


def test_auto_takes_no_positive_images_for_an_rms_map():
    """With the sky not subtracted no band is negative: nothing tells which is the RMS map."""
    pair = np.abs(with_rms()) + 100
    automatic, _ = augment(pair, NO_SOURCE, kinds="noise", random_state=0)
    without, _ = augment(pair, NO_SOURCE, kinds="noise", rms_band=None, random_state=0)
    np.testing.assert_array_equal(automatic, without)
    assert np.nanstd(automatic[0, 1] - pair[0, 1]) > 0.1


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"rms_band must be an int, 'auto' or None. Got 'last'"):
        augment(X, Y, rms_band="last")
    with pytest.raises(ValueError, match=r"rms_band=-1 asks for an RMS map.*1 band"):
        augment(X, Y, rms_band=-1)
    with pytest.raises(ValueError, match=f"Unknown augmentation 'blur'.*{AUGMENTATIONS[0]}"):
        augment(X, Y, kinds=["blur"])
    with pytest.raises(ValueError, match="n must be at least 1"):
        augment(X, Y, 0)
