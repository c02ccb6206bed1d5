"""Panoptic quality: scores of maps that give every pixel a class and, to sources, an instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..structures import GALAXY, Instances, as_label_map
from ..structures._types import Sources
from ._inputs import check_pair, is_panoptic
from ._matching import joint_runs, sum_pairs
from ._table import class_name, format_table

__all__ = ["PanopticQuality", "Quality", "panoptic_quality"]


class Quality(NamedTuple):
    """Quality of the segments of a class or of a group of classes.

    Parameters
    ----------
    pq, sq, rq : float
        Panoptic, segmentation and recognition quality.
    tp, fp, fn : int
        Number of matched, false and missed segments.
    """

    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic quality of all and of each class; print it to see the table.

    Parameters
    ----------
    all, things, stuff : Quality
        Means over all classes, over the classes with instances, and over the classes without. NaN
        if neither truth nor prediction has such a class.
    per_class : dict of int to Quality
        The quality of each class that occurs in truth or prediction.
    """

    all: Quality
    things: Quality
    stuff: Quality
    per_class: dict[int, Quality]

    @property
    def pq(self) -> float:
        """Panoptic quality, mean over all classes."""
        return self.all.pq

    @property
    def sq(self) -> float:
        """Segmentation quality, mean over all classes."""
        return self.all.sq

    @property
    def rq(self) -> float:
        """Recognition quality, mean over all classes."""
        return self.all.rq

    def __str__(self) -> str:
        rows = {"all": self.all, "things": self.things, "stuff": self.stuff}
        rows |= {class_name(class_id): quality for class_id, quality in self.per_class.items()}
        return format_table(["PQ", "SQ", "RQ", "TP", "FP", "FN"], rows)


def panoptic_quality(
    y_true: Sources, y_pred: Sources, *, stuff: Sequence[int] = (0,), void: int = -1
) -> PanopticQuality:
    """Panoptic quality (PQ), the product of segmentation (SQ) and recognition quality (RQ) [1]_.

    A predicted and a true segment of the same class match if their IoU is above 0.5. SQ is the mean
    IoU of the matches and RQ is the F1 score of the segments. Segments are counted over all images,
    and qualities are averaged over the classes.

    Parameters
    ----------
    y_true, y_pred : array of shape (height, width), (n_images, height, width) or \
            (n_images, 2, height, width), Instances, or list of them
        Panoptic maps hold the class and the instance id of every pixel. In a label map or a boolean
        mask (split into connected components) every source is a galaxy (class 1) and the rest is
        sky (class 0). Instances are painted as by `Instances.to_label_map`; without classes they
        are galaxies.
    stuff : sequence of int, default=(0,)
        Classes without instances, one segment per image: by default the sky. Pass
        `galaxysegment.structures.STUFF` for maps with artefacts, trails, diffuse light or cirrus.
    void : int, default=-1
        Class of the pixels without a truth. As in the paper, they are removed from the predicted
        segments before the IoU is computed. An unmatched predicted segment with more than half of
        its pixels in void is not counted as false. Void pixels of a prediction belong to no
        segment.

    Returns
    -------
    PanopticQuality
        With ``pq``, ``sq``, ``rq``, and the same for ``things``, ``stuff`` and ``per_class``.

    Raises
    ------
    ValueError
        If numbers of images or shapes differ, or ids are negative.

    References
    ----------
    .. [1] A. Kirillov, K. He, R. Girshick, C. Rother, P. Dollár, "Panoptic Segmentation",
       CVPR 2019, :doi:`10.1109/CVPR.2019.00963`

    Examples
    --------
    >>> from galaxysegment.metrics import panoptic_quality
    >>> print(panoptic_quality([[1, 1, 1, 0, 0, 0, 2]], [[1, 1, 0, 0, 0, 0, 0]]))
               PQ     SQ     RQ  TP  FP  FN
    all     0.522  0.633  0.833   2   0   1
    things  0.444  0.667  0.667   1   0   1
    stuff   0.600  0.600  1.000   1   0   0
    sky     0.600  0.600  1.000   1   0   0
    galaxy  0.444  0.667  0.667   1   0   1
    """
    y_true, y_pred = check_pair(y_true, y_pred)
    stuff = np.unique(np.asarray(stuff, dtype=np.int64))
    tallies: dict[int, Any] = {}
    for index, (truth, prediction) in enumerate(zip(y_true, y_pred, strict=True)):
        maps = _as_maps(truth, f"y_true[{index}]"), _as_maps(prediction, f"y_pred[{index}]")
        _tally(tallies, *_compare(*maps, stuff, void))
    per_class = {class_id: _quality(*tallies[class_id]) for class_id in sorted(tallies)}
    things = [quality for class_id, quality in per_class.items() if class_id not in stuff]
    backdrop = [quality for class_id, quality in per_class.items() if class_id in stuff]
    return PanopticQuality(_mean(things + backdrop), _mean(things), _mean(backdrop), per_class)


def _as_maps(image, name):
    """Return the semantic map, unless every source is a galaxy, and the map of instance ids."""
    if isinstance(image, Instances):
        return tuple(image.to_panoptic())
    if not is_panoptic(image):
        return (as_label_map(image, name),)
    semantic = np.asarray(image[0])
    if not np.array_equal(semantic, np.rint(semantic)):
        raise ValueError(
            f"{name}[0] must hold the class of every pixel as whole numbers. Got fractions instead."
        )
    return semantic, as_label_map(image[1], f"{name}[1]")


def _compare(true_maps, pred_maps, stuff, void):
    """Match the segments of one image.

    Returns
    -------
    matched, iou : ndarray
        Class and IoU of the matches.
    wrong, missed : ndarray of int
        Classes of the unmatched predicted and true segments that count.
    """
    runs, lengths = joint_runs(*true_maps, *pred_maps)
    true, true_classes = _segments(runs[: len(true_maps)], stuff, void)
    pred, pred_classes = _segments(runs[len(true_maps) :], stuff, void)
    i, j, shared = sum_pairs(true, pred, lengths)
    true_areas = np.bincount(true, weights=lengths, minlength=len(true_classes))
    pred_areas = np.bincount(pred, weights=lengths, minlength=len(pred_classes))
    in_void = np.zeros(len(pred_classes))
    in_void[j[i == 0]] = shared[i == 0]
    segments = (i > 0) & (j > 0)
    i, j, shared = i[segments], j[segments], shared[segments]
    iou = shared / (true_areas[i] + pred_areas[j] - in_void[j] - shared)
    match = (true_classes[i] == pred_classes[j]) & (iou > 0.5)
    missed, wrong = np.arange(len(true_classes)) > 0, in_void <= 0.5 * pred_areas
    missed[i[match]] = wrong[j[match]] = wrong[0] = False
    return true_classes[i[match]], iou[match], pred_classes[wrong], true_classes[missed]


def _segments(maps, stuff, void):
    """Number the segments 1…n, 0 for void; return the numbers and the class of each number."""
    ids = maps[-1].astype(np.int64)
    semantic = maps[0].astype(np.int64) if len(maps) > 1 else np.where(ids > 0, GALAXY, 0)
    ids = np.where(np.isin(semantic, stuff), 0, ids)
    lowest, width = semantic.min(initial=0), ids.max(initial=0) + 1
    keys, numbers = np.unique((semantic - lowest) * width + ids, return_inverse=True)
    classes = keys // width + lowest
    kept = classes != void
    order = np.where(kept, np.cumsum(kept), 0)
    return order[numbers], np.concatenate([[void], classes[kept]])


def _tally(tallies, matched, iou, wrong, missed):
    """Add one image to ``{class: [sum of IoU, tp, fp, fn]}``."""
    for column, (classes, weights) in enumerate(
        [(matched, iou), (matched, None), (wrong, None), (missed, None)]
    ):
        present, inverse = np.unique(classes, return_inverse=True)
        for class_id, amount in zip(
            present.tolist(), np.bincount(inverse, weights=weights).tolist(), strict=True
        ):
            tallies.setdefault(class_id, [0.0, 0, 0, 0])[column] += amount


def _quality(iou, tp, fp, fn):
    sq, rq = iou / tp if tp else 0.0, tp / (tp + 0.5 * fp + 0.5 * fn)
    return Quality(sq * rq, sq, rq, tp, fp, fn)


def _mean(qualities):
    if not qualities:
        return Quality(float("nan"), float("nan"), float("nan"), 0, 0, 0)
    table = np.array(qualities)
    return Quality(
        *table[:, :3].mean(axis=0).tolist(), *table[:, 3:].sum(axis=0).astype(int).tolist()
    )
