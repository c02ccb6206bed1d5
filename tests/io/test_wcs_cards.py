"""The sky of an image survives: written maps, cut-outs and cubes, with every kind of WCS card."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from galaxysegment.io import read_field, read_header, read_label_map, write_label_map
from galaxysegment.io._wcs import cut_header, kept_cards

SHAPE = (60, 80)
TANGENT = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
    "CRPIX1": 33.0, "CRPIX2": 21.0, "CUNIT1": "deg", "CUNIT2": "deg",
}  # fmt: skip
TURNED = {"CD1_1": -3e-3, "CD1_2": 1e-3, "CD2_1": 1e-3, "CD2_2": 3e-3}
PV = {"PV1_0": 0.01, "PV1_1": 1.02, "PV1_2": 0.03, "PV1_4": 0.4, "PV1_7": 3.0}
PV |= {"PV2_1": 0.98, "PV2_2": -0.02, "PV2_5": 0.5, "PV2_10": -2.0}
SIP = {"A_ORDER": 2, "A_2_0": 2e-4, "A_1_1": -1e-4, "B_ORDER": 2, "B_0_2": 3e-4, "B_1_1": 1e-4}
SKIES = {
    "turned": TANGENT | TURNED,
    "scaled": TANGENT
    | {"PC1_1": 0.8, "PC1_2": 0.6, "PC2_1": -0.6, "PC2_2": 0.8, "CDELT1": -2e-3, "CDELT2": 3e-3},
    "TPV": TANGENT | TURNED | PV | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"},
    "SIP": TANGENT | TURNED | SIP | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"},
    "ZPN": TANGENT | TURNED | {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN"}
    | {"PV2_1": 1.0, "PV2_3": 42.0},
    "pole": TANGENT | TURNED | {"LONPOLE": 150.0, "RADESYS": "FK5", "EQUINOX": 1975.0},
}  # fmt: skip
PIXELS = np.random.default_rng(0).uniform(0, 60, (2, 20))


def sky(header, x, y):
    return WCS(header, naxis=2).pixel_to_world(x, y)


def assert_same_sky(actual, expected):
    assert actual.separation(expected).to_value("arcsec").max() < 1e-6


@pytest.fixture(params=SKIES)
def header(request):
    return fits.Header(SKIES[request.param])


def test_every_card_matters(header):
    """Without one of its cards the sky is another, or there is none: no card is idle here."""
    idle = {"CUNIT1", "CUNIT2", "PV2_1", "RADESYS", "EQUINOX", "CRPIX1", "CRPIX2"}
    here = sky(header, *PIXELS)
    for keyword in set(header) - idle - {"CTYPE1", "CTYPE2", "A_ORDER", "B_ORDER"}:
        without = header.copy()
        del without[keyword]
        assert sky(without, *PIXELS).separation(here).to_value("arcsec").max() > 1e-3, keyword


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_a_written_map_has_the_sky_of_its_image(tmp_path, header):
    fits.PrimaryHDU(np.zeros(SHAPE, dtype=np.float32), header).writeto(tmp_path / "image.fits")
    labels = np.zeros(SHAPE, dtype=int)
    labels[3:5, 4:8] = 1
    made_from = read_header(tmp_path / "image.fits")
    write_label_map(tmp_path / "labels.fits", labels, header=made_from)
    written = fits.getheader(tmp_path / "labels.fits")
    assert_same_sky(sky(written, *PIXELS), sky(header, *PIXELS))
    np.testing.assert_array_equal(read_label_map(tmp_path / "labels.fits"), labels)
    field = read_field(tmp_path / "image.fits")
    assert_same_sky(field.wcs.pixel_to_world(*PIXELS), sky(header, *PIXELS))


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_a_cutout_has_the_sky_of_its_place(tmp_path, header):
    fits.PrimaryHDU(np.zeros(SHAPE, dtype=np.float32), header).writeto(tmp_path / "image.fits")
    cutout = read_field(tmp_path / "image.fits").section(slice(7, 47), slice(11, 71))
    assert_same_sky(cutout.wcs.pixel_to_world(*PIXELS), sky(header, PIXELS[0] + 11, PIXELS[1] + 7))
    cut = cut_header(read_header(tmp_path / "image.fits"), slice(7, 47), slice(11, 71))
    assert (cut["NAXIS1"], cut["NAXIS2"]) == (60, 40)
    assert_same_sky(sky(cut, *PIXELS), sky(header, PIXELS[0] + 11, PIXELS[1] + 7))


def test_a_map_of_a_cube_keeps_the_cards_of_two_axes_only():
    higher = {
        "CTYPE3": "WAVE", "CRVAL3": 5e-7, "CRPIX3": 1.0, "CDELT3": 1e-9, "CUNIT3": "m",
        "PV3_0": 1.0, "PV3_11": 2.0, "PS3_0": "table", "CD3_3": 1e-9, "CD1_3": 0.0, "CD13_1": 0.0,
    }  # fmt: skip
    base = SKIES["TPV"]
    for n_axes in ({"WCSAXES": 3}, {"NAXIS": 3, "NAXIS1": 80, "NAXIS2": 60, "NAXIS3": 4}):
        header = fits.Header(n_axes | base | higher | {"OBJECT": "cube"})
        kept = kept_cards(header, SHAPE)
        assert not set(kept) & {*higher, "NAXIS", "NAXIS3"}
        assert {name: kept[name] for name in base} == base
        assert kept["OBJECT"] == "cube" and kept.get("WCSAXES", 2) == 2
        assert_same_sky(sky(kept, *PIXELS), sky(fits.Header(base), *PIXELS))
    # a map of three axes, or of an image of two axes, keeps all
    assert {*higher} <= set(kept_cards(header, (4, *SHAPE)))
    assert {*base} <= set(kept_cards(fits.Header(base), SHAPE))


def test_what_described_the_other_files_pixels_is_dropped():
    stale = {"BSCALE": 2.0, "BZERO": 1.0, "DATAMAX": 3.0, "CHECKSUM": "x", "EXTNAME": "SCI"}
    stale |= {"ZIMAGE": True, "ZCMPTYPE": "RICE_1", "ZNAXIS1": 80, "ZTILE12": 1, "ZVAL1": 32}
    stale |= {"TTYPE1": "COMPRESSED_DATA", "TFORM12": "J", "SEGCLASS": "KMeansSegmenter"}
    header = fits.Header(SKIES["turned"] | stale | {"BUNIT": "nJy", "FILTER": "r", "EXPTIME": 9.0})
    kept = kept_cards(header, SHAPE)
    assert set(kept) == {*SKIES["turned"], "FILTER", "EXPTIME"}
    assert kept_cards(header, SHAPE, keep_unit=True)["BUNIT"] == "nJy"
    assert set(kept_cards(header, SHAPE, keep_wcs=False)) == {"FILTER", "EXPTIME"}
    assert len(kept_cards(None, SHAPE)) == 0


def test_all_cards_about_the_sky_are_told_from_others(header):
    header["OBJECT"] = "field"
    assert set(kept_cards(header, SHAPE, keep_wcs=False)) == {"OBJECT"}
    assert set(kept_cards(header, SHAPE)) == set(header)
