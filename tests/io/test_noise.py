import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import read_rms

RMS = np.array([[0.5, 2.0], [4.0, np.nan]], dtype=np.float32)


def stored(kind):
    return {"rms": RMS, "variance": RMS**2, "weight": 1 / RMS**2}[kind]


@pytest.mark.parametrize("kind", ["rms", "variance", "weight"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kind_becomes_rms(write, kind, dtype):
    path = write("a.fits", fits.PrimaryHDU(stored(kind).astype(dtype)))
    read = read_rms(path, kind=kind)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, RMS)
    np.testing.assert_array_equal(read_rms(path, kind=kind, section=np.s_[1:, :1]), [[4]])


@pytest.mark.parametrize("kind", ["rms", "variance", "weight"])
def test_no_data_is_nan(write, kind):
    path = write("a.fits", fits.PrimaryHDU(np.array([[0, -1, np.nan, np.inf, 1]])))
    np.testing.assert_array_equal(read_rms(path, kind=kind), [[np.nan] * 4 + [1]])


def test_extreme_weights(write):
    path = write("a.fits", fits.PrimaryHDU(np.array([[1e-44, 1e38, 1e-24]], dtype=np.float32)))
    np.testing.assert_allclose(
        read_rms(path, kind="weight"), [[1 / np.sqrt(1e-44), 1e-19, 1e12]], rtol=0.02
    )


def test_integer_weights(write):
    path = write("a.fits.fz", fits.CompImageHDU(np.array([[0, 1], [4, 1]], dtype=np.uint8)))
    np.testing.assert_array_equal(read_rms(path, kind="weight"), [[np.nan, 1], [0.5, 1]])


@pytest.mark.parametrize(
    ("cards", "name", "kind"),
    [
        ({"EXTNAME": "VARIANCE"}, "a.fits", "variance"),
        ({"EXTTYPE": "VARIANCE"}, "a.fits", "variance"),
        ({"EXTNAME": "SCI_VAR"}, "a.fits", "variance"),
        ({"EXTNAME": "WHT"}, "a.fits", "weight"),
        ({"EXTNAME": "IVAR"}, "a.fits", "weight"),
        ({"EXTNAME": "ERR"}, "a_wht.fits", "rms"),  # the header goes before the name of the file
        ({"EXTNAME": "UNCERT", "UTYPE": "InverseVariance"}, "a.fits", "weight"),
        ({"EXTNAME": "UNCERT", "UTYPE": "VarianceUncertainty"}, "a.fits", "variance"),
        ({"EXTNAME": "UNCERT"}, "a.fits", "rms"),
        ({"PRODTYPE": "wtmap"}, "a.fits", "weight"),
        ({}, "c4d_170316_062107_oow_z_ls9.fits", "weight"),
        ({}, "galaxies.weight.fits", "weight"),
        ({}, "G265911sigma.fits", "rms"),
        ({}, "f105w_rms.fits", "rms"),
        ({}, "field-var.fits", "variance"),
    ],
)
def test_kind_is_told_from_names(write, cards, name, kind):
    path = write(name, fits.ImageHDU(stored(kind), fits.Header(cards)))
    np.testing.assert_array_equal(read_rms(path, kind="auto"), RMS)


def test_kind_that_cannot_be_told(write):
    path = write("variety.fits", fits.PrimaryHDU(RMS))
    with pytest.raises(
        ValueError, match=r"kind='auto' cannot tell what HDU 0 \(PRIMARY\) of .*variety.fits is"
    ):
        read_rms(path, kind="auto")
    with pytest.raises(ValueError, match=r"kind must be one of .* Got 'sigma' instead"):
        read_rms(path, kind="sigma")


def test_exposure_of_several_extensions(write):
    path = write(
        "a.fits",
        fits.ImageHDU(RMS * 100, fits.Header({"EXTTYPE": "IMAGE"})),
        fits.ImageHDU(np.zeros((2, 2), np.uint16), fits.Header({"EXTTYPE": "MASK"})),
        fits.ImageHDU(RMS**2, fits.Header({"EXTTYPE": "VARIANCE"})),
    )
    for options in (
        {"kind": "variance"},
        {"kind": "auto"},
        {"kind": "variance", "hdu": 3},
        {"kind": "auto", "hdu": -1},
    ):
        np.testing.assert_array_equal(read_rms(path, **options), RMS)
    # A variance is never taken for an RMS, nor the image for noise, by mistake
    with pytest.raises(
        ValueError, match=r"no extension that calls itself rms, but HDU 3 of .* is a variance map"
    ):
        read_rms(path)
    np.testing.assert_array_equal(read_rms(path, hdu=3), RMS**2)
