import numpy as np
import pytest
from astropy.visualization import AsinhStretch, LogStretch, SqrtStretch
from numpy.testing import assert_allclose, assert_array_equal

from galaxysegment.preprocessing import ImageNormalizer, NoiseNormalizer, RMSAdder


@pytest.fixture
def field():
    """A stack of two bands: image with sky 100 and depth varying 1…3, and its RMS map."""
    rng = np.random.default_rng(5)
    rms = np.broadcast_to(np.linspace(1, 3, 160), (150, 160))
    image = rng.normal(100, rms)
    return np.stack([image, rms])[None]


@pytest.mark.parametrize(
    ("stretch", "a", "function"),
    [
        ("log", None, LogStretch(500)),
        ("log", 20, LogStretch(20)),
        ("linear", None, lambda x: x),
        ("asinh", None, AsinhStretch(0.1)),
        ("sqrt", None, SqrtStretch()),
    ],
)
def test_adder_adds_the_stretched_rms(field, stretch, a, function):
    image, rms = field[0]
    result = RMSAdder(stretch=stretch, stretch_a=a).fit_transform(field)
    assert result.shape == (1, 1, 150, 160)
    assert_allclose(result[0, 0], image + function((rms - 1) / 2), rtol=1e-12)


@pytest.mark.parametrize("rms_band", [0, 1, 2, -1, -2, -3])
def test_adder_finds_the_rms_band(field, rms_band):
    image, rms = field[0]
    bands = [image, 2 * image]
    bands.insert(rms_band % 3, rms)
    result = RMSAdder(rms_band=rms_band, stretch="linear").fit_transform([np.stack(bands)])
    assert_allclose(result[0], np.stack([image, 2 * image]) + (rms - 1) / 2)


def test_adder_leaves_normalized_maps_alone_where_told(field):
    normalized = ImageNormalizer(limits="fit").fit(field * [[[[1]], [[2]]]]).transform(field)
    image, rms = normalized[0]
    assert rms.max() < 1
    assert rms.min() == 0
    result = RMSAdder(stretch="linear", normalize=False).fit_transform(normalized)
    assert_allclose(result[0, 0], image + rms)
    clipped = RMSAdder(stretch="linear", normalize=False).fit_transform(field)
    assert_allclose(clipped[0, 0], field[0, 0] + 1)


def test_adder_constant_rms_adds_nothing_and_nan_stays(field):
    field[:, 1] = 4.0
    field[0, 0, 1, 1] = field[0, 1, 2, 2] = np.nan
    result = RMSAdder().fit_transform(field)
    expected = field[0, 0].copy()
    expected[2, 2] = np.nan
    assert_array_equal(result[0, 0], expected)


@pytest.mark.parametrize(
    "transformer", [RMSAdder(), NoiseNormalizer(rms_band=-1), NoiseNormalizer(rms_band=2)]
)
def test_missing_rms_band_is_refused(transformer):
    X = np.ones((1, 1, 8, 8))
    for call in (transformer.fit, transformer.transform):
        with pytest.raises(
            ValueError, match=r"asks for an RMS map among the bands, but X has 1 band"
        ):
            call(X)


def test_noise_normalizer_divides_by_the_map(field):
    image, rms = field[0]
    result = NoiseNormalizer(rms_band=-1, subtract_background=False).fit_transform(field)
    assert result.shape == (1, 1, 150, 160)
    assert_allclose(result[0, 0], image / rms)


@pytest.mark.parametrize("rms_band", [None, -1])
def test_noise_normalizer_makes_sky_standard(field, rms_band):
    X = field if rms_band else field[:, :1]
    result = NoiseNormalizer(rms_band=rms_band, box_size=15).fit_transform(X)[0, 0]
    assert abs(result.mean()) < 0.05
    for part in np.array_split(result, 4, axis=1):  # at every depth
        assert part.std() == pytest.approx(1, abs=0.1)
    asinh = NoiseNormalizer(rms_band=rms_band, box_size=15, stretch="asinh").fit_transform(X)[0, 0]
    assert_allclose(asinh, np.arcsinh(result))


def test_noise_normalizer_does_not_depend_on_unit_and_sky(field):
    expected = NoiseNormalizer().fit_transform(field[:, :1])
    assert_allclose(
        NoiseNormalizer().fit_transform(field[:, :1] * 1e-12 + 1e-9), expected, atol=1e-6
    )


def test_pixels_of_unknown_noise_become_nan(field):
    field[0, 1, :3, 0] = 0, -1, np.nan
    result = NoiseNormalizer(rms_band=1).fit_transform(field)[0, 0]
    assert np.isnan(result[:3, 0]).all()
    assert np.isnan(result).sum() == 3


def test_rms_without_positive_value_is_refused_unless_there_is_no_data(field):
    field[0, 1] = 0
    with pytest.raises(ValueError, match=r"The RMS map \(band 1\) has no positive value"):
        NoiseNormalizer(rms_band=1).fit_transform(field)
    field[0, 0] = np.nan
    assert np.isnan(NoiseNormalizer(rms_band=1).fit_transform(field)).all()


def test_constant_image_has_no_signal():
    X = np.full((2, 60, 60), 9.0)
    X[0, 0, 0] = np.nan
    result = NoiseNormalizer().fit_transform(X)
    assert_array_equal(result, np.where(np.isnan(X), np.nan, 0))
    assert np.isnan(NoiseNormalizer().fit_transform(np.full((1, 9, 9), np.nan))).all()


@pytest.mark.parametrize(
    ("transformer", "parameter", "value"),
    [
        (RMSAdder, "stretch", "power"),
        (RMSAdder, "rms_band", None),
        (RMSAdder, "stretch_a", 0),
        (RMSAdder, "normalize", "yes"),
        (NoiseNormalizer, "stretch", "log"),
        (NoiseNormalizer, "filter_size", 2),
        (NoiseNormalizer, "box_size", 0),
        (NoiseNormalizer, "exclude_percentile", 101),
    ],
)
def test_bad_parameter_is_refused(field, transformer, parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of {transformer.__name__}"):
        transformer(**{parameter: value}).fit(field)


def test_garbage_of_unknown_noise_does_not_touch_the_background(field):
    field[0, 1, 20:60, 20:60] = 0
    clean, dirty = field.copy(), field
    clean[0, 0, 20:60, 20:60] = np.nan
    dirty[0, 0, 20:60, 20:60] = 1e6
    expected = NoiseNormalizer(rms_band=-1).fit_transform(clean)
    assert_array_equal(NoiseNormalizer(rms_band=-1).fit_transform(dirty), expected)
