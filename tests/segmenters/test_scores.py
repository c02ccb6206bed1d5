"""The scores of instances: they rank sources, and leave label maps as they are."""

import numpy as np
import pytest

from galaxysegment import (
    Instances,
    KMeansSegmenter,
    PhotutilsSegmenter,
    RandomForestSegmenter,
    SEPSegmenter,
    UNetSegmenter,
)
from galaxysegment.base import BaseSegmenter, ScoreMaps, SemanticSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import ap_scorer, average_precision
from galaxysegment.structures import label_components

HEIGHTS = (5, 8, 12, 20, 40)


@pytest.fixture(scope="module")
def field():
    return load_sample_field()


def sky(noise=1.0):
    """Gaussian sources of rising height in a row, and the pixels of their centres."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :300]
    image = noise * rng.normal(size=(60, 300)).astype(np.float32)
    for index, height in enumerate(HEIGHTS):
        distance = (y - 30) ** 2 + (x - 30 - 60 * index) ** 2
        image += (height * np.exp(-distance / 18)).astype(np.float32)
    return image


def make(name):
    """A segmenter that sees no RMS map, fitted."""
    if name == "sep":
        pytest.importorskip("sep")
        return SEPSegmenter(n_sigma=2.5)
    if name == "photutils":
        return PhotutilsSegmenter(n_sigma=2.5)
    if name == "k-means":
        return KMeansSegmenter(random_state=0).fit(sky()[np.newaxis])
    image = sky()
    forest = RandomForestSegmenter(n_estimators=10, window=5, random_state=0)
    return forest.fit(image[np.newaxis], image[np.newaxis] > 3)


NAMES = ("photutils", "sep", "k-means", "forest")


def score_at(instances, x):
    """Score of the source at row 30 and column `x`."""
    labels = instances.to_label_map()
    return instances.scores[labels[30, x] - 1]


@pytest.mark.parametrize("name", NAMES)
def test_label_and_panoptic_maps_do_not_change(name):
    segmenter, X = make(name), sky()[np.newaxis]
    labels, panoptic = segmenter.predict(X)[0], segmenter.predict(X, output="panoptic")[0]
    (instances,) = segmenter.predict(X, output="instances")
    assert np.ptp(instances.scores) > 0
    for scores in (instances.scores, -instances.scores):
        repainted = Instances(instances.shape, instances.boxes, instances.crops, scores)
        np.testing.assert_array_equal(repainted.to_label_map(), labels)
        np.testing.assert_array_equal(repainted.to_panoptic(), panoptic)


@pytest.mark.parametrize("name", ["photutils", "sep", "k-means"])
def test_scores_grow_with_brightness(name):
    (instances,) = make(name).predict(sky()[np.newaxis], output="instances")
    columns = [30 + 60 * index for index, height in enumerate(HEIGHTS)]
    labels = instances.to_label_map()
    scores = [score_at(instances, x) for x in columns if labels[30, x]]
    assert len(scores) >= 3
    assert np.all(np.diff(scores) > 0)


@pytest.mark.parametrize("deblend", [False, True])
@pytest.mark.parametrize("segmenter", [PhotutilsSegmenter, SEPSegmenter])
def test_signal_to_noise_with_an_rms_map(segmenter, deblend):
    pytest.importorskip("sep")
    image = np.stack([sky(2), np.full((60, 300), 2, dtype=np.float32)])
    instances = segmenter(rms_band=-1, box_size=300, deblend=deblend).predict(
        image[np.newaxis], output="instances"
    )[0]
    for (y0, x0, y1, x1), crop, score in zip(
        instances.boxes, instances.crops, instances.scores, strict=True
    ):
        light = image[0, y0:y1, x0:x1][crop].sum()
        # the background, near 0, is known to .1 or so
        assert score == pytest.approx(light / (2 * np.sqrt(crop.sum())), rel=0.1)


@pytest.mark.parametrize("name", ["photutils", "sep"])
def test_units_do_not_matter(name):
    images = [sky() * np.float32(unit) for unit in (1, 1e-12, 1e12)]
    scores = [
        sources.scores for sources in make(name).predict(np.stack(images), output="instances")
    ]
    assert len(scores[0]) == len(scores[1]) == len(scores[2])
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3)
    np.testing.assert_allclose(scores[2], scores[0], rtol=1e-3)


def test_a_score_of_probabilities_is_their_mean():
    forest, X = make("forest"), sky()[np.newaxis]
    proba = forest.predict_proba(X)[0]
    (instances,) = forest.predict(X, output="instances")
    means = [proba[y0:y1, x0:x1][crop].mean() for (y0, x0, y1, x1), crop in boxes_of(instances)]
    np.testing.assert_allclose(instances.scores, means, rtol=1e-6)
    assert instances.scores.min() >= forest.proba_threshold_
    assert instances.scores.max() <= 1
    labels = forest.predict(X)
    forest.calibrate(X, X > 3, method="temperature")
    (calibrated,) = forest.predict(X, output="instances")
    np.testing.assert_array_equal(calibrated.to_label_map(), labels[0])
    proba = forest.predict_proba(X)[0]
    means = [proba[y0:y1, x0:x1][crop].mean() for (y0, x0, y1, x1), crop in boxes_of(calibrated)]
    np.testing.assert_allclose(calibrated.scores, means, rtol=1e-6)


def boxes_of(instances):
    return zip(instances.boxes.tolist(), instances.crops, strict=True)


def test_unet_scores_are_mean_probabilities():
    X = sky()[np.newaxis, :, :128]
    unet = UNetSegmenter(base_width=4, depth=2, max_epochs=5, validation_fraction=0, n_views=1)
    unet.set_params(random_state=0, threshold=0.3, n_pixels=1, batch_size=1).fit(X, X > 3)
    (instances,) = unet.predict(X, output="instances")
    proba = unet.predict_proba(X)[0]
    means = [proba[y0:y1, x0:x1][crop].mean() for (y0, x0, y1, x1), crop in boxes_of(instances)]
    assert len(means) > 1
    np.testing.assert_allclose(instances.scores, means, rtol=1e-6)


@pytest.mark.parametrize("segmenter", [PhotutilsSegmenter, SEPSegmenter])
def test_ranking_beats_no_ranking(segmenter, field):
    pytest.importorskip("sep")
    estimator = segmenter(rms_band=-1, deblend=True)
    X, y = field.patches(size=256, rms=True)
    unranked = average_precision(y, estimator.predict(X))
    assert ap_scorer(estimator, X, y) > unranked + 0.03


class Relabelled(PhotutilsSegmenter):
    """Finds the same sources, numbered in another order."""

    def _segment_image(self, image):
        labels = super()._segment_image(image)
        order = np.random.default_rng(1).permutation(labels.max()) + 1
        return np.concatenate([[0], order]).astype(np.int32)[labels]


def test_numbering_does_not_matter():
    X = sky()[np.newaxis]
    (straight,) = PhotutilsSegmenter(n_sigma=2.5).predict(X, output="instances")
    (shuffled,) = Relabelled(n_sigma=2.5).predict(X, output="instances")
    assert straight.boxes.tolist() != shuffled.boxes.tolist()
    scores = [
        dict(zip(map(tuple, s.boxes.tolist()), s.scores, strict=True)) for s in (straight, shuffled)
    ]
    assert scores[0].keys() == scores[1].keys()
    for box, score in scores[0].items():
        assert scores[1][box] == pytest.approx(score)


class Numbered(BaseSegmenter):
    """Numbers its sources with gaps."""

    _requires_fit = False

    def _segment_image(self, image):
        return 10 * label_components(image[0] > 3)

    def _score_maps(self, image):
        return ScoreMaps(image[0], 1.0)


def test_numbers_with_gaps():
    image = np.zeros((20, 20))
    image[2:4, 2:4], image[8:10, 8:11] = 4, 5
    (instances,) = Numbered().predict(image[np.newaxis], output="instances")
    np.testing.assert_allclose(instances.scores, [16 / 2, 30 / np.sqrt(6)])


class Mask(SemanticSegmenter):
    """A mask has no probabilities."""

    _requires_fit = False
    n_pixels = 1

    def _image_proba(self, image):
        return image[0] > 3


def test_a_mask_has_scores_of_one():
    image = np.zeros((20, 20))
    image[2:4, 2:4] = image[8:10, 8:11] = 4
    (instances,) = Mask().predict(image[np.newaxis], output="instances")
    assert instances.scores.tolist() == [1, 1]


@pytest.mark.parametrize("segmenter", [PhotutilsSegmenter, SEPSegmenter])
@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0])
def test_pixels_without_data_or_noise_add_nothing(segmenter, bad):
    pytest.importorskip("sep")
    image = np.stack([sky(), np.ones((60, 300), dtype=np.float32)])
    image[1, 30, 268:273] = bad
    image[0, 29, 268:273] = np.nan
    (instances,) = segmenter(rms_band=-1, bridge=3).predict(image[np.newaxis], output="instances")
    assert np.isfinite(instances.scores).all()
    labels = instances.to_label_map()
    assert not labels[29:31, 268:273].any()
    mask = labels == labels[27, 270]
    expected = image[0][mask].sum() / np.sqrt(mask.sum())
    assert score_at_label(instances, labels[27, 270]) == pytest.approx(expected, rel=0.1)


def score_at_label(instances, label):
    return instances.scores[label - 1]


@pytest.mark.parametrize("segmenter", [PhotutilsSegmenter, SEPSegmenter])
def test_an_image_without_noise_has_finite_scores(segmenter):
    pytest.importorskip("sep")
    image = np.zeros((120, 120))
    image[20:26, 20:26], image[60:66, 60:66] = 5, 50
    whole_boxes = segmenter(fwhm=None, deblend=False, box_size=60)  # nothing rounds their mesh
    (instances,) = whole_boxes.predict(image[np.newaxis], output="instances")
    assert np.isfinite(instances.scores).all()
    assert len(instances) == 2
    assert instances.scores[0] < instances.scores[1]


def test_photutils_as_it_is_has_the_same_scores():
    X = sky()[np.newaxis]
    (fast,) = PhotutilsSegmenter(n_sigma=2.5).predict(X, output="instances")
    (slow,) = PhotutilsSegmenter(n_sigma=2.5, fast=False).predict(X, output="instances")
    np.testing.assert_allclose(slow.scores, fast.scores, rtol=1e-4)
