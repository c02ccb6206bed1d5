import errno
import json
import os
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline

from galaxysegment._utils.discovery import all_estimators
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment._utils.sklearn_state import forest_state, set_forest_state
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import GaussianSmoother, ImageNormalizer
from galaxysegment.segmenters import (
    DETRSegmenter,
    MaskRCNNSegmenter,
    RandomForestSegmenter,
    UNetSegmenter,
)
from galaxysegment.testing import make_images

X, Y = make_images(6)
TINY = {"base_width": 2, "depth": 2, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def unet():
    return UNetSegmenter(**TINY, threshold="auto").fit(X, Y)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


# ---- round trips ----


def test_unet_predicts_identically(unet, path):
    save(unet, path)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), unet.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), unet.predict(X))
    assert loaded.get_params() == unet.get_params()
    assert loaded.threshold_ == unet.threshold_ and loaded.n_bands_in_ == 1
    assert [row["train_loss"] for row in loaded.history_] == [
        row["train_loss"] for row in unet.history_
    ]
    with pytest.raises(ValueError, match="fitted with 1"):
        loaded.predict(np.stack([X, X], axis=1))


def test_a_loaded_model_goes_on_learning(unet, path):
    save(unet, path)
    loaded = load(path).partial_fit(X, Y)
    assert len(loaded.history_) == 4


def test_pipeline(path):
    pipeline = make_pipeline(
        GaussianSmoother(fwhm=2.5),
        ImageNormalizer(stretch="asinh"),
        UNetSegmenter(**TINY, threshold=0.1),
    )
    pipeline.fit(X, Y)
    save(pipeline, path)
    loaded = load(path)
    assert isinstance(loaded, Pipeline) and [name for name, _ in loaded.steps] == [
        name for name, _ in pipeline.steps
    ]
    np.testing.assert_array_equal(loaded.predict(X), pipeline.predict(X))


SETTINGS = {
    "DETRSegmenter": {
        "base_width": 2,
        "depth": 2,
        "d_model": 32,
        "decoder_layers": 1,
        "n_queries": 4,
        "max_epochs": 1,
        "score_threshold": 0.6,
        "random_state": 0,
    },
    "MaskRCNNSegmenter": {
        "backbone": "resnet10",
        "channels": 8,
        "n_proposals": 50,
        "max_epochs": 1,
        "score_threshold": 0.3,
        "random_state": 0,
    },
    "RandomForestSegmenter": {"n_estimators": 5, "random_state": 0},
    "UNetSegmenter": TINY,
}
BANDS = {"RMSAdder": 2, "LuptonRGB": 3}


@pytest.mark.filterwarnings("ignore:No source was found")
@pytest.mark.parametrize(
    ("name", "cls"), all_estimators("transformer") + all_estimators("segmenter")
)
def test_every_estimator(name, cls, path):
    images, labels = make_images(4, n_bands=BANDS.get(name))
    estimator = cls(**SETTINGS.get(name, {}))
    save(estimator, path)
    assert repr(load(path)) == repr(estimator)
    estimator.fit(images, labels)
    save(estimator, path)
    apply = "predict" if hasattr(cls, "predict") else "transform"
    np.testing.assert_array_equal(
        getattr(load(path), apply)(images), getattr(estimator, apply)(images)
    )


def test_forest_of_arrays():
    rng = np.random.default_rng(0)
    features, classes = rng.normal(size=(300, 4)), rng.integers(3, size=300)
    forest = RandomForestClassifier(10, max_depth=6, random_state=0).fit(features, classes)
    copy = RandomForestClassifier(10, max_depth=6)
    set_forest_state(copy, forest_state(forest))
    np.testing.assert_array_equal(copy.predict_proba(features), forest.predict_proba(features))
    np.testing.assert_allclose(copy.feature_importances_, forest.feature_importances_)


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**6), ("left_child", 0), ("feature", 99)]
)
def test_a_forged_forest_is_refused(field, value):
    rng = np.random.default_rng(0)
    forest = RandomForestClassifier(2, random_state=0).fit(
        rng.normal(size=(50, 2)), rng.integers(2, size=50)
    )
    state = forest_state(forest)
    state["nodes"][field][0] = value
    with pytest.raises(ValueError, match="tree of the forest"):
        set_forest_state(RandomForestClassifier(2), state)


def test_the_file_holds_values_of_all_kinds(path):
    tree = {
        "a": [1, 2.5, None, True, "x"],
        "t": (1, (2, 3)),
        "nan": float("nan"),
        "array": np.arange(6, dtype=">i4").reshape(2, 3),
        "scalar": np.array(3.5),
        "names": np.array([["a", "bc"]], dtype=object),
        "empty": np.zeros((0, 4), dtype=np.float32),
    }
    write_model_file(path, tree)
    back = read_model_file(path)
    assert back["a"] == tree["a"] and back["t"] == tree["t"] and np.isnan(back["nan"])
    for name in ("array", "scalar", "names", "empty"):
        np.testing.assert_array_equal(back[name], tree[name])
        assert back[name].shape == tree[name].shape


# ---- what is refused ----


def test_what_cannot_be_kept_is_refused_and_writes_nothing(path):
    with pytest.raises(TypeError, match=r"callbacks\.0 is of type object.*joblib"):
        save(UNetSegmenter(callbacks=[object()]), path)
    with pytest.raises(TypeError, match="estimators of galaxysegment"):
        save(make_pipeline(PCA(), UNetSegmenter()), path)
    with pytest.raises(TypeError, match="Got int instead"):
        save(3, path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([1j]), r"model\.a is of type array of dtype complex128"),
        (np.array(["2020-01-01"], dtype="M8[D]"), r"array of dtype datetime64"),
        (np.array([1, "a"], dtype=object), "array of dtype object"),
        ({3: 1}, r"model\.a is of type dict"),
        ({"__kind__": "array", "name": "b"}, r"model\.a is of type dict"),
        ([{"b": {1, 2}}], r"model\.a\.0\.b is of type set"),
    ],
)
def test_values_of_other_kinds_are_named(value, words, path):
    with pytest.raises(TypeError, match=words):
        write_model_file(path, {"a": value})
    assert not path.exists()


def rewrite(path, change):
    """Write a valid model file with its header's JSON changed."""
    save(GaussianSmoother(), path)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    del metadata["checksum"]  # or that alone would be the reason
    change(metadata)
    save_file(tensors, path, metadata=metadata)


def test_foreign_newer_and_damaged_files(unet, path, tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file"):
        load(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="damaged or no model file"):
        load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not of galaxysegment"):
        load(path)
    save(unet, path)
    content = path.read_bytes()
    for stop in (4, 100, len(content) - 10):
        path.write_bytes(content[:stop])
        with pytest.raises(ValueError, match="damaged"):
            load(path)
    rewrite(path, lambda metadata: metadata.update(format_version="99"))
    with pytest.raises(ValueError, match=r"version '99'.*update galaxysegment"):
        load(path)


@pytest.mark.parametrize(
    "tree",
    [
        "[]",
        "{}",
        "3",
        "{not json",
        '{"__kind__": "object", "class": "os.system", "params": {}, "state": null}',
        '{"__kind__": "object", "class": "PCA", "params": {}, "state": null}',
        '{"__kind__": "object", "class": "GaussianSmoother", "params": {"no_such": 1}, '
        '"state": null}',
        '{"__kind__": "object", "class": "GaussianSmoother", "params": {}, "state": {"fit": 1}}',
        '{"__kind__": "object", "class": "GaussianSmoother", "params": {}, '
        '"state": {"__class__": 1}}',
        '{"__kind__": "array", "name": "nowhere"}',
        '{"__kind__": "function", "name": "eval"}',
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tree, path):
    rewrite(path, lambda metadata: metadata.update(tree=tree))
    with pytest.raises(ValueError, match="damaged"):
        load(path)


def test_weights_of_another_shape_are_refused(unet, path):
    save(unet, path)
    tree = read_model_file(path)
    tree["state"]["module_params"]["base_width"] = 3
    write_model_file(path, tree)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(path)


# ---- nothing half-written ----


def test_a_full_disk_leaves_the_old_file(unet, path, monkeypatch):
    save(unet, path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"could not be written \(No space left"):
        save(GaussianSmoother(), path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there(path):
    with pytest.raises(OSError, match="could not be written"):
        save(GaussianSmoother(), path / "deeper" / "model.safetensors")


# ---- weights ----


def test_weights_from_a_file(unet, path):
    save(unet, path)
    ready = UNetSegmenter(weights=path, threshold="auto")
    np.testing.assert_array_equal(ready.predict(X), unet.predict(X))
    tuned = UNetSegmenter(weights=str(path), **TINY | {"lr": 1e-9}).fit(X, Y)
    assert len(tuned.history_) == 2
    np.testing.assert_allclose(tuned.predict_proba(X), unet.predict_proba(X), atol=0.1)


@pytest.mark.parametrize("segmenter", [DETRSegmenter, MaskRCNNSegmenter, UNetSegmenter])
def test_weights_may_be_a_path(segmenter, unet, path, tmp_path):
    if segmenter is UNetSegmenter:
        save(unet, path)
        segmenter = partial(UNetSegmenter, threshold="auto")
        np.testing.assert_array_equal(segmenter(weights=path).predict(X), unet.predict(X))
    else:
        # of another program, read in `fit`: a folder or a state dict
        path = tmp_path if segmenter is DETRSegmenter else path.with_suffix(".pth")
    save(segmenter(weights=path), tmp_path / "copy.safetensors")
    assert load(tmp_path / "copy.safetensors").weights == str(path)


def test_weights_that_are_not_there_or_of_another_class(path):
    with pytest.raises(ValueError, match=r"neither a file nor a name.*vis"):
        UNetSegmenter(weights="no_such").predict(X)
    with pytest.raises(FileNotFoundError):
        UNetSegmenter(weights=path).predict(X)
    with pytest.raises(NotFittedError, match="weights='vis'"):
        UNetSegmenter().predict(X)
    with pytest.raises(ValueError, match=r"^device='toaster' is no device of torch"):
        UNetSegmenter(weights="vis", device="toaster").predict(X)
    save(GaussianSmoother(), path)
    with pytest.raises(ValueError, match=r"holds no fitted UNetSegmenter .but: GaussianSmoother"):
        UNetSegmenter(weights=path).fit(X, Y)
    save(UNetSegmenter(), path)
    with pytest.raises(ValueError, match="no fitted UNetSegmenter"):
        UNetSegmenter(weights=path).predict(X)


def test_weights_that_are_damaged(unet, path):
    save(unet, path)
    tree = read_model_file(path)
    del tree["state"]["tensors"]["head.bias"]
    write_model_file(path, tree)
    with pytest.raises(ValueError, match=r"cannot be used \(ValueError.*head\.bias"):
        UNetSegmenter(weights=path).predict(X)


def test_json_of_the_header_is_readable(unet, path):
    from safetensors import safe_open

    save(unet, path)
    with safe_open(path, framework="numpy") as file:
        tree = json.loads(file.metadata()["tree"])
    assert tree["class"] == "UNetSegmenter" and tree["params"]["base_width"] == 2


@pytest.mark.parametrize(("n_jobs", "loaded_jobs"), [(2, 2), (64, 64), (100_000, -1), (None, None)])
def test_no_file_starts_a_hundred_thousand_workers(path, n_jobs, loaded_jobs):
    forest = RandomForestSegmenter(n_estimators=3, random_state=0).fit(X, Y)
    save(make_pipeline(GaussianSmoother(), forest.set_params(n_jobs=n_jobs)), path)
    loaded = load(path)[-1]
    assert loaded.n_jobs == loaded_jobs
    np.testing.assert_array_equal(loaded.predict(X[:1]), forest.set_params(n_jobs=1).predict(X[:1]))
