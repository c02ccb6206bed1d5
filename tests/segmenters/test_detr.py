import json
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from galaxysegment import Instances
from galaxysegment.datasets import make_field
from galaxysegment.metrics import panoptic_quality, pq_scorer
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import ImageNormalizer, NoiseNormalizer
from galaxysegment.segmenters import DETRSegmenter
from galaxysegment.testing import make_images

pytest.importorskip("transformers")

X, Y = make_images(6)
TINY = {
    "base_width": 4,
    "depth": 3,
    "d_model": 32,
    "decoder_layers": 1,
    "n_queries": 8,
    "n_points": 256,
    "max_epochs": 2,
    "batch_size": 2,
    "random_state": 0,
}
RESIDUAL = {**TINY, "stem_stride": 2}
KINDS = {
    "peaks": TINY,
    "learned": {**TINY, "queries": "learned"},
    "residual": {**RESIDUAL, "backbone": "light"},
    "detr": {**TINY, "architecture": "detr"},
    "detr-residual": {**RESIDUAL, "architecture": "detr", "backbone": "light"},
}
quiet = pytest.mark.filterwarnings("ignore:No source was found", "ignore:All 8 queries are used")


@pytest.fixture(scope="module")
def fitted():
    return DETRSegmenter(**TINY | {"max_epochs": 40, "validation_fraction": 0, "lr": 3e-3}).fit(
        X, Y
    )


@pytest.fixture(scope="module", params=KINDS)
def each(request):
    return DETRSegmenter(**KINDS[request.param]).fit(X, Y).set_params(score_threshold=0.0)


# ---- training ----


def test_it_learns(fitted):
    quality = panoptic_quality(Y, fitted.predict(X))
    assert quality.things.pq > 0.6 and quality.stuff.pq > 0.9
    losses = [row["train_loss"] for row in fitted.history_]
    assert losses[-1] < 0.5 * losses[0]


def test_the_threshold_keeps_large_galaxies(fitted, monkeypatch):
    """A false source, and a large galaxy that is less sure.

    To lose both has a quality of .800, to keep both .798.
    """
    from galaxysegment.nets.queries import _prediction as prediction
    from galaxysegment.nets.queries._data import encode_target

    masks = np.zeros((4, 64, 64), dtype=np.float32)
    masks[0, :40, :32] = 1
    masks[0, 0, :10] = 0
    for index in range(1, 4):
        masks[index, 50:54, 12 * index : 12 * index + 4] = 1
    truth = (masks[1] + 2 * masks[2]).astype(np.int32)
    truth[:40, :40] = 3
    scores = np.array([0.7, 0.9, 0.9, 0.75])
    candidates = prediction.Candidates(
        (64, 64), scores, np.ones(4, dtype=int), masks, 1 - masks.max(axis=0), 8
    )
    monkeypatch.setattr(prediction, "find_candidates", lambda *_: [candidates])
    codes = encode_target(truth, np.ones(3, dtype=np.int64))
    assert fitted._best_threshold([(np.zeros((1, 64, 64), np.float32), codes)]) <= 0.7


@pytest.mark.parametrize("lonely", range(len(X)))
def test_images_without_sources_may_be_held_out(lonely):
    y = [truth if index == lonely else np.zeros_like(truth) for index, truth in enumerate(Y)]
    detr = DETRSegmenter(**TINY | {"max_epochs": 1}).fit(X, y)
    assert 0 < detr.score_threshold_ < 1


def test_the_losses_of_the_parts_are_in_the_history(each):
    row = each.history_[-1]
    parts = ["class", "mask", "dice"]
    parts += ["box", "giou"] if each.architecture == "detr" else []
    parts += ["pixel", "centre"] if each.backbone == "auto" else []
    for prefix in ("train", "valid"):
        assert np.isfinite([row[f"{prefix}_loss_{part}"] for part in parts]).all()
    assert sum(row[f"train_loss_{part}"] for part in parts) == pytest.approx(
        row["train_loss"], rel=1e-3
    )


def small_patches(n_patches=8, size=48):
    """The fullest patches of a field, divided by their noise."""
    images, labels = make_field((8 * size, 8 * size), random_state=100).patches(size, rms=True)
    fullest = np.argsort(-labels.max(axis=(1, 2)), kind="stable")[:n_patches]
    return NoiseNormalizer(rms_band=-1).fit_transform(images[fullest]), labels[fullest]


def test_detr_overfits_eight_patches():
    """The wiring of peaks, boxes, classes, matching, attention and masks."""
    images, labels = small_patches()
    detr = DETRSegmenter(
        **TINY
        | {"architecture": "detr", "base_width": 8, "depth": 4, "n_queries": 16, "n_points": 1024},
        **{"lr": 3e-3, "validation_fraction": 0, "augment": None},
    )
    detr.set_params(max_epochs=120, batch_size=8).fit(images, labels)
    first, last = detr.history_[0], detr.history_[-1]
    for part, most in {"class": 0.05, "box": 0.15, "giou": 0.3, "mask": 0.5, "dice": 0.2}.items():
        assert last[f"train_loss_{part}"] < most * first[f"train_loss_{part}"], part
    quality = panoptic_quality(labels, detr.predict(images))
    assert quality.things.pq > 0.8 and quality.stuff.pq > 0.9


def test_detr_on_a_residual_net_learns_masks():
    """As published, with learned queries: two patches, two hundred steps."""
    detr = DETRSegmenter(
        **KINDS["detr-residual"] | {"encoder_layers": 0, "max_epochs": 200, "lr": 2e-3},
        schedule=None,
        validation_fraction=0,
        augment=None,
    )
    detr.fit(X[:2], Y[:2])
    first, last = detr.history_[0], detr.history_[-1]
    for part, most in {"class": 0.1, "box": 0.4, "giou": 0.7, "dice": 0.85}.items():
        assert last[f"train_loss_{part}"] < most * first[f"train_loss_{part}"], part


def test_two_fits_with_one_seed_are_equal():
    first, second = (DETRSegmenter(**TINY).fit(X, Y) for _ in range(2))
    assert [row["train_loss"] for row in first.history_] == [
        row["train_loss"] for row in second.history_
    ]
    other = DETRSegmenter(**TINY | {"random_state": 1}).fit(X, Y)
    assert first.history_[-1, "train_loss"] != other.history_[-1, "train_loss"]


def test_warm_start_and_partial_fit_go_on():
    detr = DETRSegmenter(**TINY, warm_start=True).fit(X, Y)
    net = detr.net_
    detr.fit(X, Y).partial_fit(X, Y)
    assert detr.net_ is net and len(detr.history_) == 6
    assert len(clone(detr).fit(X, Y).history_) == 2


def test_early_stopping_and_callbacks():
    from skorch.callbacks import Callback

    class Count(Callback):
        def on_epoch_begin(self, net, **kwargs):
            net.n_counted_ = getattr(net, "n_counted_", 0) + 1

    detr = DETRSegmenter(
        **TINY | {"max_epochs": 30, "lr": 1e-9, "patience": 2}, callbacks=[Count()]
    ).fit(X, Y)
    assert len(detr.history_) < 20 and detr.net_.n_counted_ == len(detr.history_)


def test_stages_train_the_heads_first():
    stages = [
        {"layers": "heads", "max_epochs": 1, "lr": 1e-3},
        {"layers": "all", "max_epochs": 2, "lr": 1e-4},
    ]
    tiny = {**TINY, "decoder_layers": 3}
    weights, other = (
        dict(
            DETRSegmenter(**tiny, stages=[{**stages[0], "lr": lr}])
            .fit(X, Y)
            .net_.module_.named_parameters()
        )
        for lr in (1e-3, 1e-4)
    )
    same = [
        name
        for name, weight in weights.items()
        if np.array_equal(weight.detach(), other[name].detach())
    ]
    assert {name.split(".")[0] for name in same} == {"unet"}
    assert len(same) == len([name for name in weights if name.startswith("unet.")])
    assert len(DETRSegmenter(**TINY, stages=stages).fit(X, Y).history_) == 3
    with pytest.raises(ValueError, match=r'stages\[0\]\["layers"\] must be one of'):
        DETRSegmenter(**TINY, stages=[{**stages[0], "layers": "tail"}]).fit(X, Y)


# ---- truth ----


def with_classes(labels, classes=(1, 2, 1)):
    return Instances.from_label_map(labels, classes=classes)


def test_stars_and_galaxies_are_told_apart():
    """Stars are the sources of the second label, made ten times as bright as the others."""
    images = np.where(Y == 2, 10 * X, X)
    detr = DETRSegmenter(**TINY | {"max_epochs": 40, "validation_fraction": 0, "lr": 3e-3})
    detr.fit(images, [with_classes(labels) for labels in Y])
    quality = panoptic_quality(
        [with_classes(truth) for truth in Y], detr.predict(images, output="panoptic")
    )
    assert quality.per_class[1].pq > 0.3 and quality.per_class[2].pq > 0.3


def test_a_class_that_is_not_declared_is_refused():
    with pytest.raises(
        ValueError, match=r"y holds the class 2, but classes=\(1,\) are declared: add it"
    ):
        DETRSegmenter(**TINY, classes=[1]).fit(X, [with_classes(labels) for labels in Y])
    with pytest.raises(ValueError, match="classes must be different whole numbers"):
        DETRSegmenter(**TINY, classes=[1, 1]).fit(X, Y)
    with pytest.raises(ValueError, match=r"classes must be .* Got \['star'\] instead"):
        DETRSegmenter(**TINY, classes=["star"]).fit(X, Y)


@quiet
def test_images_without_and_with_one_source():
    blank = np.zeros_like(Y[:1])
    single = np.where(Y[1:2] == 1, 1, 0)
    detr = DETRSegmenter(**TINY).fit(X, np.concatenate([blank, single, Y[2:]]))
    assert detr.predict(X).shape == Y.shape
    noise = np.random.default_rng(0).normal(5, 1, X[:1].shape)
    assert detr.predict(noise).shape == Y[:1].shape
    with pytest.raises(ValueError, match="no source in any"):
        DETRSegmenter(**TINY).fit(X, np.zeros_like(Y))


def test_more_sources_than_queries_in_training():
    with pytest.warns(
        UserWarning, match=r"3 sources, but n_queries=2 finds at most 2 .*Use n_queries >= 3"
    ):
        DETRSegmenter(**TINY | {"n_queries": 2}).fit(X, Y)
    with pytest.warns(UserWarning, match=r"n_queries=3 finds at most 2 .*Use n_queries >= 4"):
        DETRSegmenter(**KINDS["detr-residual"] | {"n_queries": 3}).fit(X, Y)


def test_all_queries_used_in_prediction():
    with pytest.warns(UserWarning, match="3 sources"):
        detr = DETRSegmenter(**TINY | {"n_queries": 1, "max_epochs": 20, "lr": 3e-3}).fit(X, Y)
    with pytest.warns(
        UserWarning, match=r"All 1 queries are used in \d of 6 images .*larger n_queries"
    ) as caught:
        detr.predict(X)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"architecture": "detr", "d_model": 96}, "use a d_model 32, 64 or a multiple of 128"),
        ({"d_model": 30}, "d_model that is a multiple of 32"),
        ({"architecture": "detr", "d_model": 32, "n_heads": 4}, "n_heads that is a multiple of 8"),
    ],
)
def test_parameters_that_do_not_fit_together(params, message):
    with pytest.raises(ValueError, match=message):
        DETRSegmenter(**TINY | params).fit(X, Y)


# ---- prediction ----


@quiet
def test_outputs_agree(each):
    labels, panoptic = each.predict(X), each.predict(X, output="panoptic")
    sources = each.predict(X, output="instances")
    np.testing.assert_array_equal(panoptic[:, 1], labels)
    for instances, expected in zip(sources, labels, strict=True):
        np.testing.assert_array_equal(instances.to_label_map(), expected)
        assert (
            set(np.unique(instances.classes)) <= {1, 2}
            and instances.areas.sum() == instances.to_mask().sum()
        )
        assert ((instances.scores >= 0) & (instances.scores <= 1)).all()


@quiet
def test_several_bands_and_sizes():
    images, labels = make_images(4, n_bands=3)
    sizes = [images[0], images[1][:, :-8], images[2][..., :-5], images[3]]
    targets = [
        label_map[: image.shape[1], : image.shape[2]]
        for label_map, image in zip(labels, sizes, strict=True)
    ]
    for kind in ("peaks", "detr", "residual"):
        detr = DETRSegmenter(**KINDS[kind] | {"max_epochs": 1}).fit(sizes, targets)
        assert [sources.shape for sources in detr.predict(sizes)] == [
            target.shape for target in targets
        ]


def mosaic():
    return np.concatenate(
        [np.concatenate(list(X[:3]), axis=1), np.concatenate(list(X[3:]), axis=1)]
    )


def mosaic_truth():
    parts = [labels + 3 * index for index, labels in enumerate(Y)]
    raised = [
        np.where(labels % 1 == 0, labels * (Y[index] > 0), 0) for index, labels in enumerate(parts)
    ]
    return np.concatenate([np.concatenate(raised[:3], axis=1), np.concatenate(raised[3:], axis=1)])


def test_larger_images_are_seen_in_windows(fitted):
    detr = pickle.loads(pickle.dumps(fitted)).set_params(patch_size=48)
    assert panoptic_quality(mosaic_truth()[None], detr.predict(mosaic()[None])).things.pq > 0.5


def test_mosaics(fitted):
    detr = pickle.loads(pickle.dumps(fitted)).set_params(patch_size=48)
    tiled = segment_mosaic(detr, mosaic(), tile_size=60, overlap=40, progress=False)
    assert panoptic_quality(mosaic_truth()[None], tiled[None]).things.pq > 0.5


# ---- files and weights ----


@quiet
def test_model_files_and_pickles_predict_the_same(each, tmp_path):
    expected = each.predict(X)
    save(each, tmp_path / "detr.safetensors")
    for other in (load(tmp_path / "detr.safetensors"), pickle.loads(pickle.dumps(each))):
        np.testing.assert_array_equal(other.predict(X), expected)
        assert [row["train_loss"] for row in other.history_] == [
            row["train_loss"] for row in each.history_
        ]
    ready = DETRSegmenter(**each.get_params() | {"weights": tmp_path / "detr.safetensors"})
    np.testing.assert_array_equal(ready.predict(X), expected)


@quiet
@pytest.mark.parametrize("architecture", ["detr", "mask2former"])
def test_a_checkpoint_folder(architecture, tmp_path):
    from galaxysegment.nets.detr._published import PublishedDetr
    from galaxysegment.nets.mask2former._published import PublishedMask2Former

    params = {
        "n_bands": 3,
        "n_classes": 7,
        "stem_stride": 4,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
    }
    module = {"detr": PublishedDetr, "mask2former": PublishedMask2Former}[architecture]
    module(**params, n_queries=8).model.save_pretrained(tmp_path / "checkpoint")
    images, labels = make_images(4, n_bands=2)
    detr = DETRSegmenter(**TINY, architecture=architecture, weights=str(tmp_path / "checkpoint"))
    detr.fit(images, labels).set_params(score_threshold=0.0)
    assert detr.net_.module_.n_queries == 8
    save(detr, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        load(tmp_path / "model.safetensors").predict(images), detr.predict(images)
    )
    other = {"detr": "mask2former", "mask2former": "detr"}[architecture]
    with pytest.raises(
        ValueError, match=f"hold a model of type '{architecture}', but architecture='{other}'"
    ):
        clone(detr).set_params(architecture=other).fit(images, labels)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"folder without a checkpoint .*save_pretrained"):
        DETRSegmenter(**TINY, weights=tmp_path).fit(X, Y)


def test_no_hub_says_how_to_get_the_checkpoint():
    """In a process of its own, for the hub's client reads its settings when it is imported."""
    code = (
        "from galaxysegment.segmenters import DETRSegmenter; from galaxysegment.testing import "
        "make_images;"
        "segmenter = DETRSegmenter(architecture='detr', "
        "weights='facebook/detr-resnet-50-panoptic', max_epochs=1)\n"
        "try: segmenter.fit(*make_images(2))\n"
        "except OSError as error: print(error)"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}
    shown = subprocess.check_output(
        [sys.executable, "-W", "ignore", "-c", code], text=True, env=environment
    )
    assert (
        "could not be had from the Hugging Face hub" in shown and "hf download facebook/" in shown
    )


def test_unfitted_and_foreign_weights(tmp_path):
    from sklearn.exceptions import NotFittedError

    for weights in (None, "facebook/detr-resnet-50-panoptic"):
        with pytest.raises(NotFittedError):
            DETRSegmenter(weights=weights).predict(X)
    with pytest.raises(ValueError, match=r"neither a file nor a name.*: use the path of a model"):
        DETRSegmenter(weights="no_such").predict(X)


# ---- around it ----


@quiet
def test_model_selection():
    pipeline = make_pipeline(
        ImageNormalizer(stretch="asinh"), DETRSegmenter(**TINY | {"max_epochs": 1})
    )
    pipeline.set_params(detrsegmenter__score_threshold=0.0)
    search = GridSearchCV(pipeline, {"detrsegmenter__n_queries": [8, 9]}, scoring=pq_scorer, cv=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All 9 queries")
        assert np.isfinite(search.fit(X, Y).cv_results_["mean_test_score"]).all()


def test_torch_is_loaded_by_fitting_only():
    code = (
        "import sys, json; from galaxysegment.segmenters import DETRSegmenter; from sklearn.base "
        "import clone;"
        "repr(clone(DETRSegmenter(lr=1))); DETRSegmenter()._validate_params();"
        "print(json.dumps([name in sys.modules for name in ('torch', 'skorch', 'transformers')]))"
    )
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)) == [
        False,
        False,
        False,
    ]
