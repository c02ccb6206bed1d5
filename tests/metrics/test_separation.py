"""Scores of separated light, by what must change them and what must not."""

import numpy as np
import pytest

from galaxysegment import Instances
from galaxysegment.metrics import separation_scores
from galaxysegment.separation import Separated

SHAPE = (41, 45)
ROWS, COLUMNS = np.indices(SHAPE)


def light(y, x, flux=100.0, width=2.5, stretch=1.0):
    image = np.exp(-((ROWS - y) ** 2 * stretch + (COLUMNS - x) ** 2) / (2 * width**2))
    return flux * image / image.sum()


TRUTH = np.stack([light(20, 14), light(21, 26, 300, stretch=0.6)])


def separated(parts, image=None):
    """A separation into given lights, in boxes as large as the image."""
    parts = np.asarray(parts, dtype=np.float32)
    n = len(parts)
    boxes = np.tile([0, 0, *SHAPE], (n, 1))
    masks = Instances(SHAPE, boxes, [np.ones(SHAPE, dtype=bool)] * n)
    residual = (TRUTH.sum(axis=0) if image is None else image) - parts.sum(axis=0)
    fluxes = parts.sum(axis=(1, 2), dtype=float)
    return Separated(masks, boxes, list(parts), residual, fluxes, np.ones(n), np.zeros(n))


def scores(parts):
    return separation_scores([TRUTH], [separated(parts)])


def test_a_perfect_separation():
    perfect = scores(TRUTH)
    assert perfect["flux_error"] == pytest.approx(0, abs=1e-6) == perfect["residual"]
    assert perfect["ssim"] == pytest.approx(1) and perfect["ellipticity_error"] < 1e-6
    assert perfect["missed"] == 0 == perfect["spurious"]


def test_the_order_of_sources_does_not_matter():
    assert scores(TRUTH[::-1]) == pytest.approx(scores(TRUTH), abs=1e-6)


def test_fluxes_are_compared_source_by_source():
    result = scores([1.1 * TRUTH[0], 0.7 * TRUTH[1]])
    assert result["flux_error"] == pytest.approx(0.2, abs=1e-5)
    assert result["flux_bias"] == pytest.approx(-0.1, abs=1e-5)
    assert result["residual"] == pytest.approx(0.2, abs=1e-5)
    assert result["ellipticity_error"] == pytest.approx(0, abs=1e-5)  # shape without brightness


def test_a_missed_source_counts_as_an_error_of_one():
    result = scores(TRUTH[:1])
    assert result["missed"] == 0.5 and result["flux_error"] == pytest.approx(0.5, abs=1e-6)
    assert result["flux_bias"] == pytest.approx(0, abs=1e-6)


def test_a_source_that_is_not_there_is_spurious():
    result = scores([*TRUTH, light(4, 4)])
    assert result["spurious"] == 1 and result["flux_error"] == pytest.approx(0, abs=1e-6)


def test_one_separated_source_matches_one_true_source():
    result = scores([TRUTH.sum(axis=0)])
    assert result["missed"] == 0.5 and result["spurious"] == 0


def test_shapes_and_similarity_suffer_from_foreign_light():
    clean, mixed = scores(TRUTH), scores([TRUTH[0] + 0.2 * TRUTH[1], 0.8 * TRUTH[1]])
    assert mixed["ellipticity_error"] > clean["ellipticity_error"] + 1e-3
    assert mixed["ssim"] < clean["ssim"] - 1e-3


def test_nothing_found_and_nothing_there():
    nothing = scores(np.zeros((0, *SHAPE)))
    assert nothing["missed"] == 1 and nothing["flux_error"] == 1 and np.isnan(nothing["ssim"])
    empty = separation_scores([np.zeros((0, *SHAPE))], [separated(np.zeros((0, *SHAPE)))])
    assert np.isnan(empty["flux_error"]) and empty["spurious"] == 0


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"y_true\[0\] has shape \(2, 3, 3\)"):
        separation_scores([np.zeros((2, 3, 3))], [separated(TRUTH)])
    with pytest.raises(ValueError, match="1 images, but y_pred holds 2"):
        separation_scores([TRUTH], [separated(TRUTH)] * 2)
