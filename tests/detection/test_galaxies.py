"""One galaxy, one label: arms and knots stay with their galaxy, companions and stars do not."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from galaxysegment import KMeansSegmenter, PhotutilsSegmenter, RandomForestSegmenter, SEPSegmenter
from galaxysegment.detection._deblend_kernels import count_peaks
from galaxysegment.detection._deblending import deblend, split_blends
from galaxysegment.detection._galaxies import deblend_galaxies, load_trees
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.structures import label_components, remove_small


def disk(shape, centre, radius, peak):
    y, x = np.indices(shape)
    return peak * np.exp(-np.hypot(y - centre[0], x - centre[1]) / radius)


def star(shape, centre, peak, sigma=1.3):
    y, x = np.indices(shape)
    return peak * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2))


def spiral(shape=(160, 160), centre=(80, 80), radius=18, peak=60.0, seed=0):
    """Disk with two knotty arms."""
    y, x = np.indices(shape)
    y, x = y - centre[0], x - centre[1]
    r, phi = np.hypot(y, x), np.arctan2(y, x)
    arms = np.exp(4 * (np.cos(2 * (phi - 2.5 * np.log(np.maximum(r, 1) / radius))) - 1))
    patches = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    arms = arms * np.exp(0.6 * patches / patches.std()) * (r > 0.4 * radius)
    return peak * np.exp(-r / radius) * (1 + 2.5 * arms) + 3 * peak * np.exp(-((r / 3) ** 2))


def observe(light, seed=1, sigma=1.3):
    noise = np.random.default_rng(seed).standard_normal(light.shape)
    return (light + noise).astype(np.float32), ndimage.gaussian_filter(light + noise, sigma)


def components(smooth, threshold=1.0, n_pixels=10):
    return remove_small(label_components(smooth > threshold), n_pixels)


def same_partition(first, second):
    """Whether two label maps hold the same sources, whatever their numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def crowd(seed, shape=(80, 90), n=40):
    rng = np.random.default_rng(seed)
    light = np.zeros(shape)
    for _ in range(n):
        place = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        light += star(shape, place, rng.uniform(3, 60), rng.uniform(1, 4))
    return observe(light, seed, 1.0)[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_spiral_is_one_source(seed):
    smooth = observe(spiral(seed=seed), seed)[1]
    labels = components(smooth)
    assert len(np.unique(deblend(labels, smooth, 10))) > 4
    parts = deblend_galaxies(labels, smooth, 10)
    light = np.bincount(parts.ravel(), weights=smooth.ravel())[1:]
    assert light.max() > 0.97 * light.sum()


def test_stars_and_companions_in_front_of_a_spiral_come_apart():
    light = spiral()
    places = {"star": (60, 100), "companion": (115, 75)}
    light += star(light.shape, places["star"], 600)
    light += disk(light.shape, places["companion"], 3, 200)
    smooth = observe(light)[1]
    parts = deblend_galaxies(components(smooth), smooth, 10)
    own = [parts[80, 80], *(parts[place] for place in places.values())]
    assert len(set(own)) == 3
    # and take little of the galaxy with them
    assert np.bincount(parts.ravel())[own[1:]].max() < 400


@pytest.mark.parametrize(
    ("away", "peak", "ratio"), [(40, 900, 0.5), (50, 2500, 0.5), (50, 2500, 1)]
)
def test_outskirts_belong_to_the_wide_galaxy_not_to_the_bright_one(away, peak, ratio):
    y, x = np.indices((150, 190))
    wide = 60 * np.exp(-np.hypot((y - 75) / ratio, x - 110) / 16)
    bright = disk(wide.shape, (75, 110 - away), 6, peak)
    smooth = observe(wide + bright)[1]
    labels = components(smooth)
    parts = deblend_galaxies(labels, smooth, 10)
    assert labels[75, 110 - away] == labels[75, 110]
    assert parts[75, 110 - away] != parts[75, 110]
    own = (labels > 0) & (wide > 1) & (wide > 2 * bright)
    light = np.bincount(parts[own], weights=wide[own])
    assert light[parts[75, 110]] > 0.98 * light.sum()
    # and the bright galaxy keeps what is its own
    own = (labels > 0) & (bright > 3 * wide)
    assert np.mean(parts[own] == parts[75, 110 - away]) > 0.95


def test_peaks_among_many_like_them_are_more_likely_knots():
    rng, light = np.random.default_rng(0), disk((160, 160), (80, 80), 16, 60)
    places = [(60, 96)]
    while len(places) < 20:
        away, angle = rng.uniform(14, 40), rng.uniform(0, 2 * np.pi)
        place = round(80 + away * np.sin(angle)), round(80 + away * np.cos(angle))
        if min(np.hypot(place[0] - y, place[1] - x) for y, x in places) > 9:
            places.append(place)
    alone = light + star(light.shape, places[0], 20, 1.4)
    among = light + sum(star(light.shape, place, 20, 1.4) for place in places)
    parts = []
    for image in (alone, among):
        smooth = observe(image)[1]
        parts.append(deblend_galaxies(components(smooth), smooth, 10))
    assert parts[0][60, 96] != parts[0][80, 80]
    assert sum(parts[1][place] != parts[1][80, 80] for place in places) <= 10


def test_two_galaxies_of_like_size_come_apart():
    shape = (120, 140)
    light = disk(shape, (60, 50), 8, 100) + disk(shape, (60, 90), 7, 80)
    smooth = observe(light)[1]
    labels = components(smooth)
    assert labels[60, 50] == labels[60, 90]
    parts = deblend_galaxies(labels, smooth, 10)
    assert parts[60, 50] != parts[60, 90]
    assert parts[60, 45] == parts[60, 50]


@pytest.mark.parametrize("seed", [3, 5])
def test_small_blends_are_split_by_thresholds(seed):
    smooth = crowd(seed)
    labels = components(smooth, 6.0)
    parts = deblend_galaxies(labels, smooth, 5)
    assert np.bincount(labels.ravel())[1:].max() < 1200
    assert parts.max() > labels.max()
    # above the faintest pixel of each source, whatever the level of the sky
    index = np.arange(1, labels.max() + 1)
    low, high = (f(smooth, labels, index) for f in (ndimage.minimum, ndimage.maximum))
    light = np.append(0, low)[labels]
    light = (smooth - light) / np.append(1, high - low)[labels] + 0.01
    assert same_partition(parts, deblend(labels, np.where(labels > 0, light, 0), 5))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([-0.5, 0.3, 1.0, 3.0]),
    n_pixels=st.integers(1, 12),
    connectivity=st.sampled_from([4, 8]),
    scale=st.sampled_from([1.0, 1e-12, 1e9]),
)
def test_divides_each_source_among_parts(seed, threshold, n_pixels, connectivity, scale):
    smooth = crowd(seed)
    labels = remove_small(label_components(smooth > threshold, connectivity), n_pixels)
    given_labels = labels.copy()
    parts = deblend_galaxies(labels, smooth, n_pixels, connectivity=connectivity)
    assert np.array_equal(labels, given_labels)
    assert parts.dtype == np.int32
    assert np.array_equal(parts > 0, labels > 0)
    assert np.array_equal(np.unique(parts[parts > 0]), np.arange(1, parts.max() + 1))
    sizes = np.bincount(parts.ravel())[1:]
    assert (sizes >= n_pixels).all()
    pairs = np.unique(np.stack([parts[parts > 0], labels[parts > 0]]), axis=1)
    assert pairs.shape[1] == parts.max()  # no part reaches into a second source
    # neither the unit nor the level of the sky matters
    again = deblend_galaxies(labels, (smooth + 7) * scale, n_pixels, connectivity=connectivity)
    assert np.mean(again != parts) < 0.002


def test_a_source_is_split_alike_wherever_it_lies():
    smooth = crowd(3)
    labels = components(smooth)
    whole = deblend_galaxies(labels, smooth, 5)
    for label, window in enumerate(ndimage.find_objects(labels), 1):
        own = labels[window] == label
        alone = deblend_galaxies(own.astype(np.int32), smooth[window], 5)
        assert same_partition(np.where(own, whole[window], 0), alone)


def test_mirrored_sources_are_split_alike():
    smooth = observe(spiral() + star((160, 160), (60, 100), 150))[1]
    parts = deblend_galaxies(components(smooth), smooth, 10)
    turned = np.ascontiguousarray(smooth[::-1].T)
    assert same_partition(deblend_galaxies(components(turned), turned, 10), parts[::-1].T)


@pytest.mark.parametrize("value", [0.0, -3.0, 5.0, np.nan])
def test_flat_source_stays_whole(value):
    labels = np.zeros((20, 20), dtype=np.int32)
    labels[3:9, 3:9] = 1
    assert np.array_equal(deblend_galaxies(labels, np.full((20, 20), value), 1), labels)


def test_nothing_to_do():
    labels = np.zeros((5, 6), dtype=np.int32)
    assert not deblend_galaxies(labels, np.ones((5, 6)), 1).any()


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_local_maxima_are_counted_within_sources(connectivity, dtype):
    rng = np.random.default_rng(connectivity)
    labels = label_components(rng.uniform(size=(40, 50)) < 0.6, connectivity)
    image = rng.integers(0, 9, size=labels.shape).astype(dtype)
    if dtype is not np.int64:
        image[rng.uniform(size=labels.shape) < 0.1] = np.nan
        image[5, 5] = np.inf
    footprint = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    lowest = np.where(np.isfinite(image), image, -np.inf)
    expected = np.zeros(labels.max() + 1, dtype=int)
    for label in range(1, len(expected)):
        own = np.where(labels == label, lowest, -np.inf)
        highest = ndimage.maximum_filter(own, footprint=footprint, mode="nearest")
        expected[label] = np.count_nonzero((labels == label) & (own == highest))
    wanted = np.arange(len(expected)) > 0
    counted = count_peaks(labels, image, wanted, connectivity == 8)
    np.testing.assert_array_equal(counted, expected)


def test_memory_follows_the_sources_not_the_map():
    smooth = np.zeros((1500, 1500), dtype=np.float32)
    smooth[100:180, 100:190] = crowd(0)
    labels = components(smooth)
    expected = deblend_galaxies(labels, smooth, 10)
    assert expected.max() > labels.max()
    tracemalloc.start()
    deblend_galaxies(labels, smooth, 10, in_place=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < smooth.nbytes
    np.testing.assert_array_equal(labels, expected)


def test_missing_pixels_and_masks_as_image():
    smooth = crowd(7)
    labels = components(smooth)
    smooth[labels == 2] = np.nan
    smooth[np.indices(smooth.shape).sum(axis=0) % 9 == 0] = np.nan
    assert np.array_equal(deblend_galaxies(labels, smooth, 5) > 0, labels > 0)
    assert np.array_equal(deblend_galaxies(labels, labels > 0, 5), labels)


def test_the_word_decides():
    smooth = crowd(3)
    labels = components(smooth)
    options = {"n_levels": 8, "contrast": 0.1}
    assert np.array_equal(
        split_blends(True, labels, smooth, 5, **options), deblend(labels, smooth, 5, **options)
    )
    assert np.array_equal(
        split_blends("galaxy", labels, smooth, 5, **options), deblend_galaxies(labels, smooth, 5)
    )


def test_trees_refer_to_features_and_nodes_that_exist():
    from galaxysegment.detection._galaxy_judge import N_FEATURES

    feature, threshold, low, high, value, starts, bias = load_trees()
    inner = np.flatnonzero(feature >= 0)
    assert feature.max() < N_FEATURES
    assert np.isfinite(threshold[inner]).all()
    assert np.isfinite(value).all()
    assert np.isfinite(bias).all()
    for child in (low, high):
        assert (child[inner] > inner).all()
        assert (child[inner] < len(feature)).all()
    assert (starts < len(feature)).all()


def scene():
    """A spiral with a star, two more galaxies and a blend of small sources, in 240 × 260."""
    shape = (240, 260)
    light = np.zeros(shape)
    light[20:180, 30:190] += spiral()
    light += star(shape, (80, 130), 150) + disk(shape, (190, 210), 6, 60)
    light += disk(shape, (200, 180), 7, 50)
    for offset in (0, 7, 15):
        light += star(shape, (30 + offset, 215 - offset), 40, 2.0)
    return observe(light)[0]


@pytest.mark.parametrize("cls", [PhotutilsSegmenter, SEPSegmenter])
def test_large_galaxies_stay_whole_in_segmenters(cls):
    image = scene()
    whole = cls(n_sigma=1, box_size=128, deblend="galaxy").predict(image[None])[0]
    many = cls(n_sigma=1, box_size=128, deblend=True).predict(image[None])[0]
    inside = np.hypot(*(np.indices(image.shape) - np.array([100, 110])[:, None, None])) < 35
    assert len(np.unique(whole[inside])) <= 3
    assert len(np.unique(many[inside])) > 4
    assert whole[80, 130] != whole[100, 110]
    assert whole[190, 210] != whole[200, 180]


@pytest.mark.parametrize("clean", [False, True])
def test_sep_cleans_before_it_splits(clean):
    image = scene()
    options = {"n_sigma": 1, "box_size": 128, "clean": clean}
    parts = SEPSegmenter(deblend="galaxy", **options).predict(image[None])
    blends = SEPSegmenter(deblend=False, **options).predict(image[None])
    assert np.array_equal(parts > 0, blends > 0)


@pytest.mark.parametrize("tile_size", [70, 110])
@pytest.mark.parametrize(
    "segmenter",
    [
        PhotutilsSegmenter(n_sigma=1, box_size=128, deblend="galaxy"),
        PhotutilsSegmenter(n_sigma=1, box_size=128, deblend="galaxy", connectivity=4),
        SEPSegmenter(n_sigma=1, box_size=128, deblend="galaxy"),
    ],
    ids=["photutils", "photutils-4", "sep"],
)
def test_tiles_do_not_show(segmenter, tile_size):
    image = scene()
    whole = segmenter.predict(image[None])[0]
    tiled = segment_mosaic(segmenter, image, tile_size=tile_size, overlap=60, progress=False)
    assert same_partition(whole, tiled)


def test_semantic_segmenters_take_the_word():
    image = scene()
    mask = ndimage.gaussian_filter(image, 1) > 3
    for segmenter in (
        KMeansSegmenter(deblend="galaxy", random_state=0),
        RandomForestSegmenter(deblend="galaxy", features=None, n_estimators=3, random_state=0),
    ):
        labels = segmenter.fit(image[None], mask[None]).predict(image[None])[0]
        split = segmenter.set_params(deblend=True).predict(image[None])[0]
        assert np.array_equal(labels > 0, split > 0)
        assert 1 < labels.max() < split.max()


@pytest.mark.parametrize("cls", [PhotutilsSegmenter, SEPSegmenter, KMeansSegmenter])
def test_other_words_are_refused(cls):
    segmenter = cls(deblend="galaxies")
    with pytest.raises(ValueError, match=r"'deblend' parameter of .* must be .*'galaxy'"):
        segmenter.fit(np.ones((1, 20, 20)))


def test_photutils_itself_hands_its_sources_over():
    image = scene()
    options = {"n_sigma": 1, "box_size": 128, "deblend": "galaxy"}
    fast, slow = (
        PhotutilsSegmenter(fast=fast, **options).predict(image[None])[0] for fast in (True, False)
    )
    assert np.mean(fast != slow) < 0.01


def elliptical_field(seed=0, shape=(220, 240)):
    """An elliptical with wide wings, whose rim is ragged, and five small sources around it."""
    y, x = np.indices(shape)
    radius = np.hypot(y - 110, (x - 120) / 1.2)
    light = 400 * np.exp(-3.67 * ((np.maximum(radius, 1) / 20) ** 0.5 - 1)) / 20
    places = [(30, 40), (60, 200), (190, 60), (200, 190), (150, 185)]
    for place in places:
        light += star(shape, place, 12)
    return light, observe(light, seed)[0], places


def settings_of_rim(**options):
    return PhotutilsSegmenter(n_sigma=0.8, box_size=220, correlated_noise=False, **options)


@pytest.mark.parametrize("fast", [True, False])
def test_crumbs_at_the_rim_of_an_elliptical_are_dropped(fast):
    _, image, places = elliptical_field()
    labels = settings_of_rim(fast=fast).predict(image[None])[0]
    kept = settings_of_rim(fast=fast, deblend=False).predict(image[None])[0]
    rim = np.hypot(*(np.indices(image.shape) - np.array([110, 120])[:, None, None])) < 90
    assert len(np.unique(labels[rim & (labels > 0)])) <= len(np.unique(kept[rim & (kept > 0)])) - 3
    own = [labels[place] for place in places] + [labels[110, 120]]
    assert 0 not in own
    assert len(set(own)) == 6
    # the others are as they were
    assert np.array_equal(labels > 0, (labels > 0) & (kept > 0))


def test_tiles_drop_the_same_crumbs():
    _, image, _ = elliptical_field()
    whole = settings_of_rim().predict(image[None])[0]
    tiled = segment_mosaic(
        settings_of_rim(), image, tile_size=90, overlap=60, progress=False, n_jobs=1
    )
    assert same_partition(whole, tiled)


@pytest.mark.parametrize(
    ("seed", "kind", "rich"),
    [
        # a companion amid a cluster, bright stars in front of the others
        (2000103, "cluster", False),
        (3200028, "edge-on", False),
        (3100018, "spiral", True),
        # galaxies beside others that are brighter, but less wide
        (5000064, "spiral", False),
        (5000080, "edge-on", False),
        (5000088, "elliptical", False),
    ],
)
def test_other_sources_do_not_take_the_outskirts_of_a_galaxy(seed, kind, rich):
    pytest.importorskip("sep", reason="is imported by the benchmark")
    from benchmarks.bench_one_galaxy import pieces
    from benchmarks.galaxy_scenes import make_scene

    scene = make_scene(seed, kind=kind, rich=rich)
    labels = PhotutilsSegmenter(n_sigma=1, box_size=128).predict(scene.image[None])[0]
    share, _ = pieces(scene, labels)
    assert share < 0.05


def test_limits_of_label_maps_are_in_order():
    pytest.importorskip("sep", reason="is imported by the benchmark")
    from benchmarks.bench_one_galaxy import SETTINGS, pieces
    from benchmarks.galaxy_limits import limits
    from benchmarks.galaxy_scenes import make_scene

    scene = make_scene(5000080, kind="edge-on")
    _, maps, all_light = zip(*limits([scene], SETTINGS), strict=True)
    (best,), (same,), (apart,), (told,) = maps
    assert all_light == (False, True, False, False)
    assert same is best
    assert pieces(scene, best)[0] == 0
    assert pieces(scene, best, all_light=True)[0] > 0.1  # an elliptical in front
    assert np.array_equal(apart > 0, best > 0)
    assert len(np.unique(apart)) > len(np.unique(best))
    assert np.array_equal(told > 0, best > 0)
    assert pieces(scene, told)[0] < 0.05
    assert np.bincount(told[best == 1]).max() > 0.8 * np.sum(best == 1)


@pytest.mark.parametrize(
    ("field", "n_outside"),
    [("hsc_spiral_1", 0), ("hsc_spiral_2", 0), ("kids_G278109", 0), ("decals_cluster", 0)],
)
def test_real_galaxies_and_their_companions_have_labels_of_their_own(data_dir, field, n_outside):
    pytest.importorskip("sep", reason="is imported by the benchmark")
    from benchmarks.bench_real_galaxies import GALAXIES, errors, labels_of

    galaxy = next(galaxy for galaxy in GALAXIES if galaxy.field == field)
    outside, missed = errors(galaxy, labels_of(PhotutilsSegmenter, data_dir, field))
    assert not missed
    assert len(outside) <= n_outside


@pytest.mark.parametrize(("side", "n_drawn"), [(4, 16), (3, 2)])
def test_sources_of_too_few_pixels_get_those_above_their_saddle(side, n_drawn):
    from galaxysegment.detection._galaxies import _grow_small

    part, drawn, scaled = (
        np.zeros((20, 20), dtype=int),
        np.zeros((20, 20), dtype=int),
        np.ones((20, 20)),
    )
    part[8:16, 8:16] = 1
    scaled[10 : 10 + side, 10 : 10 + side] = 5
    drawn[10, 10:12] = 1
    own = np.ones((20, 20), dtype=bool)
    _grow_small(drawn, scaled, own, part, np.array([1.0, 3.0]), np.array([0, 1]), 10)
    assert np.count_nonzero(drawn == 1) == n_drawn
