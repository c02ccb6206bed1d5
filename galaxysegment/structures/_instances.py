"""`Instances`: the sources of one image, overlaps allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._utils.later import ndimage
from ._classes import GALAXY
from ._labels import check_label_map, relabel
from ._painting import painting_order


@dataclass(frozen=True, eq=False, init=False)
class Instances:
    """The sources of one image, each with a mask of its own, so that they may overlap.

    Masks are stored as crops: 10,000 sources in a mosaic cost the sum of their boxes, not
    10,000 mosaics.

    Parameters
    ----------
    shape : tuple of int
        ``(height, width)`` of the image.
    boxes : array-like of int, shape (n, 4)
        ``y0, x0, y1, x1``, half-open, within the image.
    crops : sequence of n boolean arrays
        The mask of each source inside its box.
    scores : array-like of float, shape (n,), optional
        Ranking of the sources for average precision, 1 by default. Each segmenter says what its
        scores mean: a probability, or a signal to noise, which has no upper limit.
    classes : array-like of int, shape (n,), optional
        Category of each source (1 = galaxy, 2 = star); ``None`` means "not told apart".

    Raises
    ------
    ValueError
        If a box leaves the image or is empty, a crop does not fit its box or has no pixel, or the
        lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment import Instances
    >>> sources = Instances.from_label_map(np.array([[1, 1, 0], [0, 0, 2]]))
    >>> len(sources), sources.boxes.tolist()
    (2, [[0, 0, 1, 2], [1, 2, 2, 3]])
    """

    shape: tuple[int, int]
    boxes: NDArray[np.int64]
    crops: tuple[NDArray[np.bool_], ...]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64] | None

    def __init__(
        self,
        shape: Sequence[int],
        boxes: ArrayLike,
        crops: Sequence[ArrayLike],
        scores: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> None:
        boxes = np.asarray(boxes, dtype=np.int64).reshape(-1, 4)
        n = len(boxes)
        scores = np.ones(n) if scores is None else np.asarray(scores, dtype=np.float64)
        classes = None if classes is None else np.asarray(classes, dtype=np.int64)
        crops = tuple(np.asarray(crop, dtype=bool) for crop in crops)
        fields = {"shape": (int(shape[0]), int(shape[1])), "boxes": boxes, "crops": crops}
        for field, value in {**fields, "scores": scores, "classes": classes}.items():
            object.__setattr__(self, field, value)
        for field, length in (
            ("crops", len(crops)),
            ("scores", len(scores)),
            ("classes", n if classes is None else len(classes)),
        ):
            if length != n:
                raise ValueError(
                    f"{field} has {length} entries for {n} boxes: give one per source."
                )
        self._check_crops()

    def _check_crops(self):
        height, width = self.shape
        for index, ((y0, x0, y1, x1), crop) in enumerate(
            zip(self.boxes.tolist(), self.crops, strict=True)
        ):
            if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
                raise ValueError(
                    f"boxes[{index}] = ({y0}, {x0}, {y1}, {x1}) is not inside the image of shape "
                    f"{self.shape}: "
                    "boxes are y0, x0, y1, x1, half-open."
                )
            if crop.shape != (y1 - y0, x1 - x0):
                raise ValueError(
                    f"crops[{index}] has shape {crop.shape}, but its box is {(y1 - y0, x1 - x0)}."
                )
            if not crop.any():
                raise ValueError(f"crops[{index}] has no pixel: leave out sources without a mask.")

    @classmethod
    def from_label_map(
        cls, labels: ArrayLike, scores: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> Self:
        """Make one instance per label; instance ``k`` is the label with rank ``k``.

        Parameters
        ----------
        labels : array-like of int, shape (height, width)
        scores, classes : array-like of shape (n,), optional
            In increasing order of label.
        """
        labels = relabel(check_label_map(labels))
        slices = ndimage.find_objects(labels)
        boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in slices]
        crops = [labels[window] == label for label, window in enumerate(slices, start=1)]
        return cls(labels.shape, boxes, crops, scores, classes)

    @classmethod
    def from_masks(
        cls,
        masks: Iterable[ArrayLike],
        scores: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        shape: tuple[int, int] | None = None,
    ) -> Self:
        """Make instances of dense boolean masks ``(n, height, width)``, which may overlap."""
        dense = [np.asarray(mask, dtype=bool) for mask in masks]
        if not dense and shape is None:
            raise ValueError(
                "masks is empty: pass shape=(height, width) to say how large the image is."
            )
        boxes, crops = [], []
        for index, mask in enumerate(dense):
            if mask.ndim != 2:
                raise ValueError(
                    f"masks must have shape (n, height, width), but masks[{index}] has shape "
                    f"{mask.shape}: pass a single mask as masks[np.newaxis], and a label map to "
                    "Instances.from_label_map."
                )
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not rows.size:
                raise ValueError(f"masks[{index}] has no pixel: leave out sources without a mask.")
            box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
            boxes.append(box)
            crops.append(mask[box[0] : box[2], box[1] : box[3]])
        return cls(shape if shape is not None else dense[0].shape, boxes, crops, scores, classes)

    @classmethod
    def from_panoptic(cls, panoptic: ArrayLike) -> Self:
        """Make instances of a panoptic map ``(2, height, width)``: class and instance id."""
        panoptic = np.asarray(panoptic)
        if panoptic.ndim != 3 or len(panoptic) != 2:
            raise ValueError(
                "panoptic must have shape (2, height, width), class and instance id of each pixel. "
                f"Got shape {panoptic.shape} instead: pass the map of one image."
            )
        semantic, labels = panoptic
        labels = relabel(check_label_map(labels))
        ids, first = np.unique(labels, return_index=True)
        return cls.from_label_map(labels, classes=semantic.ravel()[first[ids > 0]])

    @classmethod
    def concatenate(cls, parts: Iterable[Instances]) -> Instances:
        """Put the sources of one image together, in the order given.

        Parameters
        ----------
        parts : iterable of Instances
            At least one; all of one image shape, and all with classes or all without.

        Returns
        -------
        Instances

        Raises
        ------
        ValueError
            If there is no part, if shapes differ, or if only some parts have classes.

        Examples
        --------
        >>> import numpy as np
        >>> from galaxysegment import Instances
        >>> sources = Instances.from_label_map(np.array([[1, 1, 0], [0, 0, 2]]))
        >>> len(Instances.concatenate([sources, sources[:1]]))
        3
        """
        parts = list(parts)
        if not parts:
            raise ValueError(
                "parts is empty: give at least one Instances, which says how large the image is."
            )
        for index, part in enumerate(parts):
            if part.shape != parts[0].shape:
                raise ValueError(
                    f"parts[{index}] has shape {part.shape}, but parts[0] has shape "
                    f"{parts[0].shape}: bring them into "
                    "one frame with shift(dy, dx, shape)."
                )
        with_classes = [part.classes is not None for part in parts]
        if any(with_classes) != all(with_classes):
            raise ValueError(
                f"parts[{with_classes.index(False)}] has no classes, but "
                f"parts[{with_classes.index(True)}] has: give "
                "all parts classes, or none."
            )
        return cls(
            parts[0].shape,
            np.concatenate([part.boxes for part in parts]),
            [crop for part in parts for crop in part.crops],
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.classes for part in parts]) if all(with_classes) else None,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Instances]:
        """Yield the sources one by one, each as `Instances` of length 1."""
        return (self.select([index]) for index in range(len(self)))

    def __getitem__(self, index: int | slice | ArrayLike) -> Instances:
        """Return some of the sources, in the order asked for.

        Parameters
        ----------
        index : int, slice, array of int, or array of bool of shape (n,)
            Negative numbers count from the last source.

        Returns
        -------
        Instances
            Of length 1 for a number.
        """
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        return self.select(np.atleast_1d(np.asarray(index)) if np.size(index) else [])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Stay one object in an array: NumPy would take a sequence apart otherwise."""
        whole = np.empty((), dtype=object)
        whole[()] = self
        return whole

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Instances):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.boxes, other.boxes)
            and np.array_equal(self.scores, other.scores)
            and np.array_equal(np.asarray(self.classes), np.asarray(other.classes))  # or None
            and all(map(np.array_equal, self.crops, other.crops))
        )

    # Arrays can change in place, so equal instances cannot promise equal hashes.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        classes = None if self.classes is None else sorted(set(self.classes.tolist()))
        return f"Instances(n={len(self)}, shape={self.shape}, classes={classes})"

    @property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each source, shape (n,)."""
        return np.array([np.count_nonzero(crop) for crop in self.crops], dtype=np.int64)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Dense boolean masks, shape (n, height, width). Large: made on request, never kept."""
        masks = np.zeros((len(self), *self.shape), dtype=bool)
        for mask, window, crop in zip(masks, self._windows(), self.crops, strict=True):
            mask[window] = crop
        return masks

    def _windows(self):
        return [(slice(y0, y1), slice(x0, x1)) for y0, x0, y1, x1 in self.boxes.tolist()]

    def to_mask(self) -> NDArray[np.bool_]:
        """Boolean mask of the pixels of any source, shape (height, width)."""
        mask = np.zeros(self.shape, dtype=bool)
        for window, crop in zip(self._windows(), self.crops, strict=True):
            mask[window] |= crop
        return mask

    def _paint(self):
        """Index of the visible source of every pixel plus one; 0 where there is none."""
        painted = np.zeros(self.shape, dtype=np.int32)
        windows = self._windows()
        for index in painting_order(self).tolist():
            painted[windows[index]][self.crops[index]] = index + 1
        return painted

    def to_label_map(self) -> NDArray[np.int32]:
        """Paint the sources in order of increasing score, so that the surest is on top.

        A source of less than 1 % of the pixels of another, in which most of it lies, comes on top
        of it whatever the scores: a star on a galaxy keeps its label.

        Returns
        -------
        ndarray of int32, shape (height, width)
            Labels follow the order of the instances. A source that others hide entirely gets no
            label, and the labels stay consecutive.
        """
        return relabel(self._paint())

    def to_segmentation_image(self) -> Any:
        """Return a `photutils.segmentation.SegmentationImage` of the label map.

        A `SegmentationImage` is taken for a label map wherever one goes in, `from_label_map`
        included.

        Examples
        --------
        >>> import numpy as np
        >>> from galaxysegment import Instances
        >>> sources = Instances.from_label_map(np.array([[1, 1, 0], [0, 0, 2]]))
        >>> segmentation = sources.to_segmentation_image()
        >>> segmentation.n_labels, Instances.from_label_map(segmentation) == sources
        (2, True)
        """
        from photutils.segmentation import SegmentationImage

        return SegmentationImage(self.to_label_map())

    def to_panoptic(self) -> NDArray[np.int32]:
        """Class and instance id of every pixel, int32 of shape (2, height, width).

        Sources without a class count as galaxies (1); the sky is class 0 and id 0.
        """
        painted = self._paint()
        classes = np.full(len(self), GALAXY) if self.classes is None else self.classes
        semantic = np.concatenate([[0], classes]).astype(np.int32)[painted]
        return np.stack([semantic, relabel(painted)])

    def select(self, keep: ArrayLike) -> Instances:
        """Keep some sources: a boolean mask or the indices, in the order wanted."""
        keep = np.asarray(keep) if np.size(keep) else np.zeros(0, dtype=np.int64)
        if keep.ndim != 1 or keep.dtype.kind not in "biu":
            raise IndexError(
                f"Sources are picked by whole numbers, a slice or a mask of shape ({len(self)},). "
                f"Got an array of shape {keep.shape}, dtype {keep.dtype}, instead."
            )
        if keep.dtype == bool and len(keep) != len(self):
            raise IndexError(
                f"A mask of {len(keep)} entries cannot pick among {len(self)} sources."
            )
        index = np.flatnonzero(keep) if keep.dtype == bool else keep.astype(np.int64)
        if index.size and not -len(self) <= np.min(index) <= np.max(index) < len(self):
            raise IndexError(
                f"There are {len(self)} sources: indices go from {-len(self)} to {len(self) - 1}. "
                f"Got {index.tolist()} instead."
            )
        classes = None if self.classes is None else self.classes[index]
        crops = tuple(self.crops[i] for i in index)
        return replace(
            self, boxes=self.boxes[index], crops=crops, scores=self.scores[index], classes=classes
        )

    def shift(self, dy: int, dx: int, shape: tuple[int, int] | None = None) -> Instances:
        """Move every source by `dy`, `dx` pixels into a frame of `shape`.

        Parameters
        ----------
        dy, dx : int
        shape : tuple of int, optional
            ``(height, width)`` of the new frame; the old one by default.

        Returns
        -------
        Instances
            Sources are cut at the frame; sources without a pixel in it are dropped.
        """
        height, width = shape = self.shape if shape is None else tuple(shape)
        moved = self.boxes + np.array([dy, dx, dy, dx])
        inside = np.clip(moved, 0, [height, width, height, width])
        crops, keep = [], []
        for index, (old, new, crop) in enumerate(
            zip(moved.tolist(), inside.tolist(), self.crops, strict=True)
        ):
            part = crop[new[0] - old[0] : new[2] - old[0], new[1] - old[1] : new[3] - old[1]]
            if part.any():
                crops.append(part)
                keep.append(index)
        classes = None if self.classes is None else self.classes[keep]
        return Instances(shape, inside[keep], crops, self.scores[keep], classes)
