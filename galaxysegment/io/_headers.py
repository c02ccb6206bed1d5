"""Headers: read block by block; illegal cards are mended or dropped only here."""

import threading
import warnings
from contextlib import contextmanager

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from .._utils.shared import SHARED_FILTERS

BLOCK = 2880
CARD = 80
# 144,000 cards: no camera writes that many, but text that is not FITS could run on to its end.
_MAX_BLOCKS = 4_000
TO_TEXT = bytes(byte if 32 <= byte < 127 else ord(" ") for byte in range(256))
_LOCK = threading.RLock()


@contextmanager
def quiet():
    """Keep astropy's remarks about illegal cards from users, who cannot do anything about them.

    Python's warning filters belong to the whole process: only one thread at a time may change them.
    """
    with _LOCK, SHARED_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse_header(stream, first_block, name):
    """Read the rest of a header whose first block is at hand.

    Parameters
    ----------
    stream : binary file
        Stands behind `first_block`; left behind the header.
    first_block : bytes
    name : str
        Whose header it is, for the error message.

    Returns
    -------
    `astropy.io.fits.Header`
    """
    blocks, block = [], first_block
    while True:
        end = _find_end(block)
        blocks.append(block if end is None else block[:end])
        if end is not None:
            break
        block = stream.read(BLOCK)
        if len(block) < BLOCK or len(blocks) >= _MAX_BLOCKS:
            raise OSError(f"{name} has no END card: the file is truncated, or it is not FITS.")
    text = b"".join(blocks).translate(TO_TEXT).decode("ascii")
    with quiet():
        return fits.Header.fromstring(text)


def _find_end(block):
    for start in range(0, len(block), CARD):
        if block[start : start + 8].rstrip() == b"END":
            return start
    return None


def clean_header(header):
    """Copy a header without the cards that do not parse; those that can be mended are.

    Parameters
    ----------
    header : `astropy.io.fits.Header`

    Returns
    -------
    `astropy.io.fits.Header`
    """
    with quiet():
        texts = [_mended_text(card) for card in header.cards]
        # What astropy would still remark on, whenever anyone looks at the card, has to go.
        warnings.simplefilter("error")
        cards = [_legal_card(text) for text in texts if text is not None]
        return fits.Header([card for card in cards if card is not None])


def _mended_text(card):
    try:
        card.verify("silentfix")
        return str(card)
    except (fits.VerifyError, ValueError, TypeError):
        return None


def _legal_card(text):
    """Parse a card, which astropy otherwise does on first use; None if it is illegal."""
    try:
        card = fits.Card.fromstring(text)
        card.verify("exception")
        str(card.value), card.comment
    except (fits.VerifyError, AstropyUserWarning, ValueError, TypeError):
        return None
    return card


def whole_number(header, keyword, name, default=None):
    """Return a card that must hold a whole number."""
    try:
        with quiet():
            value = header.get(keyword, default)
    except fits.VerifyError:
        value = "an illegal card"
    if isinstance(value, bool) or not isinstance(value, int):
        raise OSError(
            f"{name} has {keyword} = {value!r}, which must be a whole number: the header is "
            "damaged."
        )
    return value


def text_of(header, keyword):
    """Return a card as stripped text; empty where it is missing or illegal."""
    try:
        with quiet():
            return str(header.get(keyword, "")).strip()
    except fits.VerifyError:
        return ""
