"""In which order sources that overlap are painted into a label map."""

import numpy as np

__all__ = ["painting_order"]

_NESTED = 0.01  # of the pixels of a source: one that small lies on top of it
_INSIDE = 0.5  # of its own pixels lie in the larger source


def painting_order(instances):
    """Return the indices of sources in the order of painting: the last one is on top.

    Scores rise in this order. A source of less than 1 % of the pixels of another, in which most of
    it lies, comes after it whatever the scores: a companion on a large galaxy would be lost
    otherwise, and the galaxy loses next to nothing.

    Parameters
    ----------
    instances : Instances

    Returns
    -------
    ndarray of int64, shape (n_sources,)
    """
    order = np.argsort(instances.scores, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    areas = instances.areas
    hosts = np.flatnonzero(areas * _NESTED > areas.min(initial=areas.max(initial=0)))
    if not len(hosts):
        return order
    # a nested source follows its host, at its level; nested in a nested one, one level deeper
    place, depth = rank.copy(), np.zeros_like(rank)
    middle = instances.boxes[:, 0] + instances.boxes[:, 2]
    by_row = np.argsort(middle, kind="stable")
    rows = middle[by_row]
    for host in hosts[np.argsort(-areas[hosts], kind="stable")].tolist():
        top, bottom = 2 * instances.boxes[host, [0, 2]]
        near = by_row[np.searchsorted(rows, top) : np.searchsorted(rows, bottom, "right")]
        for index in near[_may_lie_in(instances, areas, near, host)].tolist():
            behind = (place[index], depth[index]) <= (place[host], depth[host])
            if behind and _share_inside(instances, index, host) > _INSIDE:
                place[index], depth[index] = place[host], depth[host] + 1
    return np.lexsort([rank, depth, place])


def _may_lie_in(instances, areas, near, host):
    """Whether sources are small enough, and the middles of their boxes lie in that of the host."""
    boxes, box = instances.boxes[near], instances.boxes[host]
    column = boxes[:, 1] + boxes[:, 3]
    inside = (column >= 2 * box[1]) & (column <= 2 * box[3])
    return inside & (areas[near] < _NESTED * areas[host])


def _share_inside(instances, index, host):
    """Share of the pixels of a source that lie in another."""
    boxes = instances.boxes[[index, host]]
    low, high = boxes[:, :2].max(axis=0), boxes[:, 2:].min(axis=0)
    crops = instances.crops[index], instances.crops[host]
    own, other = (
        crop[low[0] - box[0] : high[0] - box[0], low[1] - box[1] : high[1] - box[1]]
        for crop, box in zip(crops, boxes, strict=True)
    )
    return np.count_nonzero(own & other) / np.count_nonzero(crops[0])
