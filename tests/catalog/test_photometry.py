"""Kron, aperture and half-light measurements: against photutils, by windows, and as flags."""

import numpy as np
import photutils
import pytest
from astropy.io import fits
from packaging.version import Version
from photutils.aperture import CircularAperture
from photutils.segmentation import SegmentationImage, SourceCatalog

from galaxysegment import Instances
from galaxysegment.catalog import CatalogFlags, _windows, source_catalog

# photutils 3.0 weights variances by the overlap, not by its square
SAME_ERRORS = Version(photutils.__version__) >= Version("3.1")


def draw_galaxy(image, y, x, flux, scale, ratio=0.7, angle=0.5):
    """Add an exponential galaxy."""
    rows, columns = np.indices(image.shape)
    cos, sin = np.cos(angle), np.sin(angle)
    along = ((columns - x) * cos + (rows - y) * sin) / scale
    across = ((rows - y) * cos - (columns - x) * sin) / (scale * ratio)
    light = np.exp(-np.hypot(along, across))
    image += flux * light / light.sum()


@pytest.fixture(scope="module")
def scene():
    """Blends, sources at the edge and pixels without data: image, RMS map and labels."""
    rng = np.random.default_rng(3)
    image, labels = np.zeros((160, 170)), np.zeros((160, 170), dtype=int)
    places = [(30, 30), (40, 44), (90, 80), (100, 20), (1, 90), (120, 168), (130, 90), (60, 130)]
    brightest = np.zeros(image.shape)
    for label, (y, x) in enumerate(places, start=1):
        light = np.zeros(image.shape)
        draw_galaxy(
            light, y, x, rng.uniform(500, 3000), rng.uniform(1.5, 3), 0.6, rng.uniform(0, 3)
        )
        mine = (light > 3) & (light > brightest)
        labels[mine], brightest = label, np.maximum(brightest, light)
        image += light
    image += rng.normal(0, 1, image.shape)
    image[rng.random(image.shape) < 0.004] = np.nan
    return image, rng.uniform(0.8, 1.2, image.shape), labels


def assert_close(column, expected, rtol=1e-9):
    values = np.asarray(getattr(column, "value", column))
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("neighbours", ["correct", "mask", "none"])
@pytest.mark.parametrize("width", [0, 15])
@pytest.mark.parametrize("kron", [(2.5, 1.4, 0.0), (1.7, 2.2, 6.0)])
def test_photometry_is_that_of_photutils(scene, neighbours, width, kron):
    image, rms, labels = scene
    expected = SourceCatalog(
        *(image, SegmentationImage(labels)),
        **{"error": rms, "local_bkg_width": width, "aperture_mask_method": neighbours},
        kron_params=kron,
    )
    catalog = source_catalog(
        *(labels, image),
        **{"rms": rms, "kron": kron, "apertures": [4, 2.5], "light_fractions": [0.5, 0.8]},
        local_background=width,
        neighbours=neighbours,
    )
    assert_close(catalog["kron_radius"], expected.kron_radius.value)
    assert_close(catalog["flux_kron"], expected.kron_flux)
    if SAME_ERRORS:
        assert_close(catalog["flux_kron_error"], expected.kron_flux_err)
    for radius, name in ((4, "flux_aperture_4"), (2.5, "flux_aperture_2_5")):
        flux, error = expected.circular_photometry(radius)
        assert_close(catalog[name], flux)
        if SAME_ERRORS:
            assert_close(catalog[f"{name}_error"], error)
    assert_close(catalog["half_light_radius"], expected.flux_radius(0.5).value, rtol=1e-7)
    assert_close(catalog["light_radius_80"], expected.flux_radius(0.8).value, rtol=1e-7)
    if width:
        assert_close(catalog["local_background"], expected.local_background)


@pytest.mark.parametrize("centre", [(20.0, 20.0), (20.3, 19.6), (1.2, 38.9), (20.5, 20.5)])
def test_circles_hold_the_light_that_photutils_finds(centre):
    from galaxysegment.catalog._aperture_kernels import circle_sum

    image = np.random.default_rng(1).normal(1, 3, (41, 40))
    along = np.pad(np.cumsum(image, axis=1), ((0, 0), (1, 0)))
    edges = np.empty((3, 41))
    for radius in (0.1, 0.49, 0.5, 0.7, 1, 2.34, 5, 9.5, 18.2, 60):
        expected = CircularAperture(centre[::-1], radius).to_mask().get_values(image).sum()
        assert circle_sum(along, *centre, radius, edges) == pytest.approx(expected, abs=1e-9)


def test_elliptical_apertures_are_those_of_photutils(scene):
    from photutils.aperture import EllipticalAperture

    image, rms, labels = scene
    catalog = source_catalog(labels, image, rms=rms, ellipses=[2, 3.5], neighbours="none")
    for row in catalog:
        for scale, name in ((2, "flux_ellipse_2"), (3.5, "flux_ellipse_3_5")):
            major, minor = (scale * row[f"semi_{axis}"].value for axis in ("major", "minor"))
            ellipse = EllipticalAperture((row["x"], row["y"]), major, minor, theta=row["angle"])
            share = np.where(np.isnan(image), 0, ellipse.to_mask().to_image(image.shape))
            assert_close(row[name], np.sum(share * np.nan_to_num(image)))
            assert_close(row[f"{name}_error"], np.sqrt(np.sum((share * rms) ** 2)))


def test_errors_are_the_scatter_of_the_fluxes():
    rng = np.random.default_rng(0)
    image = np.zeros((41, 41))
    draw_galaxy(image, 20.3, 19.8, 500, 1.2)
    labels = (image > 2).astype(int)
    bands = image + rng.normal(0, 1, (2000, *image.shape))
    options = {"rms": np.ones(image.shape), "apertures": 1.5, "detection": image}
    row = source_catalog(labels, bands, **options)[0]
    error = row["flux_aperture_1_5_error"][0]
    assert row["flux_aperture_1_5"].std() == pytest.approx(error, rel=0.05)


def all_columns(labels, image, rms, **options):
    return source_catalog(
        *(labels, image),
        **{"rms": rms, "kron": True, "apertures": [3], "light_fractions": 0.5},
        **{"local_background": 10, **options},
    )


def assert_same_tables(left, right, rtol=1e-9):
    assert left.colnames == right.colnames
    for name in left.colnames:
        values, expected = (
            np.asarray(getattr(table[name], "value", table[name])) for table in (left, right)
        )
        np.testing.assert_allclose(values, expected, rtol=rtol, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("tile", "reach"), [(16, 400), (50, 5), (64, 30)])
def test_windows_change_no_number(scene, tile, reach, monkeypatch):
    image, rms, labels = scene
    whole = all_columns(labels, image, rms)
    monkeypatch.setattr(_windows, "_TILE", tile)
    monkeypatch.setattr(_windows, "FAR_REACH", reach)
    assert_same_tables(all_columns(labels, image, rms), whole)
    monkeypatch.setattr(_windows, "_TILE", 2048)


def test_windows_of_files_change_no_number(scene, monkeypatch, tmp_path):
    image, rms, labels = scene
    for name, data in (("image", image), ("rms", rms)):
        fits.writeto(tmp_path / f"{name}.fits", data)
    monkeypatch.setattr(_windows, "_TILE", 30)
    written = all_columns(labels, tmp_path / "image.fits", tmp_path / "rms.fits")
    assert_same_tables(written, all_columns(labels, image, rms))


def test_workers_change_no_bit(scene, monkeypatch):
    image, rms, labels = scene
    monkeypatch.setattr(_windows, "_TILE", 40)
    alone = all_columns(labels, image, rms)
    assert_same_tables(all_columns(labels, image, rms, n_jobs=3), alone, rtol=0)


def test_instances_are_measured_as_label_maps(scene):
    image, rms, labels = scene
    instances = Instances.from_label_map(labels)
    catalog = all_columns(instances, image, rms)
    catalog.remove_column("score")
    assert_same_tables(catalog, all_columns(labels, image, rms))


def test_pixels_that_two_instances_share_are_no_neighbours():
    image = np.ones((30, 40))
    masks = np.zeros((2, 30, 40), dtype=bool)
    masks[0, 12:17, 10:20], masks[1, 12:17, 16:26] = True, True
    sources = Instances.from_masks(masks)
    catalog = source_catalog(sources, image, apertures=2.5, neighbours="mask")
    assert_close(catalog["flux_aperture_2_5"], np.full(2, np.pi * 2.5**2))
    catalog = source_catalog(sources, image, apertures=9, neighbours="mask")
    for row, centre, alone in zip(
        catalog, (14.5, 20.5), (masks[1] & ~masks[0], masks[0] & ~masks[1]), strict=True
    ):
        circle = CircularAperture((centre, 14), 9).to_mask().to_image(image.shape)
        assert row["flux_aperture_9"] == pytest.approx(circle[~alone].sum())


def test_bands_have_columns_of_their_own(scene):
    image, rms, labels = scene
    bands = np.stack([image, 3 * image])
    catalog = all_columns(labels, bands, rms, bands="gr", zero_point=[25, 26])
    one_band = all_columns(labels, image, rms, zero_point=25)
    assert_close(catalog["flux_kron_r"], 3 * one_band["flux_kron"])
    assert_close(catalog["half_light_radius_r"], one_band["half_light_radius"].value, rtol=1e-7)
    assert_close(catalog["magnitude_kron_g"], one_band["magnitude_kron"].value)
    shift = 1 - 2.5 * np.log10(3)
    assert_close(catalog["magnitude_kron_r"], one_band["magnitude_kron"].value + shift)


def test_separated_light_needs_no_neighbours():
    from galaxysegment.separation import TemplateSeparator

    image = np.zeros((60, 80))
    draw_galaxy(image, 30, 28, 3000, 3)
    alone = image.copy()
    draw_galaxy(image, 32, 44, 4000, 3)
    labels = np.where(image > 2, np.where(np.arange(80) < 36, 1, 2), 0)
    (separated,) = TemplateSeparator().separate(image[None], labels[None], rms=np.ones((1, 60, 80)))
    truth = source_catalog(np.where(labels == 1, 1, 0), alone, kron=True)["flux_kron"][0]
    freed = source_catalog(separated, image, kron=True, neighbours="none")
    blended = source_catalog(labels, image, kron=True, neighbours="none")
    assert freed["flux_kron"][0] == pytest.approx(truth, rel=0.05)
    assert blended["flux_kron"][0] > 1.15 * truth


def test_noise_factor_scales_errors(scene):
    image, rms, labels = scene
    plain, scaled = (
        source_catalog(labels, image, rms=rms, kron=True, noise_factor=factor)
        for factor in (1, 1.6)
    )
    assert_close(scaled["flux_kron_error"], 1.6 * plain["flux_kron_error"])
    assert_close(scaled["flux_kron"], plain["flux_kron"])


def flags_of(labels, image, **options):
    flags = source_catalog(labels, image, **options)["flags"]
    return [CatalogFlags(int(flag)) for flag in flags]


@pytest.fixture
def isolated():
    image = np.zeros((60, 60))
    draw_galaxy(image, 30, 30, 3000, 2.5)
    return (image > 3).astype(int), image


def test_an_isolated_source_has_no_flags(isolated):
    assert flags_of(*isolated, kron=True, apertures=5, light_fractions=0.5) == [CatalogFlags(0)]


def test_missing_data_are_flagged(isolated):
    labels, image = isolated
    image[30, 40] = np.nan
    assert flags_of(labels, image, apertures=12) == [CatalogFlags.MISSING]
    assert flags_of(labels, image, apertures=5) == [CatalogFlags(0)]


def test_zero_weights_are_missing_data(isolated, tmp_path):
    labels, image = isolated
    weight = np.ones(image.shape)
    weight[26:30, 28] = 0
    for name, data in (("image", image), ("weight", weight)):
        fits.writeto(tmp_path / f"{name}.fits", data)
    catalog = source_catalog(
        *(labels, tmp_path / "image.fits"),
        rms=tmp_path / "weight.fits",
        rms_kind="weight",
        kron=True,
    )
    assert catalog["flags"][0] == CatalogFlags.MISSING
    assert np.isfinite(catalog["flux_kron_error"][0])


def test_a_source_at_the_edge_is_truncated():
    image = np.zeros((40, 40))
    draw_galaxy(image, 2, 20, 3000, 2.5)
    assert CatalogFlags.TRUNCATED in flags_of((image > 3).astype(int), image, kron=True)[0]


def test_a_mask_of_one_pixel_is_thin_but_measured():
    image = np.zeros((21, 21))
    draw_galaxy(image, 10, 10, 100, 1.5)
    labels = np.zeros(image.shape, dtype=int)
    labels[10, 10] = 1
    catalog = source_catalog(labels, image, kron=True, light_fractions=0.5)
    assert np.isfinite(catalog["flux_kron"][0]) and catalog["half_light_radius"][0].value > 0
    assert CatalogFlags.THIN in CatalogFlags(int(catalog["flags"][0]))


def test_a_kron_radius_without_convergence_is_flagged():
    rows, columns = np.indices((60, 60))
    radius = np.hypot(rows - 30, columns - 30)
    image = np.zeros((60, 60))
    # The dark ring nearly cancels the source; the bright ring lies near six semi-axes.
    for low, high, light in ((0, 5, 1.0), (5, 6.5, -1.5), (13, 14, 0.52)):
        ring = (radius >= low) & (radius < high)
        image[ring] = light / ring.sum()
    labels = (radius < 5).astype(int)
    with np.errstate(all="raise"):
        catalog = source_catalog(labels, image, kron=True, apertures=4, light_fractions=0.5)
    expected = CatalogFlags.KRON_FAILED | CatalogFlags.NO_LIGHT_RADIUS
    assert catalog["flags"][0] == expected
    assert np.isnan([catalog["kron_radius"][0], catalog["flux_kron"][0]]).all()
    assert catalog["flux_aperture_4"][0] > 0
    np.testing.assert_array_equal(
        SourceCatalog(image, SegmentationImage(labels)).kron_radius.value, np.nan
    )


def test_a_source_below_zero_has_the_least_kron_radius(isolated):
    labels, image = isolated
    (flags,) = flags_of(labels, -image, kron=True)
    assert flags == CatalogFlags.NO_LIGHT | CatalogFlags.KRON_MINIMUM


def test_neighbours_are_flagged(isolated):
    labels, image = isolated
    labels[:, 41:] = 2
    assert flags_of(labels, image, apertures=17)[0] == CatalogFlags.NEIGHBOUR
    assert flags_of(labels, image, apertures=5)[0] == CatalogFlags(0)
    labels[20:41, 30:52] = 2
    assert CatalogFlags.BLENDED in flags_of(labels, image, apertures=5)[0]


def test_a_crowded_annulus_gives_no_background(isolated):
    labels, image = isolated
    labels[labels == 0] = 2
    catalog = source_catalog(labels, image, apertures=3, local_background=4)
    assert CatalogFlags.NO_LOCAL_BACKGROUND in CatalogFlags(int(catalog["flags"][0]))
    assert catalog["local_background"][0] == 0


def test_windows_beyond_the_limit_are_flagged(isolated, monkeypatch):
    from galaxysegment.catalog import _photometry

    monkeypatch.setattr(_photometry, "MOST_PIXELS", 100)
    catalog = source_catalog(*isolated, kron=True)
    assert catalog["flags"][0] == CatalogFlags.TOO_LARGE
    assert np.isnan(catalog["flux_kron"][0])


def test_no_source_gives_an_empty_table():
    catalog = all_columns(np.zeros((9, 9), dtype=int), np.zeros((9, 9)), np.ones((9, 9)))
    assert len(catalog) == 0 and {"flux_kron", "half_light_radius", "flags"} < set(catalog.colnames)


def test_angles_are_turned_into_pixels(isolated):
    from astropy import units as u
    from astropy.wcs import WCS

    labels, image = isolated
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-0.2 / 3600, 0.2 / 3600]
    radii = [3, 1 * u.arcsec, 0.05 * u.arcmin, 7 * u.pix]
    catalog = source_catalog(labels, image, wcs=wcs, apertures=radii)
    pixels = source_catalog(labels, image, apertures=[3, 5, 15, 7])
    for name, radius in (("3", 3), ("1arcsec", 5), ("0_05arcmin", 15), ("7", 7)):
        assert_close(catalog[f"flux_aperture_{name}"], pixels[f"flux_aperture_{radius}"])
    alone = source_catalog(labels, image, wcs=wcs, apertures=[0.6, 1] * u.arcsec)
    assert_close(alone["flux_aperture_0_6arcsec"], pixels["flux_aperture_3"])
    with pytest.raises(
        ValueError, match="apertures must be numbers of pixels, because the image has no WCS"
    ):
        source_catalog(labels, image, apertures=1 * u.arcsec)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"apertures": "wide"}, "apertures must be a positive number of pixels, or an angle"),
        ({"apertures": [[3]]}, "apertures must be a positive number of pixels, or an angle"),
        ({"kron": (2.5,)}, "kron must be True, or a positive factor"),
        ({"kron": (-1, 1)}, "kron must be True, or a positive factor"),
        ({"apertures": [3, -1]}, "apertures must be a positive number"),
        ({"apertures": [3, 3]}, "apertures must differ"),
        ({"ellipses": np.nan}, "ellipses must be a positive number"),
        ({"light_fractions": 1.5}, "light_fractions must be a positive number up to 1"),
        ({"neighbours": "blank"}, "neighbours must be 'correct', 'mask' or 'none'"),
        ({"local_background": -1}, "local_background must be a number of at least 0"),
        ({"noise_factor": 0}, "noise_factor must be a positive number"),
    ],
)
def test_bad_options_are_refused_before_the_image_is_opened(options, message):
    with pytest.raises(ValueError, match=message):
        source_catalog("no_such_labels.fits", "no_such_image.fits", **options)
