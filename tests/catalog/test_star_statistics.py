"""The pieces of the star probability against slow references and known answers."""

import numpy as np
import pytest

from galaxysegment.catalog import CatalogFlags, _stars, source_catalog
from galaxysegment.catalog._stars import (
    _gaussian,
    _locus,
    _mixture,
    _point_sources,
    _probabilities,
    _weighted_median,
)


@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_median_is_that_of_repeated_values(seed):
    rng = np.random.default_rng(seed)
    values, weight = rng.normal(size=25), rng.integers(1, 6, 25)
    repeated = np.sort(np.repeat(values, weight))
    expected = repeated[-(-len(repeated) // 2) - 1]
    assert _weighted_median(values, weight.astype(float)) == expected


def test_a_gaussian_is_that_of_scipy_without_its_constant():
    from scipy.stats import norm

    value, sigma = np.linspace(-3, 4, 9), np.linspace(0.5, 2, 9)
    expected = norm.pdf(value, 0, sigma) * np.sqrt(2 * np.pi)
    np.testing.assert_allclose(_gaussian(value, sigma), expected)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_the_mixture_is_told_apart_as_well_as_its_truth_allows(share, noise):
    """Probabilities are those of the populations that were drawn, to a few percent."""
    rng = np.random.default_rng(0)
    n, mean, width = 4000, 0.3, 0.1
    is_star = rng.random(n) < share
    error = noise * rng.uniform(0.8, 1.2, n)
    excess = np.where(is_star, 0, rng.normal(mean, width, n)) + rng.normal(0, error)
    stars = share * _gaussian(excess, error)
    galaxies = (1 - share) * _gaussian(excess - mean, np.hypot(error, width))
    expected = stars / (stars + galaxies)
    probability = _mixture(excess, error, None)
    assert np.abs(probability - expected).mean() < 0.01
    assert np.abs(probability - expected).max() < 0.15
    # A source whose numbers are far off is no star, but nothing fails.
    assert _mixture(np.array([5.0, 0.0, 0.3]), np.full(3, 0.01), None)[0] < 1e-3


def slow_mixture(excess, error, known):
    """The steps of expectation and maximization, source by source."""
    start = 0.3 if known is None else known
    fraction, mean, width = start, max(float(np.median(excess)), 0.05), 0.1
    for _ in range(100):
        belongs = []
        for value, sigma in zip(excess, error, strict=True):
            wide = np.sqrt(sigma**2 + width**2)
            star = fraction * np.exp(-0.5 * value**2 / sigma**2) / sigma
            galaxy = (1 - fraction) * np.exp(-0.5 * (value - mean) ** 2 / wide**2) / wide
            belongs.append(star / (star + galaxy + 1e-300))
        fraction = sum(belongs) / len(belongs)
        fraction = min(max(fraction if known is None else (fraction + known) / 2, 0.01), 0.9)
        weight = [(1 - b) / (width**2 + s**2) for b, s in zip(belongs, error, strict=True)]
        mean = max(sum(w * e for w, e in zip(weight, excess, strict=True)) / sum(weight), 0.03)
        square = sum(
            (1 - b) * ((e - mean) ** 2 - s**2)
            for b, e, s in zip(belongs, excess, error, strict=True)
        ) / sum(1 - b for b in belongs)
        width = np.sqrt(min(max(square, 0.03**2), 0.3**2))
    return belongs


@pytest.mark.parametrize(
    ("place", "scatter"), [(0.3, 0.1), (0.02, 0.001), (0.9, 0.6), (-0.2, 0.05)], ids=str
)
@pytest.mark.parametrize("known", [None, 0.2])
def test_the_mixture_is_that_of_the_slow_one(place, scatter, known):
    """Also where fraction, mean and width run into their limits."""
    rng = np.random.default_rng(1)
    excess = np.concatenate([rng.normal(0, 0.02, 12), rng.normal(place, scatter, 25)])
    error = rng.uniform(0.01, 0.05, len(excess))
    expected = slow_mixture(excess.tolist(), error.tolist(), known)
    np.testing.assert_allclose(_mixture(excess, error, known), expected, rtol=1e-6, atol=1e-9)
    stars = np.abs(excess) < 0.03
    expected = slow_mixture(excess[stars].tolist(), error[stars].tolist(), known)
    np.testing.assert_allclose(_mixture(excess[stars], error[stars], known), expected, rtol=1e-6)


@pytest.mark.parametrize(("n", "n_groups"), [(1, 1), (199, 1), (200, 2), (350, 3)])
def test_sources_of_similar_flux_share_a_mixture(monkeypatch, n, n_groups):
    seen = []

    def note(excess, error, expected):
        assert (expected is None) == (not seen)
        seen.append(excess)
        np.testing.assert_array_equal(error, 2 * excess)
        return excess

    monkeypatch.setattr(_stars, "_mixture", note)
    flux = np.random.default_rng(0).permutation(n) + 1.0
    probability = _probabilities(flux, 2 * flux, flux)
    np.testing.assert_array_equal(probability, flux)
    assert len(seen) == n_groups and {len(part) for part in seen} <= {
        n // n_groups,
        -(-n // n_groups),
    }
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(n, 0, -1))


def test_a_mosaic_has_no_more_groups_than_it_needs(monkeypatch):
    seen = []
    monkeypatch.setattr(_stars, "_mixture", lambda excess, *_: seen.append(1) or excess * 0 + 0.5)
    _probabilities(np.ones(40_000), np.ones(40_000), np.arange(40_000) + 1.0)
    assert len(seen) == 300


def test_faint_sources_that_look_alike_get_the_fraction_to_expect():
    rng = np.random.default_rng(4)
    n = 100
    is_star = np.repeat([True, False, True, False], [20, 80, 20, 80])
    flux = np.repeat([1000.0, 1000 * 10**-0.4], n)  # the second group is a magnitude fainter
    error = np.repeat([0.01, 0.5], n)
    excess = np.where(is_star, 0, 0.2) + rng.normal(0, error)
    probability = _probabilities(excess, error, flux)
    assert ((probability > 0.5) == is_star)[:n].all()
    odds = 0.25 * 10**-0.2
    assert probability[n:].mean() == pytest.approx(odds / (1 + odds), abs=0.05)
    assert (probability[n:] < 0.5).all()
    assert _stars._fainter(0.0, 2.0, -1.0) == pytest.approx(0.01)


def test_point_sources_scatter_beyond_the_noise():
    rng = np.random.default_rng(0)
    n, spread = 4000, 0.05
    error = np.full(n, 0.02)
    share = 0.7 + rng.normal(0, np.hypot(spread, 0.02), n)
    typical, beyond = _point_sources(share, error, np.arange(n, dtype=float))
    assert typical == pytest.approx(0.7, abs=0.003) and beyond == pytest.approx(spread, rel=0.06)
    # Scatter by noise alone leaves the least spread.
    typical, beyond = _point_sources(0.7 + rng.normal(0, 0.015, n), error, np.arange(n) * 1.0)
    assert beyond == 0.005
    # The faint half tells nothing about the spread, and less about the share.
    faint = np.arange(n) < n // 2
    wild = np.where(faint, share + 0.5, share)
    error = np.where(faint, 0.3, error)
    typical, beyond = _point_sources(wild, error, np.arange(n, dtype=float))
    assert typical == pytest.approx(0.7, abs=0.01) and beyond == pytest.approx(spread, rel=0.1)
    # Errors below a hundredth do not give a source more weight.
    share, error = np.array([0.2, 0.5, 0.6]), np.array([1e-9, 0.002, 0.002])
    assert _point_sources(share, error, np.ones(3))[0] == 0.5


def radii(n_stars, n_galaxies, psf=2.0, seed=0):
    rng = np.random.default_rng(seed)
    stars = psf * np.exp(rng.normal(0, 0.02, n_stars))
    return np.concatenate([stars, psf * np.exp(rng.uniform(0.15, 1.2, n_galaxies))])


def test_the_locus_is_where_the_smallest_sources_pile_up():
    radius = radii(60, 300)
    n = len(radius)
    everything, bright = np.ones(n, dtype=bool), np.full(n, 100.0)
    assert _locus(radius, bright, everything) == pytest.approx(2.0, rel=0.01)
    # Faint sources do not count while 30 bright ones are left; then those above 10 do.
    trap = np.concatenate([radius, np.full(200, 0.5)])
    clean = np.ones(n + 200, dtype=bool)
    for level, expected in ((9.9, 2.0), (30.0, 2.0), (30.1, 0.5)):
        signal = np.concatenate([bright, np.full(200, level)])
        assert _locus(trap, signal, clean) == pytest.approx(expected, rel=0.01)
    few = np.concatenate([np.full(29, 100.0), np.full(n - 29, 10.1), np.full(200, 10.0)])
    assert _locus(trap, few, clean) == pytest.approx(2.0, rel=0.01)
    few[n:] = 10.1
    assert _locus(trap, few, clean) == pytest.approx(0.5, rel=0.01)
    # Sources that are not clean, or have no radius, do not count.
    clean[n:] = False
    assert _locus(trap, np.full(n + 200, 99.0), clean) == pytest.approx(2.0, rel=0.01)
    for bad in (np.nan, 0.0, -1.0):
        trap[n:] = bad
        every = np.ones(n + 200, dtype=bool)
        assert _locus(trap, np.full(n + 200, 99.0), every) == pytest.approx(2.0, rel=0.01)


def test_few_sources_have_no_locus():
    clean = np.ones(5, dtype=bool)
    assert _locus(np.full(5, 1.5), np.full(5, 50.0), clean) == pytest.approx(1.5, rel=0.01)
    assert np.isnan(_locus(np.full(4, 1.5), np.full(4, 50.0), clean[:4]))
    # No two sources of five share a radius.
    assert np.isnan(_locus(np.array([1.0, 2, 4, 8, 16]), np.full(5, 50.0), clean))


@pytest.mark.parametrize(("n_small", "expected"), [(40, 2.0), (20, 3.2)])
def test_a_pile_of_three_tenths_of_the_highest_is_high_enough(n_small, expected):
    radius = np.concatenate([np.full(n_small, 2.0), np.full(100, 3.2)])
    signal, clean = np.full(len(radius), 99.0), np.ones(len(radius), dtype=bool)
    assert _locus(radius, signal, clean) == pytest.approx(expected, rel=0.011)


def test_spoiled_sources_do_not_make_a_locus():
    """Stars whose neighbours touch, that are cut or lack pixels, tell nothing."""
    n, side = 8, 30
    rows, columns = np.indices((side, side)) - 15.0
    star = np.exp(-(rows**2 + columns**2) / 4)
    image = np.tile(2000 * star, (n, n))
    noisy = image + np.random.default_rng(0).normal(size=image.shape)
    grid = np.arange(n * n).reshape(n, n).repeat(side, 0).repeat(side, 1) + 1
    labels = np.where(image > 3, grid, 0)
    options = {"rms": np.ones(image.shape), "star_probability": True}
    catalog = source_catalog(labels, noisy, **options)
    radius = catalog.meta["psf_half_light_radius"]
    assert radius == pytest.approx(np.sqrt(2 * np.log(2)) * np.sqrt(2), rel=0.05)
    assert (catalog["star_probability"] > 0.5).all()
    with_holes = noisy.copy()
    with_holes[15::side, 17::side] = np.nan
    catalog = source_catalog(labels, with_holes, **options)
    assert (catalog["flags"] & CatalogFlags.MISSING > 0).all()
    assert np.isnan(catalog.meta["psf_half_light_radius"])
    assert np.isnan(catalog["star_probability"]).all()
    touching = labels.copy()
    touching[15::side] = np.where(labels[15::side] > 0, labels[15::side], grid[15::side])
    catalog = source_catalog(touching, noisy, **options)
    assert (catalog["flags"] & CatalogFlags.BLENDED > 0).all()
    assert np.isnan(catalog["star_probability"]).all()
