"""The run that separates light: background, noise, survey of the sources, pieces, result."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np

from .._utils.identity import identify
from ..detection._sky_between import blocks_of_rows, skies_of_boxes
from ..exceptions import LargeBlendWarning
from ..separation._base import no_noise
from ..separation._blends import largest_reach
from ..separation._divide import noise_levels, warn_of_sky
from ..structures._labels import connect
from ._light_output import (
    LightFile,
    LightTable,
    check_light_space,
    draft_path,
    in_memory,
    residual_of,
    write_residual,
)
from ._light_sources import LabelSources
from ._light_work import (
    LightJob,
    Piece,
    measure_sky,
    sample_tile,
    separate_piece,
    survey_tile,
)
from ._plan import Window, cut_tiles
from ._run import TileRun
from ._work import TileError

_SMALL = ("ids", "lead", "boxes", "places", "fluxes", "errors", "blendedness")
_LARGE = ("boxes", "parts", "mask_boxes", "mask_bits", "mask_ends")
_SMOOTHING_REACH = 6  # pixels around a mask that the search for its centre looks at
_CONTEXT = 192  # pixels around a tile that are read if a blend is too large for a window
_LEAST_SIDE = 256  # blends up to this size are always divided together with those of their tile


class LightRun(TileRun):
    """One call of `separate_mosaic`: what is to be done, and in which order.

    Parameters are those of `separate_mosaic`, checked.
    """

    verb, result = "separated", "file"

    def __init__(self, separator, pixels, sources, output, *, kind, background, tile_size, **rest):
        self.sources = sources
        super().__init__(pixels, output, **rest)
        self.separator, self.kind, self.background = separator, kind, background
        self.tile_size = tile_size
        self.n_bands = pixels.n_bands - pixels.with_rms
        self.tiles = [tile for line in cut_tiles(pixels.shape, tile_size, 1) for tile in line]
        self.n_tiles = len(self.tiles)
        self.sky = None  # what to subtract from each band
        self.levels = None  # RMS of each band if there is no map
        self.shared_sources = None

    def _identity(self):
        return [self.pixels.identity(), self.sources.identity()]

    def _identities(self):
        """Name of each input, and its identity."""
        return dict(zip(("image", "set of sources"), self.inputs or (None, None), strict=True))

    def _check_space(self):
        with_parts = self.kind == "parts"
        check_light_space(
            self.output.parent, self.pixels.shape, self.n_bands, with_parts=with_parts
        )

    def _about(self):
        return super()._about() | {
            **self._identities(),
            "kind": self.kind,
            "background": self.background,
            "tile_size": self.tile_size,
            "separator": identify(self.separator),
        }

    def _find(self):
        """Make the sources known, if they are not yet."""

    def _work(self):
        self._find()
        self._share()
        if self.background == "mesh":
            self._learn_background()
        if not self.pixels.with_rms:
            self._all(sample_tile, "sky-tile", [(tile,) for tile in self.tiles])
            self._learn_noise()
        self._all(survey_tile, "survey-tile", [(tile,) for tile in self.tiles])
        self._check_noise()
        survey = Survey.of(self._loaded("survey-tile", self.n_tiles), self.pixels.shape)
        pieces, n_split = plan_pieces(
            survey, self.tiles, self.pixels.shape, self._margins(survey), self._limits()
        )
        if n_split:
            _warn_of_large_blends(n_split, self._limits()[1])
        self._all(separate_piece, "piece", [(piece, self.kind == "parts") for piece in pieces])
        try:
            return self._finish(survey, len(pieces))
        except (ValueError, IndexError):  # records that disagree: of an input that was replaced?
            self._check_before_publishing()
            raise

    def _share(self):
        """Make the job that the next tasks share, with what is known by now."""
        self._open_in_workers()
        if self.shared_sources is None:
            is_shared = self.scheduler.is_parallel
            self.shared_sources = (
                self.sources.for_workers(self.folder.path) if is_shared else self.sources
            )
        job = LightJob(
            self.opener,
            self.folder,
            separator=self.separator,
            sources=self.shared_sources,
            sky=self.sky,
            levels=self.levels,
        )
        self.job = self.scheduler.share(job)

    def _learn_background(self):
        shape = self.pixels.shape
        blocks = [Window(y0, 0, y1, shape[1]) for y0, y1 in blocks_of_rows(shape)]
        results = dict(self._each(measure_sky, "background", [(block,) for block in blocks]))
        measured = [results[index][0] for index in range(len(blocks))]
        self.sky = skies_of_boxes(measured, [results[0][1]] * self.n_bands, shape)
        self._share()

    def _learn_noise(self):
        samples = list(self._loaded("sky-tile", self.n_tiles, ("values", "outside")))
        values = np.concatenate([sample["values"] for sample in samples], axis=1)
        outside = np.concatenate([sample["outside"] for sample in samples])
        self.levels = noise_levels(values, outside)
        self._share()

    def _check_noise(self):
        """Refuse an RMS map that is nowhere positive; warn of a sky that was not subtracted."""
        samples = list(self._loaded("survey-tile", self.n_tiles, ("sky", "rms", "has_noise")))
        if not any(sample["has_noise"] for sample in samples):
            raise ValueError(no_noise("rms"))
        spreads = self.levels
        if self.pixels.with_rms:
            rms = np.concatenate([sample["rms"] for sample in samples], axis=1)
            spreads = [np.median(band[band > 0]) if (band > 0).any() else 1.0 for band in rms]
        if self.background is None:
            sky = np.concatenate([sample["sky"] for sample in samples], axis=1)
            warn_of_sky(sky, spreads, stacklevel=5)

    def _loaded(self, kind, n, names=("ids", "boxes", "first", "pairs")):
        return (self.folder.load(kind, index, names) for index in range(n))

    def _margins(self, survey):
        """Pixels around the box of each blend that decide about its light."""
        boxes = survey.group_boxes
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        # Light reaches so far beyond the masks, and the mask of a neighbour may be as near again.
        reach = np.ceil(2 * largest_reach(areas, self.separator.growth)).astype(np.int64)
        return reach + _SMOOTHING_REACH + self.sources.context

    def _limits(self):
        """Largest side of a window that goes with its tile, and most pixels of any window."""
        most_pixels = (2 * self.tile_size + _LEAST_SIDE) ** 2 // self.n_bands
        return max(self.tile_size // 2, _LEAST_SIDE), most_pixels

    def _finish(self, survey, n_pieces):
        with_parts = self.kind == "parts"
        names = (*_SMALL, "mask_boxes", "scores", "classes") if with_parts else _SMALL
        records = list(self._loaded("piece", n_pieces, names)) or [_no_record(self.n_bands, names)]
        table = LightTable(records, survey.ids, survey.groups, survey.first_of_blend())
        load = partial(self._load_parts, n_pieces)
        nearby = _pieces_of_tiles(records, self.tiles) if with_parts else None
        if self.output is None:
            residual = np.empty((self.n_bands, *self.pixels.shape), dtype=np.float32)
            for tile, pieces in zip(self.tiles, nearby, strict=True):
                residual[:, *tile.core.slices] = residual_of(self._local_job(), tile.core, pieces)
            self._check_before_publishing()
            return in_memory(table, self.pixels.shape, self.n_bands, load, residual)
        return self._write(table, self._labels(survey.ids, len(table)), load, nearby)

    def _load_parts(self, n_pieces, index):
        return self.folder.load("piece", index, _LARGE) if n_pieces else _no_record(1, _LARGE)

    def _local_job(self):
        """The job for this process, whoever does the tasks."""
        pixels = self.pixels
        return LightJob(
            lambda: pixels,
            self.folder,
            separator=self.separator,
            sources=self.sources,
            sky=self.sky,
            levels=self.levels,
        )

    def _labels(self, ids, n):
        """Labels of the sources in the file: those given, and new ones after the largest."""
        given = ids if isinstance(self.sources, LabelSources) else ids + 1
        return np.append(given, given.max(initial=0) + np.arange(1, n - len(ids) + 1))

    def _write(self, table, labels, load, nearby):
        draft = draft_path(self.folder)
        file = LightFile(draft, self.pixels, self.separator)
        try:
            try:
                file.begin()
                if nearby is not None:
                    offset = file.reserve_residual()
                    items = [
                        (tile, pieces, draft, offset)
                        for tile, pieces in zip(self.tiles, nearby, strict=True)
                    ]
                    for _ in self._each(write_residual, "residual", items):
                        pass
                file.write_table(table, labels, load, with_parts=nearby is not None)
                file.finish()
            except (OSError, TileError) as error:
                safe = self._what_is_safe("tile", self.n_tiles, self.n_tiles)
                reason = str(error).rstrip(".")
                raise TileError(f"The file cannot be written: {reason}. {safe}") from error
            self._check_before_publishing()
            draft.replace(self.output)
        finally:
            draft.unlink(missing_ok=True)
        return self.output


def _warn_of_large_blends(n_split, max_pixels):
    warnings.warn(
        f"{n_split} blend(s) of touching sources take more than {max_pixels} pixels: their light "
        "was divided tile by tile, each with the sources around it. Use a larger tile_size to "
        "divide them as a whole.",
        LargeBlendWarning,
        stacklevel=5,
    )


def _no_record(n_bands, names):
    shapes = {"boxes": (0, 4), "mask_boxes": (0, 4), "places": (0, 2)}
    shapes |= dict.fromkeys(("fluxes", "errors", "blendedness"), (0, n_bands))
    types = {"parts": np.float32, "mask_bits": np.uint8, "places": np.float64, "scores": np.float64}
    types |= dict.fromkeys(("fluxes", "errors", "blendedness"), np.float64)
    return {name: np.zeros(shapes.get(name, 0), dtype=types.get(name, np.int64)) for name in names}


def _pieces_of_tiles(records, tiles):
    """List, for each tile, the records whose parts reach into it."""
    lists = [[] for _ in tiles]
    for index, record in enumerate(records):
        boxes = record["boxes"]
        if not len(boxes):
            continue
        for tile, indices in zip(tiles, lists, strict=True):
            core = tile.core
            touch = (boxes[:, 0] < core.y1) & (boxes[:, 2] > core.y0)
            if (touch & (boxes[:, 1] < core.x1) & (boxes[:, 3] > core.x0)).any():
                indices.append(index)
    return lists


@dataclass(frozen=True)
class Survey:
    """All sources of a mosaic, and which of them touch.

    Attributes
    ----------
    ids : ndarray of int64, shape (n,)
        In increasing order.
    boxes : ndarray of int64, shape (n, 4)
        Of the masks.
    groups : ndarray of int64, shape (n,)
        Number of the blend of each source.
    first : ndarray of int64, shape (n_groups,)
        First pixel of each blend in raster order.
    group_boxes : ndarray of int64, shape (n_groups, 4)
    """

    ids: np.ndarray
    boxes: np.ndarray
    groups: np.ndarray
    first: np.ndarray
    group_boxes: np.ndarray

    @classmethod
    def of(cls, records, shape):
        """Join the surveys of all tiles."""
        records = list(records)
        every = np.concatenate([record["ids"] for record in records])
        ids, index = np.unique(every, return_inverse=True)
        boxes = _merge(index, np.concatenate([record["boxes"] for record in records]), len(ids))
        first = np.full(len(ids), shape[0] * shape[1])
        np.minimum.at(first, index, np.concatenate([record["first"] for record in records]))
        pairs = np.concatenate([record["pairs"] for record in records], axis=1)
        groups = np.zeros(0, dtype=np.int64)
        if len(ids):
            groups = connect(np.searchsorted(ids, pairs), len(ids)).astype(np.int64)
        n_groups = int(groups.max(initial=-1)) + 1
        group_first = np.full(n_groups, shape[0] * shape[1])
        np.minimum.at(group_first, groups, first)
        return cls(ids, boxes, groups, group_first, _merge(groups, boxes, n_groups))

    def first_of_blend(self):
        """First pixel of each source's blend."""
        return self.first[self.groups]


def _merge(index, boxes, n):
    """Smallest boxes that hold all boxes of the same index."""
    low = np.full((n, 2), np.iinfo(np.int64).max)
    high = np.zeros((n, 2), dtype=np.int64)
    np.minimum.at(low, index, boxes[:, :2])
    np.maximum.at(high, index, boxes[:, 2:])
    return np.concatenate([low, high], axis=1)


def plan_pieces(survey, tiles, shape, margins, limits):
    """Divide the blends of a mosaic into pieces of work.

    Blends go with the tile that holds the middle of their box; a large blend gets a window of its
    own. A blend that is too large for a window is divided into tiles.

    Parameters
    ----------
    survey : Survey
    tiles : list of Tile
    shape : tuple of int
        ``(height, width)``.
    margins : ndarray of int64, shape (n_groups,)
        Pixels around the box of a blend that decide about its light.
    limits : tuple of int
        Largest side of a window that goes with its tile, and most pixels of a window.

    Returns
    -------
    pieces : list of Piece
    n_split : int
        Blends that were too large.
    """
    boxes = survey.group_boxes
    windows = np.concatenate([boxes[:, :2] - margins[:, None], boxes[:, 2:] + margins[:, None]], 1)
    windows = np.clip(windows, 0, [*shape, *shape])
    sides = windows[:, 2:] - windows[:, :2]
    is_small = (sides <= limits[0]).all(axis=1)
    too_large = sides.prod(axis=1) > limits[1]
    tile_of_group = _tile_of(boxes, tiles)
    planned = []  # (window, ids, core)
    keys = np.where(is_small, tile_of_group, len(tiles) + np.arange(len(boxes)))
    keys_of_sources = keys[survey.groups]
    order = np.argsort(keys_of_sources, kind="stable")
    bounds = np.flatnonzero(np.diff(keys_of_sources[order])) + 1
    for members in np.split(order, bounds) if len(order) else ():
        groups = np.unique(survey.groups[members])
        if too_large[groups[0]] and not is_small[groups[0]]:
            planned += _split(survey, members, tiles, shape)
            continue
        own = windows[groups]
        window = Window(*own[:, :2].min(axis=0).tolist(), *own[:, 2:].max(axis=0).tolist())
        planned.append((window, survey.ids[members], None))
    pieces = [Piece(index, window, ids, core) for index, (window, ids, core) in enumerate(planned)]
    return pieces, int((too_large & ~is_small).sum())


def _tile_of(boxes, tiles):
    """Index of the tile that holds the middle of each box."""
    tops = np.unique([tile.core.y0 for tile in tiles])
    lefts = np.unique([tile.core.x0 for tile in tiles])
    middle = (boxes[:, :2] + boxes[:, 2:]) // 2
    row = np.searchsorted(tops, middle[:, 0], side="right") - 1
    column = np.searchsorted(lefts, middle[:, 1], side="right") - 1
    return row * len(lefts) + column


def _split(survey, members, tiles, shape):
    """Divide the sources of one blend among tiles."""
    of_tile = _tile_of(survey.boxes[members], tiles)
    planned = []
    for number in np.unique(of_tile).tolist():
        core = tiles[number].core
        planned.append((core.grow(_CONTEXT, shape), survey.ids[members[of_tile == number]], core))
    return planned
