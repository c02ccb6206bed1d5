"""Narrow gaps without data through sources, such as masked cores of stars, are interpolated.

Gaps in empty sky stay gaps: a gap is bridged if the pixels at both of its ends are bright. So a gap
between chips adds no pixels to the background, and hides no step of the sky.
"""

from math import ceil

import numpy as np

from ._contract import MosaicAware, Statistic

_SIGMAS = 3.0  # the ends of a gap exceed the sky by this factor times its scatter
_SIGMA_PER_MAD = 1.4826
_SAMPLE = 1 << 18  # pixels that the sky is judged by


def bridge_gaps(image, width, rms_band=None, limits=None):
    """Interpolate across gaps of at most `width` pixels between bright ends.

    A gap is a run of pixels without data along a row or a column, with data at both ends. It is
    bridged if both ends are brighter than the limit of their band. A pixel that lies in two such
    gaps is filled along the shorter, along the row if both are equal, with a straight line between
    the two ends. Nothing farther away than ``width`` pixels matters.

    Parameters
    ----------
    image : ndarray of float, shape (n_bands, height, width)
        NaN is "no data"; so is every band of a pixel without a positive RMS.
    width : int
        Largest width of a gap in pixels.
    rms_band : int or None
        Index of the RMS map, which is bridged where a science band is.
    limits : list of float, optional
        Of each science band, as `SkyLimits` measures them; by default those of this image.

    Returns
    -------
    ndarray of the same shape
        `image` itself if there is no gap to bridge.
    """
    missing = _missing(image, rms_band)
    if not width or not missing.any():
        return image
    science = _science(len(image), rms_band)
    if limits is None:
        statistic, shape = SkyLimits(rms_band), image.shape[1:]
        limits = statistic.combine([statistic.measure(image, 0, shape)], shape)
    fills = {
        index: _fills(image[index], missing[index], width, limit)
        for index, limit in zip(science, limits, strict=True)
    }
    if not any(len(pixels) for pixels, _ in fills.values()):
        return image
    bridged = image.copy()
    if rms_band is not None:
        _bridge_rms(bridged, missing, width, rms_band % len(image), fills)
    for index, (pixels, values) in fills.items():
        bridged[index].reshape(-1)[pixels] = values
    return bridged


class SkyLimits(Statistic):
    """What counts as bright in each science band: 3 times the scatter above the median pixel.

    The limit of a band without data is NaN, which no pixel exceeds.

    Parameters
    ----------
    rms_band : int or None
        Index of the RMS map; pixels without a positive RMS do not count.
    """

    def __init__(self, rms_band):
        self.rms_band = rms_band

    def measure(self, rows, y0, shape):
        step = max(1, ceil((shape[0] * shape[1] / _SAMPLE) ** 0.5))
        pixels = rows[:, -y0 % step :: step, ::step]
        missing = _missing(pixels, self.rms_band)
        return [pixels[index][~missing[index]] for index in _science(len(rows), self.rms_band)]

    def combine(self, parts, shape):
        return [_limit(np.concatenate(band)) for band in zip(*parts, strict=True)]


class _HasGaps(Statistic):
    """Whether any pixel has no data."""

    def __init__(self, rms_band):
        self.rms_band = rms_band

    def measure(self, rows, y0, shape):
        return bool(_missing(rows, self.rms_band).any())

    def combine(self, parts, shape):
        return any(parts)


class GapBridge(MosaicAware):
    """The step before a segmenter of a mosaic whose sources may bridge gaps without data."""

    works_in_threads = True

    def __init__(self, width, rms_band):
        self.width, self.rms_band = width, rms_band
        self.reach = width + 1

    def statistics_needed(self) -> dict[str, Statistic]:
        if self._statistics is not None:
            return {}
        return {"limits": SkyLimits(self.rms_band), "has_gaps": _HasGaps(self.rms_band)}

    def is_idle(self, values):
        """Whether no pixel of the mosaic can change, given the statistics of the mosaic."""
        return not values["has_gaps"]

    def transform(self, X):
        limits = self._statistics["limits"]
        return [bridge_gaps(image, self.width, self.rms_band, limits) for image in X]


def _science(n_bands, rms_band):
    """Indices of the bands that are not the RMS map."""
    skipped = None if rms_band is None else rms_band % n_bands
    return [index for index in range(n_bands) if index != skipped]


def _missing(image, rms_band):
    """Pixels of each band that have no data, or no positive RMS."""
    missing = np.isnan(image)
    return missing if rms_band is None else missing | ~(image[rms_band] > 0)


def _limit(values):
    if not len(values):
        return np.nan
    level = np.median(values)
    return float(level + _SIGMAS * _SIGMA_PER_MAD * np.median(np.abs(values - level)))


def _bridge_rms(image, missing, width, rms_band, fills):
    """Give bridged pixels an RMS, in place; bands that are not bridged there have no data."""
    filled = np.zeros(image.shape[1:], dtype=bool)
    for pixels, _ in fills.values():
        filled.reshape(-1)[pixels] = True
    image[missing & filled] = np.nan
    pixels, values = _fills(image[rms_band], missing[rms_band], width, -np.inf)
    own = filled.reshape(-1)[pixels]
    image[rms_band].reshape(-1)[pixels[own]] = values[own]


def _fills(band, missing, width, limit):
    """Flat indices of the pixels of a band to fill, and their values."""
    height, n_columns = band.shape
    along_rows = _fills_along_rows(band, missing, width, limit)
    turned, *along_columns = _fills_along_rows(band.T, missing.T, width, limit)
    along_columns = turned % height * n_columns + turned // height, *along_columns
    pixels, lengths, values = (
        np.concatenate(pair) for pair in zip(along_rows, along_columns, strict=True)
    )
    # The shorter gap first, and the one along the row first if both are equal: the sort is stable.
    order = np.lexsort((lengths, pixels))
    pixels, first = np.unique(pixels[order], return_index=True)
    return pixels, values[order[first]]


def _fills_along_rows(band, missing, width, limit):
    """Flat indices of the pixels in narrow gaps between bright ends, length of the gap, value."""
    padded = np.pad(missing, ((0, 0), (1, 1))).ravel()
    edges = np.flatnonzero(padded[1:] != padded[:-1]) + 1
    line = missing.shape[1] + 2
    row, start = np.divmod(edges[::2], line)
    start, stop = start - 2, edges[1::2] % line - 1  # the last pixel before the gap, the next one
    inside = (stop - start <= width + 1) & (start >= 0) & (stop < missing.shape[1])
    row, start, stop = row[inside], start[inside], stop[inside]
    low, high = band[row, start], band[row, stop]
    is_bright = (low > limit) & (high > limit)
    row, start, stop, low, high = (part[is_bright] for part in (row, start, stop, low, high))
    length = stop - start - 1
    x = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length - start - 1, length)
    row, start, stop, low, high = (
        np.repeat(part, length) for part in (row, start, stop, low, high)
    )
    share = (x - start) / (stop - start)
    return row * missing.shape[1] + x, stop - start - 1, (1 - share) * low + share * high
