"""Where the map goes: into an array, or into a file that appears when it is finished."""

from contextlib import contextmanager
from uuid import uuid4

import numpy as np

from ._instances import write_instances
from ._work import TileError, write_line
from ._write import flush, label_header, paint_line, reserve


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
