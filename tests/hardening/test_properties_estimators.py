"""Properties of every estimator.

Whatever the pixels are, the answer has the form that was promised.
"""

import warnings
from copy import copy

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from properties import covers, few, fewer, fitted, images, n_bands

from galaxysegment import Instances, NoSourcesWarning
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.base import BaseSegmenter, ScoreMaps
from galaxysegment.export import net_inputs
from galaxysegment.structures import label_components

TRANSFORMERS = [name for name, _ in all_estimators("transformer")]
SEGMENTERS = [name for name, _ in all_estimators("segmenter")]
# A prediction costs a tenth of a second: fewer examples.
DEEP = {name for name in SEGMENTERS if "weights" in dict(all_estimators())[name]().get_params()}


def stack(name, image):
    """As many bands as the estimator wants, of sizes that scikit-image and nets can work with."""
    bands = n_bands(name)
    image = np.pad(image, 6, mode="reflect" if min(image.shape) > 6 else "edge")
    return image[None] if bands is None else np.stack([image] * bands)[None]


def check_labels(labels, shape):
    assert labels.dtype == np.int32 and labels.shape == shape
    for label_map in labels:
        assert np.unique(label_map[label_map > 0]).tolist() == list(range(1, label_map.max() + 1))


@covers("every transformer")
@pytest.mark.parametrize("name", TRANSFORMERS)
@given(image=images(largest=20))
@few
def test_transformers_keep_shape_and_input(name, image):
    X = stack(name, image)
    before = X.copy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            transformed = fitted(name).transform(X)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) > 20
        return
    np.testing.assert_array_equal(X, before)
    assert (
        transformed.shape[0] == 1
        and transformed.shape[-2:] == X.shape[-2:]
        and transformed.dtype.kind == "f"
    )
    assert transformed.dtype.isnative and not np.isinf(transformed).any()
    if X.dtype.itemsize == 8 or (X.dtype.kind == "i" and X.dtype.itemsize == 4):
        assert transformed.dtype == np.float64
    else:
        assert transformed.dtype == np.float32


def check_segmenter(name, image):
    X = stack(name, image)
    before = X.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        labels = fitted(name).predict(X)
        instances = fitted(name).predict(X, output="instances")
    np.testing.assert_array_equal(X, before)
    check_labels(labels, (1, *X.shape[-2:]))
    assert all(
        isinstance(sources, Instances) and sources.shape == X.shape[-2:] for sources in instances
    )
    assert not labels[0][~np.isfinite(X[0].astype(float))].any()
    if hasattr(fitted(name), "predict_proba"):
        proba = fitted(name).predict_proba(X)
        assert proba.min() >= 0 and proba.max() <= 1


@covers("every segmenter")
@pytest.mark.parametrize("name", sorted(set(SEGMENTERS) - DEEP))
@given(image=images(largest=20))
@few
def test_segmenters_answer_whatever_the_pixels_are(name, image):
    check_segmenter(name, image)


@covers("every segmenter")
@pytest.mark.parametrize("name", sorted(DEEP))
@given(image=images(largest=20))
@fewer
def test_nets_answer_whatever_the_pixels_are(name, image):
    assume(image.size > 1)
    check_segmenter(name, image)


class _Threshold(BaseSegmenter):
    """Pixels above 1 are sources; the score is their signal to noise."""

    _requires_fit = False

    def __init__(self, factor=1.0):
        self.factor = factor

    def _segment_image(self, image):
        return label_components(image[0] > 1)

    def _score_maps(self, image):
        noise = np.full(image[0].shape, 2.0)
        return ScoreMaps(self.factor * image[0], noise=self.factor * noise)


@covers("base.ScoreMaps")
@given(st.integers(0, 999), st.sampled_from([0.25, 8.0]))
@few
def test_scores_are_sums_over_the_pixels_of_a_source(seed, factor):
    image = np.random.default_rng(seed).normal(size=(12, 14))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSourcesWarning)
        (sources,) = _Threshold().predict(image[None], output="instances")
        (scaled,) = _Threshold(factor).predict(image[None], output="instances")
        (mirrored,) = _Threshold().predict(image[None, ::-1], output="instances")
    expected = [image[mask].sum() / (2 * np.sqrt(mask.sum())) for mask in sources.masks]
    assert sources.scores == pytest.approx(expected)
    assert scaled.scores == pytest.approx(expected)  # the unit does not matter
    assert np.sort(mirrored.scores) == pytest.approx(np.sort(expected))
    maps = ScoreMaps(image, noise=image)
    part = maps.within((slice(2, 5), slice(0, 3)))
    assert np.array_equal(part.light, image[2:5, :3]) and np.array_equal(part.noise, part.light)


@covers("export.net_inputs")
@given(image=images(largest=20))
@fewer
def test_inputs_of_nets_keep_shape_and_gaps(image):
    X = stack("UNetSegmenter", image)
    before = X.copy()
    try:
        (pixels,) = net_inputs(copy(fitted("UNetSegmenter")).set_params(no_data="nan"), X)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) > 20
        return
    np.testing.assert_array_equal(X, before)
    assert pixels.shape[-2:] == X.shape[-2:] and pixels.dtype == np.float32
    gaps = ~np.isfinite(X.astype(float)).reshape(pixels.shape)
    np.testing.assert_array_equal(np.isnan(pixels), gaps)
