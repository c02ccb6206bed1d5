import inspect

import numpy as np
import pytest

from galaxysegment.mosaic import segment_mosaic
from galaxysegment.nets.unet import _prediction
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.segmenters._scaling import Scaler
from galaxysegment.testing import make_images

X, Y = make_images(4)


@pytest.mark.parametrize("depth", [1, 3])
def test_tiles_have_no_seams(depth, monkeypatch):
    unet = UNetSegmenter(
        base_width=4, depth=depth, max_epochs=2, precision="float32", random_state=0
    ).fit(X, Y)
    image = np.random.default_rng(0).normal(5, 3, size=(1, 203, 150)).astype(np.float32)
    whole = unet.predict_proba(image)
    monkeypatch.setattr(_prediction, "_TILE", 2 * unet.net_.module_.halo + 40)
    np.testing.assert_allclose(unet.predict_proba(image), whole, atol=1e-5)


def test_order_is_kept_among_images_of_different_shapes():
    unet = UNetSegmenter(
        base_width=2, depth=2, max_epochs=1, precision="float32", random_state=0
    ).fit(X, Y)
    images = [X[0], X[1][:20], X[2], X[3][:20], X[1]]
    together = unet.predict_proba(images)
    for image, probabilities in zip(images, together, strict=True):
        np.testing.assert_allclose(probabilities, unet.predict_proba([image])[0], atol=1e-5)


@pytest.mark.parametrize(("n_views", "turn"), [(4, "flip"), (8, "rotation")])
def test_the_mean_over_views_turns_with_the_image(n_views, turn):
    unet = UNetSegmenter(
        base_width=2, depth=2, max_epochs=1, precision="float32", random_state=0
    ).fit(X, Y)
    image = np.random.default_rng(0).normal(5, 3, size=(1, 24, 40)).astype(np.float32)
    turned = np.rot90(image, axes=(1, 2)) if turn == "rotation" else image[:, ::-1]
    single_view = unet.set_params(n_views=1).predict_proba(turned)[0]
    averaged, expected = (
        unet.set_params(n_views=n_views).predict_proba(x)[0] for x in (turned, image)
    )
    expected = np.rot90(expected) if turn == "rotation" else expected[::-1]
    np.testing.assert_allclose(averaged, expected, atol=1e-5)
    assert np.abs(single_view - averaged).max() > 1e-4


def test_an_image_is_scaled_once(monkeypatch):
    unet = UNetSegmenter(
        base_width=2, depth=2, max_epochs=1, deblend=True, n_views=1, random_state=0
    ).fit(X, Y)
    calls, scale_image = [], Scaler.scale_image
    monkeypatch.setattr(
        Scaler, "scale_image", lambda self, image: calls.append(1) or scale_image(self, image)
    )
    labels = unet.set_params(threshold=0.0).predict(X[:1])
    assert labels.max() > 0
    assert len(calls) == 1


def test_a_tile_of_a_mosaic_is_not_cut_again():
    unet = UNetSegmenter(weights="vis")
    tile_size = inspect.signature(segment_mosaic).parameters["tile_size"].default
    overlap = unet.reach + 64  # at least 64 pixels more than the reach: see `choose_overlap`
    assert tile_size + 2 * overlap + unet.phase <= _prediction._TILE
