"""The segmenters: one a file. A new one is its file, one import line here and one test file."""

from ._kmeans import KMeansSegmenter
from ._photutils import PhotutilsSegmenter
from ._random_forest import RandomForestSegmenter
from ._sep import SEPSegmenter
from ._unet import UNetSegmenter

__all__ = ["KMeansSegmenter", "PhotutilsSegmenter", "RandomForestSegmenter", "SEPSegmenter", "UNetSegmenter"]
