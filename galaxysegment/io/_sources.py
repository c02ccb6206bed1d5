"""Where a `Field` gets its pixels from: an array, a FITS extension, several of them, or a cut-out.

Every source has a `shape` and reads all of itself, or only a section.
"""

import numpy as np


class ArraySource:
    """Pixels that are in memory."""

    reads_whole = False

    def __init__(self, array):
        self.array = array
        self.shape = array.shape

    def read(self, section=None):
        return self.array if section is None else self.array[(..., *section)]


class FitsSource:
    """Pixels of one HDU, read by `reader(path, hdu, section=...)` when asked for."""

    def __init__(self, reader, hdu):
        self.reader = reader
        self.hdu = hdu
        self.shape = hdu.image_shape
        self.reads_whole = hdu.is_stream

    def read(self, section=None):
        return self.reader(self.hdu, section)


class StackSource:
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


class CubeSource:
    """One plane as a cube of one band."""

    def __init__(self, source):
        self.source = source
        self.shape = (1, *source.shape)
        self.reads_whole = source.reads_whole

    def read(self, section=None):
        return self.source.read(section)[None]


class MaskedSource:
    """An image that is NaN where a mask, a source of booleans, is True."""

    def __init__(self, source, mask):
        self.source, self.mask, self.shape = source, mask, source.shape
        self.reads_whole = source.reads_whole or mask.reads_whole

    def read(self, section=None):
        image, mask = self.source.read(section), self.mask.read(section)
        return np.where(mask, image.dtype.type(np.nan), image) if mask.any() else image


class UnknownNoise:
    """Booleans: where an RMS map has no value."""

    def __init__(self, rms):
        self.rms, self.shape, self.reads_whole = rms, rms.shape, rms.reads_whole

    def read(self, section=None):
        return np.isnan(self.rms.read(section))


class CutSource:
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
