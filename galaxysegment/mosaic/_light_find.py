"""The run that finds the sources of a mosaic and separates their light."""

import json

import numpy as np

from .._utils.identity import identify, identify_file
from ..io import read_field
from ..io._hdus import find_labels, scan
from ._light_run import LightRun
from ._light_sources import InstanceSources, LabelSources
from ._plan import Plan
from ._run import Run
from ._store import FOUND

_RECORD = "sources"


class FindingRun(LightRun):
    """One call of `separate_mosaic` with a segmenter before the separator.

    Parameters
    ----------
    segmenter : segmenter or Pipeline
        Fitted.
    seen : FieldPixels or ArrayPixels
        The mosaic as the segmenter sees it, with the RMS map as the last band if it takes one.
    **rest
        As of `LightRun`, without the sources.
    """

    def __init__(self, segmenter, seen, separator, pixels, output, **rest):
        self.segmenter, self.seen = segmenter, seen
        self.counts = {name: rest[name] for name in ("tile_size", "n_jobs", "progress")}
        super().__init__(separator, pixels, None, output, **rest)

    def _identity(self):
        return [self.pixels.identity(), self.seen.identity()]

    def _identities(self):
        return {"image": self.inputs}  # both are the image, as each step reads it

    def _about(self):
        return super()._about() | {"segmenter": identify(self.segmenter)}

    def _find(self):
        if self.output is None:
            instances = self._segment(None, kind="instances")
            self.sources = InstanceSources(instances)
            return
        path = self.folder.path / FOUND
        if not (self.resume and self._is_found(path)):
            path.unlink(missing_ok=True)
            self._segment(path, kind="labels")
            self.folder.save(_RECORD, 0, {"state": _state_of(path)})
        if Plan(self.segmenter).output == "instances":
            self.sources = InstanceSources(read_field(path).instances)
        else:
            self.sources = LabelSources(find_labels(path, None, scan(path)))

    def _segment(self, output, kind):
        settings = {"kind": kind, "overlap": None, "overwrite": False}
        resume = self.resume and output is not None
        run = Run(self.segmenter, self.seen, output, resume=resume, **settings, **self.counts)
        return run.execute()

    def _is_found(self, path):
        """Whether a killed run finished the label map, and nobody touched it since."""
        if not (path.exists() and self.folder.is_done(_RECORD, 0)):
            return False
        record = self.folder.load(_RECORD, 0, ("state",))
        return np.array_equal(record["state"], _state_of(path))


def _state_of(path):
    return np.array(json.dumps(identify_file(path)))
