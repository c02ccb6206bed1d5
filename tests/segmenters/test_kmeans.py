"""KMeansSegmenter: the bright cluster is galaxy."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from galaxysegment import Instances, KMeansSegmenter
from galaxysegment.metrics import iou_scorer
from galaxysegment.preprocessing import ImageNormalizer, LuptonRGB
from galaxysegment.structures import NoSourcesWarning, label_components, remove_small
from galaxysegment.testing import make_images


def squares(n_images=3, n_bands=None, seed=0, contrast=20.0):
    """Bright squares on a noisy sky, and their masks."""
    rng = np.random.default_rng(seed)
    shape = (n_images, 40, 50) if n_bands is None else (n_images, n_bands, 40, 50)
    images = rng.normal(10, 1, shape)
    mask = np.zeros((n_images, 40, 50), dtype=bool)
    for y, x in [(5, 5), (20, 30)]:
        mask[:, y : y + 8, x : x + 10] = True
    images[mask if n_bands is None else np.broadcast_to(mask[:, None], shape)] += contrast
    return images, mask


@pytest.mark.parametrize("n_bands", [None, 1, 3])
def test_bright_cluster_is_galaxy(n_bands):
    images, mask = squares(n_bands=n_bands)
    segmenter = KMeansSegmenter(random_state=0).fit(images)
    np.testing.assert_allclose(
        segmenter.cluster_centers_, [[10] * (n_bands or 1), [30] * (n_bands or 1)], atol=0.5
    )
    labels = segmenter.predict(images)
    assert np.array_equal(labels > 0, mask)
    assert labels.dtype == np.int32
    assert labels.max(axis=(1, 2)).tolist() == [2, 2, 2]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), n_clusters=st.integers(2, 5), n_bands=st.integers(1, 3))
@pytest.mark.filterwarnings("ignore::galaxysegment.structures.NoSourcesWarning")
def test_equals_scikit_learn(seed, n_clusters, n_bands):
    images = np.random.default_rng(seed).gamma(1, 5, (2, n_bands, 20, 15))
    segmenter = KMeansSegmenter(n_clusters=n_clusters, n_init=2, n_pixels=1, random_state=seed).fit(
        images
    )
    pixels = np.moveaxis(images, 1, -1).reshape(-1, n_bands)
    with threadpool_limits(1):
        reference = KMeans(n_clusters, n_init=2, random_state=np.random.RandomState(seed)).fit(
            pixels
        )
    bright = np.argmax(reference.cluster_centers_.mean(axis=1))
    expected = (reference.predict(pixels) == bright).reshape(2, 20, 15)
    assert np.array_equal(segmenter.predict(images) > 0, expected)


def test_only_the_brightest_of_several_clusters():
    images, mask = squares()
    images[:, 30:36, 5:12] += 8  # a cluster in between
    labels = KMeansSegmenter(n_clusters=3, random_state=0).fit(images).predict(images)
    assert np.array_equal(labels > 0, mask)


def test_sources_are_components_of_enough_pixels():
    images, _ = squares(contrast=3)
    predicted = KMeansSegmenter(random_state=0, n_pixels=4).fit(images).predict(images)
    pixels = KMeansSegmenter(random_state=0, n_pixels=1).fit(images).predict(images) > 0
    for labels, mask in zip(predicted, pixels, strict=True):
        assert np.array_equal(labels, remove_small(label_components(mask), 4))
    assert np.count_nonzero(predicted) < np.count_nonzero(pixels)


def test_deblending_splits_touching_sources():
    y, x = np.indices((60, 60))
    image = sum(100 * np.exp(-((y - 30) ** 2 + (x - c) ** 2) / 50) for c in (22, 37))
    counts = [
        KMeansSegmenter(random_state=0, deblend=deblend).fit(image[None]).predict(image[None]).max()
        for deblend in (False, True)
    ]
    assert counts == [1, 2]


def test_missing_pixels_and_rms_band():
    images, mask = squares(n_bands=3)
    images[:, 2] = np.random.default_rng(0).uniform(
        0, 1000, images[:, 2].shape
    )  # would drown the others
    images[0, 0, :10] = np.nan
    labels = KMeansSegmenter(rms_band=2, random_state=0).fit(images).predict(images)
    assert not labels[0, :10].any()
    assert np.array_equal(labels[1:] > 0, mask[1:])
    assert labels[0, 10:].any()
    with pytest.raises(ValueError, match="rms_band=3 asks for an RMS map"):
        KMeansSegmenter(rms_band=3).fit(images)


def test_huge_and_tiny_values():
    images, mask = squares()
    tiny = images * 1e-12
    assert np.array_equal(KMeansSegmenter(random_state=0).fit(tiny).predict(tiny) > 0, mask)
    spoilt = images.astype(np.float32)
    spoilt[0, 0, 0] = 1e30
    with pytest.warns(NoSourcesWarning):  # one hot pixel is a cluster: the rest is sky
        assert not KMeansSegmenter(random_state=0).fit(spoilt).predict(spoilt).any()


def test_constant_image_has_no_source():
    images, _ = squares()
    fitted = KMeansSegmenter(random_state=0).fit(images)
    constant = np.full((2, 40, 50), 1000.0)
    constant[1, 3:9] = np.nan
    with pytest.warns(NoSourcesWarning):
        assert not fitted.predict(constant).any()
    with pytest.warns(NoSourcesWarning):
        learnt = KMeansSegmenter(random_state=0).fit(constant)
        assert not learnt.predict(constant).any()
    assert learnt.cluster_centers_.tolist() == [[1000.0]]
    with pytest.warns(NoSourcesWarning):
        assert not learnt.predict(images).any()


def test_no_data():
    empty = np.full((1, 20, 20), np.nan)
    with pytest.raises(ValueError, match="X holds no pixel with data"):
        KMeansSegmenter().fit(empty)
    images, mask = squares()
    fitted = KMeansSegmenter(random_state=0).fit(np.stack([np.full((40, 50), np.nan), images[0]]))
    assert np.array_equal(fitted.predict(images) > 0, mask)
    with pytest.warns(NoSourcesWarning):
        assert not fitted.predict(empty).any()


def test_binary_image_needs_no_iteration():
    images = np.zeros((1, 30, 30))
    images[0, 5:15, 5:15] = 1
    fitted = KMeansSegmenter(n_clusters=4).fit(images)
    assert fitted.cluster_centers_.tolist() == [[0.0], [1.0]]
    assert np.array_equal(fitted.predict(images), images)


def test_sample_of_pixels_is_enough():
    images, mask = squares(8)
    few = KMeansSegmenter(max_samples=800, random_state=0).fit(images)
    everything = KMeansSegmenter(max_samples=None, random_state=0).fit(images)
    assert not np.array_equal(few.cluster_centers_, everything.cluster_centers_)
    assert np.array_equal(few.predict(images) > 0, mask)
    assert np.array_equal(everything.predict(images) > 0, mask)


def test_seed_decides():
    images = np.random.default_rng(0).normal(size=(2, 60, 60))
    centres = [
        KMeansSegmenter(max_samples=500, random_state=seed).fit(images).cluster_centers_
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(centres[0], centres[1])
    assert not np.array_equal(centres[0], centres[2])


def test_threads_do_not_change_a_bit():
    code = (
        "import json, numpy as np; from galaxysegment import KMeansSegmenter;"
        "X = np.random.default_rng(0).normal(size=(2, 3, 100, 100)).astype('float32');"
        "print(json.dumps(KMeansSegmenter(random_state=0, "
        "n_init=2).fit(X).cluster_centers_.tolist()))"
    )
    predicted = [
        json.loads(
            subprocess.check_output(
                [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": n}
            )
        )
        for n in ("1", "4")
    ]
    assert predicted[0] == predicted[1]


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", "u1", np.int64])
def test_any_dtype_and_byte_order(dtype):
    images, mask = squares()
    images = np.rint(images).astype(dtype)
    images.setflags(write=False)
    assert np.array_equal(KMeansSegmenter(random_state=0).fit(images).predict(images) > 0, mask)


def test_lists_and_outputs():
    images, mask = squares(2)
    ragged = [images[0], images[1][:30]]
    fitted = KMeansSegmenter(random_state=0).fit(ragged)
    labels = fitted.predict(ragged)
    assert isinstance(labels, list)
    assert np.array_equal(labels[1] > 0, mask[1][:30])
    assert all(
        isinstance(sources, Instances) for sources in fitted.predict(ragged, output="instances")
    )
    assert fitted.predict(images, output="panoptic").shape == (2, 2, 40, 50)
    assert not hasattr(fitted, "predict_proba")


def test_pipeline_of_colours_and_grid_search():
    images, mask = squares(4, n_bands=3)
    pipeline = make_pipeline(LuptonRGB(), KMeansSegmenter(random_state=0))
    assert pipeline.fit(images).score(images, mask) > 0.95
    X, y = make_images(4)
    pipeline = make_pipeline(ImageNormalizer(), KMeansSegmenter(random_state=0))
    grid = {"imagenormalizer__stretch": ["linear", "asinh"], "kmeanssegmenter__n_clusters": [2, 3]}
    search = GridSearchCV(pipeline, grid, scoring=iou_scorer, cv=2).fit(X, y)
    assert search.best_score_ > 0.4


def test_bad_parameters_are_refused():
    images, _ = squares(1)
    for bad in ({"n_clusters": 1}, {"n_init": 0}, {"max_samples": 0}, {"n_pixels": 0}):
        with pytest.raises(ValueError, match=f"'{next(iter(bad))}' parameter of KMeansSegmenter"):
            KMeansSegmenter(**bad).fit(images)
