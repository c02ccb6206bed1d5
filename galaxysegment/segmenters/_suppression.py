"""Keep the surest of the masks of the same source."""

import numpy as np

__all__ = ["suppress"]


def suppress(instances, iou):
    """Return the sources whose masks do not overlap a surer source's mask by more than `iou`.

    Parameters
    ----------
    instances : Instances
        In order of falling score.
    iou : float
        Intersection over union.

    Returns
    -------
    Instances
    """
    boxes, areas, kept = instances.boxes, instances.areas, []
    for index in range(len(instances)):
        rivals = np.array(kept, dtype=np.int64)
        low = np.maximum(boxes[rivals, :2], boxes[index, :2])
        high = np.minimum(boxes[rivals, 2:], boxes[index, 2:])
        # the masks cannot overlap more than their boxes do
        bound = np.prod(np.maximum(high - low, 0), axis=1)
        rivals = rivals[bound > iou * np.maximum(areas[rivals], areas[index])]
        if not any(_iou(instances, index, rival) > iou for rival in rivals.tolist()):
            kept.append(index)
    return instances.select(kept) if len(kept) < len(instances) else instances


def _iou(instances, index, rival):
    boxes = instances.boxes[[index, rival]]
    low, high = boxes[:, :2].max(axis=0), boxes[:, 2:].min(axis=0)
    parts = [
        instances.crops[number][
            tuple(slice(a, b) for a, b in zip(low - box[:2], high - box[:2], strict=True))
        ]
        for number, box in zip((index, rival), boxes, strict=True)
    ]
    both = np.count_nonzero(parts[0] & parts[1])
    return both / (
        np.count_nonzero(instances.crops[index]) + np.count_nonzero(instances.crops[rival]) - both
    )
