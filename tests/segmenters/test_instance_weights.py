"""Weights of a Mask R-CNN on a U-Net, and the weights "blends", which need no training."""

from dataclasses import replace

import numpy as np
import pytest

from galaxysegment import Instances, MaskRCNNSegmenter
from galaxysegment._utils.shipped import _FOLDER
from galaxysegment.datasets import load_sample_field, make_blends, make_field
from galaxysegment.metrics import average_precision, detection_scores
from galaxysegment.metrics._matching import best_pairs, find_overlaps
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.persistence import load, save
from galaxysegment.structures import GALAXY, STAR
from galaxysegment.testing import make_images

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:No source was found"),
    pytest.mark.filterwarnings("ignore:.*may hold more sources"),
]

X, Y = make_images(4)
SMALL = {"backbone": "unet", "channels": 16, "n_proposals": 20, "n_samples": 16, "random_state": 0}
ONCE = {"max_epochs": 1, "score_threshold": 0.05, "mask_threshold": 0.5}


def with_class(number, label_maps=Y):
    """The truth; the first source of each image has another class than galaxy."""
    return [Instances.from_label_map(labels, classes=[number, 1, 1]) for labels in label_maps]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A segmenter of three classes, trained for some seconds, and its file."""
    images, labels = make_images(24, random_state=1)
    params = {"max_epochs": 8, "batch_size": 4, "lr": 2e-3, "patience": None, "scaling": "noise"}
    segmenter = MaskRCNNSegmenter(**SMALL, **params, classes=(1, 2, 3))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save(segmenter.fit(images, with_class(3, labels)), path)
    return segmenter, path


# ---- a net on a U-Net, and its file ----


def test_a_file_brings_net_classes_and_scaling(kept):
    segmenter, path = kept
    ready = MaskRCNNSegmenter(weights=path)
    expected = segmenter.predict(X, output="instances")
    assert ready.predict(X, output="instances") == expected and all(map(len, expected))
    assert ready.scaling_ == "noise"
    assert type(ready.net_.module_.backbone).__name__ == "UNetPyramid"


def test_training_goes_on_with_the_classes_of_the_file(kept):
    _, path = kept
    more = MaskRCNNSegmenter(weights=path, **ONCE, lr=1e-6, random_state=0)
    more.fit(X, with_class(3))  # the parameter says (1, 2)
    assert len(more.history_) == 1
    before, after = (
        segmenter.net_.module_.state_dict()["rpn.head.cls_logits.weight"]
        for segmenter in (MaskRCNNSegmenter(weights=path), more)
        if segmenter._ready_net()
    )
    assert 0 < (after - before).abs().max() < 1e-4
    with pytest.raises(ValueError, match=r"holds the class 4, but classes=\(1, 2, 3\)"):
        MaskRCNNSegmenter(weights=path, classes=(1, 4), **ONCE).fit(X, with_class(4))


def test_a_unet_keeps_all_pixels():
    with pytest.raises(ValueError, match="stem_stride=2 is a stride of residual nets"):
        MaskRCNNSegmenter(**SMALL, stem_stride=2).fit(X, Y)


def test_scores_are_of_the_class_or_of_any_class(kept):
    segmenter, path = kept
    of_class = MaskRCNNSegmenter(weights=path, score_threshold=0.0, mask_threshold=0.5)
    of_any = MaskRCNNSegmenter(
        weights=path, scores="source", score_threshold=0.0, mask_threshold=0.5
    )
    highest = np.array(
        [
            [image.scores.max() for image in net.predict(X, output="instances")]
            for net in (of_class, of_any)
        ]
    )
    assert (highest[1] > highest[0] + 1e-4).all() and highest.max() <= 1
    assert (of_class.scores_, of_any.scores_) == ("class", "class") == (segmenter.scores_,) * 2


def test_a_file_says_what_its_scores_are(kept, tmp_path):
    _, path = kept
    other = MaskRCNNSegmenter(
        weights=str(path), scores="source", nested_sources=0.3, **ONCE, lr=1e-6, random_state=0
    )
    save(other.fit(X, with_class(3)), tmp_path / "source.safetensors")
    again = MaskRCNNSegmenter(weights=tmp_path / "source.safetensors", **ONCE)
    assert again.predict(X, output="instances") == other.predict(X, output="instances")
    assert again.scores_ == "source" and again.nested_sources_ == 0.3


def test_a_net_on_a_unet_learns(kept):
    images, labels = make_images(4, random_state=9)
    assert kept[0].score(images, labels) > 0.5
    assert np.isfinite(kept[0].history_[-1]["train_loss"])


# ---- the weights that ship ----


def without_classes(images):
    return [replace(sources, classes=None) for sources in images]


@pytest.mark.parametrize("psf_fwhm", [0.7, 1.4])
def test_blends_under_a_psf_and_another_twice_as_wide(psf_fwhm):
    pytest.importorskip("galsim", reason="simulates blends")
    images, truth = make_blends(12, psf_fwhm=psf_fwhm, random_state=77)
    predicted = MaskRCNNSegmenter(weights="blends").predict(images, output="instances")
    assert detection_scores(truth, predicted).f1 >= 0.85
    assert average_precision(without_classes(truth), without_classes(predicted)) >= 0.5


def test_peaks_of_real_blends(data_dir):
    pytest.importorskip("sep", reason="is what the benchmark compares with")
    from benchmarks.bench_instances import count, real_blends, run_sep

    images, peaks = real_blends(data_dir)
    net = MaskRCNNSegmenter(weights="blends", rms_band=-1)
    of_net, of_sep = (
        count(predicted, images, peaks).sum(axis=0)
        for predicted in (
            net.predict(images, output="instances"),
            run_sep(images, thresh=3.0, minarea=5, deblend_cont=1e-4),
        )
    )
    assert of_net[0] >= 0.7 * of_net[1] and of_net[0] > of_sep[0] + 10
    assert of_net[2] - of_net[0] < 0.1 * of_net[1]  # hardly anything spurious


def test_units_and_sky_do_not_matter():
    X, _ = load_sample_field().patches(size=128)
    net = MaskRCNNSegmenter(weights="blends", precision="float32")
    expected, others = (
        [len(sources) for sources in net.predict(images, output="instances")]
        for images in (X[:4], 1e-9 * X[:4].astype(np.float64) - 3)
    )
    assert expected == others and sum(expected) > 4


@pytest.fixture(scope="module")
def starry():
    """A field of stars and galaxies: image with RMS map, and its sources above S/N 25."""
    pytest.importorskip("galsim", reason="simulates a field")
    sky = {"density": 90, "star_fraction": 0.3, "depth": 26.0}
    field = make_field((448, 448), pixel_scale=0.2, psf_fwhm=0.8, **sky, random_state=11)
    image = field.image[0] / field.rms
    signal = [
        (image - np.median(image))[y0:y1, x0:x1][crop].sum() / np.sqrt(crop.sum())
        for (y0, x0, y1, x1), crop in zip(
            field.instances.boxes.tolist(), field.instances.crops, strict=True
        )
    ]
    bright = field.instances.select(np.array(signal) > 25)
    return np.stack([field.image[0], field.rms]), bright


def test_stars_are_told_from_galaxies(starry):
    planes, truth = starry
    net = MaskRCNNSegmenter(weights="blends", rms_band=-1)
    sources = net.predict(planes[None], output="instances")[0]
    overlaps = find_overlaps([truth], [sources])
    pairs = best_pairs(overlaps, 0.5)
    true, told = truth.classes[overlaps.i[pairs]], sources.classes[overlaps.j[pairs]]
    for kind in (GALAXY, STAR):
        assert np.count_nonzero(true == kind) > 8
        assert np.mean(told[true == kind] == kind) >= 0.8


def test_tiles_compare_the_sources_of_the_whole_image(starry):
    planes, _ = starry
    net = MaskRCNNSegmenter(weights="blends", rms_band=-1, precision="float32", bridge=2)
    whole = net.predict(planes[None], output="instances")[0]
    tiled = segment_mosaic(
        net, planes[0], rms=planes[1], kind="instances", tile_size=200, progress=False
    )
    overlaps = find_overlaps([whole], [tiled])
    pairs = best_pairs(overlaps, 0.9)
    assert len(pairs) >= 0.97 * len(whole)
    same = whole.classes[overlaps.i[pairs]] == tiled.classes[overlaps.j[pairs]]
    assert same.mean() >= 0.99 and set(tiled.classes) == {GALAXY, STAR}


def test_training_ends_the_comparison(starry, tmp_path):
    planes, _ = starry
    net = MaskRCNNSegmenter(weights="blends")
    assert net.classifies_sources
    save(net, tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors")._star_rule == net._star_rule
    labels = np.zeros((1, 64, 64), dtype=int)
    labels[0, 20:30, 20:30] = 1
    net.set_params(max_epochs=1, lr=1e-6, validation_fraction=0, random_state=0)
    net.fit(planes[:1, :64, :64], labels)
    assert not net.classifies_sources


def test_training_goes_on_from_them():
    X, y = load_sample_field().patches(size=64)
    net = MaskRCNNSegmenter(weights="blends", max_epochs=1, lr=1e-6, random_state=0)
    net.fit(X[:4], y[:4])
    assert (net.scaling_, net.scores_, len(net.history_)) == ("noise", "source", 1)
    assert net.net_.module_.backbone.fine.out_channels == 64


def test_they_are_small():
    assert (_FOLDER / "MaskRCNNSegmenter-blends.safetensors").stat().st_size < 8e6
