"""The file that the map is written to: reserved, filled by rows of tiles, shown when finished."""

import os
import shutil
from contextlib import contextmanager
from math import ceil
from uuid import uuid4

import numpy as np
from astropy.io import fits

from .._utils.paths import reserve_space
from ..io._tables import scores_hdu
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

    def labels(self, lines, dtype, each, scores=None):
        """Write the label map of lines of tiles, several at a time; return the path.

        `scores` of the labels follow as a table.
        """
        stored = np.dtype(dtype).newbyteorder(">")
        with self._draft(stored) as (draft, offset):
            items = [(line, draft, offset, stored) for line in lines]
            for _ in each(write_line, "row of tiles", items):
                pass
            if scores is not None:
                append_table(draft, scores_hdu(scores))
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
        reserve_space(file, 0, total)
        file.write(header)
        file.truncate(total)


def flush(path):
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
