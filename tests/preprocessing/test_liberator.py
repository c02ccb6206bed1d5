import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from galaxysegment.preprocessing import FITSLiberatorStretch

FORMULAS = {
    "linear": lambda x: x,
    "log": lambda x: np.log10(1 + x),
    "log_log": lambda x: np.log10(1 + np.log10(1 + x)),
    "log_sqrt": lambda x: np.log10(1 + np.sqrt(x)),
    "sqrt": np.sqrt,
    "cube_root": lambda x: x ** (1 / 3),
    "root4": lambda x: x**0.25,
    "root5": lambda x: x**0.2,
    "asinh": np.arcsinh,
    "asinh_asinh": lambda x: np.arcsinh(np.arcsinh(x)),
    "asinh_sqrt": lambda x: np.arcsinh(np.sqrt(x)),
}


@pytest.fixture
def image():
    rng = np.random.default_rng(1)
    sky = rng.normal(1000, 10, (100, 120))
    y, x = np.mgrid[:100, :120]
    return sky + 5000 * np.exp(-((y - 50) ** 2 + (x - 40) ** 2) / 40)


@pytest.mark.parametrize("stretch", FORMULAS)
def test_formula_between_the_levels(stretch):
    X = np.linspace(100, 200, 60).reshape(1, 6, 10)
    result = FITSLiberatorStretch(
        stretch=stretch,
        background_level=100,
        peak_level=200,
        scaled_peak_level=25,
        black_level=0,
        white_level=1e3,
    ).fit_transform(X)
    assert_allclose(result, FORMULAS[stretch]((X - 100) / 100 * 25), rtol=1e-12)


@pytest.mark.parametrize("stretch", FORMULAS)
def test_stretches_are_increasing_and_leave_the_background_at_zero(stretch):
    X = np.linspace(95, 300, 200).reshape(1, 10, 20)
    X[0, 0, 0] = 100
    levels = {"background_level": 100, "peak_level": 200, "black_level": -10, "white_level": 100}
    result = FITSLiberatorStretch(stretch=stretch, **levels).fit_transform(X)
    assert result[0, 0, 0] == 0
    assert (np.diff(result.ravel()[1:]) > 0).all()


def test_black_and_white_clip_the_stretched_values():
    X = np.linspace(-50, 150, 101).reshape(1, 1, 101)
    result = FITSLiberatorStretch(
        background_level=0, peak_level=100, black_level=0.5, white_level=2.0
    ).fit_transform(X)
    assert_allclose(result, np.clip(np.arcsinh(X / 10), 0.5, 2.0))


def test_levels_are_estimated(image):
    estimated = FITSLiberatorStretch().fit_transform(image[None])
    peak = np.percentile(image, 99.9)
    sky = np.median(image[image < 1040])  # without the source
    scaled = np.arcsinh((image - sky) / (peak - sky) * 10)
    assert_allclose(
        estimated[0], np.clip(scaled, np.percentile(scaled, 5), np.arcsinh(10)), atol=5e-3
    )


def test_unit_and_zero_point_do_not_matter(image):
    expected = FITSLiberatorStretch().fit_transform(image[None])
    assert_allclose(
        FITSLiberatorStretch().fit_transform(image[None] * 1e-12 + 3e-9), expected, atol=1e-9
    )


@pytest.mark.parametrize("stretch", FORMULAS)
def test_noise_far_below_the_background_becomes_black(stretch):
    X = np.linspace(-1000, 1000, 400).reshape(1, 20, 20)
    result = FITSLiberatorStretch(
        stretch=stretch, background_level=0, peak_level=100
    ).fit_transform(X)
    assert np.isfinite(result).all()
    assert (np.diff(result.ravel()) >= 0).all()
    assert result.max() == pytest.approx(FORMULAS[stretch](10.0))


@pytest.mark.parametrize("stretch", ["log", "log_sqrt"])
def test_image_all_too_faint_for_a_logarithm_is_black(stretch):
    X = np.full((1, 5, 5), -1000.0)
    result = FITSLiberatorStretch(
        stretch=stretch, background_level=0, peak_level=100
    ).fit_transform(X)
    assert len(np.unique(result)) == 1
    assert np.isfinite(result).all()


def test_constant_image_and_image_without_data():
    X = np.full((2, 6, 6), 3.0)
    X[1] = np.nan
    result = FITSLiberatorStretch().fit_transform(X)
    assert_array_equal(result, np.where(np.isnan(X), np.nan, 0))


def test_lone_bright_pixel_is_the_peak():
    X = np.zeros((1, 100, 100))
    X[0, 50, 50] = 8.0
    result = FITSLiberatorStretch().fit_transform(X)
    assert result[0, 50, 50] == pytest.approx(np.arcsinh(10))
    assert np.count_nonzero(result) == 1


def test_rms_band_passes_untouched(image):
    rms = np.full_like(image, 10.0)
    rms[0, 0] = np.nan
    for rms_band, order in ((-1, (0, 1)), (0, (1, 0))):
        X = np.stack([image, rms])[list(order)][None]
        result = FITSLiberatorStretch(rms_band=rms_band).fit_transform(X)
        assert_array_equal(result[0, rms_band], rms)
        science = FITSLiberatorStretch().fit_transform(image[None])[0]
        assert_array_equal(result[0, order.index(0)], science)


def test_bad_levels_are_refused(image):
    X = image[None]
    with pytest.raises(
        ValueError, match=r"peak_level must be above background_level. Got peak_level=1"
    ):
        FITSLiberatorStretch(background_level=2, peak_level=1).fit(X)
    with pytest.raises(ValueError, match="white_level must be above black_level"):
        FITSLiberatorStretch(black_level=2, white_level=2).transform(X)
    with pytest.raises(
        ValueError, match=r"peak_level=5 is not above the background level .*give background_level"
    ):
        FITSLiberatorStretch(peak_level=5).transform(X)
    with pytest.raises(ValueError, match=r"white_level must be above black_level.*Give both"):
        FITSLiberatorStretch(black_level=20).transform(X)
    with pytest.raises(ValueError, match="The 'stretch' parameter"):
        FITSLiberatorStretch(stretch="cosine").fit(X)
    with pytest.raises(ValueError, match="The 'background_level' parameter"):
        FITSLiberatorStretch(background_level=np.nan).fit(X)
    with pytest.raises(ValueError, match="The 'scaled_peak_level' parameter"):
        FITSLiberatorStretch(scaled_peak_level=0).fit(X)
    with pytest.raises(
        ValueError, match=r"rms_band=1 asks for an RMS map among the bands, but X has 1 band"
    ):
        FITSLiberatorStretch(rms_band=1).fit_transform(X)
