"""Small files that unpack to much, or hold HDUs without end.

Refused, unless the user trusts them.
"""

import bz2
import gzip
import lzma
from functools import partial

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from galaxysegment import Instances
from galaxysegment.io import (
    Field,
    _excerpt,
    _limits,
    image_shape,
    read_field,
    read_header,
    read_image,
    read_label_map,
    read_rms,
)

READERS = [read_image, read_label_map, read_rms, read_field, read_header, image_shape]
PACKERS = {
    ".gz": partial(gzip.compress, compresslevel=1),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
EMPTY = fits.ImageHDU().header.tostring().encode("ascii")
PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")


def image_bytes(shape=(30, 40)):
    image = fits.ImageHDU(np.ones(shape, np.uint8))
    data = image.data.tobytes()
    return image.header.tostring().encode("ascii") + data + bytes(-len(data) % 2880)


@pytest.mark.parametrize("reader", READERS)
def test_hdus_without_end_are_refused(tmp_path, monkeypatch, reader):
    monkeypatch.setattr(_limits, "MOST_HDUS", 200)
    for suffix, pack in PACKERS.items():
        path = tmp_path / f"a.fits{suffix}"
        path.write_bytes(pack(PRIMARY + EMPTY * 2_000))
        with pytest.raises(OSError, match=r"a\.fits\S* has more than 200 HDUs: pass limits=False"):
            reader(path)


@pytest.mark.parametrize("reader", READERS)
def test_limits_can_be_lifted(tmp_path, monkeypatch, reader):
    monkeypatch.setattr(_limits, "MOST_HDUS", 20)
    path = tmp_path / "a.fits"
    path.write_bytes(PRIMARY + EMPTY * 25 + image_bytes())
    hdu = {"hdu": 26} if reader is read_header else {}
    with pytest.raises(OSError, match="more than 20 HDUs"):
        reader(path, **hdu)
    reader(path, limits=False, **hdu)
    path.write_bytes(PRIMARY + EMPTY * 18 + image_bytes())
    reader(path, hdu=19)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("reader", [read_image, read_label_map, read_rms, read_field])
def test_zeros_that_unpack_to_much_are_refused(tmp_path, monkeypatch, reader, suffix):
    path = tmp_path / f"a.fits{suffix}"
    path.write_bytes(PACKERS[suffix](PRIMARY + image_bytes((1500, 2000))))
    assert 100 * path.stat().st_size < 3_000_000
    reader(path)
    monkeypatch.setattr(_limits, "_ALWAYS_ALLOWED", 2**20)
    with pytest.raises(OSError, match=r"a\.fits\S* unpacks to 300\d+ .* limits=False"):
        reader(path)
    reader(path, limits=False)


def test_no_hdu_behind_zeros_without_end_is_looked_for(tmp_path, monkeypatch):
    path = tmp_path / "a.fits.bz2"
    path.write_bytes(bz2.compress(PRIMARY + image_bytes((1500, 2000)) + image_bytes()))
    monkeypatch.setattr(_limits, "_ALWAYS_ALLOWED", 2**20)
    with pytest.raises(OSError, match=r"a\.fits\.bz2 unpacks to 300\d+ bytes or more"):
        read_image(path, hdu=2)
    assert read_image(path, hdu=2, limits=False).shape == (30, 40)


@pytest.mark.parametrize("compression", ["GZIP_1", "RICE_1", "HCOMPRESS_1", "PLIO_1"])
def test_empty_tiles_that_unpack_to_much_are_refused(tmp_path, monkeypatch, compression):
    path = tmp_path / "a.fits.fz"
    zeros = np.zeros((1000, 2000), np.int16 if compression == "PLIO_1" else np.int32)
    image = fits.CompImageHDU(zeros, compression_type=compression, tile_shape=(50, 2000))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    monkeypatch.setattr(_limits, "_ALWAYS_ALLOWED", 2**20)
    monkeypatch.setattr(_limits, "_LARGEST_RATIO", 2)
    with pytest.raises(OSError, match=r"HDU 1 .* unpacks to \d+ bytes or more.* limits=False"):
        read_image(path)
    assert (read_image(path, limits=False) == 0).all()
    # Of a mosaic, as much is read as is asked for.
    assert read_image(path, section=np.s_[:100, :100]).shape == (100, 100)


def test_noise_has_no_limit(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).normal(size=(300, 400)).astype(np.float32)
    for name in ("a.fits.gz", "a.fits.bz2"):
        fits.writeto(tmp_path / name, noise)
        monkeypatch.setattr(_limits, "_ALWAYS_ALLOWED", 0)
        np.testing.assert_array_equal(read_image(tmp_path / name), noise)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("place", [22, 31])
def test_a_bad_byte_of_a_table_header_is_no_endless_loop(tmp_path, suffix, place):
    """astropy looks for the HDU for ever where one before it cannot be parsed."""
    labels = np.zeros((20, 30), np.int32)
    labels[3:6, 4:9] = 1
    field = Field(
        np.ones((20, 30)),
        labels=labels,
        classes=[1],
        instances=Instances.from_label_map(labels),
        catalog=QTable({"flux": [3.0]}),
    )
    data = bytearray(field.write(tmp_path / "a.fits").read_bytes())
    tables = [
        start for start in range(0, len(data), 2880) if data[start:].startswith(b"XTENSION= 'BIN")
    ]
    assert len(tables) == 3
    for start in tables:
        data[start + place] = ord("K")
    path = tmp_path / f"a.fits{suffix}"
    path.write_bytes(PACKERS[suffix](bytes(data)))
    field = read_field(path)
    assert field.classes.tolist() == [1]
    assert field.instances.boxes.tolist() == [[3, 4, 6, 9]]
    assert field.catalog["flux"].tolist() == [3.0]


@pytest.mark.parametrize("chunk", [1, 700, 2880, 1 << 22])
@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_files_are_read_in_pieces_to_the_byte(tmp_path, monkeypatch, suffix, chunk):
    monkeypatch.setattr(_excerpt, "_CHUNK", chunk)
    image = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
    hdu = fits.ImageHDU(image)
    content = PRIMARY + hdu.header.tostring().encode("ascii") + image.tobytes()
    path = tmp_path / f"a.fits{suffix}"
    path.write_bytes(PACKERS[suffix](content + bytes(-len(content) % 2880) + image_bytes()))
    np.testing.assert_array_equal(read_image(path), image)
    section = np.s_[5:35, 10:]
    np.testing.assert_array_equal(read_image(path, section=section), image[section])
    path.write_bytes(PACKERS[suffix](content[:-1]))
    with pytest.raises(OSError, match="promises 2000 bytes of data, more than the file holds"):
        read_image(path)
