"""A U-Net in an ONNX file gives the probabilities that torch gives, on images of any size."""

import json

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from galaxysegment import PhotutilsSegmenter, UNetSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.export import net_inputs, to_onnx
from galaxysegment.testing import make_images

SHAPES = [(64, 64), (33, 100), (128, 47)]


@pytest.fixture(scope="module")
def unet():
    X, y = make_images(4, shape=(64, 64))
    tiny = {"base_width": 4, "depth": 2, "max_epochs": 20, "validation_fraction": 0}
    return UNetSegmenter(**tiny, precision="float32", random_state=0).fit(X, y)


def run(path, inputs):
    """Run an ONNX file; give its probabilities and its metadata."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (probability,) = session.run(None, {"image": inputs})
    return probability, session.get_modelmeta().custom_metadata_map


@pytest.mark.parametrize("n_views", [1, 8])
def test_onnx_gives_the_probabilities_of_torch(unet, tmp_path, n_views):
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    unet.set_params(n_views=n_views)
    to_onnx(unet, tmp_path / "unet.onnx")
    for n_images, shape in enumerate(SHAPES, start=1):
        X, _ = make_images(n_images, shape=shape)
        X[0, :5, 7] = np.nan
        inputs = np.stack(net_inputs(unet, X))
        assert np.isnan(inputs).sum() == 5
        probability, _ = run(tmp_path / "unet.onnx", inputs)
        has_data = ~np.isnan(X)
        assert probability.shape == X.shape and probability[has_data].std() > 0.01
        np.testing.assert_allclose(
            probability[has_data], unet.predict_proba(X)[has_data], rtol=0, atol=1e-4
        )
    assert [file.name for file in tmp_path.iterdir()] == ["unet.onnx"]


def test_the_shipped_net_is_exported_with_its_thresholds(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    unet = UNetSegmenter(weights="vis", rms_band=-1, n_views=1, precision="float32")
    X, _ = load_sample_field().patches(size=128, rms=True)
    to_onnx(unet, tmp_path / "vis.onnx")
    probability, metadata = run(tmp_path / "vis.onnx", np.stack(net_inputs(unet, X[:2])))
    before, after = json.loads(metadata["calibration"])
    clipped = np.clip(probability.astype(float), 1e-4, 1 - 1e-4)
    logit = np.log(clipped / (1 - clipped))
    calibrated = 1 / (1 + np.exp(-np.interp(logit, before, after)))
    between = (logit > before[0]) & (logit < before[-1])
    expected = unet.predict_proba(X[:2])
    np.testing.assert_allclose(calibrated[between], expected[between], rtol=0, atol=1e-4)
    above = probability > json.loads(metadata["threshold"])
    assert (above != (expected > unet.proba_threshold_)).mean() < 1e-4
    assert metadata["scaling"] == "noise" and json.loads(metadata["n_bands"]) == 1
    assert json.loads(metadata["halo"]) == unet.net_.module_.halo


def test_classes_are_exported(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    X, y = make_images(2, shape=(64, 64))
    truth = np.stack([np.where(y > 0, 1 + y % 2, 0), y], axis=1)
    tiny = {"base_width": 4, "depth": 2, "max_epochs": 2, "validation_fraction": 0, "n_views": 1}
    unet = UNetSegmenter(classes=(1, 2), **tiny, precision="float32", random_state=0).fit(X, truth)
    to_onnx(unet, tmp_path / "unet.onnx")
    probability, metadata = run(tmp_path / "unet.onnx", np.stack(net_inputs(unet, X)))
    np.testing.assert_allclose(probability, unet.predict_class_proba(X), rtol=0, atol=1e-4)
    assert json.loads(metadata["classes"]) == [0, 1, 2]


def test_what_goes_into_the_net_is_what_the_page_says(unet):
    X, _ = make_images(2)
    expected = np.arcsinh((X - unet.centre_[0]) / unet.scale_[0])
    np.testing.assert_allclose(np.stack(net_inputs(unet, X))[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("call", [lambda s: to_onnx(s, "a.onnx"), lambda s: net_inputs(s, [])])
def test_other_segmenters_are_refused(call):
    with pytest.raises(TypeError, match=r"must be a UNetSegmenter. Got PhotutilsSegmenter"):
        call(PhotutilsSegmenter())


def test_without_a_net_there_is_nothing_to_export(tmp_path):
    with pytest.raises(NotFittedError):
        to_onnx(UNetSegmenter(), tmp_path / "unet.onnx")


def test_a_missing_package_is_named(unet, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"needs the package onnx, which is not installed"):
        to_onnx(unet, tmp_path / "unet.onnx")
    assert not list(tmp_path.iterdir())
