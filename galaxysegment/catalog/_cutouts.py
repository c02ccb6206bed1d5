"""Cutouts of sources: image, noise, mask and WCS of a window around each, read when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from .._utils.validation import check_same_shape
from ..io import Field
from ..io._inputs import as_field
from ..io._write import check_target, write_hdus
from ..structures import Instances, Separated, as_label_map

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Cutout", "Cutouts", "cutouts", "write_cutouts"]

_MARGIN = 8  # pixels around the box of a source
_MOST = 2000  # cutouts of a file: five extensions each, of the 10,000 that readers take


@dataclass(frozen=True, eq=False)
class Cutout:
    """The window around one source.

    Parameters
    ----------
    label : int
        Label of the source.
    field : Field
        Image, RMS map, header and WCS of the window; read from disk when asked for.
    mask : ndarray of bool, shape (height, width), or None
        Pixels of the source; None if sources are positions.
    neighbors : ndarray of bool, shape (height, width), or None
        Pixels of other sources.
    isolated : ndarray of float32, shape (height, width) or (n_bands, height, width), or None
        Light of this source alone, if a `Separated` was given.
    origin : tuple of int
        ``y, x`` of the first pixel in the whole image.
    position : tuple of float
        ``y, x`` of the source in the cutout.
    """

    label: int
    field: Field
    mask: NDArray[np.bool_] | None
    neighbors: NDArray[np.bool_] | None
    isolated: NDArray[np.float32] | None
    origin: tuple[int, int]
    position: tuple[float, float]

    @property
    def image(self) -> NDArray[Any]:
        """Pixels of the window, shape (height, width) or (n_bands, height, width)."""
        image = np.asarray(self.field.image)
        return image[0] if image.ndim == 3 and len(image) == 1 else image


class Cutouts(Sequence[Cutout]):
    """A sequence of cutouts, each made when it is asked for; `cutouts` makes it.

    Parameters
    ----------
    field : Field
        The whole image.
    entries : list
        Label, position, window and mask of each source.
    """

    def __init__(self, field: Field, entries: list[Any]) -> None:
        self._field, self._entries = field, entries

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Cutouts(n={len(self)}, shape={self._field.shape})"

    @overload
    def __getitem__(self, index: int) -> Cutout: ...
    @overload
    def __getitem__(self, index: slice) -> Cutouts: ...
    def __getitem__(self, index: int | slice) -> Cutout | Cutouts:
        if isinstance(index, slice):
            return Cutouts(self._field, self._entries[index])
        entry = self._entries[index]
        (y0, x0, y1, x1), (y, x) = entry.box, entry.position
        window = slice(y0, y1), slice(x0, x1)
        mask, neighbors = entry.masks(window)
        return Cutout(
            entry.label,
            self._field.section(*window),
            mask,
            neighbors,
            entry.isolated(),
            (y0, x0),
            (y - y0, x - x0),
        )


def cutouts(
    image: ArrayLike | Field,
    sources: ArrayLike | Instances | Separated | Table,
    *,
    size: int | None = None,
    rms: ArrayLike | None = None,
) -> Cutouts:
    """Cut a window out of an image around each source; pixels are read when you ask for them.

    Parameters
    ----------
    image : array of shape (height, width) or (n_bands, height, width), Field or NDData
        The image. Cutouts of a `Field` on disk read their windows only.
    sources : label map, Instances, Separated or `astropy.table.Table`
        The sources, in this order: labels increase, and label ``k`` of instances is entry
        ``k - 1``. A `Separated` adds the isolated image of each source. A table has columns ``x``
        and ``y``, the centres in 0-based pixels, and perhaps ``label``.
    size : int, optional
        Side of the windows in pixels, centred on the source. By default each window holds the box
        of its source and 8 pixels around it; needed for tables. At a border of the image, windows
        end there.
    rms : array, optional
        RMS map; a `Field` brings its own.

    Returns
    -------
    Cutouts
        A sequence of `Cutout`.

    Raises
    ------
    ValueError
        If `sources` have another shape than the image, a position is outside, or `size` is missing
        or not positive.

    Examples
    --------
    >>> from galaxysegment.catalog import cutouts
    >>> from galaxysegment.datasets import load_sample_field
    >>> field = load_sample_field()
    >>> stamps = cutouts(field, field.labels, size=32)
    >>> len(stamps), stamps[60].image.shape, stamps[60].label
    (136, (32, 32), 61)
    """
    field = as_field(image, rms)
    if size is not None and (not isinstance(size, Integral) or size < 1):
        raise ValueError(f"size must be a positive number of pixels or None. Got {size!r} instead.")
    return Cutouts(field, _find_entries(sources, field.shape, size))


def _find_entries(sources, shape, size):
    if hasattr(sources, "colnames"):
        return _of_table(sources, shape, size)
    if not isinstance(sources, Instances | Separated):
        labels = as_label_map(sources, "sources")
        check_same_shape(labels.shape, shape, "sources", "image")
        return _of_labels(labels, size)
    parts = sources if isinstance(sources, Separated) else None
    instances = sources if parts is None else parts.sources
    check_same_shape(instances.shape, shape, "sources", "image")
    return _of_instances(instances, parts, size)


@dataclass(frozen=True)
class _Position:
    """A source of a table."""

    label: int
    position: tuple
    box: tuple

    def masks(self, _window):
        return None, None

    def isolated(self):
        return None


@dataclass(frozen=True)
class _Labelled(_Position):
    """A source of a label map."""

    labels: NDArray

    def masks(self, window):
        labels = self.labels[window]
        return labels == self.label, (labels > 0) & (labels != self.label)


@dataclass(frozen=True)
class _Instance(_Position):
    """A source of `Instances`, perhaps with its separated light."""

    instances: Instances
    parts: Separated | None

    def masks(self, window):
        boxes = self.instances.boxes
        y0, x0, y1, x1 = self.box
        reaches = (boxes[:, 0] < y1) & (boxes[:, 2] > y0) & (boxes[:, 1] < x1) & (boxes[:, 3] > x0)
        near = np.flatnonzero(reaches)
        mask, neighbors = (np.zeros((y1 - y0, x1 - x0), dtype=bool) for _ in range(2))
        for index in near.tolist():
            target = mask if index == self.label - 1 else neighbors
            _paste(target, self.instances.crops[index], boxes[index].tolist(), self.box)
        return mask, neighbors

    def isolated(self):
        if self.parts is None:
            return None
        y0, x0, y1, x1 = self.box
        part = self.parts.parts[self.label - 1]
        light = np.zeros((*part.shape[:-2], y1 - y0, x1 - x0), dtype=np.float32)
        _paste(light, part, self.parts.boxes[self.label - 1].tolist(), self.box)
        return light


def _paste(target, values, box, window):
    """Add values of a box of the image to a window of it."""
    y0, x0 = max(box[0], window[0]), max(box[1], window[1])
    y1, x1 = min(box[2], window[2]), min(box[3], window[3])
    if y0 < y1 and x0 < x1:
        cut = slice(y0 - box[0], y1 - box[0]), slice(x0 - box[1], x1 - box[1])
        place = slice(y0 - window[0], y1 - window[0]), slice(x0 - window[1], x1 - window[1])
        target[..., *place] += values[..., *cut]


def _window(box, position, size, shape):
    """Return the window of a source, within the image."""
    if size is None:
        low, high = np.subtract(box[:2], _MARGIN), np.add(box[2:], _MARGIN)
    else:
        low = np.rint(np.subtract(position, (size - 1) / 2)).astype(int)
        high = low + size
    return (*np.maximum(low, 0).tolist(), *np.minimum(high, shape).tolist())


def _of_labels(labels, size):
    instances = Instances.from_label_map(labels)
    numbers = np.unique(labels[labels > 0]).tolist()
    entries = zip(numbers, instances.boxes.tolist(), instances.crops, strict=True)
    return [
        _Labelled(label, centre, _window(box, centre, size, labels.shape), labels)
        for label, box, crop in entries
        for centre in (_centre(box, crop),)
    ]


def _of_instances(instances, parts, size):
    entries = zip(instances.boxes.tolist(), instances.crops, strict=True)
    return [
        _Instance(label, centre, _window(box, centre, size, instances.shape), instances, parts)
        for label, (box, crop) in enumerate(entries, start=1)
        for centre in (_centre(box, crop),)
    ]


def _centre(box, crop):
    """Middle of the pixels of a mask."""
    rows, columns = np.nonzero(crop)
    return float(rows.mean() + box[0]), float(columns.mean() + box[1])


def _of_table(table, shape, size):
    if size is None:
        raise ValueError("size is needed because a table of positions has no boxes: pass size=64.")
    labels = table["label"] if "label" in table.colnames else range(1, len(table) + 1)
    entries = []
    for row, (label, y, x) in enumerate(zip(labels, table["y"], table["x"], strict=True)):
        position = float(getattr(y, "value", y)), float(getattr(x, "value", x))
        if not all(-0.5 <= value < side - 0.5 for value, side in zip(position, shape, strict=True)):
            raise ValueError(
                f"sources puts row {row} at y={position[0]:g}, x={position[1]:g}, outside the "
                f"image of shape {shape}."
            )
        entries.append(_Position(int(label), position, _window(None, position, size, shape)))
    return entries


def write_cutouts(path: str | Path, stamps: Sequence[Cutout], *, overwrite: bool = False) -> Path:
    """Write cutouts as extensions of a FITS file, each with its WCS.

    Parameters
    ----------
    path : str or path
        Ends in ``.fits``, ``.fits.gz`` or ``.fits.fz``. The file appears once it is complete.
    stamps : sequence of Cutout
        At most 2000: a file of more extensions is slow to read.
    overwrite : bool, default=False
        Replace a file of this name.

    Returns
    -------
    `pathlib.Path`
        The file written. Extension ``SCI`` of version ``k`` is cutout ``k`` with its WCS,
        ``LABEL``, and ``X0``, ``Y0``, the first pixel in the whole image, counted from 0. ``RMS``,
        ``MASK`` (1 in the source, 2 in others) and ``ISOLATED`` of the same version may follow.

    Raises
    ------
    ValueError
        If there are no cutouts or too many, or the path has another ending.
    FileExistsError
        If the file exists and `overwrite` is False.
    """
    path = check_target(path, overwrite)
    if not 0 < len(stamps) <= _MOST:
        raise ValueError(
            f"stamps holds {len(stamps)} cutouts, 1 to {_MOST} are allowed: write slices of them, "
            "such as stamps[:2000]."
        )
    primary = fits.PrimaryHDU()
    primary.header["NCUTOUTS"] = len(stamps), "number of cutouts"
    hdus = [primary]
    for version, stamp in enumerate(stamps, start=1):
        hdus += _hdus_of(stamp, version)
    return write_hdus(path, hdus)


def _hdus_of(stamp, version):
    field = stamp.field
    wcs = None if field.wcs is None else field.wcs.to_header(relax=True)
    images = {"SCI": stamp.image, "RMS": field.rms if field.has_rms else None}
    if stamp.mask is not None:
        images["MASK"] = np.where(stamp.mask, 1, 2 * stamp.neighbors).astype(np.uint8)
    images["ISOLATED"] = stamp.isolated
    hdus = []
    for name, values in images.items():
        if values is None:
            continue
        hdu = fits.ImageHDU(np.asarray(values), header=wcs, name=name, ver=version)
        hdu.header["LABEL"] = stamp.label
        hdu.header["X0"], hdu.header["Y0"] = stamp.origin[1], stamp.origin[0]
        if field.header is not None and "BUNIT" in field.header and name != "MASK":
            hdu.header["BUNIT"] = field.header["BUNIT"]
        hdus.append(hdu)
    return hdus
