"""The algorithm of SExtractor, by the library sep."""

from numbers import Integral, Real
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._utils.compiling import compiling_pays
from .._utils.learn import Interval
from .._utils.packages import require
from .._utils.validation import check_odd
from ..base import BaseSegmenter, ScoreMaps
from ..detection._bands import DetectionImageMixin
from ..detection._cleaning import measure_detections, surviving
from ..detection._deblending import DEBLEND, split_blends
from ..detection._objects import boxes_of_objects
from ..detection._smoothing import convolve_block, gaussian_profile, row_blocks
from ..structures import relabel
from ..structures._labels import source_pixels, touching_groups
from ._sep_mesh import MosaicBackground, measure_boxes
from ._sep_strips import Strips, close_gaps, group_by_label, split_candidates

_LIMITS_LOCK = RLock()
_MOST_PARTS = 1 << 20  # of a blend: more is no blend


class SEPSegmenter(DetectionImageMixin, BaseSegmenter):
    """Connected pixels above the noise of a smoothed, background-subtracted image, by sep.

    The algorithm of SExtractor, which sep makes a library of: background and noise on a mesh of
    boxes, a Gaussian kernel, pixels above a multiple of the noise, sources of connected pixels,
    deblending by multiple thresholds, and cleaning of detections in the wings of bright neighbours.

    Before them, seams are levelled; boxes that a large object fills are left out of the mesh, and
    the threshold is raised if the noise is correlated. ``level_seams=False, mask_objects=False,
    correlated_noise=False, bridge=0, no_data="nan"`` is sep alone.

    It learns nothing: `predict` works without `fit`. It needs the package sep (``pip install
    sep``).

    Parameters
    ----------
    fwhm : float or None, default=3
        FWHM in pixels of the Gaussian kernel; ``None`` leaves the image unsmoothed.
    kernel_size : int, default=5
        Side of the kernel in pixels, odd.
    n_sigma : float, default=1.0
        Threshold above the background in units of the noise of an (unsmoothed) pixel, or of the
        smoothed image with ``matched_filter=True``.
    n_pixels : int, default=8
        Smallest number of connected pixels of a source.
    rms_band : int or None, default=None
        Band of the images that is the RMS map, the threshold of each pixel; ``None`` takes the
        noise from the image's background. Pixels whose RMS is not positive count as "no data".
    box_size : int, default=64
        Side of the boxes of the background mesh in pixels, at least 2; cut to the image where that
        is smaller, and stretched where a sliver of less than a tenth of a box would be left.
    filter_size : int, default=3
        Side of the median filter of the background mesh in boxes, odd.
    matched_filter : bool, default=False
        Whether to weight pixels with their noise while smoothing and to compare with the noise of
        the smoothed image: better where the noise varies from pixel to pixel. `n_sigma` then wants
        to be larger.
    deblend : bool or "galaxy", default=True
        Whether to split blended sources. ``"galaxy"`` splits them and keeps each galaxy whole, with
        its arms, knots and dust.
    n_levels : int, default=32
        Number of thresholds of ``deblend=True``.
    contrast : float, default=0.005
        Smallest fraction of a blend's flux that a part must have: 0.001 splits sources that differ
        by up to 7.5 magnitudes, 0.005 by up to 5.8. Only for ``deblend=True``.
    clean : bool, default=True
        Whether to drop detections that would not be there without the wings of a brighter
        neighbour.
    clean_param : float, default=1.0
        How far wings reach: the exponent of the assumed profile; smaller is farther.
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
    PhotutilsSegmenter : The same idea with the steps of photutils.

    Notes
    -----
    Several science bands make one detection image: the mean of the background-subtracted bands,
    weighted by the inverse square of the noise of each, over the bands that have data at a pixel.
    An RMS map is taken for the noise of that image.

    A pixel without data (NaN) counts as sky while smoothing and is never part of a source.

    ``predict(X, output="instances")`` gives each source its signal to noise as score: the sum of
    the unsmoothed, background-subtracted light of its pixels over the square root of the sum of
    their squared noise. The noise is the RMS map, or else the RMS of the background. A score is a
    number from 0 on, 10 for a source of 10 sigma, and no probability.

    sep's limits on pixels and on parts of a blend are global to the process. They are raised for an
    image that needs it and put back at once; threads take turns.

    References
    ----------
    .. [1] K. Barbary, "SEP: Source Extractor as a library", Journal of Open Source Software 1(6),
       58 (2016), :doi:`10.21105/joss.00058`
    .. [2] E. Bertin and S. Arnouts, "SExtractor: Software for source extraction", A&AS 117,
       393 (1996), :doi:`10.1051/aas:1996164`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.segmenters import SEPSegmenter
    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[:100, :100]
    >>> image = rng.normal(10, 1, (100, 100)) + 50 * np.exp(-((y - 40) ** 2 + (x - 60) ** 2) / 18)
    >>> labels = SEPSegmenter(n_sigma=2).predict(image[np.newaxis])
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
        "box_size": [Interval(Integral, 2, None, closed="left")],
        "filter_size": [Interval(Integral, 1, None, closed="left")],
        "matched_filter": ["boolean"],
        "deblend": DEBLEND,
        "n_levels": [Interval(Integral, 1, None, closed="left")],
        "contrast": [Interval(Real, 0, 1, closed="both")],
        "clean": ["boolean"],
        "clean_param": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        *,
        fwhm: float | None = 3,
        kernel_size: int = 5,
        n_sigma: float = 1.0,
        n_pixels: int = 8,
        rms_band: int | None = None,
        box_size: int = 64,
        filter_size: int = 3,
        matched_filter: bool = False,
        deblend: bool | str = True,
        n_levels: int = 32,
        contrast: float = 0.005,
        clean: bool = True,
        clean_param: float = 1.0,
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
        self.matched_filter = matched_filter
        self.deblend = deblend
        self.n_levels = n_levels
        self.contrast = contrast
        self.clean = clean
        self.clean_param = clean_param
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
        if self.deblend == "galaxy":
            labels, pixels, (*_, smooth), _ = self._candidates(image)
            return self._split_galaxies(labels, pixels, smooth)
        split = self._split(image)
        strips = self._strips(*split)
        return self._detect(*split)[0] if strips is None else self._detect_in_strips(strips)[0]

    def _candidates(self, image):
        """Labels and what is known of the pixels of sources.

        Returns
        -------
        labels : ndarray of int32, shape (height, width)
        pixels : ndarray of int64, shape (n,)
            Positions of the pixels of sources, in raster order.
        values : tuple or ndarray of shape (3, n)
            Light, noise and smooth image there.
        detections : tuple or None
            The pixels by detection, as of `group_pixels`, if that is known.
        """
        split = self._split(image)
        strips = self._strips(*split)
        if strips is not None:
            return self._detect_in_strips(strips)
        labels, subtracted, noise = self._detect(*split)
        pixels = source_pixels(labels)
        light, depth = subtracted.ravel()[pixels], noise.ravel()[pixels]
        return labels, pixels, (light, depth, self._convolved(subtracted, pixels)), None

    def _split_galaxies(self, labels, pixels, smooth):
        """Split the detections that sep left whole, given the smooth image at their pixels."""
        image = np.zeros(labels.shape, dtype=smooth.dtype)
        image.ravel()[pixels] = smooth
        return split_blends("galaxy", labels, image, self.n_pixels)

    def find_candidates(self, image: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Detections of a window before cleaning, and numbers about them; see `MosaicAware`."""
        labels, pixels, (light, depth, smooth), detections = self._candidates(image)
        measured = measure_detections(
            labels,
            pixels,
            light,
            smooth,
            light.dtype.type(self.n_sigma) * depth,
            options=(self.n_pixels, self.n_levels, self.contrast),
            corner=self._corner,
            detections=detections,
        )
        if self.deblend == "galaxy":
            # whole images are cleaned before they are split: parts go with their detection
            parts = self._split_galaxies(labels, pixels, smooth)
            parent = np.zeros(int(parts.max(initial=0)) + 1, dtype=np.int64)
            parent[parts.ravel()[pixels]] = labels.ravel()[pixels]
            labels, measured = parts, measured[parent[1:] - 1]
        return labels, measured

    def keep_sources(self, measured: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Clean the detections of a mosaic; see `galaxysegment.base.MosaicAware`."""
        return surviving(measured, self.clean_param)

    def _strips(self, detection, rms, no_data):
        """`Strips` of a large window of a mosaic without gaps; None for other images."""
        if self._statistics is None or self.matched_filter or no_data is not None:
            return None
        if detection.dtype != np.float32 or not compiling_pays(detection.size):
            return None
        background = self._background(None, detection, None)
        return Strips.of(detection, rms, background, self._threshold_factor(detection, rms))

    def _detect_in_strips(self, strips):
        """As of `_candidates`."""
        sep = _import_sep()
        labels, pixels, values = strips.detect(self._profile(), self.n_sigma, self.n_pixels)
        detections = group_by_label(labels, pixels)

        def split(own):
            return self._split_blend(sep, own, labels.shape, strips.cutout)

        if self._splits:
            limits = self.n_pixels, self.contrast
            split_candidates(labels, pixels, values[3], detections, split, *limits)
        return labels, pixels, values[:3], detections

    def _detect(self, detection, rms, no_data):
        """Label map, image without background, and noise map, raised where noise is correlated."""
        sep = _import_sep()
        if detection.size == 1 or (
            no_data is not None and no_data.all()
        ):  # a lone pixel has no noise
            nothing = np.zeros(detection.shape, dtype=np.int32)
            return nothing, np.zeros_like(detection), np.ones_like(detection)
        subtracted, noise = self._subtract(sep, detection, rms, no_data)
        noise *= noise.dtype.type(self._threshold_factor(detection, rms))
        if self._statistics is None:
            clean = {"clean": self.clean, "clean_param": self.clean_param}
            labels = self._extract(sep, subtracted, noise, no_data, **clean)
        else:
            labels = self._split_alone(sep, subtracted, noise, no_data)
        return labels, subtracted, noise

    @property
    def _splits(self):
        """Whether sep splits blends."""
        return bool(self.deblend) and self.deblend != "galaxy"

    def _subtract(self, sep, detection, rms, no_data):
        """Image without background, and noise map."""
        subtracted = _filled(detection, no_data)
        background = self._background(sep, subtracted, no_data)
        background.subfrom(subtracted)
        if rms is None:
            return subtracted, _noise_map(background, detection.dtype)
        return subtracted, _filled(rms, np.isnan(rms), 1)

    def _score_maps(self, image):
        return ScoreMaps(*self._subtract(_import_sep(), *self._split(image)))

    def _extract(self, sep, image, noise, no_data, **options):
        """Label map of an image without background; with `options` of `sep.extract`."""
        labels = _extract(
            sep,
            image,
            self.n_sigma,
            err=noise,
            mask=no_data,
            minarea=self.n_pixels,
            filter_kernel=self._kernel(),
            filter_type="matched" if self.matched_filter else "conv",
            deblend_nthresh=self.n_levels,
            deblend_cont=self.contrast if self._splits else 1.0,
            **options,
        )
        if no_data is None:
            return labels
        labels[no_data] = 0
        return relabel(labels)

    def _split_alone(self, sep, image, noise, no_data):
        """Label map of a window of a mosaic, without cleaning.

        sep gives each faint pixel of a blend to one of its parts by a random number, drawn in the
        order of the blends in the image. Each blend is split in a cutout of its own, so that its
        pixels depend on the window.
        """
        labels = self._extract(sep, image, noise, no_data, clean=False)
        if not self._splits:
            return labels
        pixels = source_pixels(labels)
        if not pixels.size:
            return labels

        def cutout(window):
            return [
                None if whole is None else np.ascontiguousarray(whole[window])
                for whole in (image, noise, no_data)
            ]

        flat = labels.ravel()
        values = flat[pixels]
        n_labels = int(values.max())
        blends = touching_groups(labels, pixels, n_labels)
        is_blend = np.bincount(blends[1:], minlength=blends.max() + 1) > 1
        blend = blends[values]
        order = np.flatnonzero(is_blend[blend])
        order = order[np.argsort(blend[order], kind="stable")]
        for own in np.split(pixels[order], np.flatnonzero(np.diff(blend[order])) + 1):
            if not own.size:
                continue
            parts = self._split_blend(sep, own, image.shape, cutout)
            if parts.all():
                flat[own] = parts + n_labels
                n_labels += int(parts.max())
        close_gaps(flat, pixels, n_labels)
        return labels

    def _split_blend(self, sep, pixels, shape, cutout):
        """Parts that the pixels of a blend belong to; 0 if sep sees none there.

        ``cutout(window)`` returns image, noise and missing pixels of rows and columns.
        """
        y, x = np.divmod(pixels, shape[1])
        window = _around(y, x, 2 * self._radius() + 1, shape)
        image, noise, *no_data = cutout(window)
        no_data = no_data[0] if no_data else None
        options = {"clean": False, "pixel_stack": image.size + 2}
        labels = self._extract(sep, image, noise, no_data, **options)
        return labels[y - window[0].start, x - window[1].start]

    def _convolved(self, image, pixels):
        """Pixels of an image without background, smoothed as by sep: zeros lie beyond its edges.

        `pixels` are positions in raster order. The smooth image is never in memory as a whole.
        """
        if self.fwhm is None:
            return image.ravel()[pixels]
        width = image.shape[1]
        profile = self._profile()
        blocks = list(row_blocks(image.shape))
        own = np.split(pixels, np.searchsorted(pixels, [y1 * width for _, y1 in blocks[:-1]]))
        return np.concatenate(
            [
                convolve_block(image, y0, y1, profile).ravel()[places - y0 * width]
                for (y0, y1), places in zip(blocks, own, strict=True)
                if places.size
            ]
            or [np.zeros(0, dtype=image.dtype)]
        )

    def _background_of(self, band, index):
        """Background map and noise of one of several bands."""
        no_data = np.isnan(band)
        background = self._background(_import_sep(), _filled(band, no_data), no_data, index)
        return background.back(), background.globalrms

    def _background(self, sep, image, no_data, band=None):
        """Background of a band or the detection image, or of the mosaic around it."""
        known = self._known_background(band)
        if known is not None:
            return known.at(*self._corner, image.shape)
        height, width = box = self._box(image.shape)
        if self.mask_objects:
            measured = measure_boxes(sep, image, no_data, box)
            return self._make_background(measured, box, image.dtype).at(0, 0, image.shape)
        return sep.Background(
            image, mask=no_data, bw=width, bh=height, fw=self.filter_size, fh=self.filter_size
        )

    def _box(self, shape):
        return tuple(_box_side(side, self.box_size) for side in shape)

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Pixels around a pixel that decide about it: under the kernel, and around a blend."""
        # sep does not apply the mask to the first `radius` rows that it is given; in the cutout of
        # a blend, they must lie outside the kernel.
        radius = self._radius()
        return 2 * radius + 1 if self.deblend else radius

    def _radius(self):
        return 0 if self.fwhm is None else self.kernel_size // 2

    @property
    def splits_blends(self) -> bool:  # type: ignore[override]
        """Whether sources depend on the whole blend they are in."""
        return bool(self.deblend) or self.clean

    @property
    def compares_sources(self) -> bool:  # type: ignore[override]
        """Whether detections are cleaned once all are known."""
        return self.clean

    def _measure_boxes(self, band, box, n_all=0):
        if compiling_pays(max(n_all, band.size)):  # compiled functions see NaN themselves
            return measure_boxes(_import_sep(), np.ascontiguousarray(band), None, box, n_all)
        no_data = np.isnan(band)
        return measure_boxes(_import_sep(), _filled(band, no_data), no_data, box, n_all)

    def _make_background(self, measured, box, dtype):
        level, noise, trusted = measured
        if self.mask_objects:
            free = (trusted > 0) & ~boxes_of_objects(level, noise, trusted > 0)
            trusted = free if free.any() else trusted
        return MosaicBackground((level, noise, trusted), box, self.filter_size)

    def _profile(self):
        return np.ones(1) if self.fwhm is None else gaussian_profile(self.fwhm, self.kernel_size)

    def _kernel(self):
        return None if self.fwhm is None else np.outer(self._profile(), self._profile())


def _box_side(side, box_size):
    """Side of the boxes that cut `side` pixels; stretched where they would leave a sliver.

    sep misjudges a box of few pixels: it takes twice the value of a single one for the background.
    """
    n_boxes, rest = divmod(side, box_size)
    if n_boxes == 0:
        return side
    return box_size if rest == 0 or 10 * rest >= box_size else -(-side // n_boxes)


def _import_sep():
    return require("SEPSegmenter", "sep")


def _filled(image, missing, value=0):
    """Return a C-ordered copy with `value` where `missing`, which may be None."""
    filled = np.array(image, order="C")
    if missing is not None:
        filled[missing] = value
    return filled


def _noise_map(background, dtype):
    """Noise of each pixel, at least the rounding error of the background."""
    noise = background.rms(dtype=dtype)
    return np.maximum(
        noise, dtype.type(4 * np.finfo(np.float32).eps * abs(background.globalback)), out=noise
    )


def _around(y, x, n_pixels, shape):
    """Rows and columns of pixels with a frame of `n_pixels`, cut at an image of `shape`."""
    return tuple(
        slice(max(0, int(place.min()) - n_pixels), min(side, int(place.max()) + 1 + n_pixels))
        for place, side in zip((y, x), shape, strict=True)
    )


def _extract(sep, *args, pixel_stack=None, **options):
    """Segmentation map of `sep.extract`, with sep's limits raised if the image asks for it.

    A small `pixel_stack` makes it fast for a small image: sep fills the whole stack first.
    """
    with _LIMITS_LOCK:
        before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
        try:
            if pixel_stack is not None:
                sep.set_extract_pixstack(pixel_stack)
            while True:
                try:
                    return sep.extract(*args, segmentation_map=True, **options)[1]
                except Exception as error:  # sep raises no narrower class
                    if not _raise_limit(sep, str(error)):
                        raise
        finally:
            sep.set_extract_pixstack(before[0])
            sep.set_sub_object_limit(before[1])


def _raise_limit(sep, message):
    """Raise the limit that sep says was reached; return whether there was one."""
    if "pixel buffer full" in message:
        # Four times, not at once to the size of the image: a stack of 20 million pixels is 2.6
        # times as slow.
        sep.set_extract_pixstack(4 * sep.get_extract_pixstack())
    elif "deblending overflow" in message and sep.get_sub_object_limit() < _MOST_PARTS:
        sep.set_sub_object_limit(4 * sep.get_sub_object_limit())
    else:
        return False
    return True
