"""Forced photometry, PSF-matched bands, units and total fluxes."""

import numpy as np
import photutils
import pytest
from astropy.io import fits
from packaging.version import Version
from photutils.segmentation import SegmentationImage, SourceCatalog

from galaxysegment import Instances
from galaxysegment.catalog import _windows, ab_zero_point, source_catalog
from galaxysegment.io import Field
from galaxysegment.structures import label_components

# photutils 3.0 weights variances by the overlap, not by its square
SAME_ERRORS = Version(photutils.__version__) >= Version("3.1")


def gaussian(shape, y, x, flux, sigma):
    rows, columns = np.indices(shape)
    light = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
    return flux * light / light.sum()


@pytest.fixture(scope="module")
def pair():
    """A deep image, a shallow image of another band, and labels of the deep image."""
    rng = np.random.default_rng(0)
    deep = np.zeros((90, 120))
    for y, x in rng.uniform(10, 80, (9, 2)):
        deep += gaussian(deep.shape, y, x * 1.3, rng.uniform(500, 2000), rng.uniform(1.5, 3))
    shallow = 0.3 * deep + rng.normal(0, 3, deep.shape)
    deep += rng.normal(0, 1, deep.shape)
    labels = (deep > 5).astype(int)
    return deep, shallow, label_components(labels)


def test_forced_photometry_is_that_of_photutils(pair):
    deep, shallow, labels = pair
    rms, segments = np.full(deep.shape, 3.0), SegmentationImage(labels)
    detected = SourceCatalog(deep, segments)
    expected = SourceCatalog(shallow, segments, error=rms, detection_catalog=detected)
    options = {"rms": rms, "kron": True, "apertures": 4, "light_fractions": 0.5}
    catalog = source_catalog(labels, shallow, detection=deep, **options)
    pairs = {
        "x": expected.x_centroid,
        "semi_major": expected.semimajor_axis.value,
        "kron_radius": expected.kron_radius.value,
        "flux": expected.segment_flux,
        "flux_kron": expected.kron_flux,
        "flux_kron_error": expected.kron_flux_err,
        "flux_aperture_4": expected.circular_photometry(4)[0],
    }
    if not SAME_ERRORS:
        del pairs["flux_kron_error"]
    for name, values in pairs.items():
        column = np.asarray(getattr(catalog[name], "value", catalog[name]))
        np.testing.assert_allclose(column, values, rtol=1e-7, err_msg=name)
    own = source_catalog(labels, shallow, **options)
    assert not np.allclose(own["kron_radius"], catalog["kron_radius"])


def test_detection_may_be_a_field_or_a_file_with_a_background(pair, tmp_path):
    deep, shallow, labels = pair
    fits.writeto(tmp_path / "deep.fits", deep)
    expected = source_catalog(labels, shallow, detection=deep, kron=True)
    for image in (Field(deep), tmp_path / "deep.fits"):
        catalog = source_catalog(labels, shallow, detection=image, kron=True)
        np.testing.assert_allclose(catalog["flux_kron"], expected["flux_kron"])
    mesh = source_catalog(labels, shallow + 7, detection=deep + 50, kron=True, background="mesh")
    np.testing.assert_allclose(mesh["x"], expected["x"], atol=0.1)
    with pytest.raises(ValueError, match="detection"):
        source_catalog(labels, shallow, detection=deep[:-1], kron=True)


def test_instances_and_label_maps_agree_in_forced_photometry(pair):
    deep, shallow, labels = pair
    options = {"detection": deep, "kron": True}
    tables = [
        source_catalog(s, shallow, **options) for s in (labels, Instances.from_label_map(labels))
    ]
    np.testing.assert_allclose(tables[0]["flux_kron"], tables[1]["flux_kron"])


def test_kernels_match_the_psf_of_bands(monkeypatch):
    sharp, wide = (gaussian((80, 90), 40, 45, 1000, sigma) for sigma in (1.5, 2.5))
    labels = (wide > 5).astype(int)
    kernel = gaussian((25, 25), 12, 12, 5.0, 2.0)  # 1.5² + 2² = 2.5²
    bands = np.stack([sharp, wide])
    plain, matched = (
        source_catalog(labels, bands, apertures=3, bands="gr", kernels=kernels)
        for kernels in (None, [kernel, None])
    )
    assert plain["flux_aperture_3_g"][0] > 1.4 * plain["flux_aperture_3_r"][0]
    assert matched["flux_aperture_3_g"][0] == pytest.approx(plain["flux_aperture_3_r"][0], rel=1e-3)
    assert matched["flux_aperture_3_r"][0] == plain["flux_aperture_3_r"][0]
    assert matched["flux_g"][0] == plain["flux_g"][0]
    monkeypatch.setattr(_windows, "_TILE", 16)
    again = source_catalog(labels, bands, apertures=3, bands="gr", kernels=[kernel, None])
    assert again["flux_aperture_3_g"][0] == pytest.approx(matched["flux_aperture_3_g"][0], rel=1e-9)


def test_missing_pixels_take_no_part_in_a_convolution():
    image = np.full((40, 40), 3.0)
    image[20, 20] = np.nan
    labels = np.zeros(image.shape, dtype=int)
    labels[18:23, 18:23] = 1
    labels[0:3, 0:3] = 2
    catalog = source_catalog(labels, image, apertures=2, kernels=np.ones((5, 5)), neighbours="none")
    inside = np.pi * 2**2 - 1
    np.testing.assert_allclose(catalog["flux_aperture_2"][0], 3 * inside)
    assert catalog["flux_aperture_2"][1] <= 3 * np.pi * 2**2


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        ([np.ones((3, 3))] * 2, "kernels has 2 entries, but the image has 1 bands"),
        (np.ones((4, 4)), "kernels must be arrays of two axes with odd sides"),
        (-np.ones((3, 3)), "kernels must be arrays of two axes with odd sides"),
    ],
)
def test_bad_kernels_are_refused(kernels, message):
    with pytest.raises(ValueError, match=message):
        source_catalog(np.eye(9, dtype=int), np.ones((9, 9)), apertures=2, kernels=kernels)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"MAGZERO": 26.5, "BUNIT": "uJy"}, 26.5),
        ({"ZEROPNT": 30}, 30.0),
        ({"MAGZP": 25.0, "MAGZP_R": 26.0}, 26.0),
        ({"BUNIT": "uJy"}, 23.9),
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"BUNIT": "MJy/sr", "PIXAR_SR": 2.3504e-14}, 27.9724),  # JWST, 0.0316 arcsec
        (
            {"BUNIT": "ELECTRONS/S", "PHOTFLAM": 7.0723e-20, "PHOTPLAM": 8045.0},
            25.9411,
        ),  # ACS F814W
    ],
)
def test_headers_tell_the_zero_point(cards, expected):
    assert ab_zero_point(fits.Header(cards), band="r") == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("cards", [{}, {"BUNIT": "ct"}, {"PHOTFLAM": 0.0, "PHOTPLAM": 8000.0}])
def test_headers_without_a_zero_point_are_refused(cards):
    with pytest.raises(ValueError, match="The header has no zero point"):
        ab_zero_point(cards)


def test_surface_brightness_needs_the_area_of_a_pixel():
    with pytest.raises(ValueError, match="PIXAR_SR"):
        ab_zero_point({"BUNIT": "MJy/sr"})


def test_fluxes_in_micro_jansky():
    image, labels = np.full((9, 9), 4.0), np.eye(9, dtype=int)
    field = Field(image, header=fits.Header({"BUNIT": "nJy"}))
    catalog = source_catalog(labels, field, apertures=2, flux_unit="uJy", zero_point="header")
    assert str(catalog["flux"].unit) == "uJy"
    assert catalog["flux"][0].value == pytest.approx(9 * 4e-3)
    assert catalog["magnitude"][0].value == pytest.approx(31.4 - 2.5 * np.log10(36))
    ratio = catalog["flux_aperture_2"][0] / catalog["flux"][0]
    assert float(ratio) == pytest.approx(np.pi * 4 / 9)
    given = source_catalog(labels, image, flux_unit="mJy", zero_point=23.9)
    assert given["flux"][0].value == pytest.approx(36e-3)


@pytest.mark.parametrize("unit", ["km", "no unit", 3])
def test_units_that_are_no_flux_density_are_refused(unit):
    with pytest.raises(ValueError, match="flux_unit must be a unit like 'uJy'"):
        source_catalog(np.eye(3, dtype=int), np.eye(3), flux_unit=unit, zero_point=25)


def test_another_word_than_header_is_refused():
    with pytest.raises(ValueError, match="zero_point must be a number, one per band, or 'header'"):
        source_catalog(np.eye(3, dtype=int), np.eye(3), zero_point="heder")


def test_total_fluxes_of_disks_hold_all_light():
    rows, columns = np.indices((241, 241)) - 120
    disk = np.exp(-np.hypot(rows, columns / 0.7) / 5)
    disk *= 1000 / disk.sum()
    for threshold in (0.2, 0.8, 1.6):
        row = source_catalog((disk > threshold).astype(int), disk, kron=True, total=True)[0]
        assert row["flux_kron"] < 0.97 * 1000
        assert row["flux_total"] == pytest.approx(1000, rel=0.03)
        assert "half_light_radius" not in row.colnames


def test_a_total_flux_is_at_most_half_as_much_again():
    from galaxysegment.catalog._total import total_over_aperture

    factors = total_over_aperture(np.array([1.0, 2.7, 30.0, np.nan]), 1.0)
    np.testing.assert_allclose(factors, [1.5, 1.084, 1, np.nan], atol=1e-3)
