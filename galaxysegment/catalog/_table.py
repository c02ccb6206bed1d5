"""From sums over pixels to a table of sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .._utils.validation import check_same_shape
from ..io import Field, image_shape, read_label_map
from ..io._tables import read_map_classes, read_scores
from ..io._wcs import check_wcs
from ..io._windows import open_pixels
from ..structures import Instances, Separated, check_label_map
from ..structures._types import Hdu
from ._background import background_of
from ._columns import Columns, add_photometry
from ._convolve import check_kernels
from ._flags import CatalogFlags
from ._photometry import Photometry, check_apertures
from ._sky import sky_columns
from ._sums import mean_of_data
from ._windows import InstanceSource, LabelSource, Places, SeparatedSource

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.units import Quantity, UnitBase
    from astropy.wcs import WCS


def source_catalog(
    sources: ArrayLike | Instances | Separated | str | Path,
    image: ArrayLike | str | Path | Sequence[str | Path] | Field,
    *,
    rms: ArrayLike | str | Path | bool | None = None,
    mask: ArrayLike | str | Path | None = None,
    wcs: WCS | None = None,
    background: float | ArrayLike | None = None,
    zero_point: float | Sequence[float] | str | None = None,
    bands: Sequence[str] | None = None,
    classes: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    hdu: Hdu = None,
    rms_hdu: Hdu = None,
    mask_hdu: Hdu = None,
    rms_kind: str = "rms",
    mask_bits: int | Sequence[int] | None = None,
    labels_hdu: Hdu = None,
    kron: bool | Sequence[float] | None = None,
    apertures: float | Quantity | Sequence[float | Quantity] | None = None,
    ellipses: float | Sequence[float] | None = None,
    light_fractions: float | Sequence[float] | None = None,
    total: bool = False,
    local_background: float = 0.0,
    neighbours: str = "correct",
    noise_factor: float = 1.0,
    detection: ArrayLike | str | Path | Field | None = None,
    kernels: ArrayLike | Sequence[ArrayLike | None] | None = None,
    flux_unit: str | UnitBase | None = None,
    star_probability: bool = False,
    n_jobs: int | None = None,
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
        What to subtract before measuring; nothing by default. "mesh" estimates it in each band
        between the sources, on boxes of 50 × 50 pixels. See the notes.
    zero_point : float, sequence of float, or "header", optional
        Magnitude of a source with a flux of 1, of all bands or of each; without it there are no
        magnitudes. "header" takes the AB zero point of `ab_zero_point`.
    bands : sequence of str, optional
        Names of the bands. Each then has columns of its own: ``bands=["g", "r"]``, or ``"gr"``,
        gives ``flux_g``, ``flux_r``, ``flux_error_g`` and so on. Without names, a column holds one
        value per band.
    classes : array-like of int, shape (n_sources,), optional
        Category of label 1, 2…; by default the classes of `sources` if it is `Instances`, or the
        table CLASSES of its file.
    scores : array-like of float, shape (n_sources,), optional
        Confidence likewise; by default the scores of `sources` if it is `Instances`, or the table
        SCORES of its file, as `segment_mosaic` writes it with ``kind="instances"``.
    hdu, rms_hdu, mask_hdu, rms_kind, mask_bits
        Where image, RMS map and mask are in their files and what they hold, as for
        `galaxysegment.io.read_field`.
    labels_hdu : int, str or (str, int), optional
        HDU of the label map.
    kron : bool or (float, float) or (float, float, float), optional
        Measure Kron fluxes [2]_. ``(2.5, 1.4)``, or True, measures in an ellipse of 2.5 Kron radii,
        and takes Kron radii below 1.4 semi-axes as 1.4. These are the numbers of SExtractor (whose
        PHOT_AUTOPARAMS are 2.5 and 2.5 * 1.4 = 3.5) and photutils. A third number is the radius, in
        pixels, of the circle that replaces smaller ellipses.
    apertures : float or `astropy.units.Quantity`, or sequence of them, optional
        Radii of circles to measure in: numbers of pixels, or angles like ``1 * u.arcsec``, which
        the WCS turns into pixels by the area of a pixel at its reference point.
    ellipses : float or sequence of float, optional
        Sizes of ellipses to measure in, in units of `semi_major` and `semi_minor`.
    light_fractions : float or sequence of float, optional
        Fractions of the Kron flux whose circles to find: 0.5 for the half-light radius.
    total : bool, default=False
        Estimate the light beyond the Kron aperture from the profile within it: ``flux_total``. See
        the notes.
    local_background : float, default=0
        Width, in pixels, of a rectangular annulus around each source whose background is subtracted
        from Kron and aperture fluxes. It begins at 1.5 times the bounding box. 0 for none.
    neighbours : {"correct", "mask", "none"}, default="correct"
        What an aperture holds in place of other sources' pixels: "correct" takes the pixel on the
        opposite side of the centroid, "mask" takes nothing and "none" takes the pixels as they are.
        `Separated` light has no neighbours, so that nothing is replaced.
    noise_factor : float, default=1
        What errors of Kron and aperture fluxes are multiplied with, because the noise of
        neighbouring pixels is correlated: 1.5 to 2 for drizzled or resampled images.
    detection : array, path, `Field` or `NDData`, optional
        Image of the same pixels that sets centroids, shapes and Kron radii, while `image` gives the
        fluxes ("dual-image mode", forced photometry). Its background must be subtracted, or be
        subtracted with ``background="mesh"``. The mean of the bands of `image` by default.
    kernels : array of shape (odd, odd), or sequence of arrays and None, optional
        What each band is convolved with before Kron and aperture fluxes are measured, so that all
        bands have the same PSF: `photutils.psf_matching.create_matching_kernel` makes such kernels.
        None for a band that stays as it is. ``flux`` and errors are those of the image as it is.
    flux_unit : str or unit, optional
        Unit of the fluxes, like "uJy" for micro-Jansky. The zero point must be an AB zero point;
        that of the header is taken if there is no `zero_point`.
    star_probability : bool, default=False
        Estimate whether each source is a point source. Needs an RMS map. See the notes.
    n_jobs : int, optional
        Threads that measure Kron and aperture fluxes; their number changes no result.

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
        - ``kron_radius``, in units of the semi-axes, ``flux_kron``: if `kron` is given; the ellipse
          has semi-axes of ``kron[0] * kron_radius * semi_major`` and so on;
        - ``flux_aperture_5``, ``flux_aperture_2_5``: for ``apertures=[5, 2.5]``;
          ``flux_aperture_0_5arcsec`` for ``apertures=0.5 * u.arcsec``; ``flux_ellipse_3``: for
          ``ellipses=3``. Kron and aperture fluxes have errors and
          magnitudes, like ``flux_kron_error`` and ``magnitude_kron``, under the same conditions as
          ``flux``;
        - ``flux_total``, if `total` is True;
        - ``half_light_radius``, ``light_radius_80``: for ``light_fractions=[0.5, 0.8]``, in pixels;
        - ``star_probability``: 0 for a galaxy, 1 for a star; NaN if the image shows no stellar
          locus. ``meta["psf_half_light_radius"]`` is the radius of the PSF in pixels;
        - ``local_background``: per pixel, if it is asked for;
        - ``flags``: what went wrong with these measurements, as bits of `CatalogFlags`; 0 for
          nothing;
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

    Kron and aperture fluxes, light radii and local backgrounds are those of
    `photutils.segmentation.SourceCatalog` to rounding, with exact overlaps of apertures and pixels.
    Errors of apertures are those of photutils 3.1: a pixel that lies in an aperture by a share w
    adds w times its light, so its variance counts w² times. Up to photutils 3.0 it counted w times,
    which made the error of a circle of radius 4 pixels 4.5 % larger. The Kron radius is measured on
    `detection`, or the mean of the bands; every band is then measured in the same apertures.
    Sources are measured in windows of at most 2048 pixels plus what their apertures reach, so that
    memory does not grow with the image.

    ``background="mesh"`` leaves out the pixels of the sources and those up to 3 pixels around. In
    each box it takes the median of what clipping at 3 standard deviations leaves. Boxes that lose
    more than 15 % of their pixels, or in which a large galaxy goes on beyond its mask, are filled
    from their neighbours. In a crowded field, where most boxes lose more, the better half of them
    counts. A plane through the boxes is taken away first, so that a sky that rises evenly is no
    source of errors. So a galaxy over several boxes keeps its light if there is sky around it in
    the image.

    A Kron aperture of a faint galaxy misses 5 % to 20 % of its light; how much depends on the
    profile [4]_. ``flux_total`` compares the light in the ellipses of .25, .5, .75 and 1 times the
    Kron aperture with Sérsic profiles of indices .5 to 6, and divides the Kron flux by the share
    that the profiles have in the aperture. Profiles count by how well they fit, and by what is
    known of galaxies beforehand: an index of 1 and a half-light radius of .45 of the aperture, with
    a scatter of factors 1.6 and 1.3. So a faint galaxy is taken as a disk. Without an RMS map, the
    profile is an exponential disk with the measured half-light radius. Use ``flux_kron`` for
    colours, because all bands share its aperture.

    ``star_probability`` needs no training, like SPREAD_MODEL [3]_: bright stars pile up at the
    smallest half-light radius, which is that of the PSF. Compared are the light within this radius
    and within twice this radius, because the ratio is the same for point sources of any brightness.
    A mixture of point sources and galaxies, each widened by the noise of the ratio, is fitted to
    groups of about 100 sources of similar flux. A group expects the share of stars that the next
    brighter group leads to, if galaxies outgrow stars by .2 dex per magnitude. Where stars and
    galaxies look alike, the probability is this share. At least 5 unblended stars of S/N 10 must be
    in the image. A field without stars gives the smallest galaxies high probabilities.

    References
    ----------
    .. [1] E. Bertin and S. Arnouts, "SExtractor: Software for source extraction",
       A&AS 117, 393 (1996), :doi:`10.1051/aas:1996164`
    .. [2] R. G. Kron, "Photometry of a complete sample of faint galaxies", ApJS 43, 305 (1980),
       :doi:`10.1086/190669`
    .. [3] S. Desai et al., "The Blanco Cosmology Survey: data acquisition, processing, calibration,
       quality diagnostics, and data release", ApJ 757, 83 (2012),
       :doi:`10.1088/0004-637X/757/1/83`
    .. [4] A. W. Graham and S. P. Driver, "A concise reference to (projected) Sérsic R^(1/n)
       quantities, including concentration, profile slopes, Petrosian indices, and Kron
       magnitudes", PASA 22, 118 (2005), :doi:`10.1071/AS05001`

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

    Fluxes in larger apertures, and the radius of half the light:

    >>> y, x = np.mgrid[:61, :61] - 30
    >>> image = np.exp(-np.hypot(x, y) / 3)
    >>> labels = (image > 0.1).astype(int)
    >>> row = source_catalog(labels, image, kron=True, apertures=[5], light_fractions=0.5)[0]
    >>> fluxes = [row[name] / image.sum() for name in ("flux", "flux_kron", "flux_aperture_5")]
    >>> [round(float(flux), 2) for flux in fluxes]
    [0.66, 0.95, 0.5]
    >>> row["half_light_radius"].round(1)
    <Quantity 4.8 pix>
    """
    wanted = check_apertures(
        *(kron, apertures, ellipses, light_fractions, total, star_probability, neighbours),
        **{"local_background": local_background, "noise_factor": noise_factor, "n_jobs": n_jobs},
    )
    hdus = {"hdu": hdu, "rms_hdu": rms_hdu, "mask_hdu": mask_hdu}
    kinds = {"rms_kind": rms_kind, "mask_bits": mask_bits}
    pixels = open_pixels(image, rms, mask=mask, **hdus, **kinds)
    if wanted.stars and not pixels.with_rms:
        raise ValueError("star_probability needs the noise of each pixel: pass rms=.")
    sky = pixels.wcs if wcs is None else check_wcs(wcs)
    wanted = wanted.in_pixels(sky)
    columns = Columns(pixels, zero_point, bands, flux_unit, sky)
    separated = sources if isinstance(sources, Separated) else None
    matched = check_kernels(kernels, columns.n_bands, separated is not None)
    sources = sources if separated is None else separated.sources
    if isinstance(sources, Instances):
        check_same_shape(sources.shape, pixels.shape, "sources", "image")
        classes = sources.classes if classes is None else classes
        scores = sources.scores if scores is None else scores
    if labels_hdu is None and isinstance(sources, str | Path):
        scores = read_scores(sources) if scores is None else scores
        classes = read_map_classes(sources, pixels.shape) if classes is None else classes
    own = open_sources(sources, labels_hdu, pixels)
    subtracted = background_of(background, pixels, own)
    sums = own.sums(pixels, subtracted)
    seen = None if detection is None else _Detection(detection, pixels.shape, background, own)
    if seen is not None:
        sums.moments = own.sums(seen.pixels, seen.background).moments
    extra = {
        "class": _check_per_source("classes", classes, sums.highest),
        "score": _check_per_source("scores", scores, sums.highest),
    }
    rows, places = places_of(sums)
    table = _make_table(sums, rows, places, pixels.shape, sky, columns, extra)
    if separated is not None:
        own = SeparatedSource(separated)
        _add_separated(table, separated, columns)
    if wanted.any:
        look = None if seen is None else seen.read
        measured = Photometry(places, pixels, own, subtracted, wanted, matched, look).run()
        add_photometry(table, measured, columns, _shape_flags(sums, rows))
    return table


def open_sources(sources, labels_hdu, pixels):
    """Return what tells which source a pixel of an image belongs to."""
    if isinstance(sources, Instances):
        return InstanceSource(sources)
    return LabelSource(_label_reader(sources, labels_hdu, pixels.shape))


class _Detection:
    """The image that says where sources are and how large, in dual-image mode."""

    def __init__(self, image, shape, background, own):
        self.pixels = open_pixels(image, None, takes_rms=lambda _n_bands: False)
        check_same_shape(self.pixels.shape, shape, "detection", "image")
        mesh = isinstance(background, str)
        self.background = background_of(background, self.pixels, own) if mesh else None

    def read(self, rows, columns):
        """Return a window of the mean of the bands."""
        image, _ = self.pixels.read_parts(rows, columns)
        image = image if self.background is None else image - self.background(rows, columns)
        return mean_of_data(image)


def _label_reader(sources, hdu, shape):
    """Return a function that reads a window of a label map, or whole rows."""
    if isinstance(sources, str | Path):
        check_same_shape(image_shape(sources, hdu=hdu), shape, "sources", "image")
        return lambda rows, columns=slice(None): read_label_map(
            sources, hdu=hdu, section=(rows, columns)
        )
    labels = check_label_map(sources, "sources")
    check_same_shape(labels.shape, shape, "sources", "image")
    return lambda rows, columns=slice(None): labels[rows, columns]


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


def places_of(sums):
    """Return the rows of the sources that have pixels, and their `Places`."""
    rows = np.flatnonzero(sums.area)
    y, x, covariance = (part[rows] for part in sums.shapes())
    own = rows + 1 if sums.numbers is None else sums.numbers[rows]
    return rows, Places(own, y, x, *_ellipse(covariance), sums.box[rows])


def _shape_flags(sums, rows):
    """Return the flags of centroids and shapes."""
    thin = _is_thin(sums.shapes()[2][rows])
    dark = sums.moments[0, rows] <= 0
    flags = (
        (CatalogFlags.THIN, thin),
        (CatalogFlags.NO_LIGHT, dark),
        (CatalogFlags.BLENDED, sums.flags[1, rows]),
    )
    return sum(np.where(where, int(bit), 0) for bit, where in flags).astype(np.int32)


def _make_table(sums, rows, places, shape, wcs, columns, extra):
    from astropy import units as u
    from astropy.table import QTable

    y, x, angle = places.y, places.x, places.angle
    table = QTable({"label": places.own, "x": x, "y": y})
    sky = {} if wcs is None else sky_columns(wcs, x, y, angle, places.major, places.minor)
    for name in ("ra", "dec", "sky_position"):
        if name in sky:
            table[name] = sky[name]
    box = places.boxes
    for name, values in (
        ("x_min", box[:, 1]),
        ("x_max", box[:, 3] - 1),
        ("y_min", box[:, 0]),
        ("y_max", box[:, 2] - 1),
    ):
        table[name] = values
    table["area"] = sums.area[rows]
    _add_fluxes(table, sums, rows, columns)
    table["semi_major"], table["semi_minor"] = places.major * u.pix, places.minor * u.pix
    table["angle"] = np.degrees(angle) * u.deg
    for name in ("semi_major_sky", "semi_minor_sky", "position_angle"):
        if name in sky:
            table[name] = sky[name]
    peak = np.where(np.isfinite(sums.peak[rows]), sums.peak[rows], np.nan)
    table["peak"] = peak if columns.unit is None else peak * columns.unit
    table["x_peak"], table["y_peak"] = sums.peak_place[rows, 1], sums.peak_place[rows, 0]
    for name, values in extra.items():
        if values is not None:
            table[name] = values[rows]
    height, width = shape
    table["edge"] = (box[:, :2] == 0).any(axis=1) | (box[:, 2] == height) | (box[:, 3] == width)
    table["masked"], table["blended"] = sums.flags[0, rows], sums.flags[1, rows]
    return table


def _add_fluxes(table, sums, rows, columns):
    nothing = sums.missing[:, rows] == sums.area[rows]
    flux = np.where(nothing, np.nan, sums.flux[:, rows])
    error = np.where(nothing, np.nan, np.sqrt(sums.variance[:, rows]))
    columns.add_fluxes(table, "", flux, error)


def _add_separated(table, separated, columns):
    """Add the fluxes of separated light; every one of `Instances` has pixels, and so a row."""
    n_sources, n_bands = len(separated), columns.n_bands
    if separated.fluxes.size != n_sources * n_bands:
        raise ValueError(
            f"sources holds separated light of {separated.fluxes.size // max(n_sources, 1)} "
            "band(s), but the "
            f"image has {n_bands}: pass the image that was separated."
        )

    def by_band(values):
        return values.reshape(n_sources, n_bands).T

    columns.add(table, "flux_separated", by_band(separated.fluxes), columns.unit)
    columns.add(table, "flux_separated_error", by_band(separated.flux_errors), columns.unit)
    columns.add(table, "blendedness", by_band(separated.blendedness))


def _is_thin(covariance):
    return np.linalg.det(covariance) < 1 / 144


def _ellipse(covariance):
    """Semi-axes, and angle from x to y in radians, of covariances (n, 2, 2) in y, x."""
    covariance = covariance.copy()
    # SExtractor's rule for sources thinner than a pixel
    while (thin := _is_thin(covariance)).any():
        covariance[thin] += np.eye(2) / 12
    yy, yx, xx = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    middle, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, yx)
    angle = 0.5 * np.arctan2(2 * yx, xx - yy)
    return np.sqrt(middle + radius), np.sqrt(np.maximum(middle - radius, 0)), angle
