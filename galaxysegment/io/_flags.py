"""Masks and data quality maps beside an image in its own file, whose header says what bits mean."""

from functools import partial

from ._headers import text_of, whole_number
from ._mask import read_mask
from ._partners import own_partner
from ._sources import FitsSource

# LSST's pipelines name the planes of a mask in its header: MP_BAD = 0 means that bit 0 is BAD.
_PLANE = "MP_"
_NO_DATA = ("BAD", "CR", "NO_DATA", "UNMASKEDNAN")
_MENDED = "INTRP"  # interpolated: such a pixel has a value whatever else is said
# Extensions named so hold a plain mask: every pixel that is not 0 is bad.
_PLAIN = ("MASK", "BPM", "BADPIX")
_QUALITY = "DQ"
_DO_NOT_USE = 1  # of JWST
# Of HST: lost, bad detector pixel, masked, unstable, cosmic ray by AstroDrizzle. Hot, warm and
# saturated pixels have a value.
_LOST = 2 + 4 + 8 + 32 + 4096
_COSMIC_RAY = 8192  # of CCDs; infrared detectors mend such pixels


def find_own_mask(band, hdus):
    """Find the mask of a band in its own file.

    Parameters
    ----------
    band : Hdu
    hdus : list of Hdu
        All of the file of the band.

    Returns
    -------
    FitsSource or None
        Booleans, True where there are no data; None if no header says what a mask means, or if
        all masks are of other images.
    """
    masks = {
        hdu: meaning
        for hdu in hdus
        if hdu.is_image
        and hdu.index != band.index
        and hdu.bitpix > 0
        and hdu.image_shape == band.image_shape[-2:]
        and (meaning := _meaning(hdu, hdus[0].header)) is not None
    }
    if not masks:
        return None
    partner = own_partner(list(masks), band, hdus)
    return None if partner is None else FitsSource(partial(_read, **masks[partner]), partner)


def _meaning(hdu, primary):
    """Bits that mean "no data" and bits that lift them, or None if the header does not say."""
    planes = _planes(hdu)
    if planes:
        # An image repeats the planes of its mask.
        is_mask = text_of(hdu.header, "EXTTYPE") in ("", "MASK")
        bits = sum(planes.get(name, 0) for name in _NO_DATA) if is_mask else 0
        return {"bits": bits, "unless": planes.get(_MENDED, 0)} if bits else None
    if hdu.name in _PLAIN:
        return {"bits": None, "unless": 0}
    bits = _bits_of_telescope(primary) if hdu.name == _QUALITY else 0
    return {"bits": bits, "unless": 0} if bits else None


def _planes(hdu):
    """The bit of each plane that a header names."""
    places = {
        keyword[len(_PLANE) :]: whole_number(hdu.header, keyword, hdu.label)
        for keyword in hdu.header
        if keyword.startswith(_PLANE)
    }
    return {name: 1 << place for name, place in places.items() if 0 <= place < hdu.bitpix}


def _bits_of_telescope(primary):
    telescope = text_of(primary, "TELESCOP").upper()
    if telescope == "JWST":
        return _DO_NOT_USE
    infrared = text_of(primary, "DETECTOR").upper() == "IR"
    return _LOST + (0 if infrared else _COSMIC_RAY) if telescope == "HST" else 0


def _read(hdu, section, bits, unless):
    mask = read_mask(hdu, section, bits)
    return mask & ~read_mask(hdu, section, unless) if unless and mask.any() else mask
