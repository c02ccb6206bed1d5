"""From sums over pixels to a table of sources."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from .._utils.validation import as_float_image, check_same_shape
from ..detection._background import box_statistics, meshes_of_boxes
from ..io import Field, image_shape, read_label_map
from ..io._windows import open_pixels
from ..structures import Instances, check_label_map
from ..structures._types import Hdu
from ._blocks import sum_instances, sum_label_map
from ._sky import sky_columns

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.wcs import WCS

_BOX = 50  # pixels of the background mesh
_POGSON = 2.5 / np.log(10)


def source_catalog(
    sources: ArrayLike | Instances | str | Path,
    image: ArrayLike | str | Path | Sequence[str | Path] | Field,
    *,
    rms: ArrayLike | str | Path | Literal[True] | None = None,
    wcs: WCS | None = None,
    background: float | ArrayLike | None = None,
    zero_point: float | None = None,
    classes: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    hdu: Hdu = None,
    rms_hdu: Hdu = None,
    rms_kind: str = "rms",
    labels_hdu: Hdu = None,
) -> QTable:
    """Measure the sources of an image: one row each.

    Files are read block by block of rows, so that a mosaic's catalog takes little memory.

    Parameters
    ----------
    sources : label map of shape (height, width), `galaxysegment.Instances`, or path
        The sources; a path is that of a FITS file with a label map.
    image : array of shape (height, width) or (n_bands, height, width), path, list of paths, or `Field`
        What to measure; NaN is "no data".
    rms : array, path or True, optional
        Standard deviation of the noise of each pixel, for the flux errors; True takes the map that comes
        with the file or the field.
    wcs : `astropy.wcs.WCS`, optional
        For positions on the sky; that of the file or the field by default.
    background : float, array of shape (height, width), or "mesh", optional
        What to subtract before measuring; nothing by default. "mesh" estimates it in
        each band as `PhotutilsSegmenter` does.
    zero_point : float, optional
        Magnitude of a source with a flux of 1; without it there are no magnitudes.
    classes : array-like of int, shape (n_sources,), optional
        Category of label 1, 2…; those of `sources` where it is `Instances`.
    scores : array-like of float, shape (n_sources,), optional
        Confidence likewise.
    hdu, rms_hdu, rms_kind
        Where image and RMS map are in their files and what the latter holds, as for
        `galaxysegment.io.read_field`.
    labels_hdu : int, str or (str, int), optional
        HDU of the label map.

    Returns
    -------
    `astropy.table.QTable`
        One row per source, in order of `label`; labels that do not occur have none. Columns:

        - ``label``; ``x``, ``y``: centroid in 0-based pixels, weighted by brightness;
        - ``ra``, ``dec``, ``sky_position``: the same on the sky (ICRS); only where there is a WCS;
        - ``x_min``, ``x_max``, ``y_min``, ``y_max``: bounding box, inclusive;
        - ``area``: pixels; ``flux``: sum over the pixels that have data, and ``flux_error`` where there is an
          RMS map; with several bands, one value per band;
        - ``magnitude``, ``magnitude_error`` where there is a zero point; NaN for a flux that is not positive;
        - ``semi_major``, ``semi_minor``: standard deviations of the brightness along the axes, in pixels;
          ``angle``: of the major axis from the x axis towards the y axis, -90° to 90°; on the sky
          ``semi_major_sky``, ``semi_minor_sky`` and ``position_angle``, from north through east, 0° to 180°;
        - ``peak``, ``x_peak``, ``y_peak``: the brightest pixel;
        - ``class``, ``score``: where they are known;
        - ``edge``: reaches the edge of the image; ``masked``: holds or touches pixels without data;
          ``blended``: touches or overlaps another source.

    Raises
    ------
    ValueError
        If shapes disagree, or there is not one class or score per source.

    Notes
    -----
    Centroid, shape and peak are those of the mean of the bands. As in `photutils`, negative pixels do not count for
    centroid and shape, and shapes thinner than a pixel are widened by 1/12 of a pixel squared, which is
    SExtractor's rule [1]_. Flux errors hold the noise of the map and nothing else.

    References
    ----------
    .. [1] E. Bertin and S. Arnouts, "SExtractor: Software for source extraction", A&AS 117, 393 (1996),
       :doi:`10.1051/aas:1996164`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.catalog import source_catalog
    >>> image = np.zeros((20, 30))
    >>> image[5:8, 10:17] = 2.0
    >>> catalog = source_catalog((image > 1).astype(int), image, rms=np.ones(image.shape), zero_point=25)
    >>> catalog["label", "x", "y", "area", "flux", "flux_error"].pformat(show_unit=False)[-1].split()
    ['1', '13.0', '6.0', '21', '42.0', '4.58257569495584']
    """
    pixels = open_pixels(image, rms, hdu=hdu, rms_hdu=rms_hdu, rms_kind=rms_kind)
    subtracted = _background(background, pixels)
    if isinstance(sources, Instances):
        check_same_shape(sources.shape, pixels.shape, "sources", "image")
        classes = sources.classes if classes is None else classes
        scores = sources.scores if scores is None else scores
        sums = sum_instances(sources, pixels, subtracted, rms is not None)
    else:
        sums = sum_label_map(
            _label_rows(sources, labels_hdu, pixels.shape), pixels, subtracted, rms is not None
        )
    extra = {
        "class": _check_per_source("classes", classes, sums.highest),
        "score": _check_per_source("scores", scores, sums.highest),
    }
    return _make_table(
        sums, pixels, pixels.wcs if wcs is None else wcs.celestial, zero_point, extra
    )


def _label_rows(sources, hdu, shape):
    """Return a function that reads whole rows of a label map."""
    if isinstance(sources, str | Path):
        check_same_shape(image_shape(sources, hdu=hdu), shape, "sources", "image")
        return lambda rows: read_label_map(sources, hdu=hdu, section=(rows, slice(None)))
    labels = check_label_map(sources, "sources")
    check_same_shape(labels.shape, shape, "sources", "image")
    return lambda rows: labels[rows]


def _background(background, pixels):
    """Return a function that gives the background of a window; None where there is nothing to subtract."""
    if background is None:
        return None
    if isinstance(background, Real) and not isinstance(background, bool):
        return lambda _rows, _columns: float(background)
    if isinstance(background, str):
        if background != "mesh":
            raise ValueError(
                f"background must be a number, a map, 'mesh' or None. Got {background!r} instead."
            )
        return _mesh_background(pixels)
    background = as_float_image(background, "background")
    check_same_shape(background.shape, pixels.shape, "background", "image")
    return lambda rows, columns: background[rows, columns]


class _Rows:
    """One band of an image that is read by rows: as much of an array as measuring boxes asks for."""

    def __init__(self, pixels, band):
        self.pixels, self.band, self.shape = pixels, band, pixels.shape

    def __getitem__(self, rows):
        return self.pixels.read_parts(rows, slice(0, self.shape[1]))[0][self.band]


def _mesh_background(pixels):
    image = pixels.read_parts(slice(0, 1), slice(0, 1))[0]
    box = tuple(min(_BOX, side) for side in pixels.shape)
    meshes = []
    for band in range(len(image)):
        statistics = box_statistics(_Rows(pixels, band), box)
        meshes.append(
            meshes_of_boxes(statistics, box, image.dtype, 3, 15)[0]
        )  # as PhotutilsSegmenter does

    def window(rows, columns):
        return np.stack(
            [mesh.window(rows.start, rows.stop, columns.start, columns.stop) for mesh in meshes]
        )

    return window


def _check_per_source(name, values, n_sources):
    if values is None:
        return None
    values = np.asarray(values)
    if values.ndim != 1 or len(values) < n_sources:
        raise ValueError(
            f"{name} has shape {values.shape}, but labels go up to {n_sources}: give one value per label, 1 to n."
        )
    return values


def _make_table(sums, pixels, wcs, zero_point, extra):
    from astropy import units as u
    from astropy.table import QTable

    rows = np.flatnonzero(sums.area)
    y, x, covariance = (part[rows] for part in sums.shapes())
    major, minor, angle = _ellipse(covariance)
    table = QTable(
        {"label": rows + 1 if sums.numbers is None else sums.numbers[rows], "x": x, "y": y}
    )
    sky = {} if wcs is None else sky_columns(wcs, x, y, angle, major, minor)
    for name in ("ra", "dec", "sky_position"):
        if name in sky:
            table[name] = sky[name]
    box = sums.box[rows]
    for name, values in (
        ("x_min", box[:, 1]),
        ("x_max", box[:, 3] - 1),
        ("y_min", box[:, 0]),
        ("y_max", box[:, 2] - 1),
    ):
        table[name] = values
    table["area"] = sums.area[rows]
    _add_fluxes(table, sums, rows, zero_point)
    table["semi_major"], table["semi_minor"] = major * u.pix, minor * u.pix
    table["angle"] = np.degrees(angle) * u.deg
    for name in ("semi_major_sky", "semi_minor_sky", "position_angle"):
        if name in sky:
            table[name] = sky[name]
    table["peak"] = np.where(np.isfinite(sums.peak[rows]), sums.peak[rows], np.nan)
    table["x_peak"], table["y_peak"] = sums.peak_place[rows, 1], sums.peak_place[rows, 0]
    for name, values in extra.items():
        if values is not None:
            table[name] = values[rows]
    height, width = pixels.shape
    table["edge"] = (box[:, :2] == 0).any(axis=1) | (box[:, 2] == height) | (box[:, 3] == width)
    table["masked"], table["blended"] = sums.flags[0, rows], sums.flags[1, rows]
    return table


def _add_fluxes(table, sums, rows, zero_point):
    from astropy import units as u

    nothing = sums.missing[:, rows] == sums.area[rows]
    flux = np.where(nothing, np.nan, sums.flux[:, rows])
    error = np.where(nothing, np.nan, np.sqrt(sums.variance[:, rows]))
    table["flux"] = _per_band(flux)
    if sums.with_rms:
        table["flux_error"] = _per_band(error)
    if zero_point is not None:
        positive = np.where(flux > 0, flux, np.nan)
        table["magnitude"] = _per_band(zero_point - 2.5 * np.log10(positive)) * u.mag
        if sums.with_rms:
            table["magnitude_error"] = _per_band(_POGSON * error / positive) * u.mag


def _per_band(values):
    """Shape (n_sources,) of one band, (n_sources, n_bands) of several."""
    return values[0] if len(values) == 1 else values.T


def _ellipse(covariance):
    """Semi-axes and angle of the major axis from x to y, in radians, of covariances (n, 2, 2) in y, x."""
    covariance = covariance.copy()
    determinant = np.linalg.det(covariance)
    # SExtractor's rule for sources thinner than a pixel
    thin = determinant < 1 / 144
    while thin.any():
        covariance[thin] += np.eye(2) / 12
        thin = np.linalg.det(covariance) < 1 / 144
    yy, yx, xx = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    middle, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, yx)
    angle = 0.5 * np.arctan2(2 * yx, xx - yy)
    return np.sqrt(middle + radius), np.sqrt(np.maximum(middle - radius, 0)), angle
