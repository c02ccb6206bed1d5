"""Whatever is wrong with a file: one clear line, no hang, no memory taken."""

import gzip
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from galaxysegment import Instances
from galaxysegment.io import (
    Field,
    image_shape,
    read_field,
    read_header,
    read_image,
    read_label_map,
    read_rms,
)

READERS = [read_image, read_label_map, read_rms, read_field]


def fails(reader, path, error, *words):
    """Check that reading fails at once with one line that says the words."""
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(error) as caught:
            reader(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert "\n" not in message
    for word in (path.name, *words):
        assert word in message
    assert peak < 30_000_000
    assert time.process_time() - start < 10


def set_cards(path, cards):
    """Overwrite cards of a file with whatever is given."""
    data = bytearray(path.read_bytes())
    for keyword, value in cards.items():
        start = data.index(keyword.ljust(8).encode() + b"=")
        data[start : start + 80] = f"{keyword:8}= {value:>20}".ljust(80).encode()
    path.write_bytes(data)


def plain(tmp_path, shape=(30, 40), dtype=np.float32, **cards):
    """Write a plain FITS file whose header is then made to say something else."""
    path = tmp_path / "a.fits"
    fits.writeto(path, np.ones(shape, dtype))
    set_cards(path, cards)
    return path


@pytest.mark.parametrize("reader", [*READERS, read_header, image_shape])
def test_missing_file_and_folder(tmp_path, reader):
    fails(reader, tmp_path / "missing.fits", FileNotFoundError, "There is no file")
    (tmp_path / "folder.fits").mkdir()
    fails(reader, tmp_path / "folder.fits", IsADirectoryError, "is a folder")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello, this is not FITS" * 500, "not a FITS file: it starts with b'hello, thi'"),
        (b"\x89PNG\r\n" + bytes(3000), "PNG"),
        (b"\x89HDF\r\n" + bytes(3000), "HDF5"),
        (gzip.compress(b"not FITS at all" * 500), "unpacked, it starts with b'not FITS a'"),
    ],
    ids=["empty", "text", "png", "hdf5", "gz"],
)
def test_not_fits(tmp_path, reader, content, words):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    fails(reader, path, OSError, "not a FITS file", words)


@pytest.mark.parametrize("reader", READERS)
def test_npz_and_npy(tmp_path, reader):
    np.savez(tmp_path / "a.npz", image=np.zeros((3, 3)))
    fails(reader, tmp_path / "a.npz", OSError, "a NumPy .npz file is one")
    np.save(tmp_path / "a.npy", np.zeros((3, 3)))
    fails(reader, tmp_path / "a.npy", OSError, "NumPy .npy")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kept", [100, 2879, 2880, 4000])
def test_truncated(tmp_path, reader, kept):
    path = plain(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    fails(reader, path, OSError, "truncated")


@pytest.mark.parametrize("reader", READERS)
def test_last_block_without_its_padding_is_fine(tmp_path, reader):
    path = plain(tmp_path)
    path.write_bytes(path.read_bytes()[: 2880 + 30 * 40 * 4])
    reader(path)


@pytest.mark.parametrize("reader", [read_image, read_label_map, read_rms])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_truncated_and_packed(tmp_path, reader, suffix):
    noise = np.random.default_rng(0).integers(0, 1000, (100, 150)).astype(np.float32)
    path = tmp_path / f"a.fits{suffix}"
    opener = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}[suffix]
    plain_path = tmp_path / "plain.fits"
    fits.writeto(plain_path, noise)
    path.write_bytes(__import__(opener).compress(plain_path.read_bytes()))
    np.testing.assert_array_equal(read_image(path), noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # the packed stream ends early
    fails(reader, path, OSError, "truncated or damaged")
    path.write_bytes(
        __import__(opener).compress(plain_path.read_bytes()[:30_000])
    )  # a whole stream of half a file
    fails(reader, path, OSError, "truncated or damaged")


@pytest.mark.parametrize("reader", [read_image, read_label_map, read_rms, read_field])
def test_truncated_tiles(write, tmp_path, reader):
    noise = np.random.default_rng(0).integers(1, 1000, (300, 400)).astype(np.int32)
    path = write("a.fits.fz", fits.CompImageHDU(noise))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    fails(reader, path, OSError, "truncated or damaged", "COMPRESSED_IMAGE")


def test_damaged_tiles(write):
    noise = np.random.default_rng(0).integers(1, 1000, (300, 400)).astype(np.int32)
    path = write("a.fits.fz", fits.CompImageHDU(noise, compression_type="GZIP_1"))
    data = bytearray(path.read_bytes())
    data[-100_000:-50_000] = bytes(50_000)
    path.write_bytes(data)
    fails(read_image, path, OSError, "cannot be decompressed")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "cards",
    [
        {"NAXIS1": 10**9, "NAXIS2": 10**9},
        {"NAXIS1": 10**18},
        {"NAXIS2": 31_000},
        {"NAXIS1": -40},
        {"NAXIS": 1000},
        {"NAXIS": -2},
        {"NAXIS": "'two'"},
        {"NAXIS2": 30.5},
        {"BITPIX": 12},
        {"NAXIS": 3},  # and no NAXIS3
    ],
    ids=str,
)
def test_absurd_header(tmp_path, reader, cards):
    path = plain(tmp_path, **cards)
    fails(reader, path, OSError, "HDU 0")
    packed = tmp_path / "a.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    if (
        reader is not read_field
    ):  # which reads no pixels yet, and cannot know where a packed file ends
        fails(reader, packed, OSError)


@pytest.mark.parametrize("cards", [{"GCOUNT": 0}, {"PCOUNT": -1}, {"GCOUNT": -1}], ids=str)
def test_absurd_counts(write, cards):
    path = write("a.fits", fits.ImageHDU(np.ones((30, 40))))
    set_cards(path, cards)
    fails(read_image, path, OSError, "HDU 1", "the header is damaged")


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"ZNAXIS1": 10**9}, "is damaged"),
        ({"ZTILE1": 10**9, "ZNAXIS1": 10**9}, "unpacks to 120000000000 bytes or more"),
        ({"ZTILE2": 0}, "is damaged"),
    ],
)
def test_absurd_header_of_tiles(write, cards, words):
    path = write("a.fits.fz", fits.CompImageHDU(np.ones((30, 40), np.int32)))
    set_cards(path, cards)
    fails(read_image, path, OSError, "HDU 1", words)


def test_header_without_end(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(b"SIMPLE  =                    T".ljust(80) * 200_000)
    fails(read_image, path, OSError, "no END card")


@pytest.mark.parametrize("keyword", ["BSCALE", "BZERO"])
def test_scaling_that_is_no_number(tmp_path, keyword):
    path = tmp_path / "a.fits"
    fits.writeto(path, np.ones((3, 3), np.int16))
    data = bytearray(path.read_bytes())
    end = data.index(b"END" + b" " * 77)
    data[end : end + 160] = f"{keyword:8}= 'one'".ljust(80).encode() + b"END".ljust(80)
    path.write_bytes(data)
    fails(read_image, path, OSError, f"{keyword} = 'one'")


def test_missing_extension_lists_those_present(write):
    cat = fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1, 2])], name="CAT")
    path = write("a.fits", fits.ImageHDU(np.ones((3, 4)), name="SCI"), cat)
    words = "holds no HDU 'RMS'", "0 PRIMARY: no data", "1 SCI: 3 x 4", "2 CAT: table"
    for hdu in ("RMS", ("RMS", 1)):
        with pytest.raises(ValueError, match="holds no HDU") as caught:
            read_image(path, hdu=hdu)
        assert all(word.replace("'RMS'", repr(hdu)) in str(caught.value) for word in words)
    for hdu in (3, -4):
        fails(
            lambda path, hdu=hdu: read_image(path, hdu=hdu),
            path,
            ValueError,
            f"holds no HDU {hdu}",
            *words[1:],
        )
    fails(lambda path: read_image(path, hdu="CAT"), path, ValueError, "holds a table, not an image")
    fails(
        lambda path: read_image(path, hdu=0),
        path,
        ValueError,
        "two or more axes are needed, but it has no data",
    )
    with pytest.raises(TypeError, match=r"hdu must be an index, a name"):
        read_image(path, hdu=1.5)


def test_missing_extension_of_a_truncated_file(write):
    path = write(
        "a.fits", fits.ImageHDU(np.ones((100, 100))), fits.ImageHDU(np.ones((100, 100)), name="RMS")
    )
    path.write_bytes(path.read_bytes()[:40_000])
    fails(
        lambda path: read_image(path, hdu="RMS"),
        path,
        ValueError,
        "the file ends inside HDU 1: it is truncated",
    )


@pytest.mark.parametrize("reader", READERS)
def test_no_image(write, reader):
    path = write("empty.fits", fits.PrimaryHDU())
    fails(reader, path, ValueError, "holds no image", "0 PRIMARY: no data")
    path = write("spectrum.fits", fits.PrimaryHDU(np.ones(7)))
    fails(reader, path, ValueError, "holds no image", "0 PRIMARY: 7")


def test_one_axis_four_axes_and_no_pixels(write):
    path = write("a.fits", fits.ImageHDU(np.ones(7)), fits.ImageHDU(np.ones((2, 3, 4, 5))))
    fails(
        lambda path: read_image(path, hdu=1),
        path,
        ValueError,
        "two or more axes are needed, but it has (7,)",
    )
    fails(
        lambda path: read_image(path, hdu=2),
        path,
        ValueError,
        "has shape (2, 3, 4, 5)",
        "cube is needed",
    )
    path.unlink()
    path = plain(path.parent, NAXIS1=0)
    fails(read_image, path, ValueError, "holds no image")


def test_junk_behind_the_last_hdu_is_ignored(tmp_path):
    path = plain(tmp_path)
    path.write_bytes(path.read_bytes() + b"junk" * 2000)
    assert read_image(path).shape == (30, 40)
    fails(lambda path: read_image(path, hdu=1), path, ValueError, "holds no HDU 1")


def _some_file(write, number):
    pixels = np.random.default_rng(number).integers(0, 9, (20, 30))
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 3.0, "BLANK": 3, "EXTNAME": "LABELS"}
    )
    if number % 3 == 0:
        return write("a.fits", fits.ImageHDU(pixels.astype(np.int16), header))
    if number % 3 == 1:
        return write("a.fits", fits.CompImageHDU(pixels.astype(np.int32), header))
    return write("a.fits.gz", fits.PrimaryHDU(pixels.astype(np.uint16), header[:-2]))


@pytest.mark.parametrize("number", range(30))
def test_whatever_is_damaged_is_said_in_one_line(write, number):
    path = _some_file(write, number)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(number)
    packed = path.suffix == ".gz"
    for _ in range(5):
        damaged = bytearray(gzip.decompress(data)) if packed and number % 2 else data.copy()
        for index in rng.integers(0, len(damaged), 200):
            damaged[index] = rng.choice(bytearray(b"0123456789'=TF -\x00\xff"))
        path.write_bytes(damaged)
        for reader in (*READERS, read_header):
            try:
                result = reader(path)
                if reader is read_field:
                    assert result.image.ndim == 3
            except (OSError, ValueError) as error:
                assert path.name in str(error)
                assert "\n" not in str(error)


def test_threads_leave_the_warning_filters_alone(write):
    path = write("a.fits.fz", fits.CompImageHDU(np.ones((50, 60), np.int32)))
    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda _: read_image(path, section=np.s_[3:9, 4:8]), range(60)))
    assert all((image == 1).all() and image.shape == (6, 4) for image in images)
    assert warnings.filters == filters


@pytest.mark.parametrize("n_columns", [-1, 1000, 2**31])
def test_a_table_of_countless_columns(write, n_columns):
    path = write("a.fits", fits.CompImageHDU(np.ones((50, 60), np.int32)))
    set_cards(path, {"TFIELDS": n_columns})
    fails(read_image, path, OSError, f"TFIELDS = {n_columns}")


def test_a_packed_file_that_promises_more_than_any_can_hold(tmp_path):
    path = plain(tmp_path, NAXIS1=10**6, NAXIS2=10**6)
    packed = tmp_path / "a.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    fails(read_image, packed, OSError, "more than the file holds")
    path.unlink()
    packed.write_bytes(
        gzip.compress(plain(tmp_path, shape=(3000, 2000), dtype=np.uint8).read_bytes())
    )
    assert read_image(packed).shape == (3000, 2000)


@pytest.mark.parametrize(
    ("suffix", "start"), [(".bz2", b"BZh9"), (".xz", b"\xfd7zXZ\x00"), (".gz", b"\x1f\x8b\x08")]
)
def test_a_packed_file_of_noise(tmp_path, suffix, start):
    path = tmp_path / f"a.fits{suffix}"
    path.write_bytes(start + np.random.default_rng(0).bytes(5000))
    fails(read_image, path, OSError, "truncated or damaged")


def test_a_long_list_of_hdus_is_cut(write):
    path = write("a.fits", *(fits.ImageHDU() for _ in range(200)))
    with pytest.raises(ValueError, match=r"\(201 in all\)") as caught:
        read_image(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "card", [("WCSAXES", 10**9), ("A_ORDER", 10**5), ("BP_ORDER", -1), ("CPDIS1", "Lookup")]
)
def test_a_wcs_that_would_take_the_memory_is_left_out(write, card):
    header = fits.Header(
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 5.0, "CRVAL2": 5.0}
    )
    header[card[0]] = card[1]
    field = read_field(write("a.fits", fits.ImageHDU(np.ones((3, 4)), header)))
    with pytest.warns(UserWarning, match="sky positions are left out"):
        assert field.wcs is None
    assert field.image.shape == (1, 3, 4)


@pytest.fixture
def with_tables(tmp_path):
    """Write a field with labels, classes, instances and a catalog."""
    labels = np.zeros((20, 30), np.int32)
    labels[3:6, 4:9] = 1
    sources = Instances.from_label_map(labels)
    catalog = Table({"label": [1]})
    field = Field(np.ones((20, 30)), labels=labels, classes=[1], instances=sources, catalog=catalog)
    return field.write(tmp_path / "a.fits")


@pytest.mark.parametrize(
    ("part", "table", "change", "words"),
    [
        (
            "instances",
            "INSTANCES",
            lambda hdu: hdu.header.set("HEIGHT", 10**12),
            "for an image of shape",
        ),
        ("instances", "INSTANCES", lambda hdu: hdu.header.set("TTYPE1", "x"), "Y0"),
        (
            "instances",
            "INSTANCES",
            lambda hdu: hdu.data["Y1"].__setitem__(0, 10**9),
            "cannot have shape",
        ),
        (
            "classes",
            "CLASSES",
            lambda hdu: hdu.data["LABEL"].__setitem__(0, 2**31 - 1),
            "labels reach",
        ),
        ("classes", "CLASSES", lambda hdu: hdu.data["LABEL"].__setitem__(0, -1), "labels reach"),
    ],
)
def test_a_damaged_table_is_named(with_tables, part, table, change, words):
    with fits.open(with_tables, mode="update", memmap=False) as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(opened[table])
    field = read_field(with_tables)
    assert field.image.shape == (1, 20, 30)
    with pytest.raises(
        OSError, match=f"The table in HDU .*{table}.* is damaged.*{words}"
    ) as caught:
        getattr(field, part)
    assert "\n" not in str(caught.value)


def test_a_damaged_catalog_is_named(with_tables):
    data = bytearray(with_tables.read_bytes())
    data[data.rindex(b"TFORM1  =") + 10 : data.rindex(b"TFORM1  =") + 30] = b"3".rjust(20)
    with_tables.write_bytes(data)
    with pytest.raises(OSError, match=r"The table in HDU .*CATALOG.* is damaged"):
        _ = read_field(with_tables).catalog
