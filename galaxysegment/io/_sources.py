"""Where a `Field` gets its pixels from: an array, a FITS extension, several of them, or a cut-out.

Every source has a `shape` and reads all of itself, or only a section.
"""

from abc import ABC, abstractmethod

import numpy as np

from ._section import resolve_section


class PixelSource(ABC):
    """Pixels that can be read, all of them or a section.

    Attributes
    ----------
    shape : tuple of int
        ``(height, width)`` or ``(n_bands, height, width)``.
    reads_whole : bool
        Whether a section costs as much as everything, as in a file that is packed as a whole.
    """

    shape: tuple
    reads_whole: bool

    @abstractmethod
    def read(self, section=None):
        """Return the pixels of a pair of slices, or all."""


class ArraySource(PixelSource):
    """Pixels that are in memory."""

    reads_whole = False

    def __init__(self, array):
        self.array = array
        self.shape = array.shape

    def read(self, section=None):
        return self.array if section is None else self.array[(..., *section)]


class FitsSource(PixelSource):
    """Pixels of one HDU, read by `reader(path, hdu, section=...)` when asked for."""

    def __init__(self, reader, hdu):
        self.reader = reader
        self.hdu = hdu
        self.shape = hdu.image_shape
        self.reads_whole = hdu.is_stream

    def read(self, section=None):
        return self.reader(self.hdu, section)


class StackSource(PixelSource):
    """One band per source."""

    def __init__(self, sources):
        self.sources = sources
        self.shape = (len(sources), *sources[0].shape[-2:])
        self.reads_whole = any(source.reads_whole for source in sources)

    def read(self, section=None):
        # Filled band by band: stacking a list of bands would hold all of them twice.
        cube = None
        for band, source in enumerate(self.sources):
            plane = source.read(section)
            dtype = plane.dtype if cube is None else np.result_type(cube, plane)
            if cube is None or cube.dtype != dtype:
                # Only the bands that are filled move over: what lies in the others is no number
                # yet.
                filled, cube = cube, np.empty((len(self.sources), *plane.shape), dtype)
                cube[:band] = 0 if filled is None else filled[:band]
            cube[band] = plane
        return cube


class CubeSource(PixelSource):
    """One plane as a cube of one band."""

    def __init__(self, source):
        self.source = source
        self.shape = (1, *source.shape)
        self.reads_whole = source.reads_whole

    def read(self, section=None):
        return self.source.read(section)[None]


class BandsSource(PixelSource):
    """Some of the bands of another source."""

    def __init__(self, source, bands):
        self.source, self.bands = source, list(bands)
        self.shape = (len(self.bands), *source.shape[1:])
        self.reads_whole = source.reads_whole

    def read(self, section=None):
        return self.source.read(section)[self.bands]


class MaskedSource(PixelSource):
    """An image that is NaN where a mask, a source of booleans, is True.

    It remembers where the mask is clear, because a mosaic reads every pixel several times: the mask
    is read again only near its True pixels.
    """

    def __init__(self, source, mask):
        self.source, self.mask, self.shape = source, mask, source.shape
        self.reads_whole = source.reads_whole or mask.reads_whole
        self._clear = _ClearParts(self.shape[-2:])

    def read(self, section=None):
        image = self.source.read(section)
        if self._clear.cover(section):
            return image
        mask = self.mask.read(section)
        is_blank = mask.any()
        self._clear.remember(section, mask if is_blank else None)
        return np.where(mask, image.dtype.type(np.nan), image) if is_blank else image


class _ClearParts:
    """The parts of the rows of a mask, 256 pixels each, that are known to hold no True."""

    width = 256

    def __init__(self, shape):
        self.shape = shape
        self._known = None  # of shape (height, number of parts in a row)

    def cover(self, section):
        """Whether all parts that a section touches are clear."""
        if self._known is None:
            return False
        rows, columns = resolve_section(section, self.shape)
        parts = slice(columns.start // self.width, -(-columns.stop // self.width))
        return bool(self._known[rows, parts].all())

    def remember(self, section, mask):
        """Remember the parts inside a section that are clear, given its mask; None for no True."""
        rows, columns = resolve_section(section, self.shape)
        first = -(-columns.start // self.width)
        is_last = columns.stop == self.shape[1]  # the last part may be narrower
        stop = -(-columns.stop // self.width) if is_last else columns.stop // self.width
        if stop <= first:
            return
        if self._known is None:
            n_parts = -(-self.shape[1] // self.width)
            self._known = np.zeros((self.shape[0], n_parts), dtype=bool)
        if mask is None:
            self._known[rows, first:stop] = True
            return
        is_true = mask.any(axis=0) if mask.ndim == 3 else mask
        offset = first * self.width - columns.start
        is_true = is_true[:, offset : stop * self.width - columns.start]
        starts = np.arange(0, is_true.shape[1], self.width)
        self._known[rows, first:stop] |= ~np.logical_or.reduceat(is_true, starts, axis=1)


class UnknownNoise(PixelSource):
    """Booleans: where an RMS map has no value."""

    def __init__(self, rms):
        self.rms, self.shape, self.reads_whole = rms, rms.shape, rms.reads_whole

    def read(self, section=None):
        return np.isnan(self.rms.read(section))


class CutSource(PixelSource):
    """A rectangle of another source."""

    def __init__(self, source, rows, columns):
        self.source = source
        self.rows = rows
        self.columns = columns
        self.shape = (*source.shape[:-2], rows.stop - rows.start, columns.stop - columns.start)
        self.reads_whole = source.reads_whole

    def read(self, section=None):
        if section is None:
            return self.source.read((self.rows, self.columns))
        rows, columns = (
            _shift(part, whole.start)
            for part, whole in zip(section, (self.rows, self.columns), strict=True)
        )
        return self.source.read((rows, columns))


def _shift(window, start):
    return slice(window.start + start, window.stop + start)
