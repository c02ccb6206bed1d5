"""The package passes the shared checks and works wherever galaxysegment's own methods do."""

import numpy as np
import pytest
from astropy.io import fits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from starfinder import KindFinder, StarFinder, UnsharpMask

from galaxysegment import Instances
from galaxysegment.catalog import source_catalog
from galaxysegment.io import read_label_map, read_panoptic_map
from galaxysegment.metrics import detection_scores
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.preprocessing import BackgroundSubtractor
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR
from galaxysegment.testing import estimator_checks, expected_failed_checks, make_images

ESTIMATORS = [StarFinder(), UnsharpMask()]
CHECKS = [
    pytest.param(check, id=f"{type(estimator).__name__}-{name}")
    for estimator in [*ESTIMATORS, KindFinder()]
    for name, check in estimator_checks(estimator)
]


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failed_checks)
def test_sklearn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", CHECKS)
def test_images(check):
    check()


def test_it_finds_the_sources():
    X, y = make_images()
    stars = StarFinder().fit(X).predict(X, output="instances")
    assert all(isinstance(image, Instances) and (image.classes == STAR).all() for image in stars)
    assert detection_scores(y[0], stars[0].to_label_map()).f1 == 1


def test_grid_search_and_pipelines():
    X, y = make_images(6)
    pipeline = make_pipeline(UnsharpMask(), StarFinder())
    search = GridSearchCV(pipeline, {"starfinder__n_sigma": [3, 6]}, cv=2, error_score="raise").fit(
        X, y
    )
    assert len(search.cv_results_["params"]) == 2 and search.best_score_ > 0.4


def test_mosaics(tmp_path):
    X, _ = make_images(1, shape=(140, 150))
    fits.writeto(tmp_path / "image.fits", X[0])
    finder = make_pipeline(BackgroundSubtractor(), StarFinder()).fit(X)
    path = segment_mosaic(
        finder[-1],
        tmp_path / "image.fits",
        output=tmp_path / "out.fits",
        tile_size=80,
        progress=False,
    )
    np.testing.assert_array_equal(read_label_map(path) > 0, finder[-1].predict(X)[0] > 0)


def test_classes_of_sources_and_pixels_do_not_depend_on_tiles(tmp_path):
    X, _ = make_images(1, shape=(140, 150))
    X[0, 20:23, 45:130] -= 60  # a scratch across the edges of tiles
    X[0, 60:64, 70:74] += 200  # a star on an edge
    finder = KindFinder().fit(X)
    (expected,) = finder.predict(X, output="panoptic")
    assert set(np.unique(expected[0])) == {SKY, GALAXY, STAR, ARTEFACT}
    path = segment_mosaic(
        finder,
        X[0],
        output=tmp_path / "out.fits",
        kind="panoptic",
        tile_size=72,
        progress=False,
    )
    np.testing.assert_array_equal(read_panoptic_map(path), expected)
    (whole,) = finder.predict(X, output="instances")
    catalog = source_catalog(path, X[0])
    np.testing.assert_array_equal(catalog["class"], whole.classes)
    np.testing.assert_allclose(catalog["score"], whole.scores)
