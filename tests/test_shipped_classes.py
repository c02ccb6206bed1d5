"""The recipe of the net that tells galaxies, stars and artefacts apart."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("galsim", reason="simulates fields with GalSim")
torch = pytest.importorskip("torch", reason="trains a net")

from benchmarks import (  # noqa: E402
    bench_classes,
    class_fields,
    train_shipped_classes,
    tune_shipped_classes,
)
from galaxysegment import UNetSegmenter  # noqa: E402
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR, VOID  # noqa: E402

SIDE = 64


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with small fields in place of simulated ones."""

    def simulate(seed):
        rng = np.random.default_rng(seed)
        y, x = np.indices((SIDE, SIDE))
        planes = np.stack([rng.normal(size=(SIDE, SIDE)), np.ones((SIDE, SIDE))])
        truth = np.zeros((2, SIDE, SIDE), dtype=np.int32)
        for label, (kind, width) in enumerate(((GALAXY, 4.0), (STAR, 1.5)), start=1):
            cy, cx = rng.uniform(12, 24), rng.uniform(12, SIDE - 12)
            cy += 30 * (kind == STAR)
            light = 60 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
            planes[0] += light
            truth[:, light > 1] = np.array([[kind], [label]])
        planes[0, 0, :5], truth[0, 0, :5] = np.nan, VOID
        return planes.astype(np.float32), truth

    monkeypatch.setattr(class_fields, "simulate", simulate)
    monkeypatch.setattr(class_fields, "SHAPE", (SIDE, SIDE))
    monkeypatch.setattr(class_fields, "PATCH", 32)
    monkeypatch.setattr(class_fields, "BATCH", 2)
    monkeypatch.setattr(tune_shipped_classes, "TUNING", range(910, 912))
    monkeypatch.setattr(tune_shipped_classes, "STARRY", range(912, 913))
    monkeypatch.setattr(tune_shipped_classes, "RULE_SEEDS", (range(910, 912), range(0)))
    return tmp_path


def options(folder, steps):
    """Options of a short training."""
    return SimpleNamespace(
        folder=folder, steps=4, stop=steps, fields=3, begin_with=2, lr=1e-3, every=2, seed=1
    )


def small_net():
    unet = UNetSegmenter(weights="vis", classes=class_fields.CLASSES, rms_band=-1, n_views=1)
    torch.manual_seed(0)
    unet._ready_net()
    return unet


def test_training_goes_on_where_it_stopped(folder):
    whole, part = small_net(), small_net()
    (folder / "a").mkdir(), (folder / "b").mkdir()
    for number, unet, stops in ((0, whole, [4]), (1, part, [2, 4])):
        for stop in stops:
            for module in unet.net_.module_.modules():
                if isinstance(module, torch.nn.Dropout2d):
                    module.p = 0.0  # its random numbers are not kept
            given = options(folder / "ab"[number], stop)
            fields = class_fields.Fields(unet, given.folder, given.seed * 100_000)
            test = [class_fields.prepared(unet, *class_fields.cached(900, given.folder))]
            train_shipped_classes.train(unet, given, fields, test)
    expected = whole.net_.module_.state_dict()
    for name, tensor in part.net_.module_.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0, msg=name)
    assert not torch.equal(expected["head.weight"], small_net().net_.module_.head.weight)
    assert sorted(path.name for path in (folder / "b").glob("step_*")) == [
        "step_00002.safetensors",
        "step_00004.safetensors",
    ]


def test_the_end_is_a_file_that_tells_stars_apart(folder):
    unet = small_net()
    tune_shipped_classes.tune(unet, folder, make_starry=class_fields.simulate)
    large = unet.net_.module_.decoder[3][1].running_var
    large.mul_(2e5 / large.max())  # more than half floats hold
    tune_shipped_classes.write(unet, folder / "net.safetensors")
    again = UNetSegmenter(weights=folder / "net.safetensors")
    again._ready_net()
    for name, tensor in again.net_.module_.state_dict().items():
        assert torch.isfinite(tensor).all(), name
    assert again.pixel_classes_.tolist() == [SKY, GALAXY, STAR, ARTEFACT]
    assert again.threshold_ == unet.threshold_ and again.calibration_.shape[0] == 2
    assert again._star_rule == unet._star_rule and again._star_rule.limit > 0
    planes, truth = class_fields.simulate(5)
    prediction = bench_classes.predict(folder / "net.safetensors", planes, 1)
    assert prediction.labels.max() == 2 and prediction.scores.shape == (3,)
    assert prediction.artefact.shape == prediction.light.shape == (SIDE, SIDE)
    tally = bench_classes.Tally()
    tally.add(planes, truth, prediction._replace(scores=np.array([0, 0.1, 0.9])))
    assert "F1 1.000" in tally.describe() and "calibration error 0." in tally.describe()
    assert [kinds[1:3] for kinds in tally.kinds] == [(GALAXY, GALAXY), (STAR, STAR)]
    assert "stars 1.000 of 1" in " ".join(tally.describe_kinds())


def test_the_loss_asks_three_questions():
    classes = torch.tensor([[[SKY, GALAXY], [STAR, ARTEFACT]]], dtype=torch.int8)
    weights = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]])
    right = 20.0 * torch.nn.functional.one_hot(classes.long(), 4).permute(0, 3, 1, 2).float()
    total, parts = train_shipped_classes.loss_of(right, classes, weights)
    assert total < 1e-3 and all(part < 1e-3 for part in parts)
    for pixel, wrong, asked in (
        ((1, 0), GALAXY, 1),  # a star that is called a galaxy
        ((0, 1), STAR, 1),
        ((0, 0), ARTEFACT, 2),
        ((1, 1), SKY, 2),
        ((0, 1), SKY, 0),
        ((0, 0), GALAXY, 0),
    ):
        logits = right.clone()
        logits[0, :, pixel[0], pixel[1]] = 0
        logits[0, wrong, pixel[0], pixel[1]] = 20.0
        parts = train_shipped_classes.loss_of(logits, classes, weights)[1][:3]
        assert [bool(part > 1) for part in parts] == [k == asked for k in range(3)], (pixel, wrong)
    void = torch.full_like(classes, VOID)
    total, _ = train_shipped_classes.loss_of(right, void, 0 * weights)
    assert total == 0


def test_sources_share_the_root_of_their_area(folder):
    planes, truth = class_fields.simulate(3)
    _, classes, weights = class_fields.prepared(small_net(), planes, truth)
    for kind, share in ((GALAXY, 1.0), (STAR, class_fields.STAR_WEIGHT)):
        area = np.count_nonzero(classes == kind)
        assert weights[classes == kind].sum() == pytest.approx(share * np.sqrt(area), rel=1e-5)
    assert not weights[(classes != GALAXY) & (classes != STAR)].any()


def test_the_second_course_shows_weak_spots(folder, monkeypatch):
    drawn = []

    def cached(seed, folder, make=None):
        drawn.append((seed, make))
        return class_fields.simulate(seed)

    monkeypatch.setattr(class_fields, "cached", cached)
    fields = class_fields.Fields(small_net(), folder, 1000, second=True)
    for _ in range(4):
        fields.add()
    weak, first = class_fields.simulate_weak, 1000 + class_fields.WEAK_SEEDS
    assert drawn == [(1000, None), (first + 1, weak), (1001, None), (first + 3, weak)]


def test_weights_are_drawn_back():
    unet, start = small_net(), small_net()
    with torch.no_grad():
        for tensor in unet.net_.module_.state_dict().values():
            tensor.add_(1)
    train_shipped_classes.pull_back(unet, start, 0.75)
    first = start.net_.module_.state_dict()
    for name, tensor in unet.net_.module_.state_dict().items():
        expected = first[name] + (0.75 if tensor.is_floating_point() else 1)
        torch.testing.assert_close(tensor, expected, msg=name)


@pytest.mark.parametrize("seed, kind", [(3, "noise"), (5, "crowd"), (8, "negative")])
def test_weak_spots_are_crowds_noise_and_negatives(seed, kind, monkeypatch):
    monkeypatch.setattr(class_fields, "SHAPE", (96, 96))
    planes, truth = class_fields.simulate_weak(seed)
    assert planes.dtype == np.float32 and truth.dtype == np.int32
    assert set(np.unique(truth[0])) <= {VOID, SKY, GALAXY, STAR, ARTEFACT}
    np.testing.assert_array_equal(np.isnan(planes[0]), truth[0] == VOID)
    n_sources, trough = truth[1].max(), np.nanmedian(planes[0]) - np.nanmin(planes[0])
    assert n_sources >= 20 if kind == "crowd" else n_sources == 0
    assert (trough > 20 * np.nanmedian(planes[1])) == (kind == "negative")


def test_faint_stars_are_stars_if_it_costs_next_to_nothing():
    logits = np.array([-0.3] + [-0.47] * 2 + [-0.52] * 3 + [-0.57] * 4 + [-3.0] * 990)
    is_star = np.arange(1000) < 3
    # up to 0.3 all but three are right, up to 0.5 all, at 0.55 three galaxies are lost
    assert tune_shipped_classes.starry_shift(logits, is_star) == pytest.approx(0.5)
    is_star = np.arange(1000) < 1
    # two galaxies may be lost, five not
    assert tune_shipped_classes.starry_shift(logits, is_star) == pytest.approx(0.5)


def test_the_threshold_is_the_lowest_that_costs_little():
    quality = np.full(13, 1.0)
    quality[[1, 4, 6]] = 1.45, 1.49, 1.5
    for loss, expected in ((0.0, 0.5), (0.02, 0.4), (0.05, 0.25), (9.0, 0.2)):
        assert tune_shipped_classes.chosen_threshold(quality, loss) == pytest.approx(expected)


def test_the_rate_rises_and_falls():
    done = np.linspace(0, 1, 101)
    rates = np.array([train_shipped_classes.rate(value) for value in done])
    assert rates[0] < 0.05 and rates.max() == pytest.approx(1.0) and rates[-1] < 0.01
    assert (np.diff(rates[:4]) > 0).all() and (np.diff(rates[4:]) < 0).all()
