"""RandomForestSegmenter: pixels classified by texture."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from galaxysegment import Instances, NoSourcesWarning, RandomForestSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import detection_scores, f1_score, iou_scorer
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.preprocessing import NoiseNormalizer, PixelFeatures
from galaxysegment.segmenters._random_forest import _draw
from galaxysegment.structures import as_binary_mask
from galaxysegment.testing import make_images

X, Y = make_images(n_images=3, shape=(64, 56))
SMALL = RandomForestSegmenter(n_estimators=10, window=5, random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return clone(SMALL).fit(X, Y)


@pytest.fixture(scope="module")
def patches():
    """Patches of the sample field: left half to learn from, right half to test on."""
    field = load_sample_field()
    image, labels = np.asarray(field.image)[0], np.asarray(field.labels)
    half = image.shape[1] // 2
    return (image[None, :, :half], labels[None, :, :half]), (
        image[None, :, half:],
        labels[None, :, half:],
    )


def test_finds_what_it_was_taught(fitted):
    fresh, truth = make_images(n_images=2, shape=(64, 56), random_state=7)
    assert fitted.score(fresh, truth) > 0.8
    labels = fitted.predict(fresh)
    assert (
        labels.dtype == np.int32
        and labels.shape == truth.shape
        and set(np.unique(labels[0])) == {0, 1, 2, 3}
    )


def test_defaults_on_the_sample_field(patches):
    (train, y_train), (test, y_test) = patches
    forest = RandomForestSegmenter(n_estimators=40, n_samples=30_000, random_state=0).fit(
        train, y_train
    )
    labels = forest.predict(test)
    assert f1_score(y_test, labels) > 0.85
    assert detection_scores(y_test, labels).f1 > 0.7


def test_attributes(fitted):
    assert fitted.feature_importances_.shape == (
        11,
    ) and fitted.feature_importances_.sum() == pytest.approx(1)
    assert fitted.feature_names_[1] == "local_binary_pattern" and len(fitted.feature_names_) == 11
    assert isinstance(fitted.pixel_features_, PixelFeatures) and fitted.pixel_features_.window == 5
    assert fitted.forest_.n_estimators == 10 and fitted.forest_.max_depth == 12


def test_probabilities_are_those_of_the_forest_and_predict_cuts_them(fitted):
    proba = fitted.predict_proba(X)
    assert (
        proba.shape == X.shape
        and proba.dtype == np.float32
        and proba.min() >= 0
        and 0.9 < proba.max() <= 1
    )
    assert_array_equal(clone(fitted).set_params(n_pixels=1).fit(X, Y).predict(X) > 0, proba > 0.5)
    raw = NoiseNormalizer().fit_transform(X)
    bare = RandomForestSegmenter(n_estimators=10, features=None, random_state=0).fit(raw, Y)
    forest = bare.forest_.predict_proba(raw.reshape(-1, 1))[:, 1].reshape(raw.shape)
    assert_allclose(bare.predict_proba(raw), forest, rtol=1e-6)


@pytest.mark.parametrize("n_bands", [2, 4])
def test_any_number_of_bands(n_bands):
    bands = np.stack([X * (k + 1) for k in range(n_bands)], axis=1)
    forest = clone(SMALL).fit(bands, Y)
    assert forest.score(bands, Y) > 0.8 and len(forest.feature_importances_) == n_bands + 10


def test_rms_band_is_the_noise():
    stacked = np.stack([X, np.ones_like(X)], axis=1)
    forest = clone(SMALL).set_params(rms_band=-1).fit(stacked, Y)
    assert forest.score(stacked, Y) > 0.8 and len(forest.feature_importances_) == 11
    # ten times the noise at the same flux: nothing stands out any more
    noisy = np.stack([X, np.full_like(X, 100)], axis=1)
    with pytest.warns(NoSourcesWarning):
        assert not forest.predict(noisy).any()


def test_units_and_pedestal_do_not_matter(fitted):
    assert_allclose(
        fitted.predict_proba(1e-6 * X.astype(float) + 3e-5), fitted.predict_proba(X), atol=0.11
    )
    assert fitted.score(1e-6 * X.astype(float) + 3e-5, Y) == pytest.approx(
        fitted.score(X, Y), abs=0.01
    )


def test_threads_and_seeds():
    alone = clone(SMALL).fit(X, Y)
    shared = clone(SMALL).set_params(n_jobs=2).fit(X, Y)
    assert_array_equal(shared.predict_proba(X), alone.predict_proba(X))
    assert shared.forest_.n_jobs == 1, (
        "trees that share the work would be summed in the order in which they finish"
    )
    assert_array_equal(clone(SMALL).fit(X, Y).predict_proba(X), alone.predict_proba(X))
    other = clone(SMALL).set_params(random_state=1).fit(X, Y)
    assert not np.array_equal(other.predict_proba(X), alone.predict_proba(X))


def test_pickle_and_containers(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))
    sizes = [X[0], X[1][:50], X[2][:, :41]]
    probabilities = fitted.predict_proba(sizes)
    assert isinstance(probabilities, list) and [sources.shape for sources in probabilities] == [
        image.shape for image in sizes
    ]
    assert all(
        isinstance(sources, Instances) for sources in fitted.predict(sizes, output="instances")
    )


def test_sample_keeps_the_share_of_galaxy_pixels():
    random = np.random.RandomState(0)
    mask = np.zeros((100, 100), dtype=bool)
    mask[:10, :30] = True  # 3 %
    usable = np.ones_like(mask)
    usable[50:] = False
    index = _draw(mask, usable, 0.1, random)
    assert (
        len(np.unique(index)) == len(index) == 500 and np.count_nonzero(mask.ravel()[index]) == 30
    )
    assert usable.ravel()[index].all()
    assert np.count_nonzero(mask.ravel()[_draw(mask, usable, 1e-6, random)]) == 1, (
        "one of each class at least"
    )
    assert len(_draw(mask, usable, 1.0, random)) == 5000


@pytest.fixture
def drawn(monkeypatch):
    """Pixels and classes that forests learn from."""
    seen = []
    fit = RandomForestClassifier.fit

    def note(self, pixels, classes):
        seen.append((pixels, classes))
        return fit(self, pixels, classes)

    monkeypatch.setattr(RandomForestClassifier, "fit", note)
    return seen


def test_n_samples_is_the_total_over_all_images(drawn):
    for n_samples in (1000, None):
        clone(SMALL).set_params(n_samples=n_samples).fit(X, Y)
    (_, some), (_, every) = drawn
    assert abs(len(some) - 1000) < 10 and len(every) == Y.size
    assert some.mean() == pytest.approx((Y > 0).mean(), rel=0.02)


def test_pixels_that_miss_a_band_are_not_learnt_from(drawn):
    holed = np.stack([X, X], axis=1)
    holed[:, 1, :20] = np.nan
    clone(SMALL).set_params(n_samples=None).fit(holed, Y)
    pixels, classes = drawn[0]
    assert np.isfinite(pixels).all() and len(classes) == Y[:, 20:].size


def test_threshold_smoothing_and_smallest_size(fitted):
    strict = clone(SMALL).set_params(threshold=0.8).fit(X, Y)
    assert np.count_nonzero(strict.predict(X)) < np.count_nonzero(fitted.predict(X))
    smooth = clone(SMALL).set_params(smoothing=3).fit(X, Y)
    proba, sharp = smooth.predict_proba(X), fitted.predict_proba(X)
    assert (
        np.abs(np.diff(proba)).mean() < np.abs(np.diff(sharp)).mean()
        and proba.min() >= 0
        and proba.max() <= 1
    )
    assert proba.sum() == pytest.approx(sharp.sum(), rel=0.02)
    sizes = [len(Instances.from_label_map(label_map)) for label_map in fitted.predict(X)]
    large = clone(SMALL).set_params(n_pixels=4000).fit(X, Y)
    with pytest.warns(NoSourcesWarning):
        assert sizes == [3, 3, 3] and not large.predict(X).any()


def test_deblend_splits_a_blend():
    rows, columns = np.indices((48, 64))
    pair = sum(60 * np.exp(-((rows - 24) ** 2 + (columns - x) ** 2) / 20) for x in (25, 38))
    image = (pair + np.random.default_rng(0).normal(size=pair.shape))[None]
    split = clone(SMALL).set_params(deblend=True, fwhm=1.5).fit(image, pair[None] > 2)
    assert split.predict(image).max() == 2
    assert (
        clone(split).set_params(deblend=False).fit(image, pair[None] > 2).predict(image).max() == 1
    )


def test_pixels_without_data_are_no_galaxy():
    holed = X.copy()
    holed[0, 8:16, 4:14] = np.nan
    forest = clone(SMALL).fit(holed, Y)
    proba = forest.predict_proba(holed)
    assert (proba[0, 8:16, 4:14] == 0).all() and np.isfinite(proba).all()
    assert forest.score(holed[1:], Y[1:]) > 0.8
    smooth = clone(SMALL).set_params(smoothing=2.0).fit(holed, Y).predict_proba(holed)
    assert (smooth[0, 8:16, 4:14] == 0).all() and np.isfinite(smooth).all()
    bands = np.stack([X, holed], axis=1)  # data in one band is data
    proba = clone(SMALL).fit(bands, Y).predict_proba(bands)
    assert proba[0, 8:16, 4:14].max() > 0.5


def test_image_without_data_has_no_source(fitted):
    with pytest.warns(NoSourcesWarning):
        assert not fitted.predict(np.full((1, 20, 20), np.nan)).any()
    assert not fitted.predict_proba(np.full((1, 20, 20), np.nan)).any()


@pytest.mark.parametrize("container", [np.asarray, list])
def test_after_pixel_features_in_a_pipeline(container):
    pipeline = make_pipeline(
        NoiseNormalizer(stretch="asinh"), PixelFeatures(window=5), clone(SMALL)
    )
    pipeline.set_params(randomforestsegmenter__features=None)
    pipeline.fit(container(X), Y)
    assert pipeline.score(container(X), Y) > 0.8
    assert len(pipeline[-1].feature_importances_) == 11 and pipeline[-1].pixel_features_ is None
    assert pipeline[-1].feature_names_[10] == "band_10"


def test_grid_search_computes_features_once_for_each_window_where_the_pipeline_caches(
    tmp_path, monkeypatch
):
    computed = []
    transform = PixelFeatures.fit_transform

    def count(self, X, y=None):
        computed.append(self.window)
        return transform(self, X, y)

    monkeypatch.setattr(PixelFeatures, "fit_transform", count)
    steps = [
        ("pixel_features", PixelFeatures()),
        ("forest", clone(SMALL).set_params(features=None)),
    ]
    grid = {"pixel_features__window": [3, 7], "forest__max_depth": [2, 6, 12]}
    search = GridSearchCV(
        Pipeline(steps, memory=str(tmp_path)), grid, scoring=iou_scorer, cv=3, error_score="raise"
    )
    search.fit(X, Y)
    # three folds and two windows, and one refit on all images
    assert sorted(computed[:-1]) == [3] * 3 + [7] * 3 and len(computed) == 7
    scores = search.cv_results_["mean_test_score"]
    assert (
        scores.shape == (6,)
        and np.isfinite(scores).all()
        and len(set(scores)) > 1
        and search.best_score_ > 0.7
    )


def test_tiles_of_a_mosaic_give_what_the_whole_gives():
    image, truth = make_images(n_images=1, shape=(300, 200), random_state=2)
    forest = clone(SMALL).fit(X, Y)
    tiled = segment_mosaic(forest, image[0], tile_size=128, progress=False)
    whole = forest.predict(image)[0]
    assert np.mean((tiled > 0) == (whole > 0)) > 0.999
    assert truth.max() == 3 and tiled.max() >= 3


@pytest.mark.parametrize(
    ("parameters", "images", "y", "words"),
    [
        ({}, X, None, "requires y to be passed"),
        ({}, X, Y[:2], "3 images, but y holds 2"),
        ({}, X, Y[:, :5], "must agree"),
        ({}, X, np.zeros_like(Y), "no galaxy pixel, all are sky"),
        ({}, X, np.ones_like(Y), "no sky pixel, all are galaxy"),
        ({}, np.where(Y > 0, np.nan, X), Y, "No pixel of one class has data"),
        ({"window": 6}, X, Y, "window must be odd"),
        ({"features": "haralick"}, X, Y, "'features'"),
        (
            {"features": None, "rms_band": -1},
            np.stack([X, np.ones_like(X)], 1),
            Y,
            "needs features='texture'",
        ),
        ({"rms_band": -1}, X, Y, "RMS map among the bands"),
        ({"n_samples": 1}, X, Y, "'n_samples'"),
        ({"threshold": 1.5}, X, Y, "'threshold'"),
        ({"smoothing": 0}, X, Y, "'smoothing'"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict | str) else "",
)
def test_bad_input_is_refused(parameters, images, y, words):
    with pytest.raises(ValueError, match=words):
        RandomForestSegmenter(n_estimators=2, **parameters).fit(images, y)


def test_instances_teach_like_label_maps():
    instances = [Instances.from_label_map(truth) for truth in Y]
    assert all(as_binary_mask(sources).any() for sources in instances)
    assert_array_equal(clone(SMALL).fit(X, instances).predict(X), clone(SMALL).fit(X, Y).predict(X))
