"""Classes on mosaics, by a segmenter that uses nothing but the public contract."""

import numpy as np
import pytest

from galaxysegment.base import BaseSegmenter, MosaicAware, ScoreMaps
from galaxysegment.io import read_panoptic_map
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.structures import (
    GALAXY,
    SKY,
    STAR,
    TRAIL,
    Instances,
    label_components,
    remove_small,
)
from tests.mosaic.test_scores import draw


class LargerThanMost(BaseSegmenter):
    """Sources above 3; those larger than the median of all sources are galaxies."""

    _requires_fit = False
    finds_instances = classifies_sources = True
    reach = 60

    def find_candidates(self, image):
        labels = remove_small(label_components(image[0] > 3), 4)
        sources = Instances.from_label_map(labels)
        return sources, sources.areas[:, np.newaxis].astype(float)

    def classify_sources(self, measured):
        return np.where(measured[:, 0] > np.median(measured), GALAXY, STAR)


class Told(BaseSegmenter):
    """Connected pixels above 3, classes by the sum of a second band, sky alone elsewhere."""

    _requires_fit = False
    classifies_sources = True
    reach, splits_blends = 0, False

    def _segment_image(self, image):
        return label_components(image[0] > 3)

    def _score_maps(self, image):
        return ScoreMaps(image[0], 1.0, classes=image[1:])

    def classify_sources(self, measured):
        return np.where(measured[:, 3] > measured[:, 0] / 2, STAR, GALAXY)


@pytest.fixture(scope="module")
def image():
    light = draw()[0]
    return np.stack([light, np.add.outer(*map(np.arange, light.shape)) % 90 < 45])


@pytest.mark.parametrize("segmenter", [LargerThanMost(), Told()])
def test_tiles_give_the_classes_of_the_whole(image, segmenter, tmp_path):
    (whole,) = segmenter.predict(image[np.newaxis], output="panoptic")
    assert set(np.unique(whole[0])) == {SKY, GALAXY, STAR}
    options = {"kind": "panoptic", "tile_size": 80, "overlap": 64, "progress": False}
    np.testing.assert_array_equal(segment_mosaic(segmenter, image, **options), whole)
    path = segment_mosaic(segmenter, image, output=tmp_path / "map.fits", **options)
    np.testing.assert_array_equal(read_panoptic_map(path), whole)
    (sources,) = segmenter.predict(image[np.newaxis], output="instances")
    tiled = segment_mosaic(segmenter, image, **options | {"kind": "instances"})
    assert sorted(zip(tiled.boxes.tolist(), tiled.classes, strict=True)) == sorted(
        zip(sources.boxes.tolist(), sources.classes, strict=True)
    )


class Streaks(Told):
    """Pixels below -3 are a trail, in an image with sources or without."""

    def classify_stuff(self, maps):
        return np.where(maps.light < -3, TRAIL, SKY)


@pytest.mark.filterwarnings("ignore::galaxysegment.exceptions.NoSourcesWarning")
@pytest.mark.parametrize("n_sources", [0, 1])
def test_stuff_needs_no_source(n_sources):
    image = np.zeros((2, 90, 100))
    image[0, 50:52] = -9
    image[0, 5:9, 5:9] = 9 * n_sources
    (whole,) = Streaks().predict(image[np.newaxis], output="panoptic")
    assert (whole[0] == TRAIL).sum() == 200 and whole[1].max() == n_sources
    options = {"kind": "panoptic", "tile_size": 40, "progress": False}
    np.testing.assert_array_equal(segment_mosaic(Streaks(), image, **options), whole)


def test_pixels_without_data_are_in_no_source_of_a_tile(image):
    image = image.copy()
    image[:, :, 100:104] = np.nan
    segmenter = LargerThanMost()
    options = {"kind": "panoptic", "tile_size": 80, "overlap": 64, "progress": False}
    tiled = segment_mosaic(segmenter, image, **options)
    np.testing.assert_array_equal(tiled, segmenter.predict(image[np.newaxis], "panoptic")[0])


def test_the_defaults_of_the_contract():
    contract = MosaicAware()
    assert contract.classifies_sources is False
    assert contract.classify_stuff(ScoreMaps(np.zeros((2, 2)))) is None
    assert contract.score_sources(np.array([[4.0, 6.0, 9.0]])).tolist() == [2.0]
    with pytest.raises(NotImplementedError):
        contract.classify_sources(np.zeros((0, 3)))
