"""Separate the light of overlapping galaxies: one isolated image for each source."""

from ..structures import Separated
from ._base import BaseSeparator
from ._pair import SegmentThenSeparate
from ._template import TemplateSeparator
from ._unet import UNetSeparator

__all__ = [
    "BaseSeparator",
    "SegmentThenSeparate",
    "Separated",
    "TemplateSeparator",
    "UNetSeparator",
]
