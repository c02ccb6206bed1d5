"""PixelFeatures: the bands at hand, a local binary pattern and nine Haralick features."""

import json
import subprocess
import sys

import mahotas
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skimage.feature import local_binary_pattern
from sklearn.base import clone

from galaxysegment.preprocessing import NoiseNormalizer, PixelFeatures
from galaxysegment.preprocessing._features import HARALICK_NAMES, stretched_signal

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(100, 5, (2, 3, 40, 48))
IMAGES[:, :, 15:25, 20:30] += 40
PLAIN = PixelFeatures(window=5, stretch="linear", fwhm=None)


def quantized(grey, low, high, n_levels):
    return np.clip(np.floor((grey - low) / (high - low) * n_levels), 0, n_levels - 1).astype(int)


@pytest.mark.parametrize("n_bands", [1, 2, 3, 5])
def test_bands_pass_and_ten_features_follow(n_bands):
    X = RNG.normal(size=(2, n_bands, 20, 24))
    features = PixelFeatures(window=5).fit(X)
    out = features.transform(X)
    assert out.shape == (2, n_bands + 10, 20, 24) and np.isfinite(out).all()
    assert_array_equal(out[:, :n_bands], X)
    names = features.get_feature_names_out()
    assert names.tolist() == [
        *(f"band_{k}" for k in range(n_bands)),
        "local_binary_pattern",
        *HARALICK_NAMES,
    ]


def test_thirteen_features_of_a_colour_image_have_names():
    features = PixelFeatures(window=5).fit(IMAGES)
    names = features.get_feature_names_out(["R", "G", "B"])
    assert len(names) == 13 and names[:4].tolist() == ["R", "G", "B", "local_binary_pattern"]
    with pytest.raises(ValueError, match=r"2 names, but the images had 3 band\(s\)"):
        features.get_feature_names_out(["R", "G"])


@pytest.mark.parametrize("n_levels", [8, 32, 256])
def test_texture_is_that_of_the_quantized_mean_of_the_bands(n_levels):
    out = clone(PLAIN).set_params(n_levels=n_levels, level_range=(90, 140)).fit_transform(IMAGES)[0]
    levels = quantized(IMAGES[0].mean(axis=0), 90, 140, n_levels)
    padded = np.pad(levels, 7, mode="symmetric")
    assert_array_equal(out[3], local_binary_pattern(padded, 36, 6, method="uniform")[7:-7, 7:-7])
    assert_array_equal(
        out[3, 7:-7, 7:-7], local_binary_pattern(levels, 36, 6, method="uniform")[7:-7, 7:-7]
    )
    for y, x in [(2, 2), (20, 20), (14, 25), (37, 45), (0, 47)]:
        around = levels[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        assert_allclose(
            out[4:, y, x],
            mahotas.features.haralick(around, return_mean=True)[:9],
            rtol=1e-9,
            atol=1e-9,
        )


@pytest.mark.parametrize(("radius", "points"), [(1, 8), (2.5, 16), (24, 192)])
def test_binary_pattern_equals_scikit_image(radius, points):
    X = RNG.integers(0, 32, (1, 60, 62)).astype(float)
    features = clone(PLAIN).set_params(level_range=(0, 32), lbp_radius=radius, lbp_points=points)
    border = int(np.ceil(radius)) + 1
    padded = np.pad(X[0].astype(int), border, mode="symmetric")
    expected = local_binary_pattern(padded, points, radius, method="uniform")
    assert_array_equal(features.fit_transform(X)[0, 1], expected[border:-border, border:-border])


def test_level_range_is_learnt_from_all_images_or_given():
    learnt = clone(PLAIN).fit(IMAGES)
    assert_allclose(learnt.level_range_, np.percentile(IMAGES.mean(axis=1), [0.1, 99.9]))
    assert clone(PLAIN).set_params(level_range=(0, 7)).fit(IMAGES).level_range_ == (0, 7)
    # what was learnt is used: an image of other brightness falls on other levels
    assert (learnt.transform(IMAGES + 1e3)[:, 3 + 6] == 2 * 31).all(), (
        "the sum average of the highest level"
    )


def test_asinh_stretch_makes_texture_independent_of_units():
    features = PixelFeatures(window=5).fit(IMAGES)
    scaled = PixelFeatures(window=5).fit(1e-9 * IMAGES + 3e-7).transform(1e-9 * IMAGES + 3e-7)
    same = np.isclose(scaled[:, 3:], features.transform(IMAGES)[:, 3:], rtol=1e-6, atol=1e-6)
    assert same.mean() > 0.99, "rounding may move a grey value to the next level"


def test_stretched_signal_of_noise_has_unit_scatter_after_smoothing():
    noise = RNG.normal(50, 3, (1, 200, 200))
    for fwhm in (None, 3.0):
        assert abs(np.sinh(stretched_signal(noise, NoiseNormalizer(), fwhm)).std() - 1) < 0.1


def test_rms_band_is_dropped_and_divides():
    rms = np.full((2, 1, 40, 48), 5.0)
    rms[:, :, :20] = 20.0
    X = np.concatenate([IMAGES, rms], axis=1)
    features = PixelFeatures(window=5, rms_band=-1, fwhm=None).fit(X)
    out = features.transform(X)
    assert (
        out.shape == (2, 13, 40, 48)
        and features.n_bands_in_ == 4
        and len(features.get_feature_names_out()) == 13
    )
    assert_array_equal(out[:, :3], IMAGES)
    grey = np.concatenate([IMAGES.mean(axis=1, keepdims=True), rms], axis=1)
    signal = NoiseNormalizer(rms_band=-1, stretch="asinh").fit_transform(grey)
    plain = PixelFeatures(
        window=5, stretch="linear", fwhm=None, level_range=features.level_range_
    ).fit(signal)
    assert_array_equal(out[:, 3:], plain.transform(signal)[:, 1:])


@pytest.mark.parametrize("features", [PixelFeatures(window=5), PLAIN], ids=["asinh", "linear"])
def test_nan_stays_and_touches_nothing_beyond_its_windows(features):
    X = IMAGES[:, :1].copy()
    X[0, 0, 10, 12] = np.nan
    features = clone(features).set_params(
        level_range=(90, 110) if features.stretch == "linear" else (-2, 4)
    )
    whole, holed = features.fit_transform(IMAGES[:, :1]), features.fit_transform(X)
    missing = np.zeros(holed.shape, dtype=bool)
    missing[0, :, 10, 12] = True
    assert_array_equal(np.isnan(holed), missing)
    if features.stretch == "linear":  # "asinh" estimates the noise of the image anew
        changed = np.argwhere((whole != holed)[0, 2:].any(axis=0))
        assert (abs(changed - [10, 12]) <= 2).all() and len(changed) > 1


def test_pixel_missing_in_one_band_has_the_texture_of_the_others():
    X = IMAGES.copy()
    X[0, 0, 10, 12] = np.nan
    out = PixelFeatures(window=5).fit_transform(X)
    assert np.isnan(out[0, 0, 10, 12]) and np.isnan(out).sum() == 1


@pytest.mark.parametrize("stretch", ["asinh", "linear"])
def test_image_without_data_is_nan(stretch):
    out = PixelFeatures(window=5, stretch=stretch).fit_transform(np.full((1, 2, 9, 9), np.nan))
    assert out.shape == (1, 12, 9, 9) and np.isnan(out).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (3, 2), (9, 9)])
def test_constant_and_tiny_images_are_finite(shape):
    out = PixelFeatures().fit_transform(np.full((1, *shape), 7.0))
    assert out.shape == (1, 11, *shape)
    assert_allclose(out[0, 2:, 0, 0], [1, 0, 1, 0, 1, out[0, 7, 0, 0], 0, 0, 0], atol=1e-12)


def test_precision_and_threads():
    single = PixelFeatures(window=5).fit(IMAGES.astype(np.float32))
    out = single.transform(IMAGES.astype(np.float32))
    assert out.dtype == np.float32 and PixelFeatures().fit_transform(IMAGES).dtype == np.float64
    assert_array_equal(single.set_params(n_jobs=2).transform(IMAGES.astype(np.float32)), out)
    whole = np.rint(IMAGES[:, 0]).astype(np.int16)  # exact in both precisions
    plain = clone(PLAIN).set_params(level_range=(0, 256))
    assert_allclose(plain.fit_transform(whole), plain.fit_transform(whole.astype(float)), rtol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"window": 4}, "window must be odd.*Got 4"),
        ({"window": 1}, "'window'.*Got 1"),
        ({"window": 129}, "'window'.*Got 129"),
        ({"n_levels": 257}, "'n_levels'.*Got 257"),
        ({"level_range": (3, 3)}, r"level_range must be two numbers, low < high. Got \(3, 3\)"),
        ({"level_range": (0, 1, 2)}, "level_range"),
        ({"stretch": "log"}, "'stretch'"),
        ({"fwhm": 0}, "'fwhm'"),
        ({"rms_band": 3}, "rms_band=3"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused(parameters, words):
    with pytest.raises(ValueError, match=words):
        PixelFeatures(**parameters).fit(IMAGES)


def test_numba_is_imported_only_to_transform():
    code = (
        "import json, sys; from galaxysegment.preprocessing import PixelFeatures; from "
        "galaxysegment import "
        "RandomForestSegmenter; RandomForestSegmenter(); PixelFeatures(); "
        "print(json.dumps(list(sys.modules)))"
    )
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert not {"numba", "skimage", "torch"} & set(loaded)


def test_both_engines_give_the_same_features():
    X = IMAGES[:1, :, :20, :24].copy()
    X[0, :, 5:9, 5:9] = np.nan
    features = PixelFeatures(window=5, n_levels=16).fit(X)
    by_mahotas = clone(features).set_params(engine="mahotas").fit(X)
    assert_allclose(by_mahotas.transform(X), features.transform(X), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="engine"):
        PixelFeatures(engine="skimage").fit(X)
