"""Tell RMS, variance and weight maps apart, and turn them all into RMS."""

import re

import numpy as np

from ._hdus import find_image, scan
from ._headers import text_of
from ._pixels import read_floats

KINDS = ("rms", "variance", "weight")
_WORDS = {
    "weight": "weight weights weightmap wht wgt wt wtmap ivar invvar invvariance inversevariance oow",
    "variance": "variance var varmap varianceuncertainty",
    "rms": "rms rmsmap err error errors sigma noise uncert uncertainty stddev std stddevuncertainty",
}
_KIND_OF = {word: kind for kind, words in _WORDS.items() for word in words.split()}
# UTYPE is where astropy's CCDData says what its UNCERT extension is, hence first.
_CARDS = ("UTYPE", "EXTNAME", "EXTTYPE", "PRODTYPE")


def kind_of_text(text):
    """What the words of a text say: one of `KINDS`, or None."""
    kinds = {_KIND_OF.get(word) for word in re.split(r"[^a-z]+", text.lower())}
    return next((kind for kind in ("weight", "variance", "rms") if kind in kinds), None)


def kind_of_header(hdu):
    """What the header of an HDU says it is: one of `KINDS`, or None."""
    kinds = (kind_of_text(text_of(hdu.header, keyword)) for keyword in _CARDS)
    return next((kind for kind in kinds if kind), None)


def plain_kind_of_header(hdu):
    """Like `kind_of_header`, but None for a mere "weight": in drizzled images that is an exposure time."""
    kind = kind_of_header(hdu)
    words = " ".join(text_of(hdu.header, keyword) for keyword in _CARDS).lower()
    return None if kind == "weight" and "inv" not in words and "ivar" not in words else kind


def find_noise(path, hdu, kind, hdus=None):
    """Find the HDU of a noise map and its kind.

    Parameters
    ----------
    path : path
    hdu : int, str, (str, int) or None
    kind : {"rms", "variance", "weight", "auto"}
    hdus : list of Hdu, optional
        What `scan` found in the file, where that has been done before.

    Returns
    -------
    hdu : Hdu
    kind : {"rms", "variance", "weight"}
    """
    if kind not in (*KINDS, "auto"):
        raise ValueError(f"kind must be one of {(*KINDS, 'auto')}. Got {kind!r} instead.")
    if hdu is None and hdus is None:
        hdus = list(scan(path))
    found = _find_named(path, kind, hdus) if hdu is None else None
    found = found or find_image(path, hdu, hdus)
    if kind != "auto":
        return found, kind
    kind = kind_of_header(found) or kind_of_text(found.path.name)
    if kind is None:
        raise ValueError(
            f"kind='auto' cannot tell what {found.label} is: neither its header nor the name of the file says so. "
            f"Pass kind= one of {KINDS}."
        )
    return found, kind


def _find_named(path, kind, hdus):
    named = [(hdu, kind_of_header(hdu)) for hdu in hdus if hdu.is_image]
    for hdu, found in named:
        if found is not None and kind in ("auto", found):
            return hdu
    others = [f"{hdu.label} is a {found} map" for hdu, found in named if found is not None]
    if others:
        raise ValueError(
            f"{path} has no extension that calls itself {kind}, but {others[0]}: "
            "say that it is one (kind='auto' finds out), or pass hdu= the one to read."
        )
    return None


def read_noise(hdu, kind, section=None):
    """Read a noise map as RMS; NaN where there are no data."""
    noise = read_floats(hdu, section)
    noise[~((noise > 0) & np.isfinite(noise))] = np.nan
    if kind != "rms":
        np.sqrt(noise, out=noise)
    if kind == "weight":
        np.reciprocal(
            noise, out=noise
        )  # after the root: the inverse of a tiny weight would overflow
    return noise
