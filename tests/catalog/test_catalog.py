"""Catalogs against photutils, on the sky in awkward places, block by block, and as files."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.catalog import _blocks, source_catalog, write_catalog, write_regions
from galaxysegment.io import Field, write_label_map
from galaxysegment.structures import label_components


def make_wcs(ra=150.0, dec=2.0, scale=0.1, flip=False, rotation=0.0, size=(120, 160)):
    """Tangential, `scale` in arcsec, east left unless flipped, north turned by `rotation` deg."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = size[1] / 2 + 0.5, size[0] / 2 + 0.5
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    east = 1 if flip else -1
    wcs.wcs.cd = np.array([[east * cos, -east * sin], [sin, cos]]) * scale / 3600
    wcs.wcs.set()
    return wcs


def draw(shape, sources, noise=0.0, seed=0):
    """Elliptical Gaussians ``(y, x, major, minor, angle in degrees, peak)``."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.random.default_rng(seed).normal(0, noise, shape) if noise else np.zeros(shape)
    for cy, cx, major, minor, angle, peak in sources:
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        along, across = (x - cx) * cos + (y - cy) * sin, -(x - cx) * sin + (y - cy) * cos
        image += peak * np.exp(-(along**2) / (2 * major**2) - across**2 / (2 * minor**2))
    return image


@pytest.fixture(scope="module")
def scene():
    sources = [
        (30, 40, 6, 3, 30, 100),
        (80, 60, 5, 4, -70, 60),
        (60, 120, 4, 4, 0, 80),
        (2, 100, 5, 3, 0, 90),
    ]
    image = draw((120, 160), sources, noise=1.0)
    return image, label_components(image > 4)


def test_numbers_are_those_of_photutils(scene):
    from photutils.segmentation import SegmentationImage, SourceCatalog

    image, labels = scene
    rms = np.full(image.shape, 1.5)
    expected = SourceCatalog(image, SegmentationImage(labels), error=rms)
    catalog = source_catalog(labels, image, rms=rms)
    assert catalog["label"].tolist() == expected.labels.tolist()
    pairs = {
        "x": expected.x_centroid if hasattr(expected, "x_centroid") else expected.xcentroid,
        "y": expected.y_centroid if hasattr(expected, "y_centroid") else expected.ycentroid,
        "flux": expected.segment_flux,
        "area": expected.segment_area.value,
        "peak": expected.max_value,
        "x_min": expected.bbox_xmin,
        "x_max": expected.bbox_xmax,
        "y_min": expected.bbox_ymin,
        "y_max": expected.bbox_ymax,
    }
    for name, values in pairs.items():
        np.testing.assert_allclose(catalog[name], values, rtol=1e-8, err_msg=name)
    error = (
        expected.segment_flux_err
        if hasattr(expected, "segment_flux_err")
        else expected.segment_fluxerr
    )
    np.testing.assert_allclose(catalog["flux_error"], error)
    axes = ("semimajor_axis", "semiminor_axis")
    if not hasattr(expected, "semimajor_axis"):
        axes = ("semimajor_sigma", "semiminor_sigma")
    np.testing.assert_allclose(
        catalog["semi_major"].value, getattr(expected, axes[0]).value, rtol=1e-6
    )
    np.testing.assert_allclose(
        catalog["semi_minor"].value, getattr(expected, axes[1]).value, rtol=1e-6
    )
    turn = (catalog["angle"] - expected.orientation).to_value("deg")
    np.testing.assert_allclose((turn + 90) % 180 - 90, 0, atol=1e-6)


def test_magnitudes_and_flags(scene):
    image, labels = scene
    image = image.copy()
    image[80, 60] = np.nan
    labels = np.where((labels == labels[30, 40]) & (np.arange(160) > 40), labels.max() + 1, labels)
    catalog = source_catalog(labels, image, rms=np.ones(image.shape), zero_point=25)
    row = {
        name: catalog[catalog["label"] == labels[place]][0]
        for name, place in {
            "left": (30, 38),
            "right": (30, 44),
            "hole": (80, 63),
            "round": (60, 120),
            "edge": (2, 100),
        }.items()
    }
    assert [bool(row[name]["blended"]) for name in row] == [True, True, False, False, False]
    assert [bool(row[name]["masked"]) for name in row] == [False, False, True, False, False]
    assert [bool(row[name]["edge"]) for name in row] == [False, False, False, False, True]
    assert catalog["magnitude"].unit == u.mag
    np.testing.assert_allclose(catalog["magnitude"].value, 25 - 2.5 * np.log10(catalog["flux"]))
    np.testing.assert_allclose(
        catalog["magnitude_error"].value,
        1.0857362 * catalog["flux_error"] / catalog["flux"],
        rtol=1e-6,
    )
    assert np.isnan(source_catalog(labels, -np.abs(image), zero_point=25)["magnitude"]).all()


@pytest.mark.parametrize("dec", [0.0, 60.0, -89.9998, 89.99999])
@pytest.mark.parametrize("ra", [0.0, 359.99999, 187.0])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 130.0])
def test_sky_positions_and_angles_anywhere(ra, dec, flip, rotation):
    """An ellipse is drawn on the sky at a known angle from north, and found at that angle."""
    wcs = make_wcs(ra, dec, 0.2, flip, rotation)
    position = wcs.pixel_to_world(47.3, 71.8)
    for position_angle in (0, 35, 90, 160) * u.deg:
        ahead = position.directional_offset_by(position_angle, 0.2 * u.arcsec)
        x, y = wcs.world_to_pixel(ahead)
        angle = np.degrees(np.arctan2(y - 71.8, x - 47.3))
        image = draw((120, 160), [(71.8, 47.3, 6, 3, angle, 100)])
        row = source_catalog((image > 1).astype(int), image, wcs=wcs)[0]
        assert 0 <= row["ra"].to_value("deg") < 360
        assert row["sky_position"].separation(position) < 0.01 * u.arcsec
        assert SkyCoord(row["ra"], row["dec"]).separation(row["sky_position"]) < 1e-9 * u.arcsec
        turn = (row["position_angle"] - position_angle).to_value("deg")
        assert abs((turn + 90) % 180 - 90) < 0.5
        ratio = (row["semi_major_sky"] / row["semi_minor_sky"]).value
        assert ratio == pytest.approx((row["semi_major"] / row["semi_minor"]).value, rel=1e-3)
        assert row["semi_major_sky"].to_value("arcsec") == pytest.approx(
            0.2 * row["semi_major"].value, rel=1e-3
        )


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    block=st.integers(1, 200),
    seed=st.integers(0, 2**31),
)
def test_blocks_of_rows_do_not_show(shape, block, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, *shape))
    image[rng.random(image.shape) < 0.05] = np.nan
    labels = rng.integers(0, 9, shape) * (rng.random(shape) < 0.6)
    rms = rng.uniform(0.5, 2, shape)
    whole = source_catalog(labels, image, rms=rms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "_PIXELS", block)
        parts = source_catalog(labels, image, rms=rms)
    for name in whole.colnames:
        np.testing.assert_allclose(
            np.asarray(parts[name]), np.asarray(whole[name]), atol=1e-9, err_msg=name
        )


def test_files_give_what_arrays_give(tmp_path, scene):
    image, labels = scene
    wcs = make_wcs()
    fits.PrimaryHDU(image, wcs.to_header()).writeto(tmp_path / "image.fits")
    fits.PrimaryHDU(np.full(image.shape, 2.0)).writeto(tmp_path / "rms.fits")
    write_label_map(tmp_path / "labels.fits", labels)
    catalog = source_catalog(
        tmp_path / "labels.fits", tmp_path / "image.fits", rms=tmp_path / "rms.fits"
    )
    expected = source_catalog(
        labels, Field(image, rms=np.full(image.shape, 2.0), wcs=wcs), rms=True
    )
    assert catalog.colnames == expected.colnames
    for name in set(catalog.colnames) - {"sky_position"}:
        np.testing.assert_allclose(np.asarray(catalog[name]), np.asarray(expected[name]), rtol=1e-9)


def test_backgrounds(scene):
    image, labels = scene
    plain = source_catalog(labels, image)
    for background in (7.0, np.full(image.shape, 7.0)):
        np.testing.assert_allclose(
            source_catalog(labels, image + 7, background=background)["flux"], plain["flux"]
        )
    mesh = source_catalog(labels, np.stack([image + 7, 2 * image + 50]), background="mesh")
    np.testing.assert_allclose(mesh["flux"][:, 0], plain["flux"], rtol=0.1)
    np.testing.assert_allclose(mesh["flux"][:, 1], 2 * plain["flux"], rtol=0.1)
    with pytest.raises(ValueError, match="'mesh' or None"):
        source_catalog(labels, image, background="median")


def test_instances_keep_overlaps_classes_and_scores(scene):
    image, labels = scene
    apart = Instances.from_label_map(labels)
    by_map = source_catalog(labels, image, rms=np.ones(image.shape))
    by_instance = source_catalog(apart, image, rms=np.ones(image.shape))
    for name in by_map.colnames:
        np.testing.assert_allclose(
            np.asarray(by_instance[name]), np.asarray(by_map[name]), err_msg=name
        )
    masks = np.zeros((2, *image.shape), dtype=bool)
    masks[0, 20:40, 30:50] = masks[1, 30:50, 40:60] = True
    both = source_catalog(Instances.from_masks(masks, scores=[0.9, 0.4], classes=[1, 2]), image)
    assert both["area"].tolist() == [400, 400]
    assert both["blended"].tolist() == [True, True]
    assert both["class"].tolist() == [1, 2]
    np.testing.assert_allclose(both["flux"], [image[mask].sum() for mask in masks])


def test_bands_have_a_flux_each(scene):
    image, labels = scene
    catalog = source_catalog(
        labels, np.stack([image, 3 * image]), rms=np.ones(image.shape), zero_point=20
    )
    np.testing.assert_allclose(catalog["flux"][:, 1], 3 * catalog["flux"][:, 0])
    assert catalog["magnitude"].shape == catalog["flux_error"].shape == (len(catalog), 2)


def test_missing_labels_and_no_sources():
    labels = np.zeros((20, 30), dtype=int)
    assert len(source_catalog(labels, np.ones((20, 30)), wcs=make_wcs(), zero_point=1)) == 0
    labels[3, 4] = 2
    labels[9, 9] = 7
    catalog = source_catalog(labels, np.ones((20, 30)), classes=[1, 2, 1, 1, 1, 1, 2])
    assert catalog["label"].tolist() == [2, 7]
    assert catalog["class"].tolist() == [2, 2]
    with pytest.raises(ValueError, match="labels go up to 7"):
        source_catalog(labels, np.ones((20, 30)), scores=[1.0])
    with pytest.raises(ValueError, match="they must agree"):
        source_catalog(labels, np.ones((20, 31)))


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".parquet"])
def test_catalogs_survive_a_file(tmp_path, scene, suffix):
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
    image, labels = scene
    catalog = source_catalog(
        labels, image, wcs=make_wcs(), zero_point=25, classes=np.ones(labels.max(), dtype=int)
    )
    path = write_catalog(tmp_path / f"sources{suffix}", catalog)
    if suffix == ".parquet":  # astropy needs pandas to read what it wrote without
        back = QTable(parquet.read_table(path).to_pydict())
    else:
        back = QTable.read(path, format={".ecsv": "ascii.ecsv"}.get(suffix, suffix[1:]))
        assert back["ra"].unit == u.deg
    assert set(back.colnames) == set(catalog.colnames) - {"sky_position"}
    for name in back.colnames:
        np.testing.assert_allclose(np.asarray(back[name]), np.asarray(catalog[name]))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_catalog(path, catalog)
    with pytest.raises(ValueError, match="must end in"):
        write_catalog(tmp_path / "sources.txt", catalog)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_regions_lie_on_the_sources(tmp_path, scene):
    image, labels = scene
    wcs = make_wcs(flip=True, rotation=20)
    catalog = source_catalog(labels, image, wcs=wcs)
    lines = write_regions(tmp_path / "pixels.reg", catalog).read_text().splitlines()
    assert lines[2] == "image"
    ellipse = np.array(lines[3].split("(")[1].split(")")[0].split(","), dtype=float)
    np.testing.assert_allclose(ellipse[:2], [catalog["x"][0] + 1, catalog["y"][0] + 1], atol=1e-3)
    np.testing.assert_allclose(
        ellipse[2:4],
        [3 * catalog[name][0].value for name in ("semi_major", "semi_minor")],
        atol=1e-3,
    )
    lines = write_regions(tmp_path / "sky.reg", catalog, wcs=wcs).read_text().splitlines()
    assert (lines[2], len(lines)) == ("icrs", 3 + len(catalog))
    vertices = np.array(lines[3].split("(")[1].split(")")[0].split(","), dtype=float).reshape(-1, 2)
    pixels = np.array(wcs.world_to_pixel(SkyCoord(*vertices.T, unit="deg"))).T
    np.testing.assert_allclose(pixels.mean(axis=0), [catalog["x"][0], catalog["y"][0]], atol=1e-3)
    distance = np.hypot(*(pixels - pixels.mean(axis=0)).T)
    assert distance.max() == pytest.approx(3 * catalog["semi_major"][0].value, rel=1e-2)
