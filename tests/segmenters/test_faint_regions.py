"""Small regions that hold no more light than the noise makes are no sources of a net."""

import copy

import numpy as np
import pytest

from galaxysegment import NoSourcesWarning, UNetSegmenter
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.segmenters._faint_regions import without_noise

# top, left, height, width of four regions
CLUMP, SOURCE, LARGE, EDGE = (2, 2, 4, 4), (2, 20, 4, 4), (20, 2, 5, 13), (20, 30, 8, 8)


def regions(*signals):
    """Label map of `CLUMP`, `SOURCE`, `LARGE` and `EDGE`, and light that gives each its S/N."""
    labels, light = np.zeros((40, 48), dtype=np.int32), np.zeros((40, 48))
    places = (CLUMP, SOURCE, LARGE, EDGE)
    for label, ((y, x, height, width), signal) in enumerate(zip(places, signals, strict=True), 1):
        labels[y : y + height, x : x + width] = label
        light[y : y + height, x : x + width] = signal / np.sqrt(height * width)
    return labels, np.arcsinh(light)[np.newaxis]


def left_over(labels, seen):
    """Regions that stay, by their old labels; the new ones must count from 1."""
    kept = without_noise(labels, seen, 3)
    assert np.unique(kept[kept > 0]).tolist() == list(range(1, kept.max() + 1))
    assert kept.dtype == np.int32
    pairs = np.unique(np.stack([labels, kept])[:, kept > 0], axis=1)
    assert (np.diff(pairs[1]) == 1).all()
    np.testing.assert_array_equal(kept > 0, np.isin(labels, pairs[0]) & (labels > 0))
    return pairs[0].tolist()


def test_small_regions_need_three_times_their_noise():
    assert left_over(*regions(2.9, 3.1, 1.0, 2.9)) == [2, 3]  # 65 pixels are no small region
    assert left_over(*regions(3.1, 2.9, -1.0, 3.1)) == [1, 3, 4]
    assert left_over(*regions(2.0, 2.0, 9.0, -2.0)) == [3]


def test_pixels_without_data_add_neither_light_nor_noise():
    labels, seen = regions(3.1, 3.1, 9.0, 9.0)
    seen[0, 2:5, 2:6] = np.nan  # a quarter of the pixels has half of the signal to noise
    assert left_over(labels, seen) == [2, 3, 4]
    seen[0, 5, 2:6] = np.arcsinh(1.6)
    assert left_over(labels, seen) == [1, 2, 3, 4]
    seen[0, 2:6, 2:6] = np.nan  # nothing is known about it
    assert left_over(labels, seen) == [1, 2, 3, 4]


def test_bands_count_together():
    labels, seen = regions(1.6, 1.4, 9.0, 9.0)
    assert left_over(labels, np.repeat(seen, 4, axis=0)) == [1, 3, 4]


def test_an_empty_map_stays():
    empty = np.zeros((5, 6), dtype=np.int32)
    np.testing.assert_array_equal(without_noise(empty, np.zeros((1, 5, 6)), 3), empty)


@pytest.fixture
def told(monkeypatch):
    """A net that takes bright pixels, and faint ones that are marked so, for sources."""
    unet = UNetSegmenter(weights="vis", device="cpu", n_views=1, bridge=0, no_data="nan")
    unet._ready_net()

    def proba(images):
        return [1.0 * (image[0] > 0.1) for image in images]

    monkeypatch.setattr(unet, "_net_proba", proba)
    monkeypatch.setattr(unet, "_scale_all", lambda images: images)
    return unet


def test_only_a_signal_to_noise_is_asked(told):
    _, seen = regions(2.9, 3.1, 9.0, 2.9)
    X = seen[np.newaxis].astype(np.float32)
    assert told.predict(X)[0].max() == 2
    assert [len(sources) for sources in told.predict(X, output="instances")] == [2]
    assert told.predict_proba(X)[0][labels_at(CLUMP)].min() > 0.5
    assert told.set_params(min_snr=2.8).predict(X)[0].max() == 4
    assert told.set_params(min_snr=3.2).predict(X)[0].max() == 1
    X[:] = np.where(X > 0, 0.11, 0)  # a S/N of .9 and less
    assert told.set_params(min_snr=0).predict(X)[0].max() == 4
    told.set_params(min_snr=3).scaling_ = "asinh"  # in units of the scatter of training images
    assert told.predict(X)[0].max() == 4


def labels_at(place):
    """Slices of a region."""
    y, x, height, width = place
    return slice(y, y + height), slice(x, x + width)


def test_an_image_of_noise_alone_warns(told):
    _, seen = regions(2.9, 2.9, 0.0, 2.9)
    with pytest.warns(NoSourcesWarning):
        assert told.predict(seen[np.newaxis].astype(np.float32)).max() == 0


@pytest.mark.parametrize("deblend", [False, "galaxy"])
def test_tiles_drop_the_regions_that_the_whole_drops(told, deblend):
    rng = np.random.default_rng(0)
    image = np.zeros((1, 420, 400), dtype=np.float32)
    for y, x in rng.integers(4, 390, (150, 2)):
        height, width = rng.integers(3, 10, 2)
        light = rng.uniform(1, 5) / np.sqrt(height * width)
        image[0, y : y + height, x : x + width] = np.arcsinh(max(light, 0.11))
    unet = copy.copy(told).set_params(deblend=deblend, min_snr=0)
    n_regions = unet.predict(image[np.newaxis])[0].max()
    unet.set_params(min_snr=3)
    whole = unet.predict(image[np.newaxis])[0]
    assert 0 < whole.max() < n_regions - 10
    tiled = segment_mosaic(unet, image, tile_size=120, progress=False)
    np.testing.assert_array_equal(tiled, whole)
