"""Join the tiles' instances: each object once, whole, with its score and class."""

import os
from io import BytesIO

import numpy as np
from astropy.io import fits

from ..io._tables import classes_hdu, instances_hdu, scores_hdu
from ..structures import GALAXY, SKY, Instances
from ..structures._labels import connect
from ..structures._painting import painting_order
from ._join import as_semantic, stack_tables

_ROWS = 256
_SAME = 0.5  # IoU at which two tiles mean the same object


def describe_instances(instances, tile, shape, margin, measured=None):
    """Boil the instances of a read region down to those that reach into the core of its tile.

    Parameters
    ----------
    instances : Instances
        In the frame of the read region.
    tile : Tile
    shape : tuple of int
        ``(height, width)`` of the mosaic.
    margin : int
        Pixels along an inner edge of the read region that are not to be trusted.
    measured : ndarray of float64, shape (n_rows, n_numbers), optional
        Numbers about each instance; its class is the row.

    Returns
    -------
    dict of ndarray
        ``boxes`` in the frame of the mosaic, ``bits`` and ``ends`` (the masks, packed one after the
        other), ``scores``, ``classes`` (-1 where there are none), ``cut`` (whether it may go on
        beyond what was read), ``measured`` (the rows).
    """
    read, core = tile.read, tile.core
    inside = _inside(instances, core.within(read))
    kept = instances.select(inside)
    height, width = read.shape
    y0, x0, y1, x1 = kept.boxes.T
    cut = (y0 <= margin) & (read.y0 > 0) | (y1 >= height - margin) & (read.y1 < shape[0])
    cut |= (x0 <= margin) & (read.x0 > 0) | (x1 >= width - margin) & (read.x1 < shape[1])
    bits = [np.packbits(crop) for crop in kept.crops]
    return {
        "boxes": kept.boxes + np.array([read.y0, read.x0, read.y0, read.x0]),
        "bits": np.concatenate([np.zeros(0, dtype=np.uint8), *bits]),
        "ends": np.cumsum([len(packed) for packed in bits], dtype=np.int64),
        "scores": kept.scores,
        "classes": np.full(len(kept), -1) if kept.classes is None else kept.classes,
        "cut": cut,
        "measured": np.zeros((len(kept), 0)) if measured is None else measured[kept.classes],
    }


def _inside(instances, window):
    """Which instances have a pixel in a window."""
    is_inside = np.zeros(len(instances), dtype=bool)
    rows, columns = window
    for index, ((y0, x0, y1, x1), crop) in enumerate(
        zip(instances.boxes.tolist(), instances.crops, strict=True)
    ):
        part = crop[
            max(rows.start - y0, 0) : max(min(rows.stop, y1) - y0, 0),
            max(columns.start - x0, 0) : max(min(columns.stop, x1) - x0, 0),
        ]
        is_inside[index] = part.any()
    return is_inside


def join_instances(records, tiles, shape, classes_of=None):
    """Put the tiles' instances together.

    Objects of two tiles are one where their masks agree (IoU of at least 0.5) on the pixels that
    both tiles read, unless a tile tells them apart. Of those that mean the same object, the one
    that no tile's edge cuts and that lies nearest to the middle of its tile is taken; if all are
    cut, each gives the pixels that its own tile owns.

    Parameters
    ----------
    records : list of dict
        Of the tiles, as `describe_instances` makes them.
    tiles : list of Tile
    shape : tuple of int
    classes_of : callable, optional
        Makes the classes of all objects of their rows of ``measured``.

    Returns
    -------
    Instances
        In raster order of their first pixels.
    """
    instances = _AllInstances(records, tiles, shape)
    objects = (
        connect(instances.pairs(), len(instances))
        if len(instances)
        else np.zeros(0, dtype=np.int64)
    )
    order = np.argsort(objects, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(objects[order])) + 1) if len(instances) else []
    chosen = [instances.merge(group) for group in groups]
    chosen.sort(key=lambda merged: _first_pixel(merged, shape[1]))
    boxes, crops, scores, classes, rows = zip(*chosen, strict=True) if chosen else ((),) * 5
    has_classes = len(classes) and all(number >= 0 for number in classes)
    if has_classes and classes_of is not None:
        classes = classes_of(np.array(rows))
    return Instances(
        shape, list(boxes), crops, list(scores), list(classes) if has_classes else None
    )


def _first_pixel(instance, width):
    (y0, x0, _, _), crop = instance[:2]
    y, x = np.divmod(int(np.flatnonzero(crop)[0]), crop.shape[1])
    return (y0 + y) * width + x0 + x


class _AllInstances:
    """All tiles' instances."""

    def __init__(self, records, tiles, shape):
        self.shape = shape
        self.tile = np.repeat(np.arange(len(tiles)), [len(record["boxes"]) for record in records])
        self.tiles = tiles
        for name in ("boxes", "scores", "classes", "cut"):
            setattr(self, name, np.concatenate([record[name] for record in records]))
        self.measured = stack_tables([record["measured"] for record in records])
        self.crops = [crop for record in records for crop in _unpack(record)]

    def __len__(self):
        return len(self.tile)

    def pairs(self):
        """Pairs of instances of different tiles that mean the same object, shape (2, n_pairs).

        The best ones are paired first. What one tile tells apart stays apart, whatever links it
        through other tiles.
        """
        rivals = sorted(
            (-self._iou(first, second), first, second) for first, second in self._neighbours()
        )
        group = {}  # of an instance: what is known to be one object so far, by tile
        pairs = []
        for iou, first, second in rivals:
            if -iou < _SAME:
                break
            mine, its = (
                group.setdefault(index, {self.tile[index]: index}) for index in (first, second)
            )
            if mine.keys().isdisjoint(its):
                mine |= its
                group.update(dict.fromkeys(its.values(), mine))
                pairs.append((first, second))
        return np.array(pairs, dtype=np.int64).reshape(-1, 2).T

    def _neighbours(self):
        """Yield pairs of instances of different tiles whose boxes overlap, each pair once.

        Two instances inside the cores of their tiles cannot overlap, so one of a pair leaves its
        core.
        """
        leaves = self._leaves_core()
        order = np.argsort(self.boxes[:, 0], kind="stable")
        tops = self.boxes[order, 0]
        tallest = (self.boxes[:, 2] - self.boxes[:, 0]).max(initial=0)
        for index in np.flatnonzero(leaves).tolist():
            top, left, bottom, right = self.boxes[index]
            rivals = order[slice(*np.searchsorted(tops, (top - tallest, bottom)))]
            near = (self.boxes[rivals, 2] > top) & (self.tile[rivals] != self.tile[index])
            near &= (self.boxes[rivals, 1] < right) & (self.boxes[rivals, 3] > left)
            near &= ~leaves[rivals] | (rivals > index)  # two that leave meet once
            yield from ((index, rival) for rival in rivals[near].tolist())

    def _leaves_core(self):
        cores = np.array([(t.core.y0, t.core.x0, t.core.y1, t.core.x1) for t in self.tiles])[
            self.tile
        ]
        return (self.boxes[:, :2] < cores[:, :2]).any(axis=1) | (
            self.boxes[:, 2:] > cores[:, 2:]
        ).any(axis=1)

    def _iou(self, first, second):
        """IoU of two masks on what both tiles read."""
        reads = [self.tiles[self.tile[index]].read for index in (first, second)]
        box = np.array([self.boxes[first], self.boxes[second]])
        low = np.maximum(
            box[:, :2].min(axis=0), [max(r.y0 for r in reads), max(r.x0 for r in reads)]
        )
        high = np.minimum(
            box[:, 2:].max(axis=0), [min(r.y1 for r in reads), min(r.x1 for r in reads)]
        )
        if (low >= high).any():
            return 0.0
        a, b = (self._mask(index, low, high) for index in (first, second))
        return np.count_nonzero(a & b) / max(np.count_nonzero(a | b), 1)

    def _mask(self, index, low, high):
        """Mask of an instance on the rectangle from `low` to `high`."""
        mask = np.zeros(high - low, dtype=bool)
        y0, x0, y1, x1 = self.boxes[index]
        top, left = max(y0, low[0]), max(x0, low[1])
        bottom, right = min(y1, high[0]), min(x1, high[1])
        if top < bottom and left < right:
            part = self.crops[index][top - y0 : bottom - y0, left - x0 : right - x0]
            mask[top - low[0] : bottom - low[0], left - low[1] : right - low[1]] = part
        return mask

    def merge(self, members):
        """Box, mask, score, class and numbers of one object."""
        best = members[np.lexsort((members, -self.scores[members]))[0]]
        whole = members[~self.cut[members]]
        if len(whole):
            index = min(whole.tolist(), key=lambda member: (self._distance(member), member))
            box, crop = tuple(self.boxes[index].tolist()), self.crops[index]
        else:
            index = best
            box, crop = self._together(members)
        return box, crop, float(self.scores[best]), int(self.classes[best]), self.measured[index]

    def _distance(self, index):
        """Distance of the middle of an instance from the middle of its tile."""
        core, box = self.tiles[self.tile[index]].core, self.boxes[index]
        return max(
            abs(box[0] + box[2] - core.y0 - core.y1), abs(box[1] + box[3] - core.x0 - core.x1)
        )

    def _together(self, members):
        """Each member's mask in the write region of its tile; elsewhere, the union."""
        low, high = self.boxes[members, :2].min(axis=0), self.boxes[members, 2:].max(axis=0)
        mask, decided = np.zeros(high - low, dtype=bool), np.zeros(high - low, dtype=bool)
        for index in members.tolist():
            core = self.tiles[self.tile[index]].core
            window = tuple(
                slice(max(start - first, 0), max(min(stop, last) - first, 0))
                for start, stop, first, last in (
                    (core.y0, core.y1, low[0], high[0]),
                    (core.x0, core.x1, low[1], high[1]),
                )
            )
            own = self._mask(index, low, high)
            mask[window] |= own[window]
            decided[window] = True
        for index in members.tolist():
            mask |= self._mask(index, low, high) & ~decided
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        tight = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        box = low[0] + rows[0], low[1] + columns[0], low[0] + rows[-1] + 1, low[1] + columns[-1] + 1
        return tuple(int(bound) for bound in box), mask[tight]


def _unpack(record):
    starts = np.concatenate([[0], record["ends"]])
    for box, start, stop in zip(record["boxes"].tolist(), starts[:-1], starts[1:], strict=True):
        height, width = box[2] - box[0], box[3] - box[1]
        bits = np.unpackbits(record["bits"][start:stop], count=height * width)
        yield bits.astype(bool).reshape(height, width)


def write_instances(path, offset, instances):
    """Paint instances into a label map on disk, as `painting_order` says, and append their tables.

    The tables SCORES and CLASSES are of the labels, INSTANCES is of all sources.

    Parameters
    ----------
    path : path
        File of the right size.
    offset : int
        Where its pixels begin.
    instances : Instances
    """
    height, width = instances.shape
    order = painting_order(instances)
    blocks = [(y0, min(y0 + _ROWS, height)) for y0 in range(0, height, _ROWS)]
    visible = np.zeros(len(instances) + 1, dtype=bool)
    for block in blocks:
        visible[_paint_rows(instances, order, *block).ravel()] = True
    visible[0] = False
    # A source that others hide has no label.
    numbers = np.where(visible, np.cumsum(visible), 0).astype(">i4")
    with path.open("r+b") as file:
        for y0, y1 in blocks:
            file.seek(offset + y0 * width * numbers.itemsize)
            file.write(numbers[_paint_rows(instances, order, y0, y1)].data)
    append_table(path, scores_hdu(instances.scores[visible[1:]]))
    if instances.classes is not None:
        append_table(path, classes_hdu(instances.classes[visible[1:]]))
    append_table(path, instances_hdu(instances))


def write_instance_classes(path, offset, instances):
    """Paint the classes of instances into a semantic map on disk, as `write_instances` does."""
    height, width = instances.shape
    order = painting_order(instances)
    classes = np.full(len(instances), GALAXY) if instances.classes is None else instances.classes
    owners = as_semantic(np.concatenate([[SKY], classes])).astype(">i2")
    with path.open("r+b") as file:
        for y0 in range(0, height, _ROWS):
            file.seek(offset + y0 * width * owners.itemsize)
            file.write(owners[_paint_rows(instances, order, y0, min(y0 + _ROWS, height))].data)


def append_table(path, hdu):
    """Append a table to a FITS file."""
    table = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(table)
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(table.getvalue()[2880:])  # without the primary HDU


def _paint_rows(instances, order, y0, y1):
    """Paint rows ``y0…y1`` in an order of painting; label k is instance k - 1."""
    rows = np.zeros((y1 - y0, instances.shape[1]), dtype=np.int32)
    boxes = instances.boxes[order]
    for index in order[(boxes[:, 0] < y1) & (boxes[:, 2] > y0)].tolist():
        top, left, bottom, right = instances.boxes[index].tolist()
        first, last = max(top, y0), min(bottom, y1)
        part = instances.crops[index][first - top : last - top]
        rows[first - y0 : last - y0, left:right][part] = index + 1
    return rows
