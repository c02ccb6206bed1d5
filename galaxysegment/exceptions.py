"""Warnings of the package, each with a class of its own, so that you can silence or raise one kind.

All are `UserWarning` through `GalaxySegmentWarning`. To turn one kind into an error:

>>> import warnings
>>> from galaxysegment.exceptions import NoSourcesWarning
>>> with warnings.catch_warnings():
...     warnings.simplefilter("error", NoSourcesWarning)
...     # segment here

Errors are Python's own: `ValueError` for a value, `TypeError` for a type, `OSError` for a file.
"""

__all__ = [
    "ChannelsLastWarning",
    "CrowdedImageWarning",
    "GalaxySegmentWarning",
    "LargeBlendWarning",
    "NoSourcesWarning",
    "NoValidationWarning",
    "UnsubtractedSkyWarning",
    "UnusableEntryPointWarning",
    "UnusableWCSWarning",
]


class GalaxySegmentWarning(UserWarning):
    """Parent of all warnings of the package."""


class NoSourcesWarning(GalaxySegmentWarning):
    """No source was found in an image; its label map is all zeros."""


class ChannelsLastWarning(GalaxySegmentWarning):
    """The last axis of an image is so short that it probably holds the bands."""


class CrowdedImageWarning(GalaxySegmentWarning):
    """An image may hold more sources than a net can find: raise the limit in the message."""


class LargeBlendWarning(GalaxySegmentWarning):
    """A blend was too large to be split as a whole; it was split tile by tile."""


class NoValidationWarning(GalaxySegmentWarning):
    """A net is trained without validation images, so that training cannot stop early."""


class UnsubtractedSkyWarning(GalaxySegmentWarning):
    """The sky of an image is far from zero, so that separated light would include it."""


class UnusableWCSWarning(GalaxySegmentWarning):
    """The WCS of a file cannot be understood; sky positions are left out."""


class UnusableEntryPointWarning(GalaxySegmentWarning):
    """An estimator that another package adds cannot be used; it is left out."""
