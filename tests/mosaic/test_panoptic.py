"""Panoptic maps of mosaics: the class of each pixel, stuff included, as of the whole image."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment import PhotutilsSegmenter, UNetSegmenter
from galaxysegment.base import BaseSegmenter, ScoreMaps, SemanticSegmenter
from galaxysegment.catalog import source_catalog
from galaxysegment.cli import main
from galaxysegment.coco import from_coco_panoptic, to_coco_panoptic
from galaxysegment.datasets import load_sample_field
from galaxysegment.exceptions import NoSourcesWarning
from galaxysegment.io import read_label_map, read_panoptic_map
from galaxysegment.metrics import panoptic_quality
from galaxysegment.mosaic import _join, _output, segment_mosaic
from galaxysegment.mosaic._join import as_semantic
from galaxysegment.segmenters._pixel_classes import classes_of_sums, stuff_map
from galaxysegment.structures import (
    ARTEFACT,
    GALAXY,
    SKY,
    STAR,
    STUFF,
    TRAIL,
    Instances,
    label_components,
    remove_small,
)
from tests.mosaic.test_scores import draw

CODES = GALAXY, STAR, ARTEFACT, TRAIL


class FourKinds(SemanticSegmenter):
    """Sources above 3; bands 1 to 3 say how much a pixel looks like star, artefact and trail."""

    _requires_fit = False
    reach = 0
    classifies_sources = True

    def __init__(self, *, deblend=False, n_pixels=4, bridge=0, label_bridge=False, no_data="nan"):
        self.deblend, self.n_pixels = deblend, n_pixels
        self.bridge, self.label_bridge, self.no_data = bridge, label_bridge, no_data
        self.rms_band = None

    def _image_proba(self, image):
        return (image[0] > 3).astype(float)

    def _maps_of(self, proba, image):
        star, artefact, trail = np.clip(np.nan_to_num(image[1:4]), 0, 1)
        classes = np.stack([np.full(star.shape, 0.5), 1 - star, star, artefact, trail])
        return ScoreMaps(proba, classes=classes)

    def classify_sources(self, sums):
        return classes_of_sums(sums[:, 0], sums[:, 3:].T, CODES)

    def classify_stuff(self, maps):
        return stuff_map(maps, CODES)


@pytest.fixture(scope="module")
def image():
    """Sources and streaks of artefacts and trails, some of which cross many tiles."""
    light = draw()[0]
    height, width = light.shape
    y, x = np.mgrid[:height, :width]
    star = (np.hypot(y % 70 - 35, x % 90 - 45) < 20) * 0.9
    artefact = (np.abs(y - x) < 2) * 0.8 + (np.abs(y - 60) < 2) * 0.6
    trail = (np.abs(x + y - 250) < 3) * 0.7
    return np.stack([light, star, artefact, trail]).astype(np.float32)


@pytest.mark.parametrize("deblend", [False, True])
@pytest.mark.parametrize("tile_size", [60, 97, 500])
def test_tiles_give_the_map_of_the_whole(image, deblend, tile_size):
    segmenter = FourKinds(deblend=deblend)
    (whole,) = segmenter.predict(image[np.newaxis], output="panoptic")
    assert set(np.unique(whole[0])) == {SKY, *CODES}
    tiled = segment_mosaic(segmenter, image, kind="panoptic", tile_size=tile_size, progress=False)
    assert tiled.dtype == np.int32
    np.testing.assert_array_equal(tiled[0], whole[0])
    np.testing.assert_array_equal(tiled[1] > 0, whole[1] > 0)
    labels = segment_mosaic(segmenter, image, tile_size=tile_size, progress=False)
    np.testing.assert_array_equal(tiled[1], labels)


@pytest.mark.parametrize("ending", [".fits", ".fits.fz"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_file_holds_labels_and_classes(image, tmp_path, ending, n_jobs, monkeypatch):
    if n_jobs == 2 and ending == ".fits.fz":
        pytest.skip("one process writes compressed files")
    monkeypatch.setattr(_join, "_PIXELS", 7 * image.shape[-1])  # several blocks of rows a tile
    options = {"kind": "panoptic", "tile_size": 80, "progress": False}
    expected = segment_mosaic(FourKinds(), image, **options)
    path = tmp_path / f"map{ending}"
    assert segment_mosaic(FourKinds(), image, output=path, n_jobs=n_jobs, **options) == path
    np.testing.assert_array_equal(read_panoptic_map(path), expected)
    np.testing.assert_array_equal(read_label_map(path), expected[1])
    rows, columns = slice(30, 71), slice(100, 222)
    part = read_panoptic_map(path, section=(rows, columns))
    np.testing.assert_array_equal(part, expected[:, rows, columns])
    with fits.open(path) as file:
        file.verify("exception")
        names = [hdu.name for hdu in file if hdu.name not in ("PRIMARY", "")]
        assert names == ["LABELS", "SEMANTIC", "SCORES", "CLASSES"]
        assert file["SEMANTIC"].data.dtype.itemsize == 2
    catalog = source_catalog(path, image[0])
    numbers = np.asarray(catalog["label"])
    owners = [expected[0][expected[1] == number][0] for number in numbers]
    np.testing.assert_array_equal(catalog["class"], owners)
    assert panoptic_quality(expected, read_panoptic_map(path), stuff=STUFF).pq == 1


def test_the_map_goes_to_coco_and_back(image, tmp_path):
    options = {"kind": "panoptic", "tile_size": 80, "progress": False}
    path = segment_mosaic(FourKinds(), image, output=tmp_path / "map.fits", **options)
    panoptic = read_panoptic_map(path)
    to_coco_panoptic([panoptic], tmp_path / "maps.json")
    (again,) = from_coco_panoptic(tmp_path / "maps.json")
    np.testing.assert_array_equal(again[0], panoptic[0])
    assert panoptic_quality(panoptic, again, stuff=STUFF).pq == 1


def test_an_interrupted_run_goes_on(image, tmp_path, monkeypatch):
    options = {"kind": "panoptic", "tile_size": 80, "progress": False}
    whole = segment_mosaic(FourKinds(), image, output=tmp_path / "whole.fits", **options)

    def stop(*_):
        raise OSError("the disk is full")

    path = tmp_path / "map.fits"
    with monkeypatch.context() as patch:
        patch.setattr(_output, "paint_classes", stop)
        with pytest.raises(Exception, match="the disk is full"):
            segment_mosaic(FourKinds(), image, output=path, **options)
    assert not path.exists()
    with pytest.raises(ValueError, match="another kind"):
        segment_mosaic(FourKinds(), image, output=path, resume=True, tile_size=80, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(FourKinds, "_segment_scored", stop)  # no tile is segmented again
        segment_mosaic(FourKinds(), image, output=path, resume=True, **options)
    assert path.read_bytes() == whole.read_bytes()


def test_a_gap_without_data_holds_no_source(image):
    image = image.copy()
    image[:, :, 130:133] = np.nan
    segmenter = FourKinds(bridge=6)
    (whole,) = segmenter.predict(image[np.newaxis], output="panoptic")
    tiled = segment_mosaic(segmenter, image, kind="panoptic", tile_size=80, progress=False)
    np.testing.assert_array_equal(tiled[0], whole[0])
    assert not tiled[1][:, 130:133].any()


def test_sources_without_a_class_are_galaxies(tmp_path):
    image = draw()[:1]
    segmenter = PhotutilsSegmenter(n_sigma=3, deblend=False)
    (whole,) = segmenter.predict(image[np.newaxis], output="panoptic")
    options = {"kind": "panoptic", "tile_size": 80, "progress": False}
    tiled = segment_mosaic(segmenter, image, **options)
    np.testing.assert_array_equal(tiled, whole)
    path = segment_mosaic(segmenter, image, output=tmp_path / "map.fits", **options)
    np.testing.assert_array_equal(read_panoptic_map(path), whole)


class Detector(BaseSegmenter):
    """Finds sources that may overlap, of two classes."""

    _requires_fit = False
    finds_instances = True

    def __init__(self, *, rms_band=None, bridge=0, label_bridge=False, no_data="nan"):
        self.rms_band = rms_band
        self.bridge, self.label_bridge, self.no_data = bridge, label_bridge, no_data

    def _segment_image(self, image):
        labels = remove_small(label_components(image[0] > 3), 4)
        kinds = np.arange(labels.max()) % 2 + 1
        return Instances.from_label_map(labels, classes=kinds)


def test_sources_that_may_overlap(image, tmp_path):
    options = {"kind": "panoptic", "tile_size": 500, "progress": False}
    (whole,) = Detector().predict(image[np.newaxis], output="panoptic")
    np.testing.assert_array_equal(segment_mosaic(Detector(), image, **options), whole)
    path = segment_mosaic(Detector(), image, output=tmp_path / "map.fits", **options)
    assert set(np.unique(whole[0])) == {SKY, GALAXY, STAR}
    np.testing.assert_array_equal(read_panoptic_map(path), whole)


def test_a_mosaic_without_a_source_is_sky(tmp_path):
    flat, path = np.zeros((4, 90, 100), dtype=np.float32), tmp_path / "map.fits"
    with pytest.warns(NoSourcesWarning):
        segment_mosaic(
            FourKinds(), flat, kind="panoptic", output=path, tile_size=40, progress=False
        )
    assert not read_panoptic_map(path).any()


def test_classes_of_more_than_16_bits_are_refused():
    assert as_semantic([0, 32767]).dtype == np.int16
    with pytest.raises(ValueError, match="Class 40000 does not fit"):
        as_semantic(np.array([0, 40000]))


def test_the_command_line_writes_panoptic_maps(tmp_path):
    field = load_sample_field().section(slice(0, 192), slice(0, 256))
    path = field.write(tmp_path / "field.fits")
    words = ["segment", str(path), "--method", "unet", "--set", "weights=sky"]
    words += ["--set", "n_views=1", "--kind", "panoptic", "--overwrite"]
    words += ["--catalog", str(tmp_path / "sources.ecsv")]
    whole, tiled = tmp_path / "whole.fits", tmp_path / "tiled.fits"
    assert main([*words, "--output", str(whole)]) == 0
    assert main([*words, "--output", str(tiled), "--tile-size", "128"]) == 0
    maps = [read_panoptic_map(file) for file in (whole, tiled)]
    assert (maps[0][1] > 0).sum() > 500
    assert np.mean(maps[0] != maps[1]) < 0.01  # a net can round a pixel at its threshold
    with fits.open(whole) as file:
        assert [hdu.name for hdu in file] == ["LABELS", "SEMANTIC"]
        assert file["LABELS"].header["CRVAL1"] == file["SEMANTIC"].header["CRVAL1"]
    unet = UNetSegmenter(weights="sky", rms_band=-1, n_views=1)
    np.testing.assert_array_equal(maps[0], unet.predict(field, output="panoptic"))
