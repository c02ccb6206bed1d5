"""HDUs: which is meant, how long its data are, and what a message lists."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import read_header, read_image
from galaxysegment.io._hdus import check_complete, find_hdu, find_image, scan


def write(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def image(value, name="", version=None):
    hdu = fits.ImageHDU(np.full((3, 4), value, np.uint8), name=name)
    if version is not None:
        hdu.header["EXTVER"] = version
    return hdu


@pytest.fixture
def path(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("X", "J", array=np.arange(5))], name="TAB")
    names = [image(1, "SCI", 1), image(2, "SCI", 2), table, image(3), image(4, "dq ", 3)]
    return write(tmp_path / "a.fits", *names)


@pytest.mark.parametrize(
    ("hdu", "index"),
    [
        (None, 1), (0, 0), (1, 1), (2, 2), (5, 5), (-1, 5), (-6, 0), (np.int64(4), 4),
        ("SCI", 1), ("sci ", 1), (("SCI", 2), 2), (("sci", np.int32(1)), 1), ("DQ", 5),
        (("DQ", 3), 5),
        ("tab", 3), ("primary", 0), ("PRIMARY", 0),
    ],
)  # fmt: skip
def test_every_way_to_name_an_hdu(path, hdu, index):
    assert find_hdu(path, hdu).index == index
    assert find_hdu(path, hdu, list(scan(path))).index == index


@pytest.mark.parametrize("hdu", [6, -7, "ERR", ("SCI", 3), ("TAB", 2), 100])
def test_an_hdu_that_is_not_there(path, hdu):
    with pytest.raises(
        ValueError, match=r"holds no HDU .* It has 0 PRIMARY: no data; 1 SCI: 3 x 4"
    ):
        find_hdu(path, hdu)


@pytest.mark.parametrize("hdu", [True, 1.0, ["SCI"], ("SCI",), ("SCI", 1.0), (1, "SCI"), b"SCI"])
def test_what_names_no_hdu(path, hdu):
    with pytest.raises(TypeError, match="hdu must be an index, a name"):
        find_hdu(path, hdu)


def test_a_long_list_is_cut(tmp_path):
    path = write(tmp_path / "many.fits", *(image(k, f"N{k}") for k in range(30)))
    with pytest.raises(ValueError, match="holds no HDU 'X'") as caught:
        find_hdu(path, "X")
    message = str(caught.value)
    assert "19 N18: 3 x 4; … (31 in all)" in message and "N19:" not in message
    short = write(tmp_path / "twenty.fits", *(image(k, f"N{k}") for k in range(19)))
    with pytest.raises(ValueError, match=r"19 N18: 3 x 4\.$"):
        find_hdu(short, "X")


def test_a_truncated_file_says_so_where_an_hdu_is_missed(path):
    path.write_bytes(path.read_bytes()[:23_045])  # five bytes of its twelve pixels
    with pytest.raises(ValueError, match=r"the file ends inside HDU 4: it is truncated"):
        find_hdu(path, "DQ")


def test_a_header_that_is_cut(path):
    path.write_bytes(path.read_bytes()[:26_000])
    with pytest.raises(OSError, match="is truncated: the header of HDU 5 ends after 80 bytes"):
        find_hdu(path, "DQ")


@pytest.mark.parametrize("hdu", ["TAB", 3])
def test_a_table_is_no_image(path, hdu):
    with pytest.raises(ValueError, match="holds a table, not an image"):
        find_image(path, hdu)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5)])
def test_numbers_of_axes_that_no_image_has(tmp_path, shape):
    path = write(tmp_path / "a.fits", fits.ImageHDU(np.zeros(shape)))
    with pytest.raises(ValueError, match=r"two or more axes are needed|image or a \(n_bands"):
        find_image(path, 1)


def test_the_first_image_has_two_axes_and_pixels(tmp_path):
    path = write(tmp_path / "a.fits", fits.ImageHDU(np.zeros(5)), image(7))
    assert find_image(path).index == 2 and (read_image(path) == 7).all()
    with pytest.raises(ValueError, match="holds no image: two or more axes are needed"):
        find_image(path, 0)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (1, 3, 4), (2, 1, 3, 4), (40, 73)])
def test_places_are_those_of_astropy(tmp_path, shape, dtype):
    hdus = [fits.ImageHDU(np.zeros(shape, dtype), name=f"N{k}") for k in range(3)]
    columns = [
        fits.Column("X", "PD()", array=np.array([np.arange(3.0), np.arange(5.0)], dtype=object))
    ]
    hdus.insert(1, fits.BinTableHDU.from_columns(columns))
    path = write(tmp_path / "a.fits", *hdus)
    with fits.open(path) as opened:
        for hdu, expected in zip(scan(path), opened, strict=True):
            info = expected.fileinfo()
            assert (hdu.start, hdu.offset) == (info["hdrLoc"], info["datLoc"])
            assert hdu.n_bytes == expected.size
            assert hdu.shape == (expected.shape if hdu.kind == "image" else hdu.shape)
            check_complete(hdu)
            if hdu.is_image:
                kept = [side for side in shape[:-2] if side != 1]
                assert hdu.image_shape == (*kept, *shape[-2:])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("BITPIX", 24), ("BITPIX", 0), ("NAXIS", 1000), ("NAXIS", -1), ("NAXIS1", -1),
        ("NAXIS2", -5),
        ("GCOUNT", 0), ("GCOUNT", -1), ("PCOUNT", -1), ("NAXIS2", 1.5), ("NAXIS1", "'4'"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be(tmp_path, keyword, value):
    path = write(tmp_path / "a.fits", image(1), image(2))
    data = bytearray(path.read_bytes())
    start = data.index(f"{keyword:8}=".encode(), 2880)
    data[start : start + 80] = f"{keyword:8}= {value!s:>20}".ljust(80).encode()
    path.write_bytes(data)
    with pytest.raises(OSError, match=rf"HDU 1 of .*({keyword} = |shape).*the header is damaged"):
        read_header(path, 2)


@pytest.mark.parametrize(
    ("n_columns", "is_refused"), [(-1, True), (0, False), (999, False), (1000, True)]
)
def test_numbers_of_columns(tmp_path, n_columns, is_refused):
    path = write(tmp_path / "a.fits", fits.BinTableHDU.from_columns([fits.Column("X", "J")]))
    data = bytearray(path.read_bytes())
    start = data.index(b"TFIELDS =")
    data[start : start + 80] = f"TFIELDS = {n_columns:>20}".ljust(80).encode()
    path.write_bytes(data)
    if is_refused:
        with pytest.raises(OSError, match=f"TFIELDS = {n_columns}, which must be 0 to 999"):
            list(scan(path))
    else:
        assert [hdu.kind for hdu in scan(path)] == ["image", "table"]


@pytest.mark.parametrize("missing", [0, 1, 2879, 2880, 3000])
def test_data_that_end_too_early(tmp_path, missing):
    path = write(tmp_path / "a.fits", fits.ImageHDU(np.zeros((60, 60), np.uint8)))
    end = 3600 + 2 * 2880
    path.write_bytes(path.read_bytes()[: end - missing])
    hdu = find_image(path)
    if missing:
        with pytest.raises(OSError, match="promises 3600 bytes of data, more than the file holds"):
            check_complete(hdu)
    else:  # what is behind the pixels is not needed
        assert read_image(path).shape == (60, 60)


def test_random_groups_are_no_image(tmp_path):
    groups = fits.GroupData(
        np.zeros((3, 1, 1, 2, 4)), parnames=["U"], pardata=[np.zeros(3)], bitpix=-32
    )
    path = tmp_path / "a.fits"
    fits.HDUList([fits.GroupsHDU(groups), image(5)]).writeto(path)
    first, second = scan(path)
    assert first.kind == "table" and second.index == 1
    assert (read_image(path) == 5).all()
