"""The recipe of photutils: background, smoothing, threshold, connected pixels, deblending."""

import warnings
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._utils.learn import Interval, Options
from .._utils.packages import without_bar
from .._utils.validation import check_odd
from ..base import BaseSegmenter, ScoreMaps, Statistic
from ..detection._background import (
    MeshMap,
    box_statistics,
    compiling_pays,
    meshes_of_boxes,
    used_boxes,
)
from ..detection._bands import DetectionImageMixin
from ..detection._cleaning import measure_detections, surviving
from ..detection._deblending import DEBLEND, split_blends
from ..detection._galaxies import LARGE_AREA
from ..detection._objects import boxes_of_objects
from ..detection._smoothing import convolve_block, gaussian_profile, row_blocks
from ..structures import label_components
from ..structures._labels import source_pixels

_CRUMB_ZONE = 4.0  # semi-major axes of a large galaxy and a crumb, that are added


class _Detections(NamedTuple):
    """Connected pixels above the threshold, and what they were found in.

    `background` and `noise` are arrays or `MeshMap` s. `smooth` is filled where sources are.
    """

    labels: NDArray[np.int32]
    smooth: NDArray[Any]
    background: MeshMap | NDArray[Any]
    noise: MeshMap | NDArray[Any]
    n_sigma: float


class PhotutilsSegmenter(DetectionImageMixin, BaseSegmenter):
    """Connected pixels above the noise of a smoothed, background-subtracted image, by photutils.

    The steps, with the default values:

    1. `photutils.background.Background2D`: median and scatter of boxes of 64×64 pixels after
       clipping at 3 sigma, median-filtered over 3×3 boxes, boxes with more than 15 % of their
       pixels missing or clipped left out; the interpolated background is subtracted;
    2. a Gaussian kernel of FWHM 3 on 5×5 pixels smooths the image;
    3. sources are 10 or more connected pixels that are brighter than the background RMS, or than
       the RMS map that travels with the image;
    4. blends are split, but large galaxies stay whole, and crumbs at their rims are dropped; with
       ``deblend=True``, `photutils.segmentation.deblend_sources` splits them.

    Before them, seams are levelled. Boxes that a large object fills are left out in step 1, and the
    threshold is raised if the noise is correlated. ``deblend=True, level_seams=False,
    mask_objects=False, correlated_noise=False, bridge=0, no_data="nan"`` is photutils alone.

    It learns nothing: `predict` works without `fit`. It expects images that are linear in flux: a
    stretch before it changes what a sigma means.

    Parameters
    ----------
    fwhm : float or None, default=3
        FWHM in pixels of the Gaussian kernel; ``None`` leaves the image unsmoothed.
    kernel_size : int, default=5
        Side of the kernel in pixels, odd.
    n_sigma : float, default=1.0
        Threshold above the background in units of the noise of an (unsmoothed) pixel.
    n_pixels : int, default=10
        Smallest number of connected pixels of a source.
    rms_band : int or None, default=None
        Band of the images that is the RMS map; ``None`` takes the noise from the image's
        background. Pixels whose RMS is not positive count as "no data".
    box_size : int, default=64
        Side of the boxes of the background mesh in pixels; cut to the image where that is smaller.
    filter_size : int, default=3
        Side of the median filter of the background mesh in boxes, odd.
    exclude_percentile : float, default=15
        A box with more than this percentage of its pixels missing or clipped does not count, unless
        no box would be left: then every box counts that has a pixel.
    connectivity : {8, 4}, default=8
        Whether pixels that touch at a corner belong to one source.
    deblend : bool or "galaxy", default="galaxy"
        Whether to split blended sources. ``"galaxy"`` splits them and keeps each galaxy whole, with
        its arms, knots and dust. It drops sources that the wings of a galaxy of 1200 pixels or more
        account for, by the cleaning of SExtractor [2]_: noise at the rim of a large elliptical.
    n_levels : int, default=32
        Number of thresholds of ``deblend=True``.
    contrast : float, default=0.001
        Smallest fraction of a blend's flux that a part must have: 0.001 splits sources that differ
        by up to 7.5 magnitudes, 0.005 by up to 5.8. Only for ``deblend=True``.
    fast : bool, default=True
        Whether to do steps 1 and 2 with own routines, and to show step 4 only the sources that can
        split. They are several times as fast and round differently: an intensity differs by about
        1e-7 of the background, so that a pixel right at the threshold can change sides (at least
        99 % of the pixels of sources agree, in practice all but one in a million). ``False`` takes
        these steps from photutils and `astropy.convolution`.
    level_seams : bool, default=True
        Whether to level steps of the sky before the background is measured: straight seams along
        rows or columns, or tilted by up to 8 degrees, with a gap of up to 32 pixels or without.
    correlated_noise : bool, default=True
        Whether to raise the threshold if neighbouring pixels share their noise, as after
        resampling. The factor is the scatter of the smoothed image over that of white noise of the
        same depth: 1 for a raw exposure, 1.3 to 1.5 for typical stacks, 2 for drizzled images.
    mask_objects : bool, default=True
        Whether to leave the boxes out of the background that a large galaxy or star fills, so that
        the background does not swallow it.
    bridge : int, default=32
        Sources may bridge gaps without data (NaN, or no positive RMS) of up to this many pixels, so
        that a star stays whole whose saturated core is masked, or that bad columns cross. If both
        ends of a gap are 3 sigma above the sky of the image, it is interpolated to find sources.
        0 bridges nothing.
    label_bridge : bool, default=False
        Whether the pixels of such a gap get the label of the source; if not, they stay 0.
    no_data : {"auto", "nan"}, default="auto"
        Which pixels have no data. ``"auto"``: NaN, and large regions of exactly equal pixels, such
        as borders and gaps of zeros that no map marks. ``"nan"``: NaN alone.

    See Also
    --------
    SEPSegmenter : The algorithm of SExtractor; the fast choice for mosaics.
    galaxysegment.preprocessing.BackgroundSubtractor : Step 1 as a transformer.

    Notes
    -----
    Several science bands make one detection image: the mean of the background-subtracted bands,
    weighted by the inverse square of the median RMS of each, over the bands that have data at a
    pixel. Steps 1 to 4 then work on that image; an RMS map is taken for its noise.

    A pixel without data (NaN) is interpolated while smoothing and never part of a source.

    ``predict(X, output="instances")`` gives each source its signal to noise as score: the sum of
    the unsmoothed, background-subtracted light of its pixels over the square root of the sum of
    their squared noise. The noise is the RMS map, or else the RMS of the background. A score is a
    number from 0 on, 10 for a source of 10 sigma, and no probability.

    References
    ----------
    .. [1] L. Bradley et al., "astropy/photutils", Zenodo, :doi:`10.5281/zenodo.596036`
    .. [2] E. Bertin and S. Arnouts, "SExtractor: Software for source extraction", A&AS 117, 393
       (1996), :doi:`10.1051/aas:1996164`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.segmenters import PhotutilsSegmenter
    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[:100, :100]
    >>> image = rng.normal(10, 1, (100, 100)) + 50 * np.exp(-((y - 40) ** 2 + (x - 60) ** 2) / 18)
    >>> labels = PhotutilsSegmenter(n_sigma=2).predict(image[np.newaxis])
    >>> labels.shape, labels.dtype, int(labels.max()), int(labels[0, 40, 60])
    ((1, 100, 100), dtype('int32'), 1, 1)
    """

    _requires_fit = False
    works_in_threads = True
    _parameter_constraints: dict = {
        "fwhm": [Interval(Real, 0, None, closed="neither"), None],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "n_sigma": [Interval(Real, 0, None, closed="left")],
        "n_pixels": [Interval(Integral, 1, None, closed="left")],
        "rms_band": [Integral, None],
        "box_size": [Interval(Integral, 1, None, closed="left")],
        "filter_size": [Interval(Integral, 1, None, closed="left")],
        "exclude_percentile": [Interval(Real, 0, 100, closed="both")],
        "connectivity": [Options(Integral, {4, 8})],
        "deblend": DEBLEND,
        "n_levels": [Interval(Integral, 1, None, closed="left")],
        "contrast": [Interval(Real, 0, 1, closed="both")],
        "fast": ["boolean"],
    }

    def __init__(
        self,
        *,
        fwhm: float | None = 3,
        kernel_size: int = 5,
        n_sigma: float = 1.0,
        n_pixels: int = 10,
        rms_band: int | None = None,
        box_size: int = 64,
        filter_size: int = 3,
        exclude_percentile: float = 15,
        connectivity: int = 8,
        deblend: bool | str = "galaxy",
        n_levels: int = 32,
        contrast: float = 0.001,
        fast: bool = True,
        level_seams: bool = True,
        correlated_noise: bool = True,
        mask_objects: bool = True,
        bridge: int = 32,
        label_bridge: bool = False,
        no_data: str = "auto",
    ) -> None:
        self.fwhm = fwhm
        self.kernel_size = kernel_size
        self.n_sigma = n_sigma
        self.n_pixels = n_pixels
        self.rms_band = rms_band
        self.box_size = box_size
        self.filter_size = filter_size
        self.exclude_percentile = exclude_percentile
        self.connectivity = connectivity
        self.deblend = deblend
        self.n_levels = n_levels
        self.contrast = contrast
        self.fast = fast
        self.level_seams = level_seams
        self.correlated_noise = correlated_noise
        self.mask_objects = mask_objects
        self.bridge = bridge
        self.label_bridge = label_bridge
        self.no_data = no_data

    def _validate_params(self):
        super()._validate_params()
        check_odd(self, ("kernel_size", "filter_size"))

    def _segment_image(self, image):
        detection, rms, no_data = self._split(image)
        detections = self._detect(detection, rms, no_data)
        if self.deblend == "galaxy":
            areas = np.bincount(detections.labels.ravel())[1:]
            if (areas >= LARGE_AREA).any():
                stays = self.keep_sources(self._measure(detection, detections))
                renumber = np.append(0, np.where(stays, np.cumsum(stays), 0)).astype(np.int32)
                detections = detections._replace(labels=renumber[detections.labels])
        return self._split_sources(detections) if self.deblend else detections.labels

    def find_candidates(self, image: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Detections of a window, crumbs too, and numbers about them; see `MosaicAware`."""
        detection, rms, no_data = self._split(image)
        detections = self._detect(detection, rms, no_data)
        measured, whole = self._measure(detection, detections), detections.labels.copy()
        parts = self._split_sources(detections)
        pixels = source_pixels(parts)
        parent = np.zeros(int(parts.max(initial=0)) + 1, dtype=np.int64)
        parent[parts.ravel()[pixels]] = whole.ravel()[pixels]
        return parts, measured[parent[1:] - 1]

    def keep_sources(self, measured: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Find the sources that are no crumbs; see `galaxysegment.base.MosaicAware`."""
        return surviving(measured, 1.0, zone=_CRUMB_ZONE, least_area=LARGE_AREA)

    def _score_maps(self, image):
        detection, rms, _ = self._split(image)
        height, width = detection.shape
        background, noise = self._meshes(detection)
        light = detection - background.window(0, height, 0, width)
        return ScoreMaps(light, noise.window(0, height, 0, width) if rms is None else rms)

    def _background_of(self, band, index):
        """Background map and median noise of one of several bands."""
        if not self.fast:
            measured = self._photutils_background(band, np.isnan(band))
            return measured.background, measured.background_rms_median
        background, noise = self._meshes(band, index)
        return background.window(0, band.shape[0], 0, band.shape[1]), np.median(noise.mesh)

    def _meshes(self, image, band=None):
        """Background and noise of a band or the detection image, or of the mosaic around it."""
        known = self._known_background(band)
        if known is None:
            box = self._box(image.shape)
            return self._make_background(self._measure_boxes(image, box), box, image.dtype)
        return tuple(mesh.at(*self._corner) for mesh in known)

    def statistics_needed(self) -> dict[str, Statistic]:
        """Ask for the background meshes; see `galaxysegment.base.MosaicAware`."""
        if not self.fast:
            raise ValueError(
                "PhotutilsSegmenter(fast=False) has photutils estimate the background of a whole "
                "image, which tiles "
                "do not have: use fast=True for a mosaic."
            )
        return super().statistics_needed()

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Pixels around a pixel that the kernel looks at."""
        return 0 if self.fwhm is None else self.kernel_size // 2

    @property
    def splits_blends(self) -> bool:  # type: ignore[override]
        """Whether sources depend on the whole blend they are in."""
        return bool(self.deblend)

    @property
    def compares_sources(self) -> bool:  # type: ignore[override]
        """Whether crumbs around large galaxies are dropped once all sources are known."""
        return self.deblend == "galaxy"

    def _box(self, shape):
        return tuple(min(self.box_size, side) for side in shape)

    def _measure_boxes(self, band, box, n_all=0):
        return box_statistics(band, box, n_all=n_all)

    def _make_background(self, measured, box, dtype):
        return meshes_of_boxes(
            measured,
            box,
            dtype,
            self.filter_size,
            self.exclude_percentile,
            objects=self._objects(measured, box),
        )

    def _objects(self, measured, box):
        """Boxes that a large object fills, or None."""
        if not self.mask_objects:
            return None
        used = used_boxes(measured, box, self.exclude_percentile)
        return boxes_of_objects(*measured[:2], used)

    def _detect(self, image, rms, no_data):
        """Sources before blends are split."""
        if no_data is not None and no_data.all():
            return _Detections(np.zeros(image.shape, dtype=np.int32), image, image, image, 1.0)
        if not self.fast:
            return self._detect_with_photutils(image, rms, no_data)
        background, noise = self._meshes(image)
        n_sigma = self.n_sigma * self._threshold_factor(image, rms)
        if compiling_pays(image.size):
            labels, smooth = self._find_in_strips(image, rms, background, noise, n_sigma)
        else:
            labels, smooth = self._find_in_blocks(image, rms, no_data, background, noise, n_sigma)
        return _Detections(labels, smooth, background, noise if rms is None else rms, n_sigma)

    def _measure(self, image, detections):
        """Numbers about each detection that tell crumbs; see `measure_detections`."""
        labels, width = detections.labels, image.shape[1]
        pixels = source_pixels(labels)
        light, noise = np.empty((2, pixels.size), dtype=image.dtype)
        for y0, y1 in row_blocks(image.shape):
            own = slice(*np.searchsorted(pixels, (y0 * width, y1 * width)))
            places = pixels[own] - y0 * width
            sky, depth = (
                rows.window(y0, y1, 0, width) if isinstance(rows, MeshMap) else rows[y0:y1]
                for rows in (detections.background, detections.noise)
            )
            light[own] = (image[y0:y1] - sky).ravel()[places]
            noise[own] = depth.ravel()[places]
        return measure_detections(
            labels,
            pixels,
            light,
            detections.smooth.ravel()[pixels],
            image.dtype.type(detections.n_sigma) * noise,
            options=(self.n_pixels, self.n_levels, 1.0),
            corner=self._corner,
        )

    def _split_sources(self, detections):
        """Label map of the detections, whose blends are split, in place if it can be."""
        labels, smooth = detections.labels, detections.smooth
        if self.fast or self.deblend == "galaxy":
            options = {
                "n_levels": self.n_levels,
                "contrast": self.contrast,
                "connectivity": self.connectivity,
            }
            return split_blends(
                self.deblend, labels, smooth, self.n_pixels, in_place=True, **options
            )
        return self._deblend_with_photutils(labels, smooth)

    def _profile(self):
        return np.ones(1) if self.fwhm is None else gaussian_profile(self.fwhm, self.kernel_size)

    def _find_in_strips(self, image, rms, background, noise, n_sigma):
        """Label map and smoothed image, which is filled where it is above the threshold.

        The same to the bit as `_find_in_blocks`, by compiled functions.
        """
        from ..detection._strip_kernels import detect

        dtype = image.dtype
        # By numpy, which asks for large pages of memory: numba's arrays take longer to touch.
        # In a thread, its zeros come page by page, so they are written here.
        labels, smooth = np.empty(image.shape, dtype=np.int32), np.empty(image.shape, dtype)
        labels.fill(0)
        detect(
            np.ascontiguousarray(image),
            np.zeros((0, 0), dtype) if rms is None else np.ascontiguousarray(rms, dtype),
            background.rows(*image.shape),
            noise.rows(*image.shape),
            self._profile().astype(dtype),
            dtype.type(n_sigma),
            self.n_pixels,
            int(self.connectivity == 8),
            labels,
            smooth,
        )
        return labels, smooth

    def _find_in_blocks(self, image, rms, no_data, background, noise, n_sigma):
        """Label map and smoothed image, by numpy, which costs a small image less time."""
        noise = noise if rms is None else rms
        smooth, above = self._smooth_and_compare(image, background, noise, n_sigma)
        if no_data is not None:
            above &= ~no_data
        return _large_components(above, self.n_pixels, self.connectivity), smooth

    def _smooth_and_compare(self, image, background, noise, n_sigma):
        """Smoothed image, and where it is above the threshold, block by block of rows."""
        profile, width = self._profile(), image.shape[1]
        n_sigma = image.dtype.type(n_sigma)
        smooth, above = np.empty_like(image), np.empty(image.shape, dtype=bool)

        def subtract(rows, y):
            return rows - background.window(y, y + len(rows), 0, width)

        for y0, y1 in row_blocks(image.shape):
            smooth[y0:y1] = block = convolve_block(image, y0, y1, profile, subtract)
            level = noise.window(y0, y1, 0, width) if isinstance(noise, MeshMap) else noise[y0:y1]
            np.greater(block, n_sigma * level, out=above[y0:y1])
        return smooth, above

    def _detect_with_photutils(self, image, rms, no_data):
        from photutils.segmentation import detect_sources

        background = self._photutils_background(image, no_data)
        smooth = self._photutils_smooth(image - background.background)
        n_sigma = self.n_sigma * self._threshold_factor(image, rms)
        noise = background.background_rms if rms is None else rms
        with warnings.catch_warnings():
            # No source: the base class says so.
            warnings.filterwarnings("ignore", message="No sources were found")
            sources = detect_sources(
                *(smooth, n_sigma * noise, self.n_pixels),
                connectivity=self.connectivity,
                mask=no_data,
            )
        if sources is None:
            labels = np.zeros(image.shape, dtype=np.int32)
        else:
            labels = sources.data.astype(np.int32, copy=False)
        return _Detections(labels, smooth, background.background, noise, n_sigma)

    def _deblend_with_photutils(self, labels, smooth):
        from photutils.segmentation import SegmentationImage, deblend_sources

        if not labels.any():
            return labels
        with warnings.catch_warnings():
            # Linear levels where a source has negative pixels: expected.
            warnings.filterwarnings("ignore", message="The deblending mode")
            sources = deblend_sources(
                *(smooth, SegmentationImage(labels), self.n_pixels),
                n_levels=self.n_levels,
                contrast=self.contrast,
                connectivity=self.connectivity,
                **without_bar(),
            )
        return sources.data.astype(np.int32, copy=False)

    def _photutils_background(self, image, no_data):
        from photutils.background import Background2D, MedianBackground

        box = self._box(image.shape)
        mask = no_data
        if self.mask_objects:
            filled = (
                image if no_data is None else np.where(no_data, image.dtype.type(np.nan), image)
            )
            objects = self._objects(self._measure_boxes(filled, box), box)
            mask = _pixels_of_boxes(objects, box, image.shape)
            mask = mask if no_data is None else mask | no_data
            if mask.all():
                mask = no_data

        def estimate(exclude_percentile):
            return Background2D(
                image,
                box,
                filter_size=self.filter_size,
                exclude_percentile=exclude_percentile,
                mask=mask,
                bkg_estimator=MedianBackground(),
            )

        with warnings.catch_warnings():
            # Boxes without data: they are filled from their neighbours.
            warnings.filterwarnings(
                "ignore", message="All-NaN slice|Mean of empty slice|Degrees of freedom"
            )
            try:
                return estimate(self.exclude_percentile)
            except ValueError as error:
                if not str(error).startswith("All boxes contain"):
                    raise
                return estimate(100)

    def _photutils_smooth(self, image):
        from astropy.convolution import convolve
        from photutils.segmentation import make_2dgaussian_kernel

        if self.fwhm is None:
            return image
        with warnings.catch_warnings():
            # Holes wider than the kernel stay NaN: they are masked when sources are sought.
            warnings.filterwarnings("ignore", message="nan_treatment='interpolate'")
            return convolve(image, make_2dgaussian_kernel(self.fwhm, self.kernel_size))


def _pixels_of_boxes(boxes, box, shape):
    """Mask of the pixels of some boxes of a mesh."""
    rows, columns = (np.arange(side) // size for side, size in zip(shape, box, strict=True))
    return boxes[np.ix_(rows, columns)]


def _large_components(mask, n_pixels, connectivity):
    """Label map of the components with enough pixels."""
    labels = label_components(mask, connectivity)
    pixels = np.flatnonzero(mask)
    owner = labels.ravel()[pixels]
    keep = np.bincount(owner, minlength=1) >= n_pixels
    keep[0] = False
    labels.ravel()[pixels] = np.where(keep, np.cumsum(keep), 0)[owner]
    return labels
