import numpy as np
import pytest
from astropy.stats import SigmaClip
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import Background2D, MedianBackground

from galaxysegment.preprocessing import BackgroundSubtractor


@pytest.fixture
def image():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:180, :210]
    sources = 200 * np.exp(-((y - 90) ** 2 + (x - 120) ** 2) / 30)
    return 500 + 0.2 * x + rng.normal(0, 2, y.shape) + sources


def test_background_is_that_of_photutils(image):
    expected = Background2D(
        image,
        (30, 30),
        filter_size=(3, 3),
        exclude_percentile=15,
        sigma_clip=SigmaClip(3.0),
        bkg_estimator=MedianBackground(),
    ).background
    result = BackgroundSubtractor(box_size=30).fit_transform(image[None])
    assert_allclose(image - result[0], expected, atol=0.02)


def test_constant_sky_changes_nothing(image):
    expected = BackgroundSubtractor().fit_transform(image[None])
    assert_allclose(BackgroundSubtractor().fit_transform(image[None] + 1234), expected, atol=1e-9)


def test_gradient_is_taken_away(image):
    result = BackgroundSubtractor(box_size=30).fit_transform(image[None])[0]
    assert abs(np.median(result)) < 0.1
    columns = np.median(result, axis=0)[30:-30]  # the outermost boxes have no neighbour to lean on
    assert abs(np.polyfit(np.arange(columns.size), columns, 1)[0]) < 0.01  # 0.2 before


@pytest.mark.parametrize("shape", [(180, 210), (175, 95), (120, 120)])
@pytest.mark.parametrize("box_size", [30, 50])
def test_plane_leaves_nothing_at_the_edges(shape, box_size):
    y, x = np.indices(shape)
    rng = np.random.default_rng(3)
    sky = 1000 + 0.5 * x - 0.3 * y
    image = sky + rng.normal(0, 1, shape)
    image[10:20, 10:20] += 50  # a source does not tilt the sky
    flat, tilted = (
        BackgroundSubtractor(box_size=box_size, plane=plane).fit_transform(image[None])[0]
        for plane in (False, True)
    )
    assert abs(np.median(flat[:, -5:])) > 2  # what the mesh alone leaves
    for strip in (tilted[:5], tilted[-5:], tilted[:, :5], tilted[:, -5:]):
        assert abs(np.median(strip)) < 0.5


@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_plane_without_noise(noise):
    y, x = np.indices((120, 120))
    sky = 100.0 + 0.5 * x + noise * np.random.default_rng(0).normal(size=x.shape)
    image = sky + 1e4 * (np.hypot(y - 20, x - 20) < 15)  # fills a box
    result = BackgroundSubtractor(box_size=30, plane=True).fit_transform(image[None])[0]
    assert_allclose(result[60:, 60:], 0, atol=0.01)


def test_plane_is_none_under_a_flat_sky(image):
    image = image - 0.2 * np.arange(image.shape[1])
    expected = BackgroundSubtractor(box_size=30).fit_transform(image[None])
    assert_allclose(
        BackgroundSubtractor(box_size=30, plane=True).fit_transform(image[None]), expected, atol=0.3
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (49, 51), (20, 300)])
@pytest.mark.parametrize("plane", [False, True])
def test_any_size_and_missing_pixels(shape, plane):
    X = np.full((1, *shape), 7.0)
    X[0, 0, 0] = np.nan
    result = BackgroundSubtractor(plane=plane).fit_transform(X)
    assert_array_equal(np.isnan(result), np.isnan(X))
    assert not np.nan_to_num(result).any()


def test_rms_band_passes_untouched(image):
    X = np.stack([image, np.full_like(image, 2.0)])[None]
    result = BackgroundSubtractor(rms_band=-1).fit_transform(X)
    assert_array_equal(result[0, 1], X[0, 1])
    assert_array_equal(result[0, 0], BackgroundSubtractor().fit_transform(image[None])[0])


@pytest.mark.parametrize(
    ("parameter", "value"), [("box_size", 0), ("filter_size", 4), ("exclude_percentile", -1)]
)
def test_bad_parameter_is_refused(image, parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of BackgroundSubtractor"):
        BackgroundSubtractor(**{parameter: value}).fit(image[None])
