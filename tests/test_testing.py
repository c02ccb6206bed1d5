"""The shared checks find what they are there for."""

import re

import numpy as np
import pytest

from galaxysegment.base import BaseSegmenter
from galaxysegment.structures import label_components
from galaxysegment.testing import check_tiled_equals_untiled, make_images


class AboveTheMedian(BaseSegmenter):
    """Compares pixels with the median of the image it is given, and says nothing of it."""

    _requires_fit = False
    reach, splits_blends = 8, False

    def _segment_image(self, image):
        return label_components(image[0] > np.median(image[0]) + 8)


class AboveEight(AboveTheMedian):
    def _segment_image(self, image):
        return label_components(image[0] > 20)


class SplitInTheMiddle(AboveTheMedian):
    """Splits sources at a column of the image it is given: other sources, the same pixels."""

    def _segment_image(self, image):
        mask = image[0] > 20
        left = np.arange(mask.shape[1]) < 11 * mask.shape[1] // 20
        first = label_components(mask & left)
        second = label_components(mask & ~left)
        return np.where(second > 0, second + first.max(), first).astype(np.int32)


def test_a_global_median_without_a_word_is_found_out():
    X, y = make_images()
    with pytest.raises(AssertionError) as failure:
        check_tiled_equals_untiled(AboveTheMedian(), X, y)
    message = str(failure.value)
    assert "AboveTheMedian" in message
    assert "reach=8" in message
    assert int(re.search(r"(\d+) pixels of", message)[1]) > 100


def test_other_sources_in_the_same_pixels_are_found_out():
    X, y = make_images()
    with pytest.raises(
        AssertionError, match=r"SplitInTheMiddle finds \d+ sources in tiles, but \d+"
    ):
        check_tiled_equals_untiled(SplitInTheMiddle(), X, y)


def test_a_local_segmenter_and_declared_exceptions_pass():
    X, y = make_images()
    check_tiled_equals_untiled(AboveEight(), X, y)

    class Unknown(AboveTheMedian):
        reach = None

    check_tiled_equals_untiled(Unknown(), X, y)
