"""Positions on the sky: the WCS of a header, of a cut-out, and what a written map keeps of it."""

import re
import warnings

from astropy.io import fits

from ..exceptions import UnusableWCSWarning
from ._headers import clean_header, quiet

# Cards about how the pixels of the *other* file were stored, or what they were.
_STALE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|END|BSCALE|BZERO|"
    r"BLANK|DATAMIN|DATAMAX|"
    r"CHECKSUM|DATASUM|DATE|EXTNAME|EXTVER|EXTLEVEL|INHERIT|TFIELDS|THEAP|"
    r"(?:TTYPE|TFORM|TUNIT|TDIM|TNULL|TSCAL|TZERO|TDISP)\d+|SEGCLASS|SEGPARAM|SEGVERS|"
    r"Z(?:IMAGE|TENSION|SIMPLE|EXTEND|BITPIX|NAXIS\d*|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|"
    r"QUANTIZ|DITHER0|BLANK|SCALE|ZERO|PCOUNT|GCOUNT|BLOCKED|MASKCMP|HECKSUM|DATASUM)"
)
# Cards about sky positions, in whatever version of them.
_WCS_CARDS = re.compile(
    r"WCSAXES[A-Z]?|WCSNAME[A-Z]?|(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CNAME|CRDER|CSYER)\d+[A-Z]?|"
    r"(?:PC|CD)\d+_\d+[A-Z]?|PC\d{6}|(?:PV|PS)\d+_\d+[A-Z]?|LONPOLE[A-Z]?|LATPOLE[A-Z]?|RADESYS[A-Z]?|"
    r"RADECSYS|EQUINOX[A-Z]?|"
    r"[AB]P?_(?:\d_\d|ORDER|DMAX)|WAT\d_\d+"
)
# Cards about a third or later axis, which a map of two axes cannot keep.
_HIGHER_AXIS = re.compile(
    r"(?:CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CNAME|CRDER|CSYER)(?:[3-9]|\d\d)[A-Z]?|"
    r"(?:PC|CD)(?:(?:[3-9]|\d\d)_\d+|\d+_(?:[3-9]|\d\d))[A-Z]?|PC00(?:[3-9]\d{2}|\d{3}00[3-9])|"
    r"(?:PV|PS)(?:[3-9]|\d\d)_\d+[A-Z]?"
)


# Orders of distortions and numbers of axes have one or two digits; astropy makes room for whatever
# they say.
_COUNTS = re.compile(r"[AB]P?_ORDER|WCSAXES[A-Z]?")
_HIGHEST_COUNT = 99


def celestial_wcs(header, name="the header"):
    """Make the WCS of a header; ``None`` if it holds no celestial WCS.

    Parameters
    ----------
    header : `astropy.io.fits.Header` or None
    name : str
        Whose header it is, for the warning.

    Returns
    -------
    `astropy.wcs.WCS` of two axes, or None

    Warns
    -----
    UnusableWCSWarning
        If there are WCS cards that cannot be understood.
    """
    if header is None:
        return None
    from astropy.wcs import WCS

    try:
        with quiet():
            header = clean_header(header)
            _check_counts(header)
            wcs = WCS(header, naxis=2)  # rows and columns are the first two axes of FITS
            return wcs if wcs.has_celestial else None
    except (
        ValueError,
        AssertionError,
        AttributeError,
        TypeError,
        KeyError,
        MemoryError,
        fits.VerifyError,
    ) as error:
        # wcslib's errors are ValueErrors, or MemoryErrors where a distortion has no number of axes;
        # astropy trips over cards of the wrong type, and asserts where a distortion needs a table
        # of the file
        lines = [line for line in str(error).split("\n") if not line.startswith("ERROR")]
        reason = " ".join(" ".join(lines).split()) or type(error).__name__
    warnings.warn(
        f"The WCS of {name} cannot be used ({reason}): sky positions are left out.",
        UnusableWCSWarning,
        stacklevel=3,
    )
    return None


def _check_counts(header):
    for keyword in filter(_COUNTS.fullmatch, header):
        if not _is_number(header[keyword]) or not 0 <= header[keyword] <= _HIGHEST_COUNT:
            raise ValueError(f"{keyword} = {header[keyword]!r}")


def check_wcs(wcs):
    """Check a user's WCS and return its two celestial axes."""
    from astropy.wcs import WCS

    if not isinstance(wcs, WCS):
        raise TypeError(
            f"wcs must be an astropy.wcs.WCS or None. Got {type(wcs).__name__} instead: "
            "make one with WCS(header)."
        )
    return wcs.celestial if wcs.naxis > 2 else wcs


def cut_header(header, rows, columns):
    """Header of a cut-out: reference pixels moved, size changed, everything else kept."""
    header = header.copy()
    for axis, window in ((1, columns), (2, rows)):
        for key in [
            key for key in header if re.fullmatch(rf"(?:CRPIX{axis}[A-Z]?|LTV{axis})", key)
        ]:
            if _is_number(header[key]):
                header[key] -= window.start
        if f"NAXIS{axis}" in header:
            header[f"NAXIS{axis}"] = window.stop - window.start
    return header


def kept_cards(header, shape, *, keep_unit=False, keep_wcs=True):
    """Return the cards of `header` that hold for a new image of the same pixels.

    Parameters
    ----------
    header : `astropy.io.fits.Header`, `astropy.wcs.WCS` or None
    shape : tuple of int
        Shape of the new image.
    keep_unit : bool, default=False
        Whether its pixels have the unit of the old image.
    keep_wcs : bool, default=True

    Returns
    -------
    `astropy.io.fits.Header`
    """
    if header is None:
        return fits.Header()
    if not isinstance(header, fits.Header):
        from astropy.wcs import WCS

        if isinstance(header, WCS):
            with quiet():
                return check_wcs(header).to_header(relax=True)
        raise TypeError(
            "header must be an astropy Header, a WCS or None. "
            f"Got {type(header).__name__} instead: "
            "pass read_header(path) of the image."
        )
    header = clean_header(header)
    _check_size(header, shape[-2:])
    dropped = [_STALE]
    flat = len(shape) == 2 and max(_n_axes(header, "NAXIS"), _n_axes(header, "WCSAXES")) > 2
    dropped += [_HIGHER_AXIS] if flat else []
    dropped += [] if keep_unit else [re.compile("BUNIT")]
    dropped += [] if keep_wcs else [_WCS_CARDS]
    kept = fits.Header(
        [
            card
            for card in header.cards
            if not any(pattern.fullmatch(card.keyword) for pattern in dropped)
        ]
    )
    if flat and "WCSAXES" in kept:
        kept["WCSAXES"] = 2
    return kept


def _n_axes(header, keyword):
    value = header.get(keyword, 0)
    return value if _is_number(value) else 0


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_size(header, shape):
    described = header.get("NAXIS2"), header.get("NAXIS1")
    is_image = header.get("XTENSION", "IMAGE") == "IMAGE" and _n_axes(header, "NAXIS") >= 2
    if is_image and None not in described and described != tuple(shape):
        raise ValueError(
            f"header is of an image of shape {described}, but the map has shape {tuple(shape)}, "
            "so its WCS would be wrong: pass the header of the cut-out (Field.section(...).header)."
        )
