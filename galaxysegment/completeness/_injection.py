"""How faint a segmenter finds galaxies in your own image: inject some, and see which come back."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy import ndimage
from sklearn.utils import check_random_state
from tqdm import tqdm

from .._utils.shared import ignored
from .._utils.validation import as_float_image, check_same_shape
from ..datasets._population import SOURCE, draw_galaxies
from ..datasets._profiles import require_galsim
from ..datasets._scene import Camera
from ..exceptions import NoSourcesWarning
from ..io import Field
from ..metrics import FractionCurve, fraction_curve
from ..mosaic import segment_mosaic
from ._regression import LocalNoise, assist

_LEAST_SCATTER = 0.02  # of a hit, so that no bin is left out
_NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


def injection_completeness(
    segmenter: Any,
    image: ArrayLike | Field,
    *,
    zero_point: float,
    pixel_scale: float,
    psf_fwhm: float,
    bins: Sequence[float],
    n_galaxies: int = 1000,
    rms: ArrayLike | None = None,
    radius: float = 3.0,
    spacing: int = 128,
    clearance: float = 0.0,
    gain: float | None = None,
    adaptive: bool = False,
    method: str = "count",
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> FractionCurve:
    """Measure completeness against magnitude by injecting galaxies into an image.

    Galaxies are added a few at a time, too far apart to blend with each other, at places where the
    segmenter finds nothing without them. A galaxy is recovered if a source of the new segmentation
    has its centre of light within `radius`.

    Parameters
    ----------
    segmenter : segmenter or Pipeline
        Fitted, if it needs to be.
    image : array of shape (height, width), or Field with one band
        Your image, sky included.
    zero_point : float
        Magnitude of a source with a flux of 1 in the unit of the image.
    pixel_scale, psf_fwhm : float
        Arcseconds per pixel, and full width at half maximum of the PSF in arcseconds. The PSF is a
        Moffat function with an exponent of 3.
    bins : sequence of float
        Limits of the magnitude bins, increasing, for example ``np.arange(22, 27.1, 0.25)``.
    n_galaxies : int, default=1000
        Galaxies in all. A bin of 100 galaxies tells its fraction to .05, one of 1000 to .016.
    rms : array of shape (height, width), optional
        RMS map for the segmenter; a `Field` brings its own.
    radius : float, default=3.0
        Largest distance in pixels between the injected centre and the centre of light of a source.
    spacing : int, default=128
        Distance in pixels of the injected galaxies from each other, at least 16. Many galaxies at
        once raise the background and the noise that a segmenter measures: with 48 pixels, limits
        came out 0.1 mag too bright.
    clearance : float, default=0
        Least distance in pixels from the masks of sources that the segmenter finds without
        injection. 0 injects right beside them too, and counts blends as misses.
    gain : float, optional
        Electrons per unit of the image. If given, the injected light has photon noise.
    adaptive : bool, default=False
        Inject a fifth of the galaxies evenly and the others where the curve is steep, because bins
        that find all or nothing need few galaxies. False injects the same number in each bin.
    method : {"count", "regression"}, default="count"
        "count" gives the recovered fraction of the injected galaxies. "regression" also uses how
        bright, large and concentrated the galaxies are, and the noise at their places: see the
        notes. Errors are about half as large. Attributes ``n`` and ``n_hit`` are counts anyway.
    random_state : int, RandomState or None, default=None
        Draws places, sizes and shapes.
    n_jobs : int, default=1
        Processes; the curve does not depend on their number.
    progress : bool, default=False
        Show a bar on the standard error stream.

    Returns
    -------
    `galaxysegment.metrics.FractionCurve`
        Completeness in each bin; ``curve.limit(0.5)`` is the 50 % magnitude, ``curve.plot()`` draws
        the curve.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the image has no room for a galaxy.
    ImportError
        Without GalSim, the extra ``simulate``, which draws the galaxies.

    Notes
    -----
    Sizes and shapes follow those of `galaxysegment.datasets.make_field`: half-light radii of
    0.38″ at magnitude 24, larger for brighter galaxies, with a scatter of 0.16 dex; 12 % are pure
    bulges. Within a bin, the counts rise by 0.32 dex per magnitude. Places on sources that the
    segmenter finds without injection are left out, so that the curve holds for galaxies outside the
    masks of others: multiply it by the fraction of sky that no mask covers to get the fraction of
    all galaxies.

    ``method="regression"`` fits the probability of recovery by logistic regression on magnitude,
    size, bulge fraction, axis ratio, and the smoothed image at the place before the injection. The
    fraction of a bin is the mean probability of 20,000 galaxies at random places, plus the mean of
    what the injected galaxies differ from their probabilities: the difference estimator [1]_, which
    is right even if the regression is not.

    References
    ----------
    .. [1] C.-E. Särndal, B. Swensson and J. Wretman, "Model Assisted Survey Sampling", Springer
       (1992), :doi:`10.1007/978-1-4612-4378-6`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment import PhotutilsSegmenter
    >>> from galaxysegment.completeness import injection_completeness
    >>> sky = np.random.default_rng(0).normal(100, 5, (256, 256))
    >>> camera = {"zero_point": 33, "pixel_scale": 0.2, "psf_fwhm": 0.7}
    >>> curve = injection_completeness(
    ...     PhotutilsSegmenter(), sky, **camera, bins=[22, 25, 30], n_galaxies=40, random_state=0
    ... )
    >>> curve.n.tolist(), bool(curve.fraction[0] > 0.9 > curve.fraction[1])
    ([20, 20], True)
    """
    require_galsim("injection_completeness")
    field = image if isinstance(image, Field) else Field(image, rms=rms)
    pixels, noise = _pixels(field)
    edges = _check(pixels, bins, n_galaxies, radius, spacing, gain)
    _check_method(method, adaptive, clearance, len(edges) - 1)
    camera = _camera(pixels, noise, zero_point, pixel_scale, psf_fwhm)
    rng = check_random_state(random_state)
    work = _Injection(segmenter, pixels, noise, camera, radius, gain, spacing, n_jobs, progress)
    work.keep_clear(clearance)
    sources, hits = work.inject(rng, edges, _first_counts(n_galaxies, len(edges) - 1, adaptive))
    if adaptive:
        counts = _steep_counts(sources["mag"], hits, edges, n_galaxies - len(sources))
        more, more_hits = work.inject(rng, edges, counts)
        sources, hits = np.concatenate([sources, more]), np.concatenate([hits, more_hits])
    curve = fraction_curve(sources["mag"], hits, edges)
    if method == "count":
        return curve
    return assist(curve, sources, hits, LocalNoise(pixels, work.is_open, camera), rng)


def _check_method(method, adaptive, clearance, n_bins):
    if method not in ("count", "regression"):
        raise ValueError(f"method must be 'count' or 'regression'. Got {method!r} instead.")
    if adaptive and n_bins < 3:
        raise ValueError(
            f"adaptive=True needs three or more bins to see where the curve is steep. Got "
            f"{n_bins}: give more bins, or adaptive=False."
        )
    if not isinstance(clearance, Real) or not 0 <= clearance < np.inf:
        raise ValueError(
            f"clearance must be a number of pixels, at least 0. Got {clearance!r} instead."
        )


def _first_counts(n_galaxies, n_bins, adaptive):
    n_first = max(n_galaxies // 5, n_bins) if adaptive else n_galaxies
    return np.diff(np.linspace(0, n_first, n_bins + 1).round().astype(int))


def _steep_counts(magnitudes, hits, edges, n_galaxies):
    """Divide galaxies among bins by the scatter of a hit, which is largest at a fraction of .5."""
    fraction = fraction_curve(magnitudes, hits, edges).smoothed().fraction
    weight = np.cumsum(np.sqrt(fraction * (1 - fraction)) + _LEAST_SCATTER)
    return np.diff((n_galaxies * weight / weight[-1]).round().astype(int), prepend=0)


class _Injection:
    """Injects galaxies into one image, as `injection_completeness` is asked to."""

    def __init__(self, segmenter, pixels, noise, camera, radius, gain, spacing, n_jobs, progress):
        self.segmenter, self.pixels, self.noise, self.camera = segmenter, pixels, noise, camera
        self.radius, self.gain, self.spacing = radius, gain, spacing
        self.n_jobs, self.progress = n_jobs, progress
        before = _segment(segmenter, pixels, noise)
        self.is_open = np.isfinite(pixels) & (before == 0)

    def keep_clear(self, distance):
        """Close the places within a distance of sources."""
        if distance > 0:
            is_source = np.isfinite(self.pixels) & ~self.is_open
            self.is_open &= ndimage.distance_transform_edt(~is_source) > distance

    def inject(self, rng, edges, counts):
        """Inject `counts` galaxies in each bin; return them and which were recovered."""
        batches = _place(rng, _draw(rng, edges, counts), self.is_open, self.spacing)
        seeds = rng.randint(2**31 - 1, size=len(batches))
        jobs = zip(batches, seeds.tolist(), strict=True)
        shared = self.segmenter, self.pixels, self.noise, self.camera
        hits = Parallel(n_jobs=self.n_jobs)(
            delayed(_recover)(*shared, batch, self.radius, self.gain, seed)
            for batch, seed in tqdm(
                jobs, total=len(batches), disable=not self.progress, desc="inject"
            )
        )
        if not batches:
            return np.zeros(0, dtype=SOURCE), np.zeros(0, dtype=bool)
        return np.concatenate(batches), np.concatenate(hits)


def _pixels(field):
    image = as_float_image(field.image, "image")
    if image.ndim == 3 and len(image) > 1:
        raise ValueError(
            f"image must have one band. Got {len(image)}: pass the band that you detect in."
        )
    image = image.reshape(image.shape[-2:])
    if not np.isfinite(image).any():
        raise ValueError("image has no pixel with data: nothing can be injected.")
    noise = None
    if field.has_rms:
        noise = np.asarray(field.rms).reshape(image.shape)
        check_same_shape(noise.shape, image.shape, "rms", "image")
    return image, noise


def _check(pixels, bins, n_galaxies, radius, spacing, gain):
    edges = np.asarray(bins, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"bins must be two or more increasing magnitudes. Got {bins!r} instead.")
    if not isinstance(n_galaxies, Integral) or n_galaxies < len(edges) - 1:
        raise ValueError(
            f"n_galaxies must be at least the number of bins, {len(edges) - 1}. Got {n_galaxies!r} "
            "instead."
        )
    if not isinstance(radius, Real) or not radius > 0:
        raise ValueError(f"radius must be a positive number of pixels. Got {radius!r} instead.")
    if not isinstance(spacing, Integral) or not 16 <= spacing <= min(pixels.shape):
        raise ValueError(
            f"spacing must be between 16 pixels and the side of the image, {min(pixels.shape)}. "
            f"Got {spacing!r} instead."
        )
    if gain is not None and not gain > 0:
        raise ValueError(f"gain must be a positive number or None. Got {gain!r} instead.")
    return edges


def _camera(pixels, noise, zero_point, pixel_scale, psf_fwhm):
    """Return a camera whose electrons are units of the image, and whose noise is the image's."""
    if noise is None:
        finite = pixels[np.isfinite(pixels)]
        rms = _NORMAL * np.median(np.abs(finite - np.median(finite)))
    else:
        rms = np.median(noise[np.isfinite(noise) & (noise > 0)])
    if not rms > 0:
        raise ValueError("image has no noise, so that its depth is unknown: pass rms.")
    camera = Camera(pixel_scale, psf_fwhm, "r", (float(rms) ** 2,), (0.0,), 0.0)
    depth = zero_point - float(camera.zero_point[0])
    return Camera(pixel_scale, psf_fwhm, "r", (float(rms) ** 2,), (depth,), 0.0)


def _draw(rng, edges, counts):
    """Draw galaxies by their number counts within each bin, in random order."""
    generator = np.random.default_rng(rng.randint(2**31 - 1))
    bins = zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
    sources = np.concatenate([draw_galaxies(generator, n, low, high) for low, high, n in bins])
    return sources[rng.permutation(len(sources))]


def _place(rng, sources, is_open, spacing):
    """Put galaxies on grids that are shifted at random, one grid a batch."""
    height, width = is_open.shape
    batches, first, n_misses = [], 0, 0
    while first < len(sources):
        rows = np.arange(rng.randint(spacing), height, spacing)
        columns = np.arange(rng.randint(spacing), width, spacing)
        y, x = (side.ravel() for side in np.meshgrid(rows, columns, indexing="ij"))
        free = is_open[y, x]
        y, x = y[free], x[free]
        n_misses = 0 if len(y) else n_misses + 1
        if n_misses > 100:
            raise ValueError(
                "image has no place without a source or missing pixels for an injected galaxy: "
                "pass a larger image."
            )
        order = rng.permutation(len(y))[: len(sources) - first]
        batch = sources[first : first + len(order)].copy()
        batch["y"] = y[order] + rng.uniform(-0.5, 0.5, len(order))
        batch["x"] = x[order] + rng.uniform(-0.5, 0.5, len(order))
        if len(batch):
            batches.append(batch)
        first += len(batch)
    return batches


def _recover(segmenter, pixels, noise, camera, batch, radius, gain, seed):
    """Segment the image with a batch of galaxies; return which of them are found."""
    rng = np.random.default_rng(seed)
    light = np.zeros(pixels.shape, dtype=np.float64)
    for y0, x0, flux in camera.draw(batch):
        _add(light, flux[0], y0, x0)
    if gain is not None:
        light = rng.poisson(np.maximum(light, 0) * gain) / gain
    image = (pixels + light).astype(pixels.dtype)
    return _is_recovered(_segment(segmenter, image, noise), image, batch, radius)


def _segment(segmenter, image, noise):
    with ignored("No source", NoSourcesWarning):  # a blank sky may have none
        return segment_mosaic(segmenter, image, rms=noise, progress=False)


def _add(light, flux, y0, x0):
    """Add a stamp as far as it lies in the image."""
    y1, x1 = y0 + flux.shape[0], x0 + flux.shape[1]
    rows = slice(max(y0, 0), min(y1, light.shape[0]))
    columns = slice(max(x0, 0), min(x1, light.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        light[rows, columns] += flux[
            rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0
        ]


def _is_recovered(labels, image, batch, radius):
    from ..catalog import source_catalog
    from ..metrics import match_positions

    hits = np.zeros(len(batch), dtype=bool)
    if labels.any():
        catalog = source_catalog(labels, image, background="mesh")
        centres = np.column_stack([catalog["y"], catalog["x"]])
        centres = centres[np.isfinite(centres).all(axis=1)]
        places = np.column_stack([batch["y"], batch["x"]])
        hits[match_positions(places, centres, radius)[0]] = True
    return hits
