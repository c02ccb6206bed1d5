"""Tell RMS, variance and weight maps apart, and turn them all into RMS."""

import re

import numpy as np

from ._hdus import find_image
from ._headers import text_of
from ._partners import best_partner
from ._pixels import read_floats

KINDS = ("rms", "variance", "weight")
_WORDS = {
    "weight": "weight weights weightmap wht wgt wt wtmap ivar invvar invvariance "
    "inversevariance oow",
    "variance": "variance var varmap varianceuncertainty",
    "rms": "rms rmsmap err error errors sigma noise uncert uncertainty stddev std "
    "stddevuncertainty",
}
_KIND_OF = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_INVERSE_SQUARE = re.compile(r"^1? */.*(\^|\*\*) *\(?2|(\^|\*\*) *\(?- *2|[a-zA-Z)]-2\b")
# UTYPE is where astropy's CCDData says what its UNCERT extension is, hence first.
_CARDS = ("UTYPE", "EXTNAME", "EXTTYPE", "PRODTYPE")


def kind_of_text(text):
    """Tell the kind of a noise map from a text: one of `KINDS`, or None."""
    kinds = {_KIND_OF.get(word) for word in re.split(r"[^a-z]+", text.lower())}
    return next((kind for kind in ("weight", "variance", "rms") if kind in kinds), None)


def kind_of_header(hdu):
    """Tell the kind of a noise map from its header: one of `KINDS`, or None."""
    kinds = (kind_of_text(text_of(hdu.header, keyword)) for keyword in _CARDS)
    return next((kind for kind in kinds if kind), None)


def plain_kind_of_header(hdu):
    """Like `kind_of_header`, but None for a mere "weight", which may be an exposure time.

    A unit such as ``1/nJy^2`` or ``nJy**-2`` says that it is an inverse variance.
    """
    kind = kind_of_header(hdu)
    words = " ".join(text_of(hdu.header, keyword) for keyword in _CARDS).lower()
    is_inverse = "inv" in words or "ivar" in words
    if kind != "weight" or is_inverse or _INVERSE_SQUARE.search(text_of(hdu.header, "BUNIT")):
        return kind
    return None


def find_noise(path, hdu, kind, hdus, *, image=None, prefix=""):
    """Find the HDU of a noise map and its kind.

    Parameters
    ----------
    path : path
    hdu : int, str, (str, int) or None
    kind : {"rms", "variance", "weight", "auto"}
    hdus : iterable of Hdu
        All HDUs of the file.
    image : Hdu, optional
        The image that the map belongs to. It is never taken for its own noise map.
    prefix : str, default=""
        What the names of the arguments `hdu` and `kind` begin with in messages.

    Returns
    -------
    hdu : Hdu
    kind : {"rms", "variance", "weight"}
    """
    if kind not in (*KINDS, "auto"):
        raise ValueError(f"{prefix}kind must be one of {(*KINDS, 'auto')}. Got {kind!r} instead.")
    if hdu is None:
        hdus = list(hdus)
    noise = _find_unnamed(path, kind, hdus, image, prefix) if hdu is None else None
    noise = find_image(path, hdu if noise is None else noise.index, hdus)
    if kind != "auto":
        return noise, kind
    kind = kind_of_header(noise) or kind_of_text(noise.path.name)
    if kind is None:
        raise ValueError(
            f"{prefix}kind='auto' cannot tell what {noise.label} is: "
            "neither its header nor the name of the file "
            f"says so. Pass {prefix}kind= one of {KINDS}."
        )
    return noise, kind


def _find_unnamed(path, kind, hdus, image, prefix):
    """Find the noise map of a file by its header, else by its place."""
    images = [hdu for hdu in hdus if hdu.is_image]
    kinds = [(hdu, kind_of_header(hdu)) for hdu in images]
    noise = [hdu for hdu, own in kinds if own is not None and kind in ("auto", own)]
    if noise:
        return noise[0] if image is None else best_partner(_of_shape(noise, image), image)
    others = [f"{hdu.label} is a {own} map" for hdu, own in kinds if own is not None]
    if others:
        raise ValueError(
            f"{path} has no extension that calls itself {kind}, but {others[0]}: "
            f"say so ({prefix}kind='auto' finds out), or pass {prefix}hdu= the HDU to read."
        )
    if image is None or not images:
        return None
    if images[0].path.samefile(image.path):
        return _other_image(path, images, image, prefix)
    return best_partner(_of_shape(images, image), image)


def _of_shape(hdus, image):
    """Those with the height and width of an image; all of them if none has."""
    return [hdu for hdu in hdus if hdu.image_shape[-2:] == image.image_shape[-2:]] or hdus


def _other_image(path, images, image, prefix):
    """Take the only other image of the image's own file."""
    others = [
        hdu
        for hdu in images
        if hdu.index != image.index and hdu.image_shape[-2:] == image.image_shape[-2:]
    ]
    if len(others) == 1:
        return others[0]
    holds = "; ".join(hdu.describe() for hdu in others) or "no other image of its shape"
    raise ValueError(
        f"{path} is the file of the image itself, and no header says which HDU is the noise map. "
        "Beside the image "
        f"it holds {holds}: pass {prefix}hdu= the one to read."
    )


def read_noise(hdu, kind, section=None):
    """Read a noise map as RMS; NaN where there are no data."""
    noise = read_floats(hdu, section)
    # NaN is no extreme of other numbers: most maps pass without an array of booleans
    if noise.size and not (noise.min() > 0 and noise.max() < np.inf):
        noise[~((noise > 0) & (noise < np.inf))] = np.nan
    if kind != "rms":
        np.sqrt(noise, out=noise)
    if kind == "weight":
        np.reciprocal(
            noise, out=noise
        )  # after the root: the inverse of a tiny weight would overflow
    return noise
