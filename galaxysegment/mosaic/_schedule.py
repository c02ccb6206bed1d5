"""Who does the tasks and when: this process, or joblib's workers, with a progress bar."""

from threading import RLock
from uuid import uuid4

import joblib
from joblib.parallel import get_active_backend
from tqdm import tqdm

from .._utils.shared import ignored
from ._work import run_task


class _Bar(tqdm):
    """A progress bar that no other process can stop.

    tqdm takes a lock that forked processes share, even for a hidden bar: if one of them is killed
    while it holds the lock, the others wait without end.
    """

    _lock = RLock()
    monitor_interval = 0  # a thread that would start for hidden bars as well


class Scheduler:
    """Do tasks here or on joblib's workers.

    Parameters
    ----------
    n_jobs : int
        Number of workers; with 1, a ``joblib.parallel_config`` around the call decides.
    progress : bool
        Whether to show a bar.
    """

    def __init__(self, n_jobs, progress):
        # One job is what None means too, unless a joblib.parallel_config says otherwise.
        self.n_jobs = None if n_jobs == 1 else n_jobs
        self.progress = progress
        self.is_parallel = _is_parallel(self.n_jobs)

    def share(self, job):
        """Return the job itself, or the path of a file from which workers read it."""
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

    def _results(self, job, task, items):
        if not self.is_parallel:
            for index, item in enumerate(items):
                yield _numbered(index, job, task, *item)
            return
        parallel = joblib.Parallel(n_jobs=self.n_jobs, return_as="generator_unordered")
        call = joblib.delayed(_numbered)
        # joblib replaces a worker that has grown. As an error, its warning would leave joblib
        # waiting.
        with ignored("A worker stopped while some jobs"):
            yield from parallel(call(index, job, task, *item) for index, item in enumerate(items))


def _numbered(index, job, task, *arguments):
    return index, run_task(job, task, *arguments)


def _is_parallel(n_jobs):
    """Whether joblib will use other threads, processes or machines."""
    backend, _ = get_active_backend()
    return joblib.effective_n_jobs(n_jobs) > 1 or not type(backend).__module__.startswith(
        "joblib._parallel"
    )
