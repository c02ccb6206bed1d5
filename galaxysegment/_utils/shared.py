"""State of the whole process that several threads change at once: the last to leave restores it."""

import gc
import threading
import warnings
from contextlib import contextmanager


class SharedContext:
    """A context that several threads may be in at the same time.

    The first thread to enter sets the state, the last to leave restores it. If each thread restored
    the state that it saw when it entered, it could restore another thread's setting.

    Parameters
    ----------
    make : callable
        Returns the context manager that sets and restores the state.
    """

    def __init__(self, make):
        self._make = make
        self._lock = threading.Lock()
        self._depth = 0
        self._context = None

    def __enter__(self):
        with self._lock:
            if not self._depth:
                self._context = self._make()
                self._context.__enter__()
            self._depth += 1

    def __exit__(self, *error):
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._context.__exit__(None, None, None)


class OwnThread:
    """A context that is entered and left by a thread of its own, which lives as long as it.

    threadpoolctl lets a single thread change the number of threads of BLAS, as long as that thread
    lives, and does nothing in the others. If one thread entered and another left, the limit would
    stay.

    Parameters
    ----------
    make : callable
        Returns the context manager.
    """

    def __init__(self, make):
        self._make = make
        self._entered, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)

    def _hold(self):
        try:
            with self._make():
                self._entered.set()
                self._leave.wait()
        finally:
            self._entered.set()

    def __enter__(self):
        self._thread.start()
        self._entered.wait()

    def __exit__(self, *error):
        self._leave.set()
        self._thread.join()


@contextmanager
def _no_collection():
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            set_aside()
            gc.enable()


def set_aside():
    """Have searches for young garbage pass over all objects that there are.

    For objects that stay, such as those of large imports: to look once at those that numba makes
    takes 0.025 s. A search through all objects finds what is garbage among them. Nothing is done if
    the user has frozen objects, which this would thaw.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


#: Hold this around large imports: they make objects that stay, and Python would look through all
#: objects for garbage again and again, for a fifth of the time that numba takes to start. Objects
#: that were made meanwhile are set aside.
NO_COLLECTION = SharedContext(_no_collection)
#: Hold this around `warnings.catch_warnings`, so that threads leave the filters as they were.
SHARED_FILTERS = SharedContext(warnings.catch_warnings)


@contextmanager
def ignored(message="", category=Warning):
    """Ignore a kind of warnings in a block that several threads may be in at once.

    The filter stays until the last of nested or overlapping blocks is left, so be specific.

    Parameters
    ----------
    message : str, default=""
        Regular expression that the beginning of the warning matches.
    category : type, default=Warning
    """
    with SHARED_FILTERS:
        warnings.filterwarnings("ignore", message, category)
        yield
