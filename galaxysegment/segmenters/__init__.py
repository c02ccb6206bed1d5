"""The segmenters: one a file. A new one is its file, one import line here and one test file."""

from ._detr import DETRSegmenter
from ._kmeans import KMeansSegmenter
from ._mask_rcnn import MaskRCNNSegmenter
from ._photutils import PhotutilsSegmenter
from ._random_forest import RandomForestSegmenter
from ._sep import SEPSegmenter
from ._unet import UNetSegmenter

__all__ = [
    "DETRSegmenter",
    "KMeansSegmenter",
    "MaskRCNNSegmenter",
    "PhotutilsSegmenter",
    "RandomForestSegmenter",
    "SEPSegmenter",
    "UNetSegmenter",
]
