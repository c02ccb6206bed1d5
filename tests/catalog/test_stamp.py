"""The measures of one galaxy against their definitions, and the doubts that become its flag."""

import numpy as np
import pytest
from scipy import ndimage

from galaxysegment.catalog import morphology
from galaxysegment.catalog._morphology import _stamp, chosen_rows
from galaxysegment.catalog._stamp import BAD, GOOD, SUSPECT, Stamp, _first_free_box, _outliers

RNG = np.random.default_rng(0)


def stamp_of(image, labels=None, own=1):
    labels = np.ones(image.shape, dtype=int) if labels is None else labels
    return Stamp(np.asarray(image, dtype=float), labels, own)


def ellipse(shape, y, x, major, minor, angle):
    """An ellipse of light 1, its pixels divided into 11 × 11 at the edge."""
    rows, columns = ((np.arange(11 * side) - 5) / 11 for side in shape)
    dy, dx = rows[:, None] - y, columns[None] - x
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle)
    inside = (along / major) ** 2 + (across / minor) ** 2 <= 1
    return inside.reshape(shape[0], 11, shape[1], 11).mean(axis=(1, 3))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("side", [1, 2, 5])
def test_the_first_free_box_is_the_first_in_raster_order(seed, side):
    rng = np.random.default_rng(seed)
    free = rng.random((int(rng.integers(2, 15)), int(rng.integers(2, 15)))) < 0.9
    height, width = free.shape
    # Boxes at the last row and column are not looked at, as in statmorph.
    places = [
        [y, x]
        for y in range(height - side)
        for x in range(width - side)
        if free[y : y + side, x : x + side].all()
    ]
    assert _first_free_box(free, side) == (places[0] if places else None)


def test_outliers_differ_from_their_eight_neighbours():
    image = RNG.normal(size=(14, 17))
    image[0, 0], image[6, 7], image[13, 5] = 90, -80, 70
    expected = np.zeros(image.shape, dtype=bool)
    padded = np.pad(image, 1, mode="edge")
    for y, x in np.ndindex(image.shape):
        around = np.delete(padded[y : y + 3, x : x + 3].ravel(), 4)
        expected[y, x] = abs(image[y, x] - around.mean()) > 10 * around.std()
    np.testing.assert_array_equal(_outliers(image), expected)
    assert expected[6, 7] and expected.sum() < 10


def test_what_does_not_count_is_masked():
    image = RNG.normal(10, 1, (20, 20))
    labels = np.zeros((20, 20), dtype=int)
    labels[3:9, 3:9], labels[12:15, 2:6] = 4, 9
    image[4, 4], image[17, 17] = np.nan, np.inf
    stamp = stamp_of(image, labels, 4)
    expected = labels == 9
    expected[4, 4] = expected[17, 17] = True
    np.testing.assert_array_equal(
        stamp.masked, expected | _outliers(np.nan_to_num(image, posinf=0))
    )
    assert (stamp.light[expected] == 0).all() and (stamp.light[stamp.masked] == 0).all()
    kept = ~stamp.masked
    np.testing.assert_array_equal(stamp.light[kept], image[kept])
    np.testing.assert_array_equal(stamp.source, np.where(labels == 4, stamp.light, 0))
    np.testing.assert_array_equal(stamp.is_sky, labels == 0)
    assert stamp.flag == GOOD


@pytest.mark.parametrize(
    ("width", "side"), [(40, 32), (32, 32), (31, 16), (9, 8), (7, 4), (2, 2), (1, 0)]
)
def test_the_sky_is_the_largest_free_square(width, side):
    labels = np.ones((60, 60), dtype=int)
    labels[10 : 10 + width, 20 : 20 + width] = 0
    image = np.add.outer(np.arange(60.0), np.arange(60.0))  # no pixel is an outlier
    stamp = stamp_of(image, labels)
    np.testing.assert_array_equal(stamp._sky(), image[10 : 10 + side, 20 : 20 + side])
    assert stamp.flag == (GOOD if side else BAD)


def test_no_sky_is_a_bad_sign():
    stamp = stamp_of(np.ones((30, 30)))
    stamp.sky = stamp._sky()
    assert stamp.sky.shape == (0, 0) and stamp.flag == BAD and not stamp.sky_is_subtracted()


@pytest.mark.parametrize(
    ("level", "expected"), [(0.0, True), (0.99, True), (-1.01, False), (2, False)]
)
def test_the_sky_is_subtracted_if_its_mean_is_within_its_scatter(level, expected):
    stamp = stamp_of(np.ones((30, 30)))
    stamp.sky = level + np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert stamp.sky_is_subtracted() == expected


# ---- measures ----


def test_gini_is_half_the_mean_difference_over_the_mean():
    values = RNG.exponential(size=(5, 6)) * RNG.choice([-1, 1], (5, 6))
    stamp = stamp_of(np.zeros((5, 6)))
    stamp.light = values
    region = np.ones((5, 6), dtype=bool)
    region[0, :3] = False
    flat = np.abs(values[region])
    n = len(flat)
    expected = np.abs(flat[:, None] - flat[None]).sum() / (2 * n * (n - 1) * flat.mean())
    assert stamp._gini(region) == pytest.approx(expected)
    stamp.light = np.full((5, 6), 3.0)
    assert stamp._gini(region) == pytest.approx(0, abs=1e-12)
    stamp.light[:] = 0
    stamp.light[3, 3] = 2
    assert stamp._gini(region) == pytest.approx(1) and stamp.flag == GOOD
    two = np.zeros((5, 6), dtype=bool)
    two[3, 3:5] = True
    assert stamp._gini(two) == pytest.approx(1) and stamp.flag == GOOD
    two[3, 4] = False
    assert np.isnan(stamp._gini(two)) and stamp.flag == BAD
    stamp.flag = GOOD
    assert np.isnan(stamp._gini(np.zeros((5, 6), dtype=bool))) and stamp.flag == BAD
    stamp.flag, stamp.light[3, 3] = GOOD, 0
    assert np.isnan(stamp._gini(region)) and stamp.flag == BAD


def test_m20_compares_the_brightest_fifth_with_all_light():
    light = RNG.exponential(size=(15, 18))
    stamp = stamp_of(np.zeros(light.shape))
    stamp.light = light
    region = np.hypot(*(np.indices(light.shape) - 8)) < 6
    y, x = np.nonzero(region)
    values = light[region]
    cy, cx = (y * values).sum() / values.sum(), (x * values).sum() / values.sum()
    moments = values * ((y - cy) ** 2 + (x - cx) ** 2)
    order = np.argsort(-values)
    inner, so_far = 0.0, 0.0
    for index in order:  # until more than a fifth of the light is reached
        so_far += values[index]
        inner += moments[index]
        if so_far > 0.2 * values.sum():
            break
    assert stamp._m20(region) == pytest.approx(np.log10(inner / moments.sum()), abs=1e-9)
    assert stamp.flag == GOOD
    stamp.light = -light
    assert np.isnan(stamp._m20(region)) and stamp.flag == BAD
    stamp.flag, stamp.light = GOOD, np.zeros(light.shape)
    stamp.light[5, 5] = 3  # all light in one pixel: no moment
    assert np.isnan(stamp._m20(np.ones(light.shape, dtype=bool))) and stamp.flag == BAD


@pytest.mark.parametrize("angle", [-1.2, 0.0, 0.4, 1.5])
def test_the_shape_is_that_of_the_ellipse(angle):
    stamp = stamp_of(ellipse((80, 90), 39.3, 44.6, 20, 10, angle))
    elongation, turned = stamp._shape((39.3, 44.6))
    assert elongation == pytest.approx(2, rel=0.01)
    assert np.sin(turned - angle) == pytest.approx(0, abs=0.01) and stamp.flag == GOOD


def test_thin_shapes_are_widened_by_a_pixel():
    image = np.zeros((15, 15))
    image[7, 4:11] = 1
    stamp = stamp_of(np.zeros((15, 15)))
    stamp.source = image
    elongation, angle = stamp._shape((7, 7))
    assert elongation == pytest.approx(np.sqrt((4 + 1 / 12) / (1 / 12)))
    assert angle == 0 and stamp.flag == BAD  # no width across
    stamp.source = image.T
    assert stamp._shape((7, 7))[1] == pytest.approx(np.pi / 2)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_half_of_a_disk_lies_in_its_inner_part(fraction):
    stamp = stamp_of(ellipse((70, 70), 34, 35, 20, 20, 0))
    stamp.centre = np.array([34.0, 35.0])
    assert stamp._light_radius(fraction, 30) == pytest.approx(20 * np.sqrt(fraction), rel=0.005)
    assert stamp._concentration(20) == pytest.approx(5 * np.log10(2), abs=0.02)
    assert stamp.flag == GOOD
    stamp.light = -stamp.light
    assert np.isnan(stamp._light_radius(fraction, 30)) and stamp.flag == BAD
    stamp.flag = GOOD
    assert np.isnan(stamp._concentration(20)) and stamp.flag == BAD


def test_a_point_has_no_concentration():
    image = np.zeros((40, 40))
    image[20, 20] = 5
    stamp = stamp_of(np.zeros((40, 40)))
    stamp.light = image
    stamp.centre = np.array([20.0, 20.0])
    near = stamp._light_radius(0.2, 20)
    assert 0 < near < 1  # a pixel is a square
    assert stamp._concentration(10) == pytest.approx(5 * np.log10(2), abs=0.3)


def test_the_petrosian_radius_is_where_an_annulus_is_a_fifth_of_the_mean_within():
    rows, columns = np.indices((121, 121)) - 60
    stamp = stamp_of(100 * np.exp(-np.hypot(rows, columns) / 6))
    # Of an exponential disk: r² e^-r = 2 η (1 - (1 + r) e^-r) in scale lengths.
    scales = np.linspace(0.5, 6, 100_000)
    ratio = scales**2 * np.exp(-scales) / (2 * (1 - (1 + scales) * np.exp(-scales)))
    expected = 6 * scales[np.argmax(ratio < 0.2)]
    radius = stamp._petrosian(np.array([60.0, 60.0]), 1.0, 0.0)
    assert radius == pytest.approx(expected, rel=0.01) and stamp.flag == GOOD
    wide = stamp_of(100 * np.exp(-np.hypot(rows, columns / 2) / 6))
    radius = wide._petrosian(np.array([60.0, 60.0]), 2.0, 0.0)
    assert radius == pytest.approx(2 * expected, rel=0.01)


@pytest.mark.parametrize(("image", "radius"), [("flat", np.hypot(30, 30)), ("hole", 1.0)])
def test_a_galaxy_without_a_petrosian_radius_is_bad(image, radius):
    light = np.ones((30, 30))
    if image == "hole":  # dark at once beyond the middle
        light = np.zeros((30, 30))
        light[15, 15] = 1
    stamp = stamp_of(np.zeros((30, 30)))
    stamp.light, stamp.masked = light, np.zeros((30, 30), dtype=bool)
    value = stamp._petrosian(np.array([15.0, 15.0]), 1.0, 0.0)
    assert value <= radius + 1e-9
    if image == "hole":
        assert value == 1.0 and stamp.flag == BAD


def test_light_beyond_the_stamp_has_no_symmetry():
    stamp = stamp_of(ellipse((40, 50), 20, 25, 8, 8, 0))
    stamp.first_radius, stamp.sky = 8.0, np.zeros((4, 4))
    for centre in ((-0.1, 25), (20, -0.1), (40, 25), (20, 50)):
        assert stamp._asymmetry(np.array(centre)) == 100
    assert stamp._asymmetry(np.array([0.0, 0.0])) == 100  # no light there
    assert stamp._asymmetry(np.array([20.0, 25.0])) == pytest.approx(0, abs=1e-9)
    # What differs by chance in the sky is taken off: its mean difference, times the area.
    stamp.sky = np.array([[0.1, 0.3], [0.2, 0.6]])
    sky = (2 * 0.5 + 2 * 0.1) / 4
    area = np.pi * 12**2
    light = stamp.light.sum()
    assert stamp._asymmetry(np.array([20.0, 25.0])) == pytest.approx(-area * sky / light, rel=1e-6)


def test_smoothness_is_light_above_the_mean_of_its_surroundings():
    rng = np.random.default_rng(0)
    image = 5 * ellipse((90, 90), 44, 45, 42, 42, 0) + rng.normal(0, 0.2, (90, 90))
    stamp = stamp_of(image)
    stamp.centre, stamp.sky = np.array([44.0, 45.0]), rng.normal(0, 0.2, (16, 16))

    def clumps(light, side):
        return np.clip(light - ndimage.uniform_filter(light, side), 0, None)

    outer, inner = 1.5 * 24, 0.25 * 24
    ring = ellipse((90, 90), 44, 45, outer, outer, 0) - ellipse((90, 90), 44, 45, inner, inner, 0)
    rough = (clumps(stamp.light, 6) * ring).sum() - ring.sum() * clumps(stamp.sky, 6).mean()
    expected = rough / (stamp.light * ring).sum()
    assert stamp._smoothness(24.0) == pytest.approx(expected, rel=0.01, abs=1e-4)
    stamp.sky = stamp.sky[:0]
    rough = (clumps(stamp.light, 6) * ring).sum()
    expected = rough / (stamp.light * ring).sum()
    assert stamp._smoothness(24.0) == pytest.approx(expected, rel=0.01) and stamp.flag == GOOD
    stamp.light = -stamp.light
    assert np.isnan(stamp._smoothness(24.0)) and stamp.flag == BAD


# ---- flags ----


def test_galaxies_of_two_parts_are_suspect():
    rows, columns = np.indices((120, 120))
    image = 100 * np.exp(-np.hypot(rows - 60, columns - 40) / 3)
    image += 99 * np.exp(-np.hypot(rows - 60, columns - 80) / 3)
    image += np.random.default_rng(0).normal(0, 0.05, image.shape)
    stamp = stamp_of(image, (image > 1).astype(int))
    stamp.measure()
    assert stamp.flag >= SUSPECT
    stamp.flag = GOOD
    region = stamp._gini_region(14.0)
    assert stamp.flag == SUSPECT and region[60, 40] and not region[60, 80]
    assert ndimage.label(region, np.ones((3, 3)))[1] == 1


def test_a_galaxy_that_is_negative_or_fills_the_stamp_is_bad():
    stamp = stamp_of(-np.ones((30, 30)))
    assert stamp.measure() == {} and stamp.flag == BAD
    flat = stamp_of(np.ones((30, 30)))
    flat.centroid, flat.elongation, flat.angle = np.array([15.0, 15.0]), 1.0, 0.0
    flat.light = np.ones((30, 30))
    flat._gini_region(0.6)
    assert flat.flag in (GOOD, BAD)


def test_doubts_only_grow():
    stamp = stamp_of(np.ones((9, 9)))
    for flag, expected in ((GOOD, GOOD), (SUSPECT, SUSPECT), (GOOD, SUSPECT), (BAD, BAD)):
        stamp._doubt(flag)
        assert stamp.flag == expected


# ---- rows and windows ----


def test_rows_of_labels_in_any_order():
    assert chosen_rows([2, 5, 9], None).tolist() == [0, 1, 2]
    assert chosen_rows([2, 5, 9], [9, 2, 9]).tolist() == [2, 0, 2]
    assert chosen_rows([2, 5, 9], 5).tolist() == [1]
    for missing in (1, 6, 10):
        with pytest.raises(ValueError, match=f"labels holds {missing}, which no pixel has"):
            chosen_rows([2, 5, 9], [5, missing])


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((100, 200, 109, 219), (80, 130), (185, 235)),  # 20 wide: 2.5 sides are 50
        ((100, 200, 104, 205), (78, 126), (179, 227)),  # at least 48
        ((3, 5, 8, 9), (0, 30), (0, 31)),
        ((290, 390, 299, 399), (271, 300), (371, 400)),
    ],
)
def test_a_stamp_is_a_square_around_the_box(box, rows, columns):
    row = dict(zip(("y_min", "x_min", "y_max", "x_max"), box, strict=True))
    assert _stamp(row, (300, 400)) == (slice(*rows), slice(*columns))


def test_positions_are_those_of_the_image_wherever_the_stamp_is():
    rows, columns = np.indices((70, 200))
    noise = np.random.default_rng(0).normal(0, 0.05, (70, 200))
    first = 100 * np.exp(-np.hypot(rows - 30, columns - 35) / 3)
    second = 100 * np.exp(-np.hypot(rows - 41, columns - 150) / 3)
    image = first + second + noise
    labels = np.where(image > 1, np.where(columns < 90, 3, 8), 0)
    for labels_wanted in ([8, 3], None):
        table = morphology(labels, image, labels=labels_wanted)
        expected = [8, 3] if labels_wanted else [3, 8]
        assert table["label"].tolist() == expected
        places = {3: (35, 30), 8: (150, 41)}
        for row in table:
            assert (row["x"], row["y"]) == pytest.approx(places[row["label"]], abs=0.1)
    assert np.isnan(morphology(labels, -image)["x"]).all()
