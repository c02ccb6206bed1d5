"""What a segmenter, or a pipeline ending in one, needs to know to work on one window of a mosaic.

The protocol, for estimators of this package and others alike; all parts are optional:

``_reach``
    How many pixels around a pixel decide about it. Without it, a transformer is taken to work pixel by
    pixel, and a segmenter to look as far as half the overlap.
``_phase``
    What a segmenter is given begins at a multiple of this many pixels of the mosaic, as a net with pooling
    wants it.
``_for_mosaic(mosaic)``
    Returns an estimator that holds the statistics of the whole mosaic (limits, meshes), found by
    ``mosaic.map_rows``; or raises `ValueError` where there is no way to have them.
``_at(y0, x0)``
    Returns an estimator for the window that begins at this pixel of the mosaic, where it matters.
``_finds_instances``
    True says that a segmenter's sources may overlap, with scores and classes.
``deblend``
    False says that a segmenter's sources are connected pixels, each decided by what is around it: then
    a source that no tile sees whole is joined from its pieces; otherwise it is done again as a whole.
"""

import warnings
from functools import partial

import numpy as np
from sklearn.pipeline import Pipeline

from ..detection._background import box_statistics, meshes_of_boxes
from ..detection._mosaic_meshes import Measured, window_of
from ..structures import NoSourcesWarning
from ._tiles import Window

_REACH_OF_STRANGERS = 64
_SAMPLE = 128  # side of the window that a step is asked about


class Plan:
    """The steps of a pipeline, ready for windows.

    Parameters
    ----------
    segmenter : segmenter or Pipeline
    kind : {"labels", "instances"}
        What the user wants. Tiles are joined as instances where the segmenter finds such, or where they
        are wanted of one that says nothing about itself.
    """

    def __init__(self, segmenter, kind="labels"):
        steps = (
            [step for _, step in segmenter.steps]
            if isinstance(segmenter, Pipeline)
            else [segmenter]
        )
        self.transformers = [step for step in steps[:-1] if step not in (None, "passthrough")]
        self.segmenter = steps[-1]
        unknown = kind == "instances" and not hasattr(self.segmenter, "_reach")
        self.output = (
            "instances" if getattr(self.segmenter, "_finds_instances", unknown) else "labels"
        )
        self.meshes = []
        if not hasattr(self.segmenter, "predict"):
            raise TypeError(
                f"segmenter must be a segmenter or a Pipeline that ends in one. Got {type(self.segmenter).__name__}, "
                "which cannot predict, instead."
            )

    @property
    def splits(self):
        """Whether sources depend on the whole blend they are in."""
        return bool(getattr(self.segmenter, "deblend", True))

    @property
    def n_pixels(self):
        """Smallest number of pixels of a source."""
        return int(getattr(self.segmenter, "n_pixels", 1))

    @property
    def phase(self):
        """What a window begins at a multiple of."""
        return int(getattr(self.segmenter, "_phase", 1))

    def reach(self):
        """Pixels around a pixel that decide about it; None where the segmenter does not say."""
        own = getattr(self.segmenter, "_reach", None)
        return None if own is None else own + self._reach_before(len(self.transformers))

    def _reach_before(self, n_steps):
        return sum(getattr(step, "_reach", 0) for step in self.transformers[:n_steps])

    def learn(self, pixels, run):
        """Give every step the statistics of the whole mosaic."""
        self.meshes = [[] for _ in range(len(self.transformers) + 1)]
        for index in range(len(self.transformers) + 1):
            mosaic = Mosaic(self, index, pixels, run)
            if hasattr(self._step(index), "_for_mosaic"):
                self._replace(index, self._step(index)._for_mosaic(mosaic))
            for options in self._asked_of(index, mosaic):
                self.meshes[index].append(_learn_meshes(self, index, options, mosaic))

    def _step(self, index):
        return self.segmenter if index == len(self.transformers) else self.transformers[index]

    def _replace(self, index, step):
        if index == len(self.transformers):
            self.segmenter = step
        else:
            self.transformers[index] = step

    def _asked_of(self, index, mosaic):
        """Options of the background meshes that a step asks for, found by letting it work on a small window."""
        asked = []
        height, width = mosaic.shape
        size = _SAMPLE
        window = Window(0, 0, min(size, height), min(size, width))
        image = mosaic.read(window)
        image = np.where(
            np.isnan(image), image.dtype.type(1), image
        )  # a corner without data would tell nothing

        def note(_image, _mask, options):
            asked.append(options)

        with window_of([], (0, 0), note):
            self._apply(index, image, window)
        return asked

    def _apply(self, index, image, window):
        """Send a window through one step; the sources if it is the last."""
        step = self._step(index)
        step = step._at(window.y0, window.x0) if hasattr(step, "_at") else step
        if index < len(self.transformers):
            return step.transform(image[np.newaxis])[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoSourcesWarning)
            return step.predict(image[np.newaxis], output=self.output)[0]

    def transform(self, image, window, n_steps):
        """Send a window, shape (n_bands, height, width), through the first steps."""
        for index in range(n_steps):
            with window_of(self.meshes[index], (window.y0, window.x0)):
                image = self._apply(index, image, window)
        return image

    def predict(self, image, window):
        """Predict one window: the label map or the `Instances` of its sources, without warning of none."""
        last = len(self.transformers)
        image = self.transform(image, window, last)
        with window_of(self.meshes[last], (window.y0, window.x0)):
            return self._apply(last, image, window)


def _learn_meshes(plan, index, options, mosaic):
    """Background and noise of the whole mosaic as a step asks for them, after those it asked for before."""
    box = tuple(min(options["box_size"], side) for side in mosaic.shape)
    strips = mosaic.map_rows(partial(_measure_strip, plan, index, box), box[0])
    statistics = np.concatenate([found for _, found in strips], axis=1)
    plane_over = mosaic.shape if options["plane"] else None
    wanted = options["filter_size"], options["exclude_percentile"], plane_over
    return meshes_of_boxes(statistics, box, strips[0][0], *wanted)


def _measure_strip(plan, index, box, rows, y0):
    """Dtype and statistics of the boxes of some rows, where a step first asks for a mesh that is not known."""

    def measure(image, mask, _options):
        raise Measured(image.dtype, box_statistics(image, box, mask))

    try:
        with window_of(plan.meshes[index], (y0, 0), measure):
            plan._apply(index, rows, Window(y0, 0, y0 + rows.shape[1], rows.shape[2]))
    except Measured as found:
        return found.dtype, found.statistics
    raise RuntimeError(
        f"{type(plan._step(index)).__name__} asked for a background mesh in one part of the mosaic and not in another: "
        "report this as a bug."
    )


class Mosaic:
    """The mosaic as one step of a pipeline sees it: what ``_for_mosaic`` is given.

    Attributes
    ----------
    shape : tuple of int
        ``(height, width)``.
    """

    def __init__(self, plan, n_steps, pixels, run):
        self._plan, self._n_steps, self._pixels, self._run = plan, n_steps, pixels, run
        self.shape = pixels.shape

    def read(self, window):
        """Return a window as the step sees it."""
        return read_transformed(self._plan, self._n_steps, self._pixels, window)

    def map_rows(self, function, step):
        """Call ``function(rows, y0)`` for blocks of whole rows, in parallel.

        Parameters
        ----------
        function : callable
            Takes an array of shape (n_bands, n_rows, width) and the number of its first row; returns a small
            result. Must be picklable.
        step : int
            The blocks begin at multiples of this many rows.

        Returns
        -------
        list
            The results from top to bottom.
        """
        height, width = self.shape
        n_rows = step * max(1, (1 << 22) // (step * width))
        blocks = [Window(y0, 0, min(y0 + n_rows, height), width) for y0 in range(0, height, n_rows)]
        return self._run(self._plan, self._n_steps, function, blocks)


def read_transformed(plan, n_steps, pixels, window):
    """Read a window as the step after `n_steps` others sees it."""
    around = window.grow(plan._reach_before(n_steps), pixels.shape)
    return plan.transform(pixels.read(*around.slices), around, n_steps)[
        (..., *window.within(around))
    ]


def choose_overlap(plan, overlap):
    """Check `overlap`, or choose it; return it with the number of pixels along an edge not to be trusted."""
    reach, n_pixels = plan.reach(), plan.n_pixels
    if overlap is None:
        distance = _REACH_OF_STRANGERS if reach is None else max(reach, 1)
        overlap = distance + max(n_pixels, 64)
    margin = overlap // 2 if reach is None else max(reach, 1)
    if overlap < margin + n_pixels:
        needed = 2 * n_pixels + 1 if reach is None else margin + n_pixels
        raise ValueError(
            f"Sources have at least {n_pixels} pixels and {type(plan.segmenter).__name__} looks {margin} pixels around "
            f"each, but tiles overlap by {overlap}: use overlap >= {needed}."
        )
    return overlap, margin
