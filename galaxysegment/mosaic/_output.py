"""The file that the map is written to: reserved, filled by rows of tiles, shown when finished."""

import os
import shutil
from contextlib import contextmanager
from io import BytesIO
from math import ceil
from uuid import uuid4

import numpy as np
from astropy.io import fits

from .._utils.paths import reserve_space
from ..io._tables import classes_hdu, scores_hdu
from ..io._wcs import kept_cards
from ..io._write import _provenance
from ._instances import append_table, write_instances
from ._join import paint_line
from ._work import TileError

_BLOCK = 2880


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

    def labels(self, lines, dtype, each, ranks=(None, None)):
        """Write the label map of lines of tiles, several at a time; return the path.

        `ranks`, scores and classes of the labels or None, follow as tables.
        """
        stored = np.dtype(dtype).newbyteorder(">")
        with self._draft() as draft:
            offset = self._reserve(draft, stored)
            items = [(line, draft, offset, stored) for line in lines]
            for _ in each(write_line, "row of tiles", items):
                pass
            append_ranks(draft, *ranks)
        return self.path

    def instances(self, instances):
        """Paint the sources into the label map and append their table; return the path."""
        with self._draft() as draft:
            write_instances(draft, self._reserve(draft, np.dtype(">i4")), instances)
        return self.path

    def _reserve(self, draft, dtype):
        """Make a file of the final size with a header; return where its pixels begin."""
        header = label_header(self.pixels, dtype, self.segmenter)
        reserve(draft, header, self.pixels.shape, dtype)
        return len(header)

    @contextmanager
    def _draft(self):
        """Name a file; publish it when it is filled, or say what is safe."""
        draft = self.folder.path / f"labels-{uuid4().hex}.fits"
        try:
            try:
                yield draft
                flush(draft)
            except (OSError, TileError) as error:
                reason = str(error).rstrip(".")
                safe = self.what_is_safe()
                raise TileError(f"The label map cannot be written: {reason}. {safe}") from error
            self.check()
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)


def append_ranks(path, scores, classes):
    """Append tables of scores and classes to a label map; None of a kind has no table."""
    for values, table_of in ((scores, scores_hdu), (classes, classes_hdu)):
        if values is not None:
            append_table(path, table_of(values))


class CompressedOutput(FileOutput):
    """The map is compressed as it is painted, row by row in their order."""

    def labels(self, lines, dtype, each, ranks=(None, None)):
        """Write the label map of lines of tiles, and tables of `ranks`; return the path."""
        shape = self.pixels.shape
        with self._draft() as draft, draft.open("w+b") as file:
            table = CompressedTable(file, shape, dtype, label_cards(self.pixels, self.segmenter))
            for line in lines:
                for y0, rows in paint_line(line, shape, np.dtype(dtype), self.folder):
                    table.add(y0, rows)
            table.finish()
            file.flush()
            append_ranks(draft, *ranks)
        return self.path


class CompressedTable:
    """A tile-compressed image that grows by blocks of rows; each row is a tile of its own.

    Parameters
    ----------
    file : binary file, open for reading and writing
    shape : tuple of int
        ``(height, width)``.
    dtype : dtype
    cards : `astropy.io.fits.Header`
        What the header holds about the image.
    """

    def __init__(self, file, shape, dtype, cards):
        self.file, self.shape, self.cards = file, shape, cards
        self.start = file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
        self.places = np.zeros((shape[0], 2), dtype=">i8")  # length and offset of each row
        self.n_bytes = 0
        self.header = self._header_of(compressed_rows(np.zeros((1, shape[1]), dtype))[0])
        self.heap = self.start + len(self._text()) + self.places.nbytes

    def add(self, y0, rows):
        """Append the rows from `y0` on."""
        _, lengths, heap = compressed_rows(rows)
        own = self.places[y0 : y0 + len(rows)]
        own[:, 0], own[:, 1] = lengths, self.n_bytes + np.cumsum(lengths) - lengths
        self.file.seek(self.heap + self.n_bytes)
        self.file.write(heap)
        self.n_bytes += len(heap)

    def finish(self):
        """Write where the rows are, and the header."""
        self.file.seek(self.heap + self.n_bytes)
        self.file.write(bytes(-(self.places.nbytes + self.n_bytes) % _BLOCK))
        self.header["PCOUNT"] = self.n_bytes
        self.header["TFORM1"] = f"1QB({int(self.places[:, 0].max())})"
        self.file.seek(self.start)
        self.file.write(self._text() + self.places.tobytes())

    def _header_of(self, header):
        """Header of the whole table, given that of one row."""
        header["NAXIS1"], header["NAXIS2"] = 16, self.shape[0]
        header["ZNAXIS2"] = self.shape[0]
        header.extend(self.cards, strip=False, update=True)
        return header

    def _text(self):
        return self.header.tostring(padding=True).encode("ascii")


def compressed_rows(rows):
    """Compress each of some rows; return a header, the lengths of the rows and their bytes."""
    algorithm = "RICE_1" if rows.dtype.itemsize <= 4 else "GZIP_2"  # RICE has up to 32 bits
    tile = 1, rows.shape[1]
    hdu = fits.CompImageHDU(rows, name="LABELS", compression_type=algorithm, tile_shape=tile)
    file = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    data, n_rows = file.getvalue(), len(rows)
    with fits.open(BytesIO(data), disable_image_compression=True) as hdus:
        header, start = hdus[1].header.copy(), hdus.fileinfo(1)["datLoc"]
    places = np.frombuffer(data, ">i4", 2 * n_rows, start).reshape(n_rows, 2).astype(np.int64)
    start += header["NAXIS1"] * n_rows
    heap = b"".join(
        data[start + offset : start + offset + length] for length, offset in places.tolist()
    )
    lengths = places[:, 0]
    return header, lengths, heap


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
    header.extend(label_cards(pixels, segmenter), strip=False)
    return header.tostring(padding=True).encode("ascii")


def label_cards(pixels, segmenter):
    """Cards of a label map: the WCS of the image, and what made the map."""
    cards = fits.Header()
    cards.extend(kept_cards(pixels.header, pixels.shape), strip=False)
    made_by = _provenance(segmenter)
    del made_by["DATE"]  # a run that was resumed, or ran elsewhere, gives the same file to the byte
    cards.extend(made_by, strip=False)
    return cards


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
        reserve_space(file, 0, total)
        file.write(header)
        file.truncate(total)


def flush(path):
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
