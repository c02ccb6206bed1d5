"""What `segment_mosaic` asks of the steps of a pipeline, and what it tells them."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from galaxysegment.base import BaseImageTransformer, BaseSegmenter, MosaicAware, Statistic
from galaxysegment.detection._statistics import MedianRatio, sampled_median
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.structures import label_components


class Sum(Statistic):
    """Sum of ``(pixels - level) ** power`` over the whole image; notes the blocks it was given."""

    def __init__(self, blocks, level=0.0, power=1):
        self.blocks, self.level, self.power = blocks, level, power

    def block_rows(self, shape):
        return 7

    def measure(self, rows, y0, shape):
        self.blocks.append((y0, rows.shape[1], shape))
        return ((rows - self.level) ** self.power).sum()

    def combine(self, parts, shape):
        return sum(parts)


class Standardizer(BaseImageTransformer):
    """Subtract the mean, divide by the scatter: the second statistic depends on the first."""

    _requires_fit = False

    def __init__(self, *, blocks=None):
        self.blocks = blocks

    def statistics_needed(self):
        blocks = [] if self.blocks is None else self.blocks
        if self._statistics is None:
            return {"sum": Sum(blocks), "again": Sum(blocks)}
        if "squares" not in self._statistics:
            return {"squares": Sum(blocks, self._statistics["sum"] / 2500, 2)}
        return {}

    def _transform_image(self, image):
        if self._statistics is None:
            return (image - image.mean()) / image.std()
        mean = self._statistics["sum"] / 2500
        return (image - mean) / np.sqrt(self._statistics["squares"] / 2500)


class Threshold(BaseSegmenter):
    _requires_fit = False
    reach, splits_blends = 0, False

    def _segment_image(self, image):
        return label_components(image[0] > 1.5)


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(10, 3, (50, 50))


def test_statistics_are_measured_in_rounds_and_given_to_the_step(image):
    blocks = []
    pipeline = make_pipeline(Standardizer(blocks=blocks), Threshold())
    labels = segment_mosaic(pipeline, image, tile_size=20, progress=False)
    np.testing.assert_array_equal(labels, pipeline.predict(image[None])[0])
    assert blocks == [(0, 50, (50, 50))] * 3  # two statistics in the first pass, one in the second


def test_blocks_begin_at_multiples_of_what_the_statistic_says(image, monkeypatch):
    from galaxysegment.mosaic import _plan

    monkeypatch.setattr(_plan, "_BLOCK", 800)
    blocks = []
    pipeline = make_pipeline(Standardizer(blocks=blocks), Threshold())
    labels = segment_mosaic(pipeline, image, tile_size=20, progress=False)
    np.testing.assert_array_equal(labels, pipeline.predict(image[None])[0])
    assert [block[:2] for block in blocks[::2][:4]] == [(0, 14), (14, 14), (28, 14), (42, 8)]


def test_a_step_that_needs_nothing_is_the_one_that_the_user_passed(image):
    seen = []

    class Watched(Threshold):
        def _segment_image(self, image):
            seen.append(self)
            return super()._segment_image(image)

    segmenter = Watched()
    segment_mosaic(segmenter, image, tile_size=30, progress=False)
    assert len(seen) == 4
    assert all(step is segmenter for step in seen)


def test_with_statistics_leaves_the_original_alone():
    step = Standardizer()
    placed = step.with_statistics({"sum": 1.0}, (3, 4))
    assert (placed._statistics, placed._corner) == ({"sum": 1.0}, (3, 4))
    assert step._statistics is None
    assert step.statistics_needed()


def test_steps_from_elsewhere_work_pixel_by_pixel(image):
    class Stranger(BaseEstimator):
        """No segmenter of this package: `fit` and `predict` is all it has."""

        def fit(self, X, y=None):
            self.is_fitted_ = True
            return self

        def predict(self, X, output="labels"):
            return [label_components(image[0] > 2.2) for image in X]

    pipeline = make_pipeline(FunctionTransformer(np.cbrt), Stranger()).fit(image[None, None])
    expected = pipeline.predict(image[None, None])[0]
    labels = segment_mosaic(pipeline, image, tile_size=200, progress=False)
    np.testing.assert_array_equal(labels, expected)


def test_the_defaults_are_declared():
    assert MosaicAware.reach is BaseSegmenter.reach is None
    assert BaseImageTransformer.reach == 0
    assert MosaicAware().statistics_needed() == {}
    for ask in (MosaicAware().find_candidates, MosaicAware().keep_sources):
        with pytest.raises(NotImplementedError):
            ask(None)


def test_the_median_of_blocks_is_that_of_the_image(monkeypatch):
    from galaxysegment.detection import _statistics

    band = np.random.default_rng(1).normal(size=(101, 67))
    band[30:40] = np.nan
    for sample in (1 << 22, 500):
        monkeypatch.setattr(_statistics, "_SAMPLE", sample)
        median = MedianRatio(lambda rows, _y0: rows)
        parts = [median.measure(band[None, y : y + 9], y, band.shape) for y in range(0, 101, 9)]
        assert median.combine(parts, band.shape) == [sampled_median(band)]


def test_a_net_that_scales_by_an_rms_map_sees_the_noise_of_the_mosaic():
    """The one number that rescales the RMS map is the whole image's, not that of each tile."""
    pytest.importorskip("torch")
    from galaxysegment import UNetSegmenter
    from galaxysegment.testing import make_images

    X, y = make_images(n_images=2, shape=(48, 48), n_bands=2)
    unet = UNetSegmenter(
        base_width=2,
        depth=2,
        max_epochs=1,
        scaling="noise",
        rms_band=-1,
        deblend=False,
        random_state=0,
    ).fit(X, y)
    rng = np.random.default_rng(0)
    # The RMS map is wrong by a factor that differs from one side of the image to the other.
    rms = np.where(np.arange(300) < 150, 1.0, 3.0) * np.ones((200, 1))
    image = 5 + rng.normal(size=rms.shape)
    (whole,) = unet._scale_all([np.stack([image, rms])])

    scaled = []

    class Watched(type(unet)):
        def _scale_all(self, images):
            (result,) = super()._scale_all(images)
            scaled.append((self._corner, result))
            return [result]

    unet.__class__ = Watched
    unet.set_params(threshold=1.0)
    with pytest.warns(UserWarning, match="No source"):
        segment_mosaic(unet, image, rms=rms, tile_size=100, progress=False)
    assert len(scaled) == 6
    for (y0, x0), tile in scaled:
        expected = whole[:, y0 : y0 + tile.shape[1], x0 : x0 + tile.shape[2]]
        np.testing.assert_allclose(tile, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("seed", range(6))
def test_gaps_are_bridged_in_a_window_as_in_the_whole_image(width, seed):
    """Pixels up to the reach around a window decide about it."""
    from galaxysegment.detection._gaps import GapBridge
    from galaxysegment.mosaic._plan import Window

    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, 30, 34))
    for _ in range(60):
        y, x, n = *rng.integers(0, 30, 2), rng.integers(1, width + 2)
        band = rng.integers(2)
        image[(band, slice(y, y + n), x) if rng.random() < 0.5 else (band, y, slice(x, x + n))] = (
            np.nan
        )
    bridge = GapBridge(width, None).with_statistics({"limits": [-0.5, -0.5]}, (0, 0))
    (whole,) = bridge.transform([image])
    assert np.isnan(image).sum() > np.isnan(whole).sum()
    for y, x in rng.integers(0, 29, (40, 2)).tolist():
        window = Window(y, x, y + 1, x + 1)
        around = window.grow(bridge.reach, (30, 34))
        (part,) = bridge.transform([image[:, *around.slices]])
        np.testing.assert_array_equal(part[:, *window.within(around)], whole[:, *window.slices])
