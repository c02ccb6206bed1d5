"""PhotutilsSegmenter against photutils called directly, on simulated and real images."""

import warnings

import numpy as np
import pytest
from astropy.convolution import convolve
from astropy.io import ascii as astropy_ascii
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.background import Background2D, MedianBackground
from photutils.segmentation import deblend_sources, detect_sources, make_2dgaussian_kernel
from scipy import ndimage
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from galaxysegment import Instances, PhotutilsSegmenter
from galaxysegment._utils.packages import without_bar
from galaxysegment.metrics import iou_scorer
from galaxysegment.preprocessing import ImageNormalizer
from galaxysegment.structures import NoSourcesWarning
from galaxysegment.testing import make_images

# The settings of `by_photutils`, and nothing that photutils does not do.
PHOTUTILS_ALONE = {
    "n_sigma": 1.5,
    "n_pixels": 10,
    "box_size": 50,
    "deblend": False,
    "level_seams": False,
    "correlated_noise": False,
    "mask_objects": False,
    "no_data": "nan",
    "bridge": 0,
}


def sky(shape=(180, 210), n=30, seed=0, pedestal=50.0, dtype=np.float32):
    """Round sources of many sizes on a noisy sky with a gradient."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = rng.normal(pedestal, 1, shape) + 0.02 * y
    for _ in range(n):
        cy, cx, width = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(1.2, 4)
        image += rng.uniform(4, 80) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return image.astype(dtype)


def by_photutils(image, rms=None, deblend=False, exclude_percentile=15):
    """Run recipe A as a user of photutils writes it."""
    mask = np.isnan(image)
    if rms is not None:
        mask |= ~(rms > 0)
        image = np.where(mask, np.nan, image).astype(image.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        background = Background2D(
            image,
            np.minimum(50, image.shape),
            filter_size=3,
            exclude_percentile=exclude_percentile,
            mask=mask,
            bkg_estimator=MedianBackground(),
        )
        smooth = convolve(image - background.background, make_2dgaussian_kernel(3, size=5))
        threshold = 1.5 * (background.background_rms if rms is None else rms)
        sources = detect_sources(smooth, threshold, n_pixels=10, mask=mask)
        if sources is None:
            return np.zeros(image.shape, dtype=int)
        if deblend:
            sources = deblend_sources(
                smooth, sources, n_pixels=10, n_levels=32, contrast=0.001, **without_bar()
            )
    return sources.data


def predict(image, **parameters):
    return PhotutilsSegmenter(**PHOTUTILS_ALONE | parameters).predict(image[np.newaxis])[0]


def assert_agrees(image, rms=None, exclude_percentile=15):
    """``fast=False`` equals photutils.

    The default agrees on at least 99 % of the pixels of sources.
    """
    X = image if rms is None else np.stack([image, rms])
    parameters = {"rms_band": None if rms is None else -1}
    for deblend in (False, True):
        expected = by_photutils(image, rms, deblend, exclude_percentile)
        assert np.array_equal(predict(X, fast=False, deblend=deblend, **parameters), expected)
    labels = predict(X, deblend=True, **parameters)
    either = (labels > 0) | (expected > 0)
    assert np.count_nonzero((labels > 0) & (expected > 0)) >= 0.99 * np.count_nonzero(either)
    assert np.count_nonzero(labels != expected) <= 0.01 * np.count_nonzero(either)
    return expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_photutils(dtype):
    expected = assert_agrees(sky(dtype=dtype))
    assert expected.max() > 10


def test_equals_photutils_with_missing_pixels():
    image = sky(seed=1)
    image[np.random.default_rng(0).random(image.shape) < 0.02] = np.nan
    image[40:100, 50:120] = np.nan
    labels = assert_agrees(image)
    assert not labels[np.isnan(image)].any()


def test_equals_photutils_with_rms_map():
    image = sky(seed=2)
    rms = np.ones_like(image)
    rms[100:, 100:] = 4
    rms[:30] = 0  # no data
    labels = assert_agrees(image, rms)
    assert not labels[:30].any()
    assert labels[30:].any()


@settings(max_examples=10, deadline=None)
@given(
    shape=st.tuples(st.integers(20, 130), st.integers(20, 130)),
    seed=st.integers(0, 999),
    parameters=st.fixed_dictionaries(
        {
            "fwhm": st.sampled_from([None, 1.5, 3, 5]),
            "kernel_size": st.sampled_from([3, 7]),
            "n_sigma": st.sampled_from([0.5, 1, 2.5]),
            "n_pixels": st.integers(1, 15),
            "box_size": st.integers(20, 60),
            "connectivity": st.sampled_from([4, 8]),
            "deblend": st.booleans(),
            "contrast": st.sampled_from([0.0, 0.01]),
        }
    ),
)
@pytest.mark.filterwarnings("ignore::galaxysegment.structures.NoSourcesWarning")
def test_fast_agrees_for_any_parameters(shape, seed, parameters):
    image = sky(shape, n=12, seed=seed, dtype=np.float64)
    exact = predict(image, fast=False, **parameters)
    assert np.count_nonzero(predict(image, **parameters) != exact) <= 0.01 * np.count_nonzero(exact)


REAL = [
    ("emmi_sep_sextractor/image.fits", 0, None),
    ("emmi_sep_sextractor/galaxies.fits", 0, None),
    ("kpno_clusters_int16/A1656-1-3_coma.fits", 0, None),
    (
        "xdf_hst/xdf_hst_wfc3ir_60mas_f105w_sci.fits",
        0,
        "xdf_hst/xdf_hst_wfc3ir_60mas_f105w_rms.fits",
    ),
    ("sim_galsim_fields/dev_r.fits.fz", "SCI", "RMS"),
]


@pytest.mark.parametrize(("name", "extension", "rms"), REAL, ids=[case[0] for case in REAL])
def test_equals_photutils_on_real_images(data_dir, name, extension, rms):
    image = read(data_dir / name, extension)
    if rms is not None:
        rms = read(data_dir / rms, 0) if rms.endswith("fits") else read(data_dir / name, rms)
    assert assert_agrees(image, rms).max() > 20


def read(path, extension):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # illegal header cards
        return fits.getdata(path, extension).astype(np.float32)[:700, :700]


def test_finds_what_sextractor_finds(data_dir):
    folder = data_dir / "emmi_sep_sextractor"
    image = read(folder / "image.fits", 0)
    catalog = astropy_ascii.read(folder / "image.cat", format="sextractor")
    catalog = catalog[catalog["FLUX_AUTO"] > 10 * catalog["FLUXERR_AUTO"]]
    positions = np.stack([catalog["Y_IMAGE"], catalog["X_IMAGE"]], axis=1) - 1
    assert len(positions) > 30
    near = (
        ndimage.distance_transform_edt(predict(image) == 0)[tuple(np.rint(positions).astype(int).T)]
        <= 2
    )
    assert near.mean() >= 0.95
    labels = predict(image, deblend=True)
    light = np.clip(image - np.median(image), 0, None)
    centres = np.array(ndimage.center_of_mass(light, labels, range(1, labels.max() + 1)))
    distance = np.linalg.norm(positions[:, None] - centres, axis=2).min(axis=1)
    assert (distance <= 2).mean() >= 0.95


def test_several_bands_see_fainter_sources():
    spiked, clean = sky(n=0, seed=3), sky(n=0, seed=3)
    y, x = np.indices(spiked.shape)
    source = 1.8 * np.exp(-((y - 90) ** 2 + (x - 100) ** 2) / 32)
    rng = np.random.default_rng(1)
    bands = np.stack(
        [clean * 0 + 10 * i + rng.normal(0, 1, spiked.shape) + source for i in range(6)]
    )
    with pytest.warns(NoSourcesWarning):
        assert not predict(bands[:1], n_sigma=2)[80:100, 90:110].any()
    assert predict(bands, n_sigma=2)[90, 100] > 0
    assert np.array_equal(predict(bands, n_sigma=2), predict(bands, n_sigma=2, fast=False))


def test_noisy_and_empty_bands_hardly_count():
    image = sky(seed=4, dtype=np.float64)
    rng = np.random.default_rng(0)
    noisy = rng.normal(500, 200, image.shape)
    constant, empty = np.full_like(image, 3), np.full_like(image, np.nan)
    alone = predict(image)
    together = predict(np.stack([image, noisy, constant, empty]))
    both, either = (
        np.count_nonzero((alone > 0) & (together > 0)),
        np.count_nonzero((alone > 0) | (together > 0)),
    )
    assert both > 0.9 * either


def test_pixel_with_data_in_one_band_can_be_source():
    image = sky(seed=5)
    second = image + 20
    second[:90] = np.nan
    labels = predict(np.stack([image, second]))
    assert labels[:90].any()
    assert labels[90:].any()


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "image",
    [
        np.full((70, 60), 3.7, dtype=np.float32),
        np.full((70, 60), np.nan),
        np.zeros((70, 60), dtype=np.int16),
        np.ones((1, 1)),
        np.ones((1, 90)),
        np.where(np.eye(60) > 0, 5.0, np.nan),
        np.where(np.arange(3600).reshape(60, 60) == 1830, 5.0, np.nan),
    ],
    ids=[
        "constant",
        "all NaN",
        "integer zeros",
        "one pixel",
        "one row",
        "diagonal",
        "one pixel with data",
    ],
)
def test_nothing_there(image, fast):
    with pytest.warns(NoSourcesWarning):
        labels = predict(image, fast=fast, deblend=True)
    assert labels.shape == image.shape
    assert not labels.any()


@pytest.mark.parametrize("fast", [True, False])
def test_mostly_missing_image(fast):
    image = sky(seed=6)
    image[np.random.default_rng(0).random(image.shape) < 0.4] = (
        np.nan
    )  # no box has 85 % of its pixels
    labels = predict(image, fast=fast)
    assert labels.max() > 5
    assert np.array_equal(labels, by_photutils(image, exclude_percentile=100))


@pytest.mark.parametrize("fast", [True, False])
def test_noise_free_source_is_found(fast):
    image = np.zeros((120, 120), dtype=np.float32)
    image[50:60, 70:80] = 1
    assert (predict(image, fast=fast) > 0)[52:58, 72:78].all()


def test_image_smaller_than_a_box():
    assert_agrees(sky((33, 44), n=3, seed=8))


@pytest.mark.parametrize("fast", [True, False])
def test_no_kernel(fast):
    image = sky(seed=7)
    labels = predict(image, fwhm=None, fast=fast)
    assert labels.max() > 5
    assert not np.array_equal(labels, predict(image, fast=fast))


def test_saturated_pixels_change_nothing_far_away():
    image = sky(seed=9, dtype=np.float64)
    spoilt = image.copy()
    spoilt[20, 30], spoilt[150, 30] = 1e30, -1e30
    assert np.array_equal(predict(image)[:, 110:] > 0, predict(spoilt)[:, 110:] > 0)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", "<u2", np.int32, np.float16])
def test_any_dtype_and_byte_order(dtype):
    image = np.rint(sky(seed=10)).astype(dtype)
    image.setflags(write=False)
    assert np.array_equal(predict(image), predict(image.astype(np.float64)))


def test_predicts_without_fit_and_whatever_it_was_fitted_to():
    X, y = make_images(3)
    labels = PhotutilsSegmenter().predict(X)
    assert labels.max() == 3
    assert np.array_equal(PhotutilsSegmenter().fit(X[:1] * 100, y[:1]).predict(X), labels)


def test_list_of_sizes_and_other_outputs():
    images = [sky(seed=1), sky((64, 90), n=6, seed=2)]
    labels = PhotutilsSegmenter().predict(images)
    assert [label_map.shape for label_map in labels] == [(180, 210), (64, 90)]
    instances = PhotutilsSegmenter().predict(images, output="instances")
    assert all(isinstance(sources, Instances) for sources in instances)
    assert [len(sources) for sources in instances] == [label_map.max() for label_map in labels]
    assert PhotutilsSegmenter().predict(images[1][np.newaxis], output="panoptic").shape == (
        1,
        2,
        64,
        90,
    )


@pytest.mark.parametrize("as_list", [False, True])
def test_grid_search(as_list):
    X, y = make_images(6)
    if as_list:
        X, y = (
            [image[: 48 - i] for i, image in enumerate(X)],
            [truth[: 48 - i] for i, truth in enumerate(y)],
        )
    pipeline = Pipeline([("normalize", ImageNormalizer()), ("segment", PhotutilsSegmenter())])
    grid = {"segment__n_sigma": [0.5, 1.5, 4], "normalize__stretch": ["linear", "sqrt"]}
    searches = [
        GridSearchCV(pipeline, grid, scoring=iou_scorer, cv=2, n_jobs=n_jobs).fit(X, y)
        for n_jobs in (1, 2)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    assert np.array_equal(*scores)
    assert np.ptp(scores[0]) > 0.01
    assert searches[0].best_score_ > 0.6


@pytest.mark.parametrize(("parameter", "value"), [("kernel_size", 4), ("filter_size", 2)])
def test_even_windows_are_refused(parameter, value):
    with pytest.raises(
        ValueError,
        match=f"'{parameter}' parameter of PhotutilsSegmenter must be odd.*use {value + 1}",
    ):
        predict(sky(), **{parameter: value})


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("fwhm", 0),
        ("n_sigma", -1),
        ("n_pixels", 0),
        ("connectivity", 6),
        ("contrast", 2),
        ("exclude_percentile", 101),
    ],
)
def test_bad_parameters_are_refused(parameter, value):
    with pytest.raises(ValueError, match=f"'{parameter}' parameter of PhotutilsSegmenter"):
        predict(sky(), **{parameter: value})


def test_rms_band_must_be_there():
    with pytest.raises(ValueError, match="rms_band=-1 asks for an RMS map"):
        predict(sky(), rms_band=-1)
    with pytest.raises(ValueError, match="no positive value"):
        predict(np.stack([sky(), np.zeros((180, 210), dtype=np.float32)]), rms_band=1)
