"""`write_field`: a simulated field of any size, drawn block by block into a file.

A block needs the sources that reach into it; which of their pixels are seen depends on those that
overlap them, and whether those are labelled at all on those that overlap them in turn. So three
rings of sources are drawn for each block, most of them a few pixels wide.
"""

from __future__ import annotations

import os
from inspect import signature
from io import BytesIO
from math import ceil
from pathlib import Path
from uuid import uuid4

import joblib
import numpy as np
from astropy.io import fits
from astropy.table import vstack
from tqdm import tqdm

from .._utils.paths import reserve_space
from ..io._tables import catalog_hdu, classes_hdu
from ..io._wcs import kept_cards
from ..io._write import _provenance, check_target
from ..structures._types import RandomState
from ._catalog import truth_catalog
from ._field import _make_header, check_shape, make_field, make_scene, make_wcs, seed_of
from ._population import SOURCE
from ._profiles import MAX_RADIUS, require_galsim
from ._scene import CELL, Camera, add_light
from ._truth import label_sources, visible_part

__all__ = ["write_field"]

_BLOCK = 2 * CELL, 16 * CELL  # few rows, because files are written row by row
_PER_CELL = 4096  # provisional labels of a cell
_FITS_BLOCK = 2880
_RINGS = 2


def write_field(
    path: str | Path,
    shape: tuple[int, int] = (1024, 1024),
    *,
    bands: str = "r",
    density: float = 92.0,
    random_state: RandomState = None,
    n_jobs: int | None = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Simulate a field of any size and write it to a FITS file, block by block in bounded memory.

    The file holds what ``make_field(shape, ...).write(path)`` would write, but for the overlapping
    instances: image, RMS map, label map, classes and catalog.

    Parameters
    ----------
    path : str or path
        Ends in ``.fits``. The file appears when it is finished.
    shape, bands, density, random_state
        As of `make_field`; its other parameters have their default values.
    n_jobs : int, default=1
        Number of processes. The file does not depend on it.
    overwrite : bool, default=False
        Replace a file of this name.
    progress : bool, default=True
        Show how far it is on the standard error stream.

    Returns
    -------
    `pathlib.Path`
        The file written.

    Examples
    --------
    >>> import tempfile
    >>> from galaxysegment.datasets import write_field
    >>> from galaxysegment.io import read_field
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_field(f"{folder}/field.fits", (256, 300), random_state=0, progress=False)
    ...     read_field(path)
    Field(n_bands=1, shape=(256, 300), with rms, labels, classes, catalog)
    """
    require_galsim("write_field")
    path = check_target(path, overwrite)
    if path.suffix != ".fits":
        raise ValueError(
            f"path must end in .fits: what is written piece by piece cannot be packed. Got {path}."
        )
    scene = _make_scene(check_shape(shape), bands, density, seed_of(random_state))
    layout = _Layout(scene, density)
    draft = path.resolve().with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        layout.reserve(draft)
        blocks = _run(
            _draw_block, _blocks(scene.shape), n_jobs, progress, "block", scene, layout, draft
        )
        keys, catalog = _number(blocks, layout.wcs)
        rows = [(y, min(y + CELL, scene.shape[0])) for y in range(0, scene.shape[0], CELL)]
        _run(_number_rows, rows, n_jobs, progress, "numbering", layout, draft, keys)
        with draft.open("ab") as file:
            for hdu in (classes_hdu(catalog["class"].astype(np.int64)), catalog_hdu(catalog)):
                file.write(_as_bytes(hdu))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path.resolve())
    finally:
        draft.unlink(missing_ok=True)
    return path


def _make_scene(shape, bands, density, seed):
    default = {
        name: parameter.default for name, parameter in signature(make_field).parameters.items()
    }
    camera = Camera(
        default["pixel_scale"],
        default["psf_fwhm"],
        bands,
        (default["sky_level"],) * len(bands),
        (default["depth"],) * len(bands),
        default["read_noise"],
    )
    names = "star_fraction", "sky_gradient", "n_pixels"
    return make_scene(shape, camera, seed, density, *(default[name] for name in names))


class _Layout:
    """Where the planes of image, RMS map and label map are in the file."""

    def __init__(self, scene, density):
        default = signature(make_field).parameters
        self.n_pixels = default["n_pixels"].default
        self.shape, self.wcs = scene.shape, make_wcs(scene.shape, scene.camera.pixel_scale)
        star_fraction, source_noise = (
            default[name].default for name in ("star_fraction", "rms_source_noise")
        )
        header = _make_header(self.wcs, scene, density, star_fraction, self.n_pixels, source_noise)
        n_bands = len(scene.camera.bands)
        self._parts, self._offsets = (
            [fits.PrimaryHDU(header=_provenance(None)).header.tostring().encode("ascii")],
            {},
        )
        end = len(self._parts[0])
        for name, dtype, n_planes in (
            ("SCI", ">f4", n_bands),
            ("RMS", ">f4", n_bands),
            ("LABELS", ">i4", 1),
        ):
            cards = (
                kept_cards(header, self.shape, keep_unit=True)
                if name == "SCI"
                else kept_cards(self.wcs, self.shape)
            )
            text = _image_header(name, dtype, n_planes, self.shape, cards)
            self._parts.append((end, text))
            self._offsets[name] = end + len(text), np.dtype(dtype)
            n_bytes = n_planes * self.shape[0] * self.shape[1] * 4
            end += len(text) + ceil(n_bytes / _FITS_BLOCK) * _FITS_BLOCK
        self.size = end

    def reserve(self, path):
        """Make the file: headers, and room for the pixels, so that a full disk shows now."""
        with path.open("wb") as file:
            reserve_space(file, 0, self.size)
            file.write(self._parts[0])
            for offset, text in self._parts[1:]:
                file.seek(offset)
                file.write(text)
            file.truncate(self.size)

    def write(self, file, name, plane, y0, x0, pixels):
        """Write a rectangle of pixels that begins at a row and column."""
        start, dtype = self._offsets[name]
        height, width = self.shape
        for row, values in enumerate(np.ascontiguousarray(pixels, dtype=dtype), start=y0):
            file.seek(start + ((plane * height + row) * width + x0) * dtype.itemsize)
            file.write(values.data)

    def read_labels(self, file, y0, y1):
        """Read whole rows of the label map."""
        start, dtype = self._offsets["LABELS"]
        file.seek(start + y0 * self.shape[1] * dtype.itemsize)
        return np.fromfile(file, dtype=dtype, count=(y1 - y0) * self.shape[1]).reshape(y1 - y0, -1)


def _image_header(name, dtype, n_planes, shape, cards):
    """Header of an image extension, padded to a block."""
    planes = (n_planes,) if n_planes > 1 else ()
    header = fits.ImageHDU(np.zeros((1,) * (len(planes) + 2), dtype=dtype), name=name).header
    for axis, length in enumerate(reversed((*planes, *shape)), start=1):
        header[f"NAXIS{axis}"] = length
    if planes:
        cards.remove("WCSAXES", ignore_missing=True)
    header.extend(cards, strip=True)
    return header.tostring(padding=True).encode("ascii")


def _as_bytes(hdu):
    file = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    return file.getvalue()[_FITS_BLOCK:]


def _blocks(shape):
    height, width = shape
    return [
        (y0, x0, min(y0 + _BLOCK[0], height), min(x0 + _BLOCK[1], width))
        for y0 in range(0, height, _BLOCK[0])
        for x0 in range(0, width, _BLOCK[1])
    ]


def _run(task, items, n_jobs, progress, what, *shared):
    """Call ``task(item, *shared)`` for all items; a list of what it returns, in their order."""
    calls = (joblib.delayed(task)(item, *shared) for item in items)
    parallel = joblib.Parallel(n_jobs=None if n_jobs == 1 else n_jobs, return_as="generator")
    return list(tqdm(parallel(calls), total=len(items), desc=what, unit=what, disable=not progress))


def _draw_block(box, scene, layout, path):
    """Write image, RMS map and provisional labels of a block; return keys and catalog rows."""
    camera = scene.camera
    sources, keys = _sources_around(scene, box)
    sizes = camera.stamp_sizes(sources, camera.fluxes(sources))
    boxes = _stamp_boxes(sources, sizes)
    drawn = _rings(boxes, box)
    sources, keys, boxes = sources[drawn], keys[drawn], boxes[drawn]
    frame = _frame(boxes, box, scene.shape)
    shape = frame[2] - frame[0], frame[3] - frame[1]
    stamps = [
        stamp._replace(y0=stamp.y0 - frame[0], x0=stamp.x0 - frame[1])
        for stamp in camera.draw(sources)
    ]
    light = add_light(stamps, shape, n_bands=len(camera.bands))
    rms = np.sqrt(scene.sky(frame) + np.maximum(light, 0) + camera.read_noise**2, dtype=np.float32)
    inner = slice(box[0] - frame[0], box[2] - frame[0]), slice(box[1] - frame[1], box[3] - frame[1])
    image, inner_rms, _ = scene.expose(light[(slice(None), *inner)], box)
    parts = [visible_part(stamp, rms[camera.reference], camera.reference) for stamp in stamps]
    labels, kept = label_sources(parts, shape, layout.n_pixels)
    provisional = np.concatenate([[0], keys[kept] + 1])[labels[inner]]
    with path.open("r+b") as file:
        for band in range(len(camera.bands)):
            layout.write(file, "SCI", band, box[0], box[1], image[band])
            layout.write(file, "RMS", band, box[0], box[1], inner_rms[band])
        layout.write(file, "LABELS", 0, box[0], box[1], provisional)
    catalog = truth_catalog(
        camera, sources[kept], [parts[index] for index in kept], labels, rms[camera.reference]
    )
    mine = _centred(sources[kept], box)
    return keys[kept][mine], catalog[mine]


def _sources_around(scene, box):
    """Sources that may matter for a block, and keys that sort them as in the whole field."""
    far = (2 * _RINGS + 1) * MAX_RADIUS + 1
    n_columns = ceil(scene.shape[1] / CELL)
    sources, keys = [np.zeros(0, SOURCE)], [np.zeros(0, dtype=np.int64)]
    for row, column in scene._cells(box, margin=far):
        in_cell = scene._cell_sources(row, column)
        if len(in_cell) > _PER_CELL:
            raise ValueError(
                f"density gives {len(in_cell)} sources in 256 x 256 pixels, too many to stream: "
                "lower it."
            )
        sources.append(in_cell)
        keys.append((row * n_columns + column) * _PER_CELL + np.arange(len(in_cell)))
    return np.concatenate(sources), np.concatenate(keys)


def _stamp_boxes(sources, sizes):
    y0 = np.rint(sources["y"]).astype(np.int64) - sizes // 2
    x0 = np.rint(sources["x"]).astype(np.int64) - sizes // 2
    return np.stack([y0, x0, y0 + sizes, x0 + sizes], axis=1)


def _rings(boxes, box):
    """Which stamps reach into a block, which overlap those, and which overlap these."""
    chosen = _overlapping(boxes, np.array([box]))
    for _ in range(_RINGS):
        chosen = chosen | _overlapping(boxes, boxes[chosen])
    return chosen


def _overlapping(boxes, others):
    overlaps = np.zeros(len(boxes), dtype=bool)
    for y0, x0, y1, x1 in others.tolist():
        overlaps |= (
            (boxes[:, 0] < y1) & (boxes[:, 2] > y0) & (boxes[:, 1] < x1) & (boxes[:, 3] > x0)
        )
    return overlaps


def _frame(boxes, box, shape):
    """Rectangle that holds the block and all stamps drawn for it, inside the field."""
    together = np.vstack([boxes, [box]])
    low, high = together[:, :2].min(axis=0), together[:, 2:].max(axis=0)
    return (*np.maximum(low, 0).tolist(), *np.minimum(high, shape).tolist())


def _centred(sources, box):
    y, x = sources["y"] + 0.5, sources["x"] + 0.5
    return (y >= box[0]) & (y < box[2]) & (x >= box[1]) & (x < box[3])


def _number(blocks, wcs):
    """Put the sources of all blocks in order; return their keys and the catalog."""
    keys = np.concatenate([keys for keys, _ in blocks])
    catalog = vstack([catalog for _, catalog in blocks], metadata_conflicts="silent")
    order = np.argsort(keys)
    catalog = catalog[order]
    catalog["label"] = np.arange(1, len(catalog) + 1, dtype=np.int32)
    catalog["ra"], catalog["dec"] = wcs.wcs_pix2world(catalog["x"], catalog["y"], 0)
    return keys[order], catalog


def _number_rows(rows, layout, path, keys):
    """Give the labels of some rows their final numbers."""
    with path.open("r+b") as file:
        labels = layout.read_labels(file, *rows)
        seen = labels > 0
        labels[seen] = np.searchsorted(keys, labels[seen] - 1) + 1
        layout.write(file, "LABELS", 0, rows[0], 0, labels)
