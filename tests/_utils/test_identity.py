"""Values are identified by what they hold, equally in every process."""

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from galaxysegment import PhotutilsSegmenter
from galaxysegment._utils.discovery import all_estimators
from galaxysegment._utils.identity import identify, identify_file

HARDENING = Path(__file__).parents[1] / "hardening"


class Foreign(BaseEstimator):
    """An estimator of another package, which keeps what it learns where it likes."""

    def __init__(self, level=1):
        self.level = level
        self._learnt = np.zeros(3)


def make_values():
    """Values that differ pairwise, made anew by every call."""
    table = np.zeros(3, dtype=[("a", "u1"), ("b", "f8")])
    changed = table.copy()
    changed["b"][1] = 1
    foreign = Foreign()
    foreign._learnt[1] = 1
    cycle = [1]
    cycle.append(cycle)
    values = [None, True, 1, 1.0, "1", b"1", (1,), [1], [[1]], {1}, {1: 2}, {1: 3}, {2: 1}]
    values += [np.float32(1), np.ones(1), np.ones((1, 1)), np.ones(1, dtype=int), np.nan]
    values += [np.arange(12).reshape(3, 4), np.arange(12).reshape(4, 3).T, table, changed]
    values += [np.ma.masked_less([1.0, 2.0], 2), np.ma.masked_less([1.0, 2.0], 1)]
    values += [np.array(["a", None], dtype=object), np.random.RandomState(0), Path("a"), np.add]
    values += [partial(np.sum, axis=0), partial(np.sum, axis=1), np.sum, np.ndarray, os]
    values += [lambda x: x + 1, lambda x: x + 2, lambda x, y=1: x + y, lambda x, y=2: x + y]
    values += [Foreign(), Foreign(2), foreign, PhotutilsSegmenter(), cycle, slice(1), slice(2)]
    return values


def test_equal_values_agree_and_others_differ():
    first, second = ([identify(value) for value in make_values()] for _ in range(2))
    assert first == second
    assert len(set(first)) == len(first)


def test_values_that_are_shared_or_in_another_order_are_the_same():
    array = np.arange(3)
    assert identify([array, array]) == identify([array, array.copy()])
    assert identify({"a": 1, "b": 2}) == identify({"b": 2, "a": 1})
    assert identify(np.arange(12).reshape(3, 4)[:, ::2]) == identify(
        np.array([[0, 2], [4, 6], [8, 10]])
    )


def test_what_cannot_be_compared_is_equal_to_nothing():
    lock = threading.Lock()
    assert identify(lock) != identify(lock)


def test_tensors_and_modules():
    torch = pytest.importorskip("torch")
    first, second = (torch.nn.Linear(2, 3) for _ in range(2))
    assert identify(first) != identify(second)
    second.load_state_dict(first.state_dict())
    assert identify(first) == identify(second)
    tensors = [torch.ones(3), torch.ones(3, dtype=torch.float64), torch.ones(3, 1), torch.zeros(3)]
    tensors += [torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bool), torch.ones(0)]
    assert len({identify(tensor) for tensor in tensors}) == len(tensors)
    assert identify(torch.arange(6).reshape(2, 3).T) == identify(
        torch.tensor([[0, 3], [1, 4], [2, 5]])
    )


def test_a_file_is_known_by_size_time_and_samples(tmp_path):
    path = tmp_path / "file"
    content = bytearray(os.urandom(300_000))
    path.write_bytes(content)
    os.utime(path, (1, 1))
    before = identify_file(path)
    for place in (0, len(content) - 1):
        changed = content.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        os.utime(path, (1, 1))
        assert identify_file(path) != before
    path.write_bytes(content)
    assert identify_file(path) != before
    os.utime(path, (1, 1))
    assert identify_file(path) == before
    path.write_bytes(b"")
    assert identify_file(path)[1] == 0


def test_every_segmenter_is_the_same_in_every_process():
    """Segmenters are fitted anew in each process, so that their training takes another time."""
    names = [name for name, _ in all_estimators("segmenter")]
    code = (
        f"import numpy, sys; sys.path.insert(0, {str(HARDENING)!r})\n"
        "from properties import fitted, n_bands\n"
        "from galaxysegment._utils.identity import identify\n"
        "from galaxysegment.testing import make_images\n"
        f"for name in {names}:\n"
        "    numpy.random.seed(0)\n"  # not every segmenter has a seed of its own there
        "    segmenter = fitted(name)\n"
        "    before = identify(segmenter)\n"
        "    segmenter.predict(make_images(1, n_bands=n_bands(name))[0])\n"
        "    print(before, identify(segmenter), identify(segmenter.set_params(n_pixels=3)))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        for seed in (1, 2)
    ]
    for name, first, second in zip(names, *runs, strict=True):
        assert first == second, name
        before, after, other = first.split()
        assert before == after != other, name
