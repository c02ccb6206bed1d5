"""Scores of segmentations: pixels, sources, panoptic; and scorers for model selection."""

from ._pixel import accuracy_score, dice_score, f1_score, iou_score, precision_score, recall_score

__all__ = ["accuracy_score", "dice_score", "f1_score", "iou_score", "precision_score", "recall_score"]
