"""The tasks of a run, and who does them: this process, its threads, or joblib's workers."""

import gc
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import RLock
from uuid import uuid4

import joblib
import numpy as np
from joblib.externals.loky.backend.reduction import dumps
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .._utils.rms import append_rms
from .._utils.shared import SHARED_FILTERS, OwnThread, SharedContext, ignored, set_aside
from .._utils.workers import Parcel, do_numbered, settle
from ..detection._scores import N_SUMS, sum_over_sources
from ..structures import Instances
from ..structures._labels import source_pixels, touching_groups
from ._instances import describe_instances
from ._join import NOWHERE, describe_stuff, describe_tile
from ._plan import Window, read_transformed

# What failed, in words. Docstrings are gone under ``python -OO``.
_LABELS = {
    "segment_tile": "Segmenting a tile",
    "segment_blend": "Segmenting a blend that no tile sees whole",
    "reduce_rows": "Measuring a block of rows",
    "write_line": "Writing a row of tiles",
    "write_classes": "Writing a row of tiles",
    "measure_rows": "Measuring a block of rows",
    "sample_tile": "Estimating the noise in a tile",
    "survey_tile": "Looking for sources that touch in a tile",
    "separate_piece": "Dividing the light of sources",
    "write_residual": "Writing the residual of a tile",
}


class TileError(RuntimeError):
    """A part of a mosaic could not be segmented; the message says which, why, and what is safe."""


class SharedJob:
    """What all tasks of a run share, whatever they do.

    Parameters
    ----------
    open_pixels : callable
        Opens the mosaic's pixels.
    folder : WorkFolder
    """

    def __init__(self, open_pixels, folder):
        self.open_pixels, self.folder = open_pixels, folder
        self.main_process = os.getpid()
        self._pixels = None

    @property
    def pixels(self):
        """The mosaic's pixels, opened once in each process."""
        if self._pixels is None:
            self._pixels = self.open_pixels()
        return self._pixels

    def __getstate__(self):
        return {**self.__dict__, "_pixels": None}

    def store(self, path):
        """Write this job to a file for the workers; return its path."""
        # workers of an earlier run may be in the folder that was the current one then
        about = self.main_process, str(Path.cwd())
        Path(path).write_bytes(pickle.dumps(about) + dumps(self))
        return str(path)


class Job(SharedJob):
    """What all tasks of segmenting a mosaic share.

    Parameters
    ----------
    plan : Plan
    open_pixels : callable
        Opens the mosaic's pixels.
    folder : WorkFolder
    shape : tuple of int
    margin : int
        Pixels along an inner edge of a read region that are not to be trusted.
    overlap : int
    """

    def __init__(self, plan, open_pixels, folder, shape, margin, overlap):
        super().__init__(open_pixels, folder)
        self.plan = plan
        self.shape, self.margin, self.overlap = shape, margin, overlap

    def find(self, window):
        """Find the sources of a window, and what belongs to them; see `Plan.predict`.

        The segmenter is not asked if no pixel has data.
        """
        image, rms = self.pixels.read_parts(*window.slices)
        if not _somewhere(np.isfinite, image) or (
            rms is not None and not _somewhere(_is_positive, rms)
        ):
            empty = np.zeros(window.shape, dtype=np.int32)
            if self.plan.output == "instances":
                return Instances(window.shape, [], []), None, None, None
            return empty, None, None, None
        return self.plan.predict(image if rms is None else append_rms(image, rms), window)


def _somewhere(condition, image):
    """Whether a condition holds for any pixel; a few of them settle most cases."""
    return bool(condition(image[..., ::64, ::64]).any() or condition(image).any())


def _is_positive(rms):
    return rms > 0


@lru_cache(maxsize=1)
def _load(path):
    settle(path)
    with Path(path).open("rb") as file:
        pickle.load(file)  # what `settle` reads
        return pickle.load(file)


def forget_job():
    """Let go of the job that this process has loaded, if its threads were workers."""
    _load.cache_clear()


_BLAS = SharedContext(partial(OwnThread, partial(threadpool_limits, 1, "blas")))


@contextmanager
def _one_thread():
    """Keep the libraries of a worker to one thread: workers share the cores among themselves.

    The number of threads of BLAS belongs to the process, that of OpenMP to each thread of it.
    """
    with _BLAS, threadpool_limits(1, "openmp"):
        yield


def run_task(job, task, what, *arguments):
    """Run ``task(job, what, *arguments)`` and say what failed if it fails.

    Parameters
    ----------
    job : Job or str
        Workers get the path of the file that holds it.
    """
    in_worker, had_numba = isinstance(job, str), "numba" in sys.modules
    try:
        job = _load(job) if in_worker else job
        with _one_thread() if in_worker else nullcontext():
            return task(job, what, *arguments)
    except TileError:
        raise
    except Exception as error:
        where = "" if isinstance(what, tuple) else f" ({what})"  # a line of tiles has no place
        raise TileError(
            f"{_LABELS[task.__name__]}{where} failed: {type(error).__name__}: {error}"
        ) from error
    finally:
        if not gc.isenabled():
            if not had_numba and "numba" in sys.modules:
                set_aside()  # what numba made as it started
            gc.collect(0)  # what this task left


class _Bar(tqdm):
    """A progress bar that no other process can stop.

    tqdm takes a lock that forked processes share, even for a hidden bar: if one of them is killed
    while it holds the lock, the others wait without end.
    """

    _lock = RLock()
    monitor_interval = 0  # a thread that would start for hidden bars as well


class Scheduler:
    """Do tasks here, in threads of this process, or on joblib's workers.

    Threads live as long as the block that it is the context of.

    Parameters
    ----------
    n_jobs : int
        Number of workers; with 1, a ``joblib.parallel_config`` around the call decides.
    progress : bool
        Whether to show a bar.
    in_threads : bool, default=False
        Whether the workers are threads, unless a ``joblib.parallel_config`` names a backend.

    Attributes
    ----------
    n_threads : int
        Number of threads of this process that do the tasks; 1 says that it does them itself, or
        that joblib's workers do.
    is_parallel : bool
        Whether joblib's workers do the tasks.
    """

    def __init__(self, n_jobs, progress, in_threads=False):
        # One job is what None means too, unless a joblib.parallel_config says otherwise.
        self.n_jobs = None if n_jobs == 1 else n_jobs
        self.progress = progress
        in_threads = in_threads and not _names_backend()
        self.n_threads = joblib.effective_n_jobs(self.n_jobs) if in_threads else 1
        self.is_parallel = not in_threads and _is_parallel(self.n_jobs)
        # BLAS wakes threads of its own for sums of some thousand numbers. They gain nothing, and
        # wait for more without a pause: 0.15 s of processor time at 8192², where all takes 3 s.
        self._limits_blas = in_threads
        self._threads = None

    def share(self, job):
        """Return the job itself, or the path of a file from which joblib's workers read it."""
        if not self.is_parallel:
            return job
        # Workers outlive a run and remember what they have read: a name is never used twice.
        return job.store(job.folder.path / f"job-{uuid4().hex}.pickle")

    def each(self, job, task, what, items, done=0):
        """Yield ``(index, result)`` of a task for all items, in the order they finish.

        Parameters
        ----------
        job : Job or str
            What `share` returned.
        task : callable
            ``task(job, *item)``.
        what : str
            Name of an item, for the progress bar.
        items : list of tuple
        done : int, default=0
            How many items were done before and count in the bar.
        """
        total = len(items) + done
        is_hidden = not (self.progress and total)
        with _Bar(total=total, initial=done, desc=what, unit=what, disable=is_hidden) as bar:
            for result in self._results(job, task, items):
                yield result
                bar.update()

    def each_of(self, calls):
        """Return the result of each of some functions without arguments, in their order."""
        if self._threads is None:
            return [call() for call in calls]
        return list(self._threads.map(_call, calls))

    def __enter__(self):
        """Start the threads, if threads do the tasks."""
        if self._limits_blas:
            _BLAS.__enter__()
        if self.n_threads > 1:
            # The number of threads of OpenMP belongs to each thread.
            options = {"initializer": threadpool_limits, "initargs": (1, "openmp")}
            self._threads = ThreadPoolExecutor(self.n_threads, "galaxysegment", **options)
            # A forest's trees change the filters of warnings in each thread.
            SHARED_FILTERS.__enter__()
        return self

    def __exit__(self, *error):
        """End the threads: a task that has begun is finished, the others are dropped.

        So no thread works on the files of a run that is over.
        """
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None
            SHARED_FILTERS.__exit__()
        if self._limits_blas:
            _BLAS.__exit__()

    def _results_of_threads(self, job, task, items):
        indices = {
            self._threads.submit(run_task, job, task, *item): index
            for index, item in enumerate(items)
        }
        for future in as_completed(indices):
            yield indices.pop(future), future.result()  # which is let go of

    def _results(self, job, task, items):
        if self._threads is not None:
            yield from self._results_of_threads(job, task, items)
            return
        if not self.is_parallel:
            for index, item in enumerate(items):
                yield index, run_task(job, task, *item)
            return
        parallel = joblib.Parallel(n_jobs=self.n_jobs, return_as="generator_unordered")
        calls = (
            joblib.delayed(do_numbered)(index, job, Parcel(run_task, task, *item))
            for index, item in enumerate(items)
        )
        # joblib replaces a worker that has grown. As an error, its warning would leave joblib
        # waiting.
        with ignored("A worker stopped while some jobs"):
            yield from parallel(calls)


def _call(function):
    return function()


def _names_backend():
    """Whether a ``joblib.parallel_config`` names a backend: a hint does not change it then."""
    (own, _), (other, _) = get_active_backend(), get_active_backend(prefer="threads")
    return type(own) is type(other)


def _is_parallel(n_jobs):
    """Whether joblib will use other threads, processes or machines."""
    backend, _ = get_active_backend()
    return joblib.effective_n_jobs(n_jobs) > 1 or not type(backend).__module__.startswith(
        "joblib._parallel"
    )


def segment_tile(job, tile):
    """Segmenting a tile."""
    sources, measured, gaps, maps = job.find(tile.read)
    if isinstance(sources, Instances):
        record = describe_instances(sources, tile, job.shape, job.margin, measured)
    else:
        record = describe_tile(
            sources,
            tile.core,
            tile.read,
            job.shape,
            job.margin,
            splits=job.plan.splits,
            measured=measured,
        )
        core = tile.core.within(tile.read)
        gaps = None if gaps is None else gaps[core]
        maps = None if maps is None else maps.within(core)
        if job.plan.is_panoptic:
            record |= describe_stuff(job.plan.stuff_of(maps))
        # The pixels of gaps, which join sources, may know their class: they are cleared last.
        own = record["pixels"], record["values"], len(record["first"])
        record["sums"] = _sums(maps, *own, gaps)
        _clear(record, gaps)
    job.folder.save("tile", tile.index, record)


def _sums(maps, pixels, owners, n_sources, gaps):
    """Sums over sources that their scores come from; 0 if scores are not wanted."""
    if maps is None:
        return np.zeros((n_sources, N_SUMS))
    return sum_over_sources(maps, pixels, owners, n_sources, gaps)


def _clear(record, gaps):
    """Take the pixels of gaps, which only joined sources, out of a record."""
    if gaps is not None:
        kept = ~gaps.ravel()[record["pixels"]]
        record["pixels"], record["values"] = record["pixels"][kept], record["values"][kept]


@dataclass(frozen=True)
class Blend:
    """Touching sources that some tile saw cut: where they are, and the first of their pixels."""

    window: Window
    pixel: int

    @property
    def index(self):
        """Number that no other blend has, nor this one if it turns out to be larger."""
        return (self.pixel << 64) + self.window.shape[0] * self.window.shape[1]

    def __str__(self):
        return f"sources at {self.window}"


def segment_blend(job, blend):
    """Segmenting a blend that no tile sees whole."""
    around = blend.window.grow(job.overlap, job.shape, job.plan.phase)
    labels, measured, gaps, maps = job.find(around)
    pixels = source_pixels(labels)
    values = labels.ravel()[pixels].astype(np.int64)
    y, x = divmod(blend.pixel, job.shape[1])
    group = touching_groups(labels, pixels, int(values.max(initial=0)))
    own = group[values] == group[labels[y - around.y0, x - around.x0]]
    pixels, values = pixels[own], values[own]
    has_data = np.ones(len(pixels), dtype=bool) if gaps is None else ~gaps.ravel()[pixels]
    old, values = np.unique(values, return_inverse=True)
    values += 1
    sums = _sums(maps, pixels, values, len(old), gaps)
    y, x = np.divmod(pixels, around.shape[1])
    pixels = (y + around.y0) * job.shape[1] + x + around.x0
    first = np.full(int(values.max(initial=0)) + 1, NOWHERE)
    first[values[::-1]] = pixels[::-1]
    record = {"pixels": pixels[has_data], "values": values[has_data], "first": first[1:]}
    record["measured"] = np.zeros((len(old), 0)) if measured is None else measured[old - 1]
    record["sums"] = sums
    job.folder.save("blend", blend.index, record)


def reduce_rows(job, window, n_steps, function):
    """Measuring a block of rows."""
    return function(read_transformed(job.plan, n_steps, job.pixels, window), window.y0)
