from ._detr import DETRSegmenter as DETRSegmenter
from ._kmeans import KMeansSegmenter as KMeansSegmenter
from ._mask_rcnn import MaskRCNNSegmenter as MaskRCNNSegmenter
from ._photutils import PhotutilsSegmenter as PhotutilsSegmenter
from ._random_forest import RandomForestSegmenter as RandomForestSegmenter
from ._sep import SEPSegmenter as SEPSegmenter
from ._unet import UNetSegmenter as UNetSegmenter
