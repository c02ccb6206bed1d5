"""What every separator does alike."""

import pickle

import numpy as np
import pytest
from astropy.table import Table
from sklearn.base import clone

from galaxysegment import persistence
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.exceptions import UnsubtractedSkyWarning
from galaxysegment.separation import BaseSeparator, TemplateSeparator

SEPARATORS = [
    (name, cls) for name, cls in all_estimators("separator") if issubclass(cls, BaseSeparator)
]
SHAPE = (40, 48)
ROWS, COLUMNS = np.indices(SHAPE)
LIGHT = [
    flux * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / 18)
    for y, x, flux in ((20, 18, 300), (22, 29, 100))
]
X = (np.sum(LIGHT, axis=0) + np.random.default_rng(0).normal(size=SHAPE))[None]
SOURCES = [Table({"y": [20, 22], "x": [18, 29]})]
RMS = np.ones_like(X)

#: Parameters with which `fit` on the image alone is quick.
QUICK = {
    "UNetSeparator": {
        "weights": None,
        "max_epochs": 1,
        "validation_fraction": 0,
        "random_state": 0,
    }
}

each_separator = pytest.mark.parametrize("separator_class", [cls for _, cls in SEPARATORS])


def fitted(separator_class):
    separator = separator_class(**QUICK.get(separator_class.__name__, {}))
    return (
        separator.fit(X, [LIGHT], RMS) if "weights" in separator.get_params() else separator.fit()
    )


def test_there_are_separators():
    assert {"TemplateSeparator", "UNetSeparator"} <= dict(SEPARATORS).keys()


@each_separator
def test_light_comes_apart_and_adds_up(separator_class):
    (separated,) = fitted(separator_class).separate(X, SOURCES, RMS)
    assert separated.fluxes == pytest.approx([light.sum() for light in LIGHT], rel=0.05)
    assert np.allclose(separated.total() + separated.residual, X[0], atol=1e-4)


@each_separator
def test_a_list_of_images_is_separated_one_by_one(separator_class):
    separator = fitted(separator_class)
    alone = separator.separate(X, SOURCES, RMS)[0]
    several = separator.separate([X[0], X[0][:, :44]], SOURCES * 2, [RMS[0], RMS[0][:, :44]])
    assert np.array_equal(several[0].parts[0], alone.parts[0])
    assert several[1].residual.shape == (40, 44)


@each_separator
def test_input_is_left_as_it_was(separator_class):
    image, noise = X.copy(), RMS.copy()
    fitted(separator_class).separate(image, SOURCES, noise)
    assert np.array_equal(image, X) and np.array_equal(noise, RMS)


@each_separator
def test_copies_separate_alike(separator_class, tmp_path):
    separator = fitted(separator_class)
    expected = separator.separate(X, SOURCES, RMS)[0]
    persistence.save(separator, tmp_path / "separator.gseg")
    copies = [
        clone(separator).fit(X, [LIGHT], RMS),
        pickle.loads(pickle.dumps(separator)),
        persistence.load(tmp_path / "separator.gseg"),
    ]
    for copy in copies:
        assert copy.get_params() == separator.get_params()
        parts = copy.separate(X, SOURCES, RMS)[0].parts
        assert all(map(np.array_equal, parts, expected.parts))


@each_separator
def test_bad_parameters_are_refused(separator_class):
    with pytest.raises(ValueError, match="growth"):
        separator_class(growth=-1).separate(X, SOURCES, RMS)


@each_separator
@pytest.mark.parametrize("dtype", [np.float32, np.int16, ">f8"])
def test_any_dtype_is_fine(separator_class, dtype):
    (separated,) = fitted(separator_class).separate((X * 10).astype(dtype), SOURCES, RMS * 10)
    assert separated.parts[0].dtype == np.float32 and separated.residual.dtype == np.float32


def test_a_sky_that_was_not_subtracted_is_noticed():
    rng = np.random.default_rng(0)
    image, labels = rng.normal(size=(1, 40, 40)), np.zeros((1, 40, 40), dtype=int)
    image[0, 18:22, 18:22] += 30
    labels[0, 18:22, 18:22] = 1
    separator = TemplateSeparator()
    separator.separate(image + 0.5, labels)  # warnings are errors here
    with pytest.warns(UnsubtractedSkyWarning, match="band 0 is at 2.9.* subtract it first"):
        separator.separate(image + 3, labels)
    with pytest.warns(UnsubtractedSkyWarning, match="band 1"):
        both = np.stack([image[0], image[0] - 9])[None]
        separator.separate(both, labels, rms=np.ones((1, 40, 40)))
