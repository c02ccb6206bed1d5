"""A transformer: subtract the large scales."""

from numbers import Real

import numpy as np
from scipy import ndimage
from sklearn.utils._param_validation import Interval

from galaxysegment.base import BaseImageTransformer


class UnsharpMask(BaseImageTransformer):
    """Subtract a smoothed copy of every band.

    Parameters
    ----------
    sigma : float, default=8.0
        Width of the smoothing Gaussian in pixels.
    """

    _requires_fit = False
    _in_model_files = True
    _parameter_constraints: dict = {"sigma": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, *, sigma=8.0):
        self.sigma = sigma

    def _transform_image(self, image):
        smooth = [ndimage.gaussian_filter(np.nan_to_num(band), self.sigma) for band in image]
        return image - np.stack(smooth).astype(image.dtype)
