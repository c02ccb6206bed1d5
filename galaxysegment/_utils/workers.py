"""Begin the work of a worker: its first second, before anything large is imported."""

import os
import pickle
import time
from contextlib import suppress
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread

_WATCH = 0.5  # seconds between two looks at whether the main process is still there


class Parcel:
    """A call that is packed: a worker that gets it imports nothing of what it names.

    Parameters
    ----------
    function : callable
    *arguments : object
        Their classes and functions may be of a script or a notebook.
    """

    def __init__(self, function, *arguments):
        from joblib.externals.loky.backend.reduction import dumps

        self._packed = bytes(dumps((function, *arguments)))

    def do(self, *first):
        """Unpack and do the call, with other arguments first."""
        function, *arguments = pickle.loads(self._packed)
        return function(*first, *arguments)


def do_numbered(index, job, parcel):
    """Return `index`, and what ``parcel.do(job)`` returns.

    Parameters
    ----------
    index : int
    job : Job or str
        A path says that this process may be a worker.
    parcel : Parcel
    """
    if isinstance(job, str):
        with suppress(OSError, EOFError, pickle.UnpicklingError):  # whoever needs the job says so
            settle(job)
    return index, parcel.do(job)


@lru_cache(maxsize=1)
def settle(path):
    """Make this worker end with the process that started it, and go to the folder of that process.

    Parameters
    ----------
    path : str
        File of a job, as `SharedJob.store` writes it.
    """
    with Path(path).open("rb") as file:
        main_process, current_folder = pickle.load(file)
    # The main process may be gone already: what `os.getppid` says now does not tell whose worker
    # this is.
    parent = parent_process()
    if parent is not None and parent.pid == main_process:
        Thread(target=_die_with, args=(main_process,), daemon=True).start()
        with suppress(OSError):  # it may be gone; then only absolute paths work
            os.chdir(current_folder)


def _die_with(parent):
    """End this worker soon after the process that started it, which may have been killed."""
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)
