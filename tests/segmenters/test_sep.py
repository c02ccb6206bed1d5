"""SEPSegmenter against sep called directly."""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from photutils.segmentation import make_2dgaussian_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from galaxysegment import Instances, PhotutilsSegmenter, SEPSegmenter
from galaxysegment.metrics import iou_score, iou_scorer
from galaxysegment.preprocessing import ImageNormalizer
from galaxysegment.structures import NoSourcesWarning
from galaxysegment.testing import make_images

sep = pytest.importorskip("sep", reason="sep is not installed")


# The settings of `by_sep`, and nothing that sep does not do.
SEP_ALONE = {
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


def sky(shape=(200, 250), n=30, seed=0, pedestal=50.0, dtype=np.float32):
    """Round sources of many sizes on a noisy sky."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = rng.normal(pedestal, 1, shape)
    for _ in range(n):
        cy, cx, width = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(1.2, 3)
        image += rng.uniform(4, 80) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return image.astype(dtype)


def by_sep(image, rms=None, deblend=False, filter_type="conv"):
    background = sep.Background(image, bw=50, bh=50)
    return sep.extract(
        image - background,
        1.5,
        err=background.rms() if rms is None else rms,
        minarea=10,
        filter_kernel=make_2dgaussian_kernel(3, size=5).array,
        filter_type=filter_type,
        deblend_cont=0.005 if deblend else 1.0,
        segmentation_map=True,
    )[1]


def predict(image, **parameters):
    return SEPSegmenter(**SEP_ALONE | parameters).predict(image[np.newaxis])[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("deblend", [False, True])
def test_equals_sep(dtype, deblend):
    image = sky(dtype=dtype)
    labels = predict(image, deblend=deblend)
    assert np.array_equal(labels, by_sep(image, deblend=deblend))
    assert labels.dtype == np.int32
    assert labels.max() > 10


def test_equals_sep_on_a_real_image(data_dir):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # illegal header cards
        image = fits.getdata(data_dir / "emmi_sep_sextractor" / "image.fits").astype(np.float32)
    labels = predict(image, deblend=True)
    assert np.array_equal(labels, by_sep(image, deblend=True))
    assert labels.max() > 30


def test_is_close_to_photutils():
    image = sky(n=15)
    assert (
        iou_score(predict(image)[np.newaxis], PhotutilsSegmenter().predict(image[np.newaxis]))
        > 0.85
    )


@pytest.mark.parametrize("matched_filter", [False, True])
def test_threshold_of_each_pixel_from_the_rms_map(matched_filter):
    image = sky(seed=2)
    rms = np.ones_like(image)
    rms[:, 125:] = 5
    labels = predict(np.stack([rms, image]), rms_band=0, matched_filter=matched_filter)
    assert np.array_equal(
        labels, by_sep(image, rms, filter_type="matched" if matched_filter else "conv")
    )
    assert 0 < np.count_nonzero(labels[:, 130:]) < np.count_nonzero(predict(image)[:, 130:])


@pytest.mark.parametrize("shape", [(51, 51), (103, 152), (49, 30)])
def test_background_knows_no_slivers(shape):
    """A box of one pixel at the corner would be taken for twice its value."""
    image = sky(shape, n=0, pedestal=1000, seed=8)
    image[10:20, 10:20] += 10
    labels = predict(image)
    assert (labels[12:18, 12:18] == 1).all()
    assert np.count_nonzero(labels) < 250


def test_rms_of_zero_is_no_data():
    image = sky(seed=3)
    rms = np.ones_like(image)
    rms[:90] = 0
    labels = predict(np.stack([image, rms]), rms_band=-1)
    assert not labels[:90].any()
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() > 3
    with pytest.raises(ValueError, match="no positive value"):
        predict(np.stack([image, np.zeros_like(image)]), rms_band=-1)


def test_missing_pixels_are_no_source_and_change_nothing_far_away():
    image = sky(seed=4, shape=(400, 250), n=60)
    holed = image.copy()
    holed[:50] = np.nan
    holed[60, 60] = np.inf
    labels = predict(holed)
    assert not labels[~np.isfinite(holed)].any()
    assert iou_score(labels[np.newaxis, 100:], predict(image)[np.newaxis, 100:]) > 0.97


def test_kernel_cleaning_and_size_matter():
    image = sky(seed=5, n=60)
    default = predict(image)
    assert not np.array_equal(predict(image, fwhm=None), default)
    assert np.bincount(predict(image, n_pixels=40).ravel())[1:].min() >= 40
    assert predict(image, n_sigma=5).astype(bool).sum() < default.astype(bool).sum()
    crowd = sky(seed=6, n=200)
    cleaned = predict(crowd, clean=True, clean_param=0.3, n_pixels=3)
    assert predict(crowd, clean=False, n_pixels=3).max() > cleaned.max()


def test_several_bands_see_fainter_sources():
    rng = np.random.default_rng(0)
    y, x = np.indices((150, 150))
    source = 1.8 * np.exp(-((y - 70) ** 2 + (x - 80) ** 2) / 32)
    bands = np.stack([rng.normal(10 * i, 1, (150, 150)) + source for i in range(6)])
    with pytest.warns(NoSourcesWarning):
        assert not predict(bands[:1], n_sigma=2).any()
    assert predict(bands, n_sigma=2)[70, 80] > 0


@pytest.mark.parametrize("value", [0.0, 3.0, 7.3, -5.0, 1e6, 1e-12, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_there(value, dtype):
    for shape in [(70, 60), (1, 1), (1, 90)]:
        with pytest.warns(NoSourcesWarning):
            labels = predict(np.full(shape, value, dtype=dtype), n_pixels=1)
        assert labels.shape == shape
        assert not labels.any()


def test_limits_are_raised_where_needed_and_put_back():
    image = sky(seed=6)
    expected = predict(image, deblend=True, contrast=0.0)
    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    try:
        sep.set_extract_pixstack(50)
        sep.set_sub_object_limit(1)
        assert np.array_equal(predict(image, deblend=True, contrast=0.0), expected)
        assert (sep.get_extract_pixstack(), sep.get_sub_object_limit()) == (50, 1)
    finally:
        sep.set_extract_pixstack(before[0])
        sep.set_sub_object_limit(before[1])


def test_other_errors_of_sep_come_through(monkeypatch):
    def fail(*_, **__):
        raise Exception("no such filter")

    before = sep.get_extract_pixstack()
    monkeypatch.setattr(sep, "extract", fail)
    with pytest.raises(Exception, match="no such filter"):
        predict(sky())
    assert sep.get_extract_pixstack() == before


def test_threads_agree():
    images = [sky(seed=seed, shape=(120, 120), n=12) for seed in range(6)]
    expected = [predict(image, deblend=True) for image in images]
    with ThreadPoolExecutor(3) as pool:
        labels = list(pool.map(lambda image: predict(image, deblend=True), images))
    assert all(map(np.array_equal, labels, expected))


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", "<u2", np.int32])
def test_any_dtype_order_and_layout(dtype):
    image = np.rint(sky(seed=7)).astype(dtype)
    image.setflags(write=False)
    expected = predict(image.astype(np.float32))
    assert np.array_equal(predict(image), expected)
    assert np.array_equal(predict(np.asfortranarray(image)), expected)
    assert np.array_equal(predict(np.repeat(image, 2, axis=1)[:, ::2]), expected)


def test_lists_and_outputs():
    images = [sky(seed=1), sky((64, 90), n=6, seed=2)]
    labels = SEPSegmenter().predict(images)
    assert [label_map.shape for label_map in labels] == [(200, 250), (64, 90)]
    instances = SEPSegmenter().predict(images, output="instances")
    assert all(isinstance(sources, Instances) for sources in instances)
    assert SEPSegmenter().predict(images[1][np.newaxis], output="panoptic").shape == (1, 2, 64, 90)


def test_grid_search():
    X, y = make_images(4)
    pipeline = make_pipeline(ImageNormalizer(), SEPSegmenter())
    grid = {"sepsegmenter__n_sigma": [1.0, 5.0], "sepsegmenter__deblend": [False, True]}
    search = GridSearchCV(pipeline, grid, scoring=iou_scorer, cv=2).fit(X, y)
    assert search.best_score_ > 0.6
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.01


def test_missing_sep_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sep", None)
    with pytest.raises(ImportError, match=r"SEPSegmenter needs the package sep.*`pip install sep`"):
        predict(sky())


def test_bad_parameters_are_refused():
    bad = {
        "fwhm": 0,
        "n_sigma": -1,
        "n_pixels": 0,
        "contrast": 2,
        "clean_param": 0,
        "n_levels": 0,
        "kernel_size": 2,
    }
    for parameter, value in bad.items():
        with pytest.raises(ValueError, match=f"'{parameter}' parameter of SEPSegmenter"):
            predict(sky(), **{parameter: value})
