"""Light of overlapping galaxies, divided by symmetric templates."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.separation import TemplateSeparator

SHAPE = (64, 72)


def galaxy(y, x, flux=1.0, radius=3.0, ratio=0.7, angle=0.5, shape=SHAPE):
    """An elliptical galaxy of exponential profile, softened in the middle as seeing does."""
    rows, columns = np.indices(shape)
    u = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    v = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    light = np.exp(-np.sqrt(u**2 + (v / ratio) ** 2 + 1.5) / radius)
    return flux * light / light.sum()


def blend(*galaxies, noise=0.1, random_state=0):
    image = np.sum(galaxies, axis=0)
    return image + noise * np.random.default_rng(random_state).normal(size=image.shape)


PAIR = [
    galaxy(30, 28, 900, radius=2.5),
    galaxy(34, 40, 500, radius=2, ratio=0.5, angle=-0.7),
]
PLACES = Table({"y": [30, 34], "x": [28, 40]})
RMS = np.full((1, *SHAPE), 0.1)


def masks(galaxies, level=0.1):
    return Instances.from_masks([light > level for light in galaxies])


def separate_image(image, sources, rms=RMS, **parameters):
    return TemplateSeparator(**parameters).separate(image[None], [sources], rms=rms)[0]


@pytest.mark.parametrize("sources", [PLACES, masks(PAIR)], ids=["positions", "masks"])
def test_the_light_of_two_galaxies_comes_apart(sources):
    separated = separate_image(blend(*PAIR), sources)
    assert separated.fluxes == pytest.approx([900, 500], rel=0.02)
    for index, light in enumerate(PAIR):
        difference = np.abs(separated.isolated(index) - light)[light > 0.1].sum() / light.sum()
        assert difference < 0.12  # most of it is noise
    assert (separated.flux_errors > 0).all() and (separated.flux_errors < 10).all()


def test_masks_alone_are_worse_where_galaxies_overlap():
    image = blend(*PAIR)
    labels = masks(PAIR).to_label_map()
    cut = [abs(image[labels == label].sum() / flux - 1) for label, flux in ((1, 900), (2, 500))]
    separated = separate_image(image, labels)
    error = np.abs(separated.fluxes / [900, 500] - 1)
    assert error.max() < 0.5 * max(cut)


def test_a_faint_galaxy_in_the_light_of_a_bright_one():
    pair = [galaxy(30, 30, 5000, radius=4), galaxy(32, 38, 100, radius=1.0, ratio=1.0)]
    separated = separate_image(blend(*pair), Table({"y": [30, 32], "x": [30, 38]}))
    assert separated.fluxes == pytest.approx([5000, 100], rel=0.25)
    assert separated.blendedness[1] > 0.3 > separated.blendedness[0]


def test_a_large_galaxy_keeps_its_wings_behind_a_bright_star():
    shape = (200, 210)
    disk = galaxy(100, 105, 20000, radius=16, shape=shape)
    y, x = np.indices(shape)
    star = 300 * np.exp(-((y - 112) ** 2 + (x - 90) ** 2) / 8)
    masks = Instances.from_masks([disk > 0.5, star > 0.5])
    image = blend(disk, star, noise=0.2)
    separated = separate_image(image, masks, rms=np.full((1, *shape), 0.2))
    assert separated.fluxes == pytest.approx([20000, star.sum()], rel=0.05)


@pytest.mark.parametrize("find_companions", [False, True])
def test_a_galaxy_of_any_size_keeps_its_light(find_companions):
    shape = (900, 920)
    disk = galaxy(440, 470, 4e5, radius=60, shape=shape)
    y, x = np.indices(shape)
    star = 60 * np.exp(-((y - 440) ** 2 + (x - 620) ** 2) / 8)
    masks = Instances.from_masks([disk > 0.3, star > 2])
    separated = separate_image(
        blend(disk, star, noise=0.3),
        masks,
        rms=np.full((1, *shape), 0.3),
        find_companions=find_companions,
    )
    assert separated.fluxes[0] == pytest.approx(4e5, rel=0.07)


def test_an_isolated_source_keeps_all_of_its_light():
    light = galaxy(30, 30, 900)
    image = blend(light)
    separated = separate_image(image, masks([light]))
    y0, x0, y1, x1 = separated.boxes[0]
    part, cut = separated.parts[0], image[y0:y1, x0:x1]
    assert (part != 0).sum() > 1.5 * masks([light]).areas[0]
    bright = cut > 1  # ten times the noise
    assert np.abs(part - cut)[bright].max() < 0.01
    assert separated.fluxes[0] == pytest.approx(900, rel=0.02)
    assert separated.blendedness[0] == pytest.approx(0)


def test_noise_of_the_sky_stays_in_the_residual():
    fluxes = []
    for seed in range(12):
        image = blend(*PAIR, random_state=seed)
        separated = separate_image(image, PLACES)
        sky = (np.sum(PAIR, axis=0) < 0.02) & (separated.isolated(0) != 0)
        assert np.std((separated.isolated(0) - PAIR[0])[sky]) < 0.03
        assert np.std(separated.residual[sky]) == pytest.approx(0.1, rel=0.15)
        fluxes.append(separated.fluxes)
    assert np.mean(fluxes, axis=0) == pytest.approx([900, 500], rel=0.01)


def test_sources_that_do_not_touch_do_not_influence_each_other():
    near, far = galaxy(15, 15, 300, radius=1.5), galaxy(50, 55, 800, radius=1.5)
    image = blend(near, far)
    both, alone = separate_image(image, masks([near, far])), separate_image(image, masks([near]))
    assert np.array_equal(both.parts[0], alone.parts[0])


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(2, 61), st.integers(2, 69), st.integers(1, 900)),
        min_size=1,
        max_size=6,
        unique_by=lambda place: place[:2],
    ),
    st.booleans(),
    st.integers(0, 99),
)
def test_parts_and_residual_add_up_to_the_image(places, with_gaps, seed):
    random = np.random.default_rng(seed)
    galaxies = [galaxy(y, x, flux, radius=random.uniform(0.5, 4)) for y, x, flux in places]
    image = blend(*galaxies, random_state=seed).astype(np.float32)
    if with_gaps:
        image[random.uniform(size=SHAPE) < 0.05] = np.nan
    table = Table(rows=[place[:2] for place in places], names=("y", "x"))
    separated = separate_image(image, table)
    total = separated.total() + separated.residual
    assert np.allclose(total, image, rtol=1e-5, atol=1e-4, equal_nan=True)
    assert not any(np.isnan(part).any() for part in separated.parts)
    assert len(separated) == len(places) == len(separated.sources)


def test_the_order_of_the_sources_does_not_matter():
    image = blend(*PAIR)
    forth, back = separate_image(image, PLACES), separate_image(image, PLACES[::-1])
    assert np.array_equal(forth.parts[0], back.parts[1])
    assert np.array_equal(forth.parts[1], back.parts[0])


def test_a_shifted_image_has_shifted_parts():
    wide = (96, 104)
    there = [galaxy(40, 40, 900, shape=wide), galaxy(44, 50, 500, shape=wide)]
    image = blend(*there)
    table = Table({"y": [40, 44], "x": [40, 50]})
    cut = image[5:, 7:]
    moved = Table({"y": table["y"] - 5, "x": table["x"] - 7})
    rms = np.full((1, *wide), 0.1)
    whole, part = separate_image(image, table, rms), separate_image(cut, moved, rms[:, 5:, 7:])
    assert part.fluxes == pytest.approx(whole.fluxes, rel=0.01)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.25, 0.5), (0.45, -0.3)])
def test_centres_between_pixels_are_as_good(shift):
    """Rotations are about the centre to a fraction of a pixel, not about the nearest half."""
    dy, dx = shift
    compact = [
        galaxy(30 + dy, 30 + dx, 900, radius=1, ratio=1.0),
        galaxy(33 + dy, 34 + dx, 300, radius=1, ratio=1.0),
    ]
    table = Table({"y": [30 + dy, 33 + dy], "x": [30 + dx, 34 + dx]})
    separated = separate_image(blend(*compact), table)
    assert separated.fluxes == pytest.approx([900, 300], rel=0.03)


def test_the_centre_of_a_mask_moves_to_the_light():
    pair = [galaxy(30, 30, 900, radius=1.5), galaxy(33, 35, 450, radius=1.5)]
    image = blend(*pair)
    separated = separate_image(image, masks(pair))
    assert separated.fluxes == pytest.approx([900, 450], rel=0.03)


def test_what_is_far_away_changes_nothing():
    """The light of a blend depends on its region alone: the basis of tiles."""
    wide = (200, 220)
    there = [galaxy(60, 60, 900, shape=wide), galaxy(64, 70, 500, shape=wide)]
    other = galaxy(150, 170, 2000, shape=wide)
    image = blend(*there, other)
    sources = Instances.from_masks([light > 0.1 for light in (*there, other)])
    rms = np.full((1, *wide), 0.1)
    whole = separate_image(image, sources, rms)
    tile = sources.select([0, 1]).shift(0, 0, (120, 130))
    part = separate_image(image[:120, :130], tile, rms[:, :120, :130])
    assert np.array_equal(whole.boxes[:2], part.boxes)
    assert all(map(np.array_equal, whole.parts[:2], part.parts))


def test_bands_share_templates_and_keep_their_own_fluxes():
    colours = np.array([[1.0, 0.4], [1.0, 2.0], [0.3, 1.0]])
    image = np.stack(
        [
            blend(*(light * tint for light, tint in zip(PAIR, row, strict=True)), random_state=band)
            for band, row in enumerate(colours)
        ]
    )
    (separated,) = TemplateSeparator().separate(
        image[None], [PLACES], rms=np.full((1, 3, *SHAPE), 0.1)
    )
    assert separated.fluxes == pytest.approx((colours * [900, 500]).T, rel=0.04)
    assert separated.parts[0].shape[0] == 3
    assert np.allclose(separated.total() + separated.residual, image, atol=1e-4)
    one_map = TemplateSeparator().separate(image[None], [PLACES], rms=RMS)[0]
    assert np.array_equal(one_map.fluxes, separated.fluxes)


def test_noise_is_estimated_where_no_map_is_given():
    image = blend(*PAIR)
    labels = masks(PAIR).to_label_map()
    assert separate_image(image, labels, rms=None).fluxes == pytest.approx(
        separate_image(image, labels).fluxes, rel=0.02
    )


def test_pixels_without_data_are_filled_by_the_template_and_not_by_the_part():
    image = blend(*PAIR)
    image[28:31, 26:28] = np.nan  # beside the centre of the first
    separated = separate_image(image, PLACES)
    y0, x0, *_ = separated.boxes[0]
    assert not separated.parts[0][28 - y0 : 31 - y0, 26 - x0 : 28 - x0].any()
    assert separated.fluxes[1] == pytest.approx(500, rel=0.03)


@pytest.mark.filterwarnings("ignore::galaxysegment.exceptions.UnsubtractedSkyWarning")
def test_a_source_may_cover_the_image_or_be_one_pixel():
    image = blend(galaxy(30, 30, 9000, radius=30))
    separated = separate_image(image, np.ones(SHAPE, dtype=int))
    assert np.allclose(separated.isolated(0), image, atol=0.05)
    assert np.allclose(separated.isolated(0) + separated.residual, image, atol=1e-5)
    dot = np.zeros(SHAPE, dtype=int)
    dot[3, 3] = 1
    assert separate_image(image, dot).parts[0].size > 1


def test_images_without_sources_are_all_residual():
    image = blend(*PAIR)
    empty = separate_image(image, np.zeros(SHAPE, dtype=int))
    assert len(empty) == 0 and np.allclose(empty.residual, image) and empty.fluxes.shape == (0,)
    table = separate_image(image, Table({"x": [], "y": []}))
    assert len(table) == 0 and np.allclose(table.residual, image)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (Table({"x": [10.0, 72.0], "y": [10.0, 10.0]}), r"x=72, y=10 \(row 1\), outside"),
        (Table({"x": [np.nan], "y": [10.0]}), "row 0"),
        (Table({"x": [10.0, 10.3], "y": [10.0, 10.0]}), "rows 0 and 1"),
        (Table({"ra": [10.0], "dec": [10.0]}), "'x' and 'y'"),
    ],
)
def test_positions_that_cannot_be_are_refused(table, words):
    with pytest.raises(ValueError, match=words):
        separate_image(blend(*PAIR), table)


def test_shapes_that_disagree_are_refused():
    image = blend(*PAIR)
    with pytest.raises(ValueError, match=r"sources\[0\] has shape"):
        separate_image(image, np.zeros((3, 3), dtype=int))
    with pytest.raises(ValueError, match=r"rms\[0\] has shape"):
        separate_image(image, PLACES, rms=np.ones((1, 3, 3)))
    with pytest.raises(ValueError, match="1 images, but sources holds 2"):
        TemplateSeparator().separate(image[None], [PLACES, PLACES])
    with pytest.raises(ValueError, match="no positive value"):
        separate_image(image, PLACES, rms=np.zeros((1, *SHAPE)))
    with pytest.raises(ValueError, match="n_iterations"):
        separate_image(image, PLACES, n_iterations=0)


@pytest.mark.parametrize("unit", [1e-12, 1e9])
def test_the_unit_of_the_image_does_not_matter(unit):
    image = blend(*PAIR)
    expected = separate_image(image, PLACES).fluxes
    scaled = separate_image(unit * image, PLACES, rms=unit * RMS).fluxes
    assert scaled / unit == pytest.approx(expected, rel=1e-6)


def test_galaxies_that_cover_most_of_the_image_are_no_sky():
    places = Table({"y": [20.0, 44.0, 20.0, 44.0], "x": [20.0, 20.0, 52.0, 52.0]})
    lights = [galaxy(y, x, 900, radius=8) for y, x in zip(places["y"], places["x"], strict=True)]
    image = blend(*lights)
    assert np.median(image) > 0.15  # RMS 0.1
    assert len(separate_image(image, places)) == 4  # a warning would be an error


@pytest.mark.parametrize("x", [4, 7, 10])
def test_a_neighbour_whose_mirror_image_is_beyond_the_edge(x):
    lights = [galaxy(32, x, 900, radius=2, ratio=0.9), galaxy(34, 28, 4000, radius=6, ratio=0.9)]
    separated = separate_image(blend(*lights), Table({"y": [32, 34], "x": [x, 28]}))
    visible = [light.sum() for light in lights]
    assert separated.fluxes == pytest.approx(visible, rel=0.06)
