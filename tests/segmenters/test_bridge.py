"""Sources may bridge narrow gaps without data, in every segmenter, with tiles and without."""

import inspect

import numpy as np
import pytest

from galaxysegment import (
    KMeansSegmenter,
    NoSourcesWarning,
    PhotutilsSegmenter,
    SEPSegmenter,
    UNetSegmenter,
)
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.base import ProbabilisticSegmenter
from galaxysegment.io import Field
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.preprocessing import BadPixelFiller


@pytest.fixture(scope="module")
def star():
    """A bright star and a faint galaxy on noise; three bad columns cut the star."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:90, :120]
    image = rng.normal(0, 1, y.shape) + 3000 * np.exp(-((y - 40) ** 2 + (x - 60) ** 2) / 60)
    image += 40 * np.exp(-((y - 70) ** 2 + (x - 20) ** 2) / 20)
    image[:, 59:62] = np.nan
    return image


def labels_of_star(labels):
    """Labels left and right of the bad columns, and in them."""
    return labels[40, 57], labels[40, 63], labels[40, 60]


@pytest.mark.parametrize("name_and_class", all_estimators("segmenter"), ids=lambda pair: pair[0])
def test_every_segmenter_has_the_parameter(name_and_class):
    parameters = inspect.signature(name_and_class[1].__init__).parameters
    finds_light = (PhotutilsSegmenter, SEPSegmenter, UNetSegmenter)
    assert parameters["bridge"].default == (32 if name_and_class[1] in finds_light else 0)
    assert parameters["label_bridge"].default is False


@pytest.mark.parametrize(
    "segmenter",
    [PhotutilsSegmenter(), SEPSegmenter(), UNetSegmenter(weights="vis", device="cpu", n_views=1)],
    ids=lambda segmenter: type(segmenter).__name__,
)
def test_a_masked_core_with_its_trail_cuts_no_star(segmenter):
    """A saturated core of 25 × 25 pixels without weight, and a bleed trail along the columns."""
    y, x = np.mgrid[:200, :220]
    image = np.random.default_rng(0).normal(0, 1, y.shape).astype(np.float32)
    image += (30_000 * np.exp(-np.hypot(y - 100, x - 110) / 8)).astype(np.float32)
    image[88:113, 98:123] = image[:, 106:115] = np.nan
    labels = segmenter.predict(image[np.newaxis])[0]
    assert labels[100, 90] == labels[100, 130] > 0
    assert not labels[np.isnan(image)].any()
    if not isinstance(segmenter, UNetSegmenter):  # its net often joins the halves by itself
        cut = segmenter.set_params(bridge=0).predict(image[np.newaxis])[0]
        assert cut[100, 90] != cut[100, 130]


def test_gaps_on_empty_sky_are_no_sources():
    """Bad columns, bad pixels and gaps between chips."""
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (400, 420)).astype(np.float32)
    image[:, ::37] = image[300:312] = image[:, 200:230] = np.nan
    image[rng.random(image.shape) < 0.003] = np.nan
    for segmenter in (PhotutilsSegmenter(), SEPSegmenter()):
        with pytest.warns(NoSourcesWarning):
            assert segmenter.predict(image[np.newaxis]).max() == 0


@pytest.mark.parametrize(
    "segmenter",
    [
        PhotutilsSegmenter(n_sigma=3),
        PhotutilsSegmenter(n_sigma=3, deblend=True),
        SEPSegmenter(n_sigma=3),
        UNetSegmenter(weights="vis", device="cpu", n_views=1),
        KMeansSegmenter(random_state=0, n_pixels=3),
    ],
    ids=lambda segmenter: type(segmenter).__name__,
)
def test_a_star_stays_whole(segmenter, star):
    X = star[np.newaxis]
    if isinstance(segmenter, KMeansSegmenter):
        segmenter = segmenter.fit(X)
    segmenter.set_params(bridge=0, label_bridge=False)
    left, right, between = labels_of_star(segmenter.predict(X)[0])
    assert left and right and left != right and between == 0
    segmenter.set_params(bridge=2)
    np.testing.assert_equal(len(set(labels_of_star(segmenter.predict(X)[0]))), 3)
    segmenter.set_params(bridge=3)
    left, right, between = labels_of_star(segmenter.predict(X)[0])
    assert left == right > 0 and between == 0
    segmenter.set_params(label_bridge=True)
    labels = segmenter.predict(X)[0]
    assert len(set(labels_of_star(labels))) == 1 and labels[40, 60] > 0


def test_columns_without_weight_are_bridged(star):
    rms = np.where(np.isnan(star), 0, 1.0)
    field = Field(np.nan_to_num(star, nan=-50.0), rms=rms)
    segmenter = PhotutilsSegmenter(n_sigma=3, rms_band=-1, bridge=3)
    left, right, between = labels_of_star(segmenter.predict(field))
    assert left == right > 0 and between == 0
    alone = labels_of_star(segmenter.set_params(bridge=0).predict(field))
    assert alone[0] != alone[1]


def test_filling_before_is_the_other_way(star):
    filled = BadPixelFiller().fit_transform(star[np.newaxis])
    assert len(set(labels_of_star(PhotutilsSegmenter(n_sigma=3).predict(filled)[0]))) == 1


def test_probabilities_bridge_gaps_too(star):
    class Bright(ProbabilisticSegmenter):
        _requires_fit = False
        n_pixels, deblend = 5, False

        def _image_proba(self, image):
            return (image[0] > 10).astype(np.float32)

    segmenter = Bright()
    segmenter.bridge = 3
    assert segmenter.predict_proba(star[None])[0, 40, 60] == 0
    segmenter.label_bridge = True
    assert segmenter.predict_proba(star[None])[0, 40, 60] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [({"bridge": -1}, "'bridge' parameter"), ({"label_bridge": 3}, "label_bri")],
)
def test_parameters_are_checked(options, words, star):
    with pytest.raises(ValueError, match=words):
        PhotutilsSegmenter(**options).predict(star[None])


# Tiles


def crowded(seed, kind):
    """Sources of all sizes on noise, with bad columns, bad rows and bad pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:150, :170]
    image = rng.normal(0, 1, y.shape)
    for _ in range(40):
        size, flux = rng.uniform(1, 5), rng.uniform(10, 300)
        cy, cx = rng.uniform(0, 150), rng.uniform(0, 170)
        image += flux * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2))
    if kind == "columns":
        for column in rng.integers(0, 168, 12):
            image[:, column : column + rng.integers(1, 4)] = np.nan
    elif kind == "rows and columns":
        image[rng.integers(0, 150, 8)] = np.nan
        image[:, rng.integers(0, 170, 8)] = np.nan
    else:
        image[rng.uniform(size=image.shape) < 0.1] = np.nan
    return image


def by_first_pixel(labels):
    """Number the sources in the order of their first pixels, as mosaics do."""
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.where(values == 0, -1, first).argsort().argsort()
    return order[inverse].reshape(labels.shape) + (0 if values[0] == 0 else 1)


@pytest.mark.parametrize("kind", ["columns", "rows and columns", "pixels"])
@pytest.mark.parametrize("options", [{}, {"deblend": True}, {"label_bridge": True}], ids=str)
def test_tiles_see_what_the_whole_image_shows(kind, options):
    image = crowded(0, kind)
    segmenter = PhotutilsSegmenter(n_sigma=3, n_pixels=5, bridge=3, **options)
    whole = segmenter.predict(image[None])[0]
    tiled = segment_mosaic(segmenter, image, tile_size=40, progress=False)
    # Parts of a blend whose first pixels lie in a gap may be numbered in another order.
    np.testing.assert_array_equal(by_first_pixel(tiled), by_first_pixel(whole))


def test_tiles_of_sep_and_of_workers_bridge_gaps(tmp_path):
    image = crowded(5, "columns")
    for cls in (SEPSegmenter, PhotutilsSegmenter):
        segmenter = cls(n_sigma=3, deblend=False, bridge=3)
        whole = segmenter.predict(image[None])[0]
        tiled = segment_mosaic(segmenter, image, tile_size=60, n_jobs=2, progress=False)
        np.testing.assert_array_equal(tiled, by_first_pixel(whole))


@pytest.mark.parametrize(
    "segmenter", [PhotutilsSegmenter(), SEPSegmenter()], ids=["photutils", "sep"]
)
def test_the_default_bridges_a_star_and_no_seam(segmenter):
    """The sky rises by 2 sigma behind a gap of 20 columns; a star has no core. Tiles see it too."""
    y, x = np.mgrid[:330, :400]
    image = np.random.default_rng(0).normal(100, 1, y.shape) + 2 * (x >= 210)
    image += 300 * np.exp(-((y - 250) ** 2 + (x - 100) ** 2) / 300)
    image[240:261, 90:111] = image[:, 200:220] = np.nan
    labels = segmenter.predict(image[np.newaxis])[0]
    assert labels.max() == 1 and labels[250, 85] == labels[250, 115] == 1
    tiled = segment_mosaic(segmenter, image, tile_size=150, progress=False)
    np.testing.assert_array_equal(tiled, labels)
