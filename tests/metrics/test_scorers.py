import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline

from galaxysegment import Instances, KMeansSegmenter, metrics
from galaxysegment.metrics import get_scorer, iou_scorer, scorer_names
from galaxysegment.preprocessing import GaussianSmoother


@pytest.fixture
def field():
    """Six images with three square sources each."""
    rng = np.random.default_rng(0)
    y = np.zeros((6, 24, 24), dtype=np.int32)
    for labels in y:
        for label, corner in enumerate([2, 10, 18], start=1):
            labels[corner : corner + 4, corner : corner + 4] = label
    return 10 * (y > 0) + rng.normal(0, 0.3, y.shape), y


# "calibration" needs probabilities and "separation" light, which the segmenter here does not give:
# see test_calibration.py and tests/separation/test_pair.py
NAMES = [name for name in scorer_names() if name not in {"calibration", "separation"}]


@pytest.fixture
def pipeline():
    return Pipeline(
        [("smooth", GaussianSmoother(fwhm=1)), ("segment", KMeansSegmenter(random_state=0))]
    )


def instances(y):
    return [Instances.from_label_map(labels) for labels in y]


def panoptic(y):
    return np.stack([y > 0, y], axis=1).astype(np.int32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "as_truth",
    [list, instances, panoptic, np.asarray, lambda y: y > 0, lambda y: (y > 0).astype(int)],
)
def test_scorers_work_on_segmenters_and_pipelines(field, pipeline, name, as_truth):
    X, y = field
    scorer = get_scorer(name)
    for estimator in (KMeansSegmenter(random_state=0), pipeline):
        score = scorer(estimator.fit(X), X, as_truth(y))
        assert isinstance(score, float)
        assert 0.5 < score <= 1


def test_each_scorer_is_its_metric(field):
    X, y = field
    segmenter = KMeansSegmenter(random_state=0).fit(X)
    X = X + np.where(
        np.arange(24) < 12, 0, np.nan
    )  # hide half of the sources, so that no score is 1
    labels = segmenter.predict(X)
    expected = {
        "accuracy": metrics.accuracy_score(y, labels),
        "ap": metrics.average_precision(y, segmenter.predict(X, output="instances")),
        "detection_f1": metrics.detection_scores(y, labels).f1,
        "dice": metrics.dice_score(y, labels),
        "f1": metrics.f1_score(y, labels),
        "iou": metrics.iou_score(y, labels),
        "pq": metrics.panoptic_quality(y, segmenter.predict(X, output="panoptic")).pq,
        "precision": metrics.precision_score(y, labels),
        "recall": metrics.recall_score(y, labels),
    }
    assert {name: get_scorer(name)(segmenter, X, y) for name in NAMES} == pytest.approx(expected)
    assert all(0 < score < 1 for name, score in expected.items() if name != "precision")


class Recorder(KMeansSegmenter):
    """Counts its predictions."""

    def predict(self, X, output="labels"):
        self.outputs_ = [*getattr(self, "outputs_", []), output]
        return super().predict(X, output)


@pytest.mark.parametrize(
    ("name", "output"), [("iou", "labels"), ("ap", "instances"), ("pq", "panoptic")]
)
def test_scorers_ask_for_the_output_they_need(field, name, output):
    X, y = field
    segmenter = Recorder(random_state=0).fit(X)
    get_scorer(name)(segmenter, X, y)
    assert segmenter.outputs_ == [output]


def test_pixel_scorers_share_one_prediction(field):
    X, y = field
    scoring = {name: get_scorer(name) for name in ("iou", "dice", "recall", "accuracy", "pq")}
    result = cross_validate(
        Recorder(random_state=0), X, y, scoring=scoring, cv=2, return_estimator=True
    )
    assert [estimator.outputs_ for estimator in result["estimator"]] == [["labels", "panoptic"]] * 2
    assert result["test_iou"].min() > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_model_selection_ships_scorers_to_workers(field, pipeline, name):
    X, y = field
    search = GridSearchCV(
        pipeline, {"smooth__fwhm": [1, 8]}, scoring=get_scorer(name), cv=2, n_jobs=2
    ).fit(X, y)
    alone = GridSearchCV(pipeline, {"smooth__fwhm": [1, 8]}, scoring=get_scorer(name), cv=2).fit(
        X, y
    )
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert search.best_params_ == {"smooth__fwhm": 1}


@pytest.mark.parametrize("name", ["iou", "ap", "pq"])
def test_model_selection_takes_lists_of_different_sizes(field, name):
    X, y = field
    X, y = (
        [x[:, : 24 - k] for k, x in enumerate(X)],
        [labels[:, : 24 - k] for k, labels in enumerate(y)],
    )
    for truth in (y, instances(y)):
        scores = cross_val_score(
            KMeansSegmenter(random_state=0), X, truth, scoring=get_scorer(name), cv=3
        )
        assert scores.min() > 0.5


@pytest.mark.parametrize("name", scorer_names())
def test_scorers_survive_pickling_and_cloning(name):
    scorer = get_scorer(name)
    copy = pickle.loads(pickle.dumps(scorer))
    assert repr(copy) == repr(scorer)
    assert repr(clone(scorer, safe=False)) == repr(scorer)


def test_names():
    assert get_scorer("iou") is iou_scorer
    assert all(getattr(metrics, f"{name}_scorer") is get_scorer(name) for name in scorer_names())
    with pytest.raises(
        ValueError, match=r"name must be one of \['accuracy', 'ap', .*Got 'roc_auc'"
    ):
        get_scorer("roc_auc")


def test_importing_metrics_loads_no_peer():
    import subprocess
    import sys

    heavy = {"pycocotools", "torch", "pandas", "matplotlib"}
    code = f"import galaxysegment.metrics, sys; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
