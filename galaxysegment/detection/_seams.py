"""Seams of a mosaic: straight lines where the level of the sky steps.

A mesh of boxes turns a step into a ramp as wide as two boxes, so that a strip on either side of the
seam is left bright or dark. Steps are sought in medians along short stretches of columns and rows:
they stay at a pixel, or drift if the seam is tilted by up to 8 degrees. A gap without data of up
to 32 pixels may lie at the seam.
"""

from bisect import bisect_left
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ._background import box_statistics, compiling_pays, median_near
from ._contract import Statistic
from ._plateaus import plateaus
from ._statistics import BackgroundMeshes

_STRIP = 64  # pixels, about, along a straight seam that its step is measured in
_FEWEST_ROWS = 48  # of a strip
_FAR, _NEAR = 12, 4  # pixels on either side that a step is measured with
_SIGMAS = 6.0  # a step must exceed the scatter of such steps by this factor
_SIGMA_PER_MAD = 1.4826
_LOW = 8.8  # a median step over the highest's share of this is no outlier: _SIGMAS × 1.4826
_SIGMAS_ON_LINE = 5.0  # by which a mean step exceeds its error, on a line that has a seam
_FEWEST_HALVES = 2  # half strips with a step along such a line
_SAME_LINE = 2  # pixels between two chains of steps on a line
_SHARP = 0.7  # of a step must be there within a third of the pixels: a galaxy's edge is softer
_SHARP_TILTED = 0.5  # a tilt smears the step within a strip
_LEAST_STRIPS = 3  # of a straight seam; a tilted seam has twice as many of half the height
_MOST_MISSED = 3  # strips in a row that may miss the step of a tilted seam, because of sources
_NEAR_END = 96  # pixels between the end of a seam and the seam that it ends at
_STEEPEST = 0.19  # pixels by which a tilted seam moves from line to line: 10.8 degrees
_OFF_LINE = 1.5  # pixels that the steps of a tilted seam may scatter about a straight line
_GAP = 32  # pixels of the widest gap without data that a step is sought across
_ROWS = 32  # whose medians along rows are found at once: they stay in the cache
_LINES = 16  # of medians whose steps are found at once: they stay in the cache
_REACH = 128  # pixels on either side of a seam that the step is spread over


class Seam(NamedTuple):
    """A step of the sky: `step` brighter from pixel `place` on, on the lines ``start…stop``.

    The place moves by `slope` pixels from line to line.
    """

    is_vertical: bool
    place: float
    start: int
    stop: int
    step: float
    slope: float = 0.0


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
    box_rows : int, default=64
        Rows of the boxes of the mesh that is measured in the same pass: strips fit into them.
    """

    def __init__(self, bands_of, box_rows=_STRIP):
        self.bands_of = bands_of
        self._unit = box_rows * -(-_FEWEST_ROWS // box_rows)

    def block_rows(self, shape):
        return self._unit

    def measure(self, rows, y0, shape):
        return [_stretch_medians(band, self._unit) for band in self.bands_of(rows)]

    def combine(self, parts, shape):
        seams = []
        for strips in zip(*parts, strict=True):
            # One direction after the other: the medians of a large mosaic are the most in memory.
            columns = np.concatenate([along_columns for along_columns, _ in strips])
            own = _seams_of(columns, _halves(shape[0], self._unit), is_vertical=True)
            del columns
            rows = np.concatenate([along_rows for _, along_rows in strips], axis=1)
            own += _seams_of(rows, _halves(shape[1]), is_vertical=False)
            seams.append([_ending_at_crossings(seam, own, shape) for seam in own])
            del rows
        return seams


def find_seams(band, box_rows=_STRIP):
    """List the `Seam` of a band, shape (height, width); NaN is "no data".

    Strips fit into boxes of `box_rows` rows.
    """
    statistic = Seams(lambda rows: [rows[0]], box_rows)
    return statistic.combine([statistic.measure(band[np.newaxis], 0, band.shape)], band.shape)[0]


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
        lines = slice(max(seam.start - line0, 0), max(seam.stop - line0, 0))
        place = seam.place
        if seam.slope:
            own = np.arange(len(turned))[lines, np.newaxis] + line0 - seam.start
            place = place + seam.slope * own
        # From the edge between the last pixel before the step and the first behind it.
        profile = _profile(np.arange(turned.shape[1]) + (pixel0 + 0.5) - place)
        turned[lines] += (seam.step * profile).astype(dtype)
    _join_at_crossings(steps, seams, corner)
    return steps


def _profile(offset):
    """Step of 1 at offset 0, which falls to 0 within 128 pixels on either side."""
    ramp = (offset / _REACH + 1) / 2
    return np.where(np.abs(offset) < _REACH, (offset >= 0) - ramp, 0)


def _join_at_crossings(steps, seams, corner):
    """Take away the steps that seams cause at a line where their own step changes, in place.

    Let a vertical step be 1 higher below a horizontal seam than above it. Then the horizontal step
    is 1 higher on its right. Each of the two stops with its whole profile at the other's line; both
    lines are right if the product of the profiles is subtracted once.
    """
    straight = [seam for seam in seams if not seam.slope]
    lines = [
        sorted({seam.place for seam in straight if seam.is_vertical == wanted})
        for wanted in (False, True)
    ]
    for y in lines[0]:
        for x in lines[1]:
            change = (_change(straight, True, x, y) + _change(straight, False, y, x)) / 2
            starts = [
                round(place) - _REACH - first for place, first in zip((y, x), corner, strict=True)
            ]
            rows, columns = (slice(max(start, 0), max(start + 2 * _REACH, 0)) for start in starts)
            own = steps[rows, columns]
            if not change or not own.size:
                continue
            profile_y, profile_x = (
                _profile(np.arange(n) + (max(start, 0) + first + 0.5) - place)
                for n, start, first, place in zip(own.shape, starts, corner, (y, x), strict=True)
            )
            own -= (change * np.outer(profile_y, profile_x)).astype(own.dtype)


def _change(seams, is_vertical, place, line):
    """By how much the step of the seams at `place` rises at a line that they meet."""
    own = [seam for seam in seams if seam.is_vertical == is_vertical and seam.place == place]
    before, after = (
        sum(seam.step for seam in own if seam.start <= at < seam.stop)
        for at in (int(line) - 1, int(line))
    )
    return after - before


def _halves(length, unit=_STRIP):
    """Edges of half strips; `unit` lines hold a whole number of strips of about 64."""
    n_halves = 2 * max(1, round(unit / _STRIP))
    offsets = unit * np.arange(n_halves) // n_halves
    starts = (np.arange(0, length, unit)[:, np.newaxis] + offsets).ravel()
    return np.append(starts[starts < length], length)


def _stretch_medians(band, unit):
    """Medians of half strips along columns and along rows: (n_halves, width), (n_halves, height).

    Every second pixel counts.
    """
    rows, columns = _halves(len(band), unit), _halves(band.shape[1])
    along_columns = [_median(band[start:stop:2]) for start, stop in pairwise(rows)]
    return np.stack(along_columns), _medians_along_rows(band, columns)


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


def _seams_of(medians, edges, *, is_vertical):
    """List the seams of medians along columns or rows, of half strips with these edges."""
    straight = _straight_seams(medians, edges, is_vertical)
    return straight + _tilted_seams(medians, edges, is_vertical, straight)


def _ending_at_crossings(seam, seams, shape):
    """Seam whose ends, known to a strip, lie where another seam crosses its line.

    Steps of a mosaic change where four chips meet.
    """
    if seam.slope:
        return seam
    crossings = [
        int(other.place)
        for other in seams
        if other.is_vertical != seam.is_vertical
        and not other.slope
        and other.start - _NEAR_END <= seam.place <= other.stop + _NEAR_END
    ]
    border = shape[0] if seam.is_vertical else shape[1]
    start, stop = (
        min(crossings, key=lambda place: abs(place - end))
        if 0 < end < border and any(abs(place - end) <= _NEAR_END for place in crossings)
        else end
        for end in (seam.start, seam.stop)
    )
    return seam._replace(start=start, stop=stop) if start < stop else seam


def _straight_seams(medians, edges, is_vertical):
    """Steps at the same pixel of consecutive strips, whose halves have these `edges`.

    A single strip may miss its step, because a source hides it. Along the line of such steps each
    stretch of about equal step is a seam.
    """
    strips = np.append(edges[:-1:2], edges[-1])
    steps = []
    for first in range(0, len(medians), 2 * _LINES):
        steps += _sharp_steps_of_lines(_pairs(medians[first : first + 2 * _LINES]), _SHARP)
    chains = _chains(steps, strips, most_missed=1, steepest=0)
    places = _places_of_lines([chain for chain in chains if len(chain.strips) >= _LEAST_STRIPS])
    if not places:
        return []
    far, near, scatter = _steps_at(medians, places)
    return [
        Seam(is_vertical, place, int(edges[start]), int(edges[stop]), step)
        for place, own, own_near in zip(places, far, near, strict=True)
        for start, stop, step in _stretches(own, own_near, scatter)
    ]


def _places_of_lines(chains):
    """Places of the lines that chains of steps lie on, the longest chain first."""
    places = []
    for chain in sorted(chains, key=lambda chain: -len(chain.strips)):
        place = int(np.median(chain.places))
        if all(abs(place - other) > _SAME_LINE for other in places):
            places.append(place)
    return places


def _steps_at(medians, places):
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
        inside = np.flatnonzero((at >= _FAR) & (at <= len(kept) - _FAR))
        if not inside.size:
            continue
        steps, at = _step(pixels, _FAR)[0], at[inside]
        scatter[index] = _SIGMA_PER_MAD * _medians_of(np.abs(steps)[np.newaxis])[0]
        far[inside, index] = steps[at - _FAR]
        near[inside, index] = _step_at(pixels, _NEAR, np.zeros_like(at), at)
    return far, near, scatter


def _stretches(far, near, scatter):
    """Half strips from, up to, and the step, of each stretch of a line that has a step.

    That there is a seam on the line is known. So a stretch needs less evidence than a seam.
    """
    known = np.isfinite(far + near) & (scatter > 0) & np.isfinite(scatter)
    for start, stop in plateaus(np.where(known, far, np.nan), scatter):
        own = np.flatnonzero(known[start:stop]) + start
        if not own.size:
            continue
        own = own[np.abs(far[own] - np.median(far[own])) <= 3 * scatter[own]]
        weights = 1 / scatter[own] ** 2
        step, step_near = (weights @ part[own] / weights.sum() for part in (far, near))
        error = weights.sum() ** -0.5
        # Over 4 pixels instead of 12, means scatter by 1.7 times as much.
        is_sharp = abs(step_near - step) < (1 / _SHARP - 1) * abs(step) + 3 * 1.7 * error
        if len(own) >= _FEWEST_HALVES and abs(step) > _SIGMAS_ON_LINE * error and is_sharp:
            yield start, stop, float(step)


def _tilted_seams(medians, edges, is_vertical, straight):
    """Steps that drift along a straight line from half strip to half strip."""
    sharp = _sharp_steps_of_lines(medians, _SHARP_TILTED)
    if sum(map(bool, sharp)) < 2 * _LEAST_STRIPS:
        return []
    steps = [
        {
            place: step
            for place, step in own.items()
            if not any(_belongs(seam, place, start) for seam in straight)
        }
        for own, start in zip(sharp, edges.tolist(), strict=False)
    ]
    if sum(map(bool, steps)) < 2 * _LEAST_STRIPS:
        return []
    chains = _chains(steps, edges, most_missed=_MOST_MISSED, steepest=_STEEPEST)
    seams = [
        chain.tilted_seam(is_vertical, edges)
        for chain in chains
        if len(chain.strips) >= 2 * _LEAST_STRIPS
    ]
    return [seam for seam in seams if seam is not None]


def _belongs(seam, place, line):
    return seam.start <= line < seam.stop and abs(place - seam.place) <= _FAR


def _pairs(medians):
    """Mean of two strips each; of those that have a median."""
    n_whole = len(medians) // 2
    if n_whole * 2 == len(medians) and not np.isnan(medians).any():
        return medians.reshape(n_whole, 2, -1).sum(axis=1, dtype=np.float64) / 2
    paired = []
    for index in range(0, len(medians), 2):
        two = medians[index : index + 2]
        count = np.count_nonzero(~np.isnan(two), axis=0)
        total = np.nansum(two, axis=0, dtype=np.float64)
        paired.append(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
    return paired


def _chains(steps, edges, most_missed, steepest):
    """Chains of steps of one sign, which move by at most `steepest` pixels a line."""
    middles = (edges[:-1] + edges[1:] - 1) / 2
    chains, going_on = [], []
    for index, own in enumerate(steps):
        places = sorted(own)
        for chain in going_on:
            place = chain.next_place(own, places, middles[index], steepest)
            if place is not None:
                chain.add(index, middles[index], place, own.pop(place))
        new = [_Chain([index], [middles[index]], [place], [step]) for place, step in own.items()]
        going_on = [chain for chain in going_on if index - chain.strips[-1] <= most_missed] + new
        chains += new
    return chains


class _Chain(NamedTuple):
    """Strips, their middles, the pixel where each has its step, and these steps, of one sign."""

    strips: list
    middles: list
    places: list
    steps: list

    def add(self, strip, middle, place, step):
        for values, value in zip(self, (strip, middle, place, step), strict=True):
            values.append(value)

    def next_place(self, steps, places, middle, steepest):
        """Return the place of a step that goes on with this chain, or None.

        `places` are sorted, and may hold some that are no longer in `steps`.
        """
        expected, margin = self.places[0], 1
        if steepest and len(self.strips) == 1:
            margin = steepest * (middle - self.middles[0])
        elif steepest:
            slope = (self.places[-1] - self.places[0]) / (self.middles[-1] - self.middles[0])
            expected, margin = self.places[-1] + slope * (middle - self.middles[-1]), 3
        first = bisect_left(places, expected - margin - 1)
        if first == len(places) or places[first] > expected + margin:  # as a rule
            return None
        near = [
            place
            for place in places[first : bisect_left(places, expected + margin + 1, first)]
            if abs(place - expected) <= margin
            and place in steps
            and steps[place] * self.steps[-1] > 0
        ]
        return min(near, key=lambda place: abs(place - expected)) if near else None

    def ends(self, edges):
        """First line, and line after the last, of strips with these edges.

        A seam that ends a strip before the border of the image goes on to it.
        """
        first, last = self.strips[0], self.strips[-1] + 1
        first, last = 0 if first == 1 else first, last + (last == len(edges) - 2)
        return int(edges[first]), int(edges[last])

    def tilted_seam(self, is_vertical, edges):
        """`Seam` along the line that fits the places, or None if they are not on a line."""
        slope, place = np.polyfit(self.middles, self.places, 1)
        off = np.asarray(self.places) - (place + slope * np.asarray(self.middles))
        if np.median(np.abs(off)) > _OFF_LINE or abs(slope) > _STEEPEST:
            return None
        start, stop = self.ends(edges)
        step = float(np.median(self.steps))
        return Seam(is_vertical, float(place + slope * start), start, stop, step, float(slope))


def _sharp_steps_of_lines(lines, sharp):
    """Places and heights of the sharp steps of each line of medians: list of dicts."""
    lines = np.asarray(lines)
    steps = [{} for _ in lines]
    has_gap = np.isnan(lines).any(axis=1)
    for index in np.flatnonzero(has_gap).tolist():
        places = np.flatnonzero(~_narrow(np.isnan(lines[index])))
        own = _steps(lines[np.newaxis, index, places], sharp)[0]
        steps[index] = {int(places[place]): step for place, step in own.items()}
    whole = np.flatnonzero(~has_gap)
    for first in range(0, len(whole), _LINES):
        block = whole[first : first + _LINES]
        for index, own in zip(block.tolist(), _steps(lines[block], sharp), strict=True):
            steps[index] = own
    return steps


def _narrow(missing):
    """Runs of at most 32 pixels without data."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]])))
    narrow = np.zeros(len(missing), dtype=bool)
    for start, stop in edges.reshape(-1, 2).tolist():
        narrow[start:stop] = stop - start <= _GAP
    return narrow


def _steps(lines, sharp):
    """Places and heights of the sharp steps of each of some lines of equal length."""
    steps, length = [{} for _ in lines], lines.shape[1]
    if length < 4 * _FAR:
        return steps
    lines = lines.astype(np.float64, copy=False)
    chosen = np.flatnonzero(_may_exceed(lines))
    if not chosen.size:
        return steps
    lines = lines[chosen]
    far = _step(lines, _FAR)
    size = np.abs(far)
    # The scatter of steps: of noise, and of the sources in the field.
    limits = _SIGMAS * _SIGMA_PER_MAD * _medians_of(size)
    own, places = np.nonzero(size > limits[:, np.newaxis])
    padded = np.pad(np.nan_to_num(size), ((0, 0), (_FAR, _FAR)))
    around = padded[own[:, np.newaxis], places[:, np.newaxis] + np.arange(2 * _FAR + 1)]
    is_highest = size[own, places] >= around.max(axis=1, initial=0)
    own, places = own[is_highest], places[is_highest]
    heights = far[own, places]
    ratio = _step_at(lines, _NEAR, own, places + _FAR) / heights
    is_sharp = (ratio > sharp) & (ratio < 1 / sharp)
    sharp_steps = (part[is_sharp].tolist() for part in (chosen[own], places + _FAR, heights))
    for index, place, step in zip(*sharp_steps, strict=True):
        steps[index][place] = step
    return steps


def _may_exceed(lines):
    """Whether a step of each line can exceed the limit of `_steps`; this costs less than to look.

    If half of the steps exceed the highest over the limit's factor, their median does so, too.
    """
    if compiling_pays(lines.size):
        from ._seam_kernels import mark_lines_with_steps

        chosen = np.empty(len(lines), dtype=bool)
        mark_lines_with_steps(np.ascontiguousarray(lines), _LOW, chosen)
        return chosen
    size = np.abs(_step(lines, _FAR))
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
