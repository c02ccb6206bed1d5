"""A U-Net that tells several classes of pixels apart: training, votes, panoptic maps, files."""

import copy

import numpy as np
import pytest
from sklearn.base import clone

from galaxysegment import UNetSegmenter
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment.base import ScoreMaps
from galaxysegment.catalog import source_catalog
from galaxysegment.coco import from_coco_panoptic, to_coco_panoptic
from galaxysegment.metrics import panoptic_quality
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.persistence import load, save
from galaxysegment.segmenters._pixel_classes import (
    classes_of_sums,
    rescaled,
    with_class_head,
    without_rims,
)
from galaxysegment.segmenters._star_rule import StarRule
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR, STUFF, Instances

CODES = (GALAXY, STAR, ARTEFACT)


def scene(seed, side=64):
    """Wide blobs are galaxies, narrow ones stars, bright rows trails; returns X and panoptic y."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((side, side))
    image = rng.standard_normal((side, side))
    semantic, labels = np.zeros((2, side, side), dtype=np.int32)
    kinds = [(GALAXY, 5.0, 15.0), (STAR, 1.6, 300.0)] * 2
    for label, (code, sigma, peak) in enumerate(kinds, start=1):
        y, x = rng.uniform(10, side - 10, 2)
        light = peak * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
        image += light
        semantic[light > 3], labels[light > 3] = code, label
    row = int(rng.integers(4, side - 4))
    image[row : row + 2] += 30
    semantic[row : row + 2], labels[row : row + 2] = ARTEFACT, 0
    return image.astype(np.float32), np.stack([semantic, labels])


@pytest.fixture(scope="module")
def data():
    images, truths = zip(*(scene(seed) for seed in range(12)), strict=True)
    return np.stack(images), np.stack(truths)


@pytest.fixture(scope="module")
def unet(data):
    unet = UNetSegmenter(
        classes=CODES,
        base_width=6,
        depth=3,
        dropout=0,
        max_epochs=40,
        batch_size=3,
        lr=0.01,
        validation_fraction=0,
        n_views=1,
        random_state=0,
    )
    return unet.fit(*data)


def test_panoptic_maps_name_galaxies_stars_and_stuff(unet):
    images, truths = map(np.stack, zip(*(scene(seed) for seed in range(100, 105)), strict=True))
    panoptic = unet.predict(images, output="panoptic")
    assert panoptic.dtype == np.int32 and panoptic.shape == truths.shape
    for code in CODES:
        both = np.count_nonzero((panoptic[:, 0] == code) & (truths[:, 0] == code))
        either = np.count_nonzero((panoptic[:, 0] == code) | (truths[:, 0] == code))
        assert both > 0.5 * either, code
    things = np.isin(panoptic[:, 0], (GALAXY, STAR))
    np.testing.assert_array_equal(panoptic[:, 1] > 0, things)
    np.testing.assert_array_equal(panoptic[:, 1], unet.predict(images))


def test_sources_have_classes_and_scores(unet):
    images, truths = map(np.stack, zip(*(scene(seed) for seed in range(100, 105)), strict=True))
    right = []
    for sources, truth in zip(unet.predict(images, output="instances"), truths, strict=True):
        assert ((sources.scores > 0.3) & (sources.scores <= 1)).all()
        for (y0, x0, y1, x1), crop, code in zip(
            sources.boxes, sources.crops, sources.classes, strict=True
        ):
            inside = truth[0, y0:y1, x0:x1][crop]
            right.append(code == np.bincount(inside, minlength=4)[1:3].argmax() + 1)
    assert len(right) > 12
    assert np.mean(right) > 0.8


def test_class_probabilities_add_up(unet, data):
    image = data[0][:2].copy()
    image[0, :5] = np.nan
    proba = unet.predict_class_proba(image)
    assert proba.shape == (2, 4, 64, 64) and proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(proba[0, 0, :5], 1)
    things = proba[:, 1] + proba[:, 2]
    np.testing.assert_allclose(things, unet.predict_proba(image), atol=1e-5)
    np.testing.assert_array_equal(unet.pixel_classes_, [0, *CODES])


def test_calibration_moves_classes_along(unet, data):
    calibrated = copy.deepcopy(unet).calibrate(data[0], data[1], method="temperature")
    proba = calibrated.predict_class_proba(data[0][:1])
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        proba[:, 1] + proba[:, 2], calibrated.predict_proba(data[0][:1]), atol=1e-5
    )
    np.testing.assert_array_equal(calibrated.predict(data[0]), unet.predict(data[0]))


def test_a_model_file_keeps_the_classes(unet, data, tmp_path):
    save(unet, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(
        again.predict(data[0], output="panoptic"), unet.predict(data[0], output="panoptic")
    )
    named = UNetSegmenter(weights=tmp_path / "net.safetensors", n_views=1)
    np.testing.assert_array_equal(
        named.predict(data[0], output="panoptic"), unet.predict(data[0], output="panoptic")
    )
    tuned = clone(named).set_params(max_epochs=1, validation_fraction=0).fit(*data)
    np.testing.assert_array_equal(tuned.pixel_classes_, [0, *CODES])
    other = UNetSegmenter(weights=tmp_path / "net.safetensors", classes=(1, 2))
    with pytest.raises(ValueError, match="the net of the file has"):
        other.predict(data[0])


@pytest.mark.parametrize("classes", [[1, 2], [1, 1, 2], 7, ["a"], None])
def test_a_file_whose_classes_do_not_fit_its_net_is_refused(tmp_path, classes):
    unet = UNetSegmenter(weights="vis", classes=CODES)
    path = tmp_path / "net.safetensors"
    save(unet, path)
    tree = read_model_file(path)
    tree["state"]["classes"] = classes
    write_model_file(path, tree)
    with pytest.raises(ValueError, match="cannot be used"):
        UNetSegmenter(weights=path).predict(np.zeros((1, 32, 32), dtype=np.float32))


def test_a_net_of_one_class_learns_more(data):
    start = UNetSegmenter(weights="vis", classes=CODES, n_views=1)
    plain = UNetSegmenter(weights="vis", n_views=1)
    image = data[0][:1]
    np.testing.assert_allclose(start.predict_proba(image), plain.predict_proba(image), atol=0.03)
    tuned = start.set_params(max_epochs=2, validation_fraction=0, lr=1e-3).fit(
        data[0][:4], data[1][:4]
    )
    assert np.isfinite(tuned.history_[-1]["train_loss"])


def test_ignored_pixels_do_not_count(data):
    """The net learns otherwise than if they were sky, and whatever number they have."""
    images, losses = data[0][:2], {}
    for code, number in ((-1, 0), (-1, 7), (SKY, 0)):
        truths = data[1][:2].copy()
        truths[:, 0, :32], truths[:, 1, :32] = code, number
        unet = UNetSegmenter(classes=CODES, base_width=4, depth=2, max_epochs=1, random_state=0)
        losses[code, number] = unet.fit(images, truths).history_[0]["train_loss"]
    assert losses[-1, 0] == losses[-1, 7]
    assert abs(losses[-1, 0] - losses[SKY, 0]) > 0.01


def test_instances_with_classes_are_a_truth(data):
    sources = [
        Instances.from_panoptic(truth * np.isin(truth[0], (GALAXY, STAR))) for truth in data[1][:3]
    ]
    unet = UNetSegmenter(classes=(1, 2), base_width=4, depth=2, max_epochs=1, random_state=0)
    assert unet.fit(data[0][:3], sources).pixel_classes_.tolist() == [0, 1, 2]


def test_a_truth_without_classes_is_refused(data):
    unet = UNetSegmenter(classes=(1, 2), base_width=4, depth=2, max_epochs=1)
    with pytest.raises(ValueError, match="must be a panoptic map"):
        unet.fit(data[0], data[1][:, 1])
    with pytest.raises(ValueError, match="has no classes"):
        unet.fit(data[0][:2], [Instances.from_label_map(truth[1]) for truth in data[1][:2]])
    with pytest.raises(ValueError, match="holds the class 3"):
        unet.fit(data[0], data[1])
    with pytest.raises(ValueError, match="11 targets"):
        unet.fit(data[0], data[1][:-1])


@pytest.mark.parametrize("classes", [(), (1, 1), (0, 1)])
def test_bad_classes_are_refused(data, classes):
    with pytest.raises(ValueError, match="classes must be different"):
        UNetSegmenter(classes=classes).fit(*data)


def test_classes_without_sources_are_refused(data):
    with pytest.raises(ValueError, match=r"must hold 1 \(galaxy\) or 2 \(star\), or both"):
        UNetSegmenter(classes=(3, 4)).fit(*data)


def test_classes_and_a_module_of_your_own_are_refused(data):
    with pytest.raises(ValueError, match="leave classes=None"):
        UNetSegmenter(classes=CODES, class_weight="balanced").fit(*data)


def test_a_net_without_classes_has_no_class_probabilities(data):
    unet = UNetSegmenter(weights="vis", n_views=1)
    with pytest.raises(ValueError, match="no classes apart"):
        unet.predict_class_proba(data[0][:1])
    assert unet.pixel_classes_.tolist() == [0, 1]


def test_votes_and_rescaling():
    labels = np.array([[1, 1, 2], [0, 2, 2]], dtype=np.int32)
    classes = np.zeros((4, 2, 3))
    classes[1] = [[0.9, 0.2, 0.1], [0.0, 0.1, 0.6]]
    classes[2] = [[0.05, 0.6, 0.8], [0.0, 0.8, 0.3]]
    classes[0] = 1 - classes[1:].sum(axis=0)
    n_pixels = np.array([2.0, 3.0])
    votes = np.stack([classes[:, labels == label].sum(axis=1) for label in (1, 2)], axis=1)
    assert classes_of_sums(n_pixels, votes, CODES).tolist() == [GALAXY, STAR]
    assert classes_of_sums(n_pixels[:0], votes[:, :0], CODES).tolist() == []
    moved = rescaled(classes, np.array([False, True, True, False]), np.full((2, 3), 0.5))
    np.testing.assert_allclose(moved.sum(axis=0), np.where(classes[0] == 1, 0.5, 1))
    sure = np.array([1e-9, 0.7, 0.3, 1e-10], dtype=np.float32)[:, None, None]
    moved = rescaled(sure, np.array([False, True, True, False]), np.full((1, 1), 0.999))
    np.testing.assert_allclose(moved.sum(axis=0), 1, rtol=1e-5)


def rims_and_sources(signal_of_rim=0.5):
    """Scaled image and maps of a cosmic ray with a rim, a source beside one, and a source alone."""
    light = np.zeros((48, 48))
    rim, beside, alone = np.zeros((3, 48, 48), dtype=bool)
    artefact = np.zeros((48, 48), dtype=bool)
    artefact[8:12, 8:20] = artefact[30:33, 8:20] = True
    rim[6:14, 6:22] = True
    rim &= ~artefact
    rim[8:12] = False  # two strips
    beside[34:44, 10:18], alone[20:24, 34:40] = True, True
    light[rim], light[artefact], light[beside], light[alone] = signal_of_rim, 50, 3, 0.5
    proba = np.full((4, 48, 48), 0.01)
    proba[0] = 0.97
    for inside, row in ((artefact, 3), (rim | beside | alone, 1)):
        proba[:, inside] = 0.05
        proba[row, inside] = 0.85
    maps = ScoreMaps(proba[1] + proba[2], classes=proba)
    return np.arcsinh(light)[np.newaxis], maps, rim, beside | alone


def test_rims_of_artefacts_are_no_sources():
    scaled, maps, rim, sources = rims_and_sources()
    light = without_rims(maps, scaled, CODES, 0.5)
    assert (light[rim] == 0).all()
    np.testing.assert_array_equal(light[~rim], maps.light[~rim])
    assert (light[sources] > 0.5).all()


@pytest.mark.parametrize(
    "change", ["bright", "large", "no artefact", "artefacts unknown", "no source"]
)
def test_what_is_no_rim_stays(change):
    scaled, maps, _, _ = rims_and_sources(signal_of_rim=5 if change == "bright" else 0.5)
    codes, threshold = CODES, 0.5
    if change == "large":
        maps.light[12:19, 6:22] = 0.9  # both strips grow beyond 64 pixels
        maps.light[:7, 6:22] = 0.9
    elif change == "no artefact":
        maps.classes[3] = 0
    elif change == "artefacts unknown":
        codes = (GALAXY, STAR)
    elif change == "no source":
        threshold = 0.99
    np.testing.assert_array_equal(without_rims(maps, scaled, codes, threshold), maps.light)


def test_several_bands_count_together():
    scaled, maps, rim, _ = rims_and_sources()
    assert (without_rims(maps, np.repeat(scaled, 3, axis=0), CODES, 0.5)[rim] == 0).all()
    brighter = np.arcsinh(np.repeat(np.sinh(scaled), 9, axis=0) * 1.5)  # 1.5 sigma in 9 bands
    np.testing.assert_array_equal(without_rims(maps, brighter, CODES, 0.5), maps.light)


def test_tiles_drop_the_rims_that_the_whole_drops(unet, monkeypatch):
    """A net that says what its image is: 5 artefact, 1 source."""

    def told(scaled_images):
        return [np.stack([x[0] == 0, x[0] == 1, 0 * x[0], x[0] == 5]) * 1.0 for x in scaled_images]

    told_net = copy.deepcopy(unet)
    image = np.zeros((1, 300, 300), dtype=np.float32)
    rng = np.random.default_rng(0)
    for y, x in rng.integers(4, 286, (60, 2)):
        image[0, y : y + 5, x : x + rng.integers(3, 9)] = 1
        if rng.uniform() < 0.5:
            image[0, y + 1 : y + 4, x + 1 : x + 4] = 5
    monkeypatch.setattr(told_net, "_net_proba", told)
    monkeypatch.setattr(told_net, "_scale_all", lambda images: images)
    told_net.set_params(deblend=False, bridge=0, no_data="nan")
    whole = told_net.predict(image[np.newaxis])[0]
    assert 0 < whole.max() < 60
    tiled = segment_mosaic(told_net, image, tile_size=110, progress=False)
    np.testing.assert_array_equal(tiled, whole)


def test_a_head_for_several_classes_keeps_the_probability_of_a_source():
    rng = np.random.default_rng(0)
    head = {"head.weight": rng.normal(size=(1, 5, 1, 1)), "head.bias": rng.normal(size=1)}
    state = with_class_head({"tensors": head, "module_params": {"n_bands": 1}}, CODES)
    features = rng.normal(size=5)
    logit = features @ head["head.weight"][0, :, 0, 0] + head["head.bias"][0]
    new = state["tensors"]["head.weight"][:, :, 0, 0] @ features + state["tensors"]["head.bias"]
    odds = np.exp(new)
    things = (odds[1] + odds[2]) / odds.sum()
    np.testing.assert_allclose(things, 1 / (1 + np.exp(-logit)), atol=0.02)
    assert state["module_params"]["n_outputs"] == 4 and state["classes"] == list(CODES)


def test_stuff_survives_scoring_and_coco(unet, tmp_path):
    images, truths = map(np.stack, zip(*(scene(seed) for seed in range(100, 103)), strict=True))
    panoptic = unet.predict(images, output="panoptic")
    quality = panoptic_quality(truths, panoptic, stuff=STUFF)
    assert {0, *CODES} <= set(quality.per_class)
    assert quality.per_class[ARTEFACT].tp >= 1
    assert quality.stuff.pq > 0.5
    assert "artefact" in str(quality)
    document = to_coco_panoptic(panoptic, tmp_path / "maps.json")
    is_thing = {entry["name"]: entry["isthing"] for entry in document["categories"]}
    assert is_thing == {"sky": 0, "galaxy": 1, "star": 1, "artefact": 0}
    again = np.stack(from_coco_panoptic(tmp_path / "maps.json"))
    np.testing.assert_array_equal(again[:, 0], panoptic[:, 0])
    np.testing.assert_array_equal(again[:, 1] > 0, panoptic[:, 1] > 0)
    assert panoptic_quality(panoptic, again, stuff=STUFF).pq == 1


def test_a_mosaic_gives_the_classes_of_the_whole(unet, tmp_path):
    image, _ = scene(300, side=192)
    whole = unet.predict([image], output="instances")[0]
    options = {"kind": "instances", "tile_size": 96, "progress": False}
    tiled = segment_mosaic(unet, image, **options)
    assert set(whole.classes) == {GALAXY, STAR}
    maps = [
        np.concatenate([[0], sources.classes])[sources.to_label_map()] for sources in (whole, tiled)
    ]
    assert np.mean(maps[0] != maps[1]) < 0.002  # seams of nets
    path = segment_mosaic(unet, image, output=tmp_path / "map.fits", **options)
    catalog = source_catalog(path, image)
    np.testing.assert_array_equal(catalog["class"], tiled.classes)
    np.testing.assert_allclose(catalog["score"], tiled.scores)
    segment_mosaic(unet, image, output=path, **{**options, "kind": "labels"}, overwrite=True)
    assert "class" not in source_catalog(path, image).colnames


def star_field():
    """Twelve stars of one width and eight wider galaxies; returns the image."""
    rng = np.random.default_rng(301)
    rows, columns = np.indices((192, 192))
    image = rng.standard_normal((192, 192))
    for index in range(20):
        sigma = 1.6 if index < 12 else rng.uniform(3, 5)
        y, x = 20 + 38 * (index // 4), 22 + 45 * (index % 4) + rng.uniform(-5, 5)
        peak = 10 ** rng.uniform(1.5, 2.5)
        image += peak * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
    return image.astype(np.float32)


@pytest.fixture
def ruled(unet):
    """The net with a rule for stars that trusts the comparison of the sources."""
    ruled = copy.deepcopy(unet)
    ruled._star_rule = StarRule(image=1.0, votes=0.01, shift=0.0, limit=4.0)
    return ruled


def test_tiles_compare_the_sources_of_the_whole_image(ruled):
    image = star_field()
    whole = ruled.predict([image], output="instances")[0]
    panoptic = ruled.predict([image], output="panoptic")[0]
    options = {"kind": "instances", "tile_size": 96, "progress": False}
    tiled = segment_mosaic(ruled, image, **options)
    assert np.count_nonzero(whole.classes == STAR) > 3 < np.count_nonzero(whole.classes == GALAXY)
    maps = [
        np.concatenate([[0], sources.classes])[sources.to_label_map()] for sources in (whole, tiled)
    ]
    assert np.mean(maps[0] != maps[1]) < 0.002  # seams of nets
    inside = panoptic[1] > 0
    np.testing.assert_array_equal(panoptic[0][inside], maps[0][inside])


def test_a_model_file_keeps_the_rule_and_training_drops_it(ruled, data, tmp_path):
    image = star_field()
    save(ruled, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert again._star_rule == ruled._star_rule
    np.testing.assert_array_equal(
        again.predict([image], output="panoptic")[0], ruled.predict([image], output="panoptic")[0]
    )
    named = UNetSegmenter(weights=tmp_path / "net.safetensors", max_epochs=1)
    assert named.fit(data[0][:4], data[1][:4])._star_rule is None


@pytest.mark.parametrize("rule", [[1, 2], [1, -1, 0, 3], ["a", 1, 0, 3], 7])
def test_a_file_with_a_bad_rule_is_refused(ruled, tmp_path, rule):
    path = tmp_path / "net.safetensors"
    save(ruled, path)
    tree = read_model_file(path)
    tree["state"]["star_rule"] = rule
    write_model_file(path, tree)
    with pytest.raises(ValueError, match="cannot be used"):
        UNetSegmenter(weights=path).predict(np.zeros((1, 32, 32), dtype=np.float32))
