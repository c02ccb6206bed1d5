"""Every estimator passes scikit-learn's checks and the image checks that replace some of them."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from galaxysegment._utils.discovery import all_estimators
from galaxysegment.metrics import iou_score
from galaxysegment.preprocessing import ImageNormalizer
from galaxysegment.testing import estimator_checks, expected_failed_checks, make_images

# Where the defaults are too slow, or need other images than one band, for checks that fit dozens of
# times.
SETTINGS = {
    "DETRSegmenter": {
        "base_width": 2,
        "depth": 2,
        "d_model": 32,
        "decoder_layers": 1,
        "n_queries": 4,
        "n_points": 64,
        "max_epochs": 1,
        "batch_size": 4,
        "score_threshold": 0.6,
        "validation_fraction": 0,
        "random_state": 0,
    },
    "MaskRCNNSegmenter": {
        "backbone": "resnet10",
        "stem_stride": 2,
        "channels": 8,
        "n_proposals": 50,
        "n_samples": 8,
        "max_epochs": 1,
        "validation_fraction": 0,
        "random_state": 0,
    },
    "RandomForestSegmenter": {"n_estimators": 5, "random_state": 0},
    "UNetSegmenter": {
        "base_width": 2,
        "depth": 2,
        "max_epochs": 2,
        "validation_fraction": 0,
        "random_state": 0,
    },
}
N_BANDS = {"RMSAdder": 2, "LuptonRGB": 3}

# Separators have no `predict`: see tests/separation/test_common.py.
ESTIMATORS = sorted(all_estimators("transformer") + all_estimators("segmenter"))


def make_estimator(name, estimator_class):
    return estimator_class(**SETTINGS.get(name, {}))


def image_checks():
    for name, estimator_class in ESTIMATORS:
        X, y = make_images(n_bands=N_BANDS.get(name))
        for check_name, check in estimator_checks(make_estimator(name, estimator_class), X, y):
            yield pytest.param(check, id=f"{name}-{check_name}")


def test_there_are_estimators():
    assert len(ESTIMATORS) >= 10


# Strict, as pyproject.toml says: a replaced check that began to pass would no longer need
# replacing.
@parametrize_with_checks(
    [make_estimator(*case) for case in ESTIMATORS], expected_failed_checks=expected_failed_checks
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", list(image_checks()))
def test_image_checks(check):
    check()


@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
@pytest.mark.parametrize("name, segmenter_class", sorted(all_estimators("segmenter")))
@pytest.mark.filterwarnings("ignore::galaxysegment.structures.NoSourcesWarning")
def test_pipelines_are_scored_without_a_scorer(name, segmenter_class, routing):
    X, y = make_images(4)
    pipeline = make_pipeline(ImageNormalizer(), make_estimator(name, segmenter_class))
    step = pipeline.steps[-1][0]
    with config_context(enable_metadata_routing=routing):
        fitted = clone(pipeline).fit(X, y)
        expected = iou_score(y, fitted.predict(X))
        assert fitted.score(X, y) == pytest.approx(expected, abs=1e-12)
        results = cross_validate(pipeline, X, y, cv=2, error_score="raise")
        assert np.isfinite(results["test_score"]).all()
        search = GridSearchCV(pipeline, {f"{step}__n_pixels": [5]}, cv=2, error_score="raise")
        search.fit(X, y)
        assert search.best_score_ == pytest.approx(results["test_score"].mean(), abs=0.2)
        assert 0 <= search.score(X, y) <= 1
