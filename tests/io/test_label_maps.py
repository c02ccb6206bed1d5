import json
import os
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.pipeline import Pipeline

from galaxysegment import __version__
from galaxysegment.io import read_header, read_label_map, write_label_map

LABELS = np.array([[0, 1, 1], [0, 0, 3]], dtype=np.int32)


# Reading


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", ">i4", "u4", ">i8", "u8", ">f4", ">f8"])
def test_every_dtype_is_read_as_int32_with_gaps_kept(write, dtype):
    path = write("a.fits", fits.PrimaryHDU(LABELS.astype(dtype)))
    read = read_label_map(path)
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, LABELS)
    np.testing.assert_array_equal(read_label_map(path, section=np.s_[:, 1:]), LABELS[:, 1:])
    np.testing.assert_array_equal(read_label_map(path, relabel=True), [[0, 1, 1], [0, 0, 2]])


def test_labels_of_64_bits_are_told_apart(write):
    big = 2**53
    path = write("a.fits", fits.PrimaryHDU(np.array([[0, big, big + 1]])))  # one number, as floats
    np.testing.assert_array_equal(read_label_map(path), [[0, 1, 2]])
    path = write("b.fits", fits.PrimaryHDU(np.array([[0, 2**63, 2**63 + 1]], dtype=np.uint64)))
    np.testing.assert_array_equal(read_label_map(path), [[0, 1, 2]])


def test_blank_and_nan_are_background(write):
    path = write(
        "a.fits",
        fits.PrimaryHDU(np.array([[-1, 0, 4]], dtype=np.int32), fits.Header({"BLANK": -1})),
    )
    np.testing.assert_array_equal(read_label_map(path), [[0, 0, 4]])
    path = write("b.fits", fits.PrimaryHDU(np.array([[np.nan, 0, 4]])))
    np.testing.assert_array_equal(read_label_map(path), [[0, 0, 4]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0, -1]], "0 for background and positive for sources. Got -1"),
        ([[0, 1.5]], "must hold whole numbers, one per source. Got fractions"),
        ([[0, np.inf]], "must hold whole numbers, one per source. Got infinit"),
        ([[[0, 1]], [[0, 1]]], r"has shape \(2, 1, 2\): it must have shape \(height, width\)"),
    ],
)
def test_what_is_no_label_map(write, values, message):
    path = write("a.fits", fits.PrimaryHDU(np.array(values)))
    with pytest.raises(ValueError, match=message) as caught:
        read_label_map(path)
    assert "HDU 0 (PRIMARY) of" in str(caught.value)


def test_named_extension_comes_before_the_first_image(write):
    sci = fits.ImageHDU(np.full((2, 3), 0.5), name="SCI")
    path = write("a.fits", sci, fits.ImageHDU(LABELS, name="SEGMENTATION"))
    np.testing.assert_array_equal(read_label_map(path), LABELS)
    with pytest.raises(ValueError, match="fractions"):
        read_label_map(path, hdu="SCI")


# Writing


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    labels=hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.integers(0, 2**31 - 1),
    ),
    name=st.sampled_from(["a.fits", "a.fits.gz", "a.fits.fz"]),
)
def test_round_trip(tmp_path, labels, name):
    path = write_label_map(tmp_path / name, labels, overwrite=True)
    np.testing.assert_array_equal(read_label_map(path), labels)


@pytest.mark.parametrize("dtype", [bool, "u1", "u8", ">i4", "f4"])
def test_written_as_32_bits(tmp_path, dtype):
    labels = np.array([[0, 1], [1, 0]], dtype=dtype)
    path = write_label_map(tmp_path / "a.fits", labels)
    assert fits.getval(path, "BITPIX") == 32
    np.testing.assert_array_equal(fits.getdata(path), labels)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.fz"])
def test_written_as_64_bits_where_needed(tmp_path, name):
    labels = np.array([[0, 2**40], [3, 0]])
    path = write_label_map(tmp_path / name, labels)
    with fits.open(path) as opened:
        np.testing.assert_array_equal(opened[-1].data, labels)
    np.testing.assert_array_equal(read_label_map(path), [[0, 2], [1, 0]])


def test_the_callers_array_is_left_alone(tmp_path):
    labels = LABELS.copy()
    labels.flags.writeable = False
    write_label_map(tmp_path / "a.fits", labels)
    np.testing.assert_array_equal(labels, LABELS)


def test_suffixes(tmp_path):
    assert write_label_map(tmp_path / "a.fits.gz", LABELS).read_bytes()[:2] == b"\x1f\x8b"
    path = write_label_map(tmp_path / "a.fits.fz", LABELS)
    with fits.open(path) as opened:
        assert isinstance(opened["LABELS"], fits.CompImageHDU)
        assert opened["LABELS"].compression_type == "RICE_1"
    for name in ("a.npz", "a.fz", "a"):
        with pytest.raises(ValueError, match=r"path must end in .fits, .fits.gz or .fits.fz. Got"):
            write_label_map(tmp_path / name, LABELS)


def _world(path):
    with fits.open(path) as opened:
        return WCS(opened[-1].header).pixel_to_world_values([0, 2], [1, 0])


@pytest.mark.parametrize("name", ["a.fits", "a.fits.fz"])
def test_wcs_is_kept(tmp_path, sky_header, name):
    expected = WCS(sky_header).pixel_to_world_values([0, 2], [1, 0])
    for header in (sky_header, WCS(sky_header)):
        path = write_label_map(tmp_path / name, LABELS, header=header, overwrite=True)
        np.testing.assert_allclose(_world(path), expected, rtol=0, atol=1e-10)


def test_cards_are_kept_but_not_stale_ones(tmp_path, write, sky_header):
    sky_header.update(
        {"BUNIT": "adu", "OBJECT": "Coma", "EXTNAME": "CCD3", "DATE": "1999-01-01", "DATAMAX": 7.0}
    )
    stored = np.arange(6, dtype=np.uint16).reshape(2, 3)
    path = write("in.fits", fits.ImageHDU(stored, sky_header))
    header = fits.getheader(path, 1)
    assert header["BZERO"] == 32768
    header["BLANK"], header["CHECKSUM"] = -5, "abc"
    written = fits.getheader(write_label_map(tmp_path / "out.fits", LABELS, header=header))
    assert (written["BITPIX"], written["EXTNAME"], written["OBJECT"]) == (32, "LABELS", "Coma")
    assert not {"BZERO", "BSCALE", "BLANK", "CHECKSUM", "BUNIT", "DATAMAX", "XTENSION"} & set(
        written
    )
    assert written["DATE"] > "2020"
    np.testing.assert_array_equal(read_label_map(tmp_path / "out.fits"), LABELS)


def test_header_of_a_cube_and_of_a_compressed_table(tmp_path, write):
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CTYPE3": "FREQ",
            "CRVAL3": 1e9,
            "CDELT3": 1e6,
            "PC3_3": 1.0,
        }
    )
    cube = write("cube.fits", fits.PrimaryHDU(np.zeros((4, 2, 3)), header))
    written = fits.getheader(write_label_map(tmp_path / "a.fits", LABELS, header=read_header(cube)))
    assert (written["NAXIS"], WCS(written).naxis, WCS(written).has_celestial) == (2, 2, True)
    tiles = write("tiles.fits", fits.CompImageHDU(LABELS, header[:2]))
    with fits.open(tiles, disable_image_compression=True) as opened:
        written = fits.getheader(
            write_label_map(tmp_path / "b.fits", LABELS, header=opened[1].header)
        )
    assert not {"ZIMAGE", "ZNAXIS1", "TFIELDS", "TFORM1", "ZCMPTYPE"} & set(written)
    assert written["CTYPE1"] == "RA---TAN"


def test_illegal_cards_are_dropped(tmp_path):
    header = fits.Header({"OBJECT": "Coma"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header.append(
            fits.Card.fromstring("ESO-LOG 03:04:08>-START EXPO EMMI RED          / Start exp.")
        )
        header.append(fits.Card.fromstring("SEEING  = 1.2.3"))
    written = read_header(write_label_map(tmp_path / "a.fits", LABELS, header=header))
    assert written["OBJECT"] == "Coma"
    assert not any("ESO-LOG" in card.image for card in written.cards)


def test_header_of_another_image_is_refused(tmp_path, write):
    header = fits.getheader(write("in.fits", fits.PrimaryHDU(np.zeros((20, 30)))))
    with pytest.raises(
        ValueError,
        match=r"header is of an image of shape \(20, 30\), but the map has shape \(2, 3\)",
    ):
        write_label_map(tmp_path / "a.fits", LABELS, header=header)
    with pytest.raises(
        TypeError, match=r"header must be an astropy Header, a WCS or None. Got dict"
    ):
        write_label_map(tmp_path / "a.fits", LABELS, header={})


class Segmenter(BaseEstimator):
    def __init__(self, *, text="it's & 'quoted' \u00e9 \n", sizes=None, inner=None, function=None):
        self.text = text
        self.sizes = sizes
        self.inner = inner
        self.function = function


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_provenance(tmp_path, name):
    segmenter = Segmenter(
        sizes=np.arange(3), inner=KMeans(n_clusters=np.int64(2)), function=np.mean
    )
    header = read_header(write_label_map(tmp_path / name, LABELS, segmenter=segmenter))
    assert header["SEGCLASS"] == "Segmenter"
    assert __version__ in header["SEGVERS"]
    assert header["DATE"].startswith("20")
    params = json.loads(header["SEGPARAM"])
    assert params.keys() == segmenter.get_params().keys()
    assert params["text"] == segmenter.text
    assert params["sizes"] == [0, 1, 2]
    assert params["inner__n_clusters"] == 2
    assert "mean" in params["function"]


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=300))
def test_provenance_survives_any_text(tmp_path, text):
    path = write_label_map(
        tmp_path / "a.fits", LABELS, segmenter=Segmenter(text=text), overwrite=True
    )
    assert json.loads(read_header(path)["SEGPARAM"])["text"] == text


def test_provenance_of_a_pipeline_and_anew(tmp_path):
    pipeline = Pipeline([("a", Segmenter()), ("b", KMeans())])
    path = write_label_map(tmp_path / "a.fits", LABELS, segmenter=pipeline)
    params = json.loads(read_header(path)["SEGPARAM"])
    assert params["b__n_clusters"] == 8
    again = write_label_map(
        tmp_path / "b.fits", LABELS, segmenter=KMeans(), header=read_header(path)
    )
    header = read_header(again)
    assert header["SEGCLASS"] == "KMeans"
    assert header.count("SEGPARAM") == header.count("SEGVERS") == 1


def test_provenance_without_a_segmenter(tmp_path):
    header = read_header(write_label_map(tmp_path / "a.fits", LABELS))
    assert "SEGCLASS" not in header
    assert "SEGVERS" in header
    with pytest.raises(
        TypeError, match=r"segmenter must be an estimator with get_params, or None\. Got str"
    ):
        write_label_map(tmp_path / "b.fits", LABELS, segmenter="photutils")


def test_no_overwriting_unless_asked(tmp_path):
    path = write_label_map(tmp_path / "a.fits", LABELS)
    with pytest.raises(FileExistsError, match=r"a.fits exists: pass overwrite=True"):
        write_label_map(path, LABELS * 2)
    np.testing.assert_array_equal(read_label_map(path), LABELS)
    write_label_map(path, LABELS * 2, overwrite=True)
    np.testing.assert_array_equal(read_label_map(path), LABELS * 2)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
@pytest.mark.parametrize("exists", [False, True])
def test_nothing_half_written_is_left(tmp_path, monkeypatch, name, exists):
    if exists:
        write_label_map(tmp_path / name, LABELS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self, fileobj, *args, **kwargs):
        fileobj.write(b"SIMPLE")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", full)
    with pytest.raises(OSError, match="No space left"):
        write_label_map(tmp_path / name, LABELS * 2, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_interrupted_move_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_label_map(tmp_path / "a.fits", LABELS)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="links and permissions are those of POSIX")
def test_links_and_permissions(tmp_path):
    target = tmp_path / "target.fits"
    link = tmp_path / "link.fits"
    link.symlink_to(target)
    write_label_map(link, LABELS)
    assert link.is_symlink()
    np.testing.assert_array_equal(read_label_map(target), LABELS)
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, int), "label map"),
        (np.zeros((0, 3), int), "there is nothing to write"),
        ([[0, -1]], "positive"),
        ([[0, 0.5]], "whole numbers"),
    ],
)
def test_what_cannot_be_written(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        write_label_map(tmp_path / "a.fits", labels)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        write_label_map(tmp_path / "missing" / "a.fits", LABELS)
