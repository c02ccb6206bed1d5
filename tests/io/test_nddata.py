"""What images of astropy bring along: pixels, RMS, mask, WCS, header, unit."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.utils.masked import Masked
from astropy.wcs import WCS

from galaxysegment.io import Field
from galaxysegment.io._nddata import header_with_unit, in_unit, is_nddata, take_apart

SHAPE = (4, 5)
IMAGE = np.arange(20.0).reshape(SHAPE)
RMS = np.linspace(1, 2, 20).reshape(SHAPE)
FIRST, SECOND = np.eye(*SHAPE, dtype=bool), np.eye(*SHAPE, k=2, dtype=bool)


@pytest.mark.parametrize("unit", [None, u.uJy])
@pytest.mark.parametrize("masked", [False, True])
def test_arrays_are_taken_apart(unit, masked):
    given = IMAGE if unit is None else IMAGE * unit
    given = Masked(given, mask=FIRST) if masked else given
    parts = take_apart(given)
    np.testing.assert_array_equal(parts.image, IMAGE)
    assert not isinstance(parts.image, u.Quantity | Masked) and parts.unit == unit
    assert (parts.mask is None) == (not masked)
    if masked:
        np.testing.assert_array_equal(parts.mask, FIRST)
    assert (parts.rms, parts.wcs, parts.header) == (None, None, None)


def test_masks_of_nddata():
    assert take_apart(NDData(IMAGE)).mask is None
    np.testing.assert_array_equal(take_apart(NDData(IMAGE, mask=FIRST)).mask, FIRST)
    np.testing.assert_array_equal(take_apart(NDData(Masked(IMAGE, mask=FIRST))).mask, FIRST)


def test_a_mask_of_one_band_holds_for_all():
    cube = np.stack([IMAGE, IMAGE])
    np.testing.assert_array_equal(take_apart(NDData(cube, mask=FIRST)).mask, [FIRST, FIRST])


@pytest.mark.parametrize("noise_unit", [None, u.uJy, u.mJy])
@pytest.mark.parametrize(
    ("kind", "power"), [(StdDevUncertainty, 1), (VarianceUncertainty, 2), (InverseVariance, -2)]
)
def test_uncertainties_become_rms_in_the_unit_of_the_image(kind, power, noise_unit):
    values = (RMS * u.uJy).to(noise_unit or u.uJy) ** power
    uncertainty = kind(values.value, unit=None if noise_unit is None else values.unit)
    parts = take_apart(NDData(IMAGE, unit=u.uJy, uncertainty=uncertainty))
    np.testing.assert_allclose(parts.rms, RMS)
    assert not isinstance(parts.rms, u.Quantity) and parts.unit == u.uJy


def test_one_number_is_the_noise_of_all_pixels():
    parts = take_apart(NDData(IMAGE, uncertainty=VarianceUncertainty(np.array(9.0))))
    np.testing.assert_array_equal(parts.rms, np.full(SHAPE, 3.0))


def test_noise_that_is_not_known():
    assert take_apart(NDData(IMAGE, uncertainty=StdDevUncertainty(None))).rms is None
    with pytest.raises(TypeError, match="UnknownUncertainty, which does not say"):
        take_apart(NDData(IMAGE, uncertainty=UnknownUncertainty(RMS)))
    with np.errstate(all="raise"):
        parts = take_apart(NDData(IMAGE, uncertainty=InverseVariance(np.zeros(SHAPE))))
    assert np.isinf(parts.rms).all()


def test_header_and_wcs_come_along():
    wcs, header = WCS(naxis=2), fits.Header({"OBJECT": "M31"})
    parts = take_apart(CCDData(IMAGE, unit="adu", wcs=wcs, header=header))
    assert parts.wcs is not None and parts.header["OBJECT"] == "M31" and parts.unit == u.adu
    assert take_apart(NDData(IMAGE, meta={"OBJECT": "M31"})).header is None
    assert is_nddata(NDData(IMAGE)) and not is_nddata(IMAGE)


def test_the_unit_goes_into_a_copy_of_the_header():
    header = fits.Header({"BUNIT": "adu", "OBJECT": "M31"})
    assert header_with_unit(header, None) is header
    changed = header_with_unit(header, u.nJy)
    assert (changed["BUNIT"], changed["OBJECT"], header["BUNIT"]) == ("nJy", "M31", "adu")
    assert header_with_unit(None, u.nJy)["BUNIT"] == "nJy" and header_with_unit(None, None) is None
    nanomaggy = u.def_unit("nmgyfoo", 3.631 * u.uJy)
    assert header_with_unit(None, nanomaggy)["BUNIT"] == "nmgyfoo"


def test_numbers_are_taken_to_have_the_unit_of_the_image():
    assert in_unit(RMS, u.uJy, "rms") is RMS
    np.testing.assert_allclose(in_unit(RMS * u.mJy, u.uJy, "rms"), 1000 * RMS)
    np.testing.assert_allclose(in_unit(RMS * u.percent, None, "rms"), RMS / 100)
    with pytest.raises(ValueError, match="rms has the unit mJy, but the image has no unit"):
        in_unit(RMS * u.mJy, None, "rms")
    with pytest.raises(ValueError, match="noise has the unit m, but the image has the unit uJy"):
        in_unit(RMS * u.m, u.uJy, "noise")


def test_a_field_keeps_what_it_is_told_over_what_the_image_brings():
    own = CCDData(
        IMAGE, unit="adu", uncertainty=StdDevUncertainty(RMS), mask=FIRST,
        wcs=WCS(naxis=2), header=fits.Header({"OBJECT": "M31"}),
    )  # fmt: skip
    wcs = WCS(fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 3.0}))
    field = Field(own, rms=2 * RMS, mask=SECOND, wcs=wcs, header=fits.Header({"OBJECT": "M33"}))
    np.testing.assert_array_equal(field.rms, 2 * RMS)
    np.testing.assert_array_equal(np.isnan(field.image[0]), FIRST | SECOND)
    assert field.header["OBJECT"] == "M33" and field.header["BUNIT"] == "adu"
    assert field.wcs.wcs.crval[0] == 3 and field.unit == u.adu
    plain = Field(own)
    assert plain.header["OBJECT"] == "M31" and plain.wcs is not None
    np.testing.assert_array_equal(plain.rms, RMS)
