"""The second course of the net that tells sources from the sky."""

import sys

import numpy as np
import pytest

pytest.importorskip("galsim", reason="simulates fields with GalSim")
torch = pytest.importorskip("torch", reason="trains a net")

from benchmarks import (  # noqa: E402
    class_fields,
    source_fields,
    train_shipped_sources,
    train_shipped_weights,
)
from galaxysegment import UNetSegmenter  # noqa: E402
from galaxysegment.export import net_inputs  # noqa: E402
from galaxysegment.structures import GALAXY, SKY, VOID  # noqa: E402

SIDE = 64


def simulate(seed):
    """Make a small field with one round source and one pixel without data."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIDE, SIDE))
    light = 60 * np.exp(-((y - rng.uniform(15, 50)) ** 2 + (x - 30) ** 2) / 32)
    planes = np.stack([rng.normal(size=(SIDE, SIDE)) + light, np.ones((SIDE, SIDE))])
    truth = np.stack([np.where(light > 1, GALAXY, SKY), light > 1]).astype(np.int32)
    planes[0, 0, 0], truth[0, 0, 0] = np.nan, VOID
    return planes.astype(np.float32), truth


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for small fields."""
    for module in (class_fields, source_fields):
        monkeypatch.setattr(module, "SHAPE", (SIDE, SIDE))
    monkeypatch.setattr(class_fields, "PATCH", 32)
    monkeypatch.setattr(class_fields, "BATCH", 2)
    monkeypatch.setattr(source_fields, "simulate_known", simulate)
    monkeypatch.setattr(source_fields, "simulate_hard", lambda seed: simulate(seed + 1))
    monkeypatch.setattr(train_shipped_sources, "HELD_OUT", range(2))
    monkeypatch.setattr(train_shipped_sources, "N_MEASURED", 2)
    return tmp_path


def start():
    return train_shipped_sources.beginning(None, 0)


def test_the_course_ends_with_a_net_between_the_first_and_the_last(folder, monkeypatch):
    path = folder / "net.safetensors"
    numbers = {"--steps": 2, "--fields": 3, "--begin-with": 2, "--every": 2}
    options = [str(word) for pair in numbers.items() for word in pair]
    options += ["--output", str(path), "--folder", str(folder)]
    monkeypatch.setattr(sys, "argv", ["train", *options])
    train_shipped_sources.main()
    first = start().net_.module_.state_dict()["encoder.0.0.weight"]
    states = []
    for name in ("step_00002.safetensors", path.name):
        unet = UNetSegmenter(weights=folder / name, rms_band=-1)
        unet._ready_net()
        states.append(unet.net_.module_.state_dict()["encoder.0.0.weight"])
    last, shipped = states
    assert (last - first).abs().max() > 1e-4
    expected = first + train_shipped_sources.LEARNT * (last - first)
    torch.testing.assert_close(shipped, expected, rtol=1e-3, atol=1e-4)
    assert unet.threshold_ == 0.5 and not hasattr(unet, "calibration_")
    planes, truth = simulate(5)
    mask = unet.predict(planes[None])[0] > 0
    assert (mask & (truth[0] == GALAXY)).sum() > 0.8 * mask.sum() > 0


def test_half_of_the_fields_are_hard_and_half_of_these_are_seen_in_quarters(folder, monkeypatch):
    unet, sides, seeds = start(), [], []
    seen, cached = source_fields.seen, source_fields.cached

    def watched(unet, planes, truth):
        sides.append(planes.shape[-1])
        return seen(unet, planes, truth)

    def noted(seed, folder, make):
        seeds.append((seed, make))
        return cached(seed, folder, make)

    monkeypatch.setattr(source_fields, "seen", watched)
    monkeypatch.setattr(source_fields, "cached", noted)
    fields = source_fields.Fields(unet, folder, 1000)
    for _ in range(4):
        fields.add()
    known, hard = source_fields.simulate_known, source_fields.simulate_hard
    weak = 1000 + source_fields.WEAK_SEEDS
    assert seeds == [(1000, known), (weak + 1, hard), (1001, known), (weak + 3, hard)]
    assert sides == [SIDE, SIDE, SIDE, *[SIDE // 2] * 4]
    planes, truth = cached(weak + 3, folder, None)
    scaled, classes = fields.fields[3]
    corner = planes[:, SIDE // 2 :, : SIDE // 2]
    (expected,) = net_inputs(unet, corner[None])
    np.testing.assert_array_equal(scaled[:, SIDE // 2 :, : SIDE // 2], expected)
    np.testing.assert_array_equal(classes, truth[0])
    assert classes[0, 0] == VOID and scaled[0, 0, 0] == 0


@pytest.mark.parametrize("kind, draw", [("large", 0.2), ("negative", 0.4), ("weak", 0.9)])
def test_hard_fields_have_the_truth_of_sources_alone(kind, draw, monkeypatch):
    for module in (class_fields, source_fields, train_shipped_weights):
        monkeypatch.setattr(module, "SHAPE", (128, 128))
    seed = next(s for s in range(99) if abs(np.random.default_rng([s, 19]).uniform() - draw) < 0.05)
    planes, truth = source_fields.simulate_hard(seed)
    assert planes.dtype == np.float32 and truth.dtype == np.int32
    assert set(np.unique(truth[0])) <= {VOID, SKY, GALAXY}
    np.testing.assert_array_equal(truth[1] > 0, truth[0] == GALAXY)
    np.testing.assert_array_equal(np.isnan(planes[0]), truth[0] == VOID)
    if kind == "negative":
        assert not truth[1].any()
        middle = np.nanmedian(planes[0])
        assert middle - np.nanmin(planes[0]) > np.nanmax(planes[0]) - middle


def test_known_fields_are_those_of_the_first_course(monkeypatch):
    monkeypatch.setattr(train_shipped_weights, "SHAPE", (128, 128))
    monkeypatch.setattr(train_shipped_weights, "add_defects", lambda image, *_: image)
    planes, truth = source_fields.simulate_known(3)
    image, labels = train_shipped_weights.simulate(3)
    np.testing.assert_array_equal(planes, image)
    np.testing.assert_array_equal(truth, [np.where(labels > 0, GALAXY, SKY), labels])


def test_norms_are_those_of_the_batches(folder):
    unet = start()
    fields = source_fields.Fields(unet, folder, 7)
    fields.add()
    norm = unet.net_.module_.encoder[0][1]
    with torch.no_grad():
        norm.running_mean.add_(100)
    train_shipped_sources.measure_norms(unet.net_.module_, fields)
    rng, means = np.random.default_rng(1), []
    for _ in range(2):
        images = fields.batch(rng)[0]
        means.append(unet.net_.module_.encoder[0][0](images).mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_mean, sum(means) / 2, rtol=0.05, atol=0.02)
    assert norm.momentum == 0.1 and not norm.training
