"""`write_report`: measure, paint, and write the page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from .._utils.paths import check_paths
from ..catalog import source_catalog
from ..io import Field
from ..io._windows import open_pixels
from ..structures import Instances
from ..structures._types import Hdu
from ._columns import boxes_of, complete_catalog, load_catalog, pack, pack_columns, plain
from ._cutouts import choose_sources, paint_cutouts
from ._masks import open_masks
from ._page import page_parts
from ._pyramid import TILE, Painter, choose_factor, make_pyramid

if TYPE_CHECKING:
    from astropy.table import Table

_PAGE = 40_000  # bytes of program and style
_LEAST_PICTURE = 0.25  # part of the file that is kept for the picture
_MAGNITUDES = ("magnitude", "mag", "mag_auto", "magnitude_1", "flux", "flux_1")
_SIZES = ("half_light_radius", "area", "n_pixels", "semi_major")


def write_report(
    path: str | Path,
    image: ArrayLike | str | Path | Sequence[str | Path] | Field,
    sources: ArrayLike | Instances | str | Path,
    *,
    catalog: Table | str | Path | None = None,
    rms: ArrayLike | str | Path | bool | None = None,
    mask: ArrayLike | str | Path | None = None,
    rgb: Sequence[int] | None = None,
    background: float | ArrayLike | str | None = "mesh",
    zero_point: float | Sequence[float] | str | None = None,
    title: str | None = None,
    max_size: float = 48.0,
    overwrite: bool = False,
    progress: bool = True,
    hdu: Hdu = None,
    rms_hdu: Hdu = None,
    mask_hdu: Hdu = None,
    rms_kind: str = "rms",
    mask_bits: int | Sequence[int] | None = None,
    labels_hdu: Hdu = None,
) -> Path:
    """Write a page that shows an image with its sources: one HTML file, which needs no network.

    The image zooms and pans. A click on a source shows its row of the catalog and a cutout.
    Histograms and flags select sources. The page works with a mouse, with fingers and with the
    keyboard.

    Parameters
    ----------
    path : str or path
        Ends in ``.html``. The file appears once it is complete.
    image : array of shape (height, width) or (n_bands, height, width), path, `Field` or `NDData`
        The image, or a list of paths, one per band. Files are read strip by strip.
    sources : label map of shape (height, width), `Instances`, or path
        The sources; a path names a FITS file with a label map.
    catalog : `astropy.table.Table` or path, optional
        Rows to show, with a column ``label``. Sources without a row are left out. By default
        `galaxysegment.catalog.source_catalog` measures all sources. It also measures if the columns
        ``x``, ``y``, ``x_min``, ``x_max``, ``y_min`` and ``y_max`` are not all there.
    rms : array, path or bool, optional
        RMS map for the errors of the catalog, as for `galaxysegment.catalog.source_catalog`.
    mask : array or path, optional
        Mask or data quality map; pixels that are not 0 have no data and are black.
    rgb : sequence of 3 int, optional
        Bands to show in red, green and blue, counted from 0. By default three bands are shown in
        this order, and of any other number the first band in grey.
    background : float, array, "mesh" or None, default="mesh"
        What to subtract before measuring, as for `galaxysegment.catalog.source_catalog`.
    zero_point : float, sequence of float, or "header", optional
        Magnitude of a source with a flux of 1; "header" takes the AB zero point of the header.
    title : str, optional
        Title of the page; by default the name of the image's file.
    max_size : float, default=48
        Largest size of the file in units of 1,000,000 bytes. The picture gets the finest resolution
        that fits. If full resolution does not fit, the brightest sources have cutouts at full
        resolution. The page says how many pixels of the image become one.
    overwrite : bool, default=False
        Replace a file of this name. An input is never replaced.
    progress : bool, default=True
        Show a bar on the standard error stream.
    hdu, rms_hdu, mask_hdu, rms_kind, mask_bits
        Where image, RMS map and mask are in their files and what they hold, as for
        `galaxysegment.io.read_field`.
    labels_hdu : int, str or (str, int), optional
        HDU of the label map.

    Returns
    -------
    `pathlib.Path`
        The file written.

    Raises
    ------
    ValueError
        If `path` is one of the files that are read, if shapes disagree, if the catalog lists a
        source that does not exist, or if the rows of all sources do not fit into `max_size`.
    FileExistsError
        If the file exists and `overwrite` is False.

    Notes
    -----
    The stretch is asinh, from one standard deviation of the noise below the sky to the 99.7th
    percentile of the brighter pixels, the same in the whole picture. Coarser zoom levels show means
    of pixels. The rows cost about 100 bytes per source: 160,000 sources take 16 of 48 MB.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from galaxysegment.report import write_report
    >>> image = np.random.default_rng(0).normal(0, 1, (60, 80))
    >>> image[20:28, 30:41] += 9
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(f"{folder}/report.html", image, image > 4, progress=False)
    ...     page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    True
    """
    path = _check_target(path, overwrite)
    read = {"image": image, "sources": sources, "catalog": catalog, "rms": rms, "mask": mask}
    check_paths(read, {"path": path})
    budget = 1e6 * _check_size(max_size)
    hdus = {"hdu": hdu, "rms_hdu": rms_hdu, "mask_hdu": mask_hdu}
    kinds = {"rms_kind": rms_kind, "mask_bits": mask_bits}
    pixels = open_pixels(image, rms, mask=mask, **hdus, **kinds)
    check_paths(pixels.paths(), {"path": path})
    bands = _choose_bands(rgb, pixels.n_bands - pixels.with_rms)
    masks = open_masks(sources, pixels.shape, labels_hdu)
    catalog = None if catalog is None else load_catalog(catalog)
    options = {"background": background, "zero_point": zero_point, "labels_hdu": labels_hdu}

    def measure():
        return source_catalog(sources, image, rms=rms, mask=mask, **options, **hdus, **kinds)

    catalog = complete_catalog(catalog, measure)
    with tqdm(total=2 * pixels.shape[0], desc="report", unit="row", disable=not progress) as bar:
        report = _Report(pixels, masks, catalog, budget, bar.update)
        report.paint(Painter(pixels, bands), budget)
    title = _default_title(image) if title is None else str(title)
    return _write(path, page_parts(title, report.document(), report.texts))


class _Report:
    """What goes into the page.

    Parameters
    ----------
    pixels : FieldPixels or ArrayPixels
    masks : LabelMasks or InstanceMasks
    catalog : `astropy.table.Table`
    budget : float
        Bytes of the file.
    advance : callable
        Called with numbers of rows of the image that are done.
    """

    def __init__(self, pixels, masks, catalog, budget, advance):
        self.pixels, self.catalog, self.advance = pixels, catalog, advance
        self.boxes = boxes_of(catalog, pixels.shape)
        self.columns, self.flags = pack_columns(catalog)
        outlines = masks.outlines(plain(catalog["label"]), self.boxes, advance)
        self.texts = {"outlines": outlines}
        self.levels, self.places = [], None
        self.rest = budget - _PAGE - self._size()
        if self.rest < _LEAST_PICTURE * budget:
            needed = (budget - self.rest) / (1 - _LEAST_PICTURE) / 1e6
            raise ValueError(
                f"max_size={budget / 1e6:g} is too small for the rows and outlines of "
                f"{len(catalog)} sources: pass max_size={np.ceil(needed):.0f}, or a catalog with "
                "fewer rows or columns."
            )

    def _size(self):
        """Bytes of rows and outlines."""
        packed = [len(part["data"]) for part in (*self.columns, *self.flags)]
        words = [sum(map(len, part["data"])) for part in self.columns if part["type"] == "text"]
        outlines = sum(map(len, self.texts["outlines"])) + len(self.boxes)
        return sum(packed) + 4 * sum(words) + outlines + 22 * len(self.boxes)

    def paint(self, painter, budget):
        """Paint the picture, and cutouts if the picture cannot have full resolution."""
        factor = choose_factor(painter, 0.9 * self.rest)
        share = self.rest if factor == 1 else self.rest / 2
        factor = factor if factor == 1 else choose_factor(painter, 0.9 * share)
        levels = make_pyramid(painter, factor, self.advance)
        while _picture_size(levels) > share and len(levels) > 1:
            factor += 1
            levels = make_pyramid(painter, factor, lambda _rows: None)
        for index, level in enumerate(levels):
            self.texts[f"level-{index}"] = level.tiles
        self.levels = levels
        if factor > 1:
            room = self.rest - _picture_size(levels) - 28 * len(self.boxes)
            rows = choose_sources(self.boxes, self._order(), room)
            self.texts["cutouts"], self.places = paint_cutouts(painter, self.boxes, rows, room)

    def _order(self):
        """Rows of the catalog, the brightest source first."""
        name = next((name for name in ("flux", "flux_1", "area") if self._has(name)), "label")
        values = plain(self.catalog[name]).astype(float)
        return np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")

    def _has(self, name):
        return (
            any(column["name"] == name for column in self.columns)
            and plain(self.catalog[name]).ndim == 1
        )

    def document(self):
        """Return what the program of the page reads."""
        named = {column["name"] for column in self.columns}
        sort = next((name for name in _MAGNITUDES if name in named), "label")
        document = {
            "image": {"shape": list(self.pixels.shape), "pixel_scale": _pixel_scale(self.pixels)},
            "n_sources": len(self.boxes),
            "columns": self.columns,
            "flags": self.flags,
            "boxes": pack(self.boxes, "<i4"),
            "tile": TILE,
            "levels": [level._asdict() | {"tiles": len(level.tiles)} for level in self.levels],
            "first": _MAGNITUDES,
            "second": _SIZES,
            "sort": sort,
            "downwards": sort.startswith("flux"),
        }
        if self.places is not None:
            document["cutouts"] = pack(self.places, "<i4")
            document["n_cutouts"] = int(np.count_nonzero(self.places[:, 4]))
        return document


def _picture_size(levels):
    return sum(len(tile) + 1 for level in levels for tile in level.tiles)


def _check_target(path, overwrite):
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path must end in .html. Got {path} instead.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.parent} to write {path.name} to: make it first."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: pass overwrite=True to replace it.")
    return path


def _check_size(max_size):
    if not isinstance(max_size, Real) or isinstance(max_size, bool) or not 0.1 <= max_size < np.inf:
        raise ValueError(
            f"max_size must be a number of megabytes, at least 0.1. Got {max_size!r} instead."
        )
    return float(max_size)


def _choose_bands(rgb, n_bands):
    if rgb is None:
        return [0, 1, 2] if n_bands == 3 else [0]
    bands = list(rgb)
    if len(bands) != 3 or not all(
        isinstance(band, Integral) and 0 <= band < n_bands for band in bands
    ):
        raise ValueError(
            f"rgb must be three numbers of bands, 0 to {n_bands - 1}. Got {rgb!r} instead."
        )
    return bands


def _pixel_scale(pixels):
    """Arcseconds per pixel, or None without a WCS."""
    if pixels.wcs is None:
        return None
    from astropy.wcs.utils import proj_plane_pixel_area

    return float(3600 * np.sqrt(proj_plane_pixel_area(pixels.wcs)))


def _default_title(image):
    first = image[0] if isinstance(image, list | tuple) and image else image
    return Path(first).name if isinstance(first, str | Path) else "Sources"


def _write(path, parts):
    """Write text to a new file beside `path`, then move it there in one step."""
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return path
