"""Wavelengths of bands from headers and file names, as surveys write them."""

import pytest
from astropy.io import fits

from galaxysegment.io._bands import band_wavelengths


def header(**cards):
    return fits.Header(list(cards.items()))


def tell(headers, names=None):
    return band_wavelengths(headers, names or ["x.fits"] * len(headers), len(headers))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["g DECam SDSS c0001 4720.0 1520.0", "z DECam SDSS c0004 9260.0 1520.0"], [475, 905]),
        (["HSC-G", "HSC-R", "HSC-I"], [475, 640, 800]),
        (["i.MP9703", "g.MP9401"], [763, 475]),
        (["SDSS u", "V", "Ks"], [355, 551, 2150]),
        (["F435W", "F814W", "F160W"], [435, 814, 1600]),
    ],
)
def test_names_of_filters(filters, expected):
    assert tell([header(FILTER=name) for name in filters]) == expected


def test_james_webb_counts_in_ten_nanometres():
    filters = [header(TELESCOP="JWST", FILTER=name) for name in ("F444W", "F200W")]
    assert tell(filters) == [4440, 2000]


def test_wavelengths_in_cards():
    assert tell([header(PHOTPLAM=8045.5), header(PHOTPLAM=5921.2)]) == pytest.approx(
        [804.55, 592.12]
    )
    micron = [("WAVELEN", 1.5, "[um] central wavelength"), ("WAVELEN", 0.7, "[um]")]
    assert tell([fits.Header([card]) for card in micron]) == pytest.approx([1500, 700])


def test_a_card_that_tells_no_bands_apart_is_passed_over():
    """phosim writes H or H H for the filter of every band."""
    headers = [header(FILTER="H  )"), header(FILTER="H"), header(FILTER="H H")]
    names = ["img_g.fits", "img_r.fits", "img_z.fits.gz"]
    assert tell(headers, names) == [475, 622, 905]


def test_names_of_files():
    empty = [header(), header()]
    assert tell(empty, ["field_g_r.fits", "field_g_i.fits"]) == [622, 763]
    assert tell(empty, ["goods_f606w_drz.fits", "goods_f850lp_drz.fits"]) == [606, 850]
    assert tell(empty, ["a.fits", "b.fits"]) is None
    assert tell(empty, ["a_g.fits", "b_g.fits"]) is None


def test_cubes():
    assert band_wavelengths([header(BANDS="zrg")], ["cube.fits"], 3) == [905, 622, 475]
    wave = header(CTYPE3="WAVE", CRVAL3=4.75e-7, CDELT3=1e-9)
    assert band_wavelengths([wave], ["cube.fits"], 3) == pytest.approx([4.75e-7, 4.76e-7, 4.77e-7])
    assert band_wavelengths([header()], ["cube.fits"], 3) is None


@pytest.mark.parametrize(
    ("value", "nanometres"),
    [(0.7, 700), (99, 99_000), (100, 100), (715, 715), (2499, 2499), (2500, 250), (7625, 762.5)],
)
@pytest.mark.parametrize("card", ["PHOTPLAM", "LAMBDA"])
def test_a_wavelength_without_a_unit_is_told_by_its_size(card, value, nanometres):
    headers = [fits.Header({card: value}), fits.Header({card: 1e5})]
    assert band_wavelengths(headers, ["a", "b"], 2) == pytest.approx([nanometres, 1e4])


@pytest.mark.parametrize(
    ("unit", "nanometres"),
    [("Angstrom", 70), ("nm", 700), ("um", 7e5), ("m", 7e11), ("[A] of", 70)],
)
def test_a_wavelength_with_a_unit(unit, nanometres):
    headers = [fits.Header([("WAVELEN", 700, unit)]), fits.Header([("WAVELEN", 1, "nm")])]
    assert band_wavelengths(headers, ["a", "b"], 2) == pytest.approx([nanometres, 1])
