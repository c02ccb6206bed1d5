"""Every column of a catalog against a slow reference that visits one pixel at a time."""

from itertools import product

import numpy as np
import photutils
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from galaxysegment import Instances
from galaxysegment.catalog import _blocks, source_catalog

# photutils 3.1 widens thin shapes otherwise than SExtractor, photutils 3.0 and we do
SAME_SHAPES = Version(photutils.__version__) < Version("3.1")


def slow_row(mask, image, rms, others):
    """Measure one source. `mask` and `others` (pixels of other sources) are boolean images."""
    _, height, width = image.shape
    pixels = [tuple(pixel) for pixel in np.argwhere(mask).tolist()]
    around = [
        (y + dy, x + dx)
        for (y, x), dy, dx in product(pixels, (-1, 0, 1), (-1, 0, 1))
        if 0 <= y + dy < height and 0 <= x + dx < width
    ]
    rows, columns = [y for y, _ in pixels], [x for _, x in pixels]
    row = {
        "area": len(pixels),
        "x_min": min(columns),
        "x_max": max(columns),
        "y_min": min(rows),
        "y_max": max(rows),
        "edge": min(rows + columns) == 0 or max(rows) == height - 1 or max(columns) == width - 1,
        "masked": any(np.isnan(image[:, y, x]).any() for y, x in around),
        "blended": any(others[y, x] for y, x in around),
    }
    row["flux"], row["flux_error"] = np.transpose(
        [slow_flux([(band[p], rms[p]) for p in pixels]) for band in image]
    )
    brightness = [slow_mean(image[:, y, x]) for y, x in pixels]
    row |= slow_peak(pixels, brightness) | slow_shape(pixels, brightness)
    return row


def slow_flux(values):
    known = [(value, noise) for value, noise in values if not np.isnan(value)]
    if not known:
        return np.nan, np.nan
    return sum(value for value, _ in known), sum(noise**2 for _, noise in known) ** 0.5


def slow_mean(values):
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else np.nan


def slow_peak(pixels, brightness):
    best = None
    for pixel, value in zip(pixels, brightness, strict=True):  # raster order: the first of equals
        if not np.isnan(value) and (best is None or value > best[0]):
            best = value, pixel
    if best is None:
        return {"peak": np.nan}
    return {"peak": best[0], "y_peak": best[1][0], "x_peak": best[1][1]}


def slow_shape(pixels, brightness):
    weights = [value if value > 0 else 0.0 for value in brightness]  # NaN is not above 0
    weights = weights if any(weights) else [1.0] * len(pixels)
    centre = np.average(pixels, axis=0, weights=weights)
    covariance = np.zeros((2, 2))
    for pixel, weight in zip(pixels, weights, strict=True):
        covariance += weight / sum(weights) * np.outer(pixel - centre, pixel - centre)
    while np.linalg.det(covariance) < 1 / 144 - 1e-12:
        covariance += np.eye(2) / 12
    (minor, major), vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(*vectors[:, 1])) if major - minor > 1e-3 else None
    return {
        **{"x": centre[1], "y": centre[0], "semi_major": major**0.5, "semi_minor": minor**0.5},
        "angle": angle,
        "near_thin": abs(np.linalg.det(covariance) - 1 / 144) < 1e-9,
    }


def assert_row(row, expected):
    expected = dict(expected)
    angle, near_thin = expected.pop("angle"), expected.pop("near_thin")
    if near_thin:  # rounding decides whether the shape is widened once more
        expected = {name: expected[name] for name in expected if not name.startswith("semi")}
    for name, value in expected.items():
        measured = getattr(row[name], "value", row[name])
        expected_value = value[0] if np.ndim(value) and len(value) == 1 else value
        np.testing.assert_allclose(measured, expected_value, rtol=1e-9, atol=1e-9, err_msg=name)
    if angle is not None and not near_thin:
        turn = row["angle"].value - angle
        assert abs((turn + 90) % 180 - 90) < 1e-4
        assert -90 <= row["angle"].value <= 90


def make_scene(seed, shape, n_bands):
    """Small whole numbers, so that many pixels are equal; negative ones; pixels without data."""
    rng = np.random.default_rng(seed)
    image = rng.integers(-2, 4, (n_bands, *shape)).astype(float)
    image[rng.random(image.shape) < 0.15] = np.nan
    return rng, image, rng.integers(1, 5, shape).astype(float)


@settings(max_examples=50, deadline=None)
@example(seed=0, shape=(6, 6), n_bands=3, block=1)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    n_bands=st.integers(1, 3),
    block=st.sampled_from([1, 12, 1 << 22]),
)
def test_label_maps_are_measured_as_by_hand(seed, shape, n_bands, block):
    rng, image, rms = make_scene(seed, shape, n_bands)
    labels = rng.choice([0, 0, 2, 3, 3, 5], shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "_PIXELS", block)
        catalog = source_catalog(labels, image if n_bands > 1 else image[0], rms=rms)
    assert catalog["label"].tolist() == [label for label in (2, 3, 5) if (labels == label).any()]
    for row in catalog:
        own = labels == row["label"]
        assert_row(row, slow_row(own, image, rms, (labels != 0) & ~own))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    n_sources=st.integers(0, 4),
)
def test_instances_are_measured_as_by_hand(seed, shape, n_sources):
    rng, image, rms = make_scene(seed, shape, 2)
    masks = rng.random((n_sources, *shape)) < rng.choice([0.1, 0.5])
    masks = masks[masks.any(axis=(1, 2))]
    catalog = source_catalog(Instances.from_masks(masks, shape=shape), image, rms=rms)
    assert len(catalog) == len(masks)
    for index, row in enumerate(catalog):
        others = np.delete(masks, index, axis=0).any(axis=0)
        assert_row(row, slow_row(masks[index], image, rms, others))


@pytest.mark.parametrize("as_instances", [False, True])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_each_edge_of_the_image_is_an_edge(turns, mirror, as_instances):
    """One source reaches one edge; every turn and mirror image moves it to another one."""
    labels = np.zeros((7, 9), dtype=int)
    labels[3:5, 7:9], labels[2, 3] = 1, 2
    labels = np.rot90(labels[:, ::-1] if mirror else labels, turns)
    sources = Instances.from_label_map(labels) if as_instances else labels
    catalog = source_catalog(sources, np.ones(labels.shape))
    edge = dict(zip(catalog["area"].tolist(), catalog["edge"].tolist(), strict=True))
    assert edge == {4: True, 1: False}


def test_the_noise_of_missing_pixels_is_no_error():
    image, rms = np.ones((2, 1, 4)), np.array([[1.0, 2.0, 4.0, 8.0]])
    image[0, 0, 1] = image[1, 0, 2:] = np.nan
    catalog = source_catalog(np.ones((1, 4), dtype=int), image, rms=rms)
    np.testing.assert_allclose(catalog["flux"][0], [3, 2])
    np.testing.assert_allclose(catalog["flux_error"][0], [81**0.5, 5**0.5])
    image[1] = np.nan
    catalog = source_catalog(np.ones((1, 4), dtype=int), image, rms=rms)
    np.testing.assert_array_equal(np.isnan(catalog["flux"][0]), [False, True])
    np.testing.assert_array_equal(np.isnan(catalog["flux_error"][0]), [False, True])


def test_magnitudes_follow_pogson():
    labels = np.array([[1, 1, 0, 2]])
    image = np.array([[30.0, 70.0, 0.0, 10.0]])
    catalog = source_catalog(labels, image, rms=np.full((1, 4), 3.0), zero_point=20)
    np.testing.assert_allclose(catalog["magnitude"].value, [15, 17.5])
    expected = 2.5 / np.log(10) * np.array([18**0.5 / 100, 0.3])
    np.testing.assert_allclose(catalog["magnitude_error"].value, expected)


def test_many_sources_in_any_order():
    """Labels far apart and in falling order: the tables of sums grow and are searched."""
    labels = np.zeros((40, 50), dtype=int)
    labels[::2, ::2] = np.arange(500, 0, -1).reshape(20, 25) * 997
    image = np.arange(2000.0).reshape(40, 50)
    catalog = source_catalog(labels, image)
    assert catalog["label"].tolist() == list(range(997, 997 * 501, 997))
    y, x = np.nonzero(labels)
    order = np.argsort(labels[y, x])
    np.testing.assert_array_equal(catalog["y"], y[order])
    np.testing.assert_array_equal(catalog["x"], x[order])
    np.testing.assert_array_equal(catalog["flux"], image[y, x][order])
    assert catalog["area"].tolist() == [1] * 500


def test_a_source_without_data_has_no_peak_and_no_flux_of_zero_a_magnitude():
    labels = np.array([[1, 1, 0, 2, 2, 3]])
    image = np.array([[np.nan, np.nan, 5.0, 2.0, -2.0, 3.0]])
    catalog = source_catalog(labels, image, zero_point=25)
    assert (catalog["x_peak"].tolist(), catalog["y_peak"].tolist()) == ([-1, 3, 5], [-1, 0, 0])
    np.testing.assert_array_equal(catalog["peak"], [np.nan, 2, 3])
    np.testing.assert_array_equal(catalog["flux"], [np.nan, 0, 3])
    np.testing.assert_array_equal(np.isnan(catalog["magnitude"].value), [True, True, False])


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (5, 1), (2, 2)])
@pytest.mark.skipif(not SAME_SHAPES, reason="photutils 3.1 widens shapes by another rule")
def test_thin_shapes_are_widened_as_by_photutils(size):
    from photutils.segmentation import SegmentationImage, SourceCatalog

    labels = np.pad(np.ones(size, dtype=int), 2)
    row = source_catalog(labels, labels.astype(float))[0]
    expected = SourceCatalog(labels.astype(float), SegmentationImage(labels))
    np.testing.assert_allclose(row["semi_major"].value, expected.semimajor_axis[0].value)
    np.testing.assert_allclose(row["semi_minor"].value, expected.semiminor_axis[0].value)


def test_shapes_on_the_sky_with_pixels_that_are_sheared_and_not_square():
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (10, 0), (30, 30)
    wcs.wcs.cd = to_sky = np.array([[-1, 0.5], [0.3, 3]]) / 3600
    y, x = np.mgrid[:60, :60] - 30
    turn = np.radians(30)
    major, minor = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    along, across = x * major[0] + y * major[1], x * minor[0] + y * minor[1]
    image = np.exp(-(along**2) / (2 * 5**2) - across**2 / (2 * 3**2))
    row = source_catalog((image > 1e-3).astype(int), image, wcs=wcs)[0]
    for name, axis in (("semi_major", major), ("semi_minor", minor)):
        ratio = row[f"{name}_sky"].to_value("arcsec") / row[name].value
        assert ratio == pytest.approx(3600 * np.hypot(*(to_sky @ axis)), rel=2e-3)
    expected = np.degrees(np.arctan2(*(to_sky @ major))) % 180  # from north through east
    assert row["position_angle"].to_value("deg") == pytest.approx(expected, abs=0.2)


def test_label_files_of_another_shape_are_refused(tmp_path):
    from galaxysegment.io import write_label_map

    write_label_map(tmp_path / "labels.fits", np.eye(5, dtype=int))
    with pytest.raises(ValueError, match="must agree"):
        source_catalog(tmp_path / "labels.fits", np.ones((5, 6)))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_region_polygons_are_the_ellipses(tmp_path, scale):
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

    from galaxysegment.catalog import write_regions

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (150, 2)
    wcs.wcs.cdelt = np.array([-0.1, 0.1]) / 3600
    y, x = np.mgrid[:40, :50]
    image = np.exp(-((x - 25 + y - 20) ** 2) / 60 - (x - 25 - y + 20) ** 2 / 9)
    catalog = source_catalog((image > 0.01).astype(int), image, wcs=wcs)
    path = write_regions(tmp_path / "sky.reg", catalog, wcs=wcs, scale=scale)
    corners = np.array(path.read_text().splitlines()[3].split("(")[1].split(")")[0].split(","))
    place = wcs.world_to_pixel(SkyCoord(*corners.astype(float).reshape(-1, 2).T, unit="deg"))
    row = catalog[0]
    dx, dy, turn = place[0] - row["x"], place[1] - row["y"], row["angle"].to_value("rad")
    along = (dx * np.cos(turn) + dy * np.sin(turn)) / row["semi_major"].value
    across = (dy * np.cos(turn) - dx * np.sin(turn)) / row["semi_minor"].value
    np.testing.assert_allclose(np.hypot(along, across), scale, rtol=5e-3)
    assert np.ptp(np.arctan2(across, along)) > 5  # all around
