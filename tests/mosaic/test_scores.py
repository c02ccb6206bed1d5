"""Tiles give sources the scores that the whole image gives them."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment import (
    KMeansSegmenter,
    PhotutilsSegmenter,
    RandomForestSegmenter,
    SEPSegmenter,
)
from galaxysegment.catalog import source_catalog
from galaxysegment.io import read_label_map
from galaxysegment.io._tables import read_scores
from galaxysegment.mosaic import segment_mosaic


def draw(n_sources=60, shape=(200, 260)):
    """Image and RMS map of sources, some of them larger than a tile."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(size=shape)
    for _ in range(n_sources):
        centre, width = rng.uniform(0, shape, 2), rng.uniform(2, 7)
        distance = np.hypot(y - centre[0], x - centre[1])
        image += rng.uniform(4, 60) * np.exp(-((distance / width) ** 2))
    return np.stack([image, rng.uniform(0.9, 1.1, shape)]).astype(np.float32)


def scores_by_pixel(instances):
    """Map of the score of the source of each pixel, 0 on the sky."""
    return np.concatenate([[0], instances.scores])[instances.to_label_map()]


SEGMENTERS = {
    "photutils": PhotutilsSegmenter(n_sigma=3, deblend=False),
    "photutils, galaxies": PhotutilsSegmenter(n_sigma=2),
    "photutils, deblending": PhotutilsSegmenter(n_sigma=2, rms_band=-1, deblend=True),
    "photutils, bridges": PhotutilsSegmenter(n_sigma=2, rms_band=-1, bridge=4),
    "photutils, labelled bridges": PhotutilsSegmenter(n_sigma=2, bridge=4, label_bridge=True),
    "sep": SEPSegmenter(n_sigma=3, deblend=False, clean=False),
    "sep, cleaning": SEPSegmenter(n_sigma=2, deblend=False, rms_band=-1),
    "sep, deblending": SEPSegmenter(n_sigma=2, deblend=True, clean=False),
    "k-means": KMeansSegmenter(random_state=0, rms_band=-1, deblend=True),
    "forest": RandomForestSegmenter(n_estimators=5, window=5, random_state=0, rms_band=-1),
}


@pytest.mark.parametrize("name", SEGMENTERS)
def test_tiles_give_the_scores_of_the_whole(name):
    pytest.importorskip("sep")
    segmenter, image = SEGMENTERS[name], draw()
    if "bridges" in name:
        image[0, :, 130:133] = np.nan
    if segmenter.rms_band is None:
        image = image[:1]
    if segmenter._requires_fit:
        segmenter.fit(image[np.newaxis], image[np.newaxis, 0] > 3)
    tiled = segment_mosaic(segmenter, image, kind="instances", tile_size=60, progress=False)
    if name == "sep, deblending":  # sep shares the faint pixels of a whole image by random numbers
        whole = segment_mosaic(segmenter, image, kind="instances", progress=False)
    else:
        (whole,) = segmenter.predict(image[np.newaxis], output="instances")
    labels = segment_mosaic(segmenter, image, tile_size=60, progress=False)
    np.testing.assert_array_equal(tiled.to_label_map(), labels)
    expected = scores_by_pixel(whole)
    assert len(np.unique(expected)) > 10
    np.testing.assert_allclose(scores_by_pixel(tiled), expected, rtol=1e-5)


def test_workers_and_catalog():
    image = draw()
    segmenter = PhotutilsSegmenter(n_sigma=3, deblend=False, rms_band=-1)
    (whole,) = segmenter.predict(image[np.newaxis], output="instances")
    tiled = segment_mosaic(
        segmenter, image, kind="instances", tile_size=100, n_jobs=2, progress=False
    )
    np.testing.assert_allclose(tiled.scores, whole.scores, rtol=1e-5)
    catalog = source_catalog(tiled, image[0], rms=image[1])
    np.testing.assert_allclose(catalog["score"], whole.scores, rtol=1e-5)


@pytest.mark.parametrize("name", ["photutils", "with a bridge"])
def test_a_file_holds_the_map_and_its_scores(tmp_path, name):
    image = draw()
    segmenter = PhotutilsSegmenter(n_sigma=3, rms_band=-1, deblend=True)
    if name == "with a bridge":
        segmenter.set_params(bridge=5)
        image[0, :, 130:133] = np.nan
    options = {"kind": "instances", "tile_size": 100, "progress": False}
    path = segment_mosaic(segmenter, image, output=tmp_path / "map.fits", **options)
    labels = read_label_map(path)
    np.testing.assert_array_equal(
        labels, segment_mosaic(segmenter, image, tile_size=100, progress=False)
    )
    scores = read_scores(path)
    expected = segment_mosaic(segmenter, image, **options).scores
    present = np.unique(labels[labels > 0])
    np.testing.assert_allclose(scores[present - 1], expected)
    catalog = source_catalog(path, image[0], rms=image[1])
    np.testing.assert_allclose(catalog["score"], expected)
    with fits.open(path) as file:
        file.verify("exception")
        assert [hdu.name for hdu in file] == ["LABELS", "SCORES"]


def test_a_label_map_has_no_scores_unless_asked_for(tmp_path):
    image, segmenter = draw(), PhotutilsSegmenter(n_sigma=3, rms_band=-1)
    path = segment_mosaic(
        segmenter, image, output=tmp_path / "map.fits", tile_size=100, progress=False
    )
    assert read_scores(path) is None
    assert "score" not in source_catalog(path, image[0]).colnames


@pytest.mark.filterwarnings("ignore::galaxysegment.structures.NoSourcesWarning")
def test_a_mosaic_without_a_source():
    flat = np.zeros((80, 90))
    tiled = segment_mosaic(
        PhotutilsSegmenter(), flat, kind="instances", tile_size=40, progress=False
    )
    assert len(tiled) == 0
    assert len(tiled.scores) == 0
