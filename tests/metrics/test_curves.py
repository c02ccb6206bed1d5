"""Completeness and purity in bins, and sources matched by position."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.stats import binom_conf_interval
from hypothesis import given
from hypothesis import strategies as st

from galaxysegment.metrics import FractionCurve, fraction_curve, match_positions


def test_fractions_and_intervals_are_those_of_astropy():
    rng = np.random.default_rng(0)
    values, is_hit = rng.uniform(20, 24, 500), rng.random(500) < 0.7
    curve = fraction_curve(values, is_hit, [20, 21, 23, 24], confidence=0.9)
    expected = binom_conf_interval(curve.n_hit, curve.n, 0.9, interval="wilson")
    np.testing.assert_allclose([curve.low, curve.high], expected)
    for low, high, n, n_hit in zip([20, 21, 23], [21, 23, 24], curve.n, curve.n_hit, strict=True):
        inside = (values >= low) & (values < high)
        assert (n, n_hit) == (inside.sum(), is_hit[inside].sum())
    assert curve.centres.tolist() == [20.5, 22, 23.5]


def test_empty_bins_are_nan_and_sources_outside_are_left_out():
    curve = fraction_curve([1.0, 5.0, np.nan, 2.0], [True] * 4, [1, 2, 3, 4])
    assert curve.n.tolist() == [1, 1, 0]
    assert np.isnan(curve.fraction[2]) and np.isnan(curve.low[2])


def test_the_limit_is_where_the_curve_falls_below():
    edges = [0, 1, 2, 3, 4]
    hits = np.repeat([1.0, 0.8, 0.4, 0.0], 10)
    values = np.repeat([0.5, 1.5, 2.5, 3.5], 10)
    is_hit = np.tile(np.arange(10), 4) < 10 * hits
    curve = fraction_curve(values, is_hit, edges)
    assert curve.limit(0.5) == pytest.approx(1.5 + 0.3 / 0.4)
    assert curve.limit(0.9) == pytest.approx(0.5 + 0.1 / 0.2)
    whole = fraction_curve(values, np.ones(40, dtype=bool), edges)
    assert np.isnan(whole.limit()) and np.isnan(fraction_curve(values, ~is_hit, edges).limit(1.0))


def test_a_curve_can_be_drawn():
    ax = fraction_curve([1.0, 2.0], [True, False], [1, 2, 3]).plot(xlabel="S/N", label="mine")
    assert ax.get_xlabel() == "S/N" and ax.lines[0].get_ydata().tolist() == [1, 0]
    plt.close(ax.figure)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0], [True, False], [0, 1]), "is_hit has shape"),
        (([1.0], [1], [0, 1]), "must hold truth values"),
        (([1.0], [True], [1, 1]), "increasing"),
        (([1.0], [True], [1]), "two or more"),
    ],
)
def test_bad_curves_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        fraction_curve(*arguments)


places = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12)


@given(places, places, st.floats(0.5, 6))
def test_matches_are_the_nearest_pairs_one_to_one(true, predicted, radius):
    i, j = match_positions(true, predicted, radius)
    assert len(set(i)) == len(i) and len(set(j)) == len(j) and (np.diff(i) > 0).all()
    if not true or not predicted:
        assert not len(i)
        return
    distance = np.linalg.norm(np.array(true)[:, None] - np.array(predicted)[None], axis=-1)
    assert (distance[i, j] <= radius).all()
    # whatever pair is left out has a partner in a pair that is at least as near
    own = dict(zip(i.tolist(), distance[i, j], strict=True))
    other = dict(zip(j.tolist(), distance[i, j], strict=True))
    for a, b in np.argwhere(distance <= radius):
        assert min(own.get(a, np.inf), other.get(b, np.inf)) <= distance[a, b]


def test_bad_positions_are_refused():
    with pytest.raises(ValueError, match="predicted must hold a finite y and x"):
        match_positions([[1, 2]], [[np.nan, 1]], 3)
    with pytest.raises(ValueError, match="radius must be a positive number"):
        match_positions([[1, 2]], [[1, 1]], 0)


def falling(centres):
    return 0.99 / (1 + np.exp(5 * (centres - 25.5)))


def counted(n, seed, edges=None):
    edges = np.arange(23, 28.1, 0.25) if edges is None else edges
    centres = (edges[1:] + edges[:-1]) / 2
    n = np.full(len(centres), n)
    n_hit = np.random.default_rng(seed).binomial(n, falling(centres))
    fraction = n_hit / n
    return FractionCurve(edges, n, n_hit, fraction, fraction, fraction, 0.68)


def test_a_smoothed_curve_has_less_scatter():
    raw, smooth, inside = [], [], []
    for seed in range(20):
        curve = counted(100, seed)
        truth = falling(curve.centres)
        fit = curve.smoothed()
        np.testing.assert_array_equal(fit.n_hit, curve.n_hit)
        raw.append(curve.fraction - truth)
        smooth.append(fit.fraction - truth)
        steep = (truth > 0.05) & (truth < 0.9)
        inside.append(((fit.low <= truth) & (truth <= fit.high))[steep])
    assert np.std(smooth) < 0.75 * np.std(raw)
    assert 0.5 < np.mean(inside) < 0.9


def test_a_smoothed_curve_does_not_turn():
    curve = counted(20, 0)
    assert (np.diff(curve.fraction) > 0).any()
    assert (np.diff(curve.smoothed().fraction) < 1e-4).all()
    rising = FractionCurve(
        curve.edges, curve.n, curve.n - curve.n_hit, *(3 * [1 - curve.fraction]), 0.68
    )
    assert (np.diff(rising.smoothed().fraction) > -1e-4).all()


def test_a_smoothed_curve_fills_empty_and_wide_bins():
    edges = np.array([23, 24, 24.5, 25, 25.2, 25.5, 26, 27, 28])
    curve = counted(4000, 1, edges)
    n = curve.n.copy()
    n[3] = 0
    holes = FractionCurve(edges, n, np.minimum(curve.n_hit, n), *(3 * [curve.fraction]), 0.68)
    assert holes.smoothed(monotone=False).fraction == pytest.approx(
        falling(curve.centres), abs=0.06
    )


def test_nothing_to_smooth_is_refused():
    with pytest.raises(ValueError, match=r"three or more bins .* Got 2 bins"):
        fraction_curve([1.0], [True], [0, 1, 2]).smoothed()
    with pytest.raises(ValueError, match="Got 3 bins with 0 sources"):
        fraction_curve([9.0], [True], [0, 1, 2, 3]).smoothed()
