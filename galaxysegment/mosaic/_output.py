"""The file that the map is written to: reserved, filled by rows of tiles, shown when finished."""

import os
import shutil
from contextlib import contextmanager
from io import BytesIO
from math import ceil
from tempfile import TemporaryFile
from uuid import uuid4

import numpy as np
from astropy.io import fits

from .._utils.paths import reserve_space
from ..io._tables import SEMANTIC as SEMANTIC_NAME
from ..io._tables import classes_hdu, scores_hdu
from ..io._wcs import kept_cards
from ..io._write import _provenance
from ._instances import append_table, write_instance_classes, write_instances
from ._join import SEMANTIC, paint_classes, paint_line
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

    def begin(self, dtype):
        """Make a file of the final size; return its path, and where its pixels begin."""
        draft = self._new_draft()
        return draft, self._reserve(draft, stored_as(dtype))

    def labels(self, lines, dtype, each, ranks=(None, None), owners=None, painter=None):
        """Write the label map of lines of tiles, several at a time; return the path.

        Parameters
        ----------
        lines : list
            As of `paint_line`.
        dtype : dtype
        each : callable
            Does a task for each line.
        ranks : tuple, default=(None, None)
            Scores and classes of the labels, which follow as tables, or None.
        owners : ndarray of int16, shape (n_sources + 1,), optional
            Class of each label, the sky first. The class of each pixel then follows as an image.
        painter : Painter, optional
            Has painted some of the lines.
        """
        stored = stored_as(dtype)
        begun = painter and painter.file_of(dtype)
        with self._draft(begun and begun[0]) as draft:
            offset = begun[1] if begun else self._reserve(draft, stored)
            if owners is None:
                todo = painter.unpainted(lines) if begun else lines
                task, items = write_line, [(line, draft, offset, stored) for line in todo]
            else:
                offsets = offset, self._reserve_classes(draft)
                task = write_classes
                items = [(line, draft, offsets, stored, owners) for line in lines]
            for _ in each(task, "row of tiles", items):
                pass
            if begun:
                painter.wait_for_disk()
            append_ranks(draft, *ranks)
        return self.path

    def instances(self, instances, *, panoptic=False):
        """Paint the sources into the label map and append their table; return the path.

        With `panoptic`, the class of each pixel follows as an image.
        """
        with self._draft() as draft:
            write_instances(draft, self._reserve(draft, np.dtype(">i4")), instances)
            if panoptic:
                write_instance_classes(draft, self._reserve_classes(draft), instances)
        return self.path

    def _reserve(self, draft, dtype):
        """Make a file of the final size with a header; return where its pixels begin."""
        header = label_header(self.pixels, dtype, self.segmenter)
        reserve(draft, header, self.pixels.shape, dtype)
        return len(header)

    def _reserve_classes(self, draft):
        """Add an image of classes to the end of a file; return where its pixels begin."""
        header = semantic_header(self.pixels)
        start = draft.stat().st_size
        _fill_up(draft, start, header, self.pixels.shape, np.dtype(SEMANTIC))
        return start + len(header)

    def _new_draft(self):
        return self.folder.path / f"labels-{uuid4().hex}.fits"

    @contextmanager
    def _draft(self, draft=None):
        """Name a file, if none was begun; publish it when it is filled, or say what is safe."""
        draft = draft or self._new_draft()
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

    def labels(self, lines, dtype, each, ranks=(None, None), owners=None, painter=None):
        """Write the label map of lines of tiles, and what follows it; return the path."""
        shape, dtype = self.pixels.shape, np.dtype(dtype)
        # What follows the label map is kept beside it: another disk could be too small.
        with (
            self._draft() as draft,
            draft.open("w+b") as file,
            TemporaryFile(dir=draft.parent) as second,
        ):
            tables = [CompressedTable(file, shape, dtype, label_cards(self.pixels, self.segmenter))]
            if owners is not None:
                cards = kept_cards(self.pixels.header, shape)
                tables.append(CompressedTable(second, shape, SEMANTIC, cards, SEMANTIC_NAME))
            for line in lines:
                for y0, *planes in self._painted(line, dtype, owners):
                    for table, rows in zip(tables, planes, strict=True):
                        table.add(y0, rows)
            for table in tables:
                table.finish()
            file.seek(0, os.SEEK_END)
            second.seek(_BLOCK)  # without the primary HDU
            shutil.copyfileobj(second, file)
            file.flush()
            append_ranks(draft, *ranks)
        return self.path

    def _painted(self, line, dtype, owners):
        place = line, self.pixels.shape, dtype, self.folder
        return paint_line(*place) if owners is None else paint_classes(*place, owners)


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
    name : str, default="LABELS"
        Of the extension.
    """

    def __init__(self, file, shape, dtype, cards, name="LABELS"):
        self.file, self.shape, self.cards, self.name = file, shape, cards, name
        self.start = file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
        self.places = np.zeros((shape[0], 2), dtype=">i8")  # length and offset of each row
        self.n_bytes = 0
        self.header = self._header_of(compressed_rows(np.zeros((1, shape[1]), dtype))[0])
        self.header["EXTNAME"] = name
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


def stored_as(dtype):
    """Return the type of the labels in the file: FITS is big-endian."""
    return np.dtype(dtype).newbyteorder(">")


def write_line(job, work, path, offset, dtype):
    """Writing a row of tiles."""
    with path.open("r+b") as file:
        for y0, rows in paint_line(work, job.shape, dtype, job.folder):
            file.seek(offset + y0 * job.shape[1] * dtype.itemsize)
            file.write(rows.data)


def write_classes(job, work, path, offsets, dtype, owners):
    """Writing a row of tiles."""
    with path.open("r+b") as file:
        for y0, *planes in paint_classes(work, job.shape, dtype, job.folder, owners):
            stored = planes[0], planes[1].astype(np.dtype(SEMANTIC).newbyteorder(">"))
            for offset, rows in zip(offsets, stored, strict=True):
                file.seek(offset + y0 * job.shape[1] * rows.itemsize)
                file.write(rows.data)


def semantic_header(pixels):
    """Bytes of the header of an image of classes with the WCS of the image."""
    cards = kept_cards(pixels.header, pixels.shape)
    return _text_of(fits.ImageHDU().header, pixels.shape, SEMANTIC, SEMANTIC_NAME, cards)


def label_header(pixels, dtype, segmenter):
    """Bytes of the header of a label map with the WCS of the image, padded to a block."""
    cards = label_cards(pixels, segmenter)
    return _text_of(fits.PrimaryHDU().header, pixels.shape, dtype, "LABELS", cards)


def _text_of(header, shape, dtype, name, cards):
    header["BITPIX"] = 8 * np.dtype(dtype).itemsize
    header["NAXIS"] = 2
    header.insert("NAXIS", ("NAXIS1", shape[1]), after=True)
    header.insert("NAXIS1", ("NAXIS2", shape[0]), after=True)
    header["EXTNAME"] = name
    header.extend(cards, strip=False)
    return header.tostring(padding=True).encode("ascii")


def label_cards(pixels, segmenter):
    """Cards of a label map: the WCS of the image, and what made the map."""
    cards = fits.Header()
    cards.extend(kept_cards(pixels.header, pixels.shape), strip=False)
    made_by = _provenance(segmenter)
    del made_by["DATE"]  # a run that was resumed, or ran elsewhere, gives the same file to the byte
    cards.extend(made_by, strip=False)
    return cards


def check_space(folder, shape, n_bytes=4):
    """Refuse work whose result, of `n_bytes` per pixel, would not fit on the disk."""
    needed, free = n_bytes * shape[0] * shape[1], shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"The label map takes {needed / 1e9:.1f} GB, but the disk of {folder} has "
            f"{free / 1e9:.1f} GB left: make room, or choose another output."
        )


def reserve(path, header, shape, dtype):
    """Make a file of the final size, so that a full disk shows before anything is written."""
    path.touch()
    _fill_up(path, 0, header, shape, dtype)


def _fill_up(path, start, header, shape, dtype):
    """Write a header at the end of a file, and make room for the pixels that follow."""
    n_bytes = shape[0] * shape[1] * np.dtype(dtype).itemsize
    total = len(header) + ceil(n_bytes / _BLOCK) * _BLOCK
    with path.open("r+b") as file:
        reserve_space(file, start, total)
        file.seek(start)
        file.write(header)
        file.truncate(start + total)


def flush(path):
    """Wait until a file is on the disk."""
    with path.open("r+b") as file:  # Windows flushes no file that is open for reading only
        os.fsync(file.fileno())
