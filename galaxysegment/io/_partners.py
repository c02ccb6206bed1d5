"""Which of several maps in a file belongs to an image: that of the same version, band or place."""

import re

from ._headers import text_of

# Words of EXTNAME that say what an extension holds, not which band or detector it is of.
_KIND_WORDS = re.compile(
    "sci|science|image|img|data|dq|mask|flags?|primary|weights?|weightmap|wht|wgt|wt|ivar|invvar|oow|variance|var|"
    "varmap|rms|err|errors?|sigma|noise|uncert|uncertainty|stddev|std|map"
)


def best_partner(candidates, image):
    """Return the map that belongs to an image.

    Files of several detectors or bands hold a map for each: the one with the EXTVER of the image is
    taken, then the one of the same band by EXTNAME (``RMS_G`` for ``SCI_G``), then, in another
    file, the one at the same place. The first is taken if that does not tell.

    Parameters
    ----------
    candidates : list of Hdu
        Not empty.
    image : Hdu

    Returns
    -------
    Hdu
    """
    for same in (_same_version, _same_words, _same_place):
        chosen = [hdu for hdu in candidates if same(hdu, image)]
        if chosen:
            candidates = chosen
    return candidates[0]


def own_partner(candidates, image, hdus):
    """Return the map of the file of an image that belongs to the image; None if there is none.

    A map is another image's if the file holds an image of the same EXTNAME with the EXTVER of the
    map (``SCI,2`` for ``DQ,2``), or an image of the band of the map (``SCI_G`` for ``RMS_G``).

    Parameters
    ----------
    candidates : list of Hdu
        Not empty.
    image : Hdu
    hdus : list of Hdu
        All of the file.

    Returns
    -------
    Hdu or None
    """
    partner = best_partner(candidates, image)
    others = [
        hdu for hdu in hdus if hdu.is_image and hdu.index != image.index and hdu not in candidates
    ]
    if not _same_version(partner, image) and any(
        hdu.name == image.name and _same_version(hdu, partner) for hdu in others
    ):
        return None
    if not _same_words(partner, image) and any(
        _words(hdu) and _same_words(hdu, partner) for hdu in others
    ):
        return None
    return partner


def _same_version(hdu, image):
    return _version(hdu) == _version(image)


def _version(hdu):
    return text_of(hdu.header, "EXTVER") or "1"


def _same_words(hdu, image):
    return _words(hdu) == _words(image)


def _words(hdu):
    """Words of EXTNAME without those that name a kind of map."""
    words = re.findall(r"[a-z]+|\d+", text_of(hdu.header, "EXTNAME").lower())
    return [word for word in words if not _KIND_WORDS.fullmatch(word)]


def _same_place(hdu, image):
    return hdu.path != image.path and hdu.index == image.index
