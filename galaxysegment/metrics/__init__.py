"""Scores of segmentations: pixels, sources, panoptic; and scorers for model selection."""

from ._pixel import iou_score

__all__ = ["iou_score"]
