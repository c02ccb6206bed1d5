"""Options of compiled functions."""

import numpy as np
import pytest

compiled = pytest.importorskip("galaxysegment._utils.compiled")


def test_references_are_counted_if_numba_cannot_help_it(monkeypatch):
    from numba.core.cpu import CPUTargetOptions

    assert compiled._without_counts() == {"_nrt": False}
    owner = next(kind for kind in CPUTargetOptions.__mro__ if "_nrt" in vars(kind))
    monkeypatch.delattr(owner, "_nrt")
    assert compiled._without_counts() == {}


@pytest.mark.parametrize("options", [compiled.BARE, compiled.INNER])
def test_an_array_of_the_caller_outlives_an_inner_kernel(options):
    @compiled.njit(**options)
    def add(values, start, stop):
        part = values[start:stop]
        for index in range(part.size):
            part[index] += 1
        return part[0]

    @compiled.njit
    def add_often(n):
        values, total = np.zeros(9), 0.0
        for _ in range(n):
            total += add(values, 2, 5)
        return values, total

    values, total = add_often(1000)
    assert values.tolist() == [0, 0, 1000, 1000, 1000, 0, 0, 0, 0]
    assert total == 1000 * 1001 / 2
