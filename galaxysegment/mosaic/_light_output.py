"""Where separated light goes: into a `Separated`, or into a file that appears when finished."""

import os
import shutil
from math import ceil
from uuid import uuid4

import numpy as np
from astropy.io import fits

from .._utils.paths import reserve_space
from ..io._separated import RESIDUAL, padding, row_dtype, table_header
from ..io._wcs import kept_cards
from ..io._write import _provenance
from ..structures import Instances, Separated
from ._output import flush

_BLOCK = 2880


class LightTable:
    """Numbers about all sources of a mosaic, in their final order.

    Parameters
    ----------
    records : list of dict of ndarray
        Small arrays of the records of pieces, one dict a piece.
    ids : ndarray of int64, shape (n_given,)
        The sources given, in increasing order.
    groups, first : ndarray of int64, shape (n_given,)
        Number of each source's blend, and the first pixel of this blend.

    Attributes
    ----------
    rank : ndarray of int64, shape (n,)
        Final place of each source of the records, one record after the other.
    piece, row : ndarray of int64, shape (n,)
        Record of each source in its final order, and its row there.
    blends : ndarray of int64, shape (n,)
        Number of the blend, counted from 1 in the order of the blends' first pixels.
    """

    def __init__(self, records, ids, groups, first):
        lengths = [len(record["ids"]) for record in records]
        self._columns = {
            name: np.concatenate([record[name] for record in records]) for name in records[0]
        }
        given, lead = self._columns["ids"], self._columns["lead"]
        lead = np.searchsorted(ids, lead)
        # Sources that were added follow those given, in the order of their blends.
        place = np.where(given >= 0, np.searchsorted(ids, given), len(ids))
        order = np.lexsort((np.arange(len(given)), np.where(given >= 0, 0, first[lead]), place))
        self.rank = np.empty_like(order)
        self.rank[order] = np.arange(len(order))
        self.order = order
        self.piece = np.repeat(np.arange(len(records)), lengths)[order]
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        self.row = order - starts[self.piece]
        _, numbers = np.unique(first[lead], return_inverse=True)
        self.blends = numbers.reshape(-1)[order] + 1

    def __len__(self):
        return len(self.order)

    def column(self, name):
        """Return a column of all sources in their final order."""
        return self._columns[name][self.order]


def residual_of(job, window, pieces):
    """Light of a window that no part has taken, float32, shape (n_bands, height, width).

    Parameters
    ----------
    job : LightJob
    window : Window
    pieces : list of int
        Records with parts that reach into the window.
    """
    image, rms = job.image(window)
    no_data = np.isnan(image).any(axis=0)
    if rms is not None:
        no_data |= ~(np.broadcast_to(rms, image.shape) > 0).all(axis=0)
    residual = np.where(no_data, np.nan, image).astype(np.float32)
    for piece in pieces:
        record = job.folder.load("piece", piece, ("boxes", "parts"))
        for (y0, x0, y1, x1), part in zip(
            record["boxes"].tolist(), cut_parts(record, len(image)), strict=True
        ):
            top, left = max(y0, window.y0), max(x0, window.x0)
            bottom, right = min(y1, window.y1), min(x1, window.x1)
            if top < bottom and left < right:
                own = part[:, top - y0 : bottom - y0, left - x0 : right - x0]
                rows = slice(top - window.y0, bottom - window.y0)
                residual[:, rows, left - window.x0 : right - window.x0] -= own
    return residual


def cut_parts(record, n_bands):
    """List the parts of a record, shape (n_bands, height, width) each."""
    boxes = record["boxes"]
    sizes = n_bands * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    pieces = np.split(record["parts"], np.cumsum(sizes)[:-1])
    return [
        values.reshape(n_bands, y1 - y0, x1 - x0)
        for values, (y0, x0, y1, x1) in zip(pieces, boxes.tolist(), strict=True)
    ]


def in_memory(table, shape, n_bands, load, residual):
    """Return the `Separated` of a mosaic.

    Parameters
    ----------
    table : LightTable
    shape : tuple of int
        ``(height, width)``.
    n_bands : int
    load : callable
        ``load(piece)`` returns a record with parts and masks.
    residual : ndarray of float32, shape (n_bands, height, width)
    """
    parts, masks, boxes = [None] * len(table), [None] * len(table), [None] * len(table)
    start, bands = 0, slice(None) if n_bands > 1 else 0
    for piece in range(int(table.piece.max(initial=-1)) + 1):
        record = load(piece)
        ranks = table.rank[start : start + len(record["boxes"])]
        start += len(record["boxes"])
        crops = _unpack(record)
        for rank, part, box, crop in zip(
            ranks, cut_parts(record, n_bands), record["mask_boxes"], crops, strict=True
        ):
            parts[rank], boxes[rank], masks[rank] = part[bands], box, crop
    columns = [table.column(name)[:, bands] for name in ("fluxes", "errors", "blendedness")]
    classes = table.column("classes")
    classes = None if (classes < 0).any() else classes
    return Separated(
        Instances(shape, np.reshape(boxes, (-1, 4)), masks, table.column("scores"), classes),
        table.column("boxes"),
        parts,
        residual[bands],
        *columns,
    )


def _unpack(record):
    bits = np.split(record["mask_bits"], record["mask_ends"][:-1])
    return [
        np.unpackbits(packed, count=(y1 - y0) * (x1 - x0)).astype(bool).reshape(y1 - y0, x1 - x0)
        for packed, (y0, x0, y1, x1) in zip(bits, record["mask_boxes"].tolist(), strict=True)
    ]


class LightFile:
    """The file of separated light, written beside its final place.

    Parameters
    ----------
    path : path
        Of the draft.
    pixels : FieldPixels or ArrayPixels
        Of the image, whose WCS the file gets.
    separator : BaseSeparator
        What divided the light, for the header.
    """

    def __init__(self, path, pixels, separator):
        self.path, self.pixels, self.separator = path, pixels, separator
        self.n_bands = pixels.n_bands - pixels.with_rms

    def reserve_residual(self):
        """Write the headers before the residual, and make room for it; return its offset."""
        shape = self.pixels.shape if self.n_bands == 1 else (self.n_bands, *self.pixels.shape)
        header = fits.ImageHDU(header=_cards(self.pixels.header, shape), name=RESIDUAL).header
        header["BITPIX"], header["NAXIS"] = -32, len(shape)
        for axis, side in enumerate(reversed(shape), start=1):
            after = "NAXIS" if axis == 1 else f"NAXIS{axis - 1}"
            header.set(f"NAXIS{axis}", side, after=after)
        text = header.tostring(padding=True).encode("ascii")
        offset = self.path.stat().st_size + len(text)
        n_bytes = 4 * int(np.prod(shape))
        with self.path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(text)
            reserve_space(file, offset, n_bytes + len(padding(n_bytes)))
            file.truncate(offset + n_bytes + len(padding(n_bytes)))
        return offset

    def begin(self):
        """Write the first header."""
        header = _provenance(None)
        del header["DATE"]  # a run that was resumed gives the same file to the byte
        made_by = _provenance(self.separator)
        header["SEPCLASS"] = (made_by["SEGCLASS"], "what divided the light")
        header["SEPPARAM"] = made_by["SEGPARAM"]
        text = fits.PrimaryHDU(header=header).header.tostring(padding=True)
        self.path.write_bytes(text.encode("ascii"))

    def write_table(self, table, labels, load, *, with_parts):
        """Append the table and, with parts, the heap; see `in_memory`."""
        rows = np.zeros(len(table), row_dtype(self.n_bands, with_parts=with_parts))
        rows["LABEL"], rows["BLEND"] = labels, table.blends
        rows["Y"], rows["X"] = table.column("places").T
        for index, name in enumerate(("Y0", "X0", "Y1", "X1")):
            rows[name] = table.column("boxes")[:, index]
            if with_parts:
                rows[f"MASK_{name}"] = table.column("mask_boxes")[:, index]
        if with_parts:
            rows["SCORE"], rows["CLASS"] = table.column("scores"), table.column("classes")
        for name, source in (
            ("FLUX", "fluxes"),
            ("FLUX_ERROR", "errors"),
            ("BLENDEDNESS", "blendedness"),
        ):
            rows[name] = table.column(source).reshape(rows[name].shape)
        heap_bytes = self._place_in_heap(rows, table) if with_parts else 0
        with self.path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(table_header(rows, heap_bytes, self.pixels.shape, self.n_bands))
            file.write(rows.data if len(rows) else b"")
            for piece in range(int(table.piece.max(initial=-1)) + 1) if with_parts else ():
                record = load(piece)
                file.write(record["parts"].astype(">f4").data)
                file.write(record["mask_bits"].data)
            file.write(padding(rows.nbytes + heap_bytes))

    def _place_in_heap(self, rows, table):
        """Fill in where each part and mask will be; return the length of the heap."""
        boxes = table.column("boxes")[table.rank]  # in the order of the records
        sizes = self.n_bands * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        bits = table.column("mask_boxes")[table.rank]
        n_bytes = -(-(bits[:, 2] - bits[:, 0]) * (bits[:, 3] - bits[:, 1]) // 8)
        offset, piece = 0, table.piece[table.rank]
        for number in range(int(piece.max(initial=-1)) + 1):
            own = np.flatnonzero(piece == number)
            ranks = table.rank[own]
            ends = offset + 4 * np.cumsum(sizes[own])
            rows["PART"][ranks] = np.stack([sizes[own], ends - 4 * sizes[own]], axis=1)
            offset = int(ends[-1]) if len(own) else offset
            ends = offset + np.cumsum(n_bytes[own])
            rows["MASK"][ranks] = np.stack([n_bytes[own], ends - n_bytes[own]], axis=1)
            offset = int(ends[-1]) if len(own) else offset
        return offset

    def finish(self):
        """Wait until the file is on the disk."""
        flush(self.path)


def _cards(header, shape):
    cards = kept_cards(header, shape, keep_unit=True)
    if len(shape) > 2 and cards.get("WCSAXES", 0) == 2:
        del cards["WCSAXES"]  # fewer than NAXIS, which the standard does not allow
    return cards


def draft_path(folder):
    """Return the path of an unfinished file in the folder of unfinished work."""
    return folder.path / f"light-{uuid4().hex}.fits"


def write_residual(job, tile, pieces, path, offset):
    """Writing the residual of a tile."""
    core, (height, width) = tile.core, job.sources.shape
    residual = residual_of(job, core, pieces).astype(">f4")
    with path.open("r+b") as file:
        for number, band in enumerate(residual):
            for y, row in enumerate(band, start=core.y0):
                file.seek(offset + 4 * ((number * height + y) * width + core.x0))
                file.write(row.data)


def check_light_space(folder, shape, n_bands, *, with_parts):
    """Refuse work whose result would not fit on the disk; parts take about twice the image."""
    needed = 4 * n_bands * shape[0] * shape[1] * 3 if with_parts else 0
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"Parts and residual take about {ceil(needed / 1e9)} GB, but the disk of {folder} has "
            f"{free / 1e9:.1f} GB left: make room, choose another output, or take kind='fluxes'."
        )
