"""Choose the bands to work on, by number or by name."""

from dataclasses import dataclass
from pathlib import Path

from ._inputs import parse_hdus


@dataclass(frozen=True)
class Bands:
    """The bands in use.

    Parameters
    ----------
    indices : list of int
        Among the bands of the files, in the order wanted.
    names : list of str or None
        As they were asked for; None if they were asked for by number, or not at all.
    headers : list of Header
        One per band of the files, or that of a cube.
    files : list of str
        Name of the file of each header, without folders.
    n_bands : int
        Bands of the files.
    """

    indices: list
    names: list | None
    headers: list
    files: list
    n_bands: int

    def wavelengths(self):
        """Return the wavelengths of the bands in use, or None if they are not known."""
        from ..io._bands import band_wavelengths

        if len(self.headers) == 1:
            lengths = band_wavelengths(self.headers, self.files, self.n_bands)
            return None if lengths is None else [lengths[index] for index in self.indices]
        headers, files = (
            [part[index] for index in self.indices] for part in (self.headers, self.files)
        )
        return band_wavelengths(headers, files, len(headers))


def add_bands_argument(parser):
    """Declare the option."""
    parser.add_argument(
        "--bands",
        default=None,
        metavar="LIST",
        help="bands to use, in this order, separated by commas: numbers from 1, or names that "
        "headers or file names give them (all by default); names become columns of the catalog",
    )


def choose_bands(arguments, field):
    """Return the field of the bands that ``--bands`` names, and the `Bands`."""
    from ..io import read_header
    from ..io._bands import take_bands

    images, hdus = arguments.image, parse_hdus(arguments.hdu)
    hdus = hdus if isinstance(hdus, list) else [hdus]
    n_headers = max(len(images), len(hdus))
    images, hdus = (list(part) * n_headers if len(part) == 1 else part for part in (images, hdus))
    limits = not arguments.no_limits
    headers = [
        read_header(path, hdu, limits=limits) for path, hdu in zip(images, hdus, strict=True)
    ]
    about = headers, [Path(path).name for path in images], field.n_bands
    if arguments.bands is None:
        return field, Bands(list(range(field.n_bands)), None, *about)
    wanted = [word.strip() for word in arguments.bands.split(",") if word.strip()]
    by_number = all(word.isdigit() for word in wanted)
    indices = [_find(word, by_number, *about) for word in wanted]
    if not indices or len(set(indices)) < len(indices):
        raise ValueError(f"--bands takes different bands. Got {arguments.bands!r} instead.")
    return take_bands(field, indices), Bands(indices, None if by_number else wanted, *about)


def _find(word, by_number, headers, files, n_bands):
    """Return the index of the band of a number or a name."""
    if by_number:
        if 1 <= int(word) <= n_bands:
            return int(word) - 1
        raise ValueError(f"--bands takes numbers from 1 to {n_bands} here. Got {word} instead.")
    from ..io._bands import band_names

    names = band_names(headers, files, n_bands)
    places = [index for index, own in enumerate(names) if word in own]
    if len(places) == 1:
        return places[0]
    known = "; ".join(
        f"{number} ({', '.join(own) or 'no name'})" for number, own in enumerate(names, start=1)
    )
    raise ValueError(
        f"--bands: {'no band is' if not places else f'{len(places)} bands are'} called {word!r}. "
        f"The bands are {known}: use a name of a single band, or numbers."
    )
