"""The run: tiles, join, blends, numbers, file."""

import json
import warnings
from contextlib import nullcontext
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral
from uuid import uuid4

import numpy as np

from .. import __version__
from .._utils.identity import identify
from .._utils.learn import check_is_fitted
from .._utils.validation import check_rms_band
from ..base import BaseSegmenter
from ..exceptions import LargeBlendWarning, NoSourcesWarning
from ..structures import GALAXY, SKY, Instances
from ._instances import join_instances
from ._join import (
    NOWHERE,
    SEMANTIC,
    as_semantic,
    drop_sources,
    join_tiles,
    number_sources,
    paint,
    paint_panoptic,
)
from ._output import CompressedOutput, FileOutput, check_space
from ._painter import Painter
from ._plan import Plan, choose_overlap, cut_tiles
from ._store import Memory, RecordError, WorkFolder, work_path
from ._work import (
    Blend,
    Job,
    Scheduler,
    TileError,
    forget_job,
    reduce_rows,
    segment_blend,
    segment_tile,
)

_INSTANCE_ARRAYS = ("boxes", "bits", "ends", "scores", "classes", "cut", "measured")
# The largest label that fits into the 32 bits of an ordinary label map.
_LARGEST = np.iinfo(np.int32).max
_RECORD_VERSION = 5
# Packages whose next version may find other sources.
_PACKAGES = ("numpy", "scipy", "scikit-learn", "astropy", "photutils", "sep", "torch")
_PACKAGES += ("torchvision", "transformers")


def check_counts(tile_size, n_jobs, overlap=None):
    """Refuse numbers of pixels and processes that cannot be."""
    for name, value, lowest in (
        ("tile_size", tile_size, 1),
        ("overlap", overlap, 1),
        ("n_jobs", n_jobs, -(2**31)),
    ):
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if value is None and name != "tile_size":
            continue
        if not is_whole or value < lowest or (name == "n_jobs" and value == 0):
            allowed = "not 0" if name == "n_jobs" else f"at least {lowest}"
            raise ValueError(f"{name} must be a whole number, {allowed}. Got {value!r} instead.")


def check_segmenter(segmenter, pixels, with_rms):
    """Refuse, before any work, what every tile would refuse."""
    if hasattr(segmenter, "fit"):
        own = isinstance(segmenter, BaseSegmenter)
        check_is_fitted(segmenter, msg=segmenter._unfitted_message() if own else None)
    if hasattr(segmenter, "_validate_params"):
        segmenter._validate_params()
    n_bands = getattr(segmenter, "n_bands_in_", None)
    if n_bands is not None and n_bands != pixels.n_bands:
        raise ValueError(
            f"image has {pixels.n_bands} bands, RMS map included, but the segmenter was fitted "
            f"with {n_bands}: pass the same bands in the same order."
        )
    if not (hasattr(segmenter, "get_params") and "rms_band" in segmenter.get_params()):
        return
    if segmenter.rms_band is not None:
        check_rms_band(segmenter.rms_band, pixels.n_bands)
    elif with_rms:
        raise ValueError(
            f"rms is given, but {type(segmenter).__name__} has rms_band=None and would take the "
            "RMS map for an image: set rms_band=-1."
        )


class TileRun:
    """A call that does its work tile by tile: what is kept, resumed and published.

    A subclass says what is done in `_work`, and in `_about` what must be the same for a run to be
    resumed.

    Parameters
    ----------
    pixels : FieldPixels or ArrayPixels
        Of the image.
    output : path or None
        The file to write.
    n_jobs, progress, resume, overwrite
        As of `segment_mosaic`.
    in_threads : bool, default=False
        Whether workers are threads.
    """

    verb = "segmented"  # what happens to the image
    result = "map"  # what is written

    def __init__(self, pixels, output, *, n_jobs, progress, resume, overwrite, in_threads=False):
        self.pixels, self.output = pixels, output
        self.resume, self.overwrite = resume, overwrite
        self.scheduler = Scheduler(n_jobs, progress, in_threads)
        is_alone = output is None and not self.scheduler.is_parallel
        self.folder = Memory() if is_alone else WorkFolder(output and work_path(output))
        # Arrays in memory that only this run sees are not looked at twice: that takes time.
        self.inputs = self._identity() if output or pixels.in_files else None
        self.n_tiles = 0
        self.opener = None  # opens the pixels in a worker, once it is known that there are workers
        self.job = None  # what the next tasks share

    def _identity(self):
        """What tells the inputs from others, as JSON values."""
        return self.pixels.identity()

    def execute(self):
        """Do everything; return the result, or the path of the file."""
        if self.output is not None:
            self._check_space()
        self.folder.claim()
        finished = False
        try:
            self._check_output()
            about = {"run": uuid4().hex} if self.output is None else self._about()
            self.folder.start(json.loads(json.dumps(about)), resume=self.resume)
            with self.scheduler:
                result = self._work()
            finished = True
        except RecordError as error:
            safe = self._what_is_safe("tile", self.n_tiles, self.n_tiles)
            raise TileError(f"{error} {safe}") from error
        except FileNotFoundError as error:
            if self.folder.is_own():
                raise
            raise TileError(self._what_is_safe("tile", 0, self.n_tiles)) from error
        finally:
            forget_job()
            self.folder.close(keep=not finished)
        return result

    def _check_space(self):
        """Refuse work whose result would not fit on the disk."""

    def _work(self):
        raise NotImplementedError

    def _about(self):
        """What must be the same for a run to be resumed, as JSON values."""
        about = {
            "format": _RECORD_VERSION,
            "image": self.inputs,
            "version of galaxysegment": __version__,
        }
        return about | {f"version of {name}": _version_of(name) for name in _PACKAGES}

    def _check_output(self):
        """Another process may have finished the same output since the arguments were checked."""
        if self.output is not None and not self.overwrite and self.output.exists():
            raise FileExistsError(f"{self.output} exists: pass overwrite=True to replace it.")

    def _check_before_publishing(self):
        """Refuse to show a result if its inputs or the records of its tiles were replaced."""
        if self.inputs is not None and not self._is_unchanged():
            if self.output is not None and self.folder.is_own():
                self.folder.clear()
            raise TileError(
                f"The image or what belongs to it was changed while it was {self.verb}: no "
                f"{self.result} was written, and nothing was kept. Call again when the files are "
                "complete."
            )
        if self.output is not None and not self.folder.is_own():
            raise TileError(
                f"{self.folder.path}, which holds the finished tiles, was deleted or taken over by "
                f"another process: {self.output} was not touched. Call again."
            )
        self._check_output()

    def _is_unchanged(self):
        try:
            return self._identity() == self.inputs
        except OSError:
            return False

    def _open_in_workers(self):
        """Find out, once, how a task opens the pixels."""
        pixels = self.pixels
        if not self.scheduler.is_parallel:
            self.opener = lambda: pixels
        elif self.opener is None:
            self.opener = pixels.for_workers(self.folder.path)

    def _each(self, task, what, items, done=0):
        return self.scheduler.each(self.job, task, what, items, done)

    def _all(self, task, kind, items, note=None):
        """Run a task on all items whose record is not there yet; `note` is told what is done."""
        todo = [
            item for item in items if not (self.resume and self.folder.is_done(kind, item[0].index))
        ]
        n_done = len(items) - len(todo)
        try:
            for index, _ in self._each(task, kind, todo, n_done):
                n_done += 1
                if note is not None:
                    note(todo[index][0])
        except Exception as error:
            raise TileError(
                f"{_what_failed(error)} {self._what_is_safe(kind, n_done, len(items))}"
            ) from error

    def _what_is_safe(self, kind, n_done, n_items):
        if self.output is None:
            return "Nothing was kept: pass output= to be able to resume."
        if not self.folder.is_own():
            return (
                f"{self.folder.path}, which held the finished tiles, is gone: {self.output} was "
                "not touched. Call again."
            )
        return (
            f"{self.output} was not touched. {n_done} of {n_items} {kind}s are finished and kept "
            f"in {self.folder.path}: call again with the same arguments and resume=True, or delete "
            "that folder."
        )


class Run(TileRun):
    """One call of `segment_mosaic`: what is to be done, and in which order.

    Parameters are those of `segment_mosaic`, checked; `pixels` is what `open_pixels` returns.
    """

    def __init__(self, segmenter, pixels, output, *, kind, tile_size, overlap, **options):
        self.plan = Plan(segmenter, kind)
        super().__init__(pixels, output, in_threads=self.plan.in_threads, **options)
        self.segmenter, self.kind, self.tile_size = segmenter, kind, tile_size
        self.overlap, self.margin = choose_overlap(self.plan, overlap)
        self.lines = cut_tiles(pixels.shape, tile_size, self.overlap, self.plan.phase)
        self.tiles = [tile for line in self.lines for tile in line]
        self.n_tiles = len(self.tiles)
        self._small = {}  # what joins each tile to others, by its index
        self.writer = None if output is None else self._make_writer()

    def _make_writer(self):
        if self.is_compressed and self.plan.output == "instances":
            raise ValueError(
                f"output must end in .fits: {type(self.plan.segmenter).__name__} finds sources "
                "that may overlap, whose table follows a map that is not compressed. Got "
                f"{self.output}."
            )
        return (CompressedOutput if self.is_compressed else FileOutput)(
            self.output,
            self.folder,
            self.pixels,
            self.segmenter,
            self._check_before_publishing,
            lambda: self._what_is_safe("tile", len(self.tiles), len(self.tiles)),
        )

    @property
    def is_compressed(self):
        """Whether the map is compressed."""
        return self.output.suffix == ".fz"

    def _check_space(self):
        if not self.is_compressed:
            n_bytes = 4 + SEMANTIC().nbytes * (self.kind == "panoptic")
            check_space(self.output.parent, self.pixels.shape, n_bytes)

    def _about(self):
        return super()._about() | {
            "kind": self.kind,
            "tile_size": self.tile_size,
            "overlap": self.overlap,
            "segmenter": identify(self.segmenter),
        }

    def _work(self):
        self.plan.learn(self.pixels, self._map_rows, self.scheduler.each_of)
        self._share()
        tiles = [(tile,) for tile in self.tiles]
        if self.plan.output == "instances":
            self._all(segment_tile, "tile", tiles)
            return self._finish_instances()
        with self._painter() as painter:
            self._all(segment_tile, "tile", tiles, painter and painter.note)
            join = self._join(len(self.tiles))
            blends = [Blend(window, pixel) for window, pixel, _ in join.redo]
            known = painter.blends if painter else ()
            todo = [(blend,) for blend in blends if blend not in known]
            self._all(segment_blend, "blend", todo)
            self._warn_of_large_blends(join)
            return self._finish(join, painter)

    def _painter(self):
        """What paints rows of tiles while threads work on others; None if nothing does."""
        is_plain = self.writer is not None and not self.is_compressed and self.kind != "panoptic"
        if self.scheduler.n_threads == 1 or not is_plain:
            return nullcontext()
        return Painter(self.lines, self.job, self.writer.begin, self._join, self._number)

    def _join(self, n_tiles):
        """Join the first tiles."""
        exact = self.plan.reach() is not None
        rules = {"exact": exact, "splits": self.plan.splits, "max_pixels": self._max_pixels()}
        return join_tiles(self._load_small, n_tiles, **rules)

    def _warn_of_large_blends(self, join):
        if join.too_large:
            warnings.warn(
                f"{join.too_large} blend(s) cover more than {self._max_pixels()} pixels: they were "
                "split tile by tile, and the parts were joined where tiles meet. Use a larger "
                "tile_size to split them as a whole.",
                LargeBlendWarning,
                stacklevel=5,
            )

    def _max_pixels(self):
        return 4 * (self.tile_size + 2 * self.overlap) ** 2

    def _load_tile(self, index, names):
        return self.folder.load("tile", index, names)

    def _load_small(self, index, names):
        """Load what joins a tile to others, once."""
        if index not in self._small:
            self._small[index] = self._load_tile(index, names)
        return self._small[index]

    def _share(self):
        """Make the job that the next tasks share, of the plan as it is now."""
        self._open_in_workers()
        places = self.pixels.shape, self.margin, self.overlap
        job = Job(self.plan, self.opener, self.folder, *places)
        self.job = self.scheduler.share(job)

    def _map_rows(self, plan, n_steps, function, blocks):
        self._share()
        items = [(window, n_steps, function) for window in blocks]
        measured = self._each(reduce_rows, "background", items)
        # What a thread returns lies between the large arrays of its task, and keeps the memory that
        # they leave in pieces, too small for the arrays of tiles. A copy of this thread does not.
        keep = deepcopy if self.scheduler.n_threads > 1 else lambda part: part
        results = {index: keep(part) for index, part in measured}
        return [results[index] for index in range(len(blocks))]

    def _number(self, join, lines):
        """Number the sources; return what painting lines of tiles takes, and the sources' sums."""
        first, parts, measured, sums = join.first.copy(), [], [], [join.sums]
        for window, pixel, sources in join.redo:
            names = "first", "measured", "sums"
            record = self.folder.load("blend", Blend(window, pixel).index, names)
            parts.append(record["first"])
            measured.append(record["measured"])
            sums.append(record["sums"])
            if len(parts[-1]):  # else there is no source in its own window: those of the tiles stay
                first[sources] = NOWHERE
        if self.plan.compares:
            keep = self.plan.keep_sources
            first, parts = drop_sources(keep, first, join.measured, parts, measured)
        numbers, numbers_redone, n_sources = number_sources(first, parts)
        works = [self._line_work(line, join, numbers, numbers_redone) for line in lines]
        return works, np.concatenate([numbers, *numbers_redone]), np.concatenate(sums), n_sources

    def _finish(self, join, painter):
        """Number the sources and write the map."""
        works, numbers, sums, n_sources = self._number(join, self.lines)
        self._small.clear()
        if not n_sources:
            _warn_of_no_source()
        dtype = np.int32 if n_sources <= _LARGEST else np.int64
        if self.output is not None or self.kind == "panoptic":
            ranks = self._ranks(numbers, sums, n_sources)
        owners = self._owners(ranks[1], n_sources) if self.kind == "panoptic" else None
        if self.output is not None:
            return self.writer.labels(works, dtype, self._each, ranks, owners, painter)
        if self.kind == "panoptic":
            self._check_before_publishing()
            return paint_panoptic(works, self.pixels.shape, dtype, self.folder, owners)
        labels = paint(works, self.pixels.shape, dtype, self.folder)
        self._check_before_publishing()
        if self.kind == "labels":
            return labels
        # A source that lies in bridged gaps has a number, but no pixel.
        has_pixels = np.zeros(n_sources + 1, dtype=bool)
        has_pixels[labels.ravel()] = True
        ranks = self._ranks(numbers, sums, n_sources)
        ranks = (None if values is None else values[has_pixels[1:]] for values in ranks)
        return Instances.from_label_map(labels, *ranks)

    def _owners(self, classes, n_sources):
        """Class of each source by its number, the sky first; galaxies if none are told apart."""
        classes = np.full(n_sources, GALAXY) if classes is None else classes
        return as_semantic(np.concatenate([[SKY], classes]))

    def _ranks(self, numbers, sums, n_sources):
        """Scores and classes of the sources of a label map, by their numbers.

        The scores are None if all are 1, the classes if no classes are told apart.
        """
        if not self.plan.scored:
            return None, None
        of_source = np.zeros((n_sources + 1, sums.shape[1]))
        of_source[numbers] = sums
        return self.plan.score_of(of_source[1:]), self.plan.classes_of(of_source[1:])

    def _line_work(self, line, join, numbers, numbers_redone):
        """Return the tiles of a line, the tables of their numbers, and the blends in its rows."""
        top, bottom = line[0].core.y0, line[0].core.y1
        tables = []
        for tile in line:
            nodes = join.source[join.offsets[tile.index] : join.offsets[tile.index + 1]]
            tables.append(np.concatenate([[0], numbers[nodes]]))
        blends = [
            (Blend(window, pixel).index, own)
            for (window, pixel, _), own in zip(join.redo, numbers_redone, strict=True)
            if len(own) and window.y0 < bottom and window.y1 > top
        ]
        return line, tables, blends

    def _finish_instances(self):
        """Join the tiles' instances; return them, or paint them."""
        records = [self._load_tile(tile.index, _INSTANCE_ARRAYS) for tile in self.tiles]
        classes_of = self.plan.classes_of if self.plan.classifies else None
        instances = join_instances(records, self.tiles, self.pixels.shape, classes_of)
        if not len(instances):
            _warn_of_no_source()
        if self.output is not None:
            return self.writer.instances(instances, panoptic=self.kind == "panoptic")
        self._check_before_publishing()
        if self.kind == "instances":
            return instances
        return instances.to_panoptic() if self.kind == "panoptic" else instances.to_label_map()


def _what_failed(error):
    if isinstance(error, TileError):
        return f"{error}".rstrip(".") + "."
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return (
        f"A worker died or could not be reached: {type(error).__name__}: {first}".rstrip(".: ")
        + "."
    )


def _warn_of_no_source():
    warnings.warn(
        "No source was found in the mosaic: its label map is zero.",
        NoSourcesWarning,
        stacklevel=6,
    )


def _version_of(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None
