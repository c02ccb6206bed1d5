"""The recipe of the Mask R-CNN that ships, and how its benchmark counts."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("galsim", reason="simulates fields with GalSim")
torch = pytest.importorskip("torch", reason="trains a net")
pytest.importorskip("sep", reason="is what the net is compared with")

from benchmarks import (  # noqa: E402
    bench_instances,
    class_fields,
    instance_fields,
    instance_mix,
    train_shipped_instances,
    tune_shipped_instances,
)
from benchmarks.galaxy_scenes import make_scene  # noqa: E402
from galaxysegment import Instances, MaskRCNNSegmenter  # noqa: E402
from galaxysegment.persistence import load  # noqa: E402
from galaxysegment.segmenters._score_scale import ScoreScale  # noqa: E402
from galaxysegment.structures import GALAXY, STAR  # noqa: E402


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for small fields of groups."""
    monkeypatch.setattr(instance_fields, "SHAPE", (96, 96))
    monkeypatch.setattr(instance_fields, "PATCH", 64)
    monkeypatch.setattr(instance_fields, "LARGEST", 60)
    monkeypatch.setattr(instance_fields, "BATCH", 2)
    monkeypatch.setattr(train_shipped_instances, "BATCH", 2)
    monkeypatch.setattr(instance_fields, "FIRST_LARGE", 1)
    monkeypatch.setattr(instance_fields, "N_GROUPS", {False: (6, 7), True: (4, 5)})

    def simulate(seed, large=False):
        image, rms, instances = instance_fields.make_groups(np.random.default_rng(seed), large)
        return np.stack([image, rms]).astype(np.float32), instances

    monkeypatch.setattr(instance_fields, "simulate", simulate)
    monkeypatch.setattr(
        "benchmarks.train_shipped_weights.SHAPE", (96, 96)
    )  # of the noise of a field
    return tmp_path


def test_groups_have_masks_of_their_own_light(folder):
    image, rms, sources = instance_fields.make_groups(np.random.default_rng(5), True)
    assert len(sources) > 3 and set(sources.classes) <= {GALAXY, STAR}
    assert sources.to_mask().sum() < sources.areas.sum()  # some overlap
    inside, level = sources.to_mask(), np.median(image)
    assert np.median((image - level)[inside] / rms[inside]) > 1


def test_fields_come_back_from_disk(folder):
    planes, sources = instance_fields.cached(7, folder)
    again = instance_fields.cached(7, folder)
    np.testing.assert_array_equal(again[0], planes)
    assert again[1] == sources
    large = instance_fields.cached(7, folder, "large")[1]
    assert large != sources


@pytest.mark.parametrize("seed", range(4))
def test_sources_turn_with_their_image(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((20, 30), dtype=int)
    labels[2:5, 3:9], labels[10, 20:29] = 1, 2
    sources = Instances.from_label_map(labels, classes=[1, 2])
    image, turned = instance_fields.turned(labels[None].astype(np.float32), sources, rng)
    np.testing.assert_array_equal(turned.to_label_map(), image[0])
    assert turned.shape == image.shape[1:]


def test_the_training_goes_on_where_it_stopped(folder):
    options = SimpleNamespace(
        folder=folder, core_minutes=0.02, fields=2, begin_with=2, lr=1e-3, seed=1, begin=None
    )
    first = train_shipped_instances.make_segmenter(1)
    train_shipped_instances.train(first, options)
    state = torch.load(folder / "state.pt", weights_only=True)["module"]
    before = (folder / "state.json").read_text()
    second = train_shipped_instances.make_segmenter(2)
    train_shipped_instances.train(second, options)  # its time is used up: no step is taken
    for name, tensor in second.net_.module_.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert '"patches": 0' not in before
    options.core_minutes *= 2
    train_shipped_instances.train(second, options)
    changed = second.net_.module_.state_dict()
    assert not torch.equal(changed["backbone.fine.weight"], state["backbone.fine.weight"])


def test_the_second_training_begins_with_the_first(folder, monkeypatch):
    monkeypatch.setattr(instance_mix, "WIDE", 96)
    monkeypatch.setitem(instance_mix.COURSES, 2, ("spread", "negative", "stars", "noise"))
    monkeypatch.setattr(instance_mix, "simulate", instance_fields.simulate)
    monkeypatch.setattr(instance_mix, "LARGEST", 60)
    first = train_shipped_instances.make_segmenter(1).net_.module_
    layer = first.backbone.body.decoder[3][1]
    layer.running_var[:] = torch.arange(128.0)
    layer.running_var[:5] = np.inf
    torch.save({"module": first.state_dict()}, folder / "first.pt")
    second = train_shipped_instances.make_segmenter(2, folder / "first.pt")
    assert second.anchor_sizes_ == train_shipped_instances.SECOND_ANCHORS
    layer = second.net_.module_.backbone.body.decoder[3][1]
    assert layer.running_var.tolist() == [*[1.0] * 5, *range(5, 128)]
    options = SimpleNamespace(
        folder=folder,
        core_minutes=0.03,
        fields=4,
        begin_with=4,
        lr=1e-3,
        seed=3,
        begin=folder,
        course=2,
    )
    fields = train_shipped_instances.train(second, options)
    module, name = second.net_.module_, "backbone.fine.weight"
    before, after = (net.state_dict()[name].clone() for net in (first, module))
    assert 0 < (after - before).abs().max() < 0.1
    train_shipped_instances.average(module, folder / "first.pt", fields, 0.3, n_batches=2)
    torch.testing.assert_close(module.state_dict()[name], 0.7 * after + 0.3 * before)
    assert layer.num_batches_tracked == 2 and layer.momentum == 0.1


def test_a_training_begins_with_a_file(tmp_path):
    """The file keeps half floats, so the weights are equal to three digits."""
    first = train_shipped_instances.make_segmenter(1)
    train_shipped_instances.write(first, tmp_path / "first.safetensors")
    weights = train_shipped_instances.read_weights(tmp_path / "first.safetensors")
    known = first.net_.module_.state_dict()
    assert list(weights) == list(known)
    name = "backbone.fine.weight"
    torch.testing.assert_close(weights[name], known[name], rtol=1e-3, atol=1e-6)


def test_kinds_of_fields(monkeypatch):
    monkeypatch.setattr(instance_fields, "SHAPE", (200, 200))
    monkeypatch.setattr(class_fields, "SHAPE", (200, 200))
    monkeypatch.setattr("benchmarks.train_shipped_weights.SHAPE", (200, 200))
    kinds = itertools.chain(*instance_mix.COURSES.values())
    for number, kind in enumerate(dict.fromkeys(kinds)):
        planes, sources = instance_mix.simulate_kind(40 + number, kind)
        assert planes.shape == (2, 200, 200) and np.nanmin(planes[1]) > 0
        assert (len(sources) == 0) == (kind in ("negative", "noise"))
        assert sources.shape == (200, 200)
        if kind == "spread":
            assert set(sources.classes) == {GALAXY}
        if kind in ("stars", "starry"):
            assert set(sources.classes) == {GALAXY, STAR}


def test_sources_of_a_host():
    """A companion that shows has a label, on top of the galaxy; a drowned one has none."""
    scene = make_scene(2**31 + 5, kind="elliptical", side=160, n_companions=0)
    y, x = np.indices((160, 160))
    middle = np.rint(scene.centres[0]).astype(int)
    spot = np.exp(-((y - middle[0] - 12) ** 2 + (x - middle[1]) ** 2) / 6).astype(np.float32)
    galaxy = scene.light[0]
    level = galaxy[middle[0] + 12, middle[1]]
    for share, n_sources in ((2.0, 2), (0.1, 1)):
        light = np.stack([galaxy, (share * level + 40 * (share > 1)) * spot])
        changed = replace(scene, light=light, is_star=np.array([False, True]))
        sources = instance_mix.sources_of(changed)
        assert sources.classes.tolist() == [GALAXY, STAR][:n_sources]
        assert sources.masks[0][middle[0], middle[1]]
        np.testing.assert_array_less(changed.rms[sources.masks[0]], galaxy[sources.masks[0]])


def test_patches_of_the_third_training(folder, monkeypatch):
    """No patch crosses the squares of a field with four galaxies."""
    monkeypatch.setattr(instance_mix, "WIDE", 48)
    monkeypatch.setattr(instance_mix, "WIDEST", 90)
    monkeypatch.setattr(instance_fields, "PATCH", 40)
    monkeypatch.setitem(instance_mix.WIDEST_SHARE, 3, 0.5)
    monkeypatch.setitem(instance_mix.COURSES, 3, ("hosts", "giant", "spread"))
    segmenter = train_shipped_instances.make_segmenter(1)
    fields = instance_mix.MixedFields(segmenter, folder, 70, course=3)
    for _ in range(3):
        fields.add()
    rng, side = np.random.default_rng(0), instance_fields.SHAPE[0] // 2
    shapes = {tuple(fields.batch(rng, step).images.shape) for step in range(0, 60, 3)}
    assert shapes == {(1, 1, 96, 96), (2, 1, 64, 64)}  # padded
    number = np.arange(2 * side) // side
    planes = np.stack([2.0 * number[:, None] + number] * 2)  # of the square
    monkeypatch.setattr(segmenter, "_scale_all", lambda images: [image[1:] for image in images])
    seen = set()
    for _ in range(20):
        image, _ = fields._in_square((planes, None, fields.fields[0][2], "hosts"), rng, 40)
        assert image.shape == (1, 40, 40) and np.ptp(image) == 0
        seen.add(image[0, 0, 0])
    assert seen == {0, 1, 2, 3}


def test_scores_become_probabilities():
    rng = np.random.default_rng(0)
    labels = np.zeros((100, 100), dtype=int)
    for index in range(25):
        y, x = divmod(index, 5)
        labels[20 * y : 20 * y + 10, 20 * x : 20 * x + 10] = index + 1
    truth, predicted = [], []
    for _ in range(80):
        everything = Instances.from_label_map(labels)
        scores = rng.uniform(0.2, 1, size=25).astype(np.float32)
        truth.append(everything.select(rng.uniform(size=25) < np.sqrt(scores)))
        predicted.append(Instances(labels.shape, everything.boxes, everything.crops, scores))
    scale = train_shipped_instances.fit_scale([truth], [predicted])
    for score in (0.3, 0.5, 0.7):
        assert scale.apply(score) == pytest.approx(np.sqrt(score), abs=0.06)


def test_the_surest_of_two_masks_is_the_true_one():
    labels = np.zeros((20, 20), dtype=int)
    labels[2:10, 2:10] = 1
    truth = Instances.from_label_map(labels)
    less = np.zeros((8, 8), dtype=bool)
    less[:6] = True
    box = truth.boxes[0]
    predicted = Instances(labels.shape, [box, box], [less, truth.crops[0]], [0.9, 0.3])
    scores, is_true = train_shipped_instances.scores_and_truth([truth], [predicted])
    assert scores.tolist() == pytest.approx([0.9, 0.3]) and is_true.tolist() == [True, False]


def test_the_file_has_half_floats_and_thresholds(folder, monkeypatch):
    monkeypatch.setattr(train_shipped_instances, "HELD_OUT", 50)
    monkeypatch.setattr(train_shipped_instances, "SPREAD_SIDES", (30, 60))
    scale = ScoreScale(1.2, 0.3)  # an untrained net has none
    monkeypatch.setattr(train_shipped_instances, "fit_scale", lambda *_: scale)
    segmenter = train_shipped_instances.make_segmenter(1)
    train_shipped_instances.tune(segmenter, folder, n_fields=2)
    path = folder / "net.safetensors"
    train_shipped_instances.write(segmenter, path)
    assert path.stat().st_size < 7e6
    again = load(path)
    assert again.score_threshold_ == segmenter.score_threshold_
    assert again.scores_ == "source" and again._score_scale == scale


def test_the_rule_for_stars_is_settled_on_fields(monkeypatch, capsys):
    monkeypatch.setattr(class_fields, "SHAPE", (200, 200))
    net = MaskRCNNSegmenter(weights="blends", rms_band=-1)
    net._ready_net()
    shipped = net._star_rule
    planes, truth = tune_shipped_instances.make_starry(5001)
    rows = tune_shipped_instances.evidence_of(net, planes, truth)
    assert net._star_rule is shipped and len(rows) > 10
    assert set(rows[:, 1]) == {0, 1} and np.isfinite(rows).all() and rows[:, 0].max() > 50
    tune_shipped_instances.settle_rule(net, ((5001, 5003), ()))
    assert net._star_rule != shipped and net._star_rule.image > 0
    assert "sources right" in capsys.readouterr().out


def test_each_source_takes_one_peak():
    labels = np.zeros((20, 30), dtype=int)
    labels[5:10, 5:10], labels[5:10, 20:25] = 1, 2
    image = np.zeros(labels.shape)
    image[9, 5] = 5  # the brightest pixel of the first source
    sources = Instances.from_label_map(labels)
    peaks = np.array([[4.0, 9.0], [7.0, 7.0], [22.0, 8.0], [15.0, 15.0]])
    matched = bench_instances.matched_peaks(sources, image, peaks)
    assert matched[:2].sum() == 1 and matched[2:].tolist() == [True, False]
    counts = bench_instances.count([sources], [image[None]], [peaks])
    assert counts.tolist() == [[2, 4, 2]]
    assert bench_instances.f1(counts) == pytest.approx(4 / 6)
    assert bench_instances.covered([sources], [peaks]) == 0.5
    nothing = Instances(labels.shape, [], [])
    assert not bench_instances.matched_peaks(nothing, image, peaks).any()


def test_right_classes():
    labels = np.zeros((20, 30), dtype=int)
    labels[2:8, 2:8], labels[2:8, 20:26], labels[12:18, 2:8] = 1, 2, 3
    truth = Instances.from_label_map(labels, classes=[GALAXY, STAR, STAR])
    predicted = Instances.from_label_map(labels, classes=[GALAXY, GALAXY, STAR])
    assert bench_instances.right_classes(truth, predicted) == [(1.0, 1), (0.5, 2)]


def test_bands_are_weighted_by_their_variance():
    weights = np.array([[[1.0, 0.0]], [[3.0, 0.0]]])
    mean, rms = bench_instances.coadd(np.array([[[4.0, 1.0]], [[8.0, 1.0]]]), weights)
    assert mean[0, 0] == 7 and rms[0, 0] == 0.5 and np.isnan([mean[0, 1], rms[0, 1]]).all()
