"""A segmenter: connected pixels above a level that is learnt from the images."""

from numbers import Integral, Real

import numpy as np
from scipy import ndimage
from sklearn.utils._param_validation import Interval

from galaxysegment.base import BaseSegmenter
from galaxysegment.structures import STAR, Instances, label_components, remove_small


class StarFinder(BaseSegmenter):
    """Connected pixels above a level in units of the noise, with the peak's significance as score.

    Parameters
    ----------
    n_sigma : float, default=5.0
        Level above the median sky, in standard deviations of the noise.
    fwhm : float, default=2.0
        Full width at half maximum, in pixels, of the Gaussian that the image is smoothed with.
    n_pixels : int, default=4
        Pixels that a source has at least.

    Attributes
    ----------
    sky_, noise_ : float
        Median and standard deviation of the smoothed sky of the images seen in `fit`.
    """

    _in_model_files = True  # galaxysegment.persistence may keep it: only numbers are in it
    _parameter_constraints: dict = {
        "n_sigma": [Interval(Real, 0, None, closed="neither")],
        "fwhm": [Interval(Real, 0, None, closed="neither")],
        "n_pixels": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, *, n_sigma=5.0, fwhm=2.0, n_pixels=4):
        self.n_sigma = n_sigma
        self.fwhm = fwhm
        self.n_pixels = n_pixels

    def _fit_images(self, images, targets):
        pixels = np.concatenate([self._smooth(image).ravel() for image in images])
        low, self.sky_, _ = np.nanpercentile(pixels, [15.87, 50, 84.13])
        self.noise_ = max(self.sky_ - low, np.finfo(np.float32).tiny)

    def _segment_image(self, image):
        significance = (self._smooth(image) - self.sky_) / self.noise_
        labels = remove_small(label_components(significance > self.n_sigma), self.n_pixels)
        n_sources = labels.max()
        scores = (
            ndimage.maximum(significance, labels, np.arange(1, n_sources + 1)) if n_sources else []
        )
        return Instances.from_label_map(labels, scores=scores, classes=np.full(n_sources, STAR))

    def _smooth(self, image):
        return ndimage.gaussian_filter(
            np.nan_to_num(image[0].astype(np.float64)), self.fwhm / 2.355
        )
