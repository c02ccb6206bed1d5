"""One table cut out of its file, so that astropy sees no other bytes than those that were checked.

astropy looks for ever for an HDU that it cannot parse in a packed file. It also trusts the cards
that say how long the data are.
"""

from contextlib import contextmanager
from io import BytesIO

from astropy.io import fits

from ._hdus import open_stream, reading, too_short
from ._headers import BLOCK, CARD, TO_TEXT, quiet, text_of, whole_number

_CHUNK = 1 << 22
# Cards that say what follows are written anew, and checksums would be wrong.
_STRUCTURE = (
    *("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS", "THEAP"),
    *("CHECKSUM", "DATASUM"),
)


def read_exactly(stream, n_bytes, hdu):
    """Read in pieces, so that a false header costs no more memory than the file holds."""
    data = bytearray()
    while len(data) < n_bytes:
        piece = stream.read(min(_CHUNK, n_bytes - len(data)))
        if not piece:
            raise too_short(hdu)
        data += piece
    return data


def read_data(hdu):
    """Read all bytes of the data of an HDU."""
    stream, _ = open_stream(hdu.path)
    with stream, reading(hdu.path):
        stream.seek(hdu.offset)
        return read_exactly(stream, hdu.n_bytes, hdu)


@contextmanager
def open_table(hdu, n_rows, data, heap_length):
    """Open a table with the cards of `hdu`, but other rows, with astropy.

    Parameters
    ----------
    hdu : Hdu
        A table, which may store a compressed image.
    n_rows : int
    data : bytes
        The rows, and behind them the heap.
    heap_length : int

    Yields
    ------
    HDU of astropy
    """
    text = _header_text(hdu, n_rows, heap_length)
    primary = fits.PrimaryHDU().header.tostring().encode("ascii")
    file = BytesIO(b"".join([primary, text, data, bytes(-len(data) % BLOCK)]))
    with quiet():
        opened = fits.open(file, do_not_scale_image_data=hdu.kind == "compressed")
    with opened:
        with quiet():
            table = opened[1]
        yield table


@contextmanager
def open_whole_table(hdu):
    """Open a table as it is in its file, with astropy."""
    row_length = whole_number(hdu.header, "NAXIS1", hdu.label)
    n_rows = whole_number(hdu.header, "NAXIS2", hdu.label)
    rows_end = row_length * n_rows
    heap_start = whole_number(hdu.header, "THEAP", hdu.label, rows_end)
    if not rows_end <= heap_start <= hdu.n_bytes:
        raise OSError(f"{hdu.label} has THEAP = {heap_start}: the header is damaged.")
    data = bytes(read_data(hdu))
    heap = data[heap_start:]
    with open_table(hdu, n_rows, data[:rows_end] + heap, len(heap)) as table:
        yield table


def _header_text(hdu, n_rows, heap_length):
    n_axes = whole_number(hdu.header, "NAXIS", hdu.label)
    if n_axes != 2:
        raise OSError(f"{hdu.label} is a table of {n_axes} axes, not 2: the header is damaged.")
    is_text = text_of(hdu.header, "XTENSION") == "TABLE"
    structure = {
        "XTENSION": "'TABLE   '" if is_text else "'BINTABLE'",
        "BITPIX": 8,
        "NAXIS": 2,
        "NAXIS1": whole_number(hdu.header, "NAXIS1", hdu.label),
        "NAXIS2": n_rows,
        "PCOUNT": heap_length,
        "GCOUNT": 1,
        "TFIELDS": whole_number(hdu.header, "TFIELDS", hdu.label, 0),
    }
    cards = [f"{keyword:8}= {value!s:>20}".ljust(CARD) for keyword, value in structure.items()]
    text = "".join(cards).encode("ascii") + _other_cards(hdu) + b"END".ljust(CARD)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK)


def _other_cards(hdu):
    """Read the cards of an HDU as they are in the file, but for those about its structure."""
    stream, _ = open_stream(hdu.path)
    with stream, reading(hdu.path):
        stream.seek(hdu.start)
        text = bytes(read_exactly(stream, hdu.offset - hdu.start, hdu)).translate(TO_TEXT)
    cards = [text[start : start + CARD] for start in range(0, len(text), CARD)]
    keywords = [card[:8].rstrip().decode("ascii") for card in cards]
    end = keywords.index("END") if "END" in keywords else len(cards)
    return b"".join(
        card
        for keyword, card in zip(keywords[:end], cards[:end], strict=True)
        if keyword not in _STRUCTURE
    )
