"""Fuzzed FITS files."""

import pickle
from functools import partial
from itertools import pairwise

import numpy as np
from astropy.io import fits

from . import fits_sources as sources
from ._damage import absurd_value, card, cards_of, cut, flip_bits, hdu_starts, set_card, splice
from ._outcomes import Case
from .fits_checks import check  # noqa: F401 - an area has one
from .packed_fits import bomb, packed, swollen, tile_heads, tiles

BLOCK = 2880


def truncated(rng, folder):
    path, data = sources.any_file(rng, folder)
    path.write_bytes(cut(rng, data, BLOCK))
    return Case(path, oracle=True)


def bits(rng, folder):
    path, data = sources.any_file(rng, folder)
    path.write_bytes(flip_bits(rng, data, int(rng.integers(1, 60))))
    return Case(path, oracle=True)


def header_bits(rng, folder):
    path, data = sources.any_file(rng, folder)
    start = int(rng.choice(hdu_starts(data)))
    data[start : start + BLOCK] = flip_bits(
        rng, data[start : start + BLOCK], int(rng.integers(1, 30))
    )
    path.write_bytes(data)
    return Case(path, oracle=True)


def header_characters(rng, folder):
    path, data = sources.any_file(rng, folder)
    start = int(rng.choice(hdu_starts(data)))
    for index in rng.integers(start, start + BLOCK, int(rng.integers(1, 20))):
        data[index] = rng.choice(bytearray(b"0123456789'=TF -E.+\x00\xff/"))
    path.write_bytes(data)
    return Case(path, oracle=True)


def absurd_cards(rng, folder):
    path, data = sources.any_file(rng, folder)
    for _ in range(int(rng.integers(1, 4))):
        position, keyword = cards_of(data)[int(rng.integers(len(cards_of(data))))]
        set_card(data, position, keyword, absurd_value(rng))
    path.write_bytes(data)
    return Case(path, oracle=True)


_STRUCTURE = (
    "BITPIX",
    "NAXIS",
    "NAXIS1",
    "NAXIS2",
    "NAXIS3",
    "PCOUNT",
    "GCOUNT",
    "TFIELDS",
    "THEAP",
    "TFORM1",
)
_TILES = (
    "ZBITPIX",
    "ZNAXIS",
    "ZNAXIS1",
    "ZNAXIS2",
    "ZTILE1",
    "ZTILE2",
    "ZCMPTYPE",
    "ZQUANTIZ",
    "ZBLANK",
    "ZDITHER0",
)
_TILES += (
    "ZNAME1",
    "ZVAL1",
    "ZVAL2",
    "ZIMAGE",
    "NAXIS1",
    "NAXIS2",
    "PCOUNT",
    "TFORM1",
    "TTYPE1",
    "TTYPE2",
    "ZSIMPLE",
)


def _structure(rng, folder, keywords, kinds):
    path, data = sources.any_file(rng, folder, kinds)
    wanted = [card for card in cards_of(data) if card[1] in keywords]
    for _ in range(int(rng.integers(1, 3))):
        position, keyword = wanted[int(rng.integers(len(wanted)))]
        set_card(data, position, keyword, absurd_value(rng, whole=rng.random() < 0.8))
    path.write_bytes(data)
    return Case(path, oracle=True)


structure = partial(_structure, keywords=_STRUCTURE, kinds=sources.KINDS)
tile_cards = partial(_structure, keywords=_TILES, kinds=(sources.compressed,))


def huge_axes(rng, folder):
    path, data = sources.any_file(rng, folder)
    for position, keyword in cards_of(data):
        if keyword in ("NAXIS1", "NAXIS2", "ZNAXIS1", "ZNAXIS2") and rng.random() < 0.7:
            set_card(
                data,
                position,
                keyword,
                int(rng.choice([10**5, 2**31 - 1, 2**31, 2**32 + 1, 10**12, 2**63])),
            )
    path.write_bytes(data)
    return Case(path, oracle=True)


def wrong_bitpix(rng, folder):
    path, data = sources.any_file(rng, folder)
    for position, keyword in cards_of(data):
        if keyword in ("BITPIX", "ZBITPIX"):
            set_card(
                data, position, keyword, int(rng.choice([0, 1, 7, -8, 128, -63, 2**40, 64, -64, 8]))
            )
    path.write_bytes(data)
    return Case(path, oracle=True)


def shifted(rng, folder):
    """Bytes lost or added in the middle: nothing stays aligned."""
    path, data = sources.any_file(rng, folder)
    path.write_bytes(splice(rng, data))
    return Case(path, oracle=True)


def shuffled_hdus(rng, folder):
    """HDUs repeated, swapped and left out, the first one anywhere."""
    path, data = sources.any_file(
        rng, folder, (sources.extensions, sources.field, sources.compressed)
    )
    starts = [*hdu_starts(data), len(data)]
    parts = [bytes(data[first:last]) for first, last in pairwise(starts)]
    order = rng.integers(0, len(parts), int(rng.integers(1, 12)))
    path.write_bytes(
        b"".join(parts[index] for index in ([0, *order] if rng.random() < 0.7 else order))
    )
    return Case(path, oracle=True)


def backwards(rng, folder):
    """Sizes of data that are negative or zero.

    A reader that follows them goes round in a circle.
    """
    path, data = sources.any_file(
        rng, folder, (sources.extensions, sources.field, sources.compressed)
    )
    for position, keyword in cards_of(data):
        if keyword in ("PCOUNT", "GCOUNT"):
            set_card(data, position, keyword, int(rng.choice([-1, 0, -2880, -(10**6), -(2**40)])))
        if keyword in ("NAXIS1", "NAXIS2") and rng.random() < 0.3:
            set_card(data, position, keyword, int(rng.choice([-1, 0, -2880])))
    path.write_bytes(data)
    return Case(path, oracle=True)


def many_hdus(rng, folder):
    path = folder / "case.fits"
    empty = bytes(fits.ImageHDU().header.tostring(), "ascii")
    path.write_bytes(
        bytes(fits.PrimaryHDU().header.tostring(), "ascii") + empty * int(rng.integers(100, 500))
    )
    return Case(path, must_fail=True)


_NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "%s%n",
    "{0.__class__}",
    "$(touch hacked)",
    "`id`",
    "a;b",
    "SCI[1]",
]
_NAMES += [
    "file:///etc/passwd",
    "http://localhost/x.fits",
    "\x00SCI",
    "S" * 68,
    "",
    "'",
    "''",
    "𝛂",
    "LABELS\n",
    "!x",
]


def name_tricks(rng, folder):
    """Names in headers that look like paths, commands or formats are names and nothing else."""
    path, data = sources.any_file(rng, folder, (sources.extensions, sources.field))
    starts = [
        card
        for card in cards_of(data)
        if card[1] in ("EXTNAME", "EXTVER", "OBJECT", "TTYPE1", "TTYPE2")
    ]
    for position, keyword in starts:
        if rng.random() < 0.6:
            set_card(data, position, keyword, repr(_NAMES[int(rng.integers(len(_NAMES)))]))
    path.write_bytes(data)
    return Case(path, oracle=True)


_FILES = [
    "a[1].fits",
    "a.fits[0]",
    "-h.fits",
    "--set.fits",
    "!a.fits",
    "a b.fits",
    "ä☃.fits",
    "a;b.fits",
    "%d.fits",
]
_FILES += [
    "$(id).fits",
    "a.fits+1",
    "con.fits",
    "..fits",
    "a,b.fits",
    "{x}.fits",
    "a.fits.gz",
    "mem:.fits",
    "a'b\".fits",
]


def file_tricks(rng, folder):
    """A file is read whatever it is called."""
    image = rng.normal(size=sources.SHAPE).astype(np.float32)
    path = folder / _FILES[int(rng.integers(len(_FILES)))]
    with path.open("wb") as file:
        fits.PrimaryHDU(image).writeto(file)
    return Case(path, same_as=image)


_SCALES = [0, 1, -1, 2, 0.5, 1e-3, "1E10", "1E300", "1E-300", "1.0", 10**20, "T", "'1'", "NaN"]
_ZEROS = [0, 1, -128, 2**15, 2**31, 2**62, 2**63, "2147483648.0", 10**20, -(2**63), "1E300", "'x'"]
_BLANKS = [1, 3, -1, 255, -32768, -(2**31), -(2**63), 2**40, 10**30, "1.5", "'x'"]


def scalings(rng, folder):
    """BSCALE, BZERO and BLANK of any kind over pixels of every type, the ends of its range
    included.
    """
    dtype = np.dtype(str(rng.choice(["u1", ">i2", ">i4", ">i8", ">f4", ">f8"])))
    pixels = rng.integers(0, 120, sources.SHAPE).astype(dtype)
    if dtype.kind in "iu":
        ends = np.iinfo(dtype)
        pixels[0, :4] = ends.min, ends.max, ends.min + 100, ends.max - 100
    path = folder / "case.fits"
    header = fits.PrimaryHDU(pixels).header
    text = bytearray(header.tostring(padding=False, endcard=False).encode("ascii"))
    # astropy makes unsigned integers of many shifts, and forgets BLANK then.
    second = ("BZERO", _ZEROS) if rng.random() < 0.5 else ("BLANK", _BLANKS)
    for keyword, values in (("BSCALE", _SCALES), second):
        if rng.random() < 0.7:
            text += card(keyword, values[int(rng.integers(len(values)))])
    text += b"END".ljust(80)
    text += b" " * (-len(text) % BLOCK)
    stored = pixels.tobytes()
    path.write_bytes(text + stored + bytes(-len(stored) % BLOCK))
    return Case(path, oracle=True)


_SKY = {
    "CTYPE1": ["'RA---XXX'", "'RA---TPV'", "'RA---TAB'", "'-'", 3, "'RA---TAN-SIP'", "'GLON-CAR'"],
    "CTYPE2": ["'RA---TAN'", "'DEC--TAN-SIP'", "''", "T"],
    "CRVAL1": ["1E400", "'x'", "NaN", "-1E300"],
    "CRPIX1": ["1E308", "'x'", 10**30],
    "CDELT1": [0, "1E-320", "'x'"],
    "CD1_1": [0, "1E300"],
    "WCSAXES": [0, 3, 99, 10**6, 10**9, -1],
    "A_ORDER": [2, 9, 100, 10**5, 10**9, -1],
    "B_ORDER": [2, 9, 100, 10**5, 10**9, -1],
    "A_2_0": ["1E300", "'x'"],
    "CPDIS1": ["'LOOKUP'", "'Lookup'"],
    "DP1": ["'NAXES: 2'", "'EXTVER: 1'"],
    "D2IMDIS1": ["'LOOKUP'"],
    "PV1_99": [3],
    "PV2_1": ["1E300"],
    "LONPOLE": ["1E300"],
    "EQUINOX": ["'x'", -5, "1E300"],
    "RADESYS": ["'JUNK'", 3],
    "CUNIT1": ["'parsec'", "'m**1E9'", "'" + "(" * 60 + "'"],
    "PS1_0": ["'!/etc/passwd'"],
    "DATE-OBS": ["'99999-99-99'", 5],
    "MJD-OBS": ["'x'", "1E300"],
    "PC1_1": ["1E300"],
    "CROTA2": ["1E300"],
    "NAXIS1A": [5],
}


def sky(rng, folder):
    """WCS cards that no telescope wrote: the pixels are read, the positions may be left out."""
    hdu = fits.PrimaryHDU(rng.normal(size=sources.SHAPE).astype(np.float32), sources._header(rng))
    text = bytearray(hdu.header.tostring(padding=False, endcard=False).encode("ascii"))
    for keyword in rng.choice(list(_SKY), int(rng.integers(1, 5)), replace=False):
        values = _SKY[str(keyword)]
        text += card(str(keyword), values[int(rng.integers(len(values)))])
    text += b"END".ljust(80)
    text += b" " * (-len(text) % BLOCK)
    pixels = hdu.data.astype(">f4").tobytes()
    path = folder / "case.fits"
    path.write_bytes(text + pixels + bytes(-len(pixels) % BLOCK))
    return Case(path, same_as=hdu.data)


def tables(rng, folder):
    """Damaged tables of classes, instances and the catalog; the image is unharmed."""
    path = sources.field(rng, folder)
    data = bytearray(path.read_bytes())
    starts = hdu_starts(data)
    first = starts[4]
    if rng.random() < 0.5:
        data[first:] = flip_bits(rng, data[first:], int(rng.integers(1, 60)))
    else:
        for position, keyword in [card for card in cards_of(data) if card[0] >= first]:
            if rng.random() < 0.15:
                set_card(data, position, keyword, absurd_value(rng))
    path.write_bytes(data)
    return Case(path)


_CODE = "!!python/object/apply:os.system ['touch {}']"


def code(rng, folder):
    """Code where a reader could look for some: in the YAML of a table, in a pickle, in names."""
    path = folder / "case.fits"
    mark = folder / "executed"
    if rng.random() < 0.3:
        path.write_bytes(pickle.dumps(_Payload(mark)))
        return Case(path, must_fail=True)
    table = fits.BinTableHDU.from_columns(
        [fits.Column("a", "J", array=np.arange(3))], name="CATALOG"
    )
    for line in (
        "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--",
        "datatype:",
        "- {name: a, datatype: int32}",
    ):
        table.header["COMMENT"] = line
    call = (
        _CODE.format(mark)
        if rng.random() < 0.5
        else "{__class__: os.system, a: !astropy.table.SerializedColumn {}}"
    )
    table.header["COMMENT"] = ["meta: !!omap", "- __serialized_columns__: "][0]
    table.header["COMMENT"] = f"- x: {call}"[:72]
    table.header["COMMENT"] = "--END-ASTROPY-SERIALIZED-COLUMNS--"
    fits.HDUList([fits.PrimaryHDU(np.ones(sources.SHAPE, np.float32)), table]).writeto(path)
    return Case(path, same_as=np.ones(sources.SHAPE, np.float32))


class _Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def long_headers(rng, folder):
    """Thousands of cards, chains of CONTINUE, no END, everything twice."""
    header = fits.PrimaryHDU(np.ones(sources.SHAPE, np.float32)).header
    text = header.tostring(padding=False, endcard=False).encode("ascii")
    kind = int(rng.integers(4))
    more = [
        b"".join(card(f"K{index:06d}", index) for index in range(3000)),
        card("A_LONG", "'x&'") + b"CONTINUE  'yyyyyyyyyyyyyyyyyyyyyyyyyyy&'".ljust(80) * 2000,
        text * 20,
        bytes(rng.integers(0, 256, 80 * 200, dtype=np.uint8)),
    ][kind]
    text += more + (b"END".ljust(80) if rng.random() < 0.7 else b"")
    text += b" " * (-len(text) % BLOCK)
    path = folder / "case.fits"
    path.write_bytes(text + np.ones(sources.SHAPE, ">f4").tobytes().ljust(2 * BLOCK, b"\0"))
    return Case(path)


def foreign(rng, folder):
    """Other formats, noise, and nothing."""
    path = folder / "case.fits"
    starts = [
        b"",
        b"PK\x03\x04",
        b"\x93NUMPY",
        b"\x89HDF\r\n",
        b"\x89PNG",
        b"SIMPLE",
        b"SIMPLE  =",
        b"\x1f\x8b",
        b"BZh",
    ]
    start = starts[int(rng.integers(len(starts)))]
    path.write_bytes(start + rng.bytes(int(rng.integers(0, 9000))))
    return Case(path, must_fail=True)


KINDS = {
    function.__name__: function
    for function in (
        truncated,
        bits,
        header_bits,
        header_characters,
        absurd_cards,
        huge_axes,
        wrong_bitpix,
        shifted,
    )
}
KINDS |= {"structure": structure, "tile_cards": tile_cards}
KINDS |= {
    function.__name__: function
    for function in (
        shuffled_hdus,
        backwards,
        many_hdus,
        name_tricks,
        file_tricks,
        packed,
        bomb,
        swollen,
        tiles,
        tile_heads,
        scalings,
        sky,
    )
}
KINDS |= {function.__name__: function for function in (tables, code, long_headers, foreign)}


def warm_up():
    """Import all that reading may need, before memory is limited."""
    from astropy import log

    from galaxysegment import SEPSegmenter, cli, io, metrics, mosaic  # noqa: F401

    log.setLevel("WARNING")
    image = np.random.default_rng(0).normal(size=(1, 60, 60))
    image[0, 20:25, 20:25] += 100
    SEPSegmenter().predict(image)
