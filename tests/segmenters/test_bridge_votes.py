"""The masked core of a saturated star says that its source is a star, in images and in mosaics."""

import numpy as np
import pytest

from galaxysegment import UNetSegmenter
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.segmenters._pixel_classes import bridge_votes
from galaxysegment.structures import ARTEFACT, GALAXY, STAR
from tests.mosaic.test_panoptic import FourKinds

CODES = (GALAXY, STAR, ARTEFACT)


def votes_and_gaps():
    """Votes of four classes and two other maps; a core of 9 × 8 pixels, a trail, two columns."""
    rng = np.random.default_rng(0)
    gaps = np.zeros((40, 50), dtype=bool)
    gaps[10:19, 10:18] = gaps[19:30, 11:15] = gaps[:, 40:42] = True
    is_core = np.zeros_like(gaps)
    is_core[10:19, 10:18] = True
    return rng.uniform(1, 2, (6, 40, 50)), gaps, is_core


def test_cores_vote_for_a_star_and_narrow_gaps_for_nothing():
    votes, gaps, is_core = votes_and_gaps()
    told = bridge_votes(votes, gaps, CODES)
    np.testing.assert_array_equal(told[:, ~gaps], votes[:, ~gaps])
    np.testing.assert_allclose(told[2][is_core], votes[:4, is_core].sum(axis=0))
    assert not told[:, gaps & ~is_core].any()
    assert not told[[0, 1, 3]][:, gaps].any()
    assert np.isnan(told[4:, is_core]).all()


def test_a_net_without_stars_hears_nothing_of_gaps():
    votes, gaps, _ = votes_and_gaps()
    told = bridge_votes(votes, gaps, (GALAXY, ARTEFACT))
    np.testing.assert_array_equal(told, np.where(gaps, 0, votes))
    assert bridge_votes(votes, np.zeros_like(gaps), CODES) is votes


def scene(shape=(330, 340)):
    """Round sources on noise: a saturated star and a galaxy that dead columns cross, and others."""
    rng = np.random.default_rng(1)
    y, x = np.indices(shape)
    image = rng.normal(size=shape)
    places = [(118, 123), (60, 250), (200, 60), (250, 250), (20, 20), (300, 122)]
    for y0, x0 in places:
        image += 400 * np.exp(-np.hypot(y - y0, x - x0) / 8)
    image[108:130, 112:133] = image[120:160, 121:124] = np.nan  # a core and its trail
    image[:, 250:253] = np.nan
    return image[np.newaxis].astype(np.float32), places


@pytest.fixture
def told(monkeypatch):
    """A net that takes all that is bright for galaxies, but is not sure of it."""
    unet = UNetSegmenter(weights="sky", device="cpu", n_views=1)
    unet._ready_net()
    unet._star_rule = None  # the votes alone

    def proba(images):
        light = [np.nan_to_num(image[0]) > 1 for image in images]
        return [np.stack([0.9 - 0.8 * x, 0.1 + 0.4 * x, 0.4 * x, 0.0 * x]) for x in light]

    monkeypatch.setattr(unet, "_net_proba", proba)
    return unet


def class_at(panoptic, place, distance=14):
    """Class in four directions from a place, which must be the same source."""
    y, x = place
    steps = [(dy, dx) for dy in (-distance, distance) for dx in (-distance, distance)]
    owners = {tuple(panoptic[:, y + dy, x + dx]) for dy, dx in steps}
    assert len(owners) == 1, owners
    return owners.pop()[0]


@pytest.mark.parametrize("label_bridge", [False, True])
def test_a_star_with_a_masked_core_is_a_star(told, label_bridge):
    X, places = scene()
    told.set_params(label_bridge=label_bridge)
    (panoptic,) = told.predict(X[np.newaxis], output="panoptic")
    assert [class_at(panoptic, place) for place in places] == [STAR] + 5 * [GALAXY]
    (sources,) = told.predict(X[np.newaxis], output="instances")
    assert (sources.classes == STAR).sum() == 1
    np.testing.assert_array_equal(panoptic[1] > 0, sources.to_label_map() > 0)
    assert bool(panoptic[1, 118, 123]) == label_bridge
    told.set_params(bridge=0)
    (sources,) = told.predict(X[np.newaxis], output="instances")
    assert (sources.classes == GALAXY).all()


def test_the_score_is_that_of_the_pixels_with_data(told):
    X, _ = scene()
    (sources,) = told.predict(X[np.newaxis], output="instances")
    proba = told.predict_proba(X[np.newaxis])[0]
    for score, mask in zip(sources.scores, sources.masks, strict=True):
        np.testing.assert_allclose(score, proba[mask].mean(), rtol=1e-6)


@pytest.mark.parametrize("tile_size", [90, 121])
@pytest.mark.parametrize("label_bridge", [False, True])
def test_tiles_hear_the_core_as_the_whole_does(told, tile_size, label_bridge):
    X, places = scene()
    told.set_params(label_bridge=label_bridge)
    (whole,) = told.predict(X[np.newaxis], output="panoptic")
    options = {"tile_size": tile_size, "progress": False}
    tiled = segment_mosaic(told, X, kind="panoptic", **options)
    np.testing.assert_array_equal(tiled, whole)
    assert class_at(tiled, places[0]) == STAR


@pytest.mark.parametrize("label_bridge", [False, True])
def test_gaps_tell_other_segmenters_nothing(label_bridge):
    light = np.zeros((4, 60, 90), dtype=np.float32)
    light[0, 10:50, 20:50], light[1, 10:50, 20:50] = 5, 0.4
    light[1, 30, 20:50] = 1  # what is interpolated between these would be a star
    light[:, 31:50, 24:46] = np.nan
    light[:2, 49, 20:50] = np.array([5, 1])[:, None]
    light[2:, 49, 20:50] = 0
    segmenter = FourKinds(bridge=40, label_bridge=label_bridge)
    (sources,) = segmenter.predict(light[np.newaxis], output="instances")
    assert sources.classes.tolist() == [GALAXY]
    tiled = segment_mosaic(segmenter, light, kind="panoptic", tile_size=33, progress=False)
    (whole,) = segmenter.predict(light[np.newaxis], output="panoptic")
    np.testing.assert_array_equal(tiled, whole)
