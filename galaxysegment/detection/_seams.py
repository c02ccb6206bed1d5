"""Seams of a mosaic: straight lines where the level of the sky steps.

A mesh of boxes turns a step into a ramp as wide as two boxes, so that a strip on either side of the
seam is left bright or dark. Steps are sought in medians along short stretches of columns and rows:
they stay at a pixel, or drift if the seam is tilted by up to 8 degrees. A gap without data of up
to 32 pixels may lie at the seam.
"""

from typing import NamedTuple

import numpy as np

from .._utils.compiling import compiling_pays
from ._background import box_statistics, used_boxes
from ._chains import link_steps
from ._contract import Statistic
from ._objects import boxes_of_objects
from ._plateaus import plateaus
from ._statistics import BackgroundMeshes
from ._steps import FAR, STRIP, Stacked, halves, sharp_steps, steps_at, stretch_medians

_FEWEST_ROWS = 48  # of a strip
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
_OBJECT = 2.0  # noise of a pixel: so far from the sky is a box of what is no sky, for a net
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
    """`BackgroundMeshes` of the bands without their seams, and without large objects.

    Boxes that a large object fills, or a hole as large, count as sky only if all boxes do.

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

    def _objects(self, statistics, box):
        used = used_boxes(statistics, box, self.exclude_percentile)
        return boxes_of_objects(*statistics[:2], used, peak=_OBJECT, holes=True)


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

    def __init__(self, bands_of, box_rows=STRIP):
        self.bands_of = bands_of
        self._unit = box_rows * -(-_FEWEST_ROWS // box_rows)

    def block_rows(self, shape):
        return self._unit

    def measure(self, rows, y0, shape):
        return [stretch_medians(band, self._unit) for band in self.bands_of(rows)]

    def combine(self, parts, shape):
        seams = []
        for strips in zip(*parts, strict=True):
            columns, rows = (
                Stacked(own, axis) for axis, own in enumerate(zip(*strips, strict=True))
            )
            own = _seams_of(columns, halves(shape[0], self._unit), is_vertical=True)
            own += _seams_of(rows, halves(shape[1]), is_vertical=False)
            seams.append([_ending_at_crossings(seam, own, shape) for seam in own])
        return seams


def levelled_meshes(band, seams, **options):
    """Background and noise of a band as two `MeshMap`; options as of `LevelledMeshes`."""
    statistic = LevelledMeshes(lambda rows: [rows[0]], [seams], **options)
    return statistic.combine([statistic.measure(band[np.newaxis], 0, band.shape)], band.shape)[0]


def find_seams(band, box_rows=STRIP):
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
        own = np.arange(len(turned))[lines] + line0 - seam.start
        places = seam.place + seam.slope * own
        if not places.size:
            continue
        near = int(places.min()) - _REACH - 1, int(places.max()) + _REACH + 2
        columns = slice(*(max(place - pixel0, 0) for place in near))
        # From the edge between the last pixel before the step and the first behind it.
        pixels = np.arange(turned.shape[1])[columns] + (pixel0 + 0.5)
        profile = _profile(pixels - (places[:, np.newaxis] if seam.slope else seam.place))
        turned[lines, columns] += (seam.step * profile).astype(dtype)
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
    steps = sharp_steps(medians, _SHARP, together=2)
    chains = chains_of(steps, strips, most_missed=1, steepest=0, fewest=_LEAST_STRIPS)
    places = _places_of_lines(chains)
    if not places:
        return []
    far, near, scatter = steps_at(medians, places)
    return [
        Seam(is_vertical, place, int(edges[start]), int(edges[stop]), step)
        for place, own, own_near in zip(places, far, near, strict=True)
        for start, stop, step in _stretches(own, own_near, scatter)
    ]


def _places_of_lines(chains):
    """Places of the lines that chains of steps lie on, the longest chain first."""
    places = []
    for chain in sorted(chains, key=lambda chain: -len(chain.lines)):
        place = int(np.median(chain.places))
        if all(abs(place - other) > _SAME_LINE for other in places):
            places.append(place)
    return places


def _stretches(far, near, scatter):
    """Half strips from, up to, and the step, of each stretch of a line that has a step.

    That there is a seam on the line is known. So a stretch needs less evidence than a seam.
    """
    known = np.isfinite(far + near) & (scatter > 0) & np.isfinite(scatter)
    for start, stop in plateaus(np.where(known, far, np.nan), scatter):
        own = np.flatnonzero(known[start:stop]) + start
        if own.size:
            own = own[np.abs(far[own] - np.median(far[own])) <= 3 * scatter[own]]
        if len(own) < _FEWEST_HALVES:
            continue
        weights = 1 / scatter[own] ** 2
        step, step_near = (weights @ part[own] / weights.sum() for part in (far, near))
        error = weights.sum() ** -0.5
        # Over 4 pixels instead of 12, means scatter by 1.7 times as much.
        is_sharp = abs(step_near - step) < (1 / _SHARP - 1) * abs(step) + 3 * 1.7 * error
        if abs(step) > _SIGMAS_ON_LINE * error and is_sharp:
            yield start, stop, float(step)


def _tilted_seams(medians, edges, is_vertical, straight):
    """Steps that drift along a straight line from half strip to half strip."""
    steps, fewest = sharp_steps(medians, _SHARP_TILTED), 2 * _LEAST_STRIPS
    for seam in straight:
        starts = edges[steps.lines]
        is_on_seam = (seam.start <= starts) & (starts < seam.stop)
        steps = steps.chosen(~(is_on_seam & (np.abs(steps.places - seam.place) <= FAR)))
    options = {"most_missed": _MOST_MISSED, "steepest": _STEEPEST, "fewest": fewest}
    seams = [
        _tilted_seam(chain, edges, is_vertical) for chain in chains_of(steps, edges, **options)
    ]
    return [seam for seam in seams if seam is not None]


def _tilted_seam(chain, edges, is_vertical):
    """`Seam` along the line that fits the places of a chain, or None if they are on no line."""
    middles = (edges[chain.lines] + edges[chain.lines + 1] - 1) / 2
    slope, place = np.polyfit(middles, chain.places, 1)
    off = chain.places - (place + slope * middles)
    if np.median(np.abs(off)) > _OFF_LINE or abs(slope) > _STEEPEST:
        return None
    # A seam that ends a strip before the border of the image goes on to it.
    first, last = int(chain.lines[0]), int(chain.lines[-1]) + 1
    first, last = 0 if first == 1 else first, last + (last == len(edges) - 2)
    start, stop, step = int(edges[first]), int(edges[last]), float(np.median(chain.heights))
    return Seam(is_vertical, float(place + slope * start), start, stop, step, float(slope))


def chains_of(steps, edges, *, most_missed, steepest, fewest):
    """List the chains of at least `fewest` steps, as `Steps` each, in the order of their first.

    Parameters
    ----------
    steps : Steps
    edges : ndarray of int
        Edges of the strips that the lines are the medians of.
    most_missed : int
        Lines in a row that may miss their step.
    steepest : float
        Pixels by which a chain moves from one row of pixels to the next, at most. 0: a chain stays
        where its first step is.
    fewest : int
    """
    if np.count_nonzero(np.bincount(steps.lines)) < fewest:  # so many lines have a step
        return []
    chains = np.full(len(steps.lines), -1)
    middles = (edges[:-1] + edges[1:] - 1) / 2
    link = link_steps
    if compiling_pays(edges[-1]):
        from ._seam_kernels import link_steps_compiled as link
    link(*steps, middles, most_missed, float(steepest), chains)
    long = np.flatnonzero(np.bincount(chains) >= fewest)
    return [steps.chosen(chains == chain) for chain in long]
