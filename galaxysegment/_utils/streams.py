"""Images of which only windows are in memory: what training reads its patches from.

A stream has a ``shape``, ``(n_bands, height, width)`` of an image or ``(height, width)`` of a map,
and ``window(rows, columns)``, which returns the pixels of two slices as an array.
"""

import numpy as np

__all__ = ["ArrayStream", "MaskedStream", "as_stream", "blocks", "whole"]


class ArrayStream:
    """An array, in memory or memory-mapped.

    Parameters
    ----------
    array : ndarray of shape (n_bands, height, width) or (height, width)
    """

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def window(self, rows, columns):
        """Return the pixels of two slices."""
        return self.array[..., rows, columns]


class MaskedStream:
    """An image whose masked pixels are NaN.

    Parameters
    ----------
    image : stream of shape (n_bands, height, width)
    mask : stream of bool, shape (height, width)
        True for pixels without data.
    """

    def __init__(self, image, mask):
        self.image, self.mask, self.shape = image, mask, image.shape

    def window(self, rows, columns):
        """Return the pixels of two slices."""
        pixels, mask = (part.window(rows, columns) for part in (self.image, self.mask))
        return np.where(mask, pixels.dtype.type(np.nan), pixels) if mask.any() else pixels


def as_stream(image):
    """Return an array as a stream, and a stream as it is."""
    return ArrayStream(image) if isinstance(image, np.ndarray) else image


def whole(stream):
    """Return all pixels of a stream as one array."""
    return stream.window(slice(0, stream.shape[-2]), slice(0, stream.shape[-1]))


def blocks(stream, n_rows):
    """Yield the first row and the pixels of blocks of `n_rows` rows; the last may have fewer."""
    height, width = stream.shape[-2:]
    for y0 in range(0, height, n_rows):
        yield y0, stream.window(slice(y0, min(y0 + n_rows, height)), slice(0, width))
