"""Rows of tiles that are painted while threads still segment the tiles below.

Labels are numbered in the order of the sources' first pixels. So the numbers of a row of tiles are
known as soon as the row below it is segmented, unless a source or a blend reaches further down.
Rows are painted with the numbers that are known, and the disk writes them meanwhile: at the end
nothing else would be left to do. A row whose numbers turn out to be others is painted again.
"""

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import numpy as np

from ._output import flush, stored_as, write_line
from ._work import Blend, run_task, segment_blend

_STEPS = 8  # of painting in a mosaic: all tiles that are done are joined in each
_DTYPE = np.int32  # of labels, unless their number is larger than that of any mosaic so far


class Painter:
    """Paints rows of tiles in the main thread; the context deletes what was not published.

    Parameters
    ----------
    lines : list of list of Tile
    job : Job
    begin : callable
        ``begin(dtype)`` makes the file and returns its path, and where its pixels begin.
    join : callable
        ``join(n_tiles)`` returns the `Join` of the first tiles.
    number : callable
        ``number(join, lines)`` returns, first, the work of each line, as `paint_line` takes it.

    Attributes
    ----------
    blends : set of Blend
        Those that were segmented here.
    """

    def __init__(self, lines, job, begin, join, number):
        self.lines, self.job, self.begin = lines, job, begin
        self.join, self.number = join, number
        self.blends = set()
        self._line_of = {tile.index: y for y, line in enumerate(lines) for tile in line}
        self._waiting = [{tile.index for tile in line} for line in lines]
        self._n_done = 0  # lines, from the top, whose tiles are all done
        self._n_joined = 0  # lines at the last step
        self._painted = []  # the work of each line that was painted
        self._file = None  # path, and where its pixels begin
        self._disk = ThreadPoolExecutor(1, "galaxysegment-disk")
        self._flushes = []  # futures, in the order of the steps

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._drop()
        self._disk.shutdown()

    def note(self, tile):
        """Paint the rows that can be painted now that another tile is done.

        If this fails, all rows are left to the end, when a failure can be explained.
        """
        self._waiting[self._line_of[tile.index]].discard(tile.index)
        while self._n_done < len(self.lines) and not self._waiting[self._n_done]:
            self._n_done += 1
        n_new = self._n_done - max(1, self._n_joined)
        is_last = self._n_done == len(self.lines)  # the threads paint the rest
        if is_last or n_new < max(1, len(self.lines) // _STEPS):
            return
        self._n_joined = self._n_done
        try:
            self._paint()
        except (OSError, RuntimeError):  # a full disk, or a record that is gone
            self._drop()

    def _paint(self):
        works = self._works()
        if not all(map(_is_same, self._painted, works)):
            return  # numbers of all rows change below some source that is still open
        if self._file is None:
            self._file = self.begin(_DTYPE)
        for flushed in self._flushes:
            if flushed.done():
                flushed.result()
        path, offset = self._file
        for work in works[len(self._painted) :]:
            write_line(self.job, work, path, offset, stored_as(_DTYPE))
            self._painted.append(work)
        self._flushes.append(self._disk.submit(flush, path))

    def wait_for_disk(self):
        """Wait until all that was painted here is on the disk; raise an error if it cannot be.

        The system tells such an error once: a later flush of the file may not see it.
        """
        for flushed in self._flushes:
            flushed.result()

    def _works(self):
        """The work of all lines that are done but the last, whose sources may go on below."""
        lines = self.lines[: self._n_done]
        join, bottom = self.join(lines[-1][-1].index + 1), lines[-1][-1].core.y1
        whole = [redo for redo in join.redo if redo[0].y1 < bottom]
        for blend in {Blend(window, pixel) for window, pixel, _ in whole} - self.blends:
            run_task(self.job, segment_blend, blend)
            self.blends.add(blend)
        return self.number(replace(join, redo=whole), lines[:-1])[0]

    def _drop(self):
        """Forget the file, if it was not published."""
        wait(self._flushes)  # Windows deletes no file that is open
        if self._file is not None:
            self._file[0].unlink(missing_ok=True)
        self._file, self._painted, self._flushes = None, [], []

    def file_of(self, dtype):
        """Path of the file, and where its pixels begin; None if none has labels of this type."""
        return self._file if np.dtype(dtype) == _DTYPE else None

    def unpainted(self, works):
        """Those of the lines of all tiles that are not painted yet, or with other numbers."""
        n_painted = len(self._painted)
        again = [
            new
            for old, new in zip(self._painted, works[:n_painted], strict=True)
            if not _is_same(old, new)
        ]
        return again + works[n_painted:]


def _is_same(work, other):
    """Whether a line is painted with the same numbers."""
    (_, tables, blends), (_, other_tables, other_blends) = work, other
    return (
        all(map(np.array_equal, tables, other_tables))
        and [index for index, _ in blends] == [index for index, _ in other_blends]
        and all(
            np.array_equal(own, more)
            for (_, own), (_, more) in zip(blends, other_blends, strict=True)
        )
    )
