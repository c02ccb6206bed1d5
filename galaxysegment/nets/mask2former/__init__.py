"""Mask2Former, as published and seeded."""

from ..._utils.packages import require

require("DETRSegmenter", "transformers")
