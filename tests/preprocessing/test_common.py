"""What every transformer of preprocessing promises."""

import pickle

import numpy as np
import pytest
import sklearn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from galaxysegment.preprocessing import (
    BackgroundSubtractor,
    BadPixelFiller,
    BandSelector,
    FITSLiberatorStretch,
    GaussianSmoother,
    ImageNormalizer,
    LuptonRGB,
    NoiseNormalizer,
    RMSAdder,
)

# Transformer of images of three bands, and which band of X each band of its output comes from
# ("all": from all three).
CASES = [
    (ImageNormalizer(), [0, 1, 2]),
    (ImageNormalizer(interval="zscale", stretch="asinh"), [0, 1, 2]),
    (ImageNormalizer(interval="percentile", stretch="log"), [0, 1, 2]),
    (ImageNormalizer(interval=(-3, 30), limits="fit", stretch="sqrt"), [0, 1, 2]),
    (FITSLiberatorStretch(), [0, 1, 2]),
    (FITSLiberatorStretch(stretch="log_log"), [0, 1, 2]),
    (FITSLiberatorStretch(stretch="root5", rms_band=1), [0, 1, 2]),
    (RMSAdder(), [(0, 2), (1, 2)]),
    (NoiseNormalizer(box_size=8), [0, 1, 2]),
    (BackgroundSubtractor(box_size=8), [0, 1, 2]),
    (GaussianSmoother(), [0, 1, 2]),
    (GaussianSmoother(fwhm=0.4, rms_band=-1), [0, 1, 2]),
    (LuptonRGB(), ["all"] * 3),
    (BandSelector(bands=[2, 0]), [2, 0]),
    (BandSelector(bands=1, drop=True), [0, 2]),
    (BadPixelFiller(), None),
    (BadPixelFiller(method="median", size=3), None),
]
transformers = pytest.mark.parametrize(
    ("transformer", "bands"), CASES, ids=[repr(transformer) for transformer, _ in CASES]
)


def missing_after(X, bands):
    """Where the output must be NaN."""
    missing = np.isnan(X)
    if bands is None:
        return np.zeros_like(missing)
    sources = [range(3) if band == "all" else np.atleast_1d(band) for band in bands]
    return np.stack([missing[list(source)].any(axis=0) for source in sources])


@pytest.fixture
def images():
    rng = np.random.default_rng(11)
    X = rng.gamma(2.0, 3.0, (2, 3, 30, 26))
    X[rng.random(X.shape) < 0.03] = np.nan
    return X


values = st.one_of(st.floats(-1e6, 1e6, width=32), st.just(np.nan), st.integers(-3, 3).map(float))
shapes = st.tuples(st.just(3), st.integers(1, 12), st.integers(1, 12))


@transformers
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    image=arrays(np.float32, shapes, elements=values, fill=st.just(np.nan))
    | arrays(np.float64, shapes, elements=values)
)
def test_shape_dtype_and_missing_pixels_are_kept(transformer, bands, image):
    if transformer.__sklearn_tags__().requires_fit and np.isnan(image).all(axis=(1, 2)).any():
        with pytest.raises(ValueError, match="no data in any image"):
            clone(transformer).fit([image])
        return
    before = image.copy()
    (result,) = clone(transformer).fit_transform([image])
    assert_array_equal(image, before)
    expected = missing_after(image, bands)
    assert result.shape == expected.shape
    assert result.dtype == image.dtype
    assert not np.isinf(result).any()
    if isinstance(transformer, NoiseNormalizer):  # no noise to be seen: NaN as well
        assert np.isnan(result[expected]).all()
    else:
        assert_array_equal(np.isnan(result), expected)
    if isinstance(transformer, (ImageNormalizer, LuptonRGB)):
        assert ((result >= 0) & (result <= 1) | expected).all()


@transformers
def test_stack_and_list_agree_and_keep_their_form(transformer, bands, images):
    stack = clone(transformer).fit_transform(images)
    assert isinstance(stack, np.ndarray)
    assert_array_equal(np.isnan(stack), [missing_after(image, bands) for image in images])
    listed = clone(transformer).fit_transform(list(images))
    assert isinstance(listed, list)
    assert_array_equal(np.stack(listed), stack)
    sizes = [images[0], images[1][:, :13, :20]]
    result = clone(transformer).fit_transform(sizes)
    assert [image.shape[1:] for image in result] == [(30, 26), (13, 20)]
    if transformer.__sklearn_tags__().requires_fit is False:
        assert_array_equal(result[0], stack[0])


@transformers
def test_any_memory_layout_gives_the_same(transformer, bands, images):
    expected = clone(transformer).fit_transform(images)
    read_only = images.copy()
    read_only.flags.writeable = False
    strided = np.repeat(images, 2, axis=-1)[..., ::2]
    for X in (read_only, images.astype(">f8"), strided, np.asfortranarray(images)):
        result = clone(transformer).fit_transform(X)
        assert_allclose(result, expected, rtol=1e-12, atol=1e-12)
        assert result.dtype.isnative


@transformers
def test_result_shares_no_memory_with_the_input(transformer, bands, images):
    images = np.nan_to_num(images)  # nothing to fill: a filler could hand the image through
    for result, image in zip(clone(transformer).fit_transform(list(images)), images, strict=True):
        assert not np.shares_memory(result, image)


@transformers
def test_integers_come_out_as_floats(transformer, bands, images):
    counts = np.nan_to_num(images * 10).astype(np.int16)
    result = clone(transformer).fit_transform(counts)
    assert result.dtype == np.float32
    assert_array_equal(result, clone(transformer).fit_transform(counts.astype(np.float32)))


@transformers
def test_clone_pickle_and_pipeline(transformer, bands, images):
    fitted = clone(transformer).fit(images)
    assert fitted.n_bands_in_ == 3
    expected = fitted.transform(images)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(images), expected)
    pipeline = make_pipeline(clone(transformer), ImageNormalizer()).fit(images)
    assert_array_equal(pipeline.transform(images), ImageNormalizer().fit_transform(expected))
    with pytest.raises(ValueError, match=r"X has 2 bands, but the estimator was fitted with 3"):
        fitted.transform(images[:, :2])


@transformers
def test_stateless_ones_need_no_fit(transformer, bands, images):
    if transformer.__sklearn_tags__().requires_fit:
        pytest.skip("learns its limits")
    assert_array_equal(
        clone(transformer).transform(images), clone(transformer).fit_transform(images)
    )


@transformers
@pytest.mark.parametrize("container", ["default", "pandas"])
def test_output_is_never_made_tabular(transformer, bands, images, container):
    with sklearn.config_context(transform_output=container):
        assert isinstance(clone(transformer).fit_transform(images), np.ndarray)
        assert isinstance(clone(transformer).fit_transform(list(images)), list)
    assert clone(transformer).set_output(transform="default").fit_transform(images).ndim >= 3
    with pytest.raises(ValueError, match="images do not fit into the rows of a table"):
        transformer.set_output(transform="pandas")


def test_real_fields_go_through(data_dir):
    from astropy.io import fits

    path = data_dir / "xdf_hst"
    files = sorted(path.rglob("*.fits*"))
    assert files, f"{path} holds no FITS file"
    with fits.open(files[0]) as hdus:
        image = next(hdu.data for hdu in hdus if hdu.data is not None)
    X = [np.stack([image, image, np.full_like(image, np.nanstd(image))])]
    for transformer, _ in CASES:
        (result,) = clone(transformer).fit_transform(X)
        assert result.shape[1:] == image.shape
