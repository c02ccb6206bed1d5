"""Cleaning of a mosaic's detections against sep's own, detection by detection."""

import numpy as np
import pytest

from galaxysegment import SEPSegmenter
from galaxysegment.detection import _cleaning
from galaxysegment.detection._cleaning import measure_detections, surviving
from galaxysegment.structures._labels import source_pixels

sep = pytest.importorskip("sep")
KERNEL = SEPSegmenter()._kernel()
#: Columns of the numbers, and the columns of sep's catalog that they are.
NAMES = {"x": 0, "y": 1, "a": 2, "b": 3, "cxx": 4, "cyy": 5, "cxy": 6, "cflux": 7, "npix": 8}


def crowd(seed, n_sources, shape=(120, 130)):
    """Noise with compact and extended sources on top of each other, and holes in some."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for _ in range(n_sources):
        y, x, size, peak = rng.uniform((0, 0, 0.8, 2), (*shape, 2.5, 60))
        distance = np.hypot(rows - y, (columns - x) * rng.uniform(0.4, 1))
        radius = rng.choice([0, 2 * size])  # a ring, or a blob
        image += peak * np.exp(-((distance - radius) ** 2) / (2 * size**2))
    return image.astype(np.float32)


def extract(image, noise, **options):
    """Catalog and label map of sep, and the options as `measure_detections` wants them."""
    n_pixels, n_levels, contrast = given = 8, 32, options.pop("contrast", 0.005)
    catalog, labels = sep.extract(
        *(image, 1.2),
        err=noise,
        minarea=n_pixels,
        filter_kernel=KERNEL,
        deblend_nthresh=n_levels,
        deblend_cont=contrast,
        segmentation_map=True,
        **options,
    )
    return catalog, labels, given


def measure(image, noise, labels, options):
    pixels = source_pixels(labels)
    smooth = SEPSegmenter()._convolved(image, pixels)
    light, depth = image.ravel()[pixels], noise.ravel()[pixels]
    thresholds = np.float32(1.2) * depth
    return measure_detections(
        *(labels, pixels, light, smooth, thresholds), options=options, corner=(0, 0)
    )


@pytest.fixture(params=[(0, 20), (1, 40), (2, 60), (3, 90)], ids=str)
def scene(request):
    image = crowd(*request.param)
    noise = np.linspace(0.8, 1.3, image.size, dtype=np.float32).reshape(image.shape)
    return image, noise


@pytest.mark.parametrize("contrast", [1.0, 0.005, 0.0])
def test_the_numbers_are_those_of_sep(scene, contrast):
    catalog, labels, options = extract(*scene, clean=False, contrast=contrast)
    measured = measure(*scene, labels, options)
    assert len(measured) == len(catalog) > (6 if contrast == 1 else 20)
    for name, column in NAMES.items():
        np.testing.assert_allclose(
            measured[:, column], catalog[name], rtol=1e-4, atol=1e-4, err_msg=name
        )


@pytest.mark.parametrize("contrast", [1.0, 0.005, 0.0])
@pytest.mark.parametrize("clean_param", [0.3, 1.0, 2.5])
def test_the_same_detections_survive_as_in_sep(scene, contrast, clean_param):
    _, labels, options = extract(*scene, clean=False, contrast=contrast)
    _, cleaned, _ = extract(*scene, clean=True, clean_param=clean_param, contrast=contrast)
    expected = np.isin(np.arange(1, labels.max() + 1), labels[cleaned > 0])
    survivors = surviving(measure(*scene, labels, options), clean_param)
    np.testing.assert_array_equal(survivors, expected)


def test_any_order_of_detections_gives_the_same_survivors():
    image = crowd(5, 60)
    noise = np.ones_like(image)
    _, labels, options = extract(image, noise, clean=False)
    measured = measure(image, noise, labels, options)
    expected = surviving(measured, 1.0)
    assert 0 < np.count_nonzero(~expected) < len(expected) / 2
    order = np.random.default_rng(0).permutation(len(measured))
    np.testing.assert_array_equal(surviving(measured[order], 1.0), expected[order])
    measured[0] = np.nan  # a detection that no tile saw whole stays
    assert surviving(measured, 1.0)[0]


def test_few_detections_have_the_neighbours_of_many(monkeypatch):
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 300, (2, 80))
    places[:, 40:] = np.round(places[:, 40:], -1)  # some at the very distance
    widths = rng.choice([1.0, 2.0, 3.5], 80)
    pairs = []
    for few in (1000, 0):
        monkeypatch.setattr(_cleaning, "_FEW", few)
        first, second = np.concatenate(list(_cleaning._neighbours(*places, widths, 10.0)), axis=1)
        pairs.append(sorted(zip(first.tolist(), second.tolist(), strict=True)))
    assert pairs[0] == pairs[1] and len(pairs[0]) > 100
