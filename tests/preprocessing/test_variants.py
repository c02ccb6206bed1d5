from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from galaxysegment.preprocessing import FITSLiberatorStretch, make_variant
from galaxysegment.preprocessing._variants import VARIANTS


def norm(x):
    return (x - x.min(axis=(-2, -1), keepdims=True)) / np.ptp(x, axis=(-2, -1), keepdims=True)


def log(x):
    return np.log(500 * x + 1) / np.log(501)


@pytest.fixture
def field():
    """Three patches with sources whose photon noise is in the RMS map."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:64, :64]
    centers = rng.uniform(8, 56, (3, 4, 2))
    source = sum(
        np.exp(
            -((y - centers[:, k, 0, None, None]) ** 2 + (x - centers[:, k, 1, None, None]) ** 2)
            / 12
        )
        for k in range(4)
    )
    rms = np.sqrt(1 + 30 * source)
    return np.stack([rng.normal(20 + 100 * source, rms), rms], axis=1)


def expected(field, variant):
    image, rms = field[:, :1], field[:, 1:]
    if variant == 1:
        return norm(image)
    image = norm(FITSLiberatorStretch().fit_transform(image))
    if variant == 2:
        return image
    return norm(image + (norm(rms) if variant == 3 else log(norm(rms))))


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_values_follow_the_formula(field, variant):
    result = make_variant(variant).fit_transform(field)
    assert_allclose(result, expected(field, variant), atol=1e-12)
    assert result.min() == 0
    assert result.max() == 1


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_several_bands_all_stay(field, variant):
    X = np.concatenate([field[:, :1], 2 * field[:, :1], field[:, 1:]], axis=1)
    pipeline = clone(make_variant(variant))
    result = pipeline.fit_transform(list(X.astype(np.float32)))
    assert [image.shape for image in result] == [(2, 64, 64)] * 3
    assert {image.dtype for image in result} == {np.dtype(np.float32)}
    single = make_variant(variant).fit_transform(field)
    assert_allclose(np.stack(result), np.repeat(single, 2, axis=1), atol=1e-5)


def test_variants_differ(field):
    results = [make_variant(variant).fit_transform(field) for variant in (1, 2, 3, 4)]
    for first, second in pairwise(results):
        assert np.abs(first - second).max() > 0.05


@pytest.mark.parametrize("variant", [0, 5, "1", 1.5, "log"])
def test_other_variants_are_refused(variant):
    with pytest.raises(
        ValueError, match=r"The 'variant' parameter of make_variant must be.*int in"
    ):
        make_variant(variant)


@pytest.mark.parametrize(("number", "name"), list(enumerate(VARIANTS, 1)))
def test_names_mean_the_same_as_numbers(field, number, name):
    named, numbered = make_variant(name), make_variant(number)
    assert repr(named) == repr(numbered)
    np.testing.assert_array_equal(named.fit_transform(field), numbered.fit_transform(field))
    assert ("rms" in name) == ("rms" in named.named_steps)
    assert ("liberator" in name) == ("liberator" in named.named_steps)


def test_rms_band_is_needed():
    with pytest.raises(ValueError, match="RMS map among the bands"):
        make_variant(4).fit_transform(np.ones((1, 1, 8, 8)))
    with pytest.raises(ValueError, match="leaves none"):
        make_variant(1).fit_transform(np.ones((1, 1, 8, 8)))
