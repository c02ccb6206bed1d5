"""From sums over pixels to a table of sources."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .._utils.validation import as_float_image, check_same_shape
from ..detection._background import box_statistics, meshes_of_boxes
from ..io import Field, image_shape, read_label_map
from ..io._nddata import in_unit
from ..io._windows import open_pixels
from ..structures import Instances, Separated, check_label_map
from ..structures._types import Hdu
from ._blocks import sum_instances, sum_label_map
from ._sky import sky_columns

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.wcs import WCS

_BOX = 50  # pixels of the background mesh
_POGSON = 2.5 / np.log(10)


def source_catalog(
    sources: ArrayLike | Instances | Separated | str | Path,
    image: ArrayLike | str | Path | Sequence[str | Path] | Field,
    *,
    rms: ArrayLike | str | Path | bool | None = None,
    mask: ArrayLike | str | Path | None = None,
    wcs: WCS | None = None,
    background: float | ArrayLike | None = None,
    zero_point: float | Sequence[float] | None = None,
    bands: Sequence[str] | None = None,
    classes: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    hdu: Hdu = None,
    rms_hdu: Hdu = None,
    mask_hdu: Hdu = None,
    rms_kind: str = "rms",
    mask_bits: int | Sequence[int] | None = None,
    labels_hdu: Hdu = None,
) -> QTable:
    """Measure the sources of an image: one row each.

    Files are read block by block of rows, so that a mosaic's catalog takes little memory.

    Parameters
    ----------
    sources : label map of shape (height, width), `Instances`, `Separated`, or path
        The sources; a path names a FITS file with a label map. `Separated` adds the fluxes of the
        light that belongs to each source alone.
    image : array of shape (height, width) or (n_bands, height, width), path, `Field` or `NDData`
        What to measure, or a list of paths; NaN is "no data". Fluxes of a `Quantity`
        or `NDData` have its unit.
    rms : array, path or bool, optional
        Standard deviation of the noise of each pixel, for the flux errors. If left out, the map
        that comes with the file, field or `NDData` is taken if there is one. True insists on such a
        map, False ignores it.
    mask : array or path, optional
        Mask or data quality map; pixels that are not 0 have no data.
    wcs : `astropy.wcs.WCS`, optional
        For positions on the sky; the WCS of the file or the field by default.
    background : float, array of shape (height, width), or "mesh", optional
        What to subtract before measuring; nothing by default. "mesh" estimates it in
        each band as `PhotutilsSegmenter` does.
    zero_point : float or sequence of float, optional
        Magnitude of a source with a flux of 1, of all bands or of each; without it there are no
        magnitudes.
    bands : sequence of str, optional
        Names of the bands. Each then has columns of its own: ``bands=["g", "r"]``, or ``"gr"``,
        gives ``flux_g``, ``flux_r``, ``flux_error_g`` and so on. Without names, a column holds one
        value per band.
    classes : array-like of int, shape (n_sources,), optional
        Category of label 1, 2…; the classes of `sources` if it is `Instances`.
    scores : array-like of float, shape (n_sources,), optional
        Confidence likewise.
    hdu, rms_hdu, mask_hdu, rms_kind, mask_bits
        Where image, RMS map and mask are in their files and what they hold, as for
        `galaxysegment.io.read_field`.
    labels_hdu : int, str or (str, int), optional
        HDU of the label map.

    Returns
    -------
    `astropy.table.QTable`
        One row per source, in order of `label`; labels that do not occur have none. Columns:

        - ``label``; ``x``, ``y``: centroid in 0-based pixels, weighted by brightness;
        - ``ra``, ``dec``, ``sky_position``: the same on the sky (ICRS), if there is a WCS;
        - ``x_min``, ``x_max``, ``y_min``, ``y_max``: bounding box, inclusive;
        - ``area``: pixels; ``flux``: sum over the pixels with data, and ``flux_error`` if there
          is an RMS map; with several bands, one value per band, or one column per band of `bands`;
        - ``magnitude``, ``magnitude_error`` if there is a zero point; NaN for fluxes up to 0;
        - ``semi_major``, ``semi_minor``: standard deviations of the brightness along the axes, in
          pixels; ``angle``: of the major axis from the x axis towards the y axis, -90° to 90°; on
          the sky ``semi_major_sky``, ``semi_minor_sky`` and ``position_angle``, from north through
          east, 0° to 180°;
        - ``peak``, ``x_peak``, ``y_peak``: the brightest pixel;
        - ``class``, ``score``: if they are known;
        - ``flux_separated``, ``flux_separated_error``, ``blendedness``: of the light of each source
          alone, if `sources` is `Separated`; a shared pixel then counts for each source by its
          share;
        - ``edge``: reaches the edge of the image; ``masked``: holds or touches pixels without data;
          ``blended``: touches or overlaps another source.

    Raises
    ------
    ValueError
        If shapes or units disagree, or there is not one class or score per source, or one name or
        zero point per band.

    Notes
    -----
    Centroid, shape and peak are measured on the mean of the bands. As in `photutils`, pixels below
    0 do not count for centroid and shape, and shapes thinner than a pixel are widened by 1/12 of a
    pixel squared, which is SExtractor's rule [1]_. Flux errors hold the noise of the map and
    nothing else.

    References
    ----------
    .. [1] E. Bertin and S. Arnouts, "SExtractor: Software for source extraction",
       A&AS 117, 393 (1996), :doi:`10.1051/aas:1996164`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.catalog import source_catalog
    >>> image = np.zeros((20, 30))
    >>> image[5:8, 10:17] = 2.0
    >>> rms = np.ones(image.shape)
    >>> catalog = source_catalog((image > 1).astype(int), image, rms=rms, zero_point=25)
    >>> columns = catalog["label", "x", "y", "area", "flux", "flux_error"]
    >>> columns.pformat(show_unit=False)[-1].split()
    ['1', '13.0', '6.0', '21', '42.0', '4.58257569495584']
    """
    hdus = {"hdu": hdu, "rms_hdu": rms_hdu, "mask_hdu": mask_hdu}
    kinds = {"rms_kind": rms_kind, "mask_bits": mask_bits}
    pixels = open_pixels(image, rms, mask=mask, **hdus, **kinds)
    photometry = _Photometry(pixels, zero_point, bands)
    subtracted = _background(in_unit(background, pixels.unit, "background"), pixels)
    separated = sources if isinstance(sources, Separated) else None
    if isinstance(sources, Separated):
        sources = sources.sources
    if isinstance(sources, Instances):
        check_same_shape(sources.shape, pixels.shape, "sources", "image")
        classes = sources.classes if classes is None else classes
        scores = sources.scores if scores is None else scores
        sums = sum_instances(sources, pixels, subtracted, pixels.with_rms)
    else:
        sums = sum_label_map(
            _label_rows(sources, labels_hdu, pixels.shape), pixels, subtracted, pixels.with_rms
        )
    extra = {
        "class": _check_per_source("classes", classes, sums.highest),
        "score": _check_per_source("scores", scores, sums.highest),
    }
    table = _make_table(
        sums, pixels, pixels.wcs if wcs is None else wcs.celestial, photometry, extra
    )
    if separated is not None:
        _add_separated(table, separated, photometry)
    return table


class _Photometry:
    """How fluxes become columns: their unit, the zero point and the name of each band."""

    def __init__(self, pixels, zero_point, bands):
        self.n_bands = n_bands = pixels.n_bands - pixels.with_rms
        self.unit = pixels.unit
        self.bands = None if bands is None else _check_bands(bands, n_bands)
        self.zero_point = None if zero_point is None else _check_zero_point(zero_point, n_bands)

    def add(self, table, name, values, unit=None):
        """Add values of shape (n_bands, n_sources): a column per named band, or one for all."""
        values = values if unit is None else values * unit
        if self.bands is None:
            table[name] = values[0] if len(values) == 1 else values.T
        else:
            for band, of_band in zip(self.bands, values, strict=True):
                table[f"{name}_{band}"] = of_band


def _check_bands(bands, n_bands):
    names = [bands] if isinstance(bands, str) and n_bands == 1 else list(bands)
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError(f"bands must be different names, like ['g', 'r']. Got {bands!r} instead.")
    if len(names) != n_bands:
        raise ValueError(
            f"bands has {len(names)} names, but the image has {n_bands} bands: give one per band."
        )
    return names


def _check_zero_point(zero_point, n_bands):
    values = np.asarray(zero_point, dtype=float)
    if values.shape not in ((), (n_bands,)) or not np.isfinite(values).all():
        raise ValueError(
            f"zero_point must be one number, or one per band of the image, which has {n_bands}. "
            f"Got {zero_point!r} instead."
        )
    return np.broadcast_to(values, n_bands)[:, None]


def _label_rows(sources, hdu, shape):
    """Return a function that reads whole rows of a label map."""
    if isinstance(sources, str | Path):
        check_same_shape(image_shape(sources, hdu=hdu), shape, "sources", "image")
        return lambda rows: read_label_map(sources, hdu=hdu, section=(rows, slice(None)))
    labels = check_label_map(sources, "sources")
    check_same_shape(labels.shape, shape, "sources", "image")
    return lambda rows: labels[rows]


def _background(background, pixels):
    """Return a function that gives the background of a window; None if there is none."""
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
    """One band of an image, read by rows: as much of an array as measuring boxes needs."""

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
            f"{name} has shape {values.shape}, but labels go up to {n_sources}: give one value per "
            "label, 1 to n."
        )
    return values


def _make_table(sums, pixels, wcs, photometry, extra):
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
    _add_fluxes(table, sums, rows, photometry)
    table["semi_major"], table["semi_minor"] = major * u.pix, minor * u.pix
    table["angle"] = np.degrees(angle) * u.deg
    for name in ("semi_major_sky", "semi_minor_sky", "position_angle"):
        if name in sky:
            table[name] = sky[name]
    peak = np.where(np.isfinite(sums.peak[rows]), sums.peak[rows], np.nan)
    table["peak"] = peak if photometry.unit is None else peak * photometry.unit
    table["x_peak"], table["y_peak"] = sums.peak_place[rows, 1], sums.peak_place[rows, 0]
    for name, values in extra.items():
        if values is not None:
            table[name] = values[rows]
    height, width = pixels.shape
    table["edge"] = (box[:, :2] == 0).any(axis=1) | (box[:, 2] == height) | (box[:, 3] == width)
    table["masked"], table["blended"] = sums.flags[0, rows], sums.flags[1, rows]
    return table


def _add_fluxes(table, sums, rows, photometry):
    from astropy import units as u

    nothing = sums.missing[:, rows] == sums.area[rows]
    flux = np.where(nothing, np.nan, sums.flux[:, rows])
    error = np.where(nothing, np.nan, np.sqrt(sums.variance[:, rows]))
    photometry.add(table, "flux", flux, photometry.unit)
    if sums.with_rms:
        photometry.add(table, "flux_error", error, photometry.unit)
    if photometry.zero_point is not None:
        positive = np.where(flux > 0, flux, np.nan)
        magnitude = photometry.zero_point - 2.5 * np.log10(positive)
        photometry.add(table, "magnitude", magnitude, u.mag)
        if sums.with_rms:
            photometry.add(table, "magnitude_error", _POGSON * error / positive, u.mag)


def _add_separated(table, separated, photometry):
    """Add the fluxes of separated light; every one of `Instances` has pixels, and so a row."""
    n_sources, n_bands = len(separated), photometry.n_bands
    if separated.fluxes.size != n_sources * n_bands:
        raise ValueError(
            f"sources holds separated light of {separated.fluxes.size // max(n_sources, 1)} "
            "band(s), but the "
            f"image has {n_bands}: pass the image that was separated."
        )

    def by_band(values):
        return values.reshape(n_sources, n_bands).T

    photometry.add(table, "flux_separated", by_band(separated.fluxes), photometry.unit)
    photometry.add(table, "flux_separated_error", by_band(separated.flux_errors), photometry.unit)
    photometry.add(table, "blendedness", by_band(separated.blendedness))


def _ellipse(covariance):
    """Semi-axes, and angle from x to y in radians, of covariances (n, 2, 2) in y, x."""
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
