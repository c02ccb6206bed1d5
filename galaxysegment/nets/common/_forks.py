"""Let nets work in forked processes, where the threads of torch are gone."""

import os

import torch

__all__ = []


def _keep_to_one_thread():
    """Keep torch to one thread in a forked child.

    The threads that torch's OpenMP has started stay with the parent, but the child still waits for
    them: without this, the first convolution never ends. For several threads in each process, start
    workers by ``"spawn"`` or joblib's ``"loky"``.
    """
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_keep_to_one_thread)
