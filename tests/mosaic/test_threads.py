"""Workers that are threads: the same file as with one, killed and resumed, stopped, in order."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from astropy.io import fits
from joblib.parallel import SequentialBackend
from threadpoolctl import threadpool_info, threadpool_limits

from galaxysegment import (
    KMeansSegmenter,
    PhotutilsSegmenter,
    RandomForestSegmenter,
    SEPSegmenter,
)
from galaxysegment.base import BaseSegmenter, Statistic
from galaxysegment.mosaic import TileError, segment_mosaic
from galaxysegment.mosaic._plan import Plan
from galaxysegment.mosaic._work import Scheduler
from galaxysegment.structures import label_components

OPTIONS = {"tile_size": 60, "overlap": 24, "progress": False}
N_TILES = 24


class Highest(Statistic):
    """Brightest pixel, and the name of the thread that combined the blocks."""

    def measure(self, rows, y0, shape):
        return np.nanmax(rows)

    def combine(self, parts, shape):
        return max(parts), threading.current_thread().name


class Slow(BaseSegmenter):
    """Pixels above half the brightest one; the environment says what else happens to a tile.

    A file in ``TEST_FOLDER`` tells who began, and who ended. A tile takes ``TEST_SECONDS``, fails
    if it begins at the pixel ``TEST_FAIL_AT``, and kills the process if it is the
    ``TEST_KILL_AT``-th or a later one.
    """

    _requires_fit = False
    works_in_threads = True
    splits_blends = False
    reach = 1

    def statistics_needed(self):
        return {} if self._statistics else {"a": Highest(), "b": Highest()}

    def _segment_image(self, image):
        folder, place = os.environ.get("TEST_FOLDER"), f"{self._corner[0]}-{self._corner[1]}"
        time.sleep(float(os.environ.get("TEST_SECONDS", "0")))
        if folder:
            name = f"{os.getpid()}.{threading.current_thread().name}.{place}"
            (Path(folder) / f"{name}.begun").touch()
            n_begun = len(list(Path(folder).glob("*.begun")))
            if n_begun >= float(os.environ.get("TEST_KILL_AT", "inf")):  # two may begin at once
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(float(os.environ.get("TEST_SECONDS", "0")))
            (Path(folder) / f"{name}.ended").touch()
        if place == os.environ.get("TEST_FAIL_AT"):
            raise ValueError("this tile is bad")
        return label_components(image[0] > self._statistics["a"][0] / 2)


class Threshold(Slow):
    """A segmenter that says nothing about threads."""

    works_in_threads = BaseSegmenter.works_in_threads


def make_image():
    """Noise, sources across tiles, a gap, a constant border and a step of the sky."""
    rng = np.random.default_rng(0)
    image = rng.normal(10, 1, (200, 330)).astype(np.float32)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    for y0, x0, size in zip(*rng.uniform(0, (200, 330, 5), (60, 3)).T, strict=True):
        image += 40 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * (1 + size) ** 2))
    image[:, 170:] += 4
    image[80:90, 40:70] = np.nan
    image[:, 300:] = 0
    return image.astype(np.float32)


@pytest.mark.parametrize("deblend", [True, "galaxy"])
@pytest.mark.parametrize("Segmenter", [PhotutilsSegmenter, SEPSegmenter])
def test_threads_write_the_same_file_without_a_process(tmp_path, monkeypatch, Segmenter, deblend):
    if Segmenter is SEPSegmenter:
        pytest.importorskip("sep")

    def forbidden(*args, **kwargs):
        raise AssertionError("a process was asked for")

    monkeypatch.setattr(joblib, "Parallel", forbidden)
    image, segmenter = make_image(), Segmenter(n_sigma=2, bridge=4, deblend=deblend)
    files = [
        segment_mosaic(
            segmenter, image, output=tmp_path / f"{n_jobs}.fits", n_jobs=n_jobs, **OPTIONS
        ).read_bytes()
        for n_jobs in (1, 3)
    ]
    assert files[0] == files[1]
    kept = segment_mosaic(segmenter, image, n_jobs=3, kind="instances", **OPTIONS)
    alone = segment_mosaic(segmenter, image, n_jobs=1, kind="instances", **OPTIONS)
    assert len(kept) == len(alone) > 20
    np.testing.assert_array_equal(kept.scores, alone.scores)
    np.testing.assert_array_equal(kept.to_label_map(), alone.to_label_map())


@pytest.mark.parametrize("algorithm", ["RICE_1", "HCOMPRESS_1", None])
def test_threads_read_files_at_the_same_time(tmp_path, algorithm):
    """An image, packed in tiles or plain, with its RMS map and a mask that it comes with."""
    image = np.nan_to_num(make_image()[:, 120:280], nan=10)
    rms, mask = np.ones_like(image), np.zeros(image.shape, dtype=np.int16)
    rms[150:] = 2
    mask[20:25, ::7] = 1
    paths = {name: tmp_path / f"{name}.fits" for name in ("image", "rms", "mask")}
    for path, pixels in zip(paths.values(), (image, rms, mask), strict=True):
        hdu = fits.ImageHDU(pixels)
        if algorithm and pixels is image:
            options = {"compression_type": algorithm, "tile_shape": (16, 16)}
            hdu = fits.CompImageHDU(pixels, quantize_level=-0.01, **options)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    segmenter = PhotutilsSegmenter(n_sigma=2, bridge=4, rms_band=-1)
    alone, together = (
        segment_mosaic(segmenter, **paths, n_jobs=n_jobs, **OPTIONS) for n_jobs in (1, 5)
    )
    assert alone.max() > 20
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    "segmenter",
    [KMeansSegmenter(random_state=0), RandomForestSegmenter(n_estimators=4, random_state=0)],
    ids=lambda segmenter: type(segmenter).__name__,
)
def test_segmenters_that_learn_work_in_threads(tmp_path, segmenter):
    assert Plan(segmenter).in_threads
    image = np.nan_to_num(make_image(), nan=10)
    crop = image[:60, 100:160]
    segmenter.fit(crop[np.newaxis], (crop > 20)[np.newaxis].astype(int))
    options, before = OPTIONS | {"overlap": 40}, state_of_the_process()
    files = [
        segment_mosaic(
            segmenter, image, output=tmp_path / f"{n_jobs}.fits", n_jobs=n_jobs, **options
        ).read_bytes()
        for n_jobs in (1, 3)
    ]
    assert files[0] == files[1]
    assert state_of_the_process() == before


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where tiles tell that they begin and end."""
    path = tmp_path / "tiles"
    path.mkdir()
    monkeypatch.setenv("TEST_FOLDER", str(path))
    return path


def no_thread_is_left():
    return not [thread for thread in threading.enumerate() if "galaxysegment" in thread.name]


def test_tiles_are_the_work_of_threads_of_this_process(folder, monkeypatch):
    monkeypatch.setenv("TEST_SECONDS", "0.01")
    segment_mosaic(Slow(), make_image(), n_jobs=2, **OPTIONS)
    begun = [path.name.split(".") for path in folder.glob("*.begun")]
    assert {pid for pid, *_ in begun} == {str(os.getpid())}
    assert {name for _, name, *_ in begun} == {"galaxysegment_0", "galaxysegment_1"}
    assert no_thread_is_left()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_statistics_are_combined_side_by_side(n_jobs):
    plan = Plan(Slow())
    image = make_image()
    pixels = SimpleNamespace(shape=image.shape, read=lambda *place: image[None][:, *place])
    with Scheduler(n_jobs, False, in_threads=True) as scheduler:

        def run(plan, n_steps, function, blocks):
            return [function(image[None, window.y0 : window.y1], window.y0) for window in blocks]

        plan.learn(pixels, run, scheduler.each_of)
    values = plan._values[-1]
    names = {values["a"][1], values["b"][1]}
    assert values["a"][0] == np.nanmax(image)
    here = threading.current_thread().name
    assert all((name == here) == (n_jobs == 1) for name in names)


class Strange(SequentialBackend):
    """A backend that somebody chose."""


def test_a_chosen_backend_stays():
    """Threads stand for joblib's default only."""
    joblib.register_parallel_backend("strange for threads", Strange)
    wanted = partial(Scheduler, progress=False, in_threads=True)
    assert (wanted(2).n_threads, wanted(2).is_parallel) == (2, False)
    assert (wanted(1).n_threads, wanted(1).is_parallel) == (1, False)
    assert Scheduler(2, False).is_parallel
    for backend in ("loky", "threading", "strange for threads"):
        with joblib.parallel_config(backend, n_jobs=2):
            assert (wanted(2).n_threads, wanted(2).is_parallel) == (1, True)
            assert wanted(1).is_parallel
    with joblib.parallel_config(n_jobs=3):
        assert (wanted(1).n_threads, wanted(1).is_parallel) == (3, False)


def test_all_steps_have_to_work_in_threads():
    from sklearn.pipeline import Pipeline

    assert Plan(PhotutilsSegmenter()).in_threads and Plan(SEPSegmenter()).in_threads
    assert Plan(PhotutilsSegmenter(bridge=0, no_data="nan")).in_threads
    assert not Plan(Threshold()).in_threads
    identity = SimpleNamespace(transform=lambda X: X, fit=None)
    assert not Plan(Pipeline([("a", identity), ("b", PhotutilsSegmenter())])).in_threads


def state_of_the_process():
    threads = [(library["filepath"], library["num_threads"]) for library in threadpool_info()]
    return threads, list(warnings.filters), warnings.showwarning


def test_a_failure_waits_for_the_other_tiles(tmp_path, folder, monkeypatch):
    """No thread writes into a folder that is gone; each finished tile is kept."""
    monkeypatch.setenv("TEST_SECONDS", "0.02")
    monkeypatch.setenv("TEST_FAIL_AT", "0-0")
    output = tmp_path / "labels.fits"
    options = {"output": output, "n_jobs": 3, **OPTIONS}
    with threadpool_limits(2):
        before = state_of_the_process()
        with pytest.raises(TileError, match=r"tile 0.*this tile is bad.*resume=True"):
            segment_mosaic(Slow(), make_image(), **options)
        assert state_of_the_process() == before and no_thread_is_left()
    n_begun, n_ended = (len(list(folder.glob(f"*.{what}"))) for what in ("begun", "ended"))
    assert n_begun == n_ended < N_TILES and not output.exists()
    assert len(records(tmp_path)) == n_ended - 1


_START = """
import signal, test_threads as t
signal.signal(signal.SIGINT, signal.default_int_handler)
t.segment_mosaic(t.Slow(), t.make_image(), output={output!r}, n_jobs={n_jobs}, resume={resume},
                 **t.OPTIONS)
"""


def start(output, *, n_jobs=2, resume=False, **environment):
    code = _START.format(output=str(output), n_jobs=n_jobs, resume=resume)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(output, **options):
    """Go on in another process, for which the class of the segmenter is the same."""
    process = start(output, resume=True, **options)
    assert process.communicate(timeout=250)[1] == "" and process.returncode == 0


def records(tmp_path):
    return list((tmp_path / ".labels.fits.unfinished").glob("tile*.record"))


@pytest.mark.skipif(os.name == "nt", reason="other signals")
def test_a_killed_run_is_resumed(tmp_path, folder):
    """A thread kills the process within its ninth tile, while another one is at work."""
    output, whole = tmp_path / "labels.fits", tmp_path / "whole.fits"
    process = start(output, TEST_KILL_AT="9", TEST_SECONDS="0.02")
    process.communicate(timeout=250)
    assert process.returncode == -signal.SIGKILL and not output.exists()
    n_kept, begun = len(records(tmp_path)), set(folder.iterdir())
    assert 6 <= n_kept <= 8
    finish(output, n_jobs=3)
    assert len(set(folder.glob("*.begun")) - begun) == N_TILES - n_kept
    finish(whole, n_jobs=1)
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="other signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_no_file_and_goes_on(tmp_path, folder, number):
    output = tmp_path / "labels.fits"
    process = start(output, TEST_SECONDS="0.1")
    give_up = time.time() + 250
    while len(records(tmp_path)) < 3:
        assert time.time() < give_up and process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert "KeyboardInterrupt" in error or number == signal.SIGTERM
    n_kept, begun = len(records(tmp_path)), set(folder.glob("*.begun"))
    assert process.returncode and not output.exists() and n_kept < N_TILES
    if number == signal.SIGINT:  # tiles that had begun were finished
        assert len(begun) == len(list(folder.glob("*.ended"))) == n_kept
    finish(output)
    assert len(set(folder.glob("*.begun")) - begun) == N_TILES - n_kept
    assert output.exists() and not records(tmp_path)
