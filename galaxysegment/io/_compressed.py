"""Tile-compressed images: every tile is checked before a decoder written in C sees it.

The decoders of cfitsio that astropy ships believe what a stream says about its own size, and read
or write beyond its end where that is wrong. Here, the tiles that a section touches are checked,
padded and put into a file in memory, which astropy then decodes.
"""

import re
import threading
import zlib
from contextlib import contextmanager
from itertools import product
from math import ceil, prod

import numpy as np

from ._excerpt import open_table, read_data
from ._hdus import tile_lengths
from ._headers import clean_header, quiet, text_of, whole_number
from ._limits import check_unpacked

# Bytes of one element of a table's column, by the letter of its TFORM.
_WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16}
_DESCRIPTORS = {"P": ">i4", "Q": ">i8"}
_COLUMNS = ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")
# HCOMPRESS keeps its place in a stream in variables that all threads share.
_HCOMPRESS_LOCK = threading.Lock()
_HCOMPRESS_HEADER = 25
_PLIO_HEADER = 7
_DEFLATE_RATIO = 1032
# A tile that may unpack to this much is unpacked without asking how much it is.
_HARMLESS = 2**26


def compressed_header(hdu):
    """Header of the image that a table stores, free of illegal cards."""
    with _explaining(hdu), open_table(hdu, 0, b"", 0) as image, quiet():
        return clean_header(image.header)


def read_tiles(hdu, rows, columns):
    """Decompress the tiles that a section touches; return the section as it is stored."""
    tiles = Tiles(hdu)
    if hdu.limits:
        tiles.check_size(rows, columns)
    if tiles.algorithm != "HCOMPRESS_1":
        return _decode(tiles, (rows, columns), b"\0")
    # By rows of tiles, because padded they take some ten bytes a pixel.
    height = tiles.tile_shape[-2]
    starts = [rows.start, *range((rows.start // height + 1) * height, rows.stop, height)]
    stops = [*starts[1:], rows.stop]
    parts = []
    for start, stop in zip(starts, stops, strict=True):
        parts.append(_decode_twice(tiles, (slice(start, stop), columns)))
    return np.concatenate(parts, axis=-2)


def _decode_twice(tiles, section):
    """Decode tiles of HCOMPRESS; refuse those whose pixels depend on bytes behind their end."""
    with _HCOMPRESS_LOCK:
        pixels, others = (_decode(tiles, section, fill) for fill in (b"\0", b"\xff"))
    if pixels.tobytes() != others.tobytes():
        raise tiles.damaged("a tile ends before its last pixel")
    return pixels


def _decode(tiles, section, fill):
    hdu = tiles.hdu
    windows = (*(slice(0, length) for length in hdu.shape[:-2]), *section)
    data, heap_length = tiles.excerpt(windows, fill)
    opened = open_table(hdu, tiles.n_rows, data, heap_length)
    with _explaining(hdu), opened as image, np.errstate(all="ignore"):
        return np.asarray(image.section[windows])


@contextmanager
def _explaining(hdu):
    """Turn whatever the decoders raise into an OSError of a single line."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # each has errors of its own, some of no public class
        reason = " ".join(str(error).split())
        raise OSError(
            f"{hdu.label} cannot be decompressed: {reason or type(error).__name__}"
        ) from error


class Tiles:
    """The table of a compressed image: where its tiles are and how they are compressed."""

    def __init__(self, hdu):
        self.hdu = hdu
        self.algorithm = text_of(hdu.header, "ZCMPTYPE")
        self.tile_shape = tile_lengths(hdu)
        self.row_length = self._number("NAXIS1")
        self.n_rows = self._number("NAXIS2")
        self.heap_start = self._number("THEAP", self.row_length * self.n_rows)
        self.columns = self._find_columns()
        if self.algorithm in ("RICE_1", "RICE_ONE"):
            self._check_rice()
        if text_of(hdu.header, "ZQUANTIZ").startswith("SUBTRACTIVE"):
            self._check_dither()
        if hdu.is_stream:
            self.data = np.frombuffer(read_data(hdu), np.uint8)
        else:
            self.data = np.memmap(hdu.path, np.uint8, "r", hdu.offset, hdu.n_bytes)

    def _number(self, keyword, default=None):
        return whole_number(self.hdu.header, keyword, self.hdu.label, default)

    def damaged(self, what):
        """Make the error for a table or a tile that cannot be right."""
        return OSError(f"{self.hdu.label} cannot be decompressed: {what}, so the file is damaged.")

    def _find_columns(self):
        """Find place, dtype of descriptors and dtype of elements of each column of tiles."""
        columns, place = {}, 0
        for index in range(1, self._number("TFIELDS", 0) + 1):
            form = text_of(self.hdu.header, f"TFORM{index}")
            parsed = re.match(r"(\d{0,9})([LXBIJKAEDCMPQ])([BIJED]?)", form)
            if parsed is None:
                raise self.damaged(f"TFORM{index} = {form!r} is no format of a column")
            repeat, letter, element = int(parsed[1] or 1), parsed[2], parsed[3]
            name = text_of(self.hdu.header, f"TTYPE{index}")
            if letter in _DESCRIPTORS:
                if name in _COLUMNS and repeat == 1 and element:
                    columns.setdefault(name, (place, _DESCRIPTORS[letter], _dtype(element)))
                place += repeat * 2 * np.dtype(_DESCRIPTORS[letter]).itemsize
            else:
                place += ceil(repeat / 8) if letter == "X" else repeat * _WIDTHS[letter]
        if place != self.row_length or _COLUMNS[0] not in columns:
            raise self.damaged(f"its columns take {place} of {self.row_length} bytes of a row")
        return columns

    def _setting(self, name, default):
        """Find a setting of the algorithm, as astropy looks for it."""
        for index in range(1, 1000):
            if f"ZNAME{index}" not in self.hdu.header:
                return default
            if text_of(self.hdu.header, f"ZNAME{index}").lower() == name:
                return self._number(f"ZVAL{index}")
        return default

    def _check_rice(self):
        n_bytes, length = self._setting("bytepix", 4), self._setting("blocksize", 32)
        if n_bytes not in (1, 2, 4) or not 1 <= length <= 256:
            raise self.damaged(f"RICE cannot have BYTEPIX = {n_bytes} and BLOCKSIZE = {length}")

    def _check_dither(self):
        seed = self._number("ZDITHER0", 0)
        if not 1 <= seed <= 10_000:
            raise self.damaged(f"ZDITHER0 = {seed} must be 1 to 10000")

    def check_size(self, rows, columns):
        """Refuse a section that takes much more memory than the file has bytes."""
        height, width = (
            min(length, ceil(window.stop / tile) * tile) - window.start // tile * tile
            for window, length, tile in zip(
                (rows, columns), self.hdu.shape[-2:], self.tile_shape[-2:], strict=True
            )
        )
        n_bytes = prod(self.hdu.shape[:-2]) * height * width * abs(self.hdu.bitpix) // 8
        check_unpacked(self.hdu.label, n_bytes, self.hdu.n_bytes)

    def excerpt(self, windows, fill):
        """Copy rows and heap of the tiles that a section touches.

        Parameters
        ----------
        windows : tuple of slices
            One for each axis.
        fill : byte
            What stands behind a tile that a decoder could read beyond.

        Returns
        -------
        data : bytes
            All rows, of which those of other tiles are empty, then the heap.
        heap_length : int
        """
        shapes = self._touched(windows)
        rows = np.array(self.data[: self.row_length * self.n_rows])
        rows = rows.reshape(self.n_rows, self.row_length)
        descriptors = {name: self._descriptors(rows, name) for name in self.columns}
        stored = {name: array.copy() for name, array in descriptors.items()}
        for array in descriptors.values():
            array[:] = 0
        heap, length = [], 0
        for row, shape in shapes.items():
            name = next(
                (name for name in _COLUMNS if name in stored and stored[name][row, 0]), None
            )
            if name is None:
                continue  # astropy says what is missing
            tile = self._tile(name, *stored[name][row].tolist())
            padding = self._check(name, tile, shape)
            itemsize = self.columns[name][2].itemsize
            tile += fill * (padding + -(len(tile) + padding) % itemsize)
            descriptors[name][row] = len(tile) // itemsize, length
            heap.append(tile)
            length += len(tile)
        for name, array in descriptors.items():
            self._put(rows, name, array)
        return b"".join([rows.tobytes(), *heap]), length

    def _touched(self, windows):
        """Map the rows of the tiles that a section touches to their shapes."""
        grid = [
            ceil(length / tile)
            for length, tile in zip(self.hdu.shape, self.tile_shape, strict=True)
        ]
        ranges = [
            range(window.start // tile, ceil(window.stop / tile))
            for window, tile in zip(windows, self.tile_shape, strict=True)
        ]
        strides = [prod(grid[axis + 1 :]) for axis in range(len(grid))]
        sizes = list(zip(self.hdu.shape, self.tile_shape, strict=True))
        return {
            sum(map(int.__mul__, place, strides)): tuple(
                min(tile, length - index * tile)
                for index, (length, tile) in zip(place, sizes, strict=True)
            )
            for place in product(*ranges)
        }

    def _descriptors(self, rows, name):
        """Take the lengths and offsets of a column out of the rows, shape (n_rows, 2)."""
        place, dtype, _ = self.columns[name]
        width = 2 * np.dtype(dtype).itemsize
        return np.ascontiguousarray(rows[:, place : place + width]).view(dtype)

    def _put(self, rows, name, descriptors):
        place, dtype, _ = self.columns[name]
        width = 2 * np.dtype(dtype).itemsize
        rows[:, place : place + width] = descriptors.astype(dtype).view(np.uint8)

    def _tile(self, name, n_elements, offset):
        n_bytes = n_elements * self.columns[name][2].itemsize
        start = self.heap_start + offset
        if n_bytes < 0 or offset < 0 or start + n_bytes > self.hdu.n_bytes:
            raise self.damaged(f"a tile of {n_bytes} bytes at byte {start} lies outside its data")
        return self.data[start : start + n_bytes].tobytes()

    def _check(self, name, tile, shape):
        """Check a tile; return by how many bytes it must be longer for its decoder to be safe."""
        dtype = self.columns[name][2]
        # astropy swaps the bytes of wider elements before it hands them on.
        stream = np.frombuffer(tile, dtype).astype(dtype.newbyteorder("=")).tobytes()
        algorithm = {"GZIP_COMPRESSED_DATA": "GZIP_1", "UNCOMPRESSED_DATA": ""}.get(
            name, self.algorithm
        )
        if algorithm.startswith("GZIP"):
            self._check_gzip(stream, 8 * prod(shape))
        elif algorithm == "HCOMPRESS_1":
            return self._check_hcompress(stream, [side for side in shape if side != 1])
        elif algorithm == "PLIO_1":
            return self._check_plio(stream)
        return 0

    def _check_gzip(self, stream, most):
        """Refuse a tile that unpacks to more than its pixels."""
        if len(stream) * _DEFLATE_RATIO <= max(most, _HARMLESS):
            return
        n_bytes = 0
        while stream:
            unpacker = zlib.decompressobj(wbits=31)
            while not unpacker.eof:
                try:
                    piece = unpacker.decompress(stream, _HARMLESS)
                except zlib.error as error:
                    raise self.damaged(str(error)) from error
                n_bytes += len(piece)
                stream = unpacker.unconsumed_tail
                if n_bytes > most:
                    raise self.damaged(f"a tile of at most {most} bytes unpacks to more")
                if not piece and not stream and not unpacker.eof:
                    return  # it is cut: what is there was counted
            stream = unpacker.unused_data

    def _check_hcompress(self, stream, shape):
        """Check sizes against those of the tile, and find the most bytes that decoding can read."""
        if len(stream) < _HCOMPRESS_HEADER or stream[:2] != b"\xdd\x99":
            raise self.damaged("a tile does not begin like a tile of HCOMPRESS")
        described = [int.from_bytes(stream[place : place + 4], "big") for place in (2, 6)]
        n_planes = max(stream[22:25])
        if described != shape or n_planes > 63:
            raise self.damaged(
                f"a tile of shape {tuple(shape)} says that it has {tuple(described)} "
                f"and {n_planes} bit planes"
            )
        height, width = shape
        # A plane of a quadrant: at most 6 bits for each 2 x 2 pixels and for the nodes above them.
        n_blocks = ceil((height + 1) / 4) * ceil((width + 1) / 4)
        return 4 * n_planes * (2 * n_blocks + 64) + height * width // 8 + 64

    def _check_plio(self, stream):
        """Refuse a list of instructions that says that it is longer than it is."""
        if self.columns[_COLUMNS[0]][2].itemsize != 2:
            raise self.damaged("instructions of PLIO must be 16-bit integers")
        words = np.frombuffer(stream, np.int16)
        if len(words) < _PLIO_HEADER:
            raise self.damaged(f"a tile of PLIO has only {len(words)} words")
        if words[2] > 0:
            first, last = 3, int(words[2])
        else:
            first, last = int(words[1]), (int(words[4]) << 15) + int(words[3])
        if not 3 <= first <= last <= len(words):
            raise self.damaged(
                f"a tile of PLIO has words {first} to {last}, but there are {len(words)}"
            )
        return 2  # the last word may ask for another word


def _dtype(letter):
    return np.dtype({"B": "u1", "I": ">i2", "J": ">i4", "E": ">f4", "D": ">f8"}[letter])
