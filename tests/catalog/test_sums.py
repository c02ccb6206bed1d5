"""Sums over label maps: the compiled pass of large images equals numpy's of small ones."""

import numpy as np
import pytest

from galaxysegment.catalog import _blocks, source_catalog

SIDE = 90


def make_scene(n_bands, dtype):
    """Touching sources, gaps in the labels, pixels without data, and a source below zero."""
    rng = np.random.default_rng(8)
    labels = np.kron(rng.integers(0, 9, (SIDE // 6, SIDE // 6)), np.ones((6, 6), dtype=int))
    labels[labels == 5] = 0
    image = rng.normal(3, 4, (n_bands, SIDE, SIDE)).astype(dtype)
    image[:, labels == 7] = -1
    image[0, rng.random((SIDE, SIDE)) < 0.02] = np.nan
    image[:, labels == 3] = np.nan
    rms = rng.uniform(1, 2, (n_bands, SIDE, SIDE)).astype(dtype)
    rms[0, 4, 4] = np.nan
    return labels, image[0] if n_bands == 1 else image, rms[0] if n_bands == 1 else rms


def both(monkeypatch, *arguments, **options):
    """Return the catalog by numpy and the catalog by the kernel."""
    by_numpy = source_catalog(*arguments, **options)
    monkeypatch.setattr(_blocks, "_LARGE", 0)
    return by_numpy, source_catalog(*arguments, **options)


def assert_equal(left, right, rtol=0.0):
    assert left.colnames == right.colnames
    for name in left.colnames:
        values, expected = (np.asarray(getattr(t[name], "value", t[name])) for t in (left, right))
        np.testing.assert_allclose(values, expected, rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("n_bands", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernel_changes_no_bit(monkeypatch, n_bands, dtype):
    labels, image, rms = make_scene(n_bands, dtype)
    assert_equal(*both(monkeypatch, labels, image, rms=rms))
    monkeypatch.undo()
    assert_equal(*both(monkeypatch, labels, image, background=1.5))


def test_blocks_of_rows_change_no_number(monkeypatch):
    labels, image, rms = make_scene(1, np.float32)
    monkeypatch.setattr(_blocks, "_PIXELS", 7 * SIDE)
    by_numpy, compiled = both(monkeypatch, labels, image, rms=rms)
    assert_equal(by_numpy, compiled, rtol=1e-12)
    np.testing.assert_array_equal(by_numpy["peak"], compiled["peak"])
    np.testing.assert_array_equal(by_numpy["blended"], compiled["blended"])
    np.testing.assert_array_equal(by_numpy["masked"], compiled["masked"])


def test_sparse_labels_and_no_labels(monkeypatch):
    labels, image, _ = make_scene(1, np.float64)
    sparse = np.where(labels == 8, 10**9, labels)
    assert_equal(*both(monkeypatch, sparse, image))
    assert len(source_catalog(np.zeros_like(labels), image)) == 0
