"""Tables that turn probabilities into observed fractions."""

import numpy as np
import pytest

from galaxysegment._utils.calibration import (
    METHODS,
    apply_calibration,
    check_table,
    fit_calibration,
)


@pytest.fixture
def overconfident():
    """Probabilities whose logits are twice too large, and outcomes drawn with the honest ones."""
    rng = np.random.default_rng(0)
    honest = rng.uniform(0.02, 0.98, 200_000)
    logit = 2 * np.log(honest / (1 - honest))
    return 1 / (1 + np.exp(-logit)), rng.uniform(size=honest.size) < honest, honest


@pytest.mark.parametrize("method", METHODS)
def test_both_methods_find_the_honest_probabilities(overconfident, method):
    proba, truth, honest = overconfident
    table = fit_calibration([proba[:100_000]], [truth[:100_000]], method)
    assert np.abs(proba - honest).mean() > 0.1
    assert np.abs(apply_calibration(table, proba) - honest)[100_000:].mean() < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_order_is_kept(overconfident, method):
    proba, truth, _ = overconfident
    table = check_table(fit_calibration([proba], [truth], method))
    # beyond 0.0001 and 0.9999 all probabilities are treated alike
    grid = np.linspace(0.0002, 0.9998, 5000)
    assert (np.diff(apply_calibration(table, grid)) > 0).all()
    ends = apply_calibration(table, np.array([0.0, 1.0], dtype=np.float32))
    assert ends.dtype == np.float32
    assert 0 <= ends[0] < 0.05
    assert 0.95 < ends[1] <= 1


def test_isotonic_follows_any_rising_curve():
    rng = np.random.default_rng(1)
    proba = rng.uniform(size=300_000)
    honest = np.where(proba < 0.5, 0.2 * proba, 0.4 + 0.6 * proba**3)
    table = fit_calibration([proba], [rng.uniform(size=proba.size) < honest])
    inner = (np.abs(proba - 0.5) > 0.1) & (proba > 0.05)
    assert np.abs(apply_calibration(table, proba) - honest)[inner].max() < 0.05


def test_one_knot_shifts_all():
    table = fit_calibration([np.full(1000, 0.5)], [np.arange(1000) < 250])
    assert apply_calibration(table, np.array([0.5]))[0] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("fill", "which"), [(True, "galaxies"), (False, "sky")])
def test_a_single_class_is_refused(fill, which):
    with pytest.raises(ValueError, match=f"only {which}: give images with sources and sky"):
        fit_calibration([np.full(10, 0.5)], [np.full(10, fill)])


@pytest.mark.parametrize(
    "table", [[[0, 1]], [[0, 1], [1, 0]], [[0, 0], [0, 1]], [[0, 1], [0, np.inf]]]
)
def test_damaged_tables_are_refused(table):
    with pytest.raises(ValueError, match="calibration table"):
        check_table(table)
