"""From the logits of queries to `Instances`: every pixel goes to one segment."""

from itertools import islice

import numpy as np
import torch

from ...structures import Instances, relabel
from ..common._data import batches_by_shape
from ..common._memory import kept_memory
from ._data import SegmentBatch

__all__ = ["Candidates", "find_candidates", "join_windows", "predict_instances", "to_instances"]

_HARDLY = 0.05  # queries with less confidence never make a source
_BATCH_PIXELS = 1024**2  # a batch of larger images would not fit into the memory of a small machine


class Candidates:
    """The queries of one image that may be sources.

    Parameters
    ----------
    shape : tuple of int
    scores, classes : ndarray of shape (n,)
        Probability of the likeliest class of sources times the `_sureness` of the mask; index of
        the class.
    masks : ndarray of float32, shape (n, height, width)
        Probabilities.
    sky : ndarray of float32, shape (height, width)
        Probability of the sky, whose confidence is taken for granted.
    n_queries : int
        Queries that there are for sources.
    """

    def __init__(self, shape, scores, classes, masks, sky, n_queries):
        self.shape, self.scores, self.classes = shape, scores, classes
        self.masks, self.sky, self.n_queries = masks, sky, n_queries

    def is_full(self, threshold):
        """Whether as many queries as there are for sources became one."""
        return int(np.count_nonzero(self.scores >= threshold)) >= self.n_queries


def find_candidates(net, images, batch_size, lowest=_HARDLY):
    """Candidates of each scaled image; those of one shape go together."""
    result = [None] * len(images)
    with kept_memory():
        predict = net.predictor()
        for chunk in batches_by_shape(images, batch_size, _BATCH_PIXELS):
            batch = torch.from_numpy(np.nan_to_num(np.stack([images[i] for i in chunk]), nan=0.0))
            output = predict(SegmentBatch(batch, least=lowest))
            for index, logits, masks in zip(chunk, output["classes"], output["masks"], strict=True):
                result[index] = _candidates(logits.float(), masks, net.module_.n_queries, lowest)
    return result


def _candidates(logits, masks, n_queries, lowest):
    proba = logits.softmax(-1)[:, :-1]
    scores, classes = proba[:, 1:].max(dim=1)
    kept = (scores >= lowest) & (scores >= proba[:, 0])
    sky = masks[proba[:, 0].argmax()].float().sigmoid()
    chosen = masks[kept].float().sigmoid()
    scores, classes = (
        (scores[kept] * _sureness(chosen, sky)).cpu().numpy(),
        classes[kept].cpu().numpy() + 1,
    )
    return Candidates(
        tuple(sky.shape), scores, classes, chosen.cpu().numpy(), sky.cpu().numpy(), n_queries
    )


def _sureness(masks, sky):
    """How sure masks and sky are of the pixels in each mask: the geometric mean of the two.

    As in Mask2Former a mask that hesitates lowers the score. The masks of large galaxies hesitate
    more than those of small ones; that the sky denies their pixels speaks for them, and against
    what noise there is in the sky.
    """
    inside = (masks > 0.5).float()
    counts = inside.sum(dim=(1, 2)).clamp(min=1)
    own, denied = ((proba * inside).sum(dim=(1, 2)) / counts for proba in (masks, 1 - sky))
    return (own * denied).sqrt()


def to_instances(candidates, threshold, n_pixels, names):
    """Return `Instances` without overlaps: each pixel goes to the likeliest source, or to the sky.

    Parameters
    ----------
    candidates : Candidates
    threshold : float
        Least score.
    n_pixels : int
        Least pixels of a source.
    names : ndarray of int
        Category of each class index.
    """
    kept = candidates.scores >= threshold
    masks, scores = candidates.masks[kept], candidates.scores[kept]
    if not len(masks):
        return Instances(candidates.shape, np.zeros((0, 4)), [], [], np.zeros(0, dtype=np.int64))
    rivals = masks * scores[:, None, None]
    best = rivals.argmax(axis=0)[np.newaxis]
    value, own = (np.take_along_axis(values, best, axis=0)[0] for values in (rivals, masks))
    labels = np.where((value > candidates.sky) & (own > 0.5), best[0] + 1, 0).astype(np.int32)
    if n_pixels > 1:
        areas = np.bincount(labels.ravel(), minlength=len(masks) + 1)
        labels[(areas < n_pixels)[labels]] = 0
    left = np.unique(labels)
    left = left[left > 0] - 1
    classes = np.asarray(names)[candidates.classes[kept][left]]
    return Instances.from_label_map(relabel(labels), scores[left], classes)


def predict_instances(net, images, batch_size, window, threshold, n_pixels, names):
    """Return `Instances` of each scaled image, and the indices of images that used all queries.

    Larger images are cut into windows that overlap by half.
    """
    windows = [cut_windows(image.shape[1:], window) for image in images]
    crops = [
        image[:, part.rows, part.columns]
        for image, parts in zip(images, windows, strict=True)
        for part in parts
    ]
    candidates = iter(find_candidates(net, crops, batch_size, max(threshold, _HARDLY)))
    result, crowded = [], []
    for index, (image, parts) in enumerate(zip(images, windows, strict=True)):
        queries = list(islice(candidates, len(parts)))
        if any(query_set.is_full(threshold) for query_set in queries):
            crowded.append(index)
        sources = [to_instances(query_set, threshold, n_pixels, names) for query_set in queries]
        result.append(
            sources[0]
            if len(parts) == 1
            else join_windows(parts, sources, image.shape[1:], n_pixels)
        )
    return result, crowded


class Window:
    """Part of an image that the net sees at once, and the core whose sources are taken from it."""

    def __init__(self, rows, columns, core):
        self.rows, self.columns, self.core = rows, columns, core


def cut_windows(shape, size):
    """Windows that cover an image: whole where it is no larger than `size` (None: any size)."""
    spans = [_spans(length, size) for length in shape]
    return [
        Window(rows, columns, (*core_y, *core_x))
        for rows, core_y in spans[0]
        for columns, core_x in spans[1]
    ]


def _spans(length, size):
    """Return slices that overlap by half, and the part of the line closest to each middle."""
    if size is None or length <= size:
        return [(slice(0, length), (-np.inf, np.inf))]
    count = -(-(length - size) // (size // 2)) + 1
    starts = np.linspace(0, length - size, count).round().astype(int)
    edges = [-np.inf, *(starts[:-1] + starts[1:] + size) / 2, np.inf]
    return [
        (slice(start, start + size), (edges[index], edges[index + 1]))
        for index, start in enumerate(starts.tolist())
    ]


_SLACK = 3.0  # pixels by which two windows may disagree about the centre of a source


def join_windows(windows, sources_of_windows, shape, n_pixels):
    """Paint the sources whose centres lie in the cores of their windows, the surest first."""
    chosen = []
    for window, sources in zip(windows, sources_of_windows, strict=True):
        y0, x0, y1, x1 = sources.boxes.T
        y, x = (y0 + y1 - 1) / 2 + window.rows.start, (x0 + x1 - 1) / 2 + window.columns.start
        low_y, high_y, low_x, high_x = window.core
        inside = (
            (y >= low_y - _SLACK)
            & (y < high_y + _SLACK)
            & (x >= low_x - _SLACK)
            & (x < high_x + _SLACK)
        )
        chosen.append(sources.select(inside).shift(window.rows.start, window.columns.start, shape))
    return paint_apart(chosen, shape, n_pixels)


def paint_apart(groups, shape, n_pixels):
    """Return `Instances` of several lists without overlaps.

    A source that surer sources mostly cover is taken for one of them.
    """
    pool = [
        (score, box, crop, label)
        for sources in groups
        for score, box, crop, label in zip(
            sources.scores.tolist(),
            sources.boxes.tolist(),
            sources.crops,
            sources.classes if len(sources) else [],
            strict=True,
        )
    ]
    labels, scores, classes = np.zeros(shape, dtype=np.int32), [], []
    for score, (y0, x0, y1, x1), crop, class_id in sorted(pool, key=lambda sources: -sources[0]):
        part = labels[y0:y1, x0:x1]
        free = crop & (part == 0)
        count = np.count_nonzero(free)
        if count >= n_pixels and 2 * count > np.count_nonzero(crop):
            scores.append(score)
            classes.append(class_id)
            part[free] = len(scores)
    return Instances.from_label_map(labels, scores, classes)
