import json
import pickle
import signal
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from galaxysegment import Instances
from galaxysegment.metrics import iou_scorer
from galaxysegment.preprocessing import ImageNormalizer
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.segmenters._star_rule import StarRule
from galaxysegment.segmenters._training_set import TrainingSet
from galaxysegment.testing import make_images

X, Y = make_images(8)
TINY = {"base_width": 4, "depth": 3, "max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    return UNetSegmenter(**TINY | {"max_epochs": 40, "batch_size": 4}).fit(X, Y)


def history(unet, key):
    return [row[key] for row in unet.history_]


def test_it_learns(fitted):
    X_new, y_new = make_images(4, random_state=9)
    assert fitted.score(X_new, y_new) > 0.75
    losses = history(fitted, "train_loss")
    assert losses[-1] < 0.8 * losses[0]


def test_two_fits_with_one_seed_are_equal(fitted):
    first, second = (UNetSegmenter(**TINY).fit(X, Y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = UNetSegmenter(**TINY | {"random_state": 1}).fit(X, Y).predict_proba(X)
    assert not np.array_equal(first, other)


def test_the_best_weights_come_back():
    from skorch.callbacks import Callback

    from galaxysegment.nets.common._data import split_indices

    class WreckTheLastEpoch(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training and len(net.history) == net.max_epochs:
                for weight in net.module_.parameters():
                    weight.data.mul_(3)

    unet = UNetSegmenter(**TINY | {"max_epochs": 5}, callbacks=[WreckTheLastEpoch()]).fit(X, Y)
    valid = history(unet, "valid_loss")
    assert valid[-1] > 1.2 * min(valid)
    hold = split_indices(len(X), unet.validation_fraction, np.random.default_rng(unet._seed))[1]
    scaled = [unet._scaler().stream(X[i][None]) for i in hold]
    dataset = unet._make_dataset(TrainingSet(scaled, [Y[i] for i in hold]), training=False)
    batch = unet._collate()(list(dataset))
    assert unet.net_.validation_step(batch)["loss"].item() == pytest.approx(min(valid), rel=1e-3)


def test_early_stopping_stops():
    unet = UNetSegmenter(**TINY | {"max_epochs": 60, "lr": 1e-9, "patience": 2}).fit(X, Y)
    assert len(unet.history_) < 30


def test_warm_start_and_partial_fit_go_on():
    unet = UNetSegmenter(**TINY, warm_start=True).fit(X, Y)
    net, before = unet.net_, unet.predict_proba(X)
    unet.fit(X, Y)
    assert unet.net_ is net and len(unet.history_) == 6
    assert not np.array_equal(unet.predict_proba(X), before)
    unet.partial_fit(X, Y)
    assert len(unet.history_) == 9
    with pytest.raises(ValueError, match="fitted with 1"):
        unet.fit(np.stack([X, X], axis=1), Y)
    cold = UNetSegmenter(**TINY).fit(X, Y).fit(X, Y)
    assert len(cold.history_) == 3
    assert len(UNetSegmenter(**TINY).partial_fit(X, Y).history_) == 3


def test_interrupt_is_raised_and_leaves_a_usable_model():
    from skorch.callbacks import Callback

    class Interrupt(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if len(net.history) == 2 and training:
                signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)

    unet = UNetSegmenter(**TINY, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        unet.fit(X, Y)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(unet.history_) == 2
    assert unet.threshold_ == 0.5
    assert unet.predict_proba(X).shape == X.shape


def test_an_interrupted_net_has_no_calibration_and_no_rule_of_the_net_before():
    from skorch.callbacks import Callback

    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            signal.raise_signal(signal.SIGINT)

    unet = UNetSegmenter(**TINY).fit(X, Y).calibrate(X, Y)
    unet._star_rule = StarRule(image=1.0, votes=0.01, shift=0.0, limit=4.0)
    with pytest.raises(KeyboardInterrupt):
        unet.set_params(callbacks=[Interrupt()]).partial_fit(X, Y)
    assert not hasattr(unet, "calibration_")
    assert unet._star_rule is None


def test_interrupted_in_the_first_epoch_it_is_not_fitted():
    from skorch.callbacks import Callback

    class Interrupt(Callback):
        def on_batch_end(self, net, **kwargs):
            signal.raise_signal(signal.SIGINT)

    unet = UNetSegmenter(**TINY, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        unet.fit(X, Y)
    assert not unet.__sklearn_is_fitted__()


def test_a_callback_may_end_the_training_as_in_skorch():
    from skorch.callbacks import Callback

    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    assert len(UNetSegmenter(**TINY, callbacks=[Stop()]).fit(X, Y).history_) == 1


INTERRUPTED = """
import numpy as np
from skorch.callbacks import Callback
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.segmenters._training_set import TrainingSet
from galaxysegment.testing import make_images

class Report(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) >= 3:
            for weight in net.module_.parameters():
                weight.data.mul_(3)  # worse from here on
        print("epoch", len(net.history), flush=True)

X, y = make_images(8)
options = {"max_epochs": 10**6, "patience": 10**6, "callbacks": [Report()], "random_state": 0}
unet = UNetSegmenter(base_width=2, depth=2, **options)
try:
    unet.fit(X, y)
except KeyboardInterrupt:
    learn, hold = unet._split(len(X))
    scaled = [unet._scaler().stream(X[i][None]) for i in hold]
    dataset = unet._make_dataset(TrainingSet(scaled, [y[i] for i in hold]), training=False)
    loss = unet.net_.validation_step(unet._collate()(list(dataset)))["loss"].item()
    best = min(row["valid_loss"] for row in unet.history_ if "valid_loss" in row)
    is_best = abs(loss - best) < 1e-3 * best
    print("restored" if is_best else f"{loss} is not the best loss, {best}", flush=True)
    print("predicted", unet.predict_proba(X).shape, flush=True)
    raise
print("fit returned", flush=True)
"""


def test_ctrl_c_ends_the_process_after_the_best_weights_are_back():
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 5"):
                process.send_signal(signal.SIGINT)
                break
        shown, errors = process.communicate(timeout=250)
    assert process.returncode == -signal.SIGINT, errors
    assert "restored\npredicted (8, 48, 40)" in shown
    assert "fit returned" not in shown


def test_user_callbacks_are_copied():
    from skorch.callbacks import Callback

    class Count(Callback):
        n = 0

        def on_epoch_end(self, net, **kwargs):
            self.n += 1

    mine = Count()
    unet = UNetSegmenter(**TINY, callbacks=[mine]).fit(X, Y)
    assert mine.n == 0
    assert dict(unet.net_.callbacks_)["Count"].n == 3


def test_a_rate_that_is_too_high_is_named():
    with pytest.raises(FloatingPointError, match="smaller lr"):
        UNetSegmenter(**TINY | {"lr": 1e30, "max_epochs": 20, "optimizer": "sgd"}).fit(X, Y)


def test_net_params_reach_skorch():
    params = {"optimizer__weight_decay": 0.25, "max_epochs": 2}
    unet = UNetSegmenter(**TINY, net_params=params).fit(X, Y)
    assert unet.net_.optimizer_.param_groups[0]["weight_decay"] == 0.25
    assert len(unet.history_) == 2


def test_train_split_none_trains_on_every_image():
    unet = UNetSegmenter(**TINY | {"batch_size": 1}, net_params={"train_split": None}).fit(X, Y)
    assert "valid_loss" not in unet.history_[-1]
    assert unet.history_[-1]["train_batch_count"] == len(X)
    without = UNetSegmenter(**TINY | {"batch_size": 1}, validation_fraction=0).fit(X, Y)
    np.testing.assert_array_equal(unet.predict_proba(X), without.predict_proba(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UNetSegmenter(**TINY, net_params={"train_split": None}).fit(X[:1], Y[:1])


def test_train_split_of_skorch_chooses_the_images():
    from skorch.dataset import ValidSplit
    from skorch.helper import predefined_split

    params = {"train_split": ValidSplit(4)}
    unet = UNetSegmenter(**TINY | {"batch_size": 1}, net_params=params).fit(X, Y)
    assert unet.history_[-1]["train_batch_count"] == 6
    assert unet.history_[-1]["valid_batch_count"] == 2
    with pytest.raises(ValueError, match="must return two torch Subsets"):
        UNetSegmenter(**TINY, net_params={"train_split": predefined_split(X)}).fit(X, Y)


def test_callbacks_and_verbosity_in_net_params_count(capsys):
    from skorch.callbacks import EpochTimer

    params = {"callbacks": [("second_timer", EpochTimer())], "verbose": 1}
    unet = UNetSegmenter(**TINY, net_params=params).fit(X, Y)
    assert "second_timer" in dict(unet.net_.callbacks_)
    assert "valid_loss" in capsys.readouterr().out


def test_the_split_is_by_image_and_the_same_for_a_seed():
    # an image that must not be learned from is one the training never sees
    unet = UNetSegmenter(**TINY | {"max_epochs": 1, "validation_fraction": 0.5}).fit(X, Y)
    assert unet.history_[-1]["train_batch_count"] == unet.history_[-1]["valid_batch_count"] == 1


# ---- images of every kind ----


def test_one_image_says_that_there_is_no_validation():
    with pytest.warns(UserWarning, match="X holds 1 image.*validation_fraction=0"):
        unet = UNetSegmenter(**TINY).fit(X[:1], Y[:1])
    assert "valid_loss" not in unet.history_[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UNetSegmenter(**TINY, validation_fraction=0).fit(X[:1], Y[:1])


def test_sizes_that_differ_and_do_not_divide():
    images = [X[0], X[1][:33, :17], X[2][:7], X[3][:, :1], X[4]]
    labels = [Y[i][: image.shape[0], : image.shape[1]] for i, image in enumerate(images)]
    unet = UNetSegmenter(**TINY | {"depth": 5}).fit(images, labels)
    assert [item.shape for item in unet.predict_proba(images)] == [
        single.shape for single in images
    ]


def test_large_images_are_cut_into_patches():
    unet = UNetSegmenter(**TINY, patch_size=16).fit(X, Y)
    assert unet.history_[-1]["train_batch_count"] == np.ceil(7 * 9 / 8)


def test_missing_data_neither_hurts_nor_counts(fitted):
    holed = X.copy()
    holed[:, 20:, :10] = np.nan
    wrong = Y.copy()
    wrong[:, 20:, :10] = 1
    right = UNetSegmenter(**TINY, augment=None).fit(holed, Y)
    np.testing.assert_allclose(
        UNetSegmenter(**TINY, augment=None).fit(holed, wrong).predict_proba(holed),
        right.predict_proba(holed),
        atol=1e-6,
    )
    assert np.isfinite(right.predict_proba(holed)).all()
    assert (right.predict_proba(holed)[:, 20:, :10] == 0).all()


@pytest.mark.parametrize("scaling", ["asinh", "noise"])
def test_units_and_pedestals_do_not_matter(scaling):
    params = TINY | {"scaling": scaling, "precision": "float32"}
    expected = UNetSegmenter(**params).fit(X, Y).predict_proba(X)
    shifted = 1e-12 * (X.astype(np.float64) - 300)
    np.testing.assert_allclose(
        UNetSegmenter(**params).fit(shifted, Y).predict_proba(shifted), expected, atol=2e-2
    )


def test_many_bands_and_an_rms_band():
    bands, labels = make_images(4, n_bands=4)
    assert UNetSegmenter(**TINY).fit(bands, labels).n_net_bands_ == 4
    noise = UNetSegmenter(**TINY, scaling="noise", rms_band=-1, threshold=0.3).fit(bands, labels)
    assert noise.n_net_bands_ == 3 and noise.n_bands_in_ == 4
    np.testing.assert_array_equal(noise.predict(5 * bands), noise.predict(bands))


def test_constant_and_empty_bands():
    UNetSegmenter(**TINY, scaling="noise").fit(X, Y).predict_proba(np.full((1, 32, 32), 4.0))
    UNetSegmenter(**TINY).fit(np.stack([X, np.ones_like(X)], axis=1), Y)
    with pytest.raises(ValueError, match="Band 1 of X holds no data"):
        UNetSegmenter(**TINY).fit(np.stack([X, np.full_like(X, np.nan)], axis=1), Y)


def test_truth_of_every_kind():
    masks = Y > 0
    expected = UNetSegmenter(**TINY).fit(X, Y).predict_proba(X)
    for truth in (
        masks,
        masks.astype(np.uint8),
        [Instances.from_label_map(true_map) for true_map in Y],
    ):
        np.testing.assert_array_equal(
            UNetSegmenter(**TINY).fit(X, truth).predict_proba(X), expected
        )


def test_truth_that_teaches_nothing():
    with pytest.raises(ValueError, match="requires y"):
        UNetSegmenter().fit(X)
    with pytest.raises(ValueError, match="requires y"):
        UNetSegmenter(**TINY).fit(X, Y).partial_fit(X)
    with pytest.raises(ValueError, match="y holds no source in any of its 8 targets"):
        UNetSegmenter().fit(X, np.zeros_like(Y))


def test_bad_parameters_are_refused_before_any_work():
    for params in (
        {"augment": "blur"},
        {"device": "toaster"},
        {"optimizer": "magic"},
        {"threshold": 2},
    ):
        with pytest.raises(
            ValueError, match=next(iter(params.values())) if params.get("augment") else "."
        ):
            UNetSegmenter(**TINY | params).fit(X, Y)


# ---- probability to sources ----


def test_predictions_do_not_depend_on_the_batch(fitted):
    together = fitted.predict_proba(X)
    one_by_one = clone_with(fitted, batch_size=1).predict_proba(X)
    np.testing.assert_allclose(together, one_by_one, atol=2e-2)
    assert np.mean((together > 0.5) != (one_by_one > 0.5)) < 1e-3


def clone_with(unet, **params):
    return pickle.loads(pickle.dumps(unet)).set_params(**params)


def test_threshold(fitted):
    proba = fitted.predict_proba(X)
    for threshold in (0.2, 0.9):
        strict = clone_with(fitted, threshold=threshold, n_pixels=1)
        np.testing.assert_array_equal(strict.predict(X) > 0, proba > threshold)


def test_automatic_threshold_is_the_best_on_the_validation_images():
    from galaxysegment.segmenters._best_threshold import best_threshold

    truth = np.zeros((20, 20), dtype=np.int32)
    truth[2:8, 2:8], truth[12:16, 12:16] = 1, 2
    proba = np.where(truth == 1, 0.9, np.where(truth == 2, 0.5, 0.1))
    proba[5:10, 12:18] = 0.42  # noise that a low threshold takes for a source
    assert best_threshold([(proba, truth)], 5) == pytest.approx(0.45)
    assert best_threshold([(proba, np.where(truth == 1, 1, 0))], 5) == pytest.approx(0.5)
    unet = UNetSegmenter(**TINY, threshold="auto").fit(X, Y)
    assert unet.threshold_ == unet._threshold() != 0.5


@pytest.mark.parametrize("how", [True, "galaxy"])
def test_deblending_splits_touching_sources(fitted, how):
    rows, columns = np.indices((48, 48))
    image = make_images(1, shape=(48, 48), random_state=3)[0][0] * 0 + 5
    image += np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    for x in (19, 28):
        image += 40 * np.exp(-((rows - 24) ** 2 + (columns - x) ** 2) / 10)
    merged, split = (
        clone_with(fitted, deblend=deblend).predict(image[None])[0] for deblend in (False, how)
    )
    assert merged[24, 19] == merged[24, 28]
    assert split[24, 19] != split[24, 28] and split[24, 19] > 0


@pytest.mark.parametrize(("contrast", "is_split"), [(0.001, True), (0.05, False), (1.0, False)])
def test_contrast_is_the_share_of_the_light_that_a_part_needs(fitted, contrast, is_split):
    """The companion has 3 % of the light of the blend: 3.8 mag fainter than its neighbour."""
    rows, columns = np.indices((48, 48))
    light = 2000 * np.exp(-((rows - 24) ** 2 + (columns - 17) ** 2) / 10)
    light += 60 * np.exp(-((rows - 24) ** 2 + (columns - 30) ** 2) / 10)
    unet = clone_with(fitted, deblend=True, contrast=contrast)
    (scaled,) = unet._scale_all([5 + light[None]])
    labels = unet._sources((light > 1).astype(np.float32), scaled)
    assert labels[24, 17] > 0 and labels[24, 30] > 0
    assert (labels[24, 17] != labels[24, 30]) == is_split


def test_faint_companions_are_split_and_galaxies_stay_whole_by_default():
    assert UNetSegmenter().contrast == 0.001
    assert UNetSegmenter().deblend == "galaxy"


# ---- around it ----


def test_pickle_and_joblib(fitted, tmp_path):
    expected = fitted.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), expected)
    joblib.dump(fitted, tmp_path / "unet.joblib")
    loaded = joblib.load(tmp_path / "unet.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    loaded.partial_fit(X, Y)


def test_a_pickle_holds_no_training_data():
    small, large = (UNetSegmenter(**TINY | {"batch_size": n}).fit(X[:n], Y[:n]) for n in (2, 8))
    assert abs(len(pickle.dumps(large)) - len(pickle.dumps(small))) < X[0].nbytes


def test_model_selection():
    # so low a threshold that even a net of one epoch finds something
    unet = UNetSegmenter(**TINY | {"max_epochs": 1}, threshold=0.01)
    pipeline = make_pipeline(ImageNormalizer(stretch="asinh"), unet)
    grid = {"unetsegmenter__lr": [1e-3, 1e-2], "unetsegmenter__base_width": [2, 3]}
    search = GridSearchCV(pipeline, grid, scoring=iou_scorer, cv=2, n_jobs=2).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    scores = cross_val_score(clone(pipeline), list(X), list(Y), scoring=iou_scorer, cv=2)
    assert scores.shape == (2,)


def test_progress_is_shown_when_verbose(capsys):
    UNetSegmenter(**TINY | {"verbose": 1}).fit(X, Y)
    shown = capsys.readouterr()
    assert "valid_loss" in shown.out and "it/s" in shown.err
    UNetSegmenter(**TINY).fit(X, Y)
    quiet = capsys.readouterr()
    assert quiet.out == quiet.err == ""


def test_torch_is_loaded_by_fitting_only():
    code = (
        "import sys, json; from galaxysegment.segmenters import UNetSegmenter; "
        "from sklearn.base import clone;"
        "repr(clone(UNetSegmenter(lr=1))); UNetSegmenter()._validate_params();"
        "print(json.dumps([name in sys.modules for name in ('torch', 'skorch')]))"
    )
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)) == [
        False,
        False,
    ]


def test_accelerate_must_be_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match="pip install accelerate"):
        UNetSegmenter(**TINY, device="accelerate").fit(X, Y)
