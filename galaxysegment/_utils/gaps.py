"""Narrow gaps without data, such as bad columns, bridged by interpolation."""

import numpy as np

from .validation import split_rms


def bridge_gaps(image, width, rms_band=None):
    """Interpolate across gaps of at most `width` pixels.

    A gap is a run of pixels without data along a row or a column, with data at both ends. It is
    filled along the shorter run, along the row if both are equal, with a straight line between the
    two ends. Nothing farther away than ``width`` pixels matters.

    Parameters
    ----------
    image : ndarray of float, shape (n_bands, height, width)
        NaN is "no data"; so is every band of a pixel without a positive RMS.
    width : int
        Largest width of a gap in pixels.
    rms_band : int or None
        Index of the RMS map, which is bridged, too.

    Returns
    -------
    ndarray of the same shape
        `image` itself if there is no gap to bridge.
    """
    _, rms = split_rms(image, rms_band)
    missing = np.isnan(image)
    if rms is not None:
        missing |= np.isnan(rms)
    if not width or not missing.any():
        return image
    bridged = image.copy()
    for band, gaps in zip(bridged, missing, strict=True):
        _bridge_band(band, gaps, width)
    return bridged


def _bridge_band(band, missing, width):
    """Fill the narrow gaps of one band, in place."""
    y, x = np.nonzero(missing)
    along_row = _Run(missing, y, x)
    along_column = _Run(missing.T, x, y)
    use_row = along_row.length <= np.minimum(width, along_column.length)
    use_column = ~use_row & (along_column.length <= width)
    before = band.copy()
    band[y[use_row], x[use_row]] = along_row.values(before, use_row)
    band[y[use_column], x[use_column]] = along_column.values(before.T, use_column)


class _Run:
    """The runs of missing pixels along rows that some missing pixels lie in."""

    def __init__(self, missing, y, x):
        self.y, self.x = y, x
        columns = np.arange(missing.shape[1])
        rows, self._row = np.unique(y, return_inverse=True)
        gaps = missing[rows]
        last = np.maximum.accumulate(np.where(gaps, -1, columns), axis=1)
        n_columns = len(columns)
        following = np.where(gaps, n_columns, columns)[:, ::-1]
        following = np.minimum.accumulate(following, axis=1)[:, ::-1]
        self.start, self.stop = last[self._row, x], following[self._row, x]
        is_bounded = (self.start >= 0) & (self.stop < n_columns)
        # Longer than any gap that could be bridged.
        unbounded = np.iinfo(np.int64).max
        self.length = np.where(is_bounded, self.stop - self.start - 1, unbounded)

    def values(self, band, chosen):
        """Straight line between the ends of the runs of the chosen pixels."""
        y, x, start, stop = (part[chosen] for part in (self.y, self.x, self.start, self.stop))
        share = (x - start) / (stop - start)
        return (1 - share) * band[y, start] + share * band[y, stop]
