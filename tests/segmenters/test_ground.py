"""Seams, correlated noise and large objects: what photutils and sep make of them."""

import warnings

import numpy as np
import pytest
from scipy import ndimage

from galaxysegment import NoSourcesWarning, PhotutilsSegmenter, SEPSegmenter
from galaxysegment.mosaic import segment_mosaic

SHAPE = (330, 400)
DEEP = {"n_sigma": 1.0}
ALONE = {"level_seams": False, "correlated_noise": False, "mask_objects": False}


@pytest.fixture(params=[PhotutilsSegmenter, SEPSegmenter])
def segmenter(request):
    if request.param is SEPSegmenter:
        pytest.importorskip("sep", reason="sep is not installed")
    return request.param


def noise(seed=0):
    return np.random.default_rng(seed).normal(100, 1, SHAPE).astype(np.float32)


def with_step(tilt=0.0, gap=0):
    """Noise whose sky rises by 2 sigma at column 210."""
    image = noise()
    y, x = np.indices(SHAPE)
    image += 2 * (x >= 210 + tilt * (y - 165))
    image[:, 200 : 200 + gap] = np.nan
    return image


def correlated():
    smooth = ndimage.gaussian_filter(noise() - 100, 1)
    return 100 + smooth / smooth.std()


def with_galaxy():
    """An exponential disk 200 pixels wide, and 20 faint sources beside it."""
    y, x = np.indices(SHAPE)
    image = noise() + 40 * np.exp(-np.hypot(y - 150, x - 180) / 30)
    for index in range(20):
        offset = np.hypot(y - 20 - 14 * index, x - 385)
        image += 10 * np.exp(-(offset**2) / 8)
    return image.astype(np.float32)


def labels_of(segmenter, image, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSourcesWarning)
        return segmenter(**parameters).predict(image[np.newaxis])[0]


def in_raster_order(labels):
    """Label map whose sources are numbered in the order of their first pixels."""
    values, first = np.unique(labels, return_index=True)
    order = np.zeros(values.max() + 1, int)
    order[values[values > 0][np.argsort(first[values > 0])]] = np.arange(1, (values > 0).sum() + 1)
    return order[labels]


@pytest.mark.parametrize(
    "image",
    [with_step(), with_step(tilt=0.12), with_step(gap=20), correlated()],
    ids=["straight", "tilted", "gap", "correlated"],
)
def test_no_source_where_there_is_none(segmenter, image):
    assert labels_of(segmenter, image, **DEEP).max() == 0


def test_seams_and_correlated_noise_are_sources_without_the_options(segmenter):
    parameters = {"n_sigma": 0.8, "box_size": 128}
    assert labels_of(segmenter, with_step(), **parameters, level_seams=False).max() > 0
    assert labels_of(segmenter, correlated(), **parameters, correlated_noise=False).max() > 30


@pytest.mark.parametrize("deblend", [False, True])
def test_plain_noise_with_sources_is_treated_alike_with_and_without(segmenter, deblend):
    image = noise()
    y, x = np.indices(SHAPE)
    for centre in np.random.default_rng(1).uniform(10, 320, (30, 2)):
        image += (30 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 6)).astype("f4")
    labels = labels_of(segmenter, image, deblend=deblend)
    assert labels.max() > 25
    alone = labels_of(segmenter, image, deblend=deblend, **ALONE)
    np.testing.assert_array_equal(labels, alone)


def test_the_background_does_not_swallow_a_large_galaxy(segmenter):
    image = with_galaxy()
    y, x = np.indices(SHAPE)
    disk = np.hypot(y - 150, x - 180) < 80
    alone = labels_of(segmenter, image, mask_objects=False)
    labels = labels_of(segmenter, image)
    label = labels[150, 180]
    assert (alone[disk] == alone[150, 180]).mean() < 0.95
    assert label > 0 and (labels[disk] == label).mean() > 0.97
    assert len(np.unique(labels)) > 20


def test_photutils_itself_leaves_the_same_boxes_out():
    image = with_galaxy()
    fast, slow = (labels_of(PhotutilsSegmenter, image, fast=fast) > 0 for fast in (True, False))
    assert np.count_nonzero(fast & slow) > 0.99 * np.count_nonzero(fast | slow)


@pytest.mark.parametrize("n_bands", [1, 2])
@pytest.mark.parametrize("with_rms", [False, True])
def test_tiles_know_the_ground_of_the_mosaic(segmenter, n_bands, with_rms):
    """Everything at once: a tilted seam, correlated noise and a galaxy larger than a tile."""
    y, x = np.indices(SHAPE)
    image = np.stack([correlated() + with_galaxy() - noise() for _ in range(n_bands)])
    image[:, :, 210:] += 3
    image[0][x >= 300 + 0.1 * y] -= 3
    if with_rms:
        image = np.concatenate([image, np.ones((1, *SHAPE), np.float32)])
    chosen = segmenter(rms_band=-1 if with_rms else None)
    whole = in_raster_order(chosen.predict(image[np.newaxis])[0])
    tiles = segment_mosaic(
        chosen,
        image[:n_bands],
        rms=image[-1] if with_rms else None,
        tile_size=150,
        progress=False,
    )
    np.testing.assert_array_equal(in_raster_order(tiles), whole)


@pytest.mark.parametrize("name", ["level_seams", "correlated_noise", "mask_objects"])
def test_options_are_checked(segmenter, name):
    with pytest.raises(ValueError, match=name):
        segmenter(**{name: "yes"}).predict(noise()[np.newaxis])


def test_defaults_find_what_most_users_tune_to(segmenter):
    """Sources of a crowded field, and none on noise that steps or is correlated."""
    from galaxysegment.datasets import make_field
    from galaxysegment.metrics import detection_scores

    field = make_field((320, 320), density=250, random_state=3)
    former = {"n_sigma": 1.5, "n_pixels": 10, "box_size": 50, "deblend": False}
    images = [field.image[0]]
    f1 = detection_scores([field.labels], segmenter().predict(images)).f1
    assert f1 > detection_scores([field.labels], segmenter(**former).predict(images)).f1 + 0.1
    for image in (noise(), with_step(), correlated()):
        assert labels_of(segmenter, image).max() == 0


def test_sep_measures_the_background_once(monkeypatch):
    """Whole images took their background from the boxes of the first pass, then measured again."""
    sep = pytest.importorskip("sep", reason="sep is not installed")
    shapes = []
    measure = sep.Background

    def background(image, **options):
        shapes.append(image.shape)
        return measure(image, **options)

    monkeypatch.setattr(sep, "Background", background)
    labels_of(SEPSegmenter, noise())
    assert SHAPE not in shapes
    labels_of(SEPSegmenter, noise(), mask_objects=False)
    assert SHAPE in shapes
