import copy
import pickle
import signal
import warnings
from io import BytesIO
from urllib.error import URLError

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from galaxysegment import Instances
from galaxysegment.exceptions import CrowdedImageWarning
from galaxysegment.metrics import ap_scorer, detection_scores
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import ImageNormalizer
from galaxysegment.segmenters import MaskRCNNSegmenter
from galaxysegment.segmenters._mask_rcnn import _choose_anchors
from galaxysegment.segmenters._star_rule import StarRule
from galaxysegment.segmenters._suppression import suppress
from galaxysegment.segmenters._training_set import TrainingSet
from galaxysegment.structures._truth import check_targets
from galaxysegment.testing import make_images
from tests.segmenters.tiny_mask_rcnn import TINY, X, Y, tensors

torch = pytest.importorskip("torch")
# nets that learnt for an epoch find nothing, or something everywhere
pytestmark = [
    pytest.mark.filterwarnings("ignore:No source was found"),
    pytest.mark.filterwarnings("ignore:.*may hold more sources"),
]

PARTS = ("loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg")


def two_classes(labels):
    """The third source of every image is a star."""
    return [Instances.from_label_map(label_map, classes=[1, 1, 2]) for label_map in labels]


@pytest.fixture(scope="module")
def tiny():
    return MaskRCNNSegmenter(**TINY, score_threshold=0.0).fit(X, Y)


@pytest.fixture(scope="module")
def trained():
    """Trained for a few seconds, enough for round sources on a flat sky."""
    images, labels = make_images(32, random_state=1)
    params = TINY | {"channels": 16, "max_epochs": 14, "batch_size": 4, "lr": 2e-3}
    return MaskRCNNSegmenter(**params, patience=None).fit(images, two_classes(labels))


# ---- it works ----


@pytest.mark.parametrize("output", ["labels", "instances", "panoptic"])
def test_the_warning_about_crowded_images_names_the_line_of_the_caller(tiny, output, monkeypatch):
    look = tiny._look
    monkeypatch.setattr(tiny, "_look", lambda *args: (look(*args)[0], [0]))
    with pytest.warns(CrowdedImageWarning, match="1 of 6 images") as caught:
        tiny.predict(X, output=output)
    assert caught[0].filename == __file__


def test_it_learns(trained):
    images, labels = make_images(6, random_state=9)
    instances = trained.predict(images, output="instances")
    assert detection_scores(list(labels), instances).f1 > 0.9
    assert trained.score(images, labels) > 0.6
    assert 0.05 <= trained.score_threshold_ <= 0.95
    for sources in instances:
        assert set(sources.classes) <= {1, 2} and (sources.scores >= trained.score_threshold_).all()
        assert (np.diff(sources.scores) <= 0).all()


def test_the_mask_threshold_is_chosen_and_obeyed(trained):
    assert 0.25 <= trained.mask_threshold_ <= 0.65
    areas = []
    for threshold in (0.2, 0.8, "auto"):
        segmenter = copy.copy(trained).set_params(mask_threshold=threshold)
        areas.append(
            np.mean(
                np.concatenate(
                    [sources.areas for sources in segmenter.predict(X, output="instances")]
                )
            )
        )
    assert areas[1] < areas[2] < areas[0]


def test_instances_labels_and_panoptic_agree(trained):
    instances, labels, panoptic = (
        trained.predict(X, output=kind) for kind in ("instances", "labels", "panoptic")
    )
    for sources, label_map, maps in zip(instances, labels, panoptic, strict=True):
        np.testing.assert_array_equal(sources.to_label_map(), label_map)
        np.testing.assert_array_equal(maps, sources.to_panoptic())


def test_in_a_pipeline(trained):
    pipeline = make_pipeline(ImageNormalizer(), clone(trained).set_params(max_epochs=1)).fit(X, Y)
    assert all(
        isinstance(sources, Instances) for sources in pipeline.predict(X, output="instances")
    )
    assert 0 <= ap_scorer(pipeline, X, list(Y)) <= 1


def test_history_has_the_parts_of_the_loss(tiny):
    row = tiny.history_[-1]
    for prefix in ("train", "valid"):
        parts = [row[f"{prefix}_{part}"] for part in PARTS]
        assert sum(parts) == pytest.approx(row[f"{prefix}_loss"], rel=1e-4)


def test_two_fits_with_one_seed_are_equal(tiny):
    again = tensors(MaskRCNNSegmenter(**TINY).fit(X, Y))
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors(tiny).items())
    other = tensors(MaskRCNNSegmenter(**TINY | {"random_state": 1}).fit(X, Y))
    assert not torch.equal(other["rpn.head.cls_logits.weight"], again["rpn.head.cls_logits.weight"])


def test_validation_draws_the_same_boxes_each_time_and_no_statistics():
    segmenter = MaskRCNNSegmenter(**TINY).fit(X, Y)
    batch = segmenter._collate()(
        list(
            segmenter._make_dataset(
                TrainingSet([segmenter._scaler().stream(X[0][None])], [Y[0]]), False
            )
        )
    )
    before = tensors(segmenter)
    first, second = (segmenter.net_.validation_step(batch)["loss"].item() for _ in range(2))
    assert first == second
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(segmenter).items())


# ---- truth of every kind ----


def test_truth_of_every_kind(tiny):
    expected = tensors(tiny)
    panoptic = np.stack([np.where(Y > 0, 1, 0), Y], axis=1)
    for truth in (list(Y), [Instances.from_label_map(true_map) for true_map in Y], panoptic):
        trained = tensors(MaskRCNNSegmenter(**TINY).fit(X, truth))
        assert all(torch.equal(trained[name], tensor) for name, tensor in expected.items())


def test_images_without_sources_are_fine():
    truth = Y.copy()
    truth[::2] = 0
    segmenter = MaskRCNNSegmenter(**TINY).fit(X, truth)
    assert np.isfinite(segmenter.history_[-1]["train_loss"])
    assert len(segmenter.set_params(score_threshold=1.0).predict(X, output="instances")[0]) == 0
    with pytest.raises(ValueError, match="y holds no source in any of its 6 targets"):
        MaskRCNNSegmenter(**TINY).fit(X, np.zeros_like(Y))


def test_classes_must_be_declared():
    truth = two_classes(Y)
    with pytest.raises(
        ValueError, match=r"y\[0\] holds the class 2, but classes=\(1,\) are declared"
    ):
        MaskRCNNSegmenter(**TINY, classes=(1,)).fit(X, truth)
    renamed = [
        Instances(sources.shape, sources.boxes, sources.crops, classes=[7, 7, 9])
        for sources in truth
    ]
    segmenter = MaskRCNNSegmenter(**TINY, classes=(9, 7), score_threshold=0.0).fit(X, renamed)
    assert set(
        np.concatenate([sources.classes for sources in segmenter.predict(X, output="instances")])
    ) <= {7, 9}


def test_truth_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"y\[1\].*\(48, 40\)"):
        MaskRCNNSegmenter(**TINY).fit(X, [Y[0], Instances.from_label_map(Y[1][:-1]), *Y[2:]])


def test_where_there_are_no_data_nothing_is_learnt():
    holed = X.copy()
    holed[:, 20:] = np.nan
    segmenter = MaskRCNNSegmenter(**TINY)
    segmenter.fit(holed, Y)
    (_, target), *_ = segmenter._make_dataset(
        TrainingSet([segmenter._scaler().stream(holed[0][None])], [Y[0]]), False
    )
    assert len(target) == 2 and not target.to_mask()[20:].any()


def test_small_sources_are_not_asked_for():
    truth = Y.copy()
    truth[:, 47, 39] = 4
    segmenter = MaskRCNNSegmenter(**TINY, n_pixels=2)
    assert [
        len(segmenter._large_enough(target)) for target in check_targets(truth, X[:, None])
    ] == [3] * 6


# ---- images of every kind ----


def test_sizes_that_differ_patches_and_bands():
    bands = np.stack([X, 2 * X, X + 1], axis=1)
    images = [bands[0], bands[1][:, :33, :39], bands[2][:, :7], bands[3]]
    labels = [
        label_map[: image.shape[1], : image.shape[2]]
        for label_map, image in zip(Y, images, strict=False)
    ]
    segmenter = MaskRCNNSegmenter(**TINY, patch_size=32).fit(images, labels)
    assert segmenter.n_net_bands_ == 3
    assert [sources.shape for sources in segmenter.predict(images)] == [
        single.shape[1:] for single in images
    ]
    with pytest.raises(ValueError, match="fitted with 3"):
        segmenter.predict(X)


def test_noise_scaling_drops_the_rms_band():
    images, labels = make_images(4, n_bands=3)
    segmenter = MaskRCNNSegmenter(**TINY, scaling="noise", rms_band=-1).fit(images, labels)
    assert segmenter.n_net_bands_ == 2


def test_more_sources_than_proposals(trained):
    crowded = copy.deepcopy(trained)
    crowded.net_.module_.n_proposals = 1
    with pytest.warns(UserWarning, match=r"of 6 images \(index \d first\).*larger n_proposals"):
        crowded.predict(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.predict(X)


# ---- anchors, suppression ----


def test_anchors_suit_the_sources(tiny):
    assert tiny.anchor_sizes_ == _choose_anchors(
        [Instances.from_label_map(label_map) for label_map in Y]
    )
    sides = np.sqrt(
        np.prod(
            [
                box[2:] - box[:2]
                for label_map in Y
                for box in Instances.from_label_map(label_map).boxes
            ],
            axis=1,
        )
    )
    assert tiny.anchor_sizes_[0] <= np.median(sides) <= tiny.anchor_sizes_[-1]
    mixed = Instances(
        (900, 900), [(0, 0, 3, 3), (0, 0, 800, 800)], [np.ones((3, 3)), np.ones((800, 800))]
    )
    sizes = np.array(_choose_anchors([mixed]))
    assert (sizes[1:] / sizes[:-1] >= 1.99).all() and sizes[-1] >= 700
    own = MaskRCNNSegmenter(**TINY, anchors=[6, 8, 12, 20, 40]).fit(X, Y)
    assert own.anchor_sizes_ == [6, 8, 12, 20, 40]
    with pytest.raises(ValueError, match="5 positive sides"):
        MaskRCNNSegmenter(**TINY, anchors=[6, 8]).fit(X, Y)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 12), iou=st.sampled_from([0.2, 0.5, 0.8]))
def test_suppression_is_greedy(seed, n, iou):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, size=(n, 2))
    sides = rng.integers(1, 12, size=(n, 2))
    crops = [rng.random(tuple(side)) < 0.8 for side in sides]
    for crop in crops:
        crop[0, 0] = True
    instances = Instances(
        (40, 40), np.hstack([corners, corners + sides]), crops, np.sort(rng.random(n))[::-1]
    )
    masks, kept = instances.masks, []
    for index in range(n):
        overlaps = [(masks[index] & masks[k]).sum() / (masks[index] | masks[k]).sum() for k in kept]
        if all(overlap <= iou for overlap in overlaps):
            kept.append(index)
    assert suppress(instances, iou) == instances.select(kept)


@pytest.mark.parametrize("params", [{"mask_nms": 0.3}, {"box_nms": 0.3}, {"soft_nms": 0.1}])
def test_every_suppression_leaves_fewer_sources(trained, params):
    loose = copy.deepcopy(trained).set_params(box_nms=1.0, soft_nms=None, score_threshold=0.05)
    many = loose.predict(X, output="instances")
    few = loose.set_params(**params).predict(X, output="instances")
    assert 18 <= sum(map(len, few)) < sum(map(len, many))


# ---- optimizers ----


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_optimizers(optimizer):
    net = MaskRCNNSegmenter(**TINY, optimizer=optimizer).fit(X, Y).net_
    if optimizer == "sgd":
        assert net.optimizer_.param_groups[0]["momentum"] == 0.9


# ---- going on, keeping, sending around ----


def test_warm_start_and_partial_fit_go_on():
    segmenter = MaskRCNNSegmenter(**TINY, warm_start=True).fit(X, Y)
    net = segmenter.net_
    segmenter.fit(X, Y)
    assert segmenter.net_ is net and len(segmenter.history_) == 2
    segmenter.partial_fit(X, Y)
    assert len(segmenter.history_) == 3
    assert len(MaskRCNNSegmenter(**TINY).partial_fit(X, Y).history_) == 1


def test_copies_predict_identically(trained, tmp_path):
    expected = trained.predict(X, output="instances")
    assert sum(map(len, expected)) > 6
    save(trained, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    joblib.dump(trained, tmp_path / "model.joblib")
    ready = MaskRCNNSegmenter(weights=tmp_path / "model.safetensors")
    for twin in (
        loaded,
        pickle.loads(pickle.dumps(trained)),
        joblib.load(tmp_path / "model.joblib"),
        ready,
    ):
        assert twin.predict(X, output="instances") == expected
    assert (
        loaded.score_threshold_ == trained.score_threshold_
        and loaded.mask_threshold_ == trained.mask_threshold_
    )
    assert loaded.anchor_sizes_ == trained.anchor_sizes_
    assert (
        len(loaded.set_params(max_epochs=1).partial_fit(X, Y).history_) == len(trained.history_) + 1
    )


def test_interrupt_leaves_a_usable_model():
    from skorch.callbacks import Callback

    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            signal.raise_signal(signal.SIGINT)

    segmenter = MaskRCNNSegmenter(**TINY | {"max_epochs": 9}, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        segmenter.fit(X, Y)
    assert len(segmenter.history_) == 1 and segmenter.predict(X).shape == Y.shape
    segmenter._star_rule = StarRule(image=1.0, votes=0.01, shift=0.0, limit=4.0)
    with pytest.raises(KeyboardInterrupt):
        segmenter.partial_fit(X, Y)
    assert segmenter._star_rule is None


def test_a_net_from_a_file_is_trained_at_its_own_stride(trained, tmp_path):
    save(trained, tmp_path / "model.safetensors")
    ready = MaskRCNNSegmenter(weights=tmp_path / "model.safetensors")  # its stem_stride is 1
    module = ready._ready_net().module_
    assert ready.net_.iterator_train__collate_fn.multiple == module.multiple == 64


# ---- weights of torchvision ----


def test_a_state_dict_of_other_bands_and_classes(tmp_path):
    from galaxysegment.nets.mask_rcnn._module import MaskRCNN

    theirs = MaskRCNN(
        backbone="resnet10",
        channels=8,
        stem_stride=2,
        n_bands=3,
        n_classes=90,
        anchor_sizes=[8] * 5,
    )
    state = {
        name: tensor
        for name, tensor in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "theirs.pth")
    frozen = TINY | {"lr": 1e-30, "optimizer": "sgd"}
    segmenter = MaskRCNNSegmenter(**frozen, weights=tmp_path / "theirs.pth").fit(X, Y)
    trained = tensors(segmenter)
    assert torch.equal(trained["rpn.head.cls_logits.weight"], state["rpn.head.cls_logits.weight"])
    assert torch.equal(
        trained["roi_heads.mask_head.0.0.weight"], state["roi_heads.mask_head.0.0.weight"]
    )
    assert trained["backbone.body.conv1.weight"].shape == (64, 1, 7, 7)
    assert trained["roi_heads.box_predictor.cls_score.weight"].shape[0] == 3
    with pytest.raises(NotFittedError):
        MaskRCNNSegmenter(weights=tmp_path / "theirs.pth").predict(X)
    with pytest.raises(ValueError, match=r"not of this architecture.*resnet50"):
        MaskRCNNSegmenter(**TINY | {"channels": 4}, weights=tmp_path / "theirs.pth").fit(X, Y)


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(FileNotFoundError):
        MaskRCNNSegmenter(**TINY, weights=tmp_path / "none.pth").fit(X, Y)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ValueError, match="cannot be read as a torch state dict"):
        MaskRCNNSegmenter(**TINY, weights=tmp_path / "text.pth").fit(X, Y)
    buffer = BytesIO()
    torch.save([1, 2], buffer)
    (tmp_path / "list.pth").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="hold no state dict"):
        MaskRCNNSegmenter(**TINY, weights=tmp_path / "list.pth").fit(X, Y)
    with pytest.raises(ValueError, match="neither a file nor a name"):
        MaskRCNNSegmenter(**TINY, weights="vis").fit(X, Y)


def test_coco_without_a_network_says_where_to_get_it(monkeypatch):
    import torchvision.models._api

    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    with pytest.raises(
        OSError,
        match=r"could not be downloaded.*no network.*https://.*maskrcnn_resnet50.*weights='path",
    ):
        MaskRCNNSegmenter(**TINY, weights="coco").fit(X, Y)
    with pytest.raises(NotFittedError):
        MaskRCNNSegmenter(weights="coco").predict(X)


def test_parameters_out_of_range():
    for params in (
        {"stem_stride": 3},
        {"box_nms": 0},
        {"backbone": "vgg"},
        {"score_threshold": 2},
        {"n_samples": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(params))):
            MaskRCNNSegmenter(**TINY | params).fit(X, Y)


# ---- mosaics ----


def test_a_mosaic_gives_the_sources_of_the_whole(trained):
    rng = np.random.default_rng(0)
    image = np.concatenate(
        [np.concatenate([X[rng.integers(6)] for _ in range(5)], axis=1) for _ in range(4)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = trained.predict(image[np.newaxis], output="instances")[0]
        tiled = segment_mosaic(trained, image, kind="instances", tile_size=96, progress=False)
    assert len(whole) >= 50
    scores = detection_scores([whole], [tiled], iou=0.8)
    assert scores.precision > 0.97 and scores.recall > 0.97
    assert set(tiled.classes) == {1, 2}
