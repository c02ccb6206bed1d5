"""Seams of a mosaic: straight lines along rows or columns where the level of the sky steps.

A mesh of boxes turns a step into a ramp as wide as two boxes, so that a strip on either side of the
seam is left bright or dark. Steps are sought in medians along short stretches of columns and rows.
"""

from typing import NamedTuple

import numpy as np

from ._background import box_statistics
from ._contract import Statistic
from ._statistics import BackgroundMeshes

_STRIP = 64  # pixels along the seam that a median is taken of
_FAR, _NEAR = 12, 4  # pixels on either side that a step is measured with
_SIGMAS = 6.0  # a step must exceed the scatter of such steps by this factor
_SHARP = 0.7  # of a step must be there within a third of the pixels: a galaxy's edge is softer
_LEAST_STRIPS = 3
_REACH = 128  # pixels on either side of a seam that the step is spread over


class Seam(NamedTuple):
    """A step of the sky: `step` brighter from pixel `place` on, on the lines ``start…stop``."""

    is_vertical: bool
    place: int
    start: int
    stop: int
    step: float


class LevelledMeshes(BackgroundMeshes):
    """`BackgroundMeshes` of the bands without their seams.

    Parameters
    ----------
    bands_of, **options
        As of `BackgroundMeshes`.
    seams : list of lists of Seam
        Of each band.
    """

    def __init__(self, bands_of, seams, **options):
        super().__init__(bands_of, **options)
        self.seams = seams

    def measure(self, rows, y0, shape):
        box = self._box(shape)
        levelled = [
            band - steps_of(seams, (y0, 0), band.shape, band.dtype)
            for band, seams in zip(self.bands_of(rows), self.seams, strict=True)
        ]
        return [(band.dtype, box_statistics(band, box)) for band in levelled]


class Seams(Statistic):
    """Straight steps in the sky level of each band: list of lists of `Seam`.

    Parameters
    ----------
    bands_of : callable
        ``bands_of(rows)`` lists the bands of a block of rows; NaN is "no data". It must be
        picklable.
    """

    def __init__(self, bands_of):
        self.bands_of = bands_of

    def block_rows(self, shape):
        return _STRIP

    def measure(self, rows, y0, shape):
        return [_stretch_medians(band) for band in self.bands_of(rows)]

    def combine(self, parts, shape):
        seams = []
        for strips in zip(*parts, strict=True):
            columns = np.concatenate([along_columns for along_columns, _ in strips])
            rows = np.concatenate([along_rows for _, along_rows in strips], axis=1)
            seams.append(_seams_of(columns, rows, shape))
        return seams


def find_seams(band):
    """List the `Seam` of a band, shape (height, width); NaN is "no data"."""
    return _seams_of(*_stretch_medians(band), band.shape)


def steps_of(seams, corner, shape, dtype):
    """Steps of the sky in a window, without what a mesh of boxes can follow.

    Parameters
    ----------
    seams : list of Seam
    corner : tuple of int
        Row and column of the window's first pixel.
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    ndarray of `shape`
        Beside a seam half the step, falling to 0 within 128 pixels, positive on the bright side.
        The image minus this rises smoothly across the seam.
    """
    steps = np.zeros(shape, dtype=dtype)
    for seam in seams:
        turned = steps if seam.is_vertical else steps.T
        line0, pixel0 = corner if seam.is_vertical else corner[::-1]
        offset = np.arange(turned.shape[1]) + pixel0 - seam.place
        near = np.abs(offset + 0.5) < _REACH
        ramp = ((offset + 0.5) / _REACH + 1) / 2
        profile = np.where(near, seam.step * ((offset >= 0) - ramp), 0)
        lines = slice(max(seam.start - line0, 0), max(seam.stop - line0, 0))
        turned[lines] += profile.astype(dtype)
    return steps


def _stretch_medians(band):
    """Medians of 64 pixels along columns and along rows: (n_strips, width), (n_strips, height).

    Every second pixel counts.
    """
    along_columns = [_median(band[y : y + _STRIP : 2]) for y in range(0, len(band), _STRIP)]
    turned = band.T
    along_rows = [_median(turned[x : x + _STRIP : 2]) for x in range(0, len(turned), _STRIP)]
    return np.stack(along_columns), np.stack(along_rows)


def _median(lines):
    """Median over lines; NaN where more than half of the pixels have no data."""
    missing = np.isnan(lines)
    if not missing.any():
        return np.median(lines, axis=0)
    count = len(lines) - missing.sum(axis=0)
    ordered = np.sort(lines, axis=0)  # NaN last
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0)[np.newaxis] // 2, axis=0)[0]
    return np.where(2 * count > len(lines), middle, np.nan)


def _seams_of(columns, rows, shape):
    """List the seams of medians along columns and along rows."""
    seams = _chains(columns, shape[0], is_vertical=True)
    return seams + _chains(rows, shape[1], is_vertical=False)


def _chains(medians, length, is_vertical):
    """Steps at the same pixel of consecutive strips, as `Seam`; `length` is that of all strips.

    A single strip may miss its step, because a source hides it.
    """
    steps = [_sharp_steps(line) for line in medians]
    chains, going_on = [], []
    for index, own in enumerate(steps):
        for chain in going_on:
            place = chain.nearest(own)
            if place is not None:
                chain.strips.append(index)
                chain.steps.append(own.pop(place))
        new = [_Chain(place, [index], [step]) for place, step in own.items()]
        going_on = [chain for chain in going_on if index - chain.strips[-1] <= 1] + new
        chains += new
    return [
        Seam(
            is_vertical,
            chain.place,
            chain.strips[0] * _STRIP,
            min((chain.strips[-1] + 1) * _STRIP, length),
            float(np.median(chain.steps)),
        )
        for chain in chains
        if len(chain.strips) >= _LEAST_STRIPS
    ]


class _Chain(NamedTuple):
    """A pixel where strips have a step of one sign, these strips, and their steps."""

    place: int
    strips: list
    steps: list

    def nearest(self, steps):
        """Return the place of a step that goes on with this chain, or None."""
        for place in (self.place, self.place - 1, self.place + 1):
            if steps.get(place, 0) * self.steps[-1] > 0:
                return place
        return None


def _sharp_steps(line):
    """Places and heights of the sharp steps of a line of medians."""
    if len(line) < 4 * _FAR:
        return {}
    far, near = _step(line, _FAR), _step(line, _NEAR)
    size = np.abs(far)
    known = size[~np.isnan(size)]
    if not known.size:
        return {}
    # The scatter of steps: of noise, and of the sources in the field.
    limit = _SIGMAS * 1.4826 * np.median(known)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(np.nan_to_num(size), _FAR), 2 * _FAR + 1
    )
    is_peak = size >= windows.max(axis=1)
    ratio = np.divide(near, far, out=np.zeros_like(far), where=size > 0)
    chosen = (size > max(limit, 0)) & is_peak & (ratio > _SHARP) & (ratio < 1 / _SHARP)
    return {int(place): float(far[place]) for place in np.flatnonzero(chosen)}


def _step(line, width):
    """Mean of the `width` pixels from each pixel on, minus that of the pixels before it."""
    means = np.lib.stride_tricks.sliding_window_view(line, width).mean(axis=1, dtype=np.float64)
    step = np.full(len(line), np.nan)
    step[width : len(line) - width + 1] = means[width:] - means[: len(means) - width]
    return step
