"""Tell Ctrl-C from a callback that ends the training."""

import signal
import threading

__all__ = ["noted_interrupts"]


class noted_interrupts:  # noqa: N801 - a context manager reads like a function
    """Inside a ``with`` block, note whether Ctrl-C was pressed; it acts as before.

    skorch ends a training at a KeyboardInterrupt, and its early stopping raises one. Only the
    signal tells the user's Ctrl-C apart.

    Attributes
    ----------
    happened : bool
        Whether SIGINT arrived. Always False outside the main thread, which alone receives signals.
    """

    def __init__(self):
        self.happened = False
        self._before = None

    def __enter__(self):
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(before):
            self._before = before
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number, frame):
        self.happened = True
        return self._before(number, frame)
