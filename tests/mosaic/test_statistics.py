"""Steps get statistics of the whole mosaic, or the mosaic is refused."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from galaxysegment import KMeansSegmenter, PhotutilsSegmenter
from galaxysegment._utils.identity import identify
from galaxysegment.io._windows import ArrayPixels
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.mosaic._plan import Plan, read_transformed
from galaxysegment.preprocessing import (
    BackgroundSubtractor,
    BandSelector,
    FITSLiberatorStretch,
    GaussianSmoother,
    ImageNormalizer,
    NoiseNormalizer,
    RMSAdder,
)


@pytest.fixture(scope="module")
def field():
    """Sky with a gradient and noise that grows across it, galaxies, pixels without data.

    And its RMS map.
    """
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:310, :420]
    rms = (1 + x / 420).astype(np.float32)
    image = 100 + 0.02 * x + 0.03 * y + rms * rng.normal(size=x.shape)
    for _ in range(90):
        cy, cx, size, peak = (
            rng.uniform(0, 310),
            rng.uniform(0, 420),
            rng.uniform(1.5, 4),
            rng.uniform(10, 60),
        )
        image += peak * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2))
    image[100:130, 200:330] = np.nan
    return image.astype(np.float32), rms


def in_raster_order(labels):
    """Renumber by first pixel, as `segment_mosaic` does."""
    values, first = np.unique(labels, return_index=True)
    order = np.argsort(first[values > 0])
    table = np.zeros(labels.max() + 1, dtype=int)
    table[values[values > 0][order]] = np.arange(1, len(order) + 1)
    return table[labels]


def both(segmenter, image, rms=None, **options):
    X = image if image.ndim == 3 else image[np.newaxis]
    X = X if rms is None else np.concatenate([X, rms[np.newaxis]])
    whole = segmenter.fit(X[np.newaxis]).predict(X[np.newaxis])[0]
    return in_raster_order(whole), segment_mosaic(
        segmenter, image, rms=rms, tile_size=130, progress=False, **options
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"deblend": True}, {"fwhm": None, "connectivity": 4}, {"box_size": 64, "filter_size": 5}],
    ids=str,
)
def test_photutils_is_exact(field, options):
    whole, tiled = both(PhotutilsSegmenter(**options), field[0])
    assert whole.max() > 50
    np.testing.assert_array_equal(tiled, whole)


def test_photutils_is_exact_with_an_rms_map_and_with_bands(field):
    image, rms = field
    rms = np.where(np.arange(420) < 60, 0, rms)  # a part without exposure
    whole, tiled = both(PhotutilsSegmenter(rms_band=-1), image, rms)
    np.testing.assert_array_equal(tiled, whole)
    bands = np.stack([image, image[::-1] - 50, np.where(np.arange(420) < 180, np.nan, 2 * image)])
    whole, tiled = both(PhotutilsSegmenter(), bands)
    np.testing.assert_array_equal(tiled, whole)


def test_photutils_own_background_is_refused(field):
    with pytest.raises(ValueError, match="use fast=True"):
        segment_mosaic(PhotutilsSegmenter(fast=False), field[0], progress=False)


@pytest.mark.parametrize(
    "options", [{}, {"deblend": True}, {"box_size": 37, "filter_size": 5}], ids=str
)
def test_sep_finds_the_sources_of_the_whole_image(field, options):
    pytest.importorskip("sep")
    from galaxysegment import SEPSegmenter

    whole, tiled = both(SEPSegmenter(clean=False, **options), field[0])
    # sep adds in single precision: a pixel right at the threshold can change sides
    assert np.count_nonzero((tiled > 0) != (whole > 0)) <= 1e-4 * np.count_nonzero(whole)
    assert abs(int(tiled.max()) - int(whole.max())) <= 1
    cleaned, tiled = both(SEPSegmenter(**options), field[0])
    assert abs(int(tiled.max()) - int(cleaned.max())) <= 1


def test_the_mesh_of_sep_is_that_of_sep():
    sep = pytest.importorskip("sep")
    from galaxysegment.segmenters._sep_mesh import MosaicBackground, measure_boxes

    rng = np.random.default_rng(0)
    image = (rng.normal(0, 3, (330, 420)) + np.linspace(0, 20, 420)).astype(np.float32)
    no_data = np.zeros(image.shape, dtype=bool)
    no_data[:90, :130] = no_data[200:207] = True
    for box, filter_size, mask in (
        ((50, 50), 3, None),
        ((37, 50), 5, no_data),
        ((330, 50), 3, no_data),
        ((50, 420), 1, None),
    ):
        expected = sep.Background(
            image, mask=mask, bw=box[1], bh=box[0], fw=filter_size, fh=filter_size
        )
        background = MosaicBackground(measure_boxes(sep, image, mask, box), box, filter_size).at(
            0, 0, image.shape
        )
        np.testing.assert_allclose(background.back(), expected.back(), atol=2e-5)
        np.testing.assert_allclose(background.rms(), expected.rms(), atol=2e-5)
        np.testing.assert_allclose(
            [background.globalback, background.globalrms],
            [expected.globalback, expected.globalrms],
            rtol=1e-6,
        )


@pytest.mark.parametrize(
    "steps",
    [
        (BandSelector(), NoiseNormalizer(), PhotutilsSegmenter()),
        (BackgroundSubtractor(rms_band=-1), NoiseNormalizer(rms_band=-1), PhotutilsSegmenter()),
        (BandSelector(), BackgroundSubtractor(plane=True), NoiseNormalizer(), PhotutilsSegmenter()),
        (RMSAdder(), ImageNormalizer(), PhotutilsSegmenter()),
        (
            BandSelector(),
            ImageNormalizer(interval=(None, 150)),
            GaussianSmoother(),
            KMeansSegmenter(random_state=0),
        ),
    ],
    ids=lambda steps: "-".join(type(step).__name__ for step in steps),
)
def test_pipelines_see_the_statistics_of_the_mosaic(field, steps):
    whole, tiled = both(make_pipeline(*steps), *field)
    assert whole.max() > 10
    # Sums over another number of pixels round differently, which can move a pixel at the threshold.
    assert np.count_nonzero((tiled > 0) != (whole > 0)) <= 2e-4 * np.count_nonzero(whole)
    assert tiled.max() == whole.max()


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (ImageNormalizer(interval="zscale"), "limits='fit'"),
        (ImageNormalizer(interval="percentile"), "limits='fit'"),
        (FITSLiberatorStretch(), "give the levels"),
    ],
)
def test_limits_that_only_an_image_has_are_refused(field, step, match):
    with pytest.raises(ValueError, match=match):
        segment_mosaic(make_pipeline(step, PhotutilsSegmenter()), field[0], progress=False)


def test_limits_that_were_fitted_are_used(field):
    pipeline = make_pipeline(ImageNormalizer(interval="zscale", limits="fit"), PhotutilsSegmenter())
    whole, tiled = both(pipeline, field[0])
    np.testing.assert_array_equal(tiled, whole)


@pytest.mark.parametrize("damage", ["none", "gap", "constant", "both"])
def test_statistics_of_all_steps_take_one_pass_if_no_pixel_changes(field, damage):
    image = np.nan_to_num(field[0], nan=100.5) + np.random.default_rng(0).normal(size=(310, 420))
    image = image.astype(np.float32)
    if damage in ("gap", "both"):
        image[40:44, 50:53] = np.nan
    if damage in ("constant", "both"):
        image[200:230, 300:340] = 0
    values = {}
    for at_once in (True, False):
        plan, pixels = Plan(PhotutilsSegmenter()), ArrayPixels(image[np.newaxis], None)
        if not at_once:
            plan._measure_at_once = lambda *_: None
        n_blocks = []

        def run(plan, n_steps, function, blocks, n_blocks=n_blocks, pixels=pixels):
            n_blocks.append(len(blocks))
            rows = (read_transformed(plan, n_steps, pixels, block) for block in blocks)
            return [function(part, block.y0) for part, block in zip(rows, blocks, strict=True)]

        plan.learn(pixels, run, lambda calls: [call() for call in calls])
        values[at_once] = plan._values
        n_passes = len(n_blocks)
        assert n_passes == (3 if not at_once else {"none": 1, "gap": 2}.get(damage, 3))
    assert identify(values[True]) == identify(values[False])
