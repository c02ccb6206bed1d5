"""Scores of segmentations: pixels, sources, panoptic; and scorers for model selection."""

from ._calibration import (
    ReliabilityCurve,
    brier_score,
    expected_calibration_error,
    reliability_curve,
    source_calibration_error,
    source_reliability_curve,
)
from ._coco_summary import CocoSummary, coco_summary
from ._curves import FractionCurve, fraction_curve, match_positions
from ._instance import DetectionScores, average_precision, detection_scores, precision_recall_curve
from ._panoptic import PanopticQuality, Quality, panoptic_quality
from ._pixel import accuracy_score, dice_score, f1_score, iou_score, precision_score, recall_score
from ._scorers import (
    accuracy_scorer,
    ap_scorer,
    calibration_scorer,
    detection_f1_scorer,
    dice_scorer,
    f1_scorer,
    get_scorer,
    iou_scorer,
    pq_scorer,
    precision_scorer,
    recall_scorer,
    scorer_names,
    separation_scorer,
)
from ._separation import separation_scores

__all__ = [
    "CocoSummary",
    "DetectionScores",
    "FractionCurve",
    "PanopticQuality",
    "Quality",
    "ReliabilityCurve",
    "accuracy_score",
    "accuracy_scorer",
    "ap_scorer",
    "average_precision",
    "brier_score",
    "calibration_scorer",
    "coco_summary",
    "detection_f1_scorer",
    "detection_scores",
    "dice_score",
    "dice_scorer",
    "expected_calibration_error",
    "f1_score",
    "f1_scorer",
    "fraction_curve",
    "get_scorer",
    "iou_score",
    "iou_scorer",
    "match_positions",
    "panoptic_quality",
    "pq_scorer",
    "precision_recall_curve",
    "precision_score",
    "precision_scorer",
    "recall_score",
    "recall_scorer",
    "reliability_curve",
    "scorer_names",
    "separation_scorer",
    "separation_scores",
    "source_calibration_error",
    "source_reliability_curve",
]
