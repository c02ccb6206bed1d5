"""The light beyond the Kron aperture, extrapolated by the profile of each galaxy."""

import numpy as np
import pytest

from galaxysegment.catalog import source_catalog
from galaxysegment.catalog._total import GROWTH, extrapolate


def draw_sersic(index, half_light, flux=1e6, side=301):
    """A galaxy seen in pixels of a fifth, whose light within the stamp is that of the profile."""
    from scipy.special import gammainc, gammaincinv

    rows, columns = np.indices((side, side)) - side // 2
    radius = np.hypot(rows, columns / 0.8) * np.sqrt(0.8)
    shape = gammaincinv(2 * index, 0.5)
    # Shares of light between the radii of a fine grid, spread evenly along each ring.
    edges = np.linspace(0, radius.max() + 1, 8000)
    grown = gammainc(2 * index, shape * (edges / half_light) ** (1 / index))
    density = np.diff(grown) / (np.pi * np.diff(edges**2))
    image = np.interp(radius, (edges[1:] + edges[:-1]) / 2, density)
    middle = radius < 3
    image[middle] *= np.interp(3, edges, grown) / image[middle].sum()  # the cusp within a pixel
    return flux * image


@pytest.mark.parametrize(("index", "loss"), [(0.6, 0.01), (1, 0.03), (2, 0.05), (4, 0.08)])
def test_total_fluxes_follow_the_profile(index, loss):
    image = draw_sersic(index, 8.0)
    rms = np.full(image.shape, 5.0)
    row = source_catalog((image > 10).astype(int), image, rms=rms, kron=True, total=True)[0]
    assert row["flux_kron"] < (1 - loss) * 1e6
    assert row["flux_total"] == pytest.approx(1e6, rel=0.02)


def growth_of(flux, noise, shares=(0.3, 0.71, 0.9, 1.0)):
    """Flux and variance in the four ellipses of one galaxy."""
    return np.stack([flux * np.array(shares), (noise * np.array(GROWTH)) ** 2], axis=-1)[None]


def test_a_faint_galaxy_is_extrapolated_as_a_typical_disk():
    bright, faint = extrapolate(growth_of(1e6, 1.0)), extrapolate(growth_of(100, 60.0))
    odd_bright = extrapolate(growth_of(1e6, 1.0, (0.05, 0.2, 0.5, 1.0)))
    odd_faint = extrapolate(growth_of(100, 60.0, (0.05, 0.2, 0.5, 1.0)))
    assert odd_bright[0] > 1.25 * bright[0]
    assert odd_faint[0] < 1.1 * faint[0]
    assert faint[1] > 4 * bright[1]


def test_a_galaxy_without_light_gets_the_factor_of_what_is_known_before():
    (factor,), (error,) = extrapolate(growth_of(-50, 60.0))
    assert 1.05 < factor < 1.2 and 0.02 < error < 0.2
    factors, errors = extrapolate(np.full((2, 4, 2), np.nan))
    assert np.isnan(factors).all() and np.isnan(errors).all()


def test_many_sources_are_extrapolated_as_one(monkeypatch):
    from galaxysegment.catalog import _total

    growth = np.concatenate([growth_of(flux, 30.0) for flux in (50, 200, 1000, 5000, 9e4)])
    growth[2] = np.nan
    whole = extrapolate(growth)
    monkeypatch.setattr(_total, "_CHUNK", 2)
    np.testing.assert_allclose(extrapolate(growth), whole, rtol=1e-9)


def test_errors_of_total_fluxes_hold_the_doubt_about_the_profile():
    image = draw_sersic(1, 4.0, flux=3e3, side=101)
    labels = (image > 10).astype(int)
    image += np.random.default_rng(0).normal(0, 5, image.shape)
    rms = np.full(image.shape, 5.0)
    row = source_catalog(labels, image, rms=rms, kron=True, total=True)[0]
    factor = row["flux_total"] / row["flux_kron"]
    assert row["flux_total_error"] > 1.05 * factor * row["flux_kron_error"]


def test_bands_are_extrapolated_each_for_itself():
    image = np.stack([draw_sersic(1, 5.0, side=151), draw_sersic(4, 5.0, side=151)])
    rms = np.full(image.shape, 5.0)
    labels = (image.mean(axis=0) > 10).astype(int)
    row = source_catalog(labels, image, rms=rms, kron=True, total=True, bands="gr")[0]
    assert row["flux_total_g"] / row["flux_kron_g"] < row["flux_total_r"] / row["flux_kron_r"]
