"""List the HDUs of a FITS file from its headers, and check them against the size of the file.

astropy opens truncated and absurd files without complaint. It fails, or fills the memory, when
pixels are read. Here the sizes in a header are compared with the file before anything is read.
"""

import bz2
import gzip
import lzma
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

import numpy as np
from astropy.io import fits

from ._headers import BLOCK, parse_header, text_of, whole_number
from ._limits import check_n_hdus, check_unpacked

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
# Bytes that a byte of a packed file can unpack to: measured with zeros, and a margin for headers.
_MOST_UNPACKED = {b"\x1f\x8b": 1_040, b"BZh": 1_600_000, b"\xfd7zXZ": 7_200}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (a NumPy .npz file is one)",
    b"\x93NUMPY": "a NumPy .npy file",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"II*\x00": "a TIFF picture",
    b"MM\x00*": "a TIFF picture",
}
_BITPIX = (8, 16, 32, 64, -32, -64)
_LABEL_NAMES = ("LABELS", "LABEL", "SEGMENTATION", "SEGMAP", "SEGM", "SEG", "SEGIM")
# HDUs that a message lists.
_LONGEST_LIST = 20
# The end of a packed file is not known before it is unpacked. No file is longer than this.
_FARTHEST = 2**62


@dataclass(frozen=True, eq=False)
class Hdu:
    """One HDU of a file: its header and where its data are."""

    path: Path
    index: int
    header: fits.Header
    kind: str  # "image", "compressed" (tile-compressed image) or "table"
    shape: tuple
    bitpix: int
    start: int  # of the header
    offset: int  # of the data
    n_bytes: int
    is_stream: bool
    limits: bool

    @property
    def name(self):
        """EXTNAME, or PRIMARY."""
        return text_of(self.header, "EXTNAME").upper() or ("PRIMARY" if self.index == 0 else "")

    @property
    def label(self):
        """How to call the HDU in a message."""
        return f"HDU {self.index}{f' ({self.name})' if self.name else ''} of {self.path}"

    @property
    def is_image(self):
        """Whether it holds an image with pixels, of two or more axes."""
        return self.kind != "table" and len(self.shape) >= 2 and prod(self.shape) > 0

    @property
    def image_shape(self):
        """Shape without axes of length 1 before the last two."""
        return (*(length for length in self.shape[:-2] if length != 1), *self.shape[-2:])

    def describe(self):
        """Return one line for a list of what a file holds."""
        what = (
            "table"
            if self.kind == "table"
            else " x ".join(map(str, self.shape))
            if self.shape
            else "no data"
        )
        return f"{self.index} {self.name or '(no name)'}: {what}"


def open_stream(path):
    """Open a FITS file, plain or packed as a whole; return the file and whether it is packed.

    Raises
    ------
    OSError
        If there is no such file, or it is not FITS by its first bytes.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}: check the path.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of a FITS file.")
    with path.open("rb") as file:
        start = file.read(10)
    for magic, opener in _OPENERS.items():
        if start.startswith(magic):
            return opener(path, "rb"), True
    if start.startswith(b"SIMPLE"):
        return path.open("rb"), False
    kind = next((name for magic, name in _FOREIGN.items() if start.startswith(magic)), None)
    what = f" but {kind}" if kind else f": it starts with {start!r}" if start else " but empty"
    raise OSError(
        f"{path} is not a FITS file{what}. Give a FITS file, plain or packed as .gz, .bz2 or .fz."
    )


@contextmanager
def reading(path):
    """Turn the errors of the unpackers into a clear line."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if str(path) in str(error):
            raise
        raise OSError(f"{path} is truncated or damaged: {error}") from error


def scan(path, limits=True):
    """Yield the HDUs of a file one by one, from headers alone.

    It ends at the end of the file, or at bytes that begin no extension. It raises an error at a
    header that cannot be understood, and at the limits of `_limits`.
    """
    path = Path(path)
    stream, is_stream = open_stream(path)
    end = _end_of(path, is_stream)
    with stream, reading(path):
        index, start = 0, 0
        while True:
            if limits:
                check_n_hdus(path, index + 1)
                if is_stream:
                    check_unpacked(path, start, path.stat().st_size)
            stream.seek(start)
            block = stream.read(BLOCK)
            if index and not block.startswith(b"XTENSION"):
                return
            if not index and not block.startswith(b"SIMPLE"):
                raise OSError(
                    f"{path} is not a FITS file: unpacked, it starts with {block[:10]!r}."
                )
            if len(block) < BLOCK:
                raise OSError(
                    f"{path} is truncated: the header of HDU {index} ends after {len(block)} bytes."
                )
            name = f"HDU {index} of {path}"
            header = parse_header(stream, block, name)
            hdu = _make_hdu(path, index, header, start, stream.tell(), is_stream, limits)
            yield hdu
            index, start = index + 1, hdu.offset + ceil(hdu.n_bytes / BLOCK) * BLOCK
            if start >= end:
                return


def _make_hdu(path, index, header, start, offset, is_stream, limits):
    name = f"HDU {index} of {path}"
    xtension = text_of(header, "XTENSION") if index else "IMAGE"
    bitpix, shape = _axes(header, "", name)
    # Random groups, an old way to store visibilities, say that their first axis has no pixels.
    has_groups = text_of(header, "GROUPS") == "True" and shape[-1:] == (0,)
    n_bytes = _data_length(header, bitpix, shape[:-1] if has_groups else shape, name)
    kind = "image" if xtension in ("IMAGE", "IUEIMAGE") and not has_groups else "table"
    if xtension in ("BINTABLE", "A3DTABLE", "TABLE"):
        _check_columns(header, name)
    if xtension in ("BINTABLE", "A3DTABLE") and text_of(header, "ZIMAGE") == "True":
        kind = "compressed"
        bitpix, shape = _axes(header, "Z", name)
    return Hdu(path, index, header, kind, shape, bitpix, start, offset, n_bytes, is_stream, limits)


def _check_columns(header, name):
    """Refuse a number of columns that no table can have: astropy would look for all of them."""
    n_columns = whole_number(header, "TFIELDS", name, 0)
    if not 0 <= n_columns <= 999:
        raise OSError(
            f"{name} has TFIELDS = {n_columns}, which must be 0 to 999: the header is damaged."
        )


def _data_length(header, bitpix, shape, name):
    """Bytes that the data of an HDU take."""
    groups, parameters = (
        whole_number(header, "GCOUNT", name, 1),
        whole_number(header, "PCOUNT", name, 0),
    )
    if not shape:
        return 0
    if groups < 1 or parameters < 0:
        raise OSError(
            f"{name} has GCOUNT = {groups} and PCOUNT = {parameters}: the header is damaged."
        )
    return groups * (parameters + prod(shape)) * abs(bitpix) // 8


def _axes(header, prefix, name):
    """BITPIX and the shape, last axis of FITS first."""
    bitpix = whole_number(header, f"{prefix}BITPIX", name)
    if bitpix not in _BITPIX:
        raise OSError(
            f"{name} has {prefix}BITPIX = {bitpix}, which must be one of {_BITPIX}: "
            "the header is damaged."
        )
    n_axes = whole_number(header, f"{prefix}NAXIS", name)
    if not 0 <= n_axes <= 999:
        raise OSError(
            f"{name} has {prefix}NAXIS = {n_axes}, which must be 0 to 999: the header is damaged."
        )
    shape = tuple(
        whole_number(header, f"{prefix}NAXIS{axis}", name) for axis in range(n_axes, 0, -1)
    )
    if any(length < 0 for length in shape):
        raise OSError(f"{name} promises an image of shape {shape}: the header is damaged.")
    return bitpix, shape


def find_hdu(path, hdu=None, hdus=None):
    """Find an HDU.

    Parameters
    ----------
    path : str or path
    hdu : int, str, (str, int) or None
        Index, name, or name and version; ``None`` is the first that holds an image.
    hdus : iterable of Hdu, optional
        The HDUs of the file, if they were listed before.

    Raises
    ------
    ValueError
        If there is no such HDU; the message lists those present.
    """
    _check_hdu_argument(hdu)
    hdus = scan(path) if hdus is None else hdus
    if isinstance(hdu, (int, np.integer)) and hdu < 0:
        candidates = list(hdus)
        if -hdu <= len(candidates):
            return candidates[hdu]
    else:
        candidates = []
        for candidate in hdus:
            if _matches(candidate, hdu):
                return candidate
            candidates.append(candidate)
    n_hdus = len(candidates)
    holds = "; ".join(candidate.describe() for candidate in candidates[:_LONGEST_LIST])
    holds += f"; … ({n_hdus} in all)" if n_hdus > _LONGEST_LIST else ""
    what = "image (of two or more axes)" if hdu is None else f"HDU {hdu!r}"
    raise ValueError(f"{path} holds no {what}. It has {holds}{_end_note(candidates[-1])}.")


def _check_hdu_argument(hdu):
    is_pair = (
        isinstance(hdu, tuple)
        and len(hdu) == 2
        and isinstance(hdu[0], str)
        and isinstance(hdu[1], (int, np.integer))
    )
    if isinstance(hdu, bool) or not (
        hdu is None or is_pair or isinstance(hdu, (int, np.integer, str))
    ):
        raise TypeError(
            f"hdu must be an index, a name, a (name, version) pair or None. Got {hdu!r} instead."
        )


def _matches(candidate, hdu):
    if hdu is None:
        return candidate.is_image
    if isinstance(hdu, (int, np.integer)):
        return candidate.index == hdu
    name, version = (hdu, None) if isinstance(hdu, str) else hdu
    if candidate.name != name.strip().upper() and not (
        candidate.index == 0 and name.strip().upper() == "PRIMARY"
    ):
        return False
    return (
        version is None or whole_number(candidate.header, "EXTVER", candidate.label, 1) == version
    )


def _end_note(last):
    if last.is_stream or last.offset + last.n_bytes <= last.path.stat().st_size:
        return ""
    return f", and the file ends inside HDU {last.index}: it is truncated"


def find_image(path, hdu=None, hdus=None):
    """Find an HDU that must hold an image of two or three axes; parameters as for `find_hdu`."""
    image = find_hdu(path, hdu, hdus)
    if image.kind == "table":
        raise ValueError(
            f"{image.label} holds a table, not an image: give the index or name of another HDU."
        )
    if not image.is_image:
        shape = image.shape or "no data"
        raise ValueError(
            f"{image.label} holds no image: two or more axes are needed, but it has {shape}."
        )
    if len(image.image_shape) > 3:
        raise ValueError(
            f"{image.label} has shape {image.shape}: a (height, width) image or a "
            "(n_bands, height, width) cube is needed."
        )
    return image


def find_labels(path, hdu, hdus):
    """Find the HDU of a label map; parameters as for `find_hdu`."""
    if hdu is not None:
        return find_image(path, hdu, hdus)
    hdus = list(hdus)
    return find_named_labels(hdus) or find_image(path, None, hdus)


def find_named_labels(hdus):
    """Find the image extension that calls itself a label map, or None."""
    return next((hdu for hdu in hdus if hdu.is_image and hdu.name in _LABEL_NAMES), None)


def check_complete(hdu):
    """Refuse an HDU whose header promises more than the file holds.

    The length of a file packed as a whole is not known before it is unpacked, only the most that it
    can be; there, reading stops at the end.
    """
    end, size = hdu.offset + hdu.n_bytes, hdu.path.stat().st_size
    if end > (_most_unpacked(hdu.path) if hdu.is_stream else size):
        raise too_short(hdu)
    if hdu.is_stream and hdu.limits:
        check_unpacked(hdu.label, end, size)
    if hdu.kind == "compressed":
        _check_tiles(hdu)


def _most_unpacked(path):
    with path.open("rb") as file:
        start = file.read(10)
    ratio = next((ratio for magic, ratio in _MOST_UNPACKED.items() if start.startswith(magic)), 1)
    return ratio * path.stat().st_size + 100 * BLOCK


def _end_of(path, is_stream):
    return _FARTHEST if is_stream else path.stat().st_size


def too_short(hdu):
    """Make the error for an HDU whose data are not all there."""
    return OSError(
        f"{hdu.label} is truncated or damaged: its header promises {hdu.n_bytes} bytes of data, "
        "more than the file holds."
    )


def tile_lengths(hdu):
    """Shape of a tile of a compressed image, of which those at the edges may have less."""
    return [
        whole_number(hdu.header, f"ZTILE{axis}", hdu.label, hdu.shape[-1] if axis == 1 else 1)
        for axis in range(len(hdu.shape), 0, -1)
    ]


def _check_tiles(hdu):
    n_rows = whole_number(hdu.header, "NAXIS2", hdu.label)
    n_tiles = prod(
        ceil(length / tile) if tile > 0 else -1
        for length, tile in zip(hdu.shape, tile_lengths(hdu), strict=True)
    )
    if n_tiles != n_rows:
        raise OSError(
            f"{hdu.label} is damaged: its header promises an image of shape {hdu.shape} in "
            f"{n_tiles} compressed tiles, but there are {n_rows}."
        )
