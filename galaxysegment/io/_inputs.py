"""What an image may be: `Field`, `NDData`, `CCDData`, lists of them, or arrays."""

import numpy as np

from .._utils.rms import append_rms
from ..structures import Instances
from ._field import Field
from ._mask import blank
from ._nddata import is_nddata
from ._sources import ArraySource, MaskedSource, UnknownNoise


def is_observation(value):
    """Whether `value` is a `Field` or an `NDData`, which bring mask, RMS and WCS along."""
    return isinstance(value, Field) or is_nddata(value)


def as_field(image, rms=None):
    """Return an image of any kind as a `Field`; an RMS map replaces its own.

    Parameters
    ----------
    image : Field, NDData, Quantity or array-like
    rms : array-like, optional
    """
    if not isinstance(image, Field):
        return Field(image, rms=rms)
    if rms is None:
        return image
    given = Field(image.image, rms=rms)
    return image._with_sources(rms=given._sources["rms"])


def open_observations(X):
    """Return the fields of `X`, None for arrays, and whether they came in a list."""
    if isinstance(X, list | tuple):
        if not any(is_observation(image) for image in X):
            return None, False
        return [as_field(image) for image in X], True
    return ([as_field(X)], False) if is_observation(X) else (None, False)


def without_rms(field):
    """Return the field without its RMS map; pixels without RMS are NaN."""
    if not field.has_rms:
        return field
    image, rms = field._source("image"), field._source("rms")
    masked = MaskedSource(image, UnknownNoise(rms))
    if isinstance(image, ArraySource) and isinstance(rms, ArraySource):
        masked = ArraySource(blank(image.read(), masked.mask.read()))
    return field._with_sources(image=masked, rms=None)


def stack(field, with_rms):
    """Return the image, with the RMS map as last band if wanted; NaN where there is no RMS."""
    if not field.has_rms:
        return field.image
    return append_rms(field.image, field.rms) if with_rms else without_rms(field).image


def truth_of(X):
    """Return the truth of each field of `X`, a label map or `Instances`; None if any has none."""
    fields, _ = open_observations(X)
    if fields is None or not all(field.has_labels for field in fields):
        return None
    return [_truth(field) for field in fields]


def _truth(field):
    if field.instances is not None:
        return field.instances
    if field.classes is None:
        return field.labels
    labels = np.unique(field.labels)
    return Instances.from_label_map(field.labels, classes=field.classes[labels[labels > 0] - 1])


class FieldLayout:
    """How fields were packed, and how results go back: maps as they are, images into fields.

    Parameters
    ----------
    fields : list of Field
    is_list : bool
        Whether the user gave a list.
    stacked : list of bool
        Whether the RMS map of each field went in as the last band.
    """

    def __init__(self, fields, is_list, stacked):
        self.fields, self.is_list, self.stacked = fields, is_list, stacked

    def pack_maps(self, results):
        """Return a list for a list, the result itself for a single field."""
        return list(results) if self.is_list else results[0]

    def pack_list(self, results):
        """Return a list for a list, the result itself for a single field."""
        return self.pack_maps(results)

    def pack(self, images, keeps_rms=True):
        """Put transformed images back into their fields.

        Parameters
        ----------
        images : list of ndarray of shape (n_bands, height, width)
        keeps_rms : bool, default=True
            Whether the last band of an image that went in with its RMS map still is that map.
        """
        fields = zip(images, self.fields, self.stacked, strict=True)
        return self.pack_maps([_changed(*parts, keeps_rms) for parts in fields])


def _changed(image, field, was_stacked, keeps_rms):
    rms = field._source("rms") if field.has_rms else None
    if was_stacked:
        rms = ArraySource(image[-1]) if keeps_rms else None
        image = image[:-1] if keeps_rms else image
    return field._without_unit()._with_sources(image=ArraySource(image), rms=rms)
