"""Nets of any number of bands, in any order: their module, scaling, sources, files, mosaics."""

import numpy as np
import pytest
import torch

from galaxysegment.export import to_onnx
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.nets.unet._module import UNet
from galaxysegment.persistence import load, save
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.segmenters._scaling import noise_scaled, stacked
from galaxysegment.structures import GALAXY, SKY, STAR


def scene(n_bands=3, side=96, seed=0):
    """Bands with six sources of a colour each, in units of their own; and the label map."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((side, side))
    image = rng.standard_normal((n_bands, side, side))
    labels = np.zeros((side, side), dtype=np.int32)
    for label in range(1, 7):
        y, x = rng.uniform(8, side - 8, 2)
        light = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * rng.uniform(1.5, 3) ** 2))
        image += rng.uniform(5, 60, n_bands)[:, None, None] * light
        labels[light > 0.1] = label
    units = np.exp(rng.normal(size=n_bands)) * np.arange(1, n_bands + 1)
    return (image * units[:, None, None]).astype(np.float32), labels


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    """A small net of any number of bands, which was trained on one, from its file."""
    start = UNetSegmenter(base_width=4, depth=3, scaling="noise", n_views=1, max_epochs=40)
    start.set_params(classes=(GALAXY, STAR), lr=0.01, validation_fraction=0, random_state=0)
    X, y = zip(*(scene(1, seed=seed) for seed in range(4)), strict=True)
    truths = [np.stack([(labels > 0) * (1 + labels % 2), labels]) for labels in y]
    state = start.fit(list(X), truths)._get_model_state()
    params = {**state["module_params"], "n_bands": None}
    torch.manual_seed(0)
    tensors = {name: tensor.numpy() for name, tensor in UNet(**params).state_dict().items()}
    first = 0.05 * tensors["encoder.0.0.weight"]
    first[:, :1] = state["tensors"]["encoder.0.0.weight"]
    tensors |= {**state["tensors"], "encoder.0.0.weight": first}
    state |= {"n_net_bands": None, "module_params": params, "tensors": tensors}
    del state["n_bands_in"]
    unet = UNetSegmenter(scaling="noise", n_views=1)
    unet._set_model_state(state)
    path = tmp_path_factory.mktemp("any") / "any.safetensors"
    save(unet, path)
    return load(path)


# ---- the module ----


@pytest.mark.parametrize("n_bands", [1, 2, 5])
def test_the_order_of_the_bands_does_not_matter(n_bands):
    torch.manual_seed(0)
    net = UNet(n_bands=None, base_width=4, depth=3, n_outputs=2).eval()
    image = torch.randn(2, n_bands, 40, 36)
    expected = net(image)
    assert expected.shape == (2, 2, 40, 36)
    order = torch.randperm(n_bands)
    torch.testing.assert_close(net(image[:, order]), expected, rtol=1e-4, atol=1e-5)


def test_a_band_without_data_does_not_count():
    torch.manual_seed(0)
    net = UNet(n_bands=None, base_width=4, depth=2).eval()
    image = torch.randn(1, 3, 32, 32)
    padded = torch.cat([image, torch.zeros(1, 2, 32, 32)], dim=1)
    torch.testing.assert_close(net(padded), net(image), rtol=1e-4, atol=1e-5)


def test_the_stack_comes_first_and_a_single_band_is_its_own_stack():
    pool = UNet(n_bands=None, base_width=4).pool
    image = torch.randn(1, 4, 16, 16)
    stack = pool(image)[:, :1]
    expected = torch.asinh(torch.sinh(image).sum(dim=1, keepdim=True) / 2)
    torch.testing.assert_close(stack, expected)
    torch.testing.assert_close(pool(image[:, :1])[:, :1], image[:, :1])
    np.testing.assert_allclose(stacked(image[0].numpy()), expected[0], rtol=1e-4, atol=1e-6)


def test_the_stack_of_what_there_is():
    image = np.arcsinh(np.array([[[3.0, 4.0, np.nan]], [[1.0, np.nan, np.nan]]]))
    expected = [[[4 / np.sqrt(2), 4.0, np.nan]]]
    np.testing.assert_allclose(np.sinh(stacked(image)), expected, rtol=1e-6)


# ---- the segmenter ----


def test_any_number_of_bands_in_any_order(unet):
    assert unet.n_net_bands_ is None
    for n_bands in (1, 2, 3, 6):
        image, labels = scene(n_bands, seed=20)
        proba = unet.predict_class_proba(image[None])[0]
        assert proba.shape == (3, 96, 96)
        again = unet.predict_class_proba(image[None, ::-1])[0]
        np.testing.assert_allclose(again, proba, atol=0.02)  # sums in half precision
        light = proba[1:].sum(axis=0)
        assert light[labels > 0].mean() > 1.5 * light[labels == 0].mean()


def test_sources_are_split_and_weighed_in_the_stack(unet):
    image, _ = scene(3, seed=21)
    images = np.stack([image, image[[2, 0, 1]]])
    first, second = unet.predict(images, output="panoptic")
    assert first[1].max() >= 3 and set(np.unique(first[0])) <= {SKY, GALAXY, STAR}
    assert np.mean(first != second) < 0.01
    scaled = noise_scaled(image, None)
    np.testing.assert_allclose(unet._seen(scaled), stacked(scaled))


def test_tiles_give_the_sources_of_the_whole(unet):
    image, _ = scene(3, side=192, seed=22)
    whole = unet.predict(image[None])[0]
    tiled = segment_mosaic(unet, image, tile_size=96, progress=False)
    assert whole.max() >= 3
    assert np.mean((whole > 0) != (tiled > 0)) < 0.002


def test_a_band_may_lack_data_where_others_have_them(unet):
    image, _ = scene(3, seed=23)
    image[0, :40] = np.nan
    image[:, :, 90:] = np.nan
    labels = unet.predict(image[None])[0]
    assert labels[:40].any() and not labels[:, 90:].any()


def test_the_file_says_that_the_bands_are_free(unet, tmp_path):
    path = tmp_path / "net.safetensors"
    save(unet, path)
    again = UNetSegmenter(weights=path, n_views=1)
    image, _ = scene(4, seed=24)
    np.testing.assert_array_equal(again.predict(image[None]), unet.predict(image[None]))


def test_the_net_is_exported(unet, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "any.onnx"
    to_onnx(unet, path)
    session = onnxruntime.InferenceSession(path)
    for n_bands in (2, 5):
        image, _ = scene(n_bands, seed=25)
        scaled = noise_scaled(image, None)
        (proba,) = session.run(None, {"image": scaled[None]})
        expected = unet.set_params(precision="float32")._net_proba([scaled])[0]
        np.testing.assert_allclose(proba[0], expected, atol=0.02)
