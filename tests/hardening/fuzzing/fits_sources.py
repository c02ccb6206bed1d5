"""Good FITS files of every kind that the readers know, to be damaged."""

import bz2
import gzip
import lzma

import numpy as np
from astropy.io import fits
from astropy.table import QTable

from galaxysegment import Instances
from galaxysegment.io import Field

SHAPE = (24, 31)
_PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def _pixels(rng, dtype=np.float32):
    image = rng.normal(100, 5, SHAPE)
    image[5:9, 4:9] += 80
    return image.astype(dtype)


def _header(rng):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 3.0, "CRPIX2": 4.0})
    header.update(
        {"CRVAL1": 150.0, "CRVAL2": 2.0, "CDELT1": -1e-4, "CDELT2": 1e-4, "OBJECT": "A 'cluster'"}
    )
    if rng.random() < 0.3:
        header["A_LONG"] = "word " * 40
    return header


def plain(rng):
    dtype = rng.choice([">f4", ">f8", ">i2", ">i4", "u1", ">i8"])
    return [fits.PrimaryHDU(_pixels(rng, dtype), _header(rng))]


def scaled(rng):
    header = _header(rng)
    header.update({"BLANK": -5, "BSCALE": 0.5, "BZERO": 32768.0})
    hdu = fits.ImageHDU(_pixels(rng, ">i2"), header, do_not_scale_image_data=True)
    hdu.header.update({"BLANK": -5, "BSCALE": 0.5, "BZERO": 32768.0})
    return [fits.PrimaryHDU(), hdu]


def extensions(rng):
    labels = np.zeros(SHAPE, np.int32)
    labels[5:9, 4:9] = 1
    return [
        fits.PrimaryHDU(),
        fits.ImageHDU(_pixels(rng), _header(rng), name="SCI"),
        fits.ImageHDU(np.full(SHAPE, 5, np.float32), name="RMS"),
        fits.ImageHDU(labels, name="LABELS"),
    ]


def cube(rng):
    return [fits.PrimaryHDU(np.stack([_pixels(rng), _pixels(rng)]), _header(rng))]


def compressed(rng):
    kind = rng.choice(["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS"])
    dtype = np.float32 if kind.startswith("GZIP") or rng.random() < 0.3 else np.int32
    dtype = np.int16 if kind == "PLIO_1" else dtype
    options = {"compression_type": str(kind)}
    if kind == "HCOMPRESS_1":
        options["tile_shape"] = (int(rng.choice([6, 8, 12, 24])), 31)
    elif rng.random() < 0.5:
        options["tile_shape"] = tuple(int(side) for side in rng.integers(1, 24, 2))
    if dtype is np.float32:
        options.update(
            quantize_level=float(rng.choice([0.0, 4.0])),
            quantize_method=int(rng.choice([-1, 1, 2])),
        )
        if kind not in ("GZIP_1", "GZIP_2"):
            options["quantize_level"] = 8.0
    return [
        fits.PrimaryHDU(),
        fits.CompImageHDU(_pixels(rng, dtype), _header(rng), name="SCI", **options),
    ]


def field(rng, folder):
    """Write a field with all its tables."""
    labels = np.zeros(SHAPE, np.int32)
    labels[5:9, 4:9], labels[12:15, 20:22] = 1, 2
    sources = Instances.from_label_map(labels, scores=[0.5, 1], classes=[1, 2])
    catalog = QTable({"label": [1, 2], "flux": [3.0, 4.0]})
    made = Field(
        _pixels(rng),
        rms=np.full(SHAPE, 5.0),
        labels=labels,
        classes=[1, 2],
        instances=sources,
        catalog=catalog,
        header=_header(rng),
    )
    return made.write(folder / "field.fits", overwrite=True)


def write(rng, folder, make, name="case.fits"):
    """Write one of the kinds above; return the path and the bytes."""
    path = folder / name
    if make is field:
        path = field(rng, folder)
    else:
        fits.HDUList(make(rng)).writeto(path, overwrite=True, output_verify="silentfix")
    return path, bytearray(path.read_bytes())


KINDS = (plain, scaled, extensions, cube, compressed, field)


def any_file(rng, folder, kinds=KINDS):
    """Write a file of a kind drawn by chance."""
    return write(rng, folder, kinds[int(rng.integers(len(kinds)))])


def pack(data, suffix):
    """Pack bytes as a whole."""
    return _PACKERS[suffix](bytes(data))
