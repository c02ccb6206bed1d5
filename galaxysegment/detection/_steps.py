"""Medians along short stretches of columns and rows, and the places where they step.

A seam shows in the medians of consecutive stretches, which sources hardly change: see `_seams`.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .._utils.compiling import compiling_pays
from ._background import median_near

STRIP = 64  # pixels, about, along a straight seam that its step is measured in
FAR = 12  # pixels on either side that a step is measured with
LINES = 16  # of medians whose steps are found at once: they stay in the cache
_NEAR = 4  # pixels on either side of a step that show whether it is sharp
_SIGMAS = 6.0  # a step must exceed the scatter of such steps by this factor
_SIGMA_PER_MAD = 1.4826
_LOW = 8.8  # a median step over the highest's share of this is no outlier: _SIGMAS × 1.4826
_GAP = 32  # pixels of the widest gap without data that a step is sought across
_ROWS = 32  # whose medians along rows are found at once: they stay in the cache


class Steps(NamedTuple):
    """Line of each step, the pixel where it is, and its height, ordered by line and pixel."""

    lines: np.ndarray
    places: np.ndarray
    heights: np.ndarray

    def chosen(self, which):
        """Return some of the steps."""
        return Steps(*(values[which] for values in self))


def halves(length, unit=STRIP):
    """Edges of half strips; `unit` lines hold a whole number of strips of about 64."""
    n_halves = 2 * max(1, round(unit / STRIP))
    offsets = unit * np.arange(n_halves) // n_halves
    starts = (np.arange(0, length, unit)[:, np.newaxis] + offsets).ravel()
    return np.append(starts[starts < length], length)


class Stacked:
    """Lines of medians that are put together a few at a time.

    The medians of a large mosaic are the most in memory: all together they would be there twice.

    Parameters
    ----------
    parts : sequence of ndarray
        Of equal shape but along `axis`.
    axis : int
        0 if the parts hold different lines, 1 if they hold pieces of the same lines.
    """

    def __init__(self, parts, axis):
        self._parts, self._axis = parts, axis
        self._stops = np.cumsum([len(part) for part in parts])

    def __len__(self):
        return len(self._parts[0]) if self._axis else int(self._stops[-1])

    def __getitem__(self, lines):
        """Return an array of a slice of lines."""
        start, stop, _ = lines.indices(len(self))
        if self._axis:
            return np.concatenate([part[start:stop] for part in self._parts], axis=1)
        ends = zip(self._parts, self._stops.tolist(), strict=True)
        own = [
            (part, end - len(part)) for part, end in ends if end - len(part) < stop and end > start
        ]
        return np.concatenate([part[max(start - y, 0) : stop - y] for part, y in own])

    def __iter__(self):
        for first in range(0, len(self), LINES):
            yield from self[first : first + LINES]


def stretch_medians(band, unit):
    """Medians of half strips along columns and along rows: (n_halves, width), (n_halves, height).

    Every second pixel counts.
    """
    rows, columns = halves(len(band), unit), halves(band.shape[1])
    if compiling_pays(band.size):
        return _compiled_along_columns(band, rows), _compiled_along_rows(band, columns)
    along_columns = [_median(band[start:stop:2]) for start, stop in pairwise(rows)]
    return np.stack(along_columns), _medians_along_rows(band, columns)


def _compiled_along_columns(band, edges):
    """Medians of every second pixel of each column between edges, shape (n_halves, width)."""
    medians = np.empty((len(edges) - 1, band.shape[1]), dtype=band.dtype)
    for own, start, stop in zip(medians, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        _medians_compiled(band[np.newaxis, start:stop:2], own[np.newaxis])
    return medians


def _compiled_along_rows(band, edges):
    """The same as `_medians_along_rows`, to the bit."""
    height, width = len(band), int(edges[1])
    n_whole = band.shape[1] // width
    medians = np.empty((len(edges) - 1, height), dtype=band.dtype)
    pixels = band[:, : n_whole * width].reshape(height, n_whole, width)[..., ::2]
    _medians_compiled(pixels.transpose(0, 2, 1), medians[:n_whole].T)
    if n_whole < len(medians):  # the last is narrower
        _medians_compiled(band[:, n_whole * width :: 2, np.newaxis], medians[n_whole:].T)
    return medians


def _medians_compiled(stacks, medians):
    """Fill `medians` with the medians of each stack of lines, as `_median` does."""
    from ._seam_kernels import medians_of_lines

    medians_of_lines(stacks, _network(stacks.shape[1]), medians)


@lru_cache(maxsize=16)
def _network(n):
    """`_exchanges` as an array: pairs of lines."""
    return np.array([pair[:2] for pair in _exchanges(n)], dtype=np.int64).reshape(-1, 2)


def _medians_along_rows(band, edges):
    """Medians of every second pixel of each row between edges, shape (n_halves, height)."""
    height, width = len(band), int(edges[1])
    n_whole = band.shape[1] // width
    medians = np.empty((len(edges) - 1, height), dtype=band.dtype)
    for y in range(0, height, _ROWS):
        pixels = band[y : y + _ROWS, : n_whole * width].reshape(-1, n_whole, width)[..., ::2]
        lines = np.moveaxis(pixels, 2, 0).reshape(pixels.shape[2], -1)
        medians[:n_whole, y : y + _ROWS] = _middle(lines).reshape(-1, n_whole).T
    missing = np.isnan(band[:, ::2]).any(axis=0)
    has_gap = np.logical_or.reduceat(missing, edges[:-1] // 2)
    has_gap[n_whole:] = True
    for index in np.flatnonzero(has_gap).tolist():
        medians[index] = _median(band.T[edges[index] : edges[index + 1] : 2])
    return medians


def _median(lines):
    """Median over lines; NaN where more than half of the pixels have no data."""
    missing = np.isnan(lines)
    if not missing.any():
        return _middle(lines)
    count = len(lines) - missing.sum(axis=0)
    ordered = np.sort(lines, axis=0)  # NaN last
    low, high = (
        np.take_along_axis(ordered, np.maximum(index, 0)[np.newaxis], axis=0)[0]
        for index in ((count - 1) // 2, count // 2)
    )
    return np.where(2 * count > len(lines), (low + high) / 2, np.nan)


def _middle(lines):
    """`numpy.median` over lines, in a tenth of its time: whole lines are compared with each other.

    The lines are sorted as far as their middle needs it.
    """
    ordered, spare = [line.copy() for line in lines], np.empty_like(lines[0])
    for first, second, low_counts, high_counts in _exchanges(len(lines)):
        if low_counts:
            np.minimum(ordered[first], ordered[second], out=spare)
        if high_counts:
            np.maximum(ordered[first], ordered[second], out=ordered[second])
        if low_counts:
            ordered[first], spare = spare, ordered[first]
    low, high = ordered[(len(lines) - 1) // 2], ordered[len(lines) // 2]
    return (low + high) / 2 if len(lines) % 2 == 0 else low


@lru_cache(maxsize=16)
def _exchanges(n):
    """Pairs of lines that are put into order, in this order, to find the middle of `n` lines.

    Batcher's sorting network without what the middle does not need; the last two entries say
    whether the lower and the higher of the two are needed.
    """
    pairs, size = [], 1
    while size < n:
        gap = size
        while gap:
            for start in range(gap % size, n - gap, 2 * gap):
                for first in range(start, min(start + gap, n - gap)):
                    if first // (2 * size) == (first + gap) // (2 * size):
                        pairs.append((first, first + gap))
            gap //= 2
        size *= 2
    needed, exchanges = {(n - 1) // 2, n // 2}, []
    for first, second in reversed(pairs):
        if first in needed or second in needed:
            exchanges.append((first, second, first in needed, second in needed))
            needed |= {first, second}
    return exchanges[::-1]


def sharp_steps(medians, sharp, together=1):
    """Find the sharp steps of lines of medians, or of the means of two lines each.

    Parameters
    ----------
    medians : sequence of ndarray
        Slices of it are arrays.
    sharp : float
        Share of a step that must be there within 8 pixels.
    together : int, default=1
        1 or 2 lines that are taken together.

    Returns
    -------
    Steps
    """
    parts = []
    for first in range(0, len(medians), together * LINES):
        lines = np.asarray(medians[first : first + together * LINES])
        lines = _pairs(lines) if together == 2 else lines.astype(np.float64)
        steps = _steps(lines, sharp)
        parts.append(steps._replace(lines=steps.lines + first // together))
    return Steps(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _pairs(lines):
    """Mean of two lines each; of those that have a median."""
    if len(lines) % 2 == 0:
        paired = np.add(lines[::2], lines[1::2], dtype=np.float64)
        if not np.isnan(paired).any():
            return np.divide(paired, 2, out=paired)
    paired = []
    for index in range(0, len(lines), 2):
        two = lines[index : index + 2]
        count = np.count_nonzero(~np.isnan(two), axis=0)
        total = np.nansum(two, axis=0, dtype=np.float64)
        paired.append(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
    return np.array(paired)


def _steps(lines, sharp):
    """`Steps` of a few lines; a narrow gap without data is passed over."""
    has_gap = np.isnan(lines).any(axis=1)
    if not has_gap.any():
        return Steps(*_steps_of_whole(lines, sharp))
    whole = np.flatnonzero(~has_gap)
    own, places, heights = _steps_of_whole(lines[whole], sharp)
    parts = [(whole[own], places, heights)]
    for index in np.flatnonzero(has_gap).tolist():
        kept = np.flatnonzero(~_narrow(np.isnan(lines[index])))
        own, places, heights = _steps_of_whole(lines[np.newaxis, index, kept], sharp)
        parts.append((np.full_like(own, index), kept[places], heights))
    steps = Steps(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    return steps.chosen(np.argsort(steps.lines, kind="stable"))


def _steps_of_whole(lines, sharp):
    """Line, place and height of each sharp step of some lines."""
    if not lines.size or lines.shape[1] < 4 * FAR:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    search = _steps_compiled if compiling_pays(lines.size) else _steps_by_numpy
    return search(lines, sharp)


def _steps_compiled(lines, sharp):
    """The same as `_steps_by_numpy`, to the bit."""
    from ._seam_kernels import find_steps

    factor, n_steps = _SIGMAS * _SIGMA_PER_MAD, lines.size // 256  # as a rule enough
    while True:
        owners, places = np.empty((2, n_steps), dtype=np.int64)
        heights = np.empty(n_steps)
        n_all = find_steps(lines, factor, sharp, owners, places, heights)
        if n_all <= n_steps:
            return owners[:n_all], places[:n_all], heights[:n_all]
        n_steps = n_all


def _steps_by_numpy(lines, sharp):
    """Line, place and height of each sharp step of some lines."""
    chosen = np.flatnonzero(_may_exceed(lines))
    if not chosen.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    lines = lines[chosen]
    far = _step(lines, FAR)
    size = np.abs(far)
    # The scatter of steps: of noise, and of the sources in the field.
    limits = _SIGMAS * _SIGMA_PER_MAD * _medians_of(size)
    own, places = np.nonzero(size > limits[:, np.newaxis])
    padded = np.pad(np.nan_to_num(size), ((0, 0), (FAR, FAR)))
    around = padded[own[:, np.newaxis], places[:, np.newaxis] + np.arange(2 * FAR + 1)]
    is_highest = size[own, places] >= around.max(axis=1, initial=0)
    own, places = own[is_highest], places[is_highest]
    heights = far[own, places]
    ratio = _step_at(lines, _NEAR, own, places + FAR) / heights
    is_sharp = (ratio > sharp) & (ratio < 1 / sharp)
    return chosen[own[is_sharp]], places[is_sharp] + FAR, heights[is_sharp]


def _may_exceed(lines):
    """Whether a step of each line can exceed the limit; this costs less than to look.

    If half of the steps exceed the highest over the limit's factor, their median does so, too.
    """
    size = np.abs(_step(lines, FAR))
    low = np.count_nonzero(size < size.max(axis=1, keepdims=True) / _LOW, axis=1)
    return (2 * low >= size.shape[1] - 1) | np.isnan(size).any(axis=1)


def _medians_of(lines):
    """`numpy.median` of each line without its NaN; infinite where there is nothing else."""
    known = [line[~np.isnan(line)] for line in lines] if np.isnan(lines).any() else lines
    medians, guess = [], None
    for line in known:
        guess = median_near(line, guess) if len(line) else np.inf  # much like that of the last line
        medians.append(guess)
    return np.array(medians)


def steps_at(medians, places):
    """Steps at some places of each half strip, over 12 and over 4 pixels, and their scatter.

    Returns
    -------
    far, near : ndarray of shape (n_places, n_halves)
        NaN where there are no data.
    scatter : ndarray of shape (n_halves,)
        Of steps over 12 pixels along the half strip.
    """
    far = np.full((len(places), len(medians)), np.nan)
    near, scatter = far.copy(), np.full(len(medians), np.nan)
    for index, line in enumerate(medians):
        kept = np.flatnonzero(~_narrow(np.isnan(line)))
        pixels = line[np.newaxis, kept].astype(np.float64)
        at = np.searchsorted(kept, places)
        inside = np.flatnonzero((at >= FAR) & (at <= len(kept) - FAR))
        if not inside.size:
            continue
        steps, at = _step(pixels, FAR)[0], at[inside]
        scatter[index] = _SIGMA_PER_MAD * _medians_of(np.abs(steps)[np.newaxis])[0]
        far[inside, index] = steps[at - FAR]
        near[inside, index] = _step_at(pixels, _NEAR, np.zeros_like(at), at)
    return far, near, scatter


def _step_at(lines, width, own, places):
    """`_step` of lines `own` at some places, for a `width` below 8."""
    pixels = [lines[own, places + shift] for shift in range(-width, width)]
    below, above = (sum(part[1:], part[0]) / width for part in (pixels[:width], pixels[width:]))
    return above - below


def _step(lines, width):
    """Mean of the `width` pixels from each pixel on, minus that of the pixels before it.

    The first is that of pixel `width`, the last that of the pixel `width` before the end.
    """
    n_means = lines.shape[1] - width + 1
    shifted = [lines[:, shift : shift + n_means] for shift in range(width)]
    # Whole lines are added, in the order in which numpy sums so many numbers.
    while len(shifted) >= 8:
        pairs = [low + high for low, high in zip(shifted[:8:2], shifted[1:8:2], strict=True)]
        shifted[:8] = [(pairs[0] + pairs[1]) + (pairs[2] + pairs[3])]
    means = sum(shifted[1:], shifted[0]) / width
    return means[:, width:] - means[:, : n_means - width]


def _narrow(missing):
    """Runs of at most 32 pixels without data."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]])))
    narrow = np.zeros(len(missing), dtype=bool)
    for start, stop in edges.reshape(-1, 2).tolist():
        narrow[start:stop] = stop - start <= _GAP
    return narrow
