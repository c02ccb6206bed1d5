"""Training sets with only patches in memory: results as of arrays, and bounded memory."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from galaxysegment import DETRSegmenter, Instances, MaskRCNNSegmenter
from galaxysegment.io import Field, read_field
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.segmenters._scaling import Scaler
from galaxysegment.segmenters._training_set import FieldStream, TruthStream, tuning_windows
from galaxysegment.testing import make_images

X, Y = make_images(6)
TINY = {"base_width": 4, "depth": 3, "max_epochs": 2, "random_state": 0}


def losses(segmenter):
    return [row["train_loss"] for row in segmenter.history_]


@pytest.mark.parametrize(("scaling", "rms_band"), [("asinh", None), ("noise", None), ("noise", -1)])
def test_windows_are_scaled_as_the_whole_is(scaling, rms_band):
    image = make_images(1, shape=(150, 200), n_bands=3)[0][0]
    image[:, 70:, 90:] = np.nan
    scaler = Scaler.learn(scaling, [image], 0, rms_band)
    stream, expected = scaler.stream(image), scaler.scale_image(image)
    assert stream.shape == expected.shape
    for rows, columns in [(slice(0, 150), slice(0, 200)), (slice(37, 101), slice(80, 200))]:
        np.testing.assert_array_equal(stream.window(rows, columns), expected[:, rows, columns])


@pytest.mark.parametrize("dtype", [">f4", np.int16, np.float64])
def test_memory_maps_train_as_arrays_do(dtype, tmp_path):
    images = (X * 10).astype(dtype)
    for name, array in (("images.npy", images), ("labels.npy", Y)):
        np.save(tmp_path / name, array)
    mapped, truth = (
        np.load(tmp_path / name, mmap_mode="r") for name in ("images.npy", "labels.npy")
    )
    assert losses(UNetSegmenter(**TINY).fit(mapped, truth)) == losses(
        UNetSegmenter(**TINY).fit(list(images), list(Y))
    )


@pytest.mark.parametrize(
    ("segmenter", "rms_band"),
    [
        (UNetSegmenter(**TINY, scaling="noise", rms_band=-1, patch_size=32), -1),
        (UNetSegmenter(**TINY), None),
        (
            MaskRCNNSegmenter(
                backbone="resnet10", channels=8, n_proposals=10, max_epochs=1, random_state=0
            ),
            None,
        ),
        (
            DETRSegmenter(
                base_width=4, depth=2, d_model=32, n_queries=8, max_epochs=1, random_state=0
            ),
            None,
        ),
    ],
    ids=["U-Net with RMS", "U-Net", "Mask R-CNN", "Mask2Former"],
)
def test_fields_on_disk_train_as_their_arrays_do(segmenter, rms_band, tmp_path):
    bands, labels = make_images(4, shape=(80, 64), n_bands=2)
    fields = []
    for index, (image, truth) in enumerate(zip(bands, labels, strict=True)):
        path = tmp_path / f"{index}.fits"
        Field(image[0], rms=image[1], labels=truth).write(path)
        fields.append(read_field(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        arrays = segmenter.fit(bands if rms_band else bands[:, 0], labels)
        expected = losses(arrays)
        assert losses(segmenter.fit(fields)) == expected
    assert "image" not in fields[0]._pixels  # nothing but windows was read


def test_fields_of_different_bands_are_refused():
    fields = [Field(X[0], labels=Y[0]), Field(np.stack([X[1], X[1]]), labels=Y[1])]
    with pytest.raises(ValueError, match=r"fields of X have \[1, 2\] bands"):
        UNetSegmenter(**TINY).fit(fields)
    with pytest.raises(ValueError, match="requires y"):
        UNetSegmenter(**TINY).fit([Field(X[0])])
    with pytest.raises(ValueError, match=r"have \[1\] bands.*needs 2"):
        UNetSegmenter(**TINY, warm_start=True).fit(np.stack([X, X], axis=1), Y).fit(
            [Field(X[0], labels=Y[0])]
        )


def test_large_images_are_tuned_on_in_windows():
    image = FieldStream(Field(np.zeros((300, 500), np.float32)), with_rms=False)
    windows = tuning_windows([image], 200, 10**9)
    seen = np.zeros((300, 500), dtype=int)
    for _, rows, columns in windows:
        seen[rows, columns] += 1
    assert (seen == 1).all() and len(windows) == 6
    assert len(tuning_windows([image], 200, 80_000)) == 3
    assert tuning_windows([image], 2048, 10**9) == [(0, slice(0, 300), slice(0, 500))]


def test_the_threshold_is_the_same_in_windows(monkeypatch):
    from galaxysegment.segmenters import _unet

    whole = UNetSegmenter(**TINY, n_views=1).fit(X, Y)
    monkeypatch.setattr(_unet, "_TUNING_CHUNK", 1)
    assert UNetSegmenter(**TINY, n_views=1).fit(X, Y).threshold_ == whole.threshold_


# ---- pixels that do not count ----


def wrong_corner():
    wrong = Y.copy()
    wrong[:, 20:, :10] = 7
    return wrong


def test_pixels_of_label_minus_one_do_not_count():
    ignored, other = Y.copy(), wrong_corner()
    ignored[:, 20:, :10] = -1
    unet = UNetSegmenter(**TINY, augment=None).fit(X, ignored)
    masked = X.copy()
    assert np.isfinite(losses(unet)).all()
    assert losses(unet) != losses(UNetSegmenter(**TINY, augment=None).fit(X, other))
    # whatever the truth says there, it changes nothing
    ignored_mask = np.where(ignored < 0, -1, ignored > 0)
    assert losses(UNetSegmenter(**TINY, augment=None).fit(masked, ignored_mask)) == losses(unet)
    with pytest.raises(ValueError, match="Got -2"):
        UNetSegmenter(**TINY).fit(X, np.where(ignored < 0, -2, ignored))


def test_ignored_pixels_have_no_gradient():
    """With nothing but one ignored and one learned half, the ignored truth leaves no trace."""
    ignored = Y.copy()
    ignored[:, :, 20:] = -1
    as_mask = np.zeros(Y.shape, dtype=bool)
    as_mask[:, :, 20:] = True
    dataset_truth = TruthStream(ignored[0], is_mask=False)
    assert dataset_truth.window(slice(0, 48), slice(19, 22))[0].tolist() == [0, -1, -1]
    assert (dataset_truth.labels(slice(0, 48), slice(20, 40)) == 0).all()
    unet = UNetSegmenter(**TINY, augment=None).fit(X, ignored)
    _, target = unet._collate()(
        list(unet._make_dataset(unet._training_set(X, ignored, None, None, None), False))
    )
    assert target[:, 1, :, :20].min() == 1 and target[:, 1, :, 20:].max() == 0


@pytest.mark.parametrize(
    "segmenter",
    [
        UNetSegmenter(**TINY),
        MaskRCNNSegmenter(
            backbone="resnet10", channels=8, n_proposals=10, max_epochs=1, random_state=0
        ),
        DETRSegmenter(base_width=4, depth=2, d_model=32, n_queries=8, max_epochs=1, random_state=0),
    ],
    ids=["U-Net", "Mask R-CNN", "Mask2Former"],
)
def test_a_mask_is_as_good_as_missing_data(segmenter):
    mask = np.zeros(X.shape, dtype=bool)
    mask[:, 20:, :10] = True
    holed = np.where(mask, np.float32(np.nan), X)
    expected = losses(segmenter.fit(holed, Y))
    assert losses(segmenter.fit(X, Y, mask=mask)) == expected
    if not isinstance(
        segmenter, UNetSegmenter
    ):  # whose loss leaves the pixels out, and sees the image
        assert losses(segmenter.fit(X, np.where(mask, -1, Y))) == expected
    with pytest.raises(ValueError, match="mask holds 2 masks"):
        segmenter.fit(X, Y, mask=mask[:2])
    with pytest.raises(TypeError, match=r"mask\[0\] must be boolean"):
        segmenter.fit(X, Y, mask=mask.astype(float))
    with pytest.raises(ValueError, match=r"mask\[0\] has shape"):
        segmenter.fit(X, Y, mask=mask[:, 1:])


def test_instances_are_rasterized_by_the_patch():
    instances = [Instances.from_label_map(truth) for truth in Y]
    params = TINY | {"patch_size": 24}
    assert losses(UNetSegmenter(**params).fit(X, instances)) == losses(
        UNetSegmenter(**params).fit(X, Y)
    )


# ---- memory ----

MEASURE = """
import resource, sys, numpy as np
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.testing import make_images

def anonymous():
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

folder, n = sys.argv[1], int(sys.argv[2])
images = np.memmap(f"{folder}/images", np.float32, "r", shape=(n, 256, 256))
labels = np.memmap(f"{folder}/labels", np.int32, "r", shape=(n, 256, 256))
options = {"max_epochs": 1, "n_views": 1, "random_state": 0, "scaling": sys.argv[3]}
small = UNetSegmenter(base_width=2, depth=2, **options)
small.fit(*make_images(8))
before, most = anonymous(), [0.0]
from skorch.callbacks import Callback

class Watch(Callback):
    def on_batch_end(self, net, **kwargs):
        most[0] = max(most[0], anonymous())

small.set_params(callbacks=[Watch()]).fit(images, labels)
print(max(most[0], anonymous()) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_images(tmp_path):
    """The patches of a memory map are read and scaled when they are needed."""
    n = 240  # 60 MB, which cost 225 MB when all images were scaled at once
    images = np.memmap(tmp_path / "images", np.float32, "w+", shape=(n, 256, 256))
    labels = np.memmap(tmp_path / "labels", np.int32, "w+", shape=(n, 256, 256))
    noise = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    images[:], labels[:] = noise, 0
    images[:, 100:110, 100:110] += 50
    labels[:, 100:110, 100:110] = 1
    images.flush(), labels.flush()
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(n), "noise"]
    grown = float(subprocess.check_output(command, text=True).splitlines()[-1])
    assert grown < 140, f"{grown:.0f} MB for {images.nbytes / 2**20:.0f} MB of images"
