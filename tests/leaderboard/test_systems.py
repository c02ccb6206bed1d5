"""The systems of the leaderboard, and the recipes that their nets are trained by."""

import numpy as np
import pytest


def test_every_system_has_a_recipe_and_known_variants():
    from benchmarks.leaderboard.recipes import RECIPES
    from benchmarks.leaderboard.reported import GOALS, REPORTED
    from benchmarks.leaderboard.settings import SETTINGS
    from benchmarks.leaderboard.systems import SYSTEMS, VARIANTS, front

    for system in SYSTEMS.values():
        for setting, variants in system.variants.items():
            assert not system.net or (system.net, setting) in RECIPES
            for variant in variants:
                assert variant in VARIANTS
                front(variant, SETTINGS[setting])
    for cell in REPORTED:
        assert cell.variant in SYSTEMS[cell.system].variants[cell.setting]
    assert all(cell.system in SYSTEMS and cell.name for cell in REPORTED + GOALS)


def test_every_row_says_what_it_is():
    from benchmarks.leaderboard.about import ABOUT
    from benchmarks.leaderboard.systems import SYSTEMS

    assert set(ABOUT) == set(SYSTEMS)
    assert "not the published DETR" in ABOUT["detr"]


def test_nets_that_need_training_are_not_repeated():
    from benchmarks.leaderboard.check import is_repeatable
    from benchmarks.leaderboard.systems import SYSTEMS

    row = {"setting": "B", "variant": "raw", "seed": 0, "sources": {}}
    repeated = [name for name in SYSTEMS if is_repeatable({**row, "system": name})]
    assert repeated == [
        "photutils_2022",
        "photutils",
        "photutils_tuned",
        "sep",
        "sep_tuned",
        "photutils_common",
        "sep_common",
        "unet_shipped",
        "unet_shipped_tuned",
        "unet_sky",
        "mask_rcnn_blends",
    ]


def test_nets_of_one_band_see_the_r_band_or_the_mean():
    from benchmarks.leaderboard.peers import detection_image
    from benchmarks.leaderboard.settings import SETTINGS
    from benchmarks.leaderboard.systems import SYSTEMS, build

    X = np.random.default_rng(0).normal(1, 0.1, size=(2, 4, 32, 32))
    seen = {}
    for variant in SYSTEMS["unet_sky"].variants["C"]:
        estimator = build(SYSTEMS["unet_sky"], SETTINGS["C"], variant, 0)
        seen[variant] = estimator[:-1].transform(X)
        assert estimator[-1].rms_band == -1
    np.testing.assert_array_equal(seen["r"], X[:, [1, 3]])
    np.testing.assert_array_equal(seen["coadd"][1], detection_image(X[1], -1))


def test_a_recipe_is_a_file(tmp_path):
    from benchmarks.leaderboard.recipes import read_recipes

    (tmp_path / "B-unet.toml").write_text(
        'n_train = 8\nrate = 2.5\n[params]\npatience = "None"\nbatch_size = 4\n'
    )
    recipes = read_recipes(tmp_path)
    assert list(recipes) == [("unet", "B")]
    recipe = recipes["unet", "B"]
    assert (recipe.n_train, recipe.rate, recipe.least_epochs) == (8, 2.5, 3)
    assert recipe.arguments(7) == {"max_epochs": 7, "patience": None, "batch_size": 4}
    (tmp_path / "B-unet.toml").write_text("n_train = 8\nrate = 2.5\nepochs = 3\n")
    with pytest.raises(TypeError, match="epochs"):
        read_recipes(tmp_path)


def test_budgets_become_patches_and_epochs():
    from benchmarks.leaderboard.recipes import Recipe, plan

    recipe = Recipe(n_train=500, rate=10, least_epochs=3)
    assert plan(recipe, 20) == (500, 24)
    assert plan(recipe, 1) == (200, 3)
    assert plan(recipe, 1, speed=10) == (500, 12)
    assert plan(recipe, 0.001) == (16, 3)


def test_a_smaller_scale_trains_on_fewer_images():
    from benchmarks.leaderboard.recipes import RECIPES
    from benchmarks.leaderboard.run import _plan
    from benchmarks.leaderboard.settings import SETTINGS
    from benchmarks.leaderboard.systems import SYSTEMS

    for (net, setting), recipe in RECIPES.items():
        counts = [
            _plan(
                SYSTEMS[net],
                SETTINGS[setting],
                {"budget": 1000, "speed": 1, "scale": scale},
                recipe,
            )[0]
            for scale in ("full", "small", "tiny")
        ]
        assert counts == [recipe.n_train, recipe.n_train // 4, min(recipe.n_train // 16, 8)]


def test_training_ends_by_the_clock():
    import time

    from benchmarks.leaderboard.clock import by_the_clock, one_cycle
    from galaxysegment import UNetSegmenter

    rates = [one_cycle(share) for share in np.linspace(0, 1, 101)]
    assert np.argmax(rates) == 10
    assert rates[10] == pytest.approx(1)
    assert rates[0] == pytest.approx(rates[-1])
    X = np.random.default_rng(0).normal(size=(8, 32, 32)).astype(np.float32)
    y = (X > 1).astype(int)
    params = by_the_clock({"max_epochs": 3, "base_width": 2, "depth": 2, "n_pixels": 1}, 0.02)
    start = time.monotonic()
    unet = UNetSegmenter(random_state=0, **params).fit(X, y)
    assert 1 < time.monotonic() - start < 60
    assert 1 <= len(unet.history_) < params["max_epochs"]
    assert unet.predict(X).shape == X.shape
