"""Separate the light of overlapping galaxies: one isolated image for each source."""

from ._base import BaseSeparator
from ._separated import Separated
from ._template import TemplateSeparator

__all__ = ["BaseSeparator", "Separated", "TemplateSeparator"]
