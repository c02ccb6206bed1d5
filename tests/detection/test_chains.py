"""Steps of consecutive strips that go on with each other."""

import numpy as np
import pytest

from galaxysegment.detection import _seams
from galaxysegment.detection._chains import link_steps
from galaxysegment.detection._seams import chains_of
from galaxysegment.detection._steps import Steps


def random_steps(seed, n_lines=60, n_steps=30, width=120):
    """Steps at different places of each line."""
    rng = np.random.default_rng(seed)
    lines = np.repeat(np.arange(n_lines), rng.integers(0, n_steps + 1, n_lines))
    places = [np.sort(rng.choice(width, n, replace=False)) for n in np.bincount(lines)]
    return Steps(lines, np.concatenate(places), rng.normal(0, 1, len(lines)))


def chains_by_definition(steps, middles, most_missed, steepest):
    """Chains as lists of steps; each chain looks at all steps of each line."""
    chains = []
    for line, middle in enumerate(middles):
        free = np.flatnonzero(steps.lines == line).tolist()
        for chain in chains:
            first, last = chain[0], chain[-1]
            if line - steps.lines[last] > most_missed + 1:
                continue
            expected, margin = steps.places[first], 1
            passed = middle - middles[steps.lines[last]]
            if steepest and len(chain) == 1:
                margin = steepest * passed
            elif steepest:
                rise = steps.places[last] - steps.places[first]
                slope = rise / (middles[steps.lines[last]] - middles[steps.lines[first]])
                expected, margin = steps.places[last] + slope * passed, 3
            near = [
                step
                for step in free
                if abs(steps.places[step] - expected) <= margin
                and steps.heights[step] * steps.heights[last] > 0
            ]
            if near:
                chain.append(min(near, key=lambda step: abs(steps.places[step] - expected)))
                free.remove(chain[-1])
        chains += [[step] for step in free]
    return chains


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("most_missed", "steepest"), [(1, 0), (3, 0.19)])
@pytest.mark.parametrize("seed", range(3))
def test_chains_are_those_of_their_definition(seed, most_missed, steepest, compiled):
    steps, middles = random_steps(seed), np.arange(60) * 24.0
    expected = chains_by_definition(steps, middles, most_missed, steepest)
    if compiled:
        from galaxysegment.detection._seam_kernels import link_steps_compiled as link
    else:
        link = link_steps
    chains = np.full(len(steps.lines), -1)
    link(*steps, middles, most_missed, float(steepest), chains)
    assert [np.flatnonzero(chains == chain).tolist() for chain in range(len(expected))] == expected
    lengths = [len(chain) for chain in expected]
    assert max(lengths) > 4 and min(lengths) == 1


@pytest.mark.parametrize("pays", [False, True])
def test_only_long_chains_are_listed(pays, monkeypatch):
    monkeypatch.setattr(_seams, "compiling_pays", lambda _: pays)
    lines, places = np.array([0, 0, 1, 2, 2, 4, 5]), np.array([10, 80, 11, 10, 50, 9, 81])
    steps = Steps(lines, places, np.array([1.0, 1, 2, 1, -1, 1, 1]))
    edges, options = np.arange(0, 7 * 32, 32), {"most_missed": 1, "steepest": 0}
    [chain] = chains_of(steps, edges, **options, fewest=3)
    assert chain.lines.tolist() == [0, 1, 2, 4] and chain.places.tolist() == [10, 11, 10, 9]
    assert chain.heights.tolist() == [1, 2, 1, 1]
    assert len(chains_of(steps, edges, **options, fewest=1)) == 4
    assert chains_of(steps.chosen(steps.lines > 9), edges, **options, fewest=1) == []
