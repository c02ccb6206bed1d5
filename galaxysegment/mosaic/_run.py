"""The run: tiles, join, blends, numbers, file."""

import json
import warnings
from contextlib import contextmanager
from uuid import uuid4

import joblib
import numpy as np
from joblib.parallel import get_active_backend
from tqdm import tqdm

from ..exceptions import LargeBlendWarning, NoSourcesWarning
from ..structures import Instances
from ._describe import NOWHERE
from ._instances import join_instances, write_instances
from ._join import join_tiles, number_sources
from ._plan import Plan, choose_overlap
from ._store import Memory, WorkFolder
from ._tiles import cut_tiles
from ._work import (
    Blend,
    Job,
    TileError,
    reduce_rows,
    run_task,
    segment_blend,
    segment_tile,
    write_line,
)
from ._write import check_space, flush, label_header, paint_line, reserve

_TILE_ARRAYS = (
    *("pixels", "values", "first", "key", "group", "cut", "boxes"),
    *("ring_index", "ring_value", "border_index", "border_value"),
)
_INSTANCE_ARRAYS = ("boxes", "bits", "ends", "scores", "classes", "cut")
_BLEND_ARRAYS = ("pixels", "values", "first")
# The largest label that fits into the 32 bits of an ordinary label map.
_LARGEST = np.iinfo(np.int32).max
_RECORD_VERSION = 1


class Run:
    """One call of `segment_mosaic`."""

    def __init__(
        self, segmenter, pixels, output, *, kind, tile_size, overlap, n_jobs, progress, resume
    ):
        self.segmenter, self.pixels, self.output = segmenter, pixels, output
        self.n_jobs, self.progress, self.resume = n_jobs, progress, resume
        self.kind, self.plan = kind, Plan(segmenter, kind)
        self.overlap, self.margin = choose_overlap(self.plan, overlap)
        self.tile_size = tile_size
        self.lines = cut_tiles(pixels.shape, tile_size, self.overlap, self.plan.phase)
        self.tiles = [tile for line in self.lines for tile in line]
        self.opener = None

    def execute(self):
        """Do everything; return the label map, or the path it was written to."""
        self.is_parallel = _is_parallel(self._n_jobs())
        if self.output is None and not self.is_parallel:
            self.folder = Memory()
            return self._work()
        if self.output is not None:
            check_space(self.output.parent, self.pixels.shape)
        self.folder = WorkFolder(None if self.output is None else work_path(self.output))
        finished = False
        try:
            self.folder.start(self._about(), resume=self.resume)
            result = self._work()
            finished = True
        finally:
            self.folder.close(keep=not finished)
        return result

    def _about(self):
        about = {"format": _RECORD_VERSION, "tile_size": self.tile_size, "overlap": self.overlap}
        if self.output is None:
            return about
        about |= {"image": self.pixels.identity(), "segmenter": joblib.hash(self.segmenter)}
        return json.loads(json.dumps(about))

    def _work(self):
        self.plan.learn(self.pixels, self._map_rows)
        self._share()
        arrays = _TILE_ARRAYS if self.plan.output == "labels" else _INSTANCE_ARRAYS
        self._all(segment_tile, "tile", [(tile,) for tile in self.tiles], arrays)
        if self.plan.output == "instances":
            return self._finish_instances()
        exact = self.plan.reach() is not None
        rules = {"exact": exact, "splits": self.plan.splits, "max_pixels": self._max_pixels()}
        join = join_tiles(self._load_tile, len(self.tiles), **rules)
        blends = [
            (Blend(index, window, pixel),) for index, (window, pixel, _) in enumerate(join.redo)
        ]
        self._all(segment_blend, "blend", blends, _BLEND_ARRAYS)
        if join.too_large:
            warnings.warn(
                f"{join.too_large} blend(s) cover more than {self._max_pixels()} pixels: they were split in each tile "
                "on its own, and the parts joined where tiles meet. Use a larger tile_size to split them as a whole.",
                LargeBlendWarning,
                stacklevel=4,
            )
        return self._finish(join)

    def _max_pixels(self):
        return 4 * (self.tile_size + 2 * self.overlap) ** 2

    def _load_tile(self, index, names):
        return self.folder.load("tile", index, names)

    def _share(self):
        """Make what the tasks share: through a file where workers are other processes."""
        pixels, folder = self.pixels, self.folder
        if not self.is_parallel:
            self.job = Job(
                self.plan, lambda: pixels, folder, pixels.shape, self.margin, self.overlap
            )
            return
        if self.opener is None:
            self.opener = pixels.for_workers(folder.path)
        job = Job(self.plan, self.opener, folder, pixels.shape, self.margin, self.overlap)
        # Workers outlive a run and remember what they have read: a name is never used twice.
        self.job = job.store(folder.path / f"job-{uuid4().hex}.pickle")

    def _n_jobs(self):
        # One job is what None means too, unless a joblib.parallel_config says otherwise.
        return None if self.n_jobs == 1 else self.n_jobs

    def _each(self, task, what, items, done=0):
        """Yield the results of a task for all items, in the order they finish, with their positions."""
        total = len(items) + done
        bar = tqdm(
            total=total, initial=done, desc=what, unit=what, disable=not (self.progress and total)
        )
        with bar:
            if not isinstance(self.job, str):
                for index, item in enumerate(items):
                    yield index, run_task(self.job, task, *item)
                    bar.update()
                return
            parallel = joblib.Parallel(n_jobs=self._n_jobs(), return_as="generator_unordered")
            calls = (
                joblib.delayed(_numbered)(index, self.job, task, *item)
                for index, item in enumerate(items)
            )
            with warnings.catch_warnings():
                # A worker that has grown is replaced: no loss, and raised as an error it would leave joblib waiting.
                warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
                for found in parallel(calls):
                    yield found
                    bar.update()

    def _all(self, task, kind, items, arrays):
        """Run a task on all items whose record is not there yet."""
        if self.resume:
            todo = [item for item in items if not self.folder.is_done(kind, item[0].index, arrays)]
        else:
            todo = items
        n_done = len(items) - len(todo)
        try:
            for _ in self._each(task, kind, todo, n_done):
                n_done += 1
        except Exception as error:
            raise TileError(
                f"{self._what_failed(error)} {self._what_is_safe(kind, n_done, len(items))}"
            ) from error

    def _what_failed(self, error):
        if isinstance(error, TileError):
            return f"{error}".rstrip(".") + "."
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        return (
            f"A worker died or could not be reached: {type(error).__name__}: {first}".rstrip(".: ")
            + "."
        )

    def _what_is_safe(self, kind, n_done, n_items):
        if self.output is None:
            return "Nothing was kept: pass output= to be able to resume."
        return (
            f"{self.output} was not touched. {n_done} of {n_items} {kind}s are finished and kept in "
            f"{self.folder.path}: call again with the same arguments and resume=True, or delete that folder."
        )

    def _map_rows(self, plan, n_steps, function, blocks):
        self._share()
        items = [(window, n_steps, function) for window in blocks]
        found = dict(self._each(reduce_rows, "background", items))
        return [found[index] for index in range(len(blocks))]

    def _finish(self, join):
        """Number the sources and write the map."""
        first, parts = join.first.copy(), []
        for index, (_, _, sources) in enumerate(join.redo):
            parts.append(self.folder.load("blend", index, ("first",))["first"])
            if len(
                parts[-1]
            ):  # else the segmenter sees nothing there from nearby: what the tiles saw stays
                first[sources] = NOWHERE
        numbers, numbers_redone, n_sources = number_sources(first, parts)
        if not n_sources:
            self._warn_of_no_source()
        dtype = np.int32 if n_sources <= _LARGEST else np.int64
        jobs = [self._line_work(line, join, numbers, numbers_redone) for line in self.lines]
        if self.output is not None:
            return self._to_file(jobs, dtype)
        labels = self._in_memory(jobs, dtype)
        return Instances.from_label_map(labels) if self.kind == "instances" else labels

    def _line_work(self, line, join, numbers, numbers_redone):
        """Return what is needed to paint a line of tiles: the tables of its tiles, the blends that reach into it."""
        top, bottom = line[0].core.y0, line[0].core.y1
        tables = []
        for tile in line:
            nodes = join.source[join.offsets[tile.index] : join.offsets[tile.index + 1]]
            tables.append(np.concatenate([[0], numbers[nodes]]))
        blends = [
            (index, numbers_redone[index])
            for index, (window, _, _) in enumerate(join.redo)
            if len(numbers_redone[index]) and window.y0 < bottom and window.y1 > top
        ]
        return line, tables, blends

    def _in_memory(self, jobs, dtype):
        labels = np.zeros(self.pixels.shape, dtype=dtype)
        for work in jobs:
            for y0, rows in paint_line(work, labels.shape, dtype, self.folder):
                labels[y0 : y0 + len(rows)] = rows
        return labels

    def _to_file(self, jobs, dtype):
        stored = np.dtype(dtype).newbyteorder(">")
        draft = self.folder.path / "labels.fits"
        header = label_header(self.pixels, stored, self.segmenter)
        with self._writing(draft):
            reserve(draft, header, self.pixels.shape, stored)
            for _ in self._each(
                write_line, "row of tiles", [(work, draft, len(header), stored) for work in jobs]
            ):
                pass
            flush(draft)
        draft.replace(self.output)
        return self.output

    def _finish_instances(self):
        """Join the tiles' instances; return them, or paint them."""
        records = [self._load_tile(tile.index, _INSTANCE_ARRAYS) for tile in self.tiles]
        instances = join_instances(records, self.tiles, self.pixels.shape)
        if not len(instances):
            self._warn_of_no_source()
        if self.output is None:
            return instances if self.kind == "instances" else instances.to_label_map()
        dtype = np.dtype(">i4")
        draft = self.folder.path / "labels.fits"
        header = label_header(self.pixels, dtype, self.segmenter)
        with self._writing(draft):
            reserve(draft, header, self.pixels.shape, dtype)
            write_instances(draft, len(header), instances)
            flush(draft)
        draft.replace(self.output)
        return self.output

    @contextmanager
    def _writing(self, draft):
        """Say what is safe if the map cannot be written."""
        try:
            yield
        except (OSError, TileError) as error:
            draft.unlink(missing_ok=True)
            safe = self._what_is_safe("tile", len(self.tiles), len(self.tiles))
            raise TileError(
                f"The label map cannot be written: {str(error).rstrip('.')}. {safe}"
            ) from error

    @staticmethod
    def _warn_of_no_source():
        warnings.warn(
            "No source was found in the mosaic: its label map is zero.",
            NoSourcesWarning,
            stacklevel=6,
        )


def _numbered(index, job, task, *arguments):
    return index, run_task(job, task, *arguments)


def _is_parallel(n_jobs):
    """Whether joblib will use other processes or machines."""
    backend, _ = get_active_backend()
    return joblib.effective_n_jobs(n_jobs) > 1 or not type(backend).__module__.startswith(
        "joblib._parallel"
    )


def work_path(output):
    """Folder of the unfinished work on an output file."""
    return output.with_name(f".{output.name}.unfinished")
