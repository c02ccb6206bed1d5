"""Read the stored numbers of an HDU, all or a section, and turn them into floats or labels."""

import os
from math import isfinite, prod

import numpy as np
from astropy.io import fits

from .._utils.compiling import compiling_pays
from ..structures import check_label_map
from ._compressed import compressed_header, read_tiles
from ._excerpt import read_exactly
from ._hdus import check_complete, open_stream, reading, too_short
from ._headers import clean_header, quiet
from ._section import resolve_section

_PIECE = 1 << 19  # bytes that are read and swapped at once: they stay in the cache
_AT_ONCE = 1 << 24  # bytes that a kernel reads: it cannot be interrupted
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


def read_floats(hdu, section=None):
    """Read an image as native floats; BSCALE and BZERO are applied and BLANK is NaN."""
    raw = _read_raw(hdu, section)
    scale, zero, blank = _scaling(hdu)
    data = _scaled(raw, scale, zero)
    if blank is not None:
        data[raw == blank] = np.nan
    return data


def _scaled(raw, scale, zero):
    """Compute raw * scale + zero as floats: float32 for integers of 8 and 16 bits, else float64."""
    if raw.dtype.kind == "f":
        dtype = raw.dtype.newbyteorder("=")
    else:
        dtype = np.dtype(np.float32 if raw.dtype.itemsize <= 2 else np.float64)
    if scale == 1 and zero == 2**63 and raw.dtype.itemsize == 8 and raw.dtype.kind == "i":
        # As float64, -2**63 + 100 would be -2**63: the sum has to be that of integers.
        return _unsigned(raw).astype(np.float64)
    if max(abs(scale), abs(zero)) > float(np.finfo(dtype).max):
        dtype = np.dtype(np.float64)
    data = np.require(raw, dtype, "W")  # nobody else holds `raw`
    with np.errstate(all="ignore"):  # what does not fit is infinite
        if scale != 1:
            data *= float(scale)
        if zero != 0:
            data += float(zero)
    return data


def _unsigned(raw):
    """Read stored 64-bit integers as unsigned ones, by the convention BZERO = 2**63."""
    return raw.astype(np.int64).view(np.uint64) ^ np.uint64(2**63)


def read_labels(hdu, section=None):
    """Read a label map as int32; BLANK and NaN are background. 64-bit labels are not rounded."""
    scale, zero, blank = _scaling(hdu)
    name = f"The label map in {hdu.label}"
    if len(hdu.image_shape) != 2:
        raise ValueError(f"{name} has shape {hdu.image_shape}: it must have shape (height, width).")
    if hdu.bitpix < 0 or scale != int(scale) or zero != int(zero):
        return check_label_map(read_floats(hdu, section), name)
    raw = _read_raw(hdu, section)
    blanks = None if blank is None else raw == blank
    labels = _whole_numbers(raw, int(scale), int(zero), blanks, name)
    if blanks is not None:
        labels[blanks] = 0
    return check_label_map(labels, name)


def _whole_numbers(raw, scale, zero, blanks, name):
    """Compute raw * scale + zero without rounding."""
    if scale == 1 and zero == 0:
        return raw.astype(np.int32 if raw.dtype.itemsize <= 4 else np.int64)
    stored = raw if blanks is None else raw[~blanks]
    extremes = (int(stored.min()), int(stored.max())) if stored.size else ()
    numbers = [value * scale + zero for value in extremes]
    if extremes and not 0 <= min(numbers) <= max(numbers) < 2**64:
        raise ValueError(
            f"{name} holds numbers from {min(numbers)} to {max(numbers)} (BSCALE = {scale}, "
            f"BZERO = {zero}): "
            "labels must be 0 for background and positive for sources, below 2**64."
        )
    # Products and sums modulo 2**64 are right, because the results fit.
    labels = raw.astype(np.int64).view(np.uint64)
    return labels * np.uint64(scale % 2**64) + np.uint64(zero % 2**64)


def _scaling(hdu):
    """BSCALE, BZERO and BLANK; BLANK only where the standard knows it, for integers."""
    values = []
    for keyword, default in (("BSCALE", 1), ("BZERO", 0)):
        value = _card(hdu, keyword, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            raise OSError(
                f"{hdu.label} has {keyword} = {value!r}, which must be a number: "
                "the header is damaged."
            )
        values.append(value)
    if values[0] == 0:
        raise OSError(
            f"{hdu.label} has BSCALE = 0, so that all pixels would be the same: "
            "the header is damaged."
        )
    blank = _card(hdu, "BLANK", _card(hdu, "ZBLANK", None))
    is_blank = isinstance(blank, int) and not isinstance(blank, bool) and hdu.bitpix > 0
    return *values, blank if is_blank else None


def _card(hdu, keyword, default):
    try:
        with quiet():
            return hdu.header.get(keyword, default)
    except fits.VerifyError:
        return "an illegal card" if keyword != "BLANK" else None


def _read_raw(hdu, section):
    """Read stored numbers, shape (height, width) or (n_bands, height, width), in any byte order."""
    rows, columns = resolve_section(section, hdu.image_shape)
    check_complete(hdu)
    if hdu.kind == "compressed":
        raw = read_tiles(hdu, rows, columns)
    elif hdu.is_stream:
        raw = _read_stream(hdu, rows, columns)
    else:
        raw = _read_rows(hdu, rows, columns)
    return raw.reshape(*hdu.image_shape[:-2], *raw.shape[-2:])


def _read_rows(hdu, rows, columns):
    """Read a window of a plain file into an array of its own, floats in native byte order.

    The file is not mapped: mapping takes longer, and mapped pages count as memory.
    """
    *planes, height, width = hdu.image_shape
    stored = np.dtype(_DTYPES[hdu.bitpix])
    n_rows, n_columns = rows.stop - rows.start, columns.stop - columns.start
    raw = np.empty((*planes, n_rows, n_columns), dtype=stored)
    swaps = stored.kind == "f" and not stored.isnative
    row_bytes = width * stored.itemsize
    step = max(1, _PIECE // max(n_columns * stored.itemsize, 1))
    with hdu.path.open("rb", buffering=0) as file:
        for plane, pixels in enumerate(raw.reshape(prod(planes), n_rows, n_columns)):
            start = hdu.offset + plane * height * row_bytes + columns.start * stored.itemsize
            if swaps and _read_compiled(file, start + rows.start * row_bytes, row_bytes, pixels):
                continue
            for y in range(0, n_rows, step):
                block = pixels[y : y + step]
                # A window of whole rows is one piece of the file; another is one in each row.
                pieces = block.reshape(1, -1) if n_columns == width else block
                for row, piece in enumerate(pieces.view(np.uint8), rows.start + y):
                    file.seek(start + row * row_bytes)
                    n_read = file.readinto(piece)
                    while n_read < piece.size:  # a system may read less than was asked for
                        n_more = file.readinto(piece[n_read:])
                        if not n_more:
                            raise too_short(hdu)
                        n_read += n_more
                if swaps:  # while it is in the cache
                    block.byteswap(inplace=True)
    return raw.view(stored.newbyteorder()) if swaps else raw


def _read_compiled(file, start, row_bytes, pixels):
    """Read a large window of swapped 32-bit floats by a kernel; return whether that was possible.

    Without the kernel, threads that read or compute beside this one wait: for the interpreter's
    lock after each row, and while bytes are swapped.
    """
    is_fit = pixels.itemsize == 4 and pixels.nbytes >= _PIECE and hasattr(os, "pread")
    if not (is_fit and compiling_pays(0)):  # numba is not started for it
        return False
    from ._read_kernels import read_swapped_rows

    rows = pixels.view(np.uint32)
    step = max(1, _AT_ONCE // (rows.shape[1] * rows.itemsize))
    return all(
        read_swapped_rows(file.fileno(), start + y * row_bytes, row_bytes, rows[y : y + step])
        for y in range(0, len(rows), step)
    )


def _read_stream(hdu, rows, columns):
    """Read from a file packed as a whole: unpack up to the last row wanted, keep what is wanted."""
    *planes, height, width = hdu.image_shape
    item = abs(hdu.bitpix) // 8
    stream, _ = open_stream(hdu.path)
    parts = []
    with stream, reading(hdu.path):
        for plane in range(planes[0] if planes else 1):
            stream.seek(hdu.offset + (plane * height + rows.start) * width * item)
            data = read_exactly(stream, (rows.stop - rows.start) * width * item, hdu)
            parts.append(
                np.frombuffer(data, dtype=_DTYPES[hdu.bitpix]).reshape(-1, width)[:, columns]
            )
    return np.stack(parts)


def image_header(hdu):
    """Header of the image, free of illegal cards and of the cards of its compression."""
    return compressed_header(hdu) if hdu.kind == "compressed" else clean_header(hdu.header)
