"""Regions of exactly equal pixels: borders and gaps that nothing marks as missing."""

from functools import partial

import numpy as np
import pytest

from galaxysegment import PhotutilsSegmenter, SEPSegmenter
from galaxysegment.detection._constant import ConstantBlanker, ConstantRegions, blank_constant
from galaxysegment.mosaic import segment_mosaic


def noise(shape=(200, 240), level=0.0, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(level, scale, shape).astype(np.float32)


def blanked(image, **options):
    return np.isnan(blank_constant([image if image.ndim == 3 else image[None]], **options)[0])


def framed(level=0.0, value=0.0):
    """Noise with borders of several widths and a gap, and where they lie."""
    image, gap = noise(level=level), np.zeros((200, 240), dtype=bool)
    gap[:, :1] = gap[:3] = gap[-30:, 40:] = gap[90:100, 60:200] = True
    image[gap] = value
    return image, gap


@pytest.mark.parametrize(("level", "value"), [(0, 0), (1000, 0), (0, -99), (5, 5), (1000, 1000.5)])
def test_borders_and_gaps_are_blanked_exactly(level, value):
    image, gap = framed(level, value)
    np.testing.assert_array_equal(blanked(image)[0], gap)


def test_image_without_regions_is_returned_itself():
    image = noise()[None]
    assert blank_constant([image])[0] is image


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.7, 1, 3])
def test_integers_keep_their_sky(scale):
    image = np.rint(noise((400, 400), 100, scale))
    assert not blanked(image).any()


def test_integers_lose_their_borders():
    image = np.rint(noise((300, 300), 100, 1.5))
    image[:, :20] = 0
    is_blank = blanked(image)[0]
    assert is_blank[:, :20].all() and not is_blank[:, 20:].any()


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 2])
def test_images_that_count_photons_keep_their_sky(rate):
    image = np.random.default_rng(0).poisson(rate, (300, 300)).astype(np.float32)
    assert not blanked(image).any()


def galaxies(shape=(200, 200)):
    y, x = np.indices(shape)
    return sum(
        30 * np.exp(-np.hypot(y - cy, x - cx) / 3) * (np.hypot(y - cy, x - cx) < 25)
        for cy, cx in ((50, 60), (120, 150), (160, 40))
    )


def test_sky_of_a_simulation_without_noise_stays():
    assert not blanked(galaxies()).any()
    assert not blanked(np.zeros((100, 100))).any()


def test_sky_of_a_simulation_stays_if_only_sources_are_noisy():
    flux = galaxies()
    image = flux + np.random.default_rng(0).normal(size=flux.shape) * 0.1 * flux
    assert not blanked(image).any()


def test_saturated_cores_stay():
    image = noise()
    image[80:130, 80:130] = 60000
    assert not blanked(image).any()


def test_small_regions_stay():
    image = noise()
    image[50:65, 50:65] = 0  # 225 pixels inside
    image[150:157, :9] = 0  # 63 pixels at the border
    assert not blanked(image).any()


def test_bands_are_blanked_one_by_one_where_they_are_zero():
    image = np.stack([noise(seed=seed) for seed in range(3)])
    image[0, :20], image[1, -20:], image[:, :, :8] = 0, 7.5, -1
    is_blank = blanked(image)
    assert is_blank[0, :20, 8:].all() and not is_blank[1:, :20, 8:].any()
    assert is_blank[:, :, :8].all()
    assert not is_blank[1, -20:, 8:].any()  # 7.5 in a band while others have data: no image perhaps


@pytest.mark.parametrize("rms_band", [-1, 0])
def test_rms_map_is_left_alone(rms_band):
    image, rms = noise(), np.ones((200, 240), dtype=np.float32)
    rms[:50], rms[100:] = 0, noise((100, 240), 5)
    bands = np.stack([rms, image] if rms_band == 0 else [image, rms])
    assert blank_constant([bands], rms_band)[0] is bands


@pytest.mark.parametrize("n_rows", [1, 7, 64, 200])
def test_blocks_of_rows_give_the_same_regions(n_rows):
    image = np.stack([framed()[0], np.rint(10 * framed(5)[0]), noise()])
    expected = blank_constant([image])[0]
    regions = ConstantRegions(None)
    blocks = [(y, image[:, y : y + n_rows]) for y in range(0, 200, n_rows)]
    value = regions.combine(
        [regions.measure(rows, y, (200, 240)) for y, rows in blocks], (200, 240)
    )
    step = ConstantBlanker(None)
    assert set(step.statistics_needed()) == {"regions"}
    for y0, x0 in ((0, 0), (50, 30), (150, 200)):
        placed = step.with_statistics({"regions": value}, (y0, x0))
        assert not placed.statistics_needed()
        window = (slice(None), slice(y0, y0 + 60), slice(x0, x0 + 80))
        np.testing.assert_array_equal(placed.transform(image[window][None])[0], expected[window])


@pytest.mark.parametrize("make", [PhotutilsSegmenter, SEPSegmenter])
def test_zero_borders_hold_no_source(make):
    image, gap = framed(level=30)
    image[40:46, 40:46] += 20
    as_nan = np.where(gap, np.float32(np.nan), image)
    labels = make().predict(image[None])[0]
    np.testing.assert_array_equal(labels, make().predict(as_nan[None])[0])
    assert labels[42, 42] and not labels[gap].any()
    assert (make(no_data="nan").predict(image[None])[0] != labels).any()


@pytest.mark.parametrize("make", [partial(PhotutilsSegmenter, bridge=4), SEPSegmenter])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_mosaic_equals_the_whole_image(make, n_jobs):
    image, _ = framed(level=30)
    image[80:112, 100:104] += 20
    whole = make().predict(image[None])[0]
    options = {"tile_size": 90, "progress": False, "n_jobs": n_jobs}
    tiled = segment_mosaic(make(), image, **options)
    np.testing.assert_array_equal(tiled > 0, whole > 0)
    assert tiled.max() == whole.max()
    assert (segment_mosaic(make(no_data="nan"), image, **options) != tiled).any()
