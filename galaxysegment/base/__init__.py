"""The templates: what every transformer and every segmenter of images shares.

A transformer writes `_transform_image` (and `_fit_images` if it learns something); a segmenter
writes `_segment_image` (and `_fit_images`). Checking, packing, output formats and scoring live
here.
"""

from ..detection._contract import MosaicAware, Statistic
from ..detection._scores import ScoreMaps
from ._segmenter import BaseSegmenter
from ._semantic import ProbabilisticSegmenter, SemanticSegmenter
from ._transformer import BaseImageTransformer

__all__ = [
    "BaseImageTransformer",
    "BaseSegmenter",
    "MosaicAware",
    "ProbabilisticSegmenter",
    "ScoreMaps",
    "SemanticSegmenter",
    "Statistic",
]
