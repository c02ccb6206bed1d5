"""What is done where: how a mosaic is cut into tiles, and the steps of a pipeline on a window.

A tile owns a core, its write region, and reads a halo around it. What a step says about itself is
described by `galaxysegment.base.MosaicAware`.
"""

from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil, lcm

import numpy as np

from .._utils.shared import ignored
from ..base import BaseSegmenter, MosaicAware
from ..base._pipelines import pipeline_steps
from ..base._segmenter import clear_no_data
from ..detection._constant import ConstantBlanker
from ..detection._gaps import GapBridge
from ..exceptions import ChannelsLastWarning, NoSourcesWarning

_REACH_OF_STRANGERS = 64
_BLOCK = 1 << 22  # pixels of a block of rows that is measured at once


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, half-open."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def shape(self):
        """``(height, width)``."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self):
        """Rows and columns."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def edges(self):
        """``(y0, x0, y1, x1)``."""
        return self.y0, self.x0, self.y1, self.x1

    def grow(self, n_pixels, shape, phase=1):
        """Add a frame of `n_pixels`, cut at the image; begin at a multiple of `phase`."""
        return Window(
            max(0, self.y0 - n_pixels) // phase * phase,
            max(0, self.x0 - n_pixels) // phase * phase,
            min(shape[0], self.y1 + n_pixels),
            min(shape[1], self.x1 + n_pixels),
        )

    def within(self, outer):
        """Where this window lies in an array that holds `outer`: rows and columns."""
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )

    def __str__(self):
        return f"rows {self.y0}:{self.y1}, columns {self.x0}:{self.x1}"


@dataclass(frozen=True)
class Tile:
    """One piece of work: the pixels it answers for and the pixels it looks at."""

    index: int
    core: Window
    read: Window

    def __str__(self):
        return f"tile {self.index}, {self.core}"


def cut_tiles(shape, tile_size, overlap, phase=1):
    """Cut an image into tiles in rows of tiles.

    Parameters
    ----------
    shape : tuple of int
        ``(height, width)``.
    tile_size : int
        Largest side of a core; the cores are made about equal, so that none is a sliver.
    overlap : int
        Pixels that a tile reads beyond its core on each side.
    phase : int, default=1
        What a tile reads begins at a multiple of this many pixels.

    Returns
    -------
    list of list of Tile
    """
    rows, columns = (_edges(side, tile_size) for side in shape)
    tiles, index = [], 0
    for y0, y1 in rows:
        line = []
        for x0, x1 in columns:
            core = Window(y0, x0, y1, x1)
            line.append(Tile(index, core, core.grow(overlap, shape, phase)))
            index += 1
        tiles.append(line)
    return tiles


def _edges(side, tile_size):
    n_tiles = ceil(side / tile_size)
    bounds = [round(side * step / n_tiles) for step in range(n_tiles + 1)]
    return list(pairwise(bounds))


class _StrangeTransformer(MosaicAware):
    """What is assumed of a transformer from elsewhere: that it works pixel by pixel."""

    reach = 0


def check_predictor(segmenter):
    """Refuse what cannot predict, such as an image where the segmenter belongs."""
    if isinstance(segmenter, type):
        raise TypeError(
            f"segmenter must be an instance. Got the class {segmenter.__name__} instead: pass "
            f"{segmenter.__name__}()."
        )
    last = pipeline_steps(segmenter)[-1]
    if not hasattr(last, "predict"):
        raise TypeError(
            "segmenter, the first argument, must be a segmenter or a Pipeline that ends in one. "
            f"Got {type(last).__name__}, which cannot predict, instead."
        )


class Plan:
    """The steps of a pipeline, ready for windows.

    Parameters
    ----------
    segmenter : segmenter or Pipeline
    kind : {"labels", "instances", "panoptic"}
        What the user wants. Tiles are joined as instances if the segmenter finds such, or if they
        are wanted of a segmenter that does not declare its reach.
    """

    def __init__(self, segmenter, kind="labels"):
        check_predictor(segmenter)
        steps = pipeline_steps(segmenter)
        self.steps = [step for step in steps if step not in (None, "passthrough")]
        self.segmenter = self.steps[-1]
        self._bridges = isinstance(self.segmenter, BaseSegmenter) and self.segmenter.bridge > 0
        self._first_own = len(self.steps) - 1  # of the steps that the segmenter becomes
        if isinstance(self.segmenter, BaseSegmenter):
            self.steps[-1:] = _steps_before(self.segmenter)
        # What each step says about itself: itself, or what is assumed of steps from elsewhere.
        self._contracts = [
            step if isinstance(step, MosaicAware) else _StrangeTransformer()
            for step in self.steps[:-1]
        ]
        last = self.steps[-1] if isinstance(self.steps[-1], MosaicAware) else MosaicAware()
        self._contracts.append(last)
        as_instances = last.finds_instances or (kind == "instances" and last.reach is None)
        self.output = "instances" if as_instances else "labels"
        #: Whether the class of each pixel is wanted of label maps.
        self.is_panoptic = kind == "panoptic" and not as_instances
        # Whether the scores of the sources of label maps are wanted.
        own = isinstance(last, BaseSegmenter) and not as_instances
        self.scored = own and kind != "labels"
        self._values = [{} for _ in self.steps]

    @property
    def splits(self):
        """Whether sources depend on the whole blend they are in."""
        return bool(self._contracts[-1].splits_blends)

    @property
    def n_pixels(self):
        """Smallest number of pixels of a source."""
        return int(self._contracts[-1].n_pixels)

    @property
    def phase(self):
        """Read regions begin at a multiple of this many pixels."""
        return int(self._contracts[-1].phase)

    @property
    def in_threads(self):
        """Whether threads may work on several windows at once, and gain time."""
        return all(contract.works_in_threads for contract in self._contracts)

    def reach(self):
        """Pixels around a pixel that decide about it; None if the segmenter does not say."""
        own = self._contracts[-1].reach
        return None if own is None else own + self._reach_before(len(self.steps) - 1)

    def _reach_before(self, n_steps):
        return sum(contract.reach for contract in self._contracts[:n_steps])

    def learn(self, pixels, run, each_of):
        """Measure the statistics of the whole mosaic that the steps need, step by step.

        Parameters
        ----------
        pixels
            The mosaic's pixels.
        run : callable
            ``run(plan, n_steps, function, blocks)`` returns ``function(rows, y0)`` of each block of
            rows, as the step after `n_steps` others sees it.
        each_of : callable
            ``each_of(functions)`` returns what each of some functions without arguments returns.
        """
        for index, contract in enumerate(self._contracts):
            if index == self._first_own:
                self._measure_at_once(pixels, run, each_of)
            known = self._values[index]
            informed = contract.with_statistics(known, (0, 0)) if known else contract
            needed = informed.statistics_needed()
            while needed:
                self._values[index] |= self._measure(index, needed, pixels.shape, run, each_of)
                informed = contract.with_statistics(self._values[index], (0, 0))
                needed = informed.statistics_needed()

    def _measure_at_once(self, pixels, run, each_of):
        """Measure what the last steps need in one pass, as if the first of them changed no pixel.

        Most images have neither constant regions nor gaps. What was measured behind a step that
        does change pixels is dropped.
        """
        stop = len(self.steps) - (not _looks_whole(pixels))
        if stop - self._first_own < 2:
            return
        needed = {
            (index, name): statistic
            for index in range(self._first_own, stop)
            for name, statistic in self._contracts[index].statistics_needed().items()
        }
        measured = self._measure(self._first_own, needed, pixels.shape, run, each_of)
        for index in range(self._first_own, stop):
            self._values[index] |= {
                name: value for (step, name), value in measured.items() if step == index
            }
            if index + 1 < stop and not self._contracts[index].is_idle(self._values[index]):
                break

    def _measure(self, index, needed, shape, run, each_of):
        """Values of the statistics that a step needs, in one pass over the mosaic."""
        height, width = shape
        step = lcm(*(statistic.block_rows(shape) for statistic in needed.values()))
        n_rows = step * max(1, _BLOCK // (step * width))
        blocks = [Window(y0, 0, min(y0 + n_rows, height), width) for y0 in range(0, height, n_rows)]
        parts = run(self, index, partial(_measure_block, list(needed.values()), shape), blocks)
        parts = [[part[place] for part in parts] for place in range(len(needed))]
        combined = each_of(
            [
                partial(statistic.combine, own, shape)
                for statistic, own in zip(needed.values(), parts, strict=True)
            ]
        )
        return dict(zip(needed, combined, strict=True))

    def placed(self, index, window):
        """Step `index`, told about the mosaic if it asked."""
        if not self._values[index]:
            return self.steps[index]
        return self._contracts[index].with_statistics(self._values[index], (window.y0, window.x0))

    def transform(self, image, window, n_steps):
        """Send a window, shape (n_bands, height, width), through the first steps."""
        for index in range(n_steps):
            step = self.placed(index, window)
            if isinstance(step, ConstantBlanker | GapBridge):
                image = step.transform([image])[0]
                continue
            # The whole image was looked at when it was opened.
            with ignored(category=ChannelsLastWarning):
                image = step.transform(image[np.newaxis])[0]
        return image

    @property
    def compares(self):
        """Whether sources are compared with each other once all are known."""
        return bool(self._contracts[-1].compares_sources)

    @property
    def classifies(self):
        """Whether the classes of sources are told once all are known."""
        last = self._contracts[-1]
        return isinstance(last, BaseSegmenter) and bool(last.classifies_sources)

    def score_of(self, sums):
        """Return the scores of the mosaic's sources, given the sums over their pixels."""
        return self._contracts[-1].score_sources(sums)

    def classes_of(self, measured):
        """Return the classes of the mosaic's sources, or None if they are not told.

        Parameters
        ----------
        measured : ndarray of float64, shape (n_sources, n_numbers)
            Sums over the pixels of the sources; of instances, the numbers about each.
        """
        return self._contracts[-1].classify_sources(measured) if self.classifies else None

    def stuff_of(self, maps):
        """Return the class of each pixel that is in no source, or None where all are sky.

        Parameters
        ----------
        maps : ScoreMaps or None
            None if no pixel has data.
        """
        tells = maps is not None and self.classifies
        return self._contracts[-1].classify_stuff(maps) if tells else None

    def keep_sources(self, measured):
        """Return which of the mosaic's sources stay, given the numbers about all of them."""
        return self._contracts[-1].keep_sources(measured)

    def predict(self, image, window):
        """Predict one window, without a warning if it has no source.

        Returns
        -------
        sources : ndarray of int32 or Instances
            What the segmenter finds.
        measured : ndarray of float64, shape (n_sources, n_numbers), or None
            Numbers about each source; None unless sources are compared. If instances are, their
            classes are rows of the table.
        gaps : ndarray of bool, shape (height, width), or None
            Gaps that sources bridge: labels are to be taken away there once sources are joined.
        maps : ScoreMaps or None
            What the scores and classes of the sources are computed from, with what is known of
            gaps that are bridged; None unless they are wanted.
        """
        last = len(self.steps) - 1
        image = self.transform(image, window, last - self._bridges)
        bridges = self._bridges and not self._contracts[last - 1].is_idle(self._values[last - 1])
        bridged = image
        if bridges:
            bridged = self.placed(last - 1, window).transform([image])[0]
        sources, measured, maps = self._segment(self.placed(last, window), bridged)
        if not bridges:
            return sources, measured, None, maps
        no_data = self.segmenter._no_data(image)
        if maps is not None:
            maps = self._contracts[-1]._bridge_votes(
                maps, no_data & ~self.segmenter._no_data(bridged)
            )
        if self.segmenter.label_bridge:
            return sources, measured, None, maps
        if self.output == "instances":
            return clear_no_data(sources, no_data), measured, None, maps
        return sources, measured, no_data, maps

    def _segment(self, segmenter, image):
        """Sources of a window, numbers about each if they are compared, and `ScoreMaps`."""
        if self.compares:
            labels, measured = segmenter.find_candidates(image)
            return labels, measured, segmenter._score_maps(image) if self.scored else None
        if self.classifies and self.output == "instances":
            return *segmenter._candidates_in_window(image), None
        if isinstance(segmenter, BaseSegmenter):
            sources, maps = segmenter._find_in_window(image, self.output, scored=self.scored)
            return sources, None, maps
        with ignored(category=ChannelsLastWarning), ignored(category=NoSourcesWarning):
            return segmenter.predict(image[np.newaxis], output=self.output)[0], None, None


def _steps_before(segmenter):
    """What a segmenter does first, as steps of their own, and a segmenter without them."""
    if segmenter.no_data == "nan" and segmenter.bridge == 0:
        return [segmenter]
    steps, changed = [], copy(segmenter)
    if segmenter.no_data == "auto":
        steps.append(ConstantBlanker(segmenter.rms_band))
        changed.no_data = "nan"
    if segmenter.bridge > 0:
        steps.append(GapBridge(segmenter.bridge, segmenter.rms_band))
        changed.bridge = 0
    return [*steps, changed]


def _looks_whole(pixels):
    """Whether all pixels of the first, the middle and the last row have data and differ."""
    height, width = pixels.shape
    rows = [pixels.read(slice(y, y + 1), slice(0, width)) for y in {0, height // 2, height - 1}]
    return not any((np.isnan(row).any() or (row == row[..., :1]).all()) for row in rows)


def _measure_block(statistics, shape, rows, y0):
    return [statistic.measure(rows, y0, shape) for statistic in statistics]


def read_transformed(plan, n_steps, pixels, window):
    """Read a window as the step after `n_steps` others sees it."""
    around = window.grow(plan._reach_before(n_steps), pixels.shape)
    return plan.transform(pixels.read(*around.slices), around, n_steps)[
        (..., *window.within(around))
    ]


def choose_overlap(plan, overlap):
    """Check or choose `overlap`; return it and the width of the edge that is not trusted."""
    reach, n_pixels = plan.reach(), plan.n_pixels
    if overlap is None and reach is None:  # half of it is the margin
        overlap = max(_REACH_OF_STRANGERS + 64, 2 * n_pixels)
    elif overlap is None:
        overlap = max(reach, 1) + max(n_pixels, 64)
    margin = overlap // 2 if reach is None else max(reach, 1)
    if overlap < margin + n_pixels:
        needed = 2 * n_pixels if reach is None else margin + n_pixels
        raise ValueError(
            f"Sources have at least {n_pixels} pixels and {type(plan.segmenter).__name__} looks "
            f"{margin} pixels around "
            f"each, but tiles overlap by {overlap}: use overlap >= {needed}."
        )
    return overlap, margin
