import resource
import sys

import numpy as np
import pytest

from galaxysegment.nets.common import _memory
from galaxysegment.nets.common._memory import kept_memory


def faults_of_large_arrays():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(10_000_000, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_arrays_reuse_their_pages():
    if _memory._find_glibc() is None:
        pytest.skip("no glibc")
    with kept_memory():
        faults_of_large_arrays()
        inside = faults_of_large_arrays()
    assert inside < 20 * 10_000_000 / 4096 / 10


def test_blocks_nest(monkeypatch):
    calls = []
    monkeypatch.setattr(_memory, "_set_options", calls.append)
    with kept_memory(), kept_memory():
        pass
    assert calls == [_memory._INSIDE, _memory._AFTER]


def test_an_error_ends_the_block(monkeypatch):
    calls = []
    monkeypatch.setattr(_memory, "_set_options", calls.append)
    with pytest.raises(ValueError, match="inside"), kept_memory():
        raise ValueError("inside")
    assert calls[-1] is _memory._AFTER


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(_memory, "_find_glibc", lambda: None)
    with kept_memory():
        pass
