"""Where the map goes: into an array, or into a file that appears when it is finished.

Either way the pixels of the tiles are put together with their final numbers, row by row.
"""

import os
import shutil
from contextlib import contextmanager
from math import ceil
from uuid import uuid4

import numpy as np
from astropy.io import fits

from ..io._wcs import kept_cards
from ..io._write import _provenance
from ._instances import write_instances
from ._work import TileError

_BLOCK = 2880
_ROWS = 256  # written at once: 25 MB if a row has 25,000 pixels


class ArrayOutput:
    """The map is returned.

    Parameters
    ----------
    shape : tuple of int
        ``(height, width)`` of the mosaic.
    folder : WorkFolder or Memory
        The tiles' records.
    """

    def __init__(self, shape, folder):
        self.shape, self.folder = shape, folder

    def labels(self, lines, dtype, _each):
        """Return the label map, an array of `dtype`, from lines of tiles as `paint_line` takes."""
        labels = np.zeros(self.shape, dtype=dtype)
        for line in lines:
            for y0, rows in paint_line(line, self.shape, dtype, self.folder):
                labels[y0 : y0 + len(rows)] = rows
        return labels


class FileOutput:
    """The map is written beside its final place, and moved there when it is finished.

    Parameters
    ----------
    path : path
        The file to write.
    folder : WorkFolder
        The tiles' records; the unfinished file lies there.
    pixels : FieldPixels or ArrayPixels
        Of the image, whose WCS the map gets.
    segmenter : segmenter or Pipeline
        What made the map, for the header.
    check : callable
        Called when the file is complete; raises an error if it must not appear.
    what_is_safe : callable
        Returns a sentence that says what is kept if the map cannot be written.
    """

    def __init__(self, path, folder, pixels, segmenter, check, what_is_safe):
        self.path, self.folder, self.pixels = path, folder, pixels
        self.segmenter, self.check, self.what_is_safe = segmenter, check, what_is_safe

    def labels(self, lines, dtype, each):
        """Write the label map of lines of tiles, several at a time; return the path."""
        stored = np.dtype(dtype).newbyteorder(">")
        with self._draft(stored) as (draft, offset):
            items = [(line, draft, offset, stored) for line in lines]
            for _ in each(write_line, "row of tiles", items):
                pass
        return self.path

    def instances(self, instances):
        """Paint the sources into the label map and append their table; return the path."""
        with self._draft(np.dtype(">i4")) as (draft, offset):
            write_instances(draft, offset, instances)
        return self.path

    @contextmanager
    def _draft(self, dtype):
        """Make a file with a header; publish it when it is filled, or say what is safe."""
        draft = self.folder.path / f"labels-{uuid4().hex}.fits"
        header = label_header(self.pixels, dtype, self.segmenter)
        try:
            try:
                reserve(draft, header, self.pixels.shape, dtype)
                yield draft, len(header)
                flush(draft)
            except (OSError, TileError) as error:
                reason = str(error).rstrip(".")
                safe = self.what_is_safe()
                raise TileError(f"The label map cannot be written: {reason}. {safe}") from error
            self.check()
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)


def write_line(job, work, path, offset, dtype):
    """Writing a row of tiles."""
    with path.open("r+b") as file:
        for y0, rows in paint_line(work, job.shape, dtype, job.folder):
            file.seek(offset + y0 * job.shape[1] * dtype.itemsize)
            file.write(rows.data)


def label_header(pixels, dtype, segmenter):
    """Bytes of the header of a label map with the WCS of the image, padded to a block."""
    height, width = pixels.shape
    header = fits.PrimaryHDU().header
    header["BITPIX"] = 8 * np.dtype(dtype).itemsize
    header["NAXIS"] = 2
    header.insert("NAXIS", ("NAXIS1", width), after=True)
    header.insert("NAXIS1", ("NAXIS2", height), after=True)
    header["EXTNAME"] = "LABELS"
    header.extend(kept_cards(pixels.header, pixels.shape), strip=False)
    made_by = _provenance(segmenter)
    del made_by["DATE"]  # a run that was resumed, or ran elsewhere, gives the same file to the byte
    header.extend(made_by, strip=False)
    return header.tostring(padding=True).encode("ascii")


def check_space(folder, shape):
    """Refuse work whose result would not fit on the disk."""
    needed, free = 4 * shape[0] * shape[1], shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"The label map takes {needed / 1e9:.1f} GB, but the disk of {folder} has "
            f"{free / 1e9:.1f} GB left: make room, or choose another output."
        )


def reserve(path, header, shape, dtype):
    """Make a file of the final size, so that a full disk shows before anything is written."""
    n_bytes = shape[0] * shape[1] * np.dtype(dtype).itemsize
    total = len(header) + ceil(n_bytes / _BLOCK) * _BLOCK
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, total)
        file.write(header)
        file.truncate(total)


def flush(path):
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def paint_line(work, shape, dtype, folder):
    """Yield ``(y0, rows)``, blocks of whole rows of the label map, from a line of tiles.

    Parameters
    ----------
    work : (list of Tile, list of ndarray, list of (int, ndarray))
        The tiles of the line; for each the final number of node 0 (the background), 1, 2…; the
        index of each blend that was done again and reaches into these rows, and the final numbers
        of its parts.
    shape : tuple of int
        ``(height, width)`` of the mosaic.
    dtype : dtype
        Type of the label map.
    folder : WorkFolder
    """
    line, tables, blends = work
    top, bottom = line[0].core.y0, line[0].core.y1
    records = [folder.load("tile", tile.index, ("pixels", "values")) for tile in line]
    redone = [
        (folder.load("blend", index, ("pixels", "values")), numbers) for index, numbers in blends
    ]
    for y0 in range(top, bottom, _ROWS):
        y1 = min(y0 + _ROWS, bottom)
        rows = np.zeros((y1 - y0, shape[1]), dtype=dtype)
        for tile, record, table in zip(line, records, tables, strict=True):
            _paint_tile(rows[:, tile.core.x0 : tile.core.x1], record, table, y0 - top)
        for record, numbers in redone:
            pixels, values = record["pixels"], record["values"]
            start, stop = np.searchsorted(pixels, (y0 * shape[1], y1 * shape[1]))
            rows.ravel()[pixels[start:stop] - y0 * shape[1]] = numbers[values[start:stop] - 1]
        yield y0, rows


def _paint_tile(rows, record, table, y):
    """Paint rows `y`… of a tile's write region with the final numbers of its nodes."""
    width, pixels = rows.shape[1], record["pixels"]
    start, stop = np.searchsorted(pixels, (y * width, (y + len(rows)) * width))
    place = np.divmod(pixels[start:stop] - y * width, width)
    rows[place] = table[record["values"][start:stop]]
