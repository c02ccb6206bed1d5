"""Mask R-CNN: module, data, prediction, and the weights of torchvision."""

from ..._utils.packages import require

require("MaskRCNNSegmenter", "torchvision")
