"""How images reach a net: the sky near 0, its noise near 1, bright pixels compressed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._utils.streams import ArrayStream, as_stream, blocks, whole
from .._utils.validation import split_rms
from ..detection._bands import bands_with_noise
from ..detection._seams import LevelledMeshes, Seams, find_seams, levelled_meshes, steps_of
from ..detection._statistics import MedianRatio, sampled_median

__all__ = ["ScaledStream", "Scaler", "learn_scale", "noise_scaled", "scaled", "stacked"]

_SIGMA_PER_MAD = 1.4826
_BLOCK = 1 << 22  # pixels of a block of rows that is measured at once
_SAMPLED_ROWS = 64  # of an image on disk
_SAMPLED_IMAGES = 10_000
_MESH = {"box_size": 64, "exclude_percentile": 50}  # SExtractor's default mesh
# An RMS map that agrees with the scatter from pixel to pixel, within the factor `_AGREES`, is
# multiplied by no more than `_MOST_RESCALE`, or that times the scatter where this is larger.
_AGREES, _MOST_RESCALE = 1.6, 1.4
_MEDIAN_PER_DIFFERENCE = 0.6745 * 2**0.5  # median of |difference of two pixels| / their noise


@dataclass(frozen=True)
class Scaler:
    """Makes a net's input of an image.

    Parameters
    ----------
    method : {"asinh", "noise"}
        ``"asinh"`` compresses ``(x - centre) / scale``, ``"noise"`` the signal-to-noise ratio.
    centre, scale : ndarray of float, shape (n_bands,), or None
        What ``"asinh"`` learnt of the training images.
    rms_band : int or None, default=None
        Index of the band that ``"noise"`` divides by, and drops.
    statistics : mapping, optional
        Of the mosaic that the images are windows of, as `statistics_needed` asks for them.
    corner : tuple of int, default=(0, 0)
        Row and column of the window's first pixel in the mosaic.
    """

    method: str
    centre: np.ndarray | None = None
    scale: np.ndarray | None = None
    rms_band: int | None = None
    statistics: Mapping[str, Any] | None = None
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def learn(cls, method, images, seed, rms_band=None):
        """Return the scaler of training images; ``"auto"`` means ``"asinh"``."""
        if method == "noise":
            return cls("noise", rms_band=rms_band)
        return cls("asinh", *learn_scale(images, seed))

    def scale_image(self, image):
        """Return the net's input of an image, both (n_bands, height, width); NaN stays."""
        if self.method == "noise":
            return noise_scaled(image, self.rms_band, self._known_noise())
        return scaled(image, self.centre, self.scale)

    def stream(self, image):
        """Return the net's input of an image as a `ScaledStream`.

        Parameters
        ----------
        image : ndarray of shape (n_bands, height, width), or stream
        """
        image, scaler = as_stream(image), self
        while needed := scaler.statistics_needed():
            measured = {name: _measure(statistic, image) for name, statistic in needed.items()}
            scaler = replace(scaler, statistics={**(scaler.statistics or {}), **measured})
        return ScaledStream(image, scaler)

    def statistics_needed(self):
        """Name what a mosaic must tell: background and noise, and what rescales an RMS map."""
        if self.method != "noise":
            return {}
        if self.statistics is None:
            return {"seams": Seams(self._measured_bands)}
        if "meshes" not in self.statistics:
            return {
                "meshes": LevelledMeshes(self._measured_bands, self.statistics["seams"], **_MESH)
            }
        if self.rms_band is not None and "rescale" not in self.statistics:
            return {"rescale": MedianRatio(self._noise_ratios)}
        if "scatter" not in self.statistics and _may_be_crowded(self.statistics.get("rescale")):
            return {"scatter": MedianRatio(self._scatter_ratios)}
        return {}

    def _measured_bands(self, image):
        return bands_with_noise(image, self.rms_band)

    def _noise_ratios(self, rows, y0):
        """Noise of the image over that of the RMS map, of each science band of a block of rows."""
        height, width = rows.shape[1:]
        rms = rows[self.rms_band]
        no_data = np.isnan(np.stack(self._measured_bands(rows)))
        noise = [mesh.window(y0, y0 + height, 0, width) for _, mesh in self.statistics["meshes"]]
        missing = np.full(no_data.shape, np.nan, dtype=rms.dtype)
        return np.divide(noise, rms, out=missing, where=~no_data)

    def _scatter_ratios(self, rows, y0):
        """Scatter from pixel to pixel over the RMS map, of each science band of a block of rows."""
        bands = self._measured_bands(rows)
        return np.stack([_pixel_scatter(band, rows[self.rms_band]) for band in bands])

    def _known_noise(self):
        """Meshes of background and noise, seams and rescaling of each band, or None."""
        if self.statistics is None:
            return None
        meshes = self.statistics["meshes"]
        factors = self.statistics.get("rescale", [None] * len(meshes))
        if "scatter" in self.statistics:
            factors = map(_capped, factors, self.statistics["scatter"])
        placed = [[mesh.at(*self.corner) for mesh in pair] for pair in meshes]
        parts = zip(placed, self.statistics["seams"], factors, strict=True)
        return [(*pair, seams, self.corner, factor) for pair, seams, factor in parts]

    def n_bands_of(self, n_bands):
        """Return how many bands the net's input has for images of `n_bands` bands."""
        return n_bands - (self.method == "noise" and self.rms_band is not None)


class ScaledStream:
    """The net's input of an image: windows of the image, read and scaled when asked for.

    Parameters
    ----------
    image : stream of shape (n_bands, height, width)
    scaler : Scaler
        With the statistics of this image.
    """

    def __init__(self, image, scaler):
        self.image, self.scaler = image, scaler
        self.shape = (scaler.n_bands_of(image.shape[0]), *image.shape[1:])

    def read(self, rows, columns):
        """Return the pixels of two slices as they are."""
        return self.image.window(rows, columns)

    def scale(self, pixels, rows, columns):
        """Scale the pixels of two slices."""
        return replace(self.scaler, corner=(rows.start, columns.start)).scale_image(pixels)

    def window(self, rows, columns):
        """Return the scaled pixels of two slices."""
        return self.scale(self.read(rows, columns), rows, columns)


def _measure(statistic, image):
    """Measure a statistic of a stream, block of rows by block of rows."""
    shape = image.shape[-2:]
    unit = statistic.block_rows(shape)
    n_rows = unit * max(1, _BLOCK // (unit * shape[1]))
    parts = [statistic.measure(rows, y0, shape) for y0, rows in blocks(image, n_rows)]
    return statistic.combine(parts, shape)


def learn_scale(images, seed):
    """Median and robust standard deviation of each band, from a sample of all images' pixels.

    Parameters
    ----------
    images : list of ndarray or of streams, of shape (n_bands, height, width)
    seed : int

    Returns
    -------
    centre, scale : ndarray of float64, shape (n_bands,)
    """
    generator = np.random.default_rng(seed)
    images = images[:: -(-len(images) // _SAMPLED_IMAGES)]
    per_image = max(2_000_000 // len(images), 1000)
    samples = np.concatenate([_sample(image, per_image, generator) for image in images], axis=1)
    finite = np.isfinite(samples)
    if not finite.any(axis=1).all():
        band = int(np.flatnonzero(~finite.any(axis=1))[0])
        raise ValueError(
            f"Band {band} of X holds no data, only NaN: there is nothing to learn from. Leave it "
            "out."
        )
    stats = [_robust(band[mask]) for band, mask in zip(samples, finite, strict=True)]
    centre, scale = np.transpose(stats)
    return centre, scale


def _sample(image, count, generator):
    """Up to `count` pixels of each band, shape (n_bands, n), float64."""
    image = as_stream(image)
    n_bands, height, width = image.shape
    if isinstance(image, ArrayStream) or height * width <= count:
        pixels = whole(image).reshape(n_bands, -1)
        if pixels.shape[1] > count:
            pixels = pixels[:, generator.integers(pixels.shape[1], size=count)]
        return pixels.astype(np.float64)
    # of a file whole rows are read, the more of them the fewer pixels of each are taken
    rows = np.unique(generator.integers(height, size=_SAMPLED_ROWS))
    parts = []
    for row in rows.tolist():
        pixels = image.window(slice(row, row + 1), slice(0, width))[:, 0]
        parts.append(pixels[:, generator.integers(width, size=-(-count // len(rows)))])
    return np.concatenate(parts, axis=1).astype(np.float64)


def _robust(values):
    centre = np.median(values)
    # more than half of the pixels may be equal (clipped images): fall back on the plain spread,
    # then on one
    scale = _SIGMA_PER_MAD * np.median(np.abs(values - centre)) or values.std() or 1.0
    return centre, scale


def scaled(image, centre, scale):
    """Return the arcsinh of ``(image - centre) / scale`` in each band, float32; NaN stays."""
    centre, scale = (values.astype(image.dtype)[:, None, None] for values in (centre, scale))
    return np.arcsinh((image - centre) / scale).astype(np.float32, copy=False)


def noise_scaled(image, rms_band, known=None):
    """Return the arcsinh of the signal-to-noise ratio of each science band, float32; NaN stays.

    The background of each band is estimated on a mesh, and so is its noise without an RMS map.
    Boxes that a large galaxy fills do not count, or the net would never see its outskirts. An RMS
    map is multiplied by the one number that makes it agree with the scatter of the image. Where
    faint sources fill the sky, the image scatters more than its noise: see `_capped`. Seams
    where the sky steps are taken out before. For a window of a mosaic, `known` holds the background
    mesh, the noise mesh, the seams, the window's corner and that number of each band.
    """
    science, rms = split_rms(image, rms_band)
    known = known or [None] * len(science)
    return np.stack(
        [_signal_to_noise(band, rms, own) for band, own in zip(science, known, strict=True)]
    )


def stacked(scaled_image):
    """Return the stack of the bands of a scaled image, scaled alike, float32 (1, height, width).

    Parameters
    ----------
    scaled_image : ndarray of float, shape (n_bands, height, width)
        The arcsinh of the signal-to-noise ratio. A band that is NaN at a pixel does not count
        there; the stack is NaN where every band is.
    """
    if len(scaled_image) == 1:
        return scaled_image
    seen = ~np.isnan(scaled_image)
    count = seen.sum(axis=0)
    light = np.sinh(np.where(seen, scaled_image, 0).astype(np.float64)).sum(axis=0)
    stack = np.arcsinh(light / np.sqrt(np.maximum(count, 1)))
    return np.where(count > 0, stack, np.nan).astype(np.float32)[None]


def _signal_to_noise(band, rms, known):
    no_data = np.isnan(band) if rms is None else np.isnan(band) | np.isnan(rms)
    height, width = band.shape
    if known is None:
        seen, corner = np.where(no_data, band.dtype.type(np.nan), band), (0, 0)
        seams = find_seams(seen)
        meshes = levelled_meshes(seen, seams, **_MESH)
    else:
        *meshes, seams, corner, _ = known
    background, noise = (mesh.window(0, height, 0, width) for mesh in meshes)
    background += steps_of(seams, corner, band.shape, band.dtype)
    if rms is not None:
        # resampled images scatter less from pixel to pixel than their RMS map says: the map gives
        # the shape of the noise, the image its size, as with SExtractor's RESCALE_WEIGHTS
        if known is None:
            rescale = sampled_median(np.where(no_data, rms.dtype.type(np.nan), noise / rms))
            if _may_be_crowded([rescale]):
                rescale = _capped(rescale, sampled_median(_pixel_scatter(seen, rms)))
        else:
            rescale = known[4]
        noise = rms * rescale
    noise = np.where(noise > 0, noise, 1.0)  # a constant image has no noise, and no source either
    ratio = np.arcsinh((band - background) / noise)
    return np.where(no_data, np.nan, ratio).astype(np.float32)


def _pixel_scatter(band, rms):
    """Difference of each pixel from the next in its row, 1 in the median if the map tells noise."""
    scatter = np.full(band.shape, np.nan, dtype=band.dtype)
    variance = (rms[:, 1:] ** 2 + rms[:, :-1] ** 2) / 2
    difference = np.abs(band[:, 1:] - band[:, :-1])
    scatter[:, 1:] = difference / (np.sqrt(variance) * band.dtype.type(_MEDIAN_PER_DIFFERENCE))
    return scatter


def _may_be_crowded(factors):
    """Whether any factor of an RMS map is so large that `_capped` may change it."""
    return factors is not None and any(factor > _MOST_RESCALE for factor in factors)


def _capped(factor, scatter):
    """Return what the RMS map is multiplied by, no more than faint sources in the sky allow.

    Light that fills the sky, of a crowd or of a saturated star, scatters smoothly: neighbouring
    pixels differ by their noise alone. If they differ as the RMS map says, the map is right, and
    an image that scatters more is full of light. A net that is shown too much noise takes all this
    light for one source. Correlated noise stays as the image tells it: its neighbouring pixels
    differ by less than the map says.
    """
    agrees = 1 / _AGREES < scatter < _AGREES
    return min(factor, _MOST_RESCALE * max(scatter, 1)) if agrees else factor
