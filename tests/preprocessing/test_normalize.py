import numpy as np
import pytest
from astropy import visualization
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from galaxysegment.preprocessing import ImageNormalizer

ASTROPY_INTERVALS = {
    "minmax": ({"interval": "minmax"}, visualization.MinMaxInterval()),
    "zscale": ({"interval": "zscale"}, visualization.ZScaleInterval()),
    "percentile": (
        {"interval": "percentile", "percentile": 90},
        visualization.PercentileInterval(90),
    ),
    "manual": ({"interval": (95.0, 120)}, visualization.ManualInterval(95, 120)),
    "half manual": ({"interval": [None, 120]}, visualization.ManualInterval(None, 120)),
}
ASTROPY_STRETCHES = {
    "linear": (None, visualization.LinearStretch()),
    "asinh": (None, visualization.AsinhStretch()),
    "asinh a": (0.02, visualization.AsinhStretch(0.02)),
    "log": (None, visualization.LogStretch()),
    "log a": (500, visualization.LogStretch(500)),
    "power": (None, visualization.SquaredStretch()),
    "power a": (0.3, visualization.PowerStretch(0.3)),
    "powerdist": (None, visualization.PowerDistStretch()),
    "sinh": (None, visualization.SinhStretch()),
    "sqrt": (None, visualization.SqrtStretch()),
    "squared": (None, visualization.SquaredStretch()),
}


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    X = rng.normal(100, 5, (3, 2, 40, 50))
    X[:, 1] = rng.gamma(2.0, 3.0, (3, 40, 50))
    X[0, 0, 3, 4] = np.nan
    return X


@pytest.mark.parametrize("name", ASTROPY_INTERVALS)
def test_interval_is_that_of_astropy(images, name):
    parameters, interval = ASTROPY_INTERVALS[name]
    result = ImageNormalizer(**parameters).fit_transform(images)
    for image, normalized in zip(
        images.reshape(-1, 40, 50), result.reshape(-1, 40, 50), strict=True
    ):
        assert_allclose(normalized, interval(image), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ASTROPY_STRETCHES)
def test_stretch_is_that_of_astropy(images, name):
    a, stretch = ASTROPY_STRETCHES[name]
    result = ImageNormalizer(stretch=name.split()[0], stretch_a=a).fit_transform(images)
    expected = stretch(visualization.MinMaxInterval()(images[1, 0]))
    assert_allclose(result[1, 0], expected, rtol=1e-12, atol=1e-12)
    assert np.nanmin(result) == 0
    assert np.nanmax(result) == pytest.approx(1)


@pytest.mark.parametrize("parameters", [parameters for parameters, _ in ASTROPY_INTERVALS.values()])
def test_limits_learnt_in_fit_hold_for_all_images(images, parameters):
    normalizer = ImageNormalizer(limits="fit", **parameters).fit(images)
    interval = next(theirs for given, theirs in ASTROPY_INTERVALS.values() if given == parameters)
    for band, limits in enumerate(normalizer.limits_):
        assert_allclose(limits, interval.get_limits(images[:, band].ravel()))
    one_by_one = np.stack([normalizer.transform(image[None])[0] for image in images])
    assert_array_equal(one_by_one, normalizer.transform(images))


def test_fitted_limits_clip_what_they_have_not_seen(images):
    normalizer = ImageNormalizer(limits="fit").fit(images[:1])
    result = normalizer.transform(images * 100)
    assert np.nanmax(result) == 1
    assert np.nanmin(normalizer.transform(images - 1000)) == 0


def test_limits_of_fit_need_fit(images):
    with pytest.raises(NotFittedError):
        ImageNormalizer(limits="fit").transform(images)
    fitted_without = ImageNormalizer().fit(images).set_params(limits="fit")
    with pytest.raises(NotFittedError):
        fitted_without.transform(images)


def test_refit_per_image_forgets_the_limits(images):
    normalizer = ImageNormalizer(limits="fit").fit(images).set_params(limits="image").fit(images)
    assert not hasattr(normalizer, "limits_")
    assert_array_equal(normalizer.transform(images), ImageNormalizer().fit_transform(images))


@pytest.mark.parametrize("interval", ["minmax", "zscale", "percentile", (None, 1000.0)])
@pytest.mark.parametrize("limits", ["image", "fit"])
def test_constant_image_becomes_zero(interval, limits):
    X = np.full((2, 8, 9), 7.0)
    X[0, 0, 0] = np.nan
    if interval == (None, 1000.0):
        X[1] = 7.0
    result = ImageNormalizer(interval=interval, limits=limits).fit_transform(X)
    assert_array_equal(np.isnan(result), np.isnan(X))
    assert np.nanmax(result) == 0


@pytest.mark.parametrize("interval", ["minmax", "zscale", "percentile", (0.0, 1.0), (None, 1.0)])
def test_image_without_data_stays_nan(interval):
    result = ImageNormalizer(interval=interval).fit_transform(np.full((1, 2, 6, 6), np.nan))
    assert np.isnan(result).all()


def test_band_without_data_is_refused_where_limits_are_learnt(images):
    images[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"Band 1 of X has no data in any image .*drop the band"):
        ImageNormalizer(limits="fit").fit(images)


@pytest.mark.parametrize(
    "interval", [(1, 0), (1, 1), (1,), (1, 2, 3), ("a", 2), (np.nan, 1), (0, np.inf)]
)
def test_bad_pair_is_refused(images, interval):
    with pytest.raises(
        ValueError, match=r"interval must be 'minmax'.*two numbers \(low, high\).*Got"
    ):
        ImageNormalizer(interval=interval).fit(images)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("interval", "nonsense"),
        ("stretch", "cubic"),
        ("limits", "all"),
        ("percentile", 0),
        ("stretch_a", -1),
    ],
)
def test_bad_parameter_is_refused(images, parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of ImageNormalizer"):
        ImageNormalizer(**{parameter: value}).fit(images)


def test_tiny_and_huge_units_do_not_matter():
    rng = np.random.default_rng(3)
    X = rng.gamma(2.0, size=(1, 30, 30)).astype(np.float32)
    expected = ImageNormalizer(stretch="asinh").fit_transform(X)
    for unit in (1e-30, 1e30):
        assert_allclose(
            ImageNormalizer(stretch="asinh").fit_transform(X * np.float32(unit)),
            expected,
            rtol=1e-5,
        )
