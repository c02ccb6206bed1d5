"""Who does a task, what the bar shows, and what an error says."""

import os
import warnings
import weakref
from functools import partial
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from joblib.parallel import SequentialBackend
from threadpoolctl import threadpool_info, threadpool_limits

from galaxysegment import PhotutilsSegmenter
from galaxysegment.mosaic import TileError, _work, segment_mosaic
from galaxysegment.mosaic._light_work import Piece
from galaxysegment.mosaic._plan import Tile, Window
from galaxysegment.mosaic._work import (
    Blend,
    Job,
    Scheduler,
    SharedJob,
    _clear,
    _is_parallel,
    _one_thread,
    _somewhere,
    run_task,
)

WINDOW = Window(3, 4, 30, 40)


class Bar:
    """Stands for the progress bar."""

    def __init__(self, **options):
        self.options, self.n_updates = options, 0
        Bar.last = self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.is_closed = True

    def update(self):
        self.n_updates += 1


def reduce_rows(job, number, power=1):
    return job + number**power


@pytest.mark.parametrize(
    ("progress", "n_items", "done", "is_hidden"),
    [(True, 2, 3, False), (True, 0, 2, False), (True, 0, 0, True), (False, 2, 3, True)],
)
def test_the_bar_counts_what_was_done_before(monkeypatch, progress, n_items, done, is_hidden):
    monkeypatch.setattr(_work, "_Bar", Bar)
    items = [(5, 2), (6,)][:n_items]
    results = list(Scheduler(1, progress).each(100, reduce_rows, "row", items, done))
    assert results == [(0, 125), (1, 106)][:n_items]
    assert Bar.last.options == {
        "total": n_items + done,
        "initial": done,
        "desc": "row",
        "unit": "row",
        "disable": is_hidden,
    }
    assert Bar.last.n_updates == n_items and Bar.last.is_closed


def test_nothing_was_done_before_unless_somebody_says_so(monkeypatch):
    monkeypatch.setattr(_work, "_Bar", Bar)
    list(Scheduler(1, True).each(100, reduce_rows, "row", [(5,)]))
    assert (Bar.last.options["initial"], Bar.last.options["total"]) == (0, 1)


def fail(error, job, what):
    raise error


@pytest.mark.parametrize(
    ("what", "where"),
    [
        (Tile(7, WINDOW, WINDOW), " (tile 7, rows 3:30, columns 4:40)"),
        (Blend(WINDOW, 99), " (sources at rows 3:30, columns 4:40)"),
        (WINDOW, " (rows 3:30, columns 4:40)"),
        (Piece(2, WINDOW, np.array([3])), " (sources at rows 3:30, columns 4:40)"),
        (([], [], []), ""),
    ],
    ids=str,
)
def test_an_error_says_what_failed_where(what, where):
    task = partial(fail, ValueError("it was bad"))
    task.__name__ = "segment_blend"
    with pytest.raises(TileError) as caught:
        run_task(None, task, what)
    expected = "Segmenting a blend that no tile sees whole"
    assert str(caught.value) == f"{expected}{where} failed: ValueError: it was bad"
    assert isinstance(caught.value.__cause__, ValueError)
    own = TileError("as it is")
    with pytest.raises(TileError, match=r"^as it is$"):
        run_task(None, partial(fail, own), what)


class Strange(SequentialBackend):
    """Work goes to another machine."""


@pytest.mark.parametrize(
    ("backend", "n_jobs", "expected"),
    [
        (None, None, False),
        (None, 1, False),
        (None, 2, True),
        ("strange", None, True),
        ("threading", None, False),
    ],
)
def test_one_job_is_parallel_only_on_other_machines(backend, n_jobs, expected):
    joblib.register_parallel_backend("strange", Strange)
    if backend is None:
        assert _is_parallel(n_jobs) == expected
        return
    with joblib.parallel_config(backend, n_jobs=1):
        assert _is_parallel(n_jobs) == expected
        assert Scheduler(1, False).is_parallel == expected
        assert Scheduler(1, False).n_jobs is None and Scheduler(3, False).n_jobs == 3


def test_a_job_opens_the_pixels_once_and_travels_without_them():
    opened = []
    job = SharedJob(lambda: opened.append(1) or "pixels", None)
    assert (job.pixels, job.pixels, opened) == ("pixels", "pixels", [1])
    assert job.__getstate__()["_pixels"] is None and job._pixels == "pixels"
    assert job.main_process == os.getpid()


def test_every_job_has_a_file_of_its_own(tmp_path):
    with joblib.parallel_config("threading", n_jobs=2):
        scheduler = Scheduler(1, False)
        job = SharedJob(None, SimpleNamespace(path=tmp_path))
        paths = {scheduler.share(job) for _ in range(3)}
    assert len(paths) == len(list(tmp_path.glob("job-*.pickle"))) == 3
    job = SharedJob(None, None)
    assert Scheduler(1, False).share(job) is job


def test_a_worker_has_one_thread_of_openmp():
    def counts():
        return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "openmp"]

    import sklearn.cluster  # noqa: F401, it brings a library with OpenMP

    with threadpool_limits(3, "openmp"):
        assert counts() and set(counts()) == {3}
        with _one_thread():
            assert set(counts()) == {1}
        assert set(counts()) == {3}


@pytest.mark.parametrize("place", [(0, 0), (64, 64), (1, 0), (0, 1), (63, 70), (129, 139)])
def test_one_pixel_with_data_is_enough(place):
    image = np.full((2, 130, 140), np.nan)
    assert not _somewhere(np.isfinite, image)
    image[1, *place] = 3
    assert _somewhere(np.isfinite, image)
    image[:] = 4
    assert _somewhere(np.isfinite, image)


@pytest.mark.parametrize("output", ["labels", "instances"])
@pytest.mark.parametrize("with_rms", [True, False])
@pytest.mark.parametrize("is_empty", [True, False])
def test_the_segmenter_is_not_asked_about_windows_without_data(output, with_rms, is_empty):
    seen = []
    plan = SimpleNamespace(output=output, predict=lambda *what: seen.append(what) or "sources")
    image = np.ones((2, *WINDOW.shape)) if with_rms else np.full((2, *WINDOW.shape), np.nan)
    rms = np.zeros(WINDOW.shape) if with_rms else None
    if not is_empty:
        (image[0] if rms is None else rms)[5, 7] = 0.5
    pixels = SimpleNamespace(read_parts=lambda *_: (image, rms))
    job = Job(plan, lambda: pixels, None, (50, 60), 1, 2)
    result = job.find(WINDOW)
    if not is_empty:
        assert result == "sources" and seen[0][1] is WINDOW
        bands = image if rms is None else np.concatenate([image, rms[None]])
        np.testing.assert_array_equal(seen[0][0], bands)
        return
    assert not seen and result[1:] == (None, None, None)
    if output == "labels":
        assert result[0].shape == WINDOW.shape and not result[0].any()
    else:
        assert result[0].shape == WINDOW.shape and len(result[0]) == 0


def test_gaps_are_taken_out_of_a_record():
    record = {"pixels": np.array([0, 3, 4, 7]), "values": np.array([1, 1, 2, 3])}
    gaps = np.zeros((2, 4), dtype=bool)
    gaps[0, 3] = gaps[1, 0] = gaps[0, 1] = True
    before = {**record}
    _clear(record, None)
    assert all(record[name] is before[name] for name in before)
    _clear(record, gaps)
    assert record["pixels"].tolist() == [0, 7] and record["values"].tolist() == [1, 3]


def test_a_job_is_forgotten_with_its_run():
    """Threads that were workers would hold the image of the last run."""
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.mosaic import segment_mosaic

    image = np.random.default_rng(0).normal(size=(40, 50))
    image[10:20, 10:20] += 30
    with joblib.parallel_config("threading", n_jobs=2):
        segment_mosaic(PhotutilsSegmenter(n_pixels=3), image, tile_size=30, progress=False)
    assert _work._load.cache_info().currsize == 0


def test_a_single_tile_starts_no_worker(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a worker was asked for")

    monkeypatch.setattr(_work, "ThreadPoolExecutor", forbidden)
    image = np.zeros((30, 40))
    image[5:10, 5:10] = 20
    segmenter = PhotutilsSegmenter(n_sigma=3, deblend=False)
    options, filters = {"n_jobs": 2, "progress": False}, warnings.filters
    assert segment_mosaic(segmenter, image, **options).max() == 1
    with pytest.raises(AssertionError, match="a worker was asked for"):
        segment_mosaic(segmenter, image, tile_size=20, **options)
    assert warnings.filters is filters  # and nothing of the process stays changed


def make_array(job, what):
    return np.zeros(10)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_a_task_returned_is_let_go_of(monkeypatch, n_jobs):
    monkeypatch.setitem(_work._LABELS, "make_array", "Making an array")
    items, seen = [(index,) for index in range(9)], []
    with Scheduler(n_jobs, False, in_threads=True) as scheduler:
        for _, result in scheduler.each(None, make_array, "array", items):
            assert sum(reference() is not None for reference in seen[:-1]) == 0
            seen.append(weakref.ref(result))
    assert len(seen) == 9
