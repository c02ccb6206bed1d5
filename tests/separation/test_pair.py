"""A segmenter and a separator as one estimator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from galaxysegment import PhotutilsSegmenter, persistence
from galaxysegment.datasets import make_blends
from galaxysegment.io import Field
from galaxysegment.metrics import average_precision, detection_scores, get_scorer, iou_scorer
from galaxysegment.preprocessing import GaussianSmoother
from galaxysegment.separation import SegmentThenSeparate, TemplateSeparator

SHAPE = (48, 56)
ROWS, COLUMNS = np.indices(SHAPE)


def light(y, x, flux):
    return flux * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / 12)


LIGHTS = [np.stack([light(20, 18 + k, 90), light(24, 29, 60)]) for k in range(3)]
NOISE = np.random.default_rng(0).normal(size=(3, *SHAPE))
X = np.stack([lights.sum(axis=0) for lights in LIGHTS]) + NOISE
WITH_RMS = np.stack([X, np.ones_like(X)], axis=1)
Y = np.stack([np.where(lights.max(axis=0) > 2, lights.argmax(axis=0) + 1, 0) for lights in LIGHTS])


@pytest.fixture(scope="module")
def fitted():
    return SegmentThenSeparate(rms_band=-1).fit(WITH_RMS)


def test_the_sources_are_the_segmenters_and_their_light_comes_apart(fitted):
    separated = fitted.separate(WITH_RMS)
    labels = PhotutilsSegmenter(rms_band=-1, deblend=True).fit(WITH_RMS).predict(WITH_RMS)
    assert np.array_equal(fitted.predict(WITH_RMS), labels)
    for image, lights in zip(separated, LIGHTS, strict=True):
        assert len(image) == 2
        assert np.sort(image.fluxes) == pytest.approx(np.sort(lights.sum(axis=(1, 2))), rel=0.05)


def test_before_fit_it_says_so():
    with pytest.raises(NotFittedError):
        SegmentThenSeparate().separate(X)


def test_a_pipeline_may_scale_what_the_segmenter_sees():
    pipeline = make_pipeline(GaussianSmoother(fwhm=2), PhotutilsSegmenter(deblend=True))
    separated = SegmentThenSeparate(pipeline).fit(X).separate(X)[0]
    assert np.allclose(separated.total() + separated.residual, X[0], atol=1e-4)


def test_a_field_brings_its_noise():
    field = Field(X[0], rms=np.ones(SHAPE))
    both = SegmentThenSeparate(PhotutilsSegmenter(rms_band=-1, deblend=True)).fit(field)
    (separated,) = both.separate(field)
    expected = SegmentThenSeparate(rms_band=-1).fit(WITH_RMS).separate(WITH_RMS)[0]
    assert separated.fluxes == pytest.approx(expected.fluxes)


def test_grid_search_over_both_by_either_score():
    grid = {"segmenter__n_sigma": [2.0, 30.0], "separator__n_iterations": [2]}
    both = SegmentThenSeparate(PhotutilsSegmenter(deblend=True), TemplateSeparator())
    search = GridSearchCV(both, grid, scoring=iou_scorer, cv=3).fit(X, Y)
    assert search.best_params_["segmenter__n_sigma"] == 2.0
    scorer = get_scorer("separation")
    assert scorer(search.best_estimator_, X, LIGHTS) > 0.9
    blind = clone(search.best_estimator_).set_params(segmenter__n_sigma=30.0).fit(X)
    assert scorer(blind, X, LIGHTS) < scorer(search.best_estimator_, X, LIGHTS)


def test_the_separation_scorer_needs_light():
    with pytest.raises(TypeError, match="SegmentThenSeparate"):
        get_scorer("separation")(PhotutilsSegmenter(), X, LIGHTS)


def test_it_is_kept_in_a_model_file(fitted, tmp_path):
    persistence.save(fitted, tmp_path / "both.gseg")
    copy = persistence.load(tmp_path / "both.gseg")
    parts = copy.separate(WITH_RMS)[0].parts
    assert all(map(np.array_equal, parts, fitted.separate(WITH_RMS)[0].parts))


def test_the_score_weighs_images():
    both = SegmentThenSeparate(PhotutilsSegmenter()).fit(X, Y)
    each = [both.score(X[[i]], Y[[i]]) for i in range(2)]
    assert both.score(X[:2], Y[:2], sample_weight=[1, 3]) == pytest.approx(
        (each[0] + 3 * each[1]) / 4
    )


def test_refined_sources_have_their_neighbours_and_masks_by_light():
    X, truth = make_blends(24, random_state=3)[:2]
    plain = SegmentThenSeparate().fit(X)
    refined = SegmentThenSeparate(refine=True).fit(X)
    before, after = (
        detection_scores(truth, both.predict(X, output="instances")) for both in (plain, refined)
    )
    assert after.recall > before.recall + 0.1
    assert after.f1 > 0.9
    assert average_precision(truth, refined.predict(X, output="instances")) > 0.6


def test_refined_outputs_agree_and_keep_the_layout():
    refined = SegmentThenSeparate(refine=True, rms_band=-1).fit(WITH_RMS)
    labels = refined.predict(WITH_RMS)
    instances = refined.predict(WITH_RMS, output="instances")
    panoptic = refined.predict(WITH_RMS, output="panoptic")
    assert labels.shape == X.shape
    assert np.array_equal(panoptic[:, 1], labels)
    assert np.array_equal(panoptic[:, 0], labels > 0)
    for image, sources, lights in zip(labels, instances, LIGHTS, strict=True):
        assert np.array_equal(image > 0, sources.to_mask())
        assert (sources.masks.sum(axis=0) > 1).any()
        # both masks hold the pixels above 1 RMS; the label is the brighter galaxy's
        core = lights.max(axis=0) > 10
        order = np.array([image[20, :20].max(), image[24, 29]])
        assert (image[core] == order[lights.argmax(axis=0)[core]]).mean() > 0.97
        assert (np.diff(np.sort(sources.scores)) >= 0).all()
        assert (sources.scores > 20).all()
    assert isinstance(refined.predict(list(WITH_RMS)), list)
    field = Field(X[0], rms=np.ones(SHAPE))
    single = SegmentThenSeparate(PhotutilsSegmenter(rms_band=-1, deblend=True), refine=True)
    assert np.array_equal(single.fit(field).predict(field), labels[0])


def test_an_unknown_output_is_refused(fitted):
    with pytest.raises(ValueError, match="output must be one of"):
        fitted.predict(WITH_RMS, output="masks")
