"""The tasks of separating light on a mosaic: sample the sky, survey the sources, divide light."""

from dataclasses import dataclass

import numpy as np

from ..detection._sky_between import measure_rows, sky_window
from ..separation._blends import group_sources
from ..separation._divide import Exposure, divide, sample_grid, sample_sky
from ..structures import GALAXY, Instances
from ._plan import Window
from ._work import SharedJob


class LightJob(SharedJob):
    """What all tasks of separating a mosaic share.

    Parameters
    ----------
    open_pixels : callable
        Opens the mosaic's pixels.
    folder : WorkFolder
    separator : BaseSeparator
    sources : LabelSources, InstanceSources or PlaceSources
    sky : list of MeshMap, or None
        What to subtract from each band.
    levels : ndarray of float64, shape (n_bands,), or None
        RMS of each band if there is no RMS map.
    """

    def __init__(self, open_pixels, folder, *, separator, sources, sky, levels):
        super().__init__(open_pixels, folder)
        self.separator, self.sources = separator, sources
        self.sky, self.levels = sky, levels

    def image(self, window):
        """Read the science bands of a window, background subtracted, and the RMS map or None."""
        image, rms = self.pixels.read_parts(*window.slices)
        if self.sky is not None:
            image = image - sky_window(self.sky, window.y0, window.y1, window.x0, window.x1)
        return image, rms

    def covered(self, rows, columns):
        """Tell which pixels of a window belong to sources."""
        return self.sources.cover(Window(rows.start, columns.start, rows.stop, columns.stop))

    def exposure(self, window):
        """Read a window as separators see it."""
        image, rms = self.image(window)
        if rms is not None:
            noise = np.broadcast_to(rms, image.shape)
        else:
            noise = np.broadcast_to(self.levels[:, None, None], image.shape)
        return Exposure.of(image, noise)


@dataclass(frozen=True)
class Piece:
    """Sources whose light is divided together, and the window that this takes.

    Attributes
    ----------
    index : int
    window : Window
    ids : ndarray of int64
        Sources that the piece answers for.
    core : Window or None
        Of a blend that is too large for a window: the piece answers for the sources in here.
    """

    index: int
    window: Window
    ids: np.ndarray
    core: Window | None = None

    def __str__(self):
        return f"sources at {self.window}"


def measure_sky(job, window):
    """Measuring the sky in a block of rows."""
    image, _ = job.pixels.read_parts(*window.slices)
    return measure_rows(image, job.covered, window.y0, job.sources.shape), image.dtype


def sample_tile(job, tile):
    """Estimating the noise in a tile."""
    core = tile.core
    image, _ = job.image(core)
    masks = job.sources.inside(core)[1] if job.sources.has_masks else None
    values, outside = sample_sky(image, masks, (core.y0, core.x0), job.sources.shape)
    job.folder.save("sky-tile", tile.index, {"values": values, "outside": outside})


def survey_tile(job, tile):
    """Looking for sources that touch in a tile."""
    ids, instances, seen = job.sources.around(tile.core, job.exposure)
    groups = group_sources(instances)
    order = np.argsort(groups, kind="stable")
    together = groups[order[1:]] == groups[order[:-1]]
    corner = np.array([seen.y0, seen.x0] * 2)
    boxes = instances.boxes + corner
    # A mask that was cut may leave the first rows of its box empty.
    first = [np.unravel_index(crop.argmax(), crop.shape) for crop in instances.crops]
    first = boxes[:, :2] + np.array(first, dtype=np.int64).reshape(-1, 2)
    first = first[:, 0] * job.sources.shape[1] + first[:, 1]
    pairs = ids[np.stack([order[1:], order[:-1]])[:, together]]
    record = {"ids": ids, "boxes": boxes, "first": first, "pairs": pairs}
    record |= _sample_noise(job, tile.core, instances.to_mask(), seen)
    job.folder.save("survey-tile", tile.index, record)


def _sample_noise(job, core, covered, seen):
    """Sample the sky and the RMS map of a tile; nothing where the background is subtracted."""
    n_bands = job.pixels.n_bands - job.pixels.with_rms
    sample = {"sky": np.empty((n_bands, 0)), "rms": np.empty((n_bands, 0)), "has_noise": True}
    if job.sky is not None and not job.pixels.with_rms:
        return sample
    image, rms = job.pixels.read_parts(*core.slices)
    grid = sample_grid((core.y0, core.x0), job.sources.shape)
    is_known = True
    if rms is not None:
        is_known = (rms > 0).all(axis=0)
        sample["has_noise"] = bool((rms > 0).any())
        sample["rms"] = np.broadcast_to(rms, image.shape)[:, *grid].reshape(n_bands, -1)
    if job.sky is None:
        values = np.where(is_known, image, np.nan)[:, *grid]
        covered = covered[core.y0 - seen.y0 : core.y1 - seen.y0, core.x0 - seen.x0 :][
            :, : core.shape[1]
        ]
        sample["sky"] = values[:, ~covered[grid] & ~np.isnan(values).any(axis=0)]
    return sample


def separate_piece(job, piece, with_parts):
    """Dividing the light of sources."""
    exposure = job.exposure(piece.window)
    ids, instances, places = job.sources.inside(piece.window, exposure)
    wanted = np.isin(ids, piece.ids)
    canvas, blends = divide(job.separator, exposure, instances, places, wanted)
    chosen = np.array(
        [i for i in canvas.order if _is_own(canvas, i, wanted, piece)], dtype=np.int64
    )
    corner = np.array([piece.window.y0, piece.window.x0])
    lead = [ids[blends[canvas.blends[index]][0]] for index in chosen]
    n_bands = len(exposure.image)
    record = {
        "ids": np.array([ids[i] if i < len(ids) else -1 for i in chosen], dtype=np.int64),
        "lead": np.array(lead, dtype=np.int64),
        "boxes": np.array([canvas.boxes[i] for i in chosen], dtype=np.int64).reshape(-1, 4)
        + np.tile(corner, 2),
        "places": np.array([canvas.places[i] for i in chosen]).reshape(-1, 2) + corner,
    }
    for name in ("fluxes", "errors", "blendedness"):
        values = [getattr(canvas, name)[index] for index in chosen]
        record[name] = np.array(values, dtype=np.float64).reshape(-1, n_bands)
    if with_parts:
        parts = [canvas.parts[index].ravel() for index in chosen]
        record["parts"] = np.concatenate([np.zeros(0, dtype=np.float32), *parts])
        from_light = places is not None or job.separator.masks == "light"
        record |= _sources(canvas, chosen, instances, from_light=from_light, corner=corner)
    job.folder.save("piece", piece.index, record)


def _is_own(canvas, index, wanted, piece):
    """Whether a piece answers for a source of its canvas."""
    if index < len(wanted):
        return wanted[index]
    if piece.core is None:
        return True
    y, x = canvas.places[index] + np.array([piece.window.y0, piece.window.x0])
    core = piece.core
    return core.y0 - 0.5 <= y < core.y1 - 0.5 and core.x0 - 0.5 <= x < core.x1 - 0.5


def _sources(canvas, chosen, instances, *, from_light, corner):
    """Masks, scores and classes of the chosen sources, as `all_masks` makes them; masks packed."""
    n_given = len(instances)
    made = [i for i in chosen.tolist() if from_light or i >= n_given]
    masks = canvas.masks(made) if made else Instances(instances.shape, [], [])
    row = {index: place for place, index in enumerate(made)}
    scores = canvas.signal_to_noise() if from_light else instances.scores
    boxes, bits, ranking = [], [], []
    for index in chosen.tolist():
        source, place = (masks, row[index]) if index in row else (instances, index)
        boxes.append(source.boxes[place] + np.tile(corner, 2))
        bits.append(np.packbits(source.crops[place]))
        ranking.append(scores[index] if index < len(scores) else 1.0)
    return {
        "mask_boxes": np.array(boxes, dtype=np.int64).reshape(-1, 4),
        "mask_bits": np.concatenate([np.zeros(0, dtype=np.uint8), *bits]),
        "mask_ends": np.cumsum([len(packed) for packed in bits], dtype=np.int64),
        "scores": np.array(ranking, dtype=np.float64),
        "classes": _classes(instances, chosen),
    }


def _classes(instances, chosen):
    """Classes of sources, those added being galaxies; -1 if sources have none."""
    if instances.classes is None:
        return np.full(len(chosen), -1)
    is_given = chosen < len(instances)
    classes = np.full(len(chosen), GALAXY)
    classes[is_given] = instances.classes[chosen[is_given]]
    return classes
