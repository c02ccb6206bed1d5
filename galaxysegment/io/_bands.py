"""Bands of a field: their wavelengths and names, told from headers and files; a choice of them."""

import re

from ._headers import text_of
from ._sources import BandsSource

# Central wavelengths of common filters in nm. Upper and lower case differ for R (Johnson, Sloan)
# and others.
_FILTERS = {
    "u": 355, "g": 475, "r": 622, "i": 763, "z": 905, "y": 1000,
    "U": 365, "B": 445, "V": 551, "G": 475, "R": 640, "I": 800, "Z": 905, "Y": 1020,
    "J": 1250, "H": 1650, "K": 2200, "Ks": 2150, "L": 3500, "M": 4800,
    "FUV": 154, "NUV": 227, "VIS": 715, "W1": 3350, "W2": 4600, "W3": 11600, "W4": 22100,
}  # fmt: skip
_HST_LIKE = re.compile(r"F(\d{3,4})(?:W|M|N|LP|X|W2)", re.IGNORECASE)
_FILTER_CARDS = (
    "FILTER",
    "FILTER1",
    "FILTER2",
    "FILTNAM",
    "FILTNAM1",
    "FILTERS",
    "BAND",
    "EXTNAME",
)
_LENGTH_CARDS = ("PHOTPLAM", "WAVELEN", "WAVELENG", "LAMBDA", "CENTRWV")
_PER_NM = {"angstrom": 0.1, "a": 0.1, "nm": 1.0, "um": 1e3, "micron": 1e3, "m": 1e9}


def band_wavelengths(headers, names, n_bands):
    """Tell the wavelength of each band.

    Cards with a wavelength (PHOTPLAM, …) come before names of filters (FILTER, EXTNAME, …) and
    those before words in the file names (``m31_g.fits``). The first of these that tells all bands
    apart counts.

    Parameters
    ----------
    headers : list of `astropy.io.fits.Header`
        One per band, or that of a cube, whose card BANDS may list a letter per band.
    names : list of str
        Name of the file of each header, without folders.
    n_bands : int

    Returns
    -------
    list of float or None
        In nm; None if the bands cannot be told apart.

    Examples
    --------
    >>> from astropy.io.fits import Header
    >>> band_wavelengths([Header(), Header()], ["m31_i.fits", "m31_g.fits"], 2)
    [763, 475]
    >>> headers = [Header({"FILTER": "F814W"}), Header({"FILTER": "F606W"})]
    >>> band_wavelengths(headers, ["a.fits", "b.fits"], 2)
    [814, 606]
    """
    if n_bands > 1 and len(headers) == 1:
        attempts = [_of_cube(headers[0], n_bands)]
    else:
        attempts = [[_from_length(header) for header in headers]]
        attempts += [[_from_filter(header, card) for header in headers] for card in _FILTER_CARDS]
        attempts.append(_from_names(names))
    for lengths in attempts:
        if None not in lengths and len(set(lengths)) == n_bands:
            return lengths
    return None


def band_names(headers, files, n_bands):
    """List the names that each band goes by.

    Parameters
    ----------
    headers, files, n_bands
        As for `band_wavelengths`.

    Returns
    -------
    list of list of str
        Names of the filter, as the header gives them; the file's name without its ending, and
        words of it that other files do not share.

    Examples
    --------
    >>> from astropy.io.fits import Header
    >>> band_names([Header({"BANDS": "grz"})], ["cube.fits"], 3)
    [['g'], ['r'], ['z']]
    >>> band_names([Header({"FILTER": "g"}), Header()], ["m31_1.fits", "m31_2.fits"], 2)
    [['g', '1', 'm31_1'], ['2', 'm31_2']]
    """
    if len(headers) == 1:
        text = text_of(headers[0], "BANDS")
        words = re.findall(r"[^\s,;]+", text)
        words = list(text) if len(words) == 1 < n_bands else words
        return [[word] for word in words] if len(words) == n_bands else [[]] * n_bands
    stems = [name.split(".fit")[0] for name in files]
    words = [re.findall(r"[A-Za-z0-9]+", stem) for stem in stems]
    shared = set.intersection(*map(set, words))
    names = []
    for header, own, stem in zip(headers, words, stems, strict=True):
        texts = [text_of(header, card) for card in _FILTER_CARDS]
        filters = [word for text in texts for word in (text, *re.findall(r"[^\s.,;]+", text))]
        known = [*filters, *(word for word in own if word not in shared), stem]
        names.append([name for name in dict.fromkeys(known) if name])
    return names


def take_bands(field, bands):
    """Return a field of some of the bands.

    Parameters
    ----------
    field : Field
    bands : sequence of int
        Indices, in the order wanted. An RMS map of several bands is chosen from alike.
    """
    sources = {name: field._source(name) for name in ("image", "rms") if name in field._sources}
    return field._with_sources(
        **{
            name: BandsSource(source, bands)
            for name, source in sources.items()
            if len(source.shape) == 3
        }
    )


def _of_cube(header, n_bands):
    letters = text_of(header, "BANDS")
    if len(letters) == n_bands:
        return [_FILTERS.get(letter) for letter in letters]
    step = header.get("CDELT3", header.get("CD3_3"))
    if text_of(header, "CTYPE3")[:4] in ("WAVE", "AWAV") and isinstance(step, int | float):
        # only the order of the bands counts: the unit does not matter
        return [float(header.get("CRVAL3", 0) + step * band) for band in range(n_bands)]
    return [None] * n_bands


def _from_length(header):
    for card in _LENGTH_CARDS:
        value = header.get(card)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            unit = re.findall(r"[A-Za-z]+", header.comments[card])
            factors = [_PER_NM[word.lower()] for word in unit if word.lower() in _PER_NM]
            return value * (factors[0] if factors else _guessed_factor(value))
    return None


def _guessed_factor(value):
    """Factor to nm of a wavelength without a unit: micron < 100, nm < 2500, else Angstrom."""
    return 1e3 if value < 100 else 1.0 if value < 2500 else 0.1


def _from_filter(header, card):
    text = text_of(header, card)
    infrared = text_of(header, "TELESCOP") == "JWST" or text_of(header, "DETECTOR") == "IR"
    return _wavelength(text, infrared)


def _from_names(names):
    """Wavelengths from the words of file names that not all names share."""
    words = [re.findall(r"[A-Za-z0-9]+", name.split(".fit")[0]) for name in names]
    shared = set.intersection(*map(set, words))
    return [_wavelength(" ".join(word for word in own if word not in shared)) for own in words]


def _wavelength(text, infrared=False):
    """Wavelength of the first word that is a filter, in nm, or None."""
    for word in re.findall(r"[A-Za-z0-9]+", text):
        like = _HST_LIKE.fullmatch(word)
        if like:
            number = int(like[1])
            # the infrared cameras of HST and JWST count in units of 10 nm
            return number * 10 if infrared or number < 200 else number
        if word in _FILTERS:
            return _FILTERS[word]
    return None
