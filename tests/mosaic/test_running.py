"""Files: written whole or not at all, resumed after a kill, the same from any worker.

And clear errors.
"""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

from galaxysegment import PhotutilsSegmenter
from galaxysegment.base import BaseSegmenter
from galaxysegment.catalog import source_catalog
from galaxysegment.io import Field, image_shape, read_field, read_header, read_label_map
from galaxysegment.mosaic import TileError, _run, segment_mosaic
from galaxysegment.structures import label_components

OPTIONS = {"tile_size": 40, "overlap": 8, "progress": False}


class Threshold(BaseSegmenter):
    """Pixels above a level; the process may be killed, or the tile fail, at the call of a given
    number.
    """

    _requires_fit = False
    splits_blends = False
    reach = 1
    calls = 0

    def __init__(self, *, level=1.0, tally=None):
        self.level = level
        self.tally = tally

    def _segment_image(self, image):
        self._count()
        return label_components(image[0] > self.level)

    def _count(self):
        type(self).calls += 1
        if self.tally:
            with Path(self.tally).open("a") as file:
                file.write("x")
        if os.environ.get("TEST_KILL_AT") == str(type(self).calls):
            os.kill(os.getpid(), 9)
        if os.environ.get("TEST_FAIL_AT") == str(type(self).calls):
            raise ValueError("this tile is bad")


@pytest.fixture(autouse=True)
def count_from_zero(monkeypatch):
    monkeypatch.setattr(Threshold, "calls", 0)


@pytest.fixture
def image():
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(130, 150)), 2)
    return (noise / noise.std()).astype(np.float32)


@pytest.fixture
def image_path(tmp_path, image):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (150, 2), (75, 65), (-1e-4, 1e-4)
    path = tmp_path / "image.fits"
    header = wcs.to_header()
    header["OBJECT"] = "field"
    fits.PrimaryHDU(image, header).writeto(path)
    return path


def unfinished(output):
    return _run.work_path(output)


def test_the_file_holds_the_map_the_sky_and_what_made_it(tmp_path, image, image_path):
    output = tmp_path / "labels.fits"
    assert segment_mosaic(Threshold(), image_path, output=output, **OPTIONS) == output
    np.testing.assert_array_equal(read_label_map(output), label_components(image > 1))
    header = read_header(output)
    assert (header["SEGCLASS"], header["OBJECT"], header["BITPIX"]) == ("Threshold", "field", 32)
    np.testing.assert_allclose(
        WCS(header).all_pix2world([[3, 4]], 0),
        WCS(read_header(image_path)).all_pix2world([[3, 4]], 0),
    )
    with fits.open(output) as opened:
        opened.verify("exception")
        assert opened[0].data.dtype == np.dtype(">i4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.fits", "labels.fits"]


def test_fields_arrays_and_packed_files_give_the_same(tmp_path, image, image_path):
    packed = tmp_path / "image.fits.fz"
    fits.CompImageHDU(image, compression_type="GZIP_2", quantize_level=0).writeto(packed)
    expected = label_components(image > 1)
    for source in (
        image,
        image[np.newaxis],
        image.astype(">f8"),
        Field(image),
        packed,
        np.ma.masked_invalid(image),
    ):
        np.testing.assert_array_equal(segment_mosaic(Threshold(), source, **OPTIONS), expected)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_rms_travels_as_the_last_band(tmp_path, image, image_path, n_jobs):
    rms = np.ones(image.shape, dtype=np.float32)
    rms[:, 75:] = 1e6
    fits.PrimaryHDU(rms).writeto(tmp_path / "rms.fits")
    segmenter = PhotutilsSegmenter(rms_band=-1, n_pixels=3)
    labels = segment_mosaic(
        segmenter,
        image_path,
        rms=tmp_path / "rms.fits",
        n_jobs=n_jobs,
        tile_size=60,
        progress=False,
    )
    assert labels[:, :75].any()
    assert not labels[:, 75:].any()
    np.testing.assert_array_equal(
        segment_mosaic(segmenter, image, rms=rms, n_jobs=n_jobs, tile_size=60, progress=False),
        labels,
    )
    with pytest.raises(ValueError, match="rms_band=-1"):
        segment_mosaic(PhotutilsSegmenter(), image, rms=rms, progress=False)


def test_a_killed_run_resumes_to_the_same_file(tmp_path, image_path):
    whole, output, tally = tmp_path / "whole.fits", tmp_path / "labels.fits", tmp_path / "tally"
    segmenter = Threshold(tally=str(tally))
    segment_mosaic(segmenter, image_path, output=whole, **OPTIONS)
    n_tiles = len(tally.read_text())
    tally.unlink()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_running as t\n"
        f"t.segment_mosaic(t.Threshold(tally={str(tally)!r}), {str(image_path)!r}, "
        f"output={str(output)!r}, **t.OPTIONS)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TEST_KILL_AT": "5"}, check=False
    )
    assert killed.returncode == -9
    assert not output.exists()
    assert len(list(unfinished(output).glob("tile*.record"))) == 4
    resume = code.replace("**t.OPTIONS", "resume=True, **t.OPTIONS")
    subprocess.run([sys.executable, "-c", resume], check=True)
    assert output.read_bytes() == whole.read_bytes()
    assert len(tally.read_text()) == 5 + n_tiles - 4
    assert not unfinished(output).exists()


def test_resume_does_damaged_tiles_again_and_refuses_other_arguments(
    tmp_path, image_path, monkeypatch
):
    output = tmp_path / "labels.fits"
    monkeypatch.setenv("TEST_FAIL_AT", "7")
    with pytest.raises(
        TileError, match=r"tile 6, rows .*ValueError: this tile is bad.*6 of 16 tiles.*resume=True"
    ):
        segment_mosaic(Threshold(), image_path, output=output, **OPTIONS)
    assert not output.exists()
    monkeypatch.delenv("TEST_FAIL_AT")
    with pytest.raises(ValueError, match="another segmenter"):
        segment_mosaic(Threshold(level=2), image_path, output=output, resume=True, **OPTIONS)
    with pytest.raises(ValueError, match="another tile_size"):
        segment_mosaic(
            Threshold(), image_path, output=output, resume=True, **{**OPTIONS, "tile_size": 50}
        )
    damaged = sorted(unfinished(output).glob("tile*.record"))[2]
    content = bytearray(damaged.read_bytes())
    content[200] ^= 0xFF
    damaged.write_bytes(content)
    monkeypatch.setattr(Threshold, "calls", 0)
    segment_mosaic(Threshold(), image_path, output=output, resume=True, **OPTIONS)
    assert Threshold.calls == 16 - 6 + 1
    monkeypatch.undo()
    np.testing.assert_array_equal(
        read_label_map(output), segment_mosaic(Threshold(), image_path, **OPTIONS)
    )


def test_a_full_disk_leaves_nothing_that_looks_whole(tmp_path, image_path, monkeypatch):
    output = tmp_path / "labels.fits"
    output.write_text("of another day")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(TileError, match=r"No space left.*not touched.*resume=True"):
            segment_mosaic(Threshold(), image_path, output=output, overwrite=True, **OPTIONS)
    assert output.read_text() == "of another day"
    segment_mosaic(Threshold(), image_path, output=output, overwrite=True, resume=True, **OPTIONS)
    assert read_label_map(output).max() > 0


def test_a_disk_that_is_too_small_shows_before_any_work(tmp_path, image_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"takes 0\.0 GB, but .* make room"):
        segment_mosaic(Threshold(), image_path, output=tmp_path / "labels.fits", **OPTIONS)
    assert Threshold.calls == 0
    assert [path.name for path in tmp_path.iterdir()] == ["image.fits"]


def test_a_missing_part_of_the_image_is_an_error(tmp_path, image_path):
    whole = image_path.read_bytes()
    image_path.write_bytes(whole[:-40000])
    with pytest.raises(OSError, match="truncated"):
        segment_mosaic(Threshold(), image_path, output=tmp_path / "labels.fits", **OPTIONS)
    assert not (tmp_path / "labels.fits").exists()


def test_a_worker_that_dies_is_an_error_and_the_run_resumes(tmp_path, image_path, monkeypatch):
    output = tmp_path / "labels.fits"
    monkeypatch.setenv("TEST_KILL_AT", "3")
    joblib.externals.loky.get_reusable_executor().shutdown(
        kill_workers=True
    )  # so that new ones see the variable
    with pytest.raises(TileError, match=r"worker died.*resume=True"):
        segment_mosaic(Threshold(), image_path, output=output, n_jobs=2, **OPTIONS)
    assert not output.exists()
    monkeypatch.delenv("TEST_KILL_AT")
    joblib.externals.loky.get_reusable_executor().shutdown(kill_workers=True)
    segment_mosaic(Threshold(), image_path, output=output, n_jobs=2, resume=True, **OPTIONS)
    np.testing.assert_array_equal(
        read_label_map(output), segment_mosaic(Threshold(), image_path, **OPTIONS)
    )


def test_workers_do_not_confuse_one_run_with_the_next(tmp_path, image, image_path):
    for level in (1.0, 2.0):
        options = {"output": tmp_path / "labels.fits", "n_jobs": 2, "overwrite": True}
        output = segment_mosaic(Threshold(level=level), image_path, **options, **OPTIONS)
        np.testing.assert_array_equal(read_label_map(output), label_components(image > level))


def test_two_runs_cannot_write_one_file(tmp_path, image_path):
    output = tmp_path / "labels.fits"
    other = _run.WorkFolder(unfinished(output))
    other.claim()
    other.start({}, resume=False)
    with pytest.raises(RuntimeError, match="Another process"):
        segment_mosaic(Threshold(), image_path, output=output, **OPTIONS)
    assert unfinished(output).exists()
    other.close(keep=False)


def test_dask_workers_write_the_same_file(tmp_path, image_path):
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("dask.distributed")
    alone, output = tmp_path / "alone.fits", tmp_path / "labels.fits"
    segmenter = PhotutilsSegmenter(n_pixels=3, deblend=True)
    options = {"tile_size": 60, "progress": False}
    segment_mosaic(segmenter, image_path, output=alone, **options)
    # On a loaded machine it takes a worker minutes to start: dask and joblib give up after seconds.
    waits = ("comm.timeouts.connect", "comm.timeouts.tcp", "deploy.lost-worker-timeout")
    patient = {f"distributed.{name}": "240s" for name in waits}
    with (
        dask.config.set(
            patient
            | {"distributed.scheduler.worker-ttl": None, "temporary-directory": str(tmp_path)}
        ),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=None
        ) as cluster,
        distributed.Client(cluster, timeout="240s"),
        joblib.parallel_config("dask", wait_for_workers_timeout=240),
    ):
        segment_mosaic(segmenter, image_path, output=output, **options)
    assert output.read_bytes() == alone.read_bytes()


def test_labels_of_64_bits_where_32_are_too_few(tmp_path, image, monkeypatch):
    monkeypatch.setattr(_run, "_LARGEST", 10)
    output = segment_mosaic(Threshold(), image, output=tmp_path / "labels.fits", **OPTIONS)
    assert read_header(output)["BITPIX"] == 64
    np.testing.assert_array_equal(read_label_map(output), label_components(image > 1))
    assert segment_mosaic(Threshold(), image, **OPTIONS).dtype == np.int64


@pytest.mark.skipif(
    "GALAXYSEGMENT_LARGE" not in os.environ,
    reason="writes 2.2 GB: set GALAXYSEGMENT_LARGE=1 to run",
)
def test_a_map_of_more_than_two_to_the_31_bytes(tmp_path):
    side = 23_300
    image = np.memmap(tmp_path / "image", dtype=np.uint8, mode="w+", shape=(side, side))
    marks = [(y, x) for y in (5, 11_000, side - 9) for x in (3, 12_345, side - 10)]
    for y, x in marks:
        image[y : y + 4, x : x + 6] = 200
    output = segment_mosaic(
        Threshold(),
        image,
        output=tmp_path / "labels.fits",
        tile_size=4096,
        n_jobs=2,
        progress=False,
    )
    assert output.stat().st_size > 2**31
    assert image_shape(output) == (side, side)
    for label, (y, x) in enumerate(marks, start=1):
        around = read_label_map(output, section=(slice(y - 2, y + 6), slice(x - 2, x + 8)))
        expected = np.zeros((8, 10), dtype=int)
        expected[2:6, 2:8] = label
        np.testing.assert_array_equal(around, expected)
    with fits.open(output, memmap=True) as opened:
        opened.verify("exception")
        assert int(opened[0].data[-20:].max()) == 9
    catalog = source_catalog(output, image)
    assert catalog["area"].tolist() == [24] * 9
    assert catalog["y"].max() == side - 9 + 1.5


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tile_size": 0}, "tile_size must be a whole number, at least 1. Got 0"),
        ({"overlap": 2.5}, "overlap must be"),
        ({"n_jobs": 0}, "n_jobs must be a whole number, not 0"),
        ({"resume": True}, "resume=True needs output="),
        ({"output": "labels.txt"}, "output must end in .fits or .fits.fz"),
        ({"output": "labels.fits.gz"}, "cannot be packed"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=match):
        segment_mosaic(Threshold(), np.zeros((10, 10)), **options)


def test_a_class_in_place_of_an_instance_is_refused():
    with pytest.raises(TypeError, match=r"Got the class Threshold instead: pass Threshold\(\)"):
        segment_mosaic(Threshold, np.zeros((10, 10)))


def test_an_overlap_too_small_says_what_is_needed(image):
    with pytest.raises(ValueError, match=r"at least 10 pixels .* overlap by 5: use overlap >= "):
        segment_mosaic(PhotutilsSegmenter(), image, overlap=5)


def test_existing_files_other_shapes_and_other_things_are_refused(tmp_path, image):
    (tmp_path / "labels.fits").write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        segment_mosaic(Threshold(), image, output=tmp_path / "labels.fits")
    with pytest.raises(ValueError, match="must agree"):
        segment_mosaic(PhotutilsSegmenter(rms_band=-1), image, rms=np.ones((3, 3)))
    with pytest.raises(TypeError, match="cannot predict"):
        segment_mosaic("photutils", image)
    with pytest.raises(TypeError, match="rms must be"):
        segment_mosaic(PhotutilsSegmenter(rms_band=-1), image, rms="rms.fits")


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard", "folder"])
def test_inputs_are_never_overwritten(tmp_path, image, image_path, link):
    rms = tmp_path / "rms.fits"
    fits.PrimaryHDU(np.ones(image.shape, dtype=np.float32)).writeto(rms)
    before = {path: path.read_bytes() for path in (image_path, rms)}
    for path in before:
        output = tmp_path / f"{link}_{path.name}"
        if link == "itself":
            output = path
        elif link == "symbolic":
            output.symlink_to(path)
        elif link == "hard":
            os.link(path, output)
        else:
            (tmp_path / "there").symlink_to(tmp_path) if not (tmp_path / "there").exists() else None
            output = tmp_path / "there" / path.name
        field = read_field(image_path, rms=rms, rms_kind="rms")
        for inputs in ({"image": image_path, "rms": rms}, {"image": field, "rms": True}):
            with pytest.raises(ValueError, match=r"output .* is the same file as (image|rms)"):
                segment_mosaic(
                    PhotutilsSegmenter(rms_band=-1), **inputs, output=output, overwrite=True
                )
    assert before == {path: path.read_bytes() for path in before}
    assert not list(tmp_path.glob(".*"))


def test_a_memory_map_is_an_input_too(tmp_path, image):
    mapped = np.memmap(tmp_path / "image.fits", dtype="f4", mode="w+", shape=image.shape)
    mapped[:] = image
    with pytest.raises(ValueError, match="same file as image"):
        segment_mosaic(
            Threshold(), mapped[5:], output=tmp_path / "image.fits", overwrite=True, **OPTIONS
        )


def test_progress_tells_how_far_and_how_long(image, capsys):
    segment_mosaic(Threshold(), image, tile_size=40, overlap=8)
    shown = capsys.readouterr().err
    assert "tile: 100%" in shown
    assert "16/16" in shown
