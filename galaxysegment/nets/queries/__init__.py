"""What DETR and Mask2Former share: seeds of queries, targets, checkpoints, prediction."""

from ..._utils.packages import require

require("DETRSegmenter", "transformers")
