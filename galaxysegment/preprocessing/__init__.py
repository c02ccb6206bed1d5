"""Transformers of images: same container out as in, one family of transformers per file."""

from ._augment import augment
from ._background import BackgroundSubtractor
from ._bands import BandSelector
from ._colour import LuptonRGB
from ._features import PixelFeatures
from ._filling import BadPixelFiller
from ._liberator import FITSLiberatorStretch
from ._normalize import ImageNormalizer
from ._rms import NoiseNormalizer, RMSAdder
from ._smoothing import GaussianSmoother
from ._variants import make_variant

__all__ = [
    "BackgroundSubtractor",
    "BadPixelFiller",
    "BandSelector",
    "FITSLiberatorStretch",
    "GaussianSmoother",
    "ImageNormalizer",
    "LuptonRGB",
    "NoiseNormalizer",
    "PixelFeatures",
    "RMSAdder",
    "augment",
    "make_variant",
]
