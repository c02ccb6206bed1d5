"""Constant regions: borders and gaps without data that neither NaN nor a weight map marks.

Resampled and stacked images often hold zeros, or another constant, where no exposure looked. A
region of exactly equal pixels is found as runs of equal pixels along rows, which are joined across
rows. It has no data if it is large and if the pixels around it are noisy, because the sky of a
noise-free simulation is constant as well.
"""

from typing import NamedTuple

import numpy as np

from ._contract import MosaicAware, Statistic

_RUN = 8  # pixels of the shortest run that counts inside the image; at a border any run does
_AREA_AT_BORDER, _AREA_INSIDE = 64, 256  # pixels of the smallest region
_SAMPLE = 1 << 18  # pixels that the noise is judged by
_LEAST_SAMPLE = 256
_TURNS = 0.12  # a noisy row goes up and down: 0.67 of white noise, 0.2 of noise smoothed by FWHM 5
_COMMON = 0.3  # a value of more pixels than that is the sky of an image that counts few photons
_DENSEST = 64  # at most a run in so many pixels of a row: else the sky of this row is constant
_LEAST_RUNS = 6  # of a short row


def blank_constant(images, rms_band=None):
    """Set constant regions of images to NaN; see `ConstantRegions` for what counts.

    Parameters
    ----------
    images : list of ndarray of float, shape (n_bands, height, width)
    rms_band : int or None
        Index of the RMS map, which may be constant and is left as it is.

    Returns
    -------
    list of ndarray of the same shapes
        An image without such a region is itself returned.
    """
    return [_blank_image(image, rms_band) for image in images]


def _blank_image(image, rms_band):
    shape = image.shape[1:]
    runs = [_find_runs(band, 0) for band in _science(image, rms_band)]
    regions = [_large_regions(own, shape) for own in runs]
    if not any(len(own.row) for own in regions):
        return image
    step = _sample_step(shape)
    accepted = []
    for band, own, region in zip(_science(image, rms_band), runs, regions, strict=True):
        accepted.append(_accepted(region, _NoiseSample.take(band, own, 0, step)))
    return _blank(image, accepted, rms_band, (0, 0))


class ConstantRegions(Statistic):
    """Regions of exactly equal pixels that hold no data: list of `_Runs`, one per science band.

    A region has at least 256 pixels, or 64 if it touches the border of the image; inside the image
    it is at least 8 pixels wide. Its value must lie below the noise of the other pixels (zeros
    beside a sky of 1000) or within it (zeros beside a sky of 0), never among the brightest 16 %,
    because a saturated star is constant as well.

    The other pixels must be noisy. The sky of a simulation without noise, or of an image that
    counts few photons, is not taken for a gap.

    Parameters
    ----------
    rms_band : int or None
        Index of the RMS map, which is not looked at.
    """

    def __init__(self, rms_band):
        self.rms_band = rms_band

    def measure(self, rows, y0, shape):
        step = _sample_step(shape)
        measured = []
        for band in _science(rows, self.rms_band):
            runs = _find_runs(band, y0)
            measured.append((runs, _NoiseSample.take(band, runs, y0, step)))
        return measured

    def combine(self, parts, shape):
        regions = []
        for strips in zip(*parts, strict=True):
            runs = _Runs(
                *(np.concatenate(part) for part in zip(*(s[0] for s in strips), strict=True))
            )
            sample = _NoiseSample.join([sample for _, sample in strips])
            regions.append(_accepted(_large_regions(runs, shape), sample))
        return regions


class ConstantBlanker(MosaicAware):
    """The step before a segmenter of a mosaic that sets constant regions to NaN."""

    reach = 0
    works_in_threads = True

    def __init__(self, rms_band):
        self.rms_band = rms_band

    def statistics_needed(self) -> dict[str, Statistic]:
        return {"regions": ConstantRegions(self.rms_band)} if self._statistics is None else {}

    def is_idle(self, values):
        """Whether no pixel of the mosaic can change, given the statistics of the mosaic."""
        return not any(len(runs.row) for runs in values["regions"])

    def transform(self, X):
        regions = self._statistics["regions"]
        return [_blank(image, regions, self.rms_band, self._corner) for image in X]


class _Runs(NamedTuple):
    """Runs of equal pixels along rows: row, first column, column after the last, value."""

    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    value: np.ndarray

    @classmethod
    def none(cls):
        return cls(*(np.zeros(0, dtype=np.int64) for _ in range(3)), np.zeros(0))

    def select(self, chosen):
        return _Runs(*(part[chosen] for part in self))


def _science(image, rms_band):
    """List the bands that are not the RMS map."""
    skipped = None if rms_band is None else rms_band % len(image)
    return [band for index, band in enumerate(image) if index != skipped]


def _find_runs(band, y0):
    """`_Runs` of a block of rows that begins in row `y0`, in raster order.

    A row of many runs has none: its sky is constant.
    """
    n_rows, width = band.shape
    if width < _RUN:
        return _Runs.none()
    kinds = _long_runs(band), *_border_runs(band)
    row, start, stop = (np.concatenate(part) for part in zip(*kinds, strict=True))
    is_sparse = np.bincount(row, minlength=n_rows) <= max(_LEAST_RUNS, width // _DENSEST)
    order = np.lexsort((start, row))
    order = order[is_sparse[row[order]]]
    row, start, stop = row[order], start[order], stop[order]
    return _Runs(row + y0, start, stop, band[row, start].astype(np.float64))


def _long_runs(band):
    """Row, start and stop of the runs of at least `_RUN` = 8 equal pixels."""
    pair = band[:, 1:] == band[:, :-1]
    triple = pair[:, 1:] & pair[:, :-1]
    five = triple[:, 2:] & triple[:, :-2]
    eight = five[:, 3:] & five[:, :-3]  # whether a run of 8 begins here
    rows = np.flatnonzero(eight.any(axis=1))
    edges = np.diff(np.pad(eight[rows], ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    stop = np.nonzero(edges == -1)[1] + _RUN - 1
    return rows[row], start, stop


def _border_runs(band):
    """Row, start and stop of the runs of fewer than 8 pixels at the left and the right border."""
    width = band.shape[1]
    sides = []
    for ends in (band[:, :_RUN], band[:, : -_RUN - 1 : -1]):
        length = np.logical_and.accumulate(ends == ends[:, :1], axis=1).sum(axis=1)
        row = np.flatnonzero((length > 0) & (length < _RUN))
        sides.append((row, length[row]))
    (left, n_left), (right, n_right) = sides
    return (
        (left, np.zeros_like(left), n_left),
        (right, width - n_right, np.full_like(right, width)),
    )


def _large_regions(runs, shape):
    """Runs of the regions that are large enough."""
    first, second = _links(runs, shape[1])
    if not len(first):  # a region of a single row
        area, is_at_border = runs.stop - runs.start, _is_at_border(runs, shape)
        return runs.select((area >= _AREA_INSIDE) | (is_at_border & (area >= _AREA_AT_BORDER)))
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_runs = len(runs.row)
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), (n_runs, n_runs))
    n_regions, region = connected_components(graph, directed=False)
    area = np.bincount(region, runs.stop - runs.start, n_regions)
    is_at_border = np.bincount(region, _is_at_border(runs, shape), n_regions) > 0
    is_large = (area >= _AREA_INSIDE) | (is_at_border & (area >= _AREA_AT_BORDER))
    return runs.select(is_large[region])


def _is_at_border(runs, shape):
    height, width = shape
    return (runs.row == 0) | (runs.row == height - 1) | (runs.start == 0) | (runs.stop == width)


def _links(runs, width):
    """Pairs of runs of equal value that touch, one below the other."""
    line = width + 1
    below = (runs.row + 1) * line
    low = np.searchsorted(runs.row * line + runs.stop, below + runs.start, side="right")
    high = np.searchsorted(runs.row * line + runs.start, below + runs.stop, side="left")
    count = np.maximum(high - low, 0)
    first = np.repeat(np.arange(len(count)), count)
    second = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count) + low[first]
    equal = runs.value[first] == runs.value[second]
    return first[equal], second[equal]


class _NoiseSample(NamedTuple):
    """Some pixels outside all runs: values, steps to the next, and how often rows turn."""

    values: np.ndarray
    steps: np.ndarray
    n_turns: int
    n_triples: int

    @classmethod
    def take(cls, band, runs, y0, step):
        """Every `step`-th row of a block of rows."""
        rows = np.arange(-y0 % step, len(band), step)
        pixels = band[rows].astype(np.float64)
        wanted = np.flatnonzero((runs.row % step == 0) & (runs.row >= y0))
        places = (runs.row[wanted] - y0 - rows[0]) // step if len(rows) else wanted[:0]
        for place, index in zip(places.tolist(), wanted.tolist(), strict=True):
            pixels[place, runs.start[index] : runs.stop[index]] = np.nan
        steps = np.diff(pixels, axis=1)
        is_triple = ~np.isnan(steps[:, 1:] + steps[:, :-1])
        turns = np.sign(steps[:, 1:]) * np.sign(steps[:, :-1]) < 0
        return cls(
            pixels[~np.isnan(pixels)],
            np.abs(steps[~np.isnan(steps)]),
            int(np.count_nonzero(turns & is_triple)),
            int(np.count_nonzero(is_triple)),
        )

    @classmethod
    def join(cls, samples):
        values, steps, n_turns, n_triples = zip(*samples, strict=True)
        return cls(np.concatenate(values), np.concatenate(steps), sum(n_turns), sum(n_triples))

    @property
    def is_noisy(self):
        return len(self.values) >= _LEAST_SAMPLE and self.n_turns > _TURNS * self.n_triples


def _accepted(runs, sample):
    """Runs whose value says that there are no data."""
    if not len(runs.row) or not sample.is_noisy:
        return _Runs.none()
    low, high = np.quantile(sample.values, [0.02, 0.84])
    values, of_run = np.unique(runs.value, return_inverse=True)
    share = np.array([np.mean(sample.values == value) for value in values])
    beside_sky = (values > low) | (values < low - np.median(sample.steps))
    return runs.select((beside_sky & (values <= high) & (share <= _COMMON))[of_run])


def _sample_step(shape):
    return -(-shape[0] * shape[1] // _SAMPLE)


def _blank(image, regions, rms_band, corner):
    """Set regions to NaN where they are zero, or constant in all science bands.

    A band that is constant but not zero, while others have data, may be no image.
    """
    y0, x0 = corner
    n_rows, width = image.shape[1:]
    inside = [
        runs.select(
            (runs.row >= y0)
            & (runs.row < y0 + n_rows)
            & (runs.start < x0 + width)
            & (runs.stop > x0)
        )
        for runs in regions
    ]
    if not any(len(own.row) for own in inside):
        return image
    masks, zeros = [], []
    for own in inside:
        mask = np.zeros((n_rows, width), dtype=bool)
        zero = np.zeros_like(mask)
        for row, start, stop, value in zip(*(part.tolist() for part in own), strict=True):
            columns = slice(max(start - x0, 0), stop - x0)
            mask[row - y0, columns] = True
            zero[row - y0, columns] = value == 0
        masks.append(mask)
        zeros.append(zero)
    in_all = np.logical_and.reduce(masks)
    blanks = [in_all | zero for zero in zeros]
    if not any(blank.any() for blank in blanks):
        return image
    blanked = image.copy()
    for band, blank in zip(_science(blanked, rms_band), blanks, strict=True):
        band[blank] = np.nan
    return blanked
