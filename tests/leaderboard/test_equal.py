"""The table of equal budgets: recipes, the clock of processor time, torchvision's Mask R-CNN."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from galaxysegment import Instances

pytest.importorskip("torch")


def blends(n=8, side=64):
    """Images of two overlapping squares of light, and their masks."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, side, side)).astype(np.float32)
    masks = np.zeros((n, 2, side, side), dtype=bool)
    for index in range(n):
        y, x = rng.integers(4, side - 30, size=2)
        masks[index, 0, y : y + 16, x : x + 16] = True
        masks[index, 1, y + 10 : y + 26, x + 10 : x + 26] = True
        X[index] += 20 * masks[index].sum(axis=0)
    return X, [Instances.from_masks(pair) for pair in masks]


def test_every_recipe_is_a_known_system_and_setting():
    from benchmarks.leaderboard.equal import RIVALS, command, read_recipe, recipe_names
    from benchmarks.leaderboard.settings import SETTINGS

    recipes = [read_recipe(name) for name in recipe_names()]
    assert len(recipes) >= 4
    for recipe in recipes:
        assert recipe.system in RIVALS
        assert recipe.setting in SETTINGS
        assert recipe.name.startswith(f"{recipe.setting}-")
        assert f"equal {recipe.name} --seed 2" in command(recipe, 2)


def test_rivals_have_equal_data_and_minutes():
    from benchmarks.leaderboard.equal import read_recipe, recipe_names

    budgets = {}
    for recipe in (item for item in map(read_recipe, recipe_names()) if not item.curve):
        budgets.setdefault(recipe.setting, set()).add((recipe.n_train, recipe.core_minutes))
    assert all(len(pairs) == 1 for pairs in budgets.values())


def test_an_unknown_recipe_is_refused():
    from benchmarks.leaderboard.equal import read_recipe

    with pytest.raises(ValueError, match=r"No recipe 'B-x': the recipes are .*B-mask_rcnn"):
        read_recipe("B-x")


def test_the_clock_counts_processor_time_only():
    from benchmarks.leaderboard.clock import TrainingClock

    clock = TrainingClock(1.0)
    time.sleep(0.3)
    assert clock.used < 0.2
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert 0.3 <= clock.used < 0.6
    assert clock.share == pytest.approx(clock.used / 60, rel=0.1)


def test_an_interrupted_training_goes_on(tmp_path):
    import torch

    from benchmarks.leaderboard.clock import TrainingClock

    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(net.parameters())
    clock = TrainingClock(1.0, tmp_path / "net.pt")
    clock.step(net, optimizer, 8, 2.0)
    clock.save(net, optimizer)
    noted = json.loads((tmp_path / "net.json").read_text())
    (tmp_path / "net.json").write_text(json.dumps({**noted, "seconds": 30.0}))
    other = torch.nn.Linear(2, 1)
    again = TrainingClock(1.0, tmp_path / "net.pt")
    again.resume(other, torch.optim.AdamW(other.parameters()))
    assert again.n_seen == 8
    assert 0.5 <= again.share < 0.6
    torch.testing.assert_close(other.weight, net.weight)


def test_our_nets_stop_by_the_processor_clock(tmp_path):
    from benchmarks.leaderboard.clock import CoreClock
    from galaxysegment import UNetSegmenter

    X, y = blends(8, 40)
    clock = CoreClock(0.02, str(tmp_path / "net.pt"))
    options = {"base_width": 2, "depth": 2, "n_pixels": 1, "max_epochs": 100_000}
    options |= {"schedule": None, "patience": None, "callbacks": [clock]}
    UNetSegmenter(random_state=0, **options).fit(X, y)
    noted = json.loads((tmp_path / "net.json").read_text())
    assert 1.2 <= noted["seconds"] < 20
    assert noted["patches"] >= 7
    start = time.process_time()
    UNetSegmenter(random_state=0, **options).fit(X, y)  # the budget is used up
    assert time.process_time() - start < 20
    assert json.loads((tmp_path / "net.json").read_text())["patches"] == noted["patches"]


def test_a_training_ends_after_its_patches(tmp_path):
    from benchmarks.leaderboard.clock import CoreClock, TrainingClock
    from galaxysegment import UNetSegmenter

    clock = TrainingClock(1.0, patches=32)
    clock.step(None, None, 8, 1.0)
    assert clock.share == 0.25
    X, y = blends(8, 40)
    clock = CoreClock(60.0, str(tmp_path / "net.pt"), patches=21)
    options = {"base_width": 2, "depth": 2, "n_pixels": 1, "max_epochs": 100_000}
    options |= {"schedule": None, "patience": None, "callbacks": [clock]}
    UNetSegmenter(random_state=0, batch_size=7, validation_fraction=0.0, **options).fit(X, y)
    assert json.loads((tmp_path / "net.json").read_text())["patches"] in range(21, 28)


def test_rates_are_measured_in_turns(monkeypatch):
    from benchmarks.leaderboard import pace

    noted = {"A-unet": iter((9.0, 4.0, 6.0)), "A-smp_unet": iter((9.0, 2.0, 6.0))}
    order = []

    def rate(recipe, train, checkpoint):
        assert recipe.patches == len(train) == 4
        order.append(recipe.name)
        return next(noted[recipe.name])

    monkeypatch.setattr(pace, "_rate", rate)
    monkeypatch.setattr(pace.SETTINGS["A"].__class__, "train", lambda *_: [0] * 4)
    measured = pace.rates(["A-unet", "A-smp_unet"], n_patches=4, turns=2)
    assert order == ["A-unet", "A-smp_unet"] * 3  # the first turn is not counted
    assert measured == {"A-unet": [4.0, 6.0], "A-smp_unet": [2.0, 6.0]}
    first, second = pace.report(measured)
    assert first.startswith("A-unet: 5.00 patches a second; 1.000 times the first")
    assert second.endswith("4.00 patches a second; 0.750 times the first (turns: 0.50, 1.00)")


@pytest.mark.filterwarnings("ignore::galaxysegment.NoSourcesWarning")
def test_torchvision_learns_overlapping_masks(monkeypatch):
    from benchmarks.leaderboard.clock import TrainingClock
    from benchmarks.leaderboard.torchvision_peer import TorchvisionMaskRCNN, as_target
    from benchmarks.leaderboard.trained_peer import flipped

    X, y = blends(8)
    image, target = flipped(X[0][np.newaxis], y[0], np.random.default_rng(1))
    assert image.shape == (1, 64, 64)
    bright = image[0] > 12
    assert (bright == target.to_mask()).mean() > 0.99
    boxes = as_target(y[0])["boxes"].numpy()
    rows, columns = np.nonzero(y[0].masks[0])
    assert boxes[0].tolist() == [
        columns.min(),
        rows.min(),
        columns.max() + 1,
        rows.max() + 1,
    ]
    # a patch counts as a second, so that three batches are trained on whatever the machine does
    monkeypatch.setattr(TrainingClock, "used", property(lambda clock: float(clock.n_seen)))
    peer = TorchvisionMaskRCNN(core_minutes=0.1, batch_size=2, n_proposals=20, n_samples=8)
    peer.fit(X, y)
    nothing = peer.set_params(score_threshold=1.0).predict(X[:2], output="instances")
    assert [(sources.shape, len(sources)) for sources in nothing] == [((64, 64), 0)] * 2
    predicted = peer.set_params(score_threshold=0.0).predict(X[:2], output="instances")
    assert [sources.shape for sources in predicted] == [(64, 64)] * 2
    assert all(((sources.scores > 0) & (sources.scores <= 1)).all() for sources in predicted)


@pytest.mark.filterwarnings("ignore::galaxysegment.NoSourcesWarning")
def test_transformers_learns_masks(monkeypatch):
    pytest.importorskip("transformers")
    from benchmarks.leaderboard.clock import TrainingClock
    from benchmarks.leaderboard.transformers_peer import TransformersMask2Former

    X, y = blends(4)
    monkeypatch.setattr(TrainingClock, "used", property(lambda clock: float(clock.n_seen)))
    small = {"num_queries": 5, "hidden_dim": 32, "decoder_layers": 2, "encoder_layers": 1}
    small |= {"mask_feature_size": 32, "feature_size": 32, "num_attention_heads": 2}
    small |= {"encoder_feedforward_dim": 32, "dim_feedforward": 32}
    peer = TransformersMask2Former(core_minutes=0.05, batch_size=2, config=small).fit(X, y)
    predicted = peer.set_params(score_threshold=0.0).predict(X[:2], output="instances")
    assert [sources.shape for sources in predicted] == [(64, 64)] * 2
    assert all((sources.scores >= 0).all() for sources in predicted)
    nothing = peer.set_params(score_threshold=1.0).predict(X[:2], output="instances")
    assert [len(sources) for sources in nothing] == [0, 0]


def test_an_image_without_sources_is_flipped_too():
    from benchmarks.leaderboard.trained_peer import flipped

    empty = Instances.from_masks([], shape=(20, 30))
    image, target = flipped(np.zeros((1, 20, 30)), empty, np.random.default_rng(2))
    assert target.shape == image.shape[1:]
    assert len(target) == 0


def test_a_peer_without_its_environment_says_so(monkeypatch):
    from benchmarks.leaderboard.outside import StarDist
    from benchmarks.leaderboard.peers import NotInstalledError

    monkeypatch.setenv("STARDIST_PYTHON", "/bin/false")
    X, y = blends(2, 40)
    with pytest.raises(NotInstalledError, match="pip install stardist"):
        StarDist().fit(X, y)


def test_a_peer_with_its_own_interpreter_hears_its_budget(monkeypatch, tmp_path):
    from benchmarks.leaderboard.outside import StarDist

    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || echo "$@" > {tmp_path}/words\n')
    python.chmod(0o755)
    monkeypatch.setenv("STARDIST_PYTHON", str(python))
    X, y = blends(2, 40)
    checkpoint = tmp_path / "folder" / "net.pt"
    peer = StarDist(core_minutes=4.0, patches=96, checkpoint=checkpoint, random_state=7)
    peer.fit(X, y)
    script, verb, folder, *words = (tmp_path / "words").read_text().split()
    assert (Path(script).name, verb, folder) == ("run_stardist.py", "fit", peer.folder_)
    assert words == ["4.0", "96", "7", str(checkpoint.with_suffix(".json"))]
    assert checkpoint.parent.is_dir()


@pytest.mark.parametrize("patches", [64, 1000, 1440, 4000])
def test_cellpose_trains_on_full_batches(monkeypatch, patches):
    cellpose = SimpleNamespace(dynamics=None, models=None, train=None)
    monkeypatch.setitem(sys.modules, "cellpose", cellpose)
    from benchmarks.leaderboard.outside_scripts import run_cellpose

    n_epochs, n_images = run_cellpose.length(patches)
    assert n_images % run_cellpose.BATCH == 0
    assert n_epochs * n_images == pytest.approx(patches, abs=n_images / 2)
    assert patches < 960 or n_epochs > 100  # only then its rate falls in the end


def test_the_page_names_who_leads():
    from benchmarks.leaderboard.equal_page import comparisons, lines

    rows = [
        {
            "recipe": name,
            "setting": "B",
            "system": name[2:],
            "label": label,
            "peer": peer,
            "seed": 0,
            "core_minutes": 4.0,
            "sources": {"f1": f1},
            "fit": {"seconds": 240.0, "patches": 99},
        }
        for name, label, peer, f1 in (
            ("B-mask_rcnn", "Ours", False, 0.7),
            ("B-torchvision", "Theirs", True, 0.8),
        )
    ]
    assert comparisons(rows) == [
        ("Setting B (blends): nets after 4 core-minutes", [("source F1", 0.7, 0.8)])
    ]
    assert comparisons(rows[:1]) == []
    again = {**rows[0], "seed": 1, "sources": {"f1": 0.6}, "fit": {"seconds": 240, "patches": 120}}
    text = "\n".join(lines([*rows, again]))
    assert '"Ours", "4", "4.0", "99–120", ".650 ± .071", "2"' in text
    assert '"*Theirs*", "4", "4.0", "99", ".800", "1"' in text
    assert 'equal B-stardist --seed 0``", "4", "not run: 0, 1, 2"' in text
    assert '"seeds run: 0, 1; not run: 2"' in text
    (missing,) = [line for line in text.splitlines() if line.startswith("Not run in this setting")]
    assert "Cellpose" in missing and "Theirs" not in missing and "torchvision" not in missing


def test_rivals_of_the_equal_page_meet_on_common_seeds():
    from benchmarks.leaderboard.equal_page import comparisons

    def row(label, peer, seed, f1):
        names = {"recipe": "B-torchvision" if peer else "B-mask_rcnn", "setting": "B"}
        names |= {"system": "mask_rcnn", "label": label, "peer": peer, "seed": seed}
        return {**names, "core_minutes": 4.0, "sources": {"f1": f1}}

    rows = [row("Ours", False, 0, 0.6), row("Ours", False, 1, 0.9), row("Late", False, 1, 1.0)]
    rows += [row("Theirs", True, 0, 0.7), row("Other", True, 1, 0.5)]
    assert comparisons(rows)[0][1] == [("source F1", 0.6, 0.7)]  # seed 1 has other blends
    assert comparisons([*rows, row("Theirs", True, 1, 0.9)])[0][1] == [("source F1", 1.0, 0.9)]
    assert comparisons([row("Ours", False, 1, 0.9), row("Theirs", True, 0, 0.7)]) == []


def test_the_learning_curve_meets_no_rival():
    from benchmarks.leaderboard.equal_page import comparisons, lines

    def row(recipe, ap, peer=False):
        return {
            "recipe": recipe,
            "setting": "B",
            "system": recipe[2:],
            "label": recipe,
            "peer": peer,
            "seed": 0,
            "core_minutes": 4.0,
            "sources": {"f1": ap},
            "segm": {"all": {"AP": ap}},
            "fit": {"seconds": 60.0, "patches": 99},
        }

    rows = [row("B-mask_rcnn_16", 0.9), row("B-mask_rcnn", 0.5), row("B-torchvision", 0.6, True)]
    (contest,) = comparisons(rows)
    assert contest[1] == [("source F1", 0.5, 0.6), ("mask AP", 0.5, 0.6)]
    text = "\n".join(lines(rows))
    curve = text[text.index("What more training would bring") : text.index("Recipes and commands")]
    assert ".500 after 4, .900 after 16 core-minutes" in curve
    assert "A doubling of the time brings .200 from 4 to 16 core-minutes" in curve
    assert '"16", "1000", "99", ".900", ".900", "–", "1"' in curve
    assert "What more training" not in "\n".join(lines(rows[1:]))


def test_a_net_of_others_learns_in_our_training():
    from benchmarks.leaderboard.equal import RIVALS, make_smp_net, read_recipe

    recipe = read_recipe("A-smp_unet")
    ours, theirs = (RIVALS[name].make(0, recipe, "x.pt") for name in ("unet", "smp_unet"))
    ours, theirs = ours.get_params(), theirs.get_params()
    assert theirs["module"] is make_smp_net
    same = {"module": None, "callbacks": None}  # the clocks are two objects
    assert {**ours, **same} == {**theirs, **same}
    assert [clock.core_minutes for clock in theirs["callbacks"]] == [recipe.core_minutes]
