"""Fuzzed FITS files that are packed as a whole, or compressed in tiles."""

import numpy as np
from astropy.io import fits

from . import fits_sources as sources
from ._damage import cut, flip_bits, hdu_starts
from ._outcomes import Case

BLOCK = 2880


def packed(rng, folder):
    """Files packed as a whole, damaged before or after packing."""
    path, data = sources.any_file(rng, folder)
    suffix = str(rng.choice([".gz", ".bz2", ".xz"]))
    inner = rng.random()
    if inner < 0.3:
        data = flip_bits(rng, data, int(rng.integers(1, 30)))
    elif inner < 0.5:
        data = cut(rng, data, BLOCK)
    outer = bytearray(sources.pack(data, suffix))
    if inner > 0.4:
        outer = (
            cut(rng, outer, 512)
            if rng.random() < 0.5
            else flip_bits(rng, outer, int(rng.integers(1, 20)))
        )
    path.unlink()
    path = folder / f"case.fits{suffix}"
    path.write_bytes(outer)
    return Case(path)


def bomb(rng, folder):
    """A small packed file of many zeros whose header promises a great deal more."""
    header = fits.PrimaryHDU(np.zeros((2, 2), np.uint8)).header
    header["NAXIS1"], header["NAXIS2"] = 10**6, int(rng.choice([10**5, 10**7, 10**12]))
    suffix = str(rng.choice([".gz", ".bz2", ".xz"]))
    path = folder / f"case.fits{suffix}"
    path.write_bytes(sources.pack(header.tostring().encode("ascii") + bytes(2 * 10**7), suffix))
    return Case(path, must_fail=True)


def tiles(rng, folder):
    """Damage within the compressed bytes and the table that says where they are."""
    path, data = sources.any_file(rng, folder, (sources.compressed,))
    start = hdu_starts(data)[1] + BLOCK
    while not data[start - BLOCK : start].rstrip().endswith(b"END") and start < len(data):
        start += BLOCK
    data[start:] = flip_bits(
        rng, data[start:], int(rng.integers(1, 30)), used=len(bytes(data[start:]).rstrip(b"\0"))
    )
    path.write_bytes(data)
    return Case(path, oracle=True)


def tile_heads(rng, folder):
    """Damage at the beginning of compressed tiles, where decoders look for sizes, and in
    descriptors.
    """
    path, data = sources.any_file(rng, folder, (sources.compressed,))
    with fits.open(path) as opened:
        table = opened[1]._bintable
        start, heap = table._data_offset, table._data_offset + table._theap
    places = [start, heap]
    magic = bytes(data).find(b"\xdd\x99", heap + 1)
    while magic > 0:
        places.append(magic)
        magic = bytes(data).find(b"\xdd\x99", magic + 1)
    for _ in range(int(rng.integers(1, 5))):
        place = places[int(rng.integers(len(places)))] + int(rng.integers(0, 26))
        data[place] = int(rng.choice([0, 1, 2, 31, 127, 128, 255, int(rng.integers(256))]))
    path.write_bytes(data)
    return Case(path, oracle=True)


def swollen(rng, folder):
    """Kilobytes that unpack to 0.3 to 7 GB of zeros, all of which the header promises."""
    suffix = str(rng.choice([".gz", ".bz2", ".xz"]))
    side = int(rng.choice([17_000, 40_000, 85_000]))
    header = fits.PrimaryHDU(np.zeros((2, 2), np.uint8)).header
    header["NAXIS1"], header["NAXIS2"] = side, side
    zeros = sources.pack(bytes(2**22), suffix)
    path = folder / f"case.fits{suffix}"
    # Packed files may be put together of several.
    text = sources.pack(header.tostring().encode("ascii"), suffix)
    path.write_bytes(text + zeros * (side**2 // 2**22 + 1))
    return Case(path, must_fail=True)
