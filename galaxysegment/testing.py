"""Checks that every transformer and segmenter of images must pass; for our tests and for yours.

scikit-learn's `check_estimator` feeds 2-D tables, which an estimator of images rightly refuses.
Each of its checks that cannot run is replaced here, by name, by one that feeds images
(`REPLACED_CHECKS`); all others run as they are. A package that brings its own segmenter tests it
so::

    from sklearn.utils.estimator_checks import parametrize_with_checks
    from galaxysegment.testing import estimator_checks, expected_failed_checks

    @parametrize_with_checks([MySegmenter()], expected_failed_checks=expected_failed_checks)
    def test_sklearn(estimator, check):
        check(estimator)

    @pytest.mark.parametrize("name, check", estimator_checks(MySegmenter()))
    def test_images(name, check):
        check()
"""

from __future__ import annotations

import pickle
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from .base import BaseSegmenter
from .mosaic import segment_mosaic
from .mosaic._plan import Plan
from .structures import Instances, NoSourcesWarning
from .structures._types import Floats, Images, Labels, Sources

__all__ = [
    "EXTRA_CHECKS",
    "REPLACED_CHECKS",
    "estimator_checks",
    "expected_failed_checks",
    "make_images",
]


def make_images(
    n_images: int = 4,
    shape: tuple[int, int] = (48, 40),
    n_bands: int | None = None,
    random_state: int = 0,
) -> tuple[Floats, Labels]:
    """Make small images of round sources on a noisy sky, with their label maps.

    Parameters
    ----------
    n_images : int, default=4
    shape : tuple of int, default=(48, 40)
    n_bands : int, optional
        Number of bands; unset gives images without a band axis. The last of several bands is an RMS
        map.
    random_state : int, default=0

    Returns
    -------
    X : ndarray of float32, shape (n_images, height, width) or (n_images, n_bands, height, width)
    y : ndarray of int32, shape (n_images, height, width)
    """
    random = np.random.default_rng(random_state)
    rows, columns = np.indices(shape)
    clean = np.zeros((n_images, *shape))
    labels = np.zeros((n_images, *shape), dtype=np.int32)
    for index in range(n_images):
        for label, (cy, cx) in enumerate([(12, 10), (34, 28), (14, 31)], start=1):
            distance = (rows - cy - random.normal()) ** 2 + (columns - cx - random.normal()) ** 2
            profile = random.uniform(20, 40) * np.exp(-distance / 18)
            clean[index] += profile
            labels[index][profile > 2] = label
    bands = [clean + random.normal(size=clean.shape) + 5 for _ in range(max(1, (n_bands or 1) - 1))]
    if n_bands is None:
        return bands[0].astype(np.float32), labels
    if n_bands > 1:
        bands.append(1 + 0.02 * clean)
    return np.stack(bands, axis=1).astype(np.float32), labels


def estimator_checks(
    estimator: Any, X: Images | None = None, y: Sources | None = None
) -> list[tuple[str, Callable[[], None]]]:
    """List the image checks of an estimator.

    Parameters
    ----------
    estimator : transformer or segmenter of images
        An unfitted instance; deep ones as small as they come.
    X, y : array, optional
        A stack of images that suits the estimator and its label maps; `make_images` by default.

    Returns
    -------
    list of (str, callable)
        Name and check, which takes no argument and raises where the estimator breaks the contract.
    """
    if X is None:
        X, y = make_images()
    checks = list(dict.fromkeys(REPLACED_CHECKS.values())) + EXTRA_CHECKS
    return [(check.__name__, partial(_run, check, estimator, X, y)) for check in checks]


def expected_failed_checks(estimator: Any) -> dict[str, str]:  # noqa: ARG001 - the signature that scikit-learn calls
    """Name scikit-learn's checks that feed 2-D data and the image check that replaces each.

    Parameters
    ----------
    estimator : transformer or segmenter of images
        Any; the answer is the same for all.

    Returns
    -------
    dict of str to str
        As scikit-learn's `parametrize_with_checks` and `check_estimator` take it.
    """
    return {
        name: f"replaced by galaxysegment.testing.{check.__name__}"
        for name, check in REPLACED_CHECKS.items()
    }


def _run(check, estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSourcesWarning)
        estimator = clone(estimator)
        if estimator.get_params().get("random_state", 0) is None:
            # Checks compare fits with each other, so chance must not tell them apart.
            estimator.set_params(random_state=0)
        check(estimator, X.copy(), y)


def _apply(estimator, X):
    return estimator.predict(X) if isinstance(estimator, BaseSegmenter) else estimator.transform(X)


def _assert_same(first, second):
    assert type(first) is type(second) and len(first) == len(second)
    for left, right in zip(first, second, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def _assert_raises(errors, words, function, *args):
    try:
        function(*args)
    except errors as error:
        assert any(word in str(error) for word in words), (
            f"the message does not name {words}: {error}"
        )
    else:
        raise AssertionError(f"expected {errors} about {words}")


def check_images_fit_takes_y(estimator, X, y):
    """`fit(X, y)` and, for segmenters, `score(X, y)` between 0 and 1."""
    estimator.fit(X, y)
    if isinstance(estimator, BaseSegmenter):
        assert 0 <= estimator.score(X, y) <= 1


def check_images_parameters_stay(estimator, X, y):
    """`fit` changes no parameter and adds nothing but attributes that end in "_"."""
    before, names = estimator.get_params(), set(vars(estimator))
    estimator.fit(X, y)
    assert all(
        estimator.get_params()[name] is value or estimator.get_params()[name] == value
        for name, value in before.items()
    )
    added = {name for name in set(vars(estimator)) - names if not name.startswith("_")}
    assert all(name.endswith("_") for name in added), f"fit added {added}"


def check_images_fit_returns_self(estimator, X, y):
    """`fit` returns the estimator."""
    assert estimator.fit(X, y) is estimator


def check_images_input_untouched(estimator, X, y):
    """Read-only, memory-mapped images work and stay as they were."""
    expected = _apply(clone(estimator).fit(X, y), X)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, X)
        mapped = np.load(path, mmap_mode="r")
        _assert_same(_apply(estimator.fit(mapped, y), mapped), expected)
        np.testing.assert_array_equal(mapped, X)
        del mapped


def check_images_n_bands(estimator, X, y):
    """`fit` records `n_bands_in_`; other numbers of bands are refused."""
    estimator.fit(X, y)
    n_bands = 1 if X.ndim == 3 else X.shape[1]
    assert estimator.n_bands_in_ == n_bands
    other = np.zeros((1, n_bands + 1, *X.shape[-2:]))
    _assert_raises(ValueError, [str(n_bands + 1)], _apply, estimator, other)


def check_images_dtypes(estimator, X, y):
    """Integers, both byte orders, both float sizes and negative values work alike."""
    whole = np.rint(X).astype(np.int16)
    expected = _apply(clone(estimator).fit(whole.astype(np.float32), y), whole.astype(np.float32))
    for dtype in ("<i2", ">i2", ">f4"):
        _assert_same(
            _apply(clone(estimator).fit(whole.astype(dtype), y), whole.astype(dtype)), expected
        )
    clone(estimator).fit(whole.astype(np.float64), y)
    clone(estimator).fit(X - X.mean(), y)


def check_images_wrong_kind(estimator, X, y):
    """Complex numbers, objects and sparse matrices are refused with words that say so."""
    from scipy.sparse import csr_array

    _assert_raises((TypeError, ValueError), ["Complex"], estimator.fit, X + 1j, y)
    _assert_raises(
        (TypeError, ValueError), ["real numbers"], estimator.fit, np.full(X.shape, {"a": 1}), y
    )
    _assert_raises((TypeError, ValueError), ["parse"], estimator.fit, csr_array(np.eye(4)), y)


def check_images_empty(estimator, X, y):
    """No image and images without pixels are refused before any work."""
    _assert_raises(ValueError, ["0 images"], estimator.fit, X[:0], y[:0])
    _assert_raises(ValueError, ["empty"], estimator.fit, X[..., :0], y[..., :0])
    _assert_raises(ValueError, ["0 images"], estimator.fit, [], [])


def check_images_pipeline(estimator, X, y):
    """In a pipeline of one step it gives what it gives alone."""
    _assert_same(
        _apply(clone(estimator).fit(X, y), X), _apply(make_pipeline(estimator).fit(X, y)[-1], X)
    )


def check_images_pickle(estimator, X, y):
    """A fitted estimator survives pickling."""
    estimator.fit(X, y)
    _assert_same(_apply(pickle.loads(pickle.dumps(estimator)), X), _apply(estimator, X))


def check_images_memory_layout(estimator, X, y):
    """Neither Fortran order nor a view with strides changes the result."""
    expected = _apply(clone(estimator).fit(X, y), X)
    _assert_same(
        _apply(clone(estimator).fit(np.asfortranarray(X), y), np.asfortranarray(X)), expected
    )
    wide = np.repeat(X, 2, axis=-1)[..., ::2]
    _assert_same(_apply(clone(estimator).fit(wide, y), wide), expected)


def check_images_containers(estimator, X, y):
    """A list in, a list out, with the stack's values; images of different sizes work."""
    estimator.fit(X, y)
    from_list = _apply(estimator, list(X))
    assert isinstance(from_list, list)
    _assert_same(from_list, list(_apply(estimator, X)))
    sizes = [X[0], X[1][..., :-8, :], X[2][..., :-5]]
    assert [image.shape[-2:] for image in _apply(estimator, sizes)] == [
        image.shape[-2:] for image in sizes
    ]
    clone(estimator).fit(
        sizes,
        [
            label[: image.shape[-2], : image.shape[-1]]
            for label, image in zip(y, sizes, strict=False)
        ],
    )


def check_images_order_and_subsets(estimator, X, y):
    """What an image becomes does not depend on its neighbours in the stack."""
    estimator.fit(X, y)
    together = _apply(estimator, X)
    _assert_same(_apply(estimator, X[::-1])[::-1], together)
    _assert_same(np.concatenate([_apply(estimator, X[i : i + 1]) for i in range(len(X))]), together)


def check_images_one_image(estimator, X, y):
    """One image is enough."""
    assert len(_apply(estimator.fit(X[:1], y[:1]), X[:1])) == 1


def check_images_dict_unchanged(estimator, X, y):
    """Using a fitted estimator does not change it."""
    estimator.fit(X, y)
    before = {
        key: pickle.dumps(value)
        for key, value in vars(estimator).items()
        if isinstance(value, np.ndarray | int | float)
    }
    _apply(estimator, X)
    assert before == {key: pickle.dumps(vars(estimator)[key]) for key in before}
    assert set(vars(estimator)) >= set(before)


def check_images_fit_idempotent(estimator, X, y):
    """Fitting twice gives the same result as fitting once."""
    once = _apply(estimator.fit(X, y), X)
    _assert_same(_apply(estimator.fit(X, y), X), once)


def check_images_unfitted(estimator, X, y):
    """An estimator that learns refuses to work before `fit`; one that does not, works."""
    if get_tags(estimator).requires_fit:
        _assert_raises(NotFittedError, ["not fitted"], _apply, estimator, X)
    else:
        _assert_same(_apply(estimator, X), _apply(clone(estimator).fit(X, y), X))


def check_images_wrong_dimensions(estimator, X, y):
    """A single image or a table is refused, with how to reshape it."""
    estimator.fit(X, y)
    table = np.zeros((8, 8))
    _assert_raises(ValueError, ["np.newaxis"], _apply, estimator, table)
    _assert_raises(ValueError, ["np.newaxis"], estimator.fit, table, y)
    _assert_raises(ValueError, ["dimensions"], _apply, estimator, np.zeros(8))
    _assert_raises(ValueError, ["dimensions"], _apply, estimator, [np.zeros(8)])


def check_transformer_of_images(estimator, X, y):
    """`fit_transform` is `fit` then `transform`; dtype and shape stay; no pixel turns NaN."""
    if isinstance(estimator, BaseSegmenter):
        return
    transformed = clone(estimator).fit_transform(X, y)
    _assert_same(transformed, estimator.fit(X, y).transform(X))
    assert transformed.shape[-2:] == X.shape[-2:] and np.isfinite(transformed).all()
    for dtype in (np.float32, np.float64):
        assert clone(estimator).fit_transform(X.astype(dtype), y).dtype == dtype


def check_segmenter_outputs(estimator, X, y):
    """Labels, instances and panoptic maps agree with each other and keep their promises."""
    if not isinstance(estimator, BaseSegmenter):
        return
    estimator.fit(X, y)
    labels, instances, panoptic = (
        estimator.predict(X, output=kind) for kind in ("labels", "instances", "panoptic")
    )
    assert labels.dtype == np.int32 and labels.shape == (len(X), *X.shape[-2:])
    assert panoptic.dtype == np.int32 and panoptic.shape == (len(X), 2, *X.shape[-2:])
    for label_map, sources, maps in zip(labels, instances, panoptic, strict=True):
        assert isinstance(sources, Instances) and sources.shape == label_map.shape
        assert np.isfinite(sources.scores).all()
        np.testing.assert_array_equal(
            np.unique(label_map[label_map > 0]), np.arange(1, label_map.max() + 1)
        )
        np.testing.assert_array_equal(sources.to_label_map(), label_map)
        np.testing.assert_array_equal(maps[1], label_map)
        np.testing.assert_array_equal(maps[0] > 0, label_map > 0)
    _assert_raises(ValueError, ["'labels'"], estimator.predict, X, "masks")


def check_segmenter_targets(estimator, X, y):
    """Label maps, instances and lists are the same truth; other shapes are refused."""
    if not isinstance(estimator, BaseSegmenter):
        return
    expected = clone(estimator).fit(X, y).predict(X)
    for truth in (list(y), [Instances.from_label_map(labels) for labels in y]):
        _assert_same(clone(estimator).fit(X, truth).predict(X), expected)
    _assert_raises(ValueError, ["shape"], estimator.fit, X, y[:, :-1])
    _assert_raises(ValueError, ["one per image"], estimator.fit, X, y[:-1])


def check_segmenter_nothing_there(estimator, X, y):
    """No data gives an empty label map and a warning; a pixel without data is in no source."""
    if not isinstance(estimator, BaseSegmenter):
        return
    estimator.fit(X, y)
    holed = X.copy()
    holed[..., 5:20, 5:20] = np.nan
    assert not estimator.predict(holed)[:, 5:20, 5:20].any()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not estimator.predict(np.full_like(X[:1], np.nan)).any()
    assert any(issubclass(warning.category, NoSourcesWarning) for warning in caught)
    estimator.predict(np.full_like(X[:1], 3.0))


def check_segmenter_probabilities(estimator, X, y):
    """`predict_proba`, where there is one, gives a finite map in [0, 1] an image."""
    if not hasattr(estimator, "predict_proba"):
        return
    proba = estimator.fit(X, y).predict_proba(X)
    assert proba.shape == (len(X), *X.shape[-2:]) and proba.min() >= 0 and proba.max() <= 1


def check_tiled_equals_untiled(estimator, X, y):
    """A mosaic in tiles has the sources of the whole image, or the segmenter declares why not.

    ``reach = None`` ("unknown") and ``finds_instances = True`` are the declarations. Of the pixels
    of sources, 1 in 1000 may differ, because sums over other windows round in another way.
    """
    if not isinstance(estimator, BaseSegmenter):
        return
    estimator.fit(X, y)
    if estimator.reach is None or estimator.finds_instances:
        return
    image = _make_mosaic(X)
    whole = estimator.predict(image[np.newaxis])[0]
    reach = Plan(estimator).reach()  # of the steps before it, too, such as the bridges of gaps
    tiled = segment_mosaic(
        estimator,
        image,
        tile_size=70,
        overlap=max(reach, 1) + estimator.n_pixels,
        progress=False,
    )
    n_source_pixels = np.count_nonzero(whole)
    n_different = np.count_nonzero((tiled > 0) != (whole > 0))
    name = type(estimator).__name__
    advice = (
        f"Does a pixel depend on more than reach={reach} pixels around it, or on the "
        "whole image? See "
        "galaxysegment.base.MosaicAware."
    )
    assert n_different <= 1e-3 * n_source_pixels, (
        f"{name}: {n_different} pixels of {n_source_pixels} change between source and background "
        "when the image is "
        f"cut into tiles. {advice}"
    )
    assert tiled.max() == whole.max(), (
        f"{name} finds {tiled.max()} sources in tiles, but {whole.max()} in the whole image. "
        f"{advice}"
    )


def check_images_sample_weight(estimator, X, y):
    """Weights of images are numbers of any container, one an image; they stay as they were."""
    if not has_fit_parameter(estimator, "sample_weight"):
        return
    weights = np.ones(len(X))
    weights[-1] = 0
    given = weights.copy()
    expected = _apply(clone(estimator).fit(X, y, sample_weight=given), X)
    assert np.array_equal(given, weights), "fit changed sample_weight"
    from_list = clone(estimator).fit(X, y, sample_weight=weights.tolist())
    np.testing.assert_array_equal(_apply(from_list, X), expected)
    other_truth = y.copy()
    other_truth[-1] = 0
    blind = clone(estimator).fit(X, other_truth, sample_weight=weights)
    np.testing.assert_array_equal(
        _apply(blind, X), expected, "the truth of an image of weight 0 made a difference"
    )
    for bad in (weights[1:], np.stack([weights, weights]), np.zeros(len(X))):
        fit = partial(clone(estimator).fit, sample_weight=bad)
        _assert_raises(ValueError, ["sample_weight"], fit, X, y)


def _make_mosaic(X):
    """Make one image of many, under a sky that rises from left to right."""
    rows = [
        np.concatenate([X[(3 * row + column) % len(X)] for column in range(5)], axis=-1)
        for row in range(4)
    ]
    image = np.concatenate(rows, axis=-2)
    science = image if image.ndim == 2 else image[:1]
    science += np.linspace(0, 10, image.shape[-1], dtype=image.dtype)
    return image


#: scikit-learn's check -> the image check that replaces it.
REPLACED_CHECKS = {
    "check_fit_score_takes_y": check_images_fit_takes_y,
    "check_estimators_overwrite_params": check_images_parameters_stay,
    "check_dont_overwrite_parameters": check_images_parameters_stay,
    "check_estimators_fit_returns_self": check_images_fit_returns_self,
    "check_readonly_memmap_input": check_images_input_untouched,
    "check_n_features_in_after_fitting": check_images_n_bands,
    "check_n_features_in": check_images_n_bands,
    "check_positive_only_tag_during_fit": check_images_dtypes,
    "check_estimators_dtypes": check_images_dtypes,
    "check_complex_data": check_images_wrong_kind,
    "check_dtype_object": check_images_wrong_kind,
    "check_estimators_empty_data_messages": check_images_empty,
    "check_pipeline_consistency": check_images_pipeline,
    "check_estimators_pickle": check_images_pickle,
    "check_f_contiguous_array_estimator": check_images_memory_layout,
    "check_transformer_data_not_an_array": check_images_containers,
    "check_transformer_general": check_transformer_of_images,
    "check_transformer_preserve_dtypes": check_transformer_of_images,
    "check_methods_sample_order_invariance": check_images_order_and_subsets,
    "check_methods_subset_invariance": check_images_order_and_subsets,
    "check_fit2d_1sample": check_images_one_image,
    "check_fit2d_1feature": check_images_one_image,
    "check_dict_unchanged": check_images_dict_unchanged,
    "check_fit_idempotent": check_images_fit_idempotent,
    "check_fit_check_is_fitted": check_images_unfitted,
    "check_transformers_unfitted_stateless": check_images_unfitted,
    "check_fit2d_predict1d": check_images_wrong_dimensions,
    "check_sample_weights_shape": check_images_sample_weight,
    "check_sample_weights_list": check_images_sample_weight,
    "check_sample_weights_not_an_array": check_images_sample_weight,
    "check_sample_weights_not_overwritten": check_images_sample_weight,
    "check_sample_weight_equivalence_on_dense_data": check_images_sample_weight,
    "check_all_zero_sample_weights_error": check_images_sample_weight,
}

#: Image checks without a counterpart in scikit-learn.
EXTRA_CHECKS = [
    check_segmenter_outputs,
    check_segmenter_targets,
    check_segmenter_nothing_there,
    check_segmenter_probabilities,
    check_tiled_equals_untiled,
]
