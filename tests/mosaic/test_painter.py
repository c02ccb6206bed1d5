"""Rows of tiles are painted while threads segment others; the file is the same in each case."""

from concurrent.futures import wait

import numpy as np
import pytest

from galaxysegment import PhotutilsSegmenter, SEPSegmenter
from galaxysegment.mosaic import TileError, _painter, segment_mosaic
from galaxysegment.mosaic._work import Scheduler, run_task
from tests.mosaic.test_threads import OPTIONS, make_image

N_LINES = 4


def make_arc():
    """An arch that ends in the last row of tiles: its two feet join in the first."""
    image = make_image()
    y, x = np.indices(image.shape)
    image[(abs(np.hypot(y - 190, x - 140) - 120) < 3) & (y < 190)] += 60
    return image


@pytest.fixture
def counts(monkeypatch):
    """Numbers of rows of tiles that were painted ahead, and at the end.

    A thread does one tile after the other, so that the main thread is never late. Errors of the
    disk are known before the next tile.
    """
    noted = {"ahead": [], "at the end": []}
    paint, unpainted = _painter.Painter._paint, _painter.Painter.unpainted

    def note_paint(painter):
        paint(painter)
        wait(painter._flushes)
        noted["ahead"].append(len(painter._painted))

    def note_rest(painter, works):
        rest = unpainted(painter, works)
        noted["at the end"].append(len(rest))
        return rest

    def one_by_one(scheduler, job, task, items):
        for index, item in enumerate(items):
            yield index, scheduler._threads.submit(run_task, job, task, *item).result()

    monkeypatch.setattr(Scheduler, "_results_of_threads", one_by_one)
    monkeypatch.setattr(_painter.Painter, "_paint", note_paint)
    monkeypatch.setattr(_painter.Painter, "unpainted", note_rest)
    return noted


def segmenter_of(name, **options):
    if name == "sep":
        pytest.importorskip("sep")
    return {"photutils": PhotutilsSegmenter, "sep": SEPSegmenter}[name](
        n_sigma=2, bridge=4, **options
    )


@pytest.mark.parametrize("deblend", [False, True, "galaxy"])
@pytest.mark.parametrize("name", ["photutils", "sep"])
@pytest.mark.parametrize("make", [make_image, make_arc])
def test_rows_that_are_painted_ahead_are_those_of_one_worker(tmp_path, counts, make, name, deblend):
    image, segmenter = make(), segmenter_of(name, deblend=deblend)
    files = {
        n_jobs: segment_mosaic(
            segmenter, image, output=tmp_path / f"{n_jobs}.fits", n_jobs=n_jobs, **OPTIONS
        ).read_bytes()
        for n_jobs in (1, 2)
    }
    assert files[1] == files[2]
    assert counts["ahead"] == [1, 2]  # in two steps; not by the single worker
    assert counts["at the end"][0] == 2 if make is make_image else counts["at the end"][0] >= 2


def test_rows_above_an_open_source_are_painted_again(tmp_path, counts):
    """Until the last row of tiles, the feet of the arch have two numbers."""
    image = np.zeros((200, 330), dtype=np.float32)
    image[5:195, 20:24] = image[5:195, 200:204] = image[191:195, 20:204] = 100
    image[100:104, 100:104] = image[140:144, 100:104] = 100
    image += np.random.default_rng(0).normal(0, 1, image.shape).astype(np.float32)
    segmenter = PhotutilsSegmenter(n_sigma=3, deblend=False, mask_objects=False)
    segmenter.set_params(level_seams=False, bridge=0, no_data="nan")
    alone, together = (
        segment_mosaic(
            segmenter, image, output=tmp_path / f"{n_jobs}.fits", n_jobs=n_jobs, **OPTIONS
        ).read_bytes()
        for n_jobs in (1, 2)
    )
    assert alone == together
    assert counts["ahead"] == [1, 2] and counts["at the end"] == [N_LINES]


@pytest.mark.parametrize("error", [OSError("No space left on device"), RuntimeError("gone")])
def test_what_cannot_be_painted_ahead_is_painted_at_the_end(tmp_path, monkeypatch, counts, error):
    image, segmenter = make_image(), PhotutilsSegmenter(n_sigma=2, bridge=4)
    whole = segment_mosaic(segmenter, image, output=tmp_path / "1.fits", **OPTIONS)
    n_calls = []

    def fail(path):
        n_calls.append(path)
        raise error

    monkeypatch.setattr(_painter, "flush", fail)
    options = OPTIONS | {"output": tmp_path / "2.fits", "n_jobs": 2}
    assert segment_mosaic(segmenter, image, **options).read_bytes() == whole.read_bytes()
    assert n_calls and not any(path.exists() for path in n_calls)


def test_an_error_of_the_disk_that_comes_last_is_not_missed(tmp_path, monkeypatch, counts):
    """The system may tell it the flush of the painter alone, and no later flush."""
    image, segmenter = make_image(), PhotutilsSegmenter(n_sigma=2, bridge=4)
    flush, n_calls = _painter.flush, []

    def fail_last(path):
        n_calls.append(path)
        if len(n_calls) == 2:
            raise OSError("Input/output error")
        flush(path)

    monkeypatch.setattr(_painter, "flush", fail_last)
    options = OPTIONS | {"output": tmp_path / "labels.fits", "n_jobs": 2}
    with pytest.raises(TileError, match=r"cannot be written: Input/output error.*resume=True"):
        segment_mosaic(segmenter, image, **options)
    assert len(n_calls) == 2 and not (tmp_path / "labels.fits").exists()
    resumed = segment_mosaic(segmenter, image, resume=True, **options).read_bytes()
    options = OPTIONS | {"output": tmp_path / "whole.fits"}
    assert resumed == segment_mosaic(segmenter, image, **options).read_bytes()


def test_a_failure_leaves_no_file_behind(tmp_path, monkeypatch, counts):
    """The last row of tiles fails when the first rows are painted."""
    find = PhotutilsSegmenter._segment_image

    def fail_below(segmenter, image):
        if segmenter._corner[0] > 100:
            raise ValueError("this tile is bad")
        return find(segmenter, image)

    monkeypatch.setattr(PhotutilsSegmenter, "_segment_image", fail_below)
    segmenter = PhotutilsSegmenter(n_sigma=2, bridge=4, deblend=False)
    options = OPTIONS | {"output": tmp_path / "labels.fits", "n_jobs": 2}
    with pytest.raises(TileError, match="this tile is bad"):
        segment_mosaic(segmenter, make_image(), **options)
    kept = list((tmp_path / ".labels.fits.unfinished").iterdir())
    assert counts["ahead"] and any(path.suffix == ".record" for path in kept)
    assert not [path for path in kept if path.suffix == ".fits"]
