"""Changes of an image that must not change what is found in it.

Docs/guide/conventions.rst states them.
"""

import numpy as np
import pytest
from properties import fitted
from trained import scenes, trained

from galaxysegment import PhotutilsSegmenter, SEPSegmenter, UNetSegmenter
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import detection_scores
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.structures import relabel
from galaxysegment.testing import make_images

SEGMENTERS = [name for name, _ in all_estimators("segmenter")]
# Height and width are two meshes of the background; steps of 1/8, so that adding whole numbers
# rounds nothing.
X, Y = scenes(3, (100, 100), random_state=5)
every_segmenter = pytest.mark.parametrize("name", SEGMENTERS)
# IoU with what was found before the images were mirrored or turned; nets learn it from mirrored
# copies, more or less as they are trained for longer: these for seconds.
MIRRORED = {
    "SEPSegmenter": 0.99,
    "UNetSegmenter": 0.95,
    "DETRSegmenter": 0.9,
    "MaskRCNNSegmenter": 0.8,
}
NETS = {"DETRSegmenter", "MaskRCNNSegmenter"}  # trained for this


# Boxes that fit into `X`, and no noise factor, which comes from a sample of boxes.
EXACT = {"box_size": 50, "correlated_noise": False}


def segmenter(name):
    """A segmenter that finds what is in `X`.

    The U-Net with the weights that ship, other nets trained for this.
    """
    if name in {"PhotutilsSegmenter", "SEPSegmenter"}:
        return {"PhotutilsSegmenter": PhotutilsSegmenter, "SEPSegmenter": SEPSegmenter}[name](
            **EXACT
        )
    if name == "UNetSegmenter":
        return UNetSegmenter(weights="vis")
    return trained(name) if name in NETS else fitted(name)


@pytest.fixture(scope="module", params=SEGMENTERS)
def prediction(request):
    labels = segmenter(request.param).predict(X)
    assert labels.reshape(len(X), -1).max(axis=1).min() >= 3
    assert request.param not in NETS or detection_scores(list(Y), list(labels)).recall > 0.6
    return request.param, labels


def in_order(labels):
    """Number sources by their first pixel, so that maps with other numbers can be compared."""
    maps = []
    for label_map in labels:
        present, first, inverse = np.unique(label_map, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(np.where(present == 0, -1, first))) + (present[0] != 0)
        maps.append(rank[inverse.reshape(label_map.shape)])
    return np.stack(maps)


def overlap(labels, others):
    """IoU of the pixels in sources."""
    both, either = ((labels > 0) & (others > 0)).sum(), ((labels > 0) | (others > 0)).sum()
    return both / either if either else 1.0


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8"])
def test_byte_order_and_precision_do_not_matter(prediction, dtype):
    name, labels = prediction
    np.testing.assert_array_equal(segmenter(name).predict(X.astype(dtype)), labels)


@every_segmenter
def test_whole_numbers_are_the_same_in_every_type(name):
    whole = np.rint(X).clip(0)
    expected = segmenter(name).predict(whole)
    assert expected.max() >= 5
    for dtype in ("u1", "<i2", ">i2", "<i4", ">i8"):
        np.testing.assert_array_equal(segmenter(name).predict(whole.astype(dtype)), expected)


def test_the_order_of_a_stack_does_not_matter(prediction):
    name, labels = prediction
    np.testing.assert_array_equal(segmenter(name).predict(X[[2, 0, 1]]), labels[[2, 0, 1]])
    np.testing.assert_array_equal(np.stack(segmenter(name).predict(list(X))), labels)
    alone = np.concatenate([segmenter(name).predict(image[None]) for image in X])
    if (
        name in NETS
    ):  # products of matrices round in another way where there are more images in a batch
        assert overlap(alone, labels) > 0.998
    else:
        np.testing.assert_array_equal(alone, labels)


@pytest.mark.parametrize("sky", [-100.0, 0.1, 4096.0])
def test_a_constant_sky_does_not_matter(prediction, sky):
    name, labels = prediction
    brighter = X + np.float32(sky)
    if (
        name == "KMeansSegmenter"
    ):  # its clusters are of pixel values: those of the images that it was fitted to
        before, after = (
            type(fitted(name))(random_state=0).fit(images).predict(images)
            for images in (X, brighter)
        )
        np.testing.assert_array_equal(after, before)
    elif name in {"PhotutilsSegmenter", "RandomForestSegmenter"}:
        np.testing.assert_array_equal(segmenter(name).predict(brighter), labels)
    else:
        assert overlap(segmenter(name).predict(brighter), labels) > 0.998


def test_precision_and_a_high_sky_at_the_size_of_the_sample_field():
    """The numbers of the footnotes: a pixel at the threshold may fall to either side."""
    image = np.asarray(load_sample_field().image, dtype=np.float32)[:1]

    def n_changed(segmenter, images, reference):
        masks = [segmenter.predict(stack)[0] > 0 for stack in (images, reference)]
        assert np.count_nonzero(masks[1]) > 9000
        return np.count_nonzero(masks[0] != masks[1])

    unet, photutils = UNetSegmenter(weights="vis"), PhotutilsSegmenter()
    assert n_changed(unet, image.astype(np.float64), image) <= 5
    assert n_changed(photutils, image.astype(np.float64), image) == 0
    assert n_changed(photutils, image + np.float32(2**20), image) <= 80
    assert n_changed(photutils, image.astype(np.float64) + 2**20, image) == 0


MOVES = {
    "up-down": (lambda images: images[:, ::-1],) * 2,
    "left-right": (lambda images: images[:, :, ::-1],) * 2,
    "quarter turn": (
        lambda images: np.rot90(images, axes=(1, 2)),
        lambda images: np.rot90(images, -1, axes=(1, 2)),
    ),
    "diagonal": (lambda images: images.transpose(0, 2, 1),) * 2,
}


@pytest.mark.parametrize("move", MOVES)
def test_flips_and_turns(prediction, move):
    name, labels = prediction
    there, back = MOVES[move]
    moved = back(segmenter(name).predict(there(X)))
    if name in MIRRORED:
        assert overlap(moved, labels) > MIRRORED[name]
        assert detection_scores(list(labels), list(moved)).f1 > 0.85
    else:
        np.testing.assert_array_equal(in_order(moved), in_order(labels))


def test_flips_of_other_sizes_are_near():
    """Meshes of the background begin at the first pixel.

    Where they do not fit, a flip moves them.
    """
    images, _ = make_images(3, shape=(93, 71))
    for name in ("PhotutilsSegmenter", "SEPSegmenter", "RandomForestSegmenter"):
        labels = segmenter(name).predict(images)
        assert 0.9 < overlap(segmenter(name).predict(images[:, ::-1])[:, ::-1], labels) < 1


def test_a_masked_corner_does_not_matter_far_away(prediction):
    name, labels = prediction
    holed = X.copy()
    holed[:, -16:, -16:] = np.nan
    masked = segmenter(name).predict(holed)
    assert not masked[:, -16:, -16:].any()
    far = np.ones(X.shape, dtype=bool)
    far[:, 50:, 50:] = False
    if name == "KMeansSegmenter":
        np.testing.assert_array_equal((masked > 0)[far], (labels > 0)[far])
    else:
        assert overlap(masked * far, labels * far) > 0.99


@pytest.mark.parametrize("name", sorted(NETS))
def test_workers_do_not_matter(name):
    """Tiles of a mosaic in one process or two; `test_workers` has the others."""
    image = np.concatenate([np.concatenate(X[:2], axis=1), np.concatenate(X[1:], axis=1)])
    single, two = (
        segment_mosaic(segmenter(name), image, tile_size=180, n_jobs=n_jobs, progress=False)
        for n_jobs in (1, 2)
    )
    assert single.max() > 20
    np.testing.assert_array_equal(single, two)


def test_numbers_follow_first_pixels():
    """`in_order`, which the comparisons above rest on, is `relabel` of any permutation."""
    labels = np.array([[[0, 3, 3], [1, 0, 2]]])
    np.testing.assert_array_equal(in_order(labels), [[[0, 1, 1], [2, 0, 3]]])
    np.testing.assert_array_equal(in_order(labels + 1), [[[1, 2, 2], [3, 1, 4]]])
    np.testing.assert_array_equal(relabel(in_order(labels)[0]), in_order(labels)[0])
