"""One worker or many, one thread or several, the same seed: the same results."""

import inspect
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from properties import fitted, n_bands, public_names, tiny_settings
from sklearn.base import clone
from threadpoolctl import threadpool_limits

import galaxysegment
from galaxysegment import PhotutilsSegmenter
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.datasets import make_blends, make_field, write_field
from galaxysegment.io import read_field
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.preprocessing import augment
from galaxysegment.testing import make_images

X, Y = make_images(4)
pytestmark = pytest.mark.filterwarnings("ignore:No source was found")
# Separators have no `predict`: see tests/separation/test_common.py.
ESTIMATORS = dict(all_estimators("transformer") + all_estimators("segmenter"))


def with_parameter(parameter):
    """Public functions and estimators that have a parameter."""
    for name in public_names():
        module, _, attribute = name.partition(".")
        member = getattr(getattr(galaxysegment, module), attribute)
        if (inspect.isclass(member) or inspect.isfunction(member)) and not name.startswith("base."):
            try:
                has_parameter = parameter in inspect.signature(member).parameters
            except (TypeError, ValueError):
                has_parameter = False
            if has_parameter:
                yield attribute


def apply(estimator, images):
    return (
        estimator.predict(images) if hasattr(estimator, "predict") else estimator.transform(images)
    )


def fields_equal(field, other):
    np.testing.assert_array_equal(field.image, other.image)
    np.testing.assert_array_equal(field.labels, other.labels)
    assert field.instances == other.instances


def blends(n_jobs, seed):
    return make_blends(9, (40, 40), random_state=seed, n_jobs=n_jobs)


def simulate(n_jobs, seed):
    return make_field((120, 130), random_state=seed, n_jobs=n_jobs)


def mosaic(n_jobs):
    image = np.concatenate([np.concatenate(X, axis=1)] * 3)
    return segment_mosaic(
        PhotutilsSegmenter(n_sigma=3), image, tile_size=80, n_jobs=n_jobs, progress=False
    )


# Everything with n_jobs, by the test that runs it with several workers.
WORKERS = {
    "injection_completeness",
    "make_blends",
    "make_field",
    "make_sky",
    "morphology",
    "profiles",
    "stream_skies",
    "write_field",
    "segment_mosaic",
    "separate_mosaic",
    "source_catalog",
    "PixelFeatures",
    "RandomForestSegmenter",
}
# Of these, tests of their own rooms run: tests/test_completeness.py,
# tests/catalog/test_morphology.py, tests/catalog/test_photometry.py,
# tests/catalog/test_profiles.py, tests/datasets/test_sky.py, tests/datasets/test_sky_stream.py,
# tests/mosaic/test_light.py and tests/separation/test_unet.py.
SEEDED = {
    *("UNetSeparator", "augment", "injection_completeness", "make_blends", "make_field"),
    *("make_images", "make_sky", "stream_skies", "write_field"),
}


def test_everything_with_workers_is_tested():
    assert set(with_parameter("n_jobs")) == WORKERS


def test_everything_with_a_seed_is_tested():
    assert set(with_parameter("random_state")) - set(ESTIMATORS) == SEEDED


@pytest.mark.parametrize("name", sorted(WORKERS & set(ESTIMATORS)))
def test_estimators_with_workers(name):
    tiny = tiny_settings()[0].get(name, {})
    single, many = (ESTIMATORS[name](**tiny, n_jobs=n_jobs).fit(X, Y) for n_jobs in (1, 2))
    np.testing.assert_array_equal(apply(single, X), apply(many, X))
    if hasattr(single, "predict_proba"):
        np.testing.assert_array_equal(single.predict_proba(X), many.predict_proba(X))


def test_mosaics_with_workers():
    np.testing.assert_array_equal(mosaic(1), mosaic(2))


def test_fields_with_workers_and_seeds():
    pytest.importorskip("galsim")
    fields_equal(simulate(1, 5), simulate(2, 5))
    assert not np.array_equal(simulate(1, 5).image, simulate(1, 6).image)


def test_blends_with_workers_and_seeds():
    pytest.importorskip("galsim")
    single, many, other = blends(1, 5), blends(2, 5), blends(1, 6)
    parts = vars(single).values() if hasattr(single, "__dict__") else single
    others = vars(many).values() if hasattr(many, "__dict__") else many
    for first, second in zip(parts, others, strict=True):
        if isinstance(first, np.ndarray):
            np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first_array(single), first_array(other))


def first_array(blend):
    parts = vars(blend).values() if hasattr(blend, "__dict__") else blend
    return next(part for part in parts if isinstance(part, np.ndarray))


def test_files_with_workers_and_seeds(tmp_path):
    pytest.importorskip("galsim")
    paths = [tmp_path / f"{index}.fits" for index in range(3)]
    for path, n_jobs, seed in zip(paths, (1, 2, 1), (5, 5, 6), strict=True):
        write_field(path, (90, 100), random_state=seed, n_jobs=n_jobs, progress=False)
    single, many, other = map(read_field, paths)
    fields_equal(single, many)
    assert not np.array_equal(single.image, other.image)


def test_copies_and_images_with_seeds():
    for part, other in zip(
        augment(X, Y, random_state=3), augment(X, Y, random_state=3), strict=True
    ):
        np.testing.assert_array_equal(part, other)
    assert not np.array_equal(augment(X, Y, random_state=3)[0], augment(X, Y, random_state=4)[0])
    np.testing.assert_array_equal(make_images(random_state=1)[0], make_images(random_state=1)[0])
    assert not np.array_equal(make_images(random_state=1)[0], make_images(random_state=2)[0])


@pytest.mark.parametrize(
    "name", [name for name in ESTIMATORS if "random_state" in ESTIMATORS[name]().get_params()]
)
def test_estimators_with_seeds(name):
    """The same seed gives the same fit, whatever chance did in between."""
    images, labels = make_images(4, n_bands=n_bands(name))
    tiny = {**tiny_settings()[0].get(name, {}), "random_state": 7}
    first = ESTIMATORS[name](**tiny).fit(images, labels)
    np.random.default_rng().normal(size=3)
    np.random.random(7)  # noqa: NPY002 - the global generator must not matter
    second = clone(first).fit(images, labels)
    np.testing.assert_array_equal(apply(first, images), apply(second, images))
    if hasattr(first, "predict_proba"):
        np.testing.assert_array_equal(first.predict_proba(images), second.predict_proba(images))


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_threads_of_libraries(name):
    """One or two threads of BLAS, OpenMP and torch; sums of nets may round differently."""
    torch = pytest.importorskip("torch")
    images, _ = make_images(4, n_bands=n_bands(name))
    estimator, n_threads, results = fitted(name), torch.get_num_threads(), []
    probabilities = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            with threadpool_limits(n):
                results.append(apply(estimator, images))
                probabilities.append(
                    estimator.predict_proba(images) if hasattr(estimator, "predict_proba") else 0
                )
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_allclose(*probabilities, atol=1e-2)
    if hasattr(estimator, "weights"):
        assert np.mean(results[0] == results[1]) > 0.99
    else:
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_callers_in_several_threads(name):
    """One fitted estimator serves several threads at once."""
    images, _ = make_images(4, n_bands=n_bands(name))
    estimator = fitted(name)
    expected = apply(estimator, images)
    with ThreadPoolExecutor(3) as pool:
        for result in pool.map(lambda _: apply(estimator, images), range(6)):
            np.testing.assert_array_equal(result, expected)
