"""Changes of an image that must not change what is found in it; docs/guide/conventions.rst states them."""

import numpy as np
import pytest
from properties import fitted

from galaxysegment import UNetSegmenter
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.structures import relabel
from galaxysegment.testing import make_images

SEGMENTERS = [name for name, _ in all_estimators("segmenter")]
# Trained for an epoch, for speed: they hardly find anything, and promise nothing about flips.
UNTRAINED = {"DETRSegmenter", "MaskRCNNSegmenter"}
# Height and width are two meshes of the background; steps of 1/8, so that adding whole numbers rounds nothing.
X, Y = make_images(3, shape=(100, 100))
X = np.rint(8 * X) / np.float32(8)
every_segmenter = pytest.mark.parametrize("name", SEGMENTERS)


def segmenter(name):
    """A segmenter that is ready: the U-Net with the weights that ship."""
    return UNetSegmenter(weights="vis") if name == "UNetSegmenter" else fitted(name)


@pytest.fixture(scope="module", params=SEGMENTERS)
def found(request):
    labels = segmenter(request.param).predict(X)
    assert request.param in UNTRAINED or labels.reshape(3, -1).max(axis=1).min() >= 3
    return request.param, labels


pytestmark = pytest.mark.filterwarnings("ignore:No source was found")


def in_order(labels):
    """Number sources by their first pixel, so that maps with other numbers can be compared."""
    maps = []
    for one in labels:
        present, first, inverse = np.unique(one, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(np.where(present == 0, -1, first))) + (present[0] != 0)
        maps.append(rank[inverse.reshape(one.shape)])
    return np.stack(maps)


def overlap(labels, others):
    """IoU of the pixels in sources."""
    both, either = ((labels > 0) & (others > 0)).sum(), ((labels > 0) | (others > 0)).sum()
    return both / either if either else 1.0


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8"])
def test_byte_order_and_precision_do_not_matter(found, dtype):
    name, labels = found
    np.testing.assert_array_equal(segmenter(name).predict(X.astype(dtype)), labels)


@every_segmenter
def test_whole_numbers_are_the_same_in_every_type(name):
    whole = np.rint(X)
    expected = segmenter(name).predict(whole)
    for dtype in ("u1", "<i2", ">i2", "<i4", ">i8"):
        np.testing.assert_array_equal(segmenter(name).predict(whole.astype(dtype)), expected)


def test_the_order_of_a_stack_does_not_matter(found):
    name, labels = found
    np.testing.assert_array_equal(segmenter(name).predict(X[[2, 0, 1]]), labels[[2, 0, 1]])
    np.testing.assert_array_equal(np.concatenate([segmenter(name).predict(one[None]) for one in X]), labels)


@pytest.mark.parametrize("sky", [-100.0, 0.1, 4096.0])
def test_a_constant_sky_does_not_matter(found, sky):
    name, labels = found
    brighter = X + np.float32(sky)
    if name == "KMeansSegmenter":  # its clusters are of pixel values: those of the images that it was fitted to
        before, after = (type(fitted(name))(random_state=0).fit(images).predict(images) for images in (X, brighter))
        np.testing.assert_array_equal(after, before)
    elif name in {"PhotutilsSegmenter", "RandomForestSegmenter"}:
        np.testing.assert_array_equal(segmenter(name).predict(brighter), labels)
    else:
        assert overlap(segmenter(name).predict(brighter), labels) > 0.998


MOVES = {
    "up-down": (lambda images: images[:, ::-1],) * 2,
    "left-right": (lambda images: images[:, :, ::-1],) * 2,
    "quarter turn": (lambda images: np.rot90(images, axes=(1, 2)), lambda images: np.rot90(images, -1, axes=(1, 2))),
    "diagonal": (lambda images: images.transpose(0, 2, 1),) * 2,
}


@pytest.mark.parametrize("move", MOVES)
def test_flips_and_turns(found, move):
    name, labels = found
    if name in UNTRAINED:
        pytest.skip("nets learn this from turned copies of their images; trained for an epoch they have not")
    there, back = MOVES[move]
    moved = back(segmenter(name).predict(there(X)))
    if name in {"KMeansSegmenter", "PhotutilsSegmenter", "RandomForestSegmenter"}:
        np.testing.assert_array_equal(in_order(moved), in_order(labels))
    else:
        assert overlap(moved, labels) > (0.99 if name == "SEPSegmenter" else 0.95)


def test_flips_of_other_sizes_are_near():
    """Meshes of the background begin at the first pixel: where they do not fit, a flip moves them."""
    images, _ = make_images(3, shape=(93, 71))
    for name in ("PhotutilsSegmenter", "SEPSegmenter", "RandomForestSegmenter"):
        labels = segmenter(name).predict(images)
        assert 0.9 < overlap(segmenter(name).predict(images[:, ::-1])[:, ::-1], labels) < 1


def test_a_masked_corner_does_not_matter_far_away(found):
    name, labels = found
    holed = X.copy()
    holed[:, -16:, -16:] = np.nan
    masked = segmenter(name).predict(holed)
    assert not masked[:, -16:, -16:].any()
    far = np.ones(X.shape, dtype=bool)
    far[:, 50:, 50:] = False
    if name == "KMeansSegmenter":
        np.testing.assert_array_equal((masked > 0)[far], (labels > 0)[far])
    elif name not in UNTRAINED:
        assert overlap(masked * far, labels * far) > 0.99


def test_numbers_follow_first_pixels():
    """`in_order`, which the comparisons above rest on, is `relabel` of any permutation."""
    labels = np.array([[[0, 3, 3], [1, 0, 2]]])
    np.testing.assert_array_equal(in_order(labels), [[[0, 1, 1], [2, 0, 3]]])
    np.testing.assert_array_equal(in_order(labels + 1), [[[1, 2, 2], [3, 1, 4]]])
    np.testing.assert_array_equal(relabel(in_order(labels)[0]), in_order(labels)[0])
