"""How images reach a net: every band about zero for the sky, one for its noise, bright pixels compressed."""

from dataclasses import dataclass

import numpy as np

from .._utils.validation import split_rms
from ..detection._background import background_maps

__all__ = ["Scaler", "learn_scale", "noise_scaled", "scaled"]

_SIGMA_PER_MAD = 1.4826
_BOX = 64  # pixels; SExtractor's default mesh


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
    """

    method: str
    centre: np.ndarray | None = None
    scale: np.ndarray | None = None
    rms_band: int | None = None

    @classmethod
    def learn(cls, method, images, seed, rms_band=None):
        """Return the scaler of training images; ``"auto"`` means ``"asinh"``."""
        if method == "noise":
            return cls("noise", rms_band=rms_band)
        return cls("asinh", *learn_scale(images, seed))

    def scale_image(self, image):
        """Return the net's input of an image, both (n_bands, height, width); NaN stays."""
        if self.method == "noise":
            return noise_scaled(image, self.rms_band)
        return scaled(image, self.centre, self.scale)

    def n_bands_of(self, n_bands):
        """Return how many bands the net's input has for images of `n_bands` bands."""
        return n_bands - (self.method == "noise" and self.rms_band is not None)


def learn_scale(images, seed):
    """Median and robust standard deviation of each band over all images, from a sample of their pixels.

    Returns
    -------
    centre, scale : ndarray of float64, shape (n_bands,)
    """
    generator = np.random.default_rng(seed)
    per_image = max(2_000_000 // len(images), 1000)
    samples = np.concatenate([_sample(image, per_image, generator) for image in images], axis=1)
    finite = np.isfinite(samples)
    if not finite.any(axis=1).all():
        band = int(np.flatnonzero(~finite.any(axis=1))[0])
        raise ValueError(
            f"Band {band} of X holds no data, only NaN: there is nothing to learn from. Leave it out."
        )
    stats = [_robust(band[mask]) for band, mask in zip(samples, finite, strict=True)]
    centre, scale = np.transpose(stats)
    return centre, scale


def _sample(image, count, generator):
    pixels = image.reshape(len(image), -1).astype(np.float64)
    if pixels.shape[1] > count:
        pixels = pixels[:, generator.integers(pixels.shape[1], size=count)]
    return pixels


def _robust(values):
    centre = np.median(values)
    # more than half of the pixels may be equal (clipped images): fall back on the plain spread, then on one
    scale = _SIGMA_PER_MAD * np.median(np.abs(values - centre)) or values.std() or 1.0
    return centre, scale


def scaled(image, centre, scale):
    """Inverse hyperbolic sine of ``(image - centre) / scale`` in each band, float32; NaN stays."""
    centre, scale = (one.astype(image.dtype)[:, None, None] for one in (centre, scale))
    return np.arcsinh((image - centre) / scale).astype(np.float32, copy=False)


def noise_scaled(image, rms_band):
    """Inverse hyperbolic sine of the signal-to-noise ratio of each science band, float32; NaN stays.

    The background of each band is estimated on a mesh, and so is its noise where no RMS map is given. An RMS map
    is multiplied by the one number that makes it agree with the scatter of the image.
    """
    science, rms = split_rms(image, rms_band)
    return np.stack([_signal_to_noise(band, rms) for band in science])


def _signal_to_noise(band, rms):
    no_data = np.isnan(band) if rms is None else np.isnan(band) | np.isnan(rms)
    background, noise = background_maps(band, box_size=_BOX, exclude_percentile=50, mask=no_data)
    if rms is not None:
        # resampled images scatter less from pixel to pixel than their RMS map says: the map gives the shape of
        # the noise, the image its size, as with SExtractor's RESCALE_WEIGHTS
        noise = rms * np.median((noise / rms)[~no_data])
    noise = np.where(noise > 0, noise, 1.0)  # a constant image has no noise, and no source either
    ratio = np.arcsinh((band - background) / noise)
    return np.where(no_data, np.nan, ratio).astype(np.float32)
