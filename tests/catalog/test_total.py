"""Light beyond the Kron aperture against integrals of an exponential disk."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from galaxysegment.catalog._total import _enclosed, _half_light, total_over_aperture


def light_within(radius):
    return quad(lambda r: r * np.exp(-r), 0, radius)[0]


@pytest.mark.parametrize("radius", [0.1, 1.0, 2.29, 5.0, 12.0, 20.0])
def test_the_light_of_a_disk_is_its_integral(radius):
    assert _enclosed(radius) == pytest.approx(light_within(radius), rel=1e-9)
    half = brentq(lambda r: light_within(r) - light_within(radius) / 2, 0, radius)
    assert _half_light(np.array([radius]))[0] == pytest.approx(half, rel=1e-6)


@pytest.mark.parametrize("radius", [2.4, 3.0, 5.0, 9.0, 19.0])
@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_the_factor_is_that_of_the_disk(radius, scale):
    half = brentq(lambda r: light_within(r) - light_within(radius) / 2, 0, radius)
    factor = total_over_aperture(np.array([scale * radius]), np.array([scale * half]))
    assert factor[0] == pytest.approx(1 / light_within(radius), rel=2e-4)


def test_the_factor_stays_between_1_and_a_half_more():
    factor = total_over_aperture(np.array([1.0, 2.7, 50.0, np.nan, 0.0]), np.ones(5))
    assert factor[0] == pytest.approx(1.5, abs=0.01) and factor[1] == pytest.approx(1.08, abs=0.005)
    assert 1 <= factor[2] < 1.0001 and np.isnan(factor[3]) and factor[4] == factor[0]
    with np.errstate(all="raise"):
        assert np.isnan(total_over_aperture(np.zeros(1), np.zeros(1))[0])
    ratios = np.linspace(1.4, 11, 300)
    assert (np.diff(total_over_aperture(ratios, np.ones(300))) <= 0).all()
