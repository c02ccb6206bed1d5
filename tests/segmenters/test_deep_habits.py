"""What users of scikit-learn and skorch expect of a deep segmenter."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline

from galaxysegment import Instances, MaskRCNNSegmenter
from galaxysegment.metrics import iou_scorer
from galaxysegment.preprocessing import GaussianSmoother, ImageNormalizer
from galaxysegment.segmenters import KMeansSegmenter, UNetSegmenter
from galaxysegment.testing import make_images

X, Y = make_images(6)
TINY = {
    "base_width": 2,
    "depth": 2,
    "max_epochs": 1,
    "n_views": 1,
    "random_state": 0,
    "threshold": 0.01,  # even a net of one epoch finds something
}


def losses(segmenter):
    return [row["train_loss"] for row in segmenter.history_]


# ---- scikit-learn ----


def test_cross_val_predict_of_probabilities():
    proba = cross_val_predict(UNetSegmenter(**TINY), X, Y, cv=2, method="predict_proba")
    assert proba.shape == Y.shape and 0 < proba.min() < proba.max() < 1
    second = UNetSegmenter(**TINY).fit(X[3:], Y[3:])
    np.testing.assert_array_equal(proba[:3], second.predict_proba(X[:3]))
    assert second.classes_.shape == (48, 40, 2) and second.classes_[0, 0].tolist() == [0, 1]
    assert UNetSegmenter(**TINY).fit([X[0], X[1, :20]], [Y[0], Y[1, :20]]).classes_.tolist() == [
        0,
        1,
    ]


def test_set_output_of_the_default_container():
    pipeline = make_pipeline(ImageNormalizer(), GaussianSmoother(), KMeansSegmenter(random_state=0))
    labels = pipeline.set_output(transform="default").fit(X).predict(X)
    assert labels.shape == Y.shape
    with pytest.raises(ValueError, match=r"'pandas'.*do not fit into the rows of a table"):
        pipeline.set_output(transform="pandas")


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_weights_and_masks_are_routed(routing):
    unet = UNetSegmenter(**TINY).set_fit_request(sample_weight=True, mask=True)
    pipeline = Pipeline([("normalize", ImageNormalizer()), ("segment", unet)])
    weights = np.array([1.0, 1, 1, 1, 1, 0])
    mask = np.zeros(X.shape, dtype=bool)
    mask[:, :10] = True
    plain = losses(pipeline.fit(X, Y, sample_weight=np.ones(6), mask=np.zeros_like(mask))[-1])
    assert losses(pipeline.fit(X, Y, sample_weight=weights, mask=mask)[-1]) != plain
    scores = GridSearchCV(pipeline, {"segment__lr": [1e-3, 1e-2]}, scoring=iou_scorer, cv=2)
    scores.fit(X, Y, sample_weight=weights, mask=mask)
    assert np.isfinite(scores.cv_results_["mean_test_score"]).all()


def test_images_of_weight_zero_teach_nothing():
    wrong = Y.copy()
    wrong[3:] = 1
    params = TINY | {"validation_fraction": 0, "augment": None, "batch_size": 6}
    weights = [1, 1, 1, 0, 0, 0]
    right, other = (UNetSegmenter(**params).fit(X, y, sample_weight=weights) for y in (Y, wrong))
    assert losses(right) == losses(other)
    assert losses(right) != losses(UNetSegmenter(**params).fit(X, Y))
    for bad in ([1, 2], [0] * 6, [-1] * 6):
        with pytest.raises(ValueError, match="sample_weight must"):
            UNetSegmenter(**params).fit(X, Y, sample_weight=bad)


# ---- skorch ----


def test_parameters_with_two_underscores():
    unet = UNetSegmenter(**TINY).set_params(
        optimizer__weight_decay=0.25, module__dropout=0.5, lr=0.01
    )
    assert unet.get_params()["optimizer__weight_decay"] == 0.25 and unet.lr == 0.01
    assert "optimizer__weight_decay" not in unet.get_params(deep=False)
    fitted = clone(unet).fit(X, Y)
    assert fitted.net_.optimizer_.param_groups[0]["weight_decay"] == 0.25
    assert fitted.net_.get_params_for("module")["dropout"] == 0.5
    with pytest.raises(ValueError, match="Invalid parameter 'optimiser'"):
        UNetSegmenter().set_params(optimiser__lr=1)


def test_parameters_with_two_underscores_in_a_search():
    pipeline = Pipeline([("normalize", ImageNormalizer()), ("segment", UNetSegmenter(**TINY))])
    grid = {"segment__optimizer__weight_decay": [0.0, 0.5]}
    search = GridSearchCV(pipeline, grid, scoring=iou_scorer, cv=2).fit(X, Y)
    best = search.best_params_["segment__optimizer__weight_decay"]
    net = search.best_estimator_[-1].net_
    assert net.optimizer_.param_groups[0]["weight_decay"] == best


def test_they_count_in_a_warm_start():
    unet = UNetSegmenter(**TINY, warm_start=True).fit(X, Y)
    module = unet.net_.module_
    unet.set_params(optimizer__weight_decay=0.5).fit(X, Y)
    assert unet.net_.optimizer_.param_groups[0]["weight_decay"] == 0.5
    assert unet.net_.module_ is module and len(unet.history_) == 2


class Lone:
    """A callback that cannot be copied."""

    def __new__(cls):
        from skorch.callbacks import Callback

        class Locked(Callback):
            def __init__(self):
                self.lock = threading.Lock()
                self.n = 0

            def on_epoch_end(self, net, **kwargs):
                with self.lock:
                    self.n += 1

        return Locked()


def test_callbacks_that_cannot_be_copied():
    mine = Lone()
    UNetSegmenter(**TINY, callbacks=[mine, ("named", Lone())]).fit(X, Y)
    assert mine.n == 1
    unet = clone(UNetSegmenter(**TINY, callbacks=[lambda: Lone()])).fit(X, Y)  # noqa: PLW0108 - a function
    assert dict(unet.net_.callbacks_)["Locked"].n == 1


def test_tensorboard():
    """skorch's own, with a writer that holds an open stream, as torch's does."""
    from skorch.callbacks import TensorBoard

    class Writer:
        def __init__(self):
            self.lock, self.written = threading.Lock(), []

        def add_scalar(self, tag, scalar_value, global_step):
            with self.lock:
                self.written.append(tag)

        def close(self):
            pass

    writer = Writer()
    UNetSegmenter(**TINY, callbacks=[TensorBoard(writer)]).fit(X, Y)
    assert "Loss/train_loss" in writer.written


# ---- own parts ----


def tiny_module(n_bands, width=4):
    import torch

    layers = (
        torch.nn.Conv2d(n_bands, width, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(width, 1, 1),
    )
    module = torch.nn.Sequential(*layers)
    module.multiple, module.halo = 8, 1
    return module


def test_a_module_of_ones_own():
    params = TINY | {"max_epochs": 15, "lr": 0.03}
    unet = UNetSegmenter(**params, module=tiny_module).set_params(module__width=6).fit(X, Y)
    assert unet.net_.module_.inner[0].out_channels == 6
    assert unet.net_.module_.multiple == 8 and unet.net_.module_.halo == 8
    assert losses(unet)[-1] < 0.9 * losses(unet)[0]
    odd = X[:, :41, :37]
    assert unet.predict_proba(odd).shape == odd.shape and unet.phase == 8
    with pytest.raises(ValueError, match="pass one of the two"):
        UNetSegmenter(module=tiny_module, weights="vis").fit(X, Y)


def test_a_module_of_the_wrong_output():
    import torch

    with pytest.raises(
        ValueError, match=r"it must return the logits of galaxies, of shape \(\d, 1, 64, 64\)"
    ):
        UNetSegmenter(**TINY, module=lambda n_bands: torch.nn.Conv2d(n_bands, 2, 1)).fit(X, Y)


def test_a_module_of_segmentation_models_pytorch():
    smp = pytest.importorskip("segmentation_models_pytorch")

    def make(n_bands):
        return smp.Unet("resnet18", encoder_weights=None, in_channels=n_bands, classes=1)

    unet = UNetSegmenter(**TINY | {"max_epochs": 8, "patience": None}, module=make).fit(X, Y)
    assert losses(unet)[-1] < losses(unet)[0]
    assert unet.predict_proba(X).shape == Y.shape


def test_a_criterion_of_ones_own():
    import torch

    class Squares(torch.nn.Module):
        def __init__(self, factor=1.0):
            super().__init__()
            self.factor = factor

        def forward(self, logits, target):
            truth, weight = target[:, :1], target[:, 1:]
            assert logits.shape == truth.shape == weight.shape
            return (
                self.factor * ((torch.sigmoid(logits) - truth) ** 2 * weight).sum() / weight.sum()
            )

    single, ten = (
        UNetSegmenter(
            **TINY | {"lr": 1e-30, "optimizer": "sgd"}, criterion=Squares, net_params=params
        ).fit(X, Y)
        for params in ({}, {"criterion__factor": 10.0})
    )
    assert losses(ten)[0] == pytest.approx(10 * losses(single)[0], rel=1e-5)


def test_class_weights():
    frozen = TINY | {"lr": 1e-30, "optimizer": "sgd", "augment": None, "validation_fraction": 0}
    unet = UNetSegmenter(**frozen, class_weight={0: 1.0, 1: 3.0}).fit(X, Y)
    data = unet._training_set(X, Y, None, None, None)
    _, target = unet._collate()(list(unet._make_dataset(data, training=False)))
    np.testing.assert_array_equal(target[:, 1].numpy(), np.where(Y > 0, 3.0, 1.0))
    balanced = UNetSegmenter(**frozen, class_weight="balanced")
    sky, galaxy = balanced._class_weights(data.targets)
    assert sky * (Y == 0).sum() == pytest.approx(galaxy * (Y > 0).sum())
    instances = [Instances.from_label_map(truth) for truth in Y]
    assert balanced._class_weights(instances) == (sky, galaxy)
    trained = [
        UNetSegmenter(**TINY | {"max_epochs": 10}, class_weight=weight)
        .fit(X, Y)
        .predict_proba(X)
        .mean()
        for weight in (None, {0: 1.0, 1: 20.0})
    ]
    assert trained[1] > trained[0]
    with pytest.raises(ValueError, match="class_weight must hold a weight for 0"):
        UNetSegmenter(**TINY, class_weight={1: 2.0}).fit(X, Y)


class Recorder:
    """An augmentation that mirrors, and remembers what it was given."""

    def __init__(self):
        self.seen = []

    def __call__(self, image, target, generator):
        self.seen.append((image.dtype, target))
        assert isinstance(generator, np.random.Generator)
        return image[..., ::-1], target[..., ::-1] if isinstance(target, np.ndarray) else target


def test_a_function_augments():
    recorder = Recorder()
    unet = UNetSegmenter(**TINY, augment=recorder).fit(X, Y)
    assert len(recorder.seen) == 5 and {dtype for dtype, _ in recorder.seen} == {
        np.dtype(np.float32)
    }
    assert set(np.unique(recorder.seen[0][1])) == {0, 1}
    assert losses(unet) != losses(UNetSegmenter(**TINY, augment=None).fit(X, Y))
    recorder = Recorder()
    MaskRCNNSegmenter(
        backbone="resnet10",
        channels=8,
        n_proposals=10,
        max_epochs=1,
        augment=recorder,
        random_state=0,
    ).fit(X, Y)
    assert all(isinstance(target, Instances) for _, target in recorder.seen)


def test_the_rms_band_is_augmented_before_it_is_scaled():
    bands, labels = make_images(6, n_bands=2)
    unet = UNetSegmenter(**TINY, rms_band=-1, augment=["brightness", "noise"])
    unet.fit(bands, labels)
    data = unet._training_set(bands, labels, None, None, None)
    data.images = [unet._scaler().stream(image) for image in data.images]
    image, *_ = unet._make_dataset(data, training=True)[0]
    centre, scale = (part[-1] for part in (unet.centre_, unet.scale_))
    assert (np.sinh(image[-1]) * scale + centre > 0).all()  # still an RMS map
    assert not unet._make_dataset(data, training=False).training


def test_everything_can_be_imported():
    code = "from galaxysegment import *; UNetSegmenter; datasets.load_sample_field; print('done')"
    shown = subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True)
    assert shown == "done\n"
