"""Segmenters in scikit-learn's pipelines, cross-validation and grid search."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline

from galaxysegment import KMeansSegmenter, PhotutilsSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import dice_scorer, get_scorer, iou_scorer
from galaxysegment.preprocessing import BandSelector, ImageNormalizer, NoiseNormalizer, make_variant

pytestmark = pytest.mark.filterwarnings("ignore::galaxysegment.structures.NoSourcesWarning")

GRID = {"segment__n_sigma": [1.0, 2.0], "normalize__stretch": ["linear", "asinh"]}


@pytest.fixture(scope="module")
def patches():
    X, y = load_sample_field().patches(size=128, rms=True)
    return X[:6], y[:6]


@pytest.fixture
def pipeline():
    steps = [
        ("image", BandSelector(bands=0)),
        ("normalize", ImageNormalizer()),
        ("segment", PhotutilsSegmenter()),
    ]
    return Pipeline(steps)


def of_different_sizes(X, y):
    sizes = [128, 120, 111, 128, 100, 90]
    return (
        [image[:, :size] for image, size in zip(X, sizes, strict=True)],
        [labels[:size] for labels, size in zip(y, sizes, strict=True)],
    )


@pytest.mark.parametrize("container", ["stack", "list"])
def test_grid_search_does_not_depend_on_n_jobs(pipeline, patches, container):
    X, y = patches if container == "stack" else of_different_sizes(*patches)
    alone, together = (
        GridSearchCV(
            pipeline, GRID, scoring=iou_scorer, cv=2, n_jobs=n_jobs, error_score="raise"
        ).fit(X, y)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"]
    )
    assert len(set(alone.cv_results_["mean_test_score"])) > 1, "the parameters reach the segmenter"
    assert alone.best_params_ == together.best_params_ and alone.best_score_ > 0.2
    assert len(alone.best_estimator_.predict(X, output="instances")) == 6


def test_cross_validation_with_several_scorers(pipeline, patches):
    X, y = patches
    scores = cross_validate(pipeline, X, y, cv=3, scoring={"iou": iou_scorer, "dice": dice_scorer})
    assert (scores["test_dice"] >= scores["test_iou"]).all() and len(scores["test_iou"]) == 3
    np.testing.assert_allclose(cross_val_score(pipeline, X, y, cv=3), scores["test_iou"])


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
@pytest.mark.parametrize("segmenter", [PhotutilsSegmenter(), KMeansSegmenter(random_state=0)])
def test_the_four_variants_are_one_line(patches, variant, segmenter):
    X, y = patches
    pipe = make_pipeline(make_variant(variant), clone(segmenter)).fit(X, y)
    assert 0 < pipe.score(X, y) <= 1


def test_signal_to_noise_beats_no_noise_map(patches):
    """With its RMS map a detection threshold means the same everywhere."""
    X, y = patches
    with_map = PhotutilsSegmenter(rms_band=-1).predict(X)
    divided = make_pipeline(NoiseNormalizer(rms_band=-1), PhotutilsSegmenter()).fit(X).predict(X)
    assert ((with_map > 0) & (y > 0)).sum() > 0 and ((divided > 0) & (y > 0)).sum() > 0


def test_parameters_of_a_step_by_name(pipeline):
    pipeline.set_params(segment__n_sigma=3)
    assert clone(pipeline).get_params()["segment__n_sigma"] == 3
    with pytest.raises(ValueError, match="Invalid parameter 'sigma'"):
        pipeline.set_params(segment__sigma=3)


def test_scorers_by_name(pipeline, patches):
    X, y = patches
    pipeline.fit(X)
    assert get_scorer("iou")(pipeline, X, y) == iou_scorer(pipeline, X, y)
    with pytest.raises(ValueError, match="iou"):
        get_scorer("jaccard_of_sorts")
