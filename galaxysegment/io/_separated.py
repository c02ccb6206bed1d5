"""The file of separated light: a table of sources, their parts as boxes of pixels, the residual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from ..structures import Instances, Separated
from ..structures._types import Section
from ._excerpt import read_exactly
from ._hdus import open_stream, reading, scan
from ._headers import whole_number
from ._pixels import read_floats

SEPARATED, RESIDUAL = "SEPARATED", "RESIDUAL"
_BOX = ("Y0", "X0", "Y1", "X1")
_BLOCK = 2880


def row_dtype(n_bands, *, with_parts):
    """Rows of the table: numbers about each source and, with parts, where these are in the heap."""
    of_bands = () if n_bands == 1 else (n_bands,)
    columns = [(name, ">i8") for name in ("LABEL", "BLEND")]
    columns += [(name, ">f8") for name in ("Y", "X")] + [(name, ">i8") for name in _BOX]
    columns += [(name, ">f8", of_bands) for name in ("FLUX", "FLUX_ERROR", "BLENDEDNESS")]
    if with_parts:
        columns += [("SCORE", ">f8"), ("CLASS", ">i8")]
        columns += [(f"MASK_{name}", ">i8") for name in _BOX]
        columns += [("PART", ">i8", (2,)), ("MASK", ">i8", (2,))]
    return np.dtype(columns)


def table_header(rows, heap_bytes, shape, n_bands):
    """Bytes of the header of the table, padded to a block."""
    header = fits.Header()
    header["XTENSION"] = "BINTABLE"
    header["BITPIX"], header["NAXIS"] = 8, 2
    header["NAXIS1"], header["NAXIS2"] = rows.dtype.itemsize, len(rows)
    header["PCOUNT"], header["GCOUNT"] = heap_bytes, 1
    header["TFIELDS"] = len(rows.dtype.names)
    for number, name in enumerate(rows.dtype.names, start=1):
        header[f"TTYPE{number}"] = name
        header[f"TFORM{number}"] = _format_of(rows, name)
        if name in {"X", "Y"}:
            header[f"TUNIT{number}"] = "pix"
    header["EXTNAME"] = SEPARATED
    header["HEIGHT"], header["WIDTH"] = shape
    header["NBANDS"] = n_bands
    return header.tostring(padding=True).encode("ascii")


def _format_of(rows, name):
    if name in {"PART", "MASK"}:
        longest = int(rows[name][:, 0].max(initial=0))
        return f"1Q{'E' if name == 'PART' else 'B'}({longest})"
    base = rows.dtype[name].base
    repeat = rows.dtype[name].itemsize // base.itemsize
    letter = "K" if base.kind == "i" else "D"
    return letter if repeat == 1 else f"{repeat}{letter}"


def padding(n_bytes):
    """Zero bytes that fill a block of FITS after so many bytes."""
    return b"\0" * (-n_bytes % _BLOCK)


def read_separated(path: str | Path, *, section: Section | None = None) -> Separated:
    """Read the light that `galaxysegment.mosaic.separate_mosaic` wrote, or a section of it.

    Parameters
    ----------
    path : str or path
        A file that was written with ``kind="parts"``.
    section : tuple of two slices, optional
        Rows and columns to read. Of the file's parts, no others are read.

    Returns
    -------
    Separated
        With a section: the sources whose masks reach into it, masks and parts cut at its edges,
        boxes in its frame, but the fluxes of the whole sources. Light of sources whose masks are
        outside is in the residual, so that parts and residual add up to the image of the section.

    Raises
    ------
    FileNotFoundError, OSError
        If there is no such file, or it is damaged.
    ValueError
        If the file has no parts, or the section is empty or outside the image.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from galaxysegment.io import read_separated
    >>> from galaxysegment.mosaic import separate_mosaic
    >>> from galaxysegment.separation import TemplateSeparator
    >>> y, x = np.indices((40, 48))
    >>> image = 300 * np.exp(-((y - 20) ** 2 + (x - 18) ** 2) / 18)
    >>> labels, rms = (image > 3).astype(int), np.ones((40, 48))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = separate_mosaic(TemplateSeparator(), image, labels, rms=rms, kind="parts",
    ...                            output=f"{folder}/light.fits", progress=False)
    ...     read_separated(path)
    Separated(n=1, shape=(40, 48))
    """
    hdus = {hdu.name: hdu for hdu in scan(Path(path))}
    if SEPARATED not in hdus:
        raise ValueError(
            f"{path} has no table {SEPARATED}: pass a file that separate_mosaic wrote with "
            "kind='parts'."
        )
    table = hdus[SEPARATED]
    shape, n_bands = (
        tuple(whole_number(table.header, name, table.label) for name in ("HEIGHT", "WIDTH")),
        whole_number(table.header, "NBANDS", table.label),
    )
    dtype = row_dtype(n_bands, with_parts=True)
    if RESIDUAL not in hdus or whole_number(table.header, "NAXIS1", table.label) != dtype.itemsize:
        raise ValueError(f"{path} has fluxes, but no parts: write it with kind='parts'.")
    window = _check_section(section, shape)
    stream, _ = open_stream(table.path)
    with stream, reading(table.path):
        stream.seek(table.offset)
        n_rows = whole_number(table.header, "NAXIS2", table.label)
        rows = np.frombuffer(read_exactly(stream, n_rows * dtype.itemsize, table), dtype)
        sources = _Rows(rows, stream, table, n_bands)
        residual = read_floats(hdus[RESIDUAL], section).astype(np.float32, copy=False)
        return sources.cut(window, residual)


def _check_section(section, shape):
    """Return ``y0, x0, y1, x1``."""
    if section is None:
        return 0, 0, *shape
    (y0, y1, _), (x0, x1, _) = (
        part.indices(side) for part, side in zip(section, shape, strict=True)
    )
    if y0 >= y1 or x0 >= x1:
        raise ValueError(
            f"section={section!r} has no pixel of an image of shape {shape}: pass rows and columns "
            "inside it."
        )
    return y0, x0, y1, x1


class _Rows:
    """Rows of the table, and the heap behind them."""

    def __init__(self, rows, stream, hdu, n_bands):
        self.rows, self.stream, self.hdu, self.n_bands = rows, stream, hdu, n_bands
        self.heap = hdu.offset + rows.nbytes

    def cut(self, window, residual):
        """Return the `Separated` of a window; `residual` is its residual and gets stray light."""
        boxes, masks, parts, places, kept = [], [], [], [], []
        corner = np.array(window[:2] * 2)
        for index in np.flatnonzero(self._touch("", window)).tolist():
            box, inside = _overlap(self._box("", index), window)
            part = self._part(index)[:, *inside]
            mask = self._mask(index, window)
            if mask is None:
                y0, x0, y1, x1 = (np.array(box) - corner).tolist()
                residual[..., y0:y1, x0:x1] += part if self.n_bands > 1 else part[0]
                continue
            kept.append(index)
            boxes.append(np.array(box) - corner)
            parts.append(part if self.n_bands > 1 else part[0])
            places.append(mask[0])
            masks.append(mask[1])
        rows = self.rows[kept]
        classes = None if (rows["CLASS"] < 0).any() else rows["CLASS"]
        places = np.array(places, dtype=np.int64).reshape(-1, 4) - corner
        return Separated(
            sources=Instances(residual.shape[-2:], places, masks, rows["SCORE"], classes),
            boxes=np.array(boxes, dtype=np.int64).reshape(-1, 4),
            parts=parts,
            residual=residual,
            fluxes=rows["FLUX"].astype(np.float64),
            flux_errors=rows["FLUX_ERROR"].astype(np.float64),
            blendedness=rows["BLENDEDNESS"].astype(np.float64),
        )

    def _touch(self, prefix, window):
        y0, x0, y1, x1 = (self.rows[f"{prefix}{name}"] for name in _BOX)
        return (y0 < window[2]) & (y1 > window[0]) & (x0 < window[3]) & (x1 > window[1])

    def _box(self, prefix, index):
        return tuple(int(self.rows[f"{prefix}{name}"][index]) for name in _BOX)

    def _part(self, index):
        y0, x0, y1, x1 = self._box("", index)
        values = np.frombuffer(self._from_heap("PART", index, 4), ">f4").astype(np.float32)
        return values.reshape(self.n_bands, y1 - y0, x1 - x0)

    def _mask(self, index, window):
        """Box and crop of a mask within a window; None if it has no pixel there."""
        box = self._box("MASK_", index)
        if not _overlap(box, window):
            return None
        box, inside = _overlap(box, window)
        y0, x0, y1, x1 = self._box("MASK_", index)
        bits = np.frombuffer(self._from_heap("MASK", index, 1), np.uint8)
        crop = np.unpackbits(bits, count=(y1 - y0) * (x1 - x0)).reshape(y1 - y0, x1 - x0)[inside]
        return (box, crop.astype(bool)) if crop.any() else None

    def _from_heap(self, name, index, size):
        length, offset = self.rows[name][index].tolist()
        self.stream.seek(self.heap + offset)
        return read_exactly(self.stream, length * size, self.hdu)


def _overlap(box, window):
    """Common pixels of two boxes, and where they are in the first; None if there are none."""
    y0, x0 = max(box[0], window[0]), max(box[1], window[1])
    y1, x1 = min(box[2], window[2]), min(box[3], window[3])
    if y0 >= y1 or x0 >= x1:
        return None
    return (y0, x0, y1, x1), (
        slice(y0 - box[0], y1 - box[0]),
        slice(x0 - box[1], x1 - box[1]),
    )
