"""Take `NDData`, `Quantity` and masked arrays apart: pixels, RMS, mask, WCS, header, unit."""

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.io import fits


@dataclass(frozen=True)
class Parts:
    """What an image brings along; None stands for what it does not have."""

    image: Any
    rms: Any = None
    mask: Any = None
    wcs: Any = None
    header: Any = None
    unit: Any = None


def is_nddata(value):
    """Whether `value` is an `NDData` (`CCDData` is one)."""
    # Nobody has an NDData before astropy.nddata, slow to import, is loaded.
    nddata = sys.modules.get("astropy.nddata")
    return nddata is not None and isinstance(value, nddata.NDData)


def take_apart(image):
    """Return the `Parts` of an array, `Quantity`, `Masked` array or `NDData`."""
    if is_nddata(image):
        return _of_nddata(image)
    return _of_array(image)


def _of_nddata(image):
    parts = _of_array(image.data)
    unit = parts.unit if image.unit is None else image.unit
    mask = None if image.mask is None else np.broadcast_to(image.mask, np.shape(parts.image))
    header = image.meta if isinstance(image.meta, fits.Header) else None
    rms = _rms_of(image.uncertainty, np.shape(parts.image), unit)
    if mask is not None and parts.mask is not None:
        mask = mask | parts.mask
    mask = parts.mask if mask is None else mask
    return replace(parts, rms=rms, mask=mask, wcs=image.wcs, header=header, unit=unit)


def _of_array(image):
    from astropy.units import Quantity
    from astropy.utils.masked import Masked

    mask = None
    if isinstance(image, Masked):
        image, mask = image.unmasked, image.mask
    if isinstance(image, Quantity):
        return Parts(image.value, mask=mask, unit=image.unit)
    return Parts(image, mask=mask)


def _rms_of(uncertainty, shape, unit):
    """Return the standard deviation of an `NDUncertainty` in the unit of the image, or None."""
    from astropy.nddata import StdDevUncertainty, UnknownUncertainty

    if uncertainty is None or uncertainty.array is None:
        return None
    if isinstance(uncertainty, UnknownUncertainty):
        raise TypeError(
            "The uncertainty of the image is an UnknownUncertainty, which does not say whether it "
            "holds standard "
            "deviations or variances: wrap the array in astropy.nddata.StdDevUncertainty, "
            "VarianceUncertainty or "
            "InverseVariance."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = uncertainty.represent_as(StdDevUncertainty)
        rms = np.broadcast_to(np.asarray(deviation.array), shape)
    return rms if deviation.unit is None else in_unit(rms * deviation.unit, unit, "uncertainty")


def header_with_unit(header, unit):
    """Return the header with the unit in its BUNIT card; the header itself if there is no unit."""
    if unit is None:
        return header
    header = fits.Header() if header is None else header.copy()
    try:
        header["BUNIT"] = unit.to_string("fits")
    except ValueError:  # a unit that the FITS standard has no name for
        header["BUNIT"] = unit.to_string()
    return header


def in_unit(values, unit, name):
    """Return the numbers of `values` in `unit`; an array without a unit is taken to be in it.

    Parameters
    ----------
    values : array-like or `astropy.units.Quantity`
    unit : `astropy.units.Unit` or None
        Unit of the image.
    name : str
        How to call the values in an error message.
    """
    from astropy.units import Quantity, UnitConversionError, dimensionless_unscaled

    if not isinstance(values, Quantity):
        return values
    target = dimensionless_unscaled if unit is None else unit
    try:
        return values.to_value(target)
    except UnitConversionError:
        has = "no unit" if unit is None else f"the unit {unit}"
        raise ValueError(
            f"{name} has the unit {values.unit}, but the image has {has}: give both in units that "
            "agree."
        ) from None
