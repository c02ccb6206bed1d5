"""Label maps of mosaics that are compressed as they are painted."""

import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from galaxysegment import NoSourcesWarning, PhotutilsSegmenter
from galaxysegment.io import read_label_map, write_label_map
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.mosaic._output import CompressedTable


def image_file(folder, shape=(150, 170)):
    rng = np.random.default_rng(0)
    image = rng.normal(size=shape).astype("f4")
    for y, x in rng.integers(5, 140, (20, 2)):
        image[y : y + 6, x : x + 6] += 20
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 3.0, "CRPIX1": 9.0})
    fits.writeto(folder / "image.fits", image, header)
    return folder / "image.fits"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_compressed_map_holds_the_same_labels(tmp_path, n_jobs):
    image, segmenter = image_file(tmp_path), PhotutilsSegmenter(deblend=True)
    options = {"tile_size": 64, "progress": False, "n_jobs": n_jobs}
    plain = segment_mosaic(segmenter, image, output=tmp_path / "labels.fits", **options)
    packed = segment_mosaic(segmenter, image, output=tmp_path / "labels.fits.fz", **options)
    expected = fits.getdata(plain)
    assert expected.max() > 5
    with fits.open(packed) as hdus:
        hdus.verify("exception")
        assert hdus["LABELS"].data.dtype == np.int32
        assert np.array_equal(hdus["LABELS"].data, expected)
        assert WCS(hdus["LABELS"].header).wcs.crval[0] == 3
        kept = set(fits.getheader(plain)) - {"SIMPLE", "EXTEND"}
        assert kept <= set(hdus["LABELS"].header)
    assert np.array_equal(read_label_map(packed), expected)
    section = slice(40, 90), slice(10, 33)
    assert np.array_equal(read_label_map(packed, section=section), expected[section])
    assert packed.stat().st_size < plain.stat().st_size / 2
    assert not list(tmp_path.glob(".*"))


def test_scores_follow_a_compressed_map(tmp_path):
    image, segmenter = image_file(tmp_path), PhotutilsSegmenter()
    options = {"tile_size": 64, "progress": False, "kind": "instances"}
    plain = segment_mosaic(segmenter, image, output=tmp_path / "map.fits", **options)
    packed = segment_mosaic(segmenter, image, output=tmp_path / "map.fits.fz", **options)
    with fits.open(packed) as hdus:
        hdus.verify("exception")
        assert np.array_equal(hdus["LABELS"].data, fits.getdata(plain))
        assert np.array_equal(hdus["SCORES"].data["SCORE"], fits.getdata(plain, "SCORES")["SCORE"])


def test_a_map_without_sources_is_compressed(tmp_path):
    image = tmp_path / "image.fits"
    fits.writeto(image, np.random.default_rng(0).normal(size=(40, 50)).astype("f4"))
    with pytest.warns(NoSourcesWarning):
        packed = segment_mosaic(
            PhotutilsSegmenter(n_sigma=50), image, output=tmp_path / "o.fits.fz", progress=False
        )
    assert not fits.getdata(packed, "LABELS").any()


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_blocks_of_rows_make_the_file_that_astropy_reads(tmp_path, dtype):
    labels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (23, 37), dtype=dtype)
    labels[5:9] = 0
    with (tmp_path / "o.fits.fz").open("w+b") as file:
        table = CompressedTable(file, labels.shape, dtype, fits.Header({"OBJECT": "M31"}))
        for y0 in (10, 0):
            table.add(y0, labels[y0 : y0 + 10])
        table.add(20, labels[20:])
        table.finish()
    with fits.open(tmp_path / "o.fits.fz") as hdus:
        assert hdus[1].header["OBJECT"] == "M31" and hdus[1].name == "LABELS"
        assert np.array_equal(hdus[1].data, labels)
    assert (tmp_path / "o.fits.fz").stat().st_size % 2880 == 0


def test_the_size_is_that_of_a_map_that_is_written_at_once(tmp_path):
    image = image_file(tmp_path, (400, 500))
    packed = segment_mosaic(
        PhotutilsSegmenter(), image, output=tmp_path / "o.fits.fz", progress=False
    )
    at_once = write_label_map(tmp_path / "once.fits.fz", fits.getdata(packed, "LABELS"))
    assert packed.stat().st_size <= at_once.stat().st_size + 400 * 8 + 2 * 2880


def test_memory_is_bounded(tmp_path):
    rows, height = np.zeros((64, 1000), dtype=np.int32), 6400
    rows[::3] = np.arange(1000)
    with (tmp_path / "o.fits.fz").open("w+b") as file:
        table = CompressedTable(file, (height, 1000), np.int32, fits.Header())
        tracemalloc.start()
        for y0 in range(0, height, 64):
            table.add(y0, rows)
        table.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < rows.nbytes * 10


def test_overlapping_sources_need_a_plain_map(tmp_path):
    image, segmenter = image_file(tmp_path), PhotutilsSegmenter()
    segmenter.finds_instances = True
    with pytest.raises(ValueError, match=r"output must end in .fits: PhotutilsSegmenter finds"):
        segment_mosaic(segmenter, image, output=tmp_path / "o.fits.fz", progress=False)
