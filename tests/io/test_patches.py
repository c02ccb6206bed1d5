import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.io import Field

IMAGE = np.arange(20 * 30, dtype=np.float32).reshape(20, 30)
LABELS = np.zeros((20, 30), np.int32)
LABELS[0, 0], LABELS[1, 12], LABELS[3, 14], LABELS[15, 3] = 4, 7, 9, 2


def test_regular_grid():
    X, y = Field(IMAGE, labels=LABELS).patches(size=10)
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((6, 10, 10), np.float32, (6, 10, 10), np.int32)
    np.testing.assert_array_equal(X[4], IMAGE[10:20, 10:20])
    assert [sorted(set(truth.ravel())) for truth in y] == [[0, 1], [0, 1, 2], [0], [0, 1], [0], [0]]
    np.testing.assert_array_equal(y[1] > 0, LABELS[:10, 10:20] > 0)


def test_only_full_patches():
    assert len(Field(IMAGE).patches(size=12)[0]) == 2
    assert len(Field(IMAGE).patches(size=20)[0]) == 1
    assert Field(IMAGE).patches(size=20)[1] is None


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 20), step=st.integers(1, 25))
def test_every_patch_of_the_grid(size, step):
    X, _ = Field(IMAGE).patches(size=size, step=step)
    corners = [(y, x) for y in range(0, 21 - size, step) for x in range(0, 31 - size, step)]
    assert len(X) == len(corners)
    for patch, (y, x) in zip(X, corners, strict=True):
        np.testing.assert_array_equal(patch, IMAGE[y : y + size, x : x + size])


def test_bands_and_rms():
    rms = np.full(IMAGE.shape, 3, np.float32)
    X, _ = Field(IMAGE, rms=rms).patches(size=10, rms=True)
    assert X.shape == (6, 2, 10, 10)
    assert (X[:, -1] == 3).all()
    X, _ = Field(np.stack([IMAGE] * 3), rms=rms).patches(size=10, rms=True)
    assert X.shape == (6, 4, 10, 10)
    assert Field(np.stack([IMAGE] * 3), rms=rms).patches(size=10)[0].shape == (6, 3, 10, 10)
    assert X.dtype == np.float32


def test_rms_of_several_bands_is_averaged_in_quadrature():
    rms = np.stack([np.full(IMAGE.shape, 3.0), np.full(IMAGE.shape, 4.0)])
    rms[0, 0, 0] = np.nan  # only one band has data
    rms[:, 0, 1] = np.nan
    X, _ = Field(np.stack([IMAGE] * 2), rms=rms).patches(size=20, rms=True)
    assert X.shape == (1, 3, 20, 20)
    assert X[0, -1, 5, 5] == pytest.approx(np.sqrt((9 + 16) / 2))
    assert X[0, -1, 0, 0] == 4
    assert np.isnan(X[0, -1, 0, 1])


def test_min_sources():
    field = Field(IMAGE, labels=LABELS)
    X, y = field.patches(size=10, min_sources=1)
    assert len(X) == len(y) == 3
    X, y = field.patches(size=10, min_sources=2)
    np.testing.assert_array_equal(X, IMAGE[None, :10, 10:20])
    with pytest.raises(ValueError, match="min_sources=3 leaves no patch: the fullest has 2"):
        field.patches(size=10, min_sources=3)


def test_instances_are_painted():
    X, y = Field(IMAGE, instances=Instances.from_label_map(LABELS)).patches(size=10, min_sources=2)
    assert len(X) == 1
    assert y.max() == 2


def test_patches_are_copies():
    image = IMAGE.copy()
    X, _ = Field(image).patches(size=20)
    X[:] = 0
    np.testing.assert_array_equal(image, IMAGE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 21}, r"size=21 is larger than the field, of shape \(20, 30\): use size <= 20"),
        ({}, r"size=256 is larger than the field"),
        ({"size": 0}, "size must be a whole number, at least 1. Got 0"),
        ({"size": 10.0}, "size must be a whole number"),
        ({"size": 10, "step": 0}, "step must be a whole number, at least 1. Got 0"),
        ({"size": 10, "min_sources": -1}, "min_sources must be a whole number, at least 0"),
        ({"size": 10, "min_sources": 1}, "min_sources=1 needs the truth, but the field has none"),
        ({"size": 10, "rms": True}, "rms=True needs an RMS map, but the field has none"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Field(IMAGE).patches(**options)
