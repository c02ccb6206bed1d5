"""Shared by property tests: strategies of images and label maps, settings, notes of coverage."""

import importlib.util
import inspect
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import galaxysegment
from galaxysegment import Instances
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.testing import make_images


def public_names():
    """``module.name`` of everything in an ``__all__`` of the package."""
    for module_name in galaxysegment._SUBMODULES:
        module = getattr(galaxysegment, module_name)
        if inspect.ismodule(module):
            yield from (f"{module_name}.{name}" for name in module.__all__)


#: Reproducible, and patient with a busy machine. A test's folder serves all its examples, which
#: replace their files.
few = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
fewer = settings(few, max_examples=5)


def covers(*_names):
    """Say which public names a property test is about.

    `test_properties_complete` reads it from the source.
    """
    return lambda test: test


def shapes(largest=12):
    return st.tuples(st.integers(1, largest), st.integers(1, largest))


def label_maps(shape=None, highest=4, dtype=np.int32):
    """Label maps with gaps, of any shape or one given."""
    shape = shapes() if shape is None else shape
    return hnp.arrays(dtype, shape, elements=st.integers(0, highest))


@st.composite
def pairs(draw, n_maps=2, largest=10):
    """Label maps of one shape."""
    shape = draw(shapes(largest))
    return [draw(label_maps(shape)) for _ in range(n_maps)]


@st.composite
def instances(draw, largest=10):
    """Sources that may overlap, with scores and perhaps classes."""
    shape = draw(shapes(largest))
    masks = [draw(hnp.arrays(bool, shape)) for _ in range(draw(st.integers(0, 4)))]
    masks = [mask for mask in masks if mask.any()]
    scores = [draw(st.floats(0, 1)) for _ in masks]
    classes = [draw(st.integers(1, 2)) for _ in masks] if draw(st.booleans()) else None
    return Instances.from_masks(masks, scores, classes, shape=shape)


@st.composite
def images(draw, largest=16, dtypes=("f4", "f8", "i2", "i4", "u1"), bands=None):
    """Images of any real type and byte order: ordinary, huge, negative, with holes."""
    dtype = np.dtype(draw(st.sampled_from(dtypes))).newbyteorder(draw(st.sampled_from("<>")))
    shape = draw(st.tuples(st.integers(1, largest), st.integers(1, largest)))
    shape = shape if bands is None else (bands, *shape)
    if dtype.kind == "f":
        elements = st.one_of(
            st.floats(-1e3, 1e3, width=32),
            st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30]),
        )
    else:
        info = np.iinfo(dtype)
        elements = st.integers(int(info.min), int(info.max))
    return draw(hnp.arrays(dtype, shape, elements=elements))


@cache
def tiny_settings():
    """Parameters and numbers of bands of the shared estimator checks: small nets and forests."""
    path = Path(__file__).parents[1] / "test_estimators.py"
    spec = importlib.util.spec_from_file_location("shared_estimator_settings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SETTINGS, module.N_BANDS


@cache
def fitted(name):
    """A small fitted estimator; fitted once for all tests of a process."""
    import warnings

    tiny, bands = tiny_settings()
    X, y = make_images(4, n_bands=bands.get(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(all_estimators())[name](**tiny.get(name, {})).fit(X, y)


def n_bands(name):
    return tiny_settings()[1].get(name)
