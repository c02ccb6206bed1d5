"""Find which sources overlap, and by how much, for the scores of sources and panoptic maps.

Overlaps are a sparse list of pairs. Label maps are compared in one pass over their runs of equal
pixels. Instances are compared box by box on a grid, then crop by crop. Memory grows with the number
of overlapping pairs, not with true sources × predicted sources.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csgraph

from ..structures import GALAXY, Instances, as_label_map, relabel
from ._inputs import check_pair, is_panoptic

# Components with more candidate pairs are matched by the sparse solver. A dense cost matrix is
# faster while it is small, but too large if the sources of a whole field touch.
_DENSE_PAIRS = 250_000


@dataclass(frozen=True, eq=False)
class Sources:
    """The sources of all images, one image after another."""

    image: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    told_apart: bool

    def __len__(self):
        return len(self.image)

    def select(self, keep):
        return Sources(
            self.image[keep],
            self.areas[keep],
            self.scores[keep],
            self.classes[keep],
            self.told_apart,
        )


@dataclass(frozen=True, eq=False)
class Overlaps:
    """True and predicted sources and the pairs of them that overlap."""

    true: Sources
    pred: Sources
    i: np.ndarray
    j: np.ndarray
    iou: np.ndarray
    n_images: int

    def select(self, true_keep, pred_keep):
        """Keep some sources (boolean masks) and the pairs between them."""
        pairs = true_keep[self.i] & pred_keep[self.j]
        i, j = np.cumsum(true_keep)[self.i[pairs]] - 1, np.cumsum(pred_keep)[self.j[pairs]] - 1
        return Overlaps(
            self.true.select(true_keep),
            self.pred.select(pred_keep),
            i,
            j,
            self.iou[pairs],
            self.n_images,
        )

    def of_class(self, class_id):
        """Keep the sources of one class; sources without a class count as galaxies."""
        return self.select(self.true.classes == class_id, self.pred.classes == class_id)


def find_overlaps(y_true, y_pred, kind="segm"):
    """Find the pairs of true and predicted sources that share pixels.

    Parameters
    ----------
    y_true, y_pred : image or images in any form that metrics take
        Label maps, boolean masks (split into components), panoptic maps or instances.
    kind : {"segm", "bbox"}, default="segm"
        Compare masks or bounding boxes.

    Returns
    -------
    Overlaps
        Pairs sorted by true, then by predicted source.
    """
    if kind not in ("segm", "bbox"):
        raise ValueError(f"kind must be 'segm' or 'bbox'. Got {kind!r} instead.")
    y_true, y_pred = check_pair(y_true, y_pred)
    y_true = [as_sources(image, f"y_true[{index}]") for index, image in enumerate(y_true)]
    y_pred = [as_sources(image, f"y_pred[{index}]") for index, image in enumerate(y_pred)]
    if kind == "segm" and not any(isinstance(image, Instances) for image in y_true + y_pred):
        return _map_overlaps(y_true, y_pred)
    return _instance_overlaps(
        [as_instances(image) for image in y_true], [as_instances(image) for image in y_pred], kind
    )


def as_sources(image, name):
    """Return instances unchanged, anything else as label map and semantic map (or None)."""
    if isinstance(image, Instances):
        if np.isnan(image.scores).any():
            raise ValueError(f"{name}.scores holds NaN: give every source a score.")
        return image
    if is_panoptic(image):
        return as_label_map(image[1], name), np.asarray(image[0])
    return as_label_map(image, name), None


def as_instances(sources):
    """Turn the result of `as_sources` into instances."""
    if isinstance(sources, Instances):
        return sources
    labels, semantic = sources
    return (
        Instances.from_label_map(labels)
        if semantic is None
        else Instances.from_panoptic((semantic, labels))
    )


# --- label maps ---------------------------------------------------------------------------------


def joint_runs(*maps):
    """Cut maps of equal shape into runs along the rows where none of them changes.

    Returns
    -------
    values : list of ndarray of shape (n_runs,)
        The value of each map in each run.
    lengths : ndarray of int, shape (n_runs,)
        Pixels of each run.
    """
    flat = [np.ravel(values) for values in maps]
    if flat[0].size == 0:
        return flat, np.zeros(0, dtype=np.int64)
    change = flat[0][1:] != flat[0][:-1]
    for values in flat[1:]:
        change |= values[1:] != values[:-1]
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    return [values[starts] for values in flat], np.diff(starts, append=flat[0].size)


def sum_pairs(i, j, weights):
    """Add up the weights of equal pairs; return the distinct pairs, sorted, and their sums."""
    width = int(j.max(initial=0)) + 1
    keys, inverse = np.unique(i.astype(np.int64) * width + j, return_inverse=True)
    sums = np.bincount(inverse, weights=weights, minlength=len(keys)).astype(np.int64)
    return keys // width, keys % width, sums


def _map_overlaps(y_true, y_pred):
    parts = [
        _map_pairs(*truth, *prediction) for truth, prediction in zip(y_true, y_pred, strict=True)
    ]
    true, i_start = _join_sources([part[0] for part in parts])
    pred, j_start = _join_sources([part[1] for part in parts])
    i = np.concatenate([part[2] + start for part, start in zip(parts, i_start, strict=True)])
    j = np.concatenate([part[3] + start for part, start in zip(parts, j_start, strict=True)])
    shared = np.concatenate([part[4] for part in parts])
    return Overlaps(true, pred, i, j, _iou(true.areas, pred.areas, i, j, shared), len(parts))


def _map_pairs(true_labels, true_semantic, pred_labels, pred_semantic):
    """Sources of two label maps of one image, and the pixels that each pair of them shares."""
    maps = (true_labels, pred_labels, true_semantic, pred_semantic)
    runs, lengths = joint_runs(*(values for values in maps if values is not None))
    true, pred = relabel(runs[0]), relabel(runs[1])
    true_classes = None if true_semantic is None else _first_values(true, runs[2])
    pred_classes = None if pred_semantic is None else _first_values(pred, runs[-1])
    both = (true > 0) & (pred > 0)
    i, j, shared = sum_pairs(true[both] - 1, pred[both] - 1, lengths[both])
    true_part = (_run_areas(true, lengths), None, true_classes)
    return true_part, (_run_areas(pred, lengths), None, pred_classes), i, j, shared


def _run_areas(labels, lengths):
    return np.bincount(labels, weights=lengths, minlength=1)[1:].astype(np.int64)


def _first_values(labels, values):
    """Return the value at the first pixel of each label 1…n."""
    present, first = np.unique(labels, return_index=True)
    return values[first[present > 0]]


def _join_sources(parts):
    """Join (areas, scores, classes) of the images; return sources and the first index per image."""
    counts = [len(areas) for areas, _, _ in parts]
    areas = [areas for areas, _, _ in parts]
    scores = [np.ones(len(areas)) if scores is None else scores for areas, scores, _ in parts]
    classes = [
        np.full(len(areas), GALAXY) if classes is None else classes for areas, _, classes in parts
    ]
    told_apart = all(classes is not None for areas, _, classes in parts if len(areas))
    image = np.repeat(np.arange(len(parts)), counts)
    joined = [np.concatenate(columns) for columns in (areas, scores, classes)]
    return Sources(image, *joined, told_apart), np.cumsum([0, *counts[:-1]])


def _iou(true_areas, pred_areas, i, j, shared):
    return shared / (true_areas[i] + pred_areas[j] - shared)


# --- instances ----------------------------------------------------------------------------------


def _instance_overlaps(y_true, y_pred, kind):
    """Compare the instances of all images at once, as if the images were one tall stack."""
    tops = np.cumsum([0, *(instances.shape[0] for instances in y_true[:-1])])
    (true, true_boxes, true_crops), (pred, pred_boxes, pred_crops) = (
        _stack(y_true, tops),
        _stack(y_pred, tops),
    )
    i, j, corners = touching_boxes(true_boxes, pred_boxes)
    if kind == "bbox":
        shared = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
        true_areas, pred_areas = _box_areas(true_boxes), _box_areas(pred_boxes)
    else:
        shared = _shared_pixels(true_boxes, true_crops, pred_boxes, pred_crops, i, j, corners)
        true_areas, pred_areas = true.areas, pred.areas
    keep = shared > 0
    i, j, shared = i[keep], j[keep], shared[keep]
    return Overlaps(true, pred, i, j, _iou(true_areas, pred_areas, i, j, shared), len(y_true))


def _stack(images, tops):
    sources, _ = _join_sources([(each.areas, each.scores, each.classes) for each in images])
    boxes = np.concatenate(
        [each.boxes + np.array([top, 0, top, 0]) for each, top in zip(images, tops, strict=True)]
    )
    return sources, boxes, [crop for each in images for crop in each.crops]


def _box_areas(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def touching_boxes(first, second):
    """Find the pairs of boxes that share pixels.

    Each box is entered into the cells of a grid; boxes in the same cell are compared. The time
    grows with the number of boxes and of comparisons, not with n × m.

    Parameters
    ----------
    first, second : ndarray of int, shape (n, 4) and (m, 4)
        ``y0, x0, y1, x1``, half-open.

    Returns
    -------
    i, j : ndarray of int, shape (n_pairs,)
        Sorted by `i`, then `j`.
    corners : ndarray of int, shape (n_pairs, 4)
        The box of the pixels that both share.
    """
    if not len(first) or not len(second):
        return (
            np.zeros(0, dtype=np.int64),
            np.zeros(0, dtype=np.int64),
            np.zeros((0, 4), dtype=np.int64),
        )
    both = np.concatenate([first, second])
    size = max(8, int(np.median(both[:, 2:] - both[:, :2])))
    n_columns = int(both[:, 3].max()) // size + 1
    i, cells = _cells_of(first, size, n_columns)
    j, other_cells = _cells_of(second, size, n_columns)
    order = np.argsort(other_cells, kind="stable")
    start, stop = (np.searchsorted(other_cells[order], cells, side) for side in ("left", "right"))
    counts = stop - start
    i, cells, j = np.repeat(i, counts), np.repeat(cells, counts), j[order[_ranges(start, counts)]]
    corners = np.concatenate(
        [np.maximum(first[i, :2], second[j, :2]), np.minimum(first[i, 2:], second[j, 2:])], axis=1
    )
    # Two boxes may share several cells. The pair counts in the cell of the first shared pixel.
    home = corners[:, 0] // size * n_columns + corners[:, 1] // size
    keep = np.flatnonzero((corners[:, :2] < corners[:, 2:]).all(axis=1) & (home == cells))
    keep = keep[np.lexsort((j[keep], i[keep]))]
    return i[keep], j[keep], corners[keep]


def _cells_of(boxes, size, n_columns):
    """Return (index of the box, number of the cell) for every grid cell that a box reaches."""
    low, high = boxes[:, :2] // size, (boxes[:, 2:] - 1) // size
    rows, columns = (high - low + 1).T
    index = np.repeat(np.arange(len(boxes)), rows * columns)
    within = _ranges(np.zeros(len(boxes), dtype=np.int64), rows * columns)
    return index, (low[index, 0] + within // columns[index]) * n_columns + low[
        index, 1
    ] + within % columns[index]


def _ranges(start, counts):
    """Concatenate ``arange(start, start + count)`` of every entry."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - counts), counts)


def _shared_pixels(true_boxes, true_crops, pred_boxes, pred_crops, i, j, corners):
    shared = np.zeros(len(i), dtype=np.int64)
    true_corner = (corners - np.tile(true_boxes[i, :2], 2)).tolist()
    pred_corner = (corners - np.tile(pred_boxes[j, :2], 2)).tolist()
    pairs = zip(i.tolist(), j.tolist(), true_corner, pred_corner, strict=True)
    for pair, (true, pred, (y0, x0, y1, x1), (v0, u0, v1, u1)) in enumerate(pairs):
        shared[pair] = np.count_nonzero(
            true_crops[true][y0:y1, x0:x1] & pred_crops[pred][v0:v1, u0:u1]
        )
    return shared


# --- matching -----------------------------------------------------------------------------------


def best_pairs(overlaps, iou):
    """Match sources one to one at an IoU of at least `iou`: as many as possible, then the best.

    Returns
    -------
    ndarray of int
        Indices of the matched pairs of `overlaps`, increasing.
    """
    pairs = np.flatnonzero(overlaps.iou >= iou)
    i, j, weight = overlaps.i[pairs], overlaps.j[pairs], overlaps.iou[pairs]
    single = (
        (np.bincount(i)[i] == 1) & (np.bincount(j)[j] == 1) if len(i) else np.zeros(0, dtype=bool)
    )
    contested = np.flatnonzero(~single)
    chosen = [pairs[single]]
    for members in _components(i[contested], j[contested]):
        group = contested[members]
        chosen.append(pairs[group[_assign(i[group], j[group], weight[group])]])
    return np.sort(np.concatenate(chosen))


def _components(i, j):
    """Split pairs into groups that have no source in common."""
    if not len(i):
        return []
    n, m = i.max() + 1, j.max() + 1
    graph = sparse.coo_array((np.ones(len(i), dtype=bool), (i, j + n)), shape=(n + m, n + m))
    _, component = csgraph.connected_components(graph, directed=False)
    order = np.argsort(component[i], kind="stable")
    return np.split(order, np.flatnonzero(np.diff(component[i][order])) + 1)


def _assign(i, j, iou):
    """Choose the most matches of a component; if several choices tie, the largest sum of IoU."""
    (rows, i), (columns, j) = (np.unique(index, return_inverse=True) for index in (i, j))
    n, m = len(rows), len(columns)
    weight = 1 + iou / (2 * min(n, m))  # all IoUs together weigh less than one match
    if n * m <= _DENSE_PAIRS:
        dense = np.zeros((n, m))
        dense[i, j] = weight
        picked = linear_sum_assignment(dense, maximize=True)
    else:  # the solver matches every row: a column of its own, worth 1e-9, stands for "no match"
        # older solvers take 32-bit indices only
        i, j, spare = (index.astype(np.int32) for index in (i, j, np.arange(n)))
        values = np.concatenate([weight, np.full(n, 1e-9)])
        where = (np.concatenate([i, spare]), np.concatenate([j, m + spare]))
        graph = sparse.csr_array((values, where), shape=(n, m + n))
        picked = csgraph.min_weight_full_bipartite_matching(graph, maximize=True)
    return np.flatnonzero(
        np.isin(i.astype(np.int64) * (m + n) + j, picked[0].astype(np.int64) * (m + n) + picked[1])
    )


def greedy_pairs(overlaps, order, thresholds):
    """Match as COCO does: predictions in `order` take the best true source that is still free.

    Yields
    ------
    matched : ndarray of bool, shape (n_pred,)
        One array per threshold: whether each prediction, in `order`, has a match.
    """
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    # If IoUs are equal, the later true source wins, as in COCOeval.
    sequence = np.lexsort((-overlaps.i, -overlaps.iou, rank[overlaps.j]))
    i, rank, iou = overlaps.i[sequence], rank[overlaps.j[sequence]], overlaps.iou[sequence]
    for threshold in thresholds:
        enough = iou >= min(threshold, 1 - 1e-10)
        matched, free = bytearray(len(order)), bytearray(b"\x01") * len(overlaps.true)
        for pred, true in zip(rank[enough].tolist(), i[enough].tolist(), strict=True):
            if free[true] and not matched[pred]:
                matched[pred], free[true] = 1, 0
        yield np.frombuffer(matched, dtype=bool)
