"""The leaderboard: its page shows its stored results, and a tiny round of it runs."""

from pathlib import Path

import numpy as np
import pytest

from galaxysegment import Instances

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "leaderboard" / "results"
if not (ROOT / "benchmarks" / "leaderboard").is_dir():
    pytest.skip("the benchmarks are not part of an installed package", allow_module_level=True)


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Results of a few systems and two seeds on a handful of images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from benchmarks.leaderboard.__main__ import main

        pytest.importorskip("galsim")
        pytest.importorskip("sep")
        folder = tmp_path_factory.mktemp("leaderboard")
        for words in (
            "A --system sep",
            "B --system sep",
            "B --system plain_sep",
            "C --system plain_sep",
        ):
            main(f"run --setting {words} --seeds 2 --scale tiny --results {folder}".split())
        return folder


def numbers(node):
    """All numbers in a result."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        return [value for child in node for value in numbers(child)]
    return [node] if isinstance(node, (int, float)) else []


def read(folder, setting):
    """The runs of a setting, by seed."""
    from benchmarks.leaderboard.table_file import read_runs

    return sorted(read_runs(folder / f"{setting}.csv"), key=lambda run: run["seed"])


def test_the_page_shows_every_stored_number(tmp_path):
    from benchmarks.leaderboard.page import write_page
    from benchmarks.leaderboard.store import Store, number

    first = write_page(RESULTS, tmp_path / "page.rst")
    text = "".join(path.read_text() for path in sorted(tmp_path.glob("page*.rst")))
    store = Store(RESULTS)
    assert "A smaller round" not in text
    assert len({path.stem for path in (tmp_path / "leaderboard").glob("*.png")}) == 6
    assert first.read_text().index("**Behind**") < first.read_text().index("summary.png")
    for setting in "ABC":
        assert store.groups(setting)
        for group in store.groups(setting):
            assert group.text("sources.f1") in text
            assert group.text("segm.all.AP50") in text
    for rows in store.elsewhere.values():
        assert all(number(row["sources"]["f1"]) in text for row in rows)
    for recipe in {row["recipe"] for row in store.equal}:
        seeds = [row["sources"]["f1"] for row in store.equal if row["recipe"] == recipe]
        assert f'"{number(np.mean(seeds))}' in text


def test_the_pages_on_disk_are_those_of_the_tables():
    from benchmarks.leaderboard.page import CAPTIONS, make_pages
    from benchmarks.leaderboard.store import Store

    guide = ROOT / "docs" / "guide"
    pages = make_pages(Store(RESULTS), set(CAPTIONS))
    made = {f"leaderboard{suffix}.rst": text.encode() for suffix, text in pages.items()}
    stored = {path.name: path.read_bytes() for path in guide.glob("leaderboard*.rst")}
    assert sorted(stored) == sorted(made)
    old = [name for name, text in made.items() if stored[name] != text]
    assert not old, "rebuild them: python -m benchmarks.leaderboard page"


def test_stored_results_say_how_they_were_made():
    from benchmarks.leaderboard.run import key

    for setting in "ABC":
        runs = read(RESULTS, setting)
        assert len({key(run) for run in runs}) == len(runs) > 30
        for run in runs:
            assert run["setting"] == setting
            assert run["scale"] == "full"
            assert f"--setting {setting} --system {run['system']}" in run["command"]
            assert {"versions", "machine", "date", "seed", "budget"} <= set(run)
            assert "not installed" in run or {"fit", "predict", "sources", "pixels"} <= set(run)


def test_nets_of_another_program_stay_off_the_page(tmp_path):
    from benchmarks.leaderboard.page import make_pages
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.table_file import read_runs, write_runs

    runs = [run for run in read_runs(RESULTS / "C.csv") if run["system"] == "mask_rcnn"]
    runs = [run for run in runs if run["variant"] == "snr"]
    runs[0]["fit"]["trained elsewhere"] = True
    runs[0]["pixels"]["mean"]["iou"] = 0.98765
    write_runs(tmp_path / "C.csv", runs)
    store = Store(tmp_path)
    assert store.runs == runs[1:]
    assert store.left_out == runs[:1]
    text = "".join(make_pages(store).values())
    assert "Left out of this page" in text
    assert ".988" not in text


def test_a_table_keeps_every_value(tmp_path):
    from benchmarks.leaderboard.table_file import add_run, read_runs, write_runs

    first = {
        "variant": "4",
        "seed": 0,
        "fit": {"seconds": 0.1 + 0.2, "trained elsewhere": True},
        "versions": {"numpy": "2.4"},
        "bins": {"edges": [None, 1.5, 2], "n": [1, 2]},
        "warnings": ['a "quoted", one'],
    }
    second = {"variant": "raw", "seed": 1, "note": "β, 2″"}
    path = tmp_path / "A.csv"
    write_runs(path, [first, second])
    assert read_runs(path) == [first, second]
    add_run(path, {**second, "note": "new"}, lambda run: run["seed"])
    assert read_runs(path) == [first, {**second, "note": "new"}]
    assert [file.name for file in tmp_path.iterdir()] == ["A.csv"]
    with pytest.raises(ValueError, match=r"rename 'a\.b'"):
        write_runs(path, [{"a.b": 1}])


def test_the_shipped_weights_are_those_of_the_page():
    pytest.importorskip("galsim")
    from benchmarks.leaderboard.run import first_iou
    from benchmarks.leaderboard.settings import A
    from benchmarks.leaderboard.systems import SYSTEMS, build, predict

    runs = [run for run in read(RESULTS, "A") if run["system"] == "unet_shipped"]
    stored = runs[0]["first patches"]
    test = A.test(0)[: stored["n"]]
    labels = predict(build(SYSTEMS["unet_shipped"], A, "raw", 0), test.X)
    assert first_iou(test, labels, A) == pytest.approx(stored["iou"], abs=0.01)


def test_a_tiny_round(tiny):
    runs = [run for setting in "ABC" for run in read(tiny, setting)]
    assert [(run["setting"], run["seed"]) for run in runs] == [
        (setting, seed) for names in ("A", "BB", "C") for seed in (0, 1) for setting in names
    ]
    for run in runs:
        assert 0.3 < run["pixels"]["mean"]["iou"] < 1
        assert run["sources"]["n_true"] > 0
        assert 0 < run["segm"]["all"]["AP"] < run["segm"]["all"]["AP50"] <= 1
        assert run["panoptic"]["galaxy"]["PQ"] <= run["panoptic"]["sky"]["PQ"]
        assert run["predict"]["seconds"] > 0
    assert runs[0]["sources"] != runs[1]["sources"]  # another seed, other fields
    assert set(runs[0]["robustness"]) > {"PSF × 2", "noise × 2", "pixel scale × 2", "sky gradient"}
    assert max(runs[0]["isophotes"]["iou"]) == runs[0]["isophotes"]["iou"][1]  # at 1 RMS
    assert sum(runs[0]["completeness by area"]["n"]) == runs[0]["sources"]["n_true"]
    curve = runs[0]["unseen"]["ground"]
    assert len(curve["cut"]) == len(curve["purity"]) == len(curve["completeness"])
    assert sum(runs[2]["separation"]["both"]["n"]) == runs[2]["n_test"]


def test_a_run_repeats(tiny, tmp_path):
    from benchmarks.leaderboard.__main__ import main

    main(f"run --setting B --system sep --seed 0 --scale tiny --results {tmp_path}".split())
    first, second = (read(folder, "B")[0] for folder in (tiny, tmp_path))
    assert {**first, "fit": 0, "predict": 0} == {**second, "fit": 0, "predict": 0}


def test_rows_of_other_code_are_named(tiny, tmp_path, capsys):
    from benchmarks.leaderboard.__main__ import main
    from benchmarks.leaderboard.table_file import write_runs

    main(f"check --setting B --results {tiny}".split())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["repeats", f"B.sep.raw.{seed}"] for seed in (0, 1)
    ]
    runs = read(tiny, "B")
    next(run for run in runs if run["system"] == "sep")["sources"]["f1"] -= 0.01
    write_runs(tmp_path / "B.csv", runs)
    with pytest.raises(SystemExit, match=r"1 rows are not what today's code gives: B\.sep\.raw\.0"):
        main(f"check --setting B --seed 0 --results {tmp_path}".split())
    assert capsys.readouterr().out.startswith("DIFFERS  B.sep.raw.0")


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
        "unet_shipped",
        "unet_sky",
        "mask_rcnn_blends",
    ]


def test_page_and_figures_of_a_tiny_round(tiny, tmp_path):
    from benchmarks.leaderboard.__main__ import main
    from benchmarks.leaderboard.store import Store

    main(f"page --results {tiny} --output {tmp_path}/page.rst".split())
    text = "".join(path.read_text() for path in sorted(tmp_path.glob("page*.rst")))
    group = Store(tiny).get("A", "sep", "raw")
    assert group.text("pixels.mean.iou") in text
    assert " ± " in group.text("pixels.mean.iou")
    assert "**A smaller round** (scale tiny)" in text
    assert {path.stem for path in (tmp_path / "leaderboard").glob("*.png")} == {
        "summary",
        "completeness",
        "separation",
        "unseen",
        "stars",
    }
    assert "run --setting A --system sep --variant raw --seeds 2 --scale tiny" in text


def test_seeds_share_a_command(stored):
    from benchmarks.leaderboard.run import command
    from benchmarks.leaderboard.tables import command_table

    def run(seed, **more):
        job = {"setting": "A", "system": "sep", "variant": "raw", "seed": seed, "scale": "full"}
        return {**job, "command": command({**job, **more}), "date": "2026-11-22", **more}

    def lines(*runs):
        store = stored()
        store.runs = list(runs)
        return [line.strip() for line in command_table(store) if "--setting" in line]

    both = [run(0, chosen={"n_sigma": 1}), run(1, chosen={"n_sigma": 2})]
    assert lines(*both) == [
        '"run --setting A --system sep --variant raw --seeds 2", "2026-11-22", '
        '"seed 0: n_sigma = 1; seed 1: n_sigma = 2"'
    ]
    apart = [line.split('"')[1].split("raw ")[1] for line in lines(run(0), run(2))]
    assert apart == ["--seed 0", "--seed 2"]
    apart = [line.split('"')[1].split("raw ")[1] for line in lines(run(0), run(1, short=True))]
    assert apart == ["--seed 0", "--seed 1 --short"]


def test_a_small_round_ends_with_its_table_and_page(tmp_path, capsys):
    pytest.importorskip("galsim")
    pytest.importorskip("sep")
    from benchmarks.leaderboard.__main__ import main
    from benchmarks.leaderboard.systems import SYSTEMS

    skipped = " ".join(
        f"--skip {name}" for name in SYSTEMS if name not in ("sep", "plain_sep", "mask2former")
    )
    main(f"small --setting B --scale tiny --budget 0.01 --results {tmp_path} {skipped}".split())
    text = capsys.readouterr().out
    assert "| DETRSegmenter, mask2former on a U-Net |" in text
    assert str(tmp_path / "leaderboard.rst") in text
    assert "DETRSegmenter, mask2former" in (tmp_path / "leaderboard.rst").read_text()


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


def test_the_readme_table(tiny, capsys):
    from benchmarks.leaderboard.__main__ import main

    main(f"readme --results {tiny}".split())
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("| system | A: IoU |")
    assert [row.split(" | ")[0] for row in rows] == ["| SEPSegmenter, defaults", "| sep"]


def test_behind_and_ahead_of_what_was_reported(tmp_path):
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.table_file import write_runs
    from benchmarks.leaderboard.verdicts import compare_reported

    def store(iou):
        pixels = {"mean": {"iou": iou, "recall": 1.0, "dice": 1.0, "accuracy": 1.0}}
        run = {
            "setting": "A",
            "system": "unet",
            "variant": "4",
            "seed": 0,
            "label": "U",
            "pixels": pixels,
        }
        write_runs(tmp_path / "A.csv", [run])
        return "\n".join(compare_reported(Store(tmp_path)))

    assert "**behind:** .700 (reported .708)" in store(0.7)
    assert "variant 4: Liberator + log RMS, IoU: by .008" in store(0.7)
    assert "behind" not in store(0.8).replace("is behind the reported one", "")


@pytest.fixture
def stored(tmp_path):
    """Make a `Store` of runs with a source F1 each: (system, variant, seed, F1)."""
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.systems import SYSTEMS
    from benchmarks.leaderboard.table_file import write_runs

    def make(*runs, setting="A"):
        rows = [
            {
                "setting": setting,
                "system": system,
                "variant": variant,
                "seed": seed,
                "label": SYSTEMS[system].label,
                "budget": 20.0,
                "sources": {"f1": f1},
            }
            for system, variant, seed, f1 in runs
        ]
        write_runs(tmp_path / f"{setting}.csv", rows)
        return Store(tmp_path)

    return make


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


def test_rows_of_former_code_are_marked(stored):
    from benchmarks.leaderboard.page import make_pages
    from benchmarks.leaderboard.verdicts import duels

    store = stored(("sep", "raw", 0, 0.9), ("sep", "raw", 1, 0.9), ("plain_sep", "raw", 0, 0.8))
    for run in store.runs:
        run |= {"date": "2026-11-22", "pixels": {}, "segm": {}, "n_test": 1, "machine": {}}
    new, peer = store.groups("A")
    assert not new.old
    assert new.name == "SEPSegmenter, defaults"
    store.runs[1]["date"] = store.runs[2]["date"] = "2026-11-20"
    assert new.old
    assert not peer.old  # the programs of others are what they were
    assert duels(store)[0].name == "SEPSegmenter, defaults †"
    for run in store.runs:
        run |= {"command": "", "versions": {}, "predict": {"processor_seconds": 1}, "scale": "full"}
        run["machine"] = {"processor": "x", "cores": 1}
        run["sources"] |= {"n_true": 1}
    assert "SEPSegmenter, defaults †" in make_pages(store)["_a"]
    assert "†: run on 20 November 2026" in make_pages(store)["_a"]


def test_rows_of_former_weights_are_marked(stored, tmp_path):
    from benchmarks.leaderboard.page import make_pages
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.systems import SYSTEMS, version_of_weights
    from benchmarks.leaderboard.table_file import read_runs, write_runs

    today = version_of_weights(SYSTEMS["unet_sky"])
    assert today.split()[0] == "sky"
    store = stored(("unet_sky", "raw", 0, 0.9), ("unet_sky", "raw", 1, 0.9), ("sep", "raw", 0, 0.8))
    store.runs[1]["weights"] = store.runs[2]["weights"] = today
    names = [group.name for group in store.groups("A")]
    assert names == ["SEPSegmenter, defaults", SYSTEMS["unet_sky"].label]
    store.runs[2]["weights"] = "sky 0.9"
    assert store.groups("A")[1].name == SYSTEMS["unet_sky"].label + " ‡"
    del store.runs[2]["weights"]  # a row that does not say by which weights it is
    assert store.groups("A")[1].former

    folder = tmp_path / "elsewhere"
    rows = read_runs(RESULTS / "btk.csv")
    for row in rows:
        row["weights"] = today if row["system"] == SYSTEMS["unet_sky"].label else "none 0.1"
    write_runs(folder / "btk.csv", rows)
    marked = {row["system"] for row in Store(folder).elsewhere["btk"] if "‡" in row["system"]}
    assert marked == {SYSTEMS[name].label + " ‡" for name in ("unet_shipped", "mask_rcnn_blends")}
    assert "‡: by a former version" in make_pages(Store(folder))["_elsewhere"]


def test_only_equals_are_compared(stored):
    from benchmarks.leaderboard.verdicts import duels

    store = stored(
        ("unet", "snr", 0, 0.9),
        ("unet_long", "snr", 0, 0.95),
        ("photutils_tuned", "raw", 0, 0.7),
        ("sextractor_tuned", "raw", 0, 0.8),
        ("sextractor", "raw", 0, 0.75),
        ("smp_unet", "snr", 0, 0.85),
    )
    pairs = [(duel.kind, duel.ours, duel.theirs) for duel in duels(store)]
    assert pairs == [("tuned", 0.7, 0.8), ("trained", 0.9, 0.85)]
    store = stored(("unet", "snr", 0, 0.9), ("sextractor_tuned", "raw", 0, 0.8))
    assert duels(store) == []  # a trained net against a tuned program


def test_tuned_programs_choose_from_a_common_grid():
    from benchmarks.leaderboard.systems import GRID, SYSTEMS

    names = "photutils_tuned", "sep_tuned", "plain_photutils_common", "plain_sep_common"
    for name in (*names, "sextractor_common"):
        grid = SYSTEMS[name].grid_of("C")
        assert {key: grid[key] for key in GRID} == GRID
    assert SYSTEMS["sep_tuned"].grid_of("A") == SYSTEMS["sep_tuned"].grid != grid


def test_parameters_are_tried_once_each(monkeypatch):
    from sklearn.pipeline import make_pipeline

    from benchmarks.leaderboard import run
    from galaxysegment import PhotutilsSegmenter

    tried = []
    monkeypatch.setattr(run, "predict_many", lambda *parts: parts[-1])

    def score(train, params, n_pixels):
        tried.append(params)
        return -abs(params["n_sigma"] - 2) - abs(params["fwhm"] - params["n_sigma"])

    monkeypatch.setattr(run, "quality", score)
    estimator = make_pipeline(PhotutilsSegmenter(n_sigma=1.5, fwhm=3.0))
    grid = {"n_sigma": (1.0, 2.0, 3.0), "fwhm": (2.0, 3.0), "unknown": (1, 2)}
    assert run.choose(estimator, grid, _Nothing()) == {"n_sigma": 2.0, "fwhm": 2.0}
    assert estimator[-1].n_sigma == estimator[-1].fwhm == 2.0
    assert len(tried) == len({tuple(params.items()) for params in tried}) == 6


def test_threshold_and_kernel_are_chosen_together(monkeypatch):
    from sklearn.pipeline import make_pipeline

    from benchmarks.leaderboard import run
    from galaxysegment import PhotutilsSegmenter

    # as measured on four patches of setting C: neither parameter alone leads away from (1.0, 2.0)
    measured = {(1.0, 1.5): 1.7172, (1.0, 2.0): 1.7285, (1.15, 1.5): 1.7459, (1.15, 2.0): 1.7249}

    def score(train, params, n_pixels):
        return measured[params["n_sigma"], params["fwhm"]]

    monkeypatch.setattr(run, "predict_many", lambda *parts: parts[-1])
    monkeypatch.setattr(run, "quality", score)
    estimator = make_pipeline(PhotutilsSegmenter(n_sigma=1.0, fwhm=2.0))
    grid = {"n_sigma": (1.0, 1.15), "fwhm": (1.5, 2.0)}
    assert run.choose(estimator, grid, _Nothing()) == {"n_sigma": 1.15, "fwhm": 1.5}


def test_the_search_goes_on_until_nothing_changes(monkeypatch):
    from sklearn.pipeline import make_pipeline

    from benchmarks.leaderboard import run
    from galaxysegment import PhotutilsSegmenter

    def score(train, params, n_pixels):
        return 3 * params["n_pixels"] - 2 * (params["n_pixels"] - params["n_levels"]) ** 2

    monkeypatch.setattr(run, "predict_many", lambda *parts: parts[-1])
    monkeypatch.setattr(run, "quality", score)
    estimator = make_pipeline(PhotutilsSegmenter(n_pixels=1, n_levels=1))
    values = (1, 2, 3, 4, 5, 6)  # a round goes one step
    chosen = run.choose(estimator, {"n_pixels": values, "n_levels": values}, _Nothing())
    assert chosen == {"n_pixels": 6, "n_levels": 6}


class _Nothing:
    X = ()


def test_a_reported_number_meets_its_own_preprocessing_only(stored):
    from benchmarks.leaderboard.verdicts import cells_behind, compare_reported

    store = stored(("mask_rcnn", "snr", 0, 0.9))
    behind, n_compared, n_missing = cells_behind(store)
    assert (behind, n_compared) == ([], 0)
    assert n_missing > 80
    assert "(reported .780)" in "\n".join(compare_reported(store))
    assert "not run (reported .780)" in "\n".join(compare_reported(store))


def test_short_runs_stand_beside_whole_ones(stored):
    from benchmarks.leaderboard.tables import robustness_table, unseen_table

    store = stored(("sep", "raw", 0, 0.9), ("sep", "raw", 1, 0.8))
    curve = {"purity": [0.5, 0.8, 1.0], "completeness": [0.9, 0.7, 0.3]}
    store.runs[0]["unseen"] = {"ground": curve}
    store.runs[0]["robustness"] = {"noise × 2": {"f1": 0.75}}
    assert '"SEPSegmenter, defaults", "**.700**", "**.500**"' in "\n".join(unseen_table(store))
    assert '"SEPSegmenter, defaults", ".750"' in "\n".join(robustness_table(store, "f1"))


def test_bins_of_some_seeds_are_shown(stored):
    from benchmarks.leaderboard.tables import bin_table

    store = stored(("sep", "raw", 0, 0.9), ("sep", "raw", 1, 0.8))
    bins = {"edges": [0, 20, None], "n": [4, 2], "n_hit": [1, 2]}
    store.runs[1]["completeness by area"] = bins  # the row of seed 0 is older than these bins
    text = "\n".join(bin_table(store, "A", "completeness by area", "pixels"))
    assert '"SEPSegmenter, defaults", ".250", "1.000"' in text
    assert '"system; pixels", "0–20", "≥ 20"' in text


def test_what_changed_sign_is_listed(stored):
    from benchmarks.leaderboard.verdicts import changed

    lost = stored(("unet", "snr", 0, 0.8), ("smp_unet", "snr", 0, 0.9))
    text = "\n".join(changed(lost))
    assert "source F1 of setting A (trained)" in text
    assert "ahead by .022 (segmentation_models_pytorch U-Net)" in text
    assert "behind by .100 (segmentation_models_pytorch U-Net)" in text
    kept = stored(("unet", "snr", 0, 0.9), ("smp_unet", "snr", 0, 0.8))
    assert "source F1 of setting A" not in "\n".join(changed(kept))


def test_a_loss_that_became_a_lead_is_listed():
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.verdicts import changed

    name = '"BlendingToolKit\'s blends: recall at S/N 10–15"'
    (line,) = [line for line in changed(Store(RESULTS)) if name in line]
    _, then, now = line.split('", "')
    assert then == "Mask R-CNN, fine-tuned behind by .214 (sep, tuned)"
    assert "ahead by .143 (sep, tuned)" in now


def test_what_was_not_run_is_listed_with_its_budget(stored):
    from benchmarks.leaderboard.budgets import not_run

    rows = [line for line in not_run(stored(("smp_unet", "snr", 1, 0.8))) if "pytorch" in line]
    assert rows[0].startswith('   "A", "segmentation_models_pytorch U-Net", "asinh of S/N", "0, 2"')
    minutes = float(rows[0].split(", ")[-2].strip('"'))
    assert minutes == pytest.approx(40, rel=0.2)  # 20 minutes of two cores
    every = "\n".join(not_run(stored()))
    assert '"A", "MaskRCNNSegmenter", "variant 3: Liberator + RMS", "0, 1, 2"' in every


def test_every_row_says_what_it_is():
    from benchmarks.leaderboard.about import ABOUT
    from benchmarks.leaderboard.systems import SYSTEMS

    assert set(ABOUT) == set(SYSTEMS)
    assert "not the published DETR" in ABOUT["detr"]


def test_every_reported_number_has_its_study_in_the_bibliography():
    from benchmarks.leaderboard.reported import REPORTED, STUDIES, STUDY_OF

    page = (ROOT / "docs" / "guide" / "bibliography.rst").read_text(encoding="utf-8")
    entries = {" ".join(entry.split()) for entry in page.split(".. [")}
    for study in STUDIES:
        (entry,) = [entry for entry in entries if entry.startswith(f"{study.label}]")]
        assert study.authors in entry
        assert study.title in entry
        assert study.year in entry
    labels = {study.label for study in STUDIES}
    assert {STUDY_OF[cell.setting] for cell in REPORTED} <= labels


def test_a_peer_that_is_absent_has_a_row(tmp_path, monkeypatch):
    from benchmarks.leaderboard import peers
    from benchmarks.leaderboard.__main__ import main
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.tables import SOURCE_COLUMNS, score_table

    monkeypatch.setattr(peers.shutil, "which", lambda _: None)
    main(f"run --setting B --system sextractor --seed 0 --scale tiny --results {tmp_path}".split())
    run = read(tmp_path, "B")[0]
    assert run["not installed"].startswith("SExtractor is not installed")
    assert '"*SExtractor*", "not installed"' in "\n".join(
        score_table(Store(tmp_path), "B", SOURCE_COLUMNS)
    )


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


def test_fragments_do_not_count():
    from benchmarks.leaderboard.scores import count_sources

    labels = np.zeros((20, 20), dtype=int)
    labels[2:8, 2:8], labels[15:20, 19] = 1, 2
    truth = Instances.from_label_map(labels)
    built = [
        Instances.from_label_map(labels),
        Instances.from_label_map(np.where(labels == 1, 1, 0)),
    ]
    counted, seen = count_sources([truth, truth], built, n_pixels=10)
    assert counted[0].tolist() == [True, False]
    assert [len(part) for part in seen] == [1, 1]


def test_completeness_at_a_purity():
    from benchmarks.leaderboard.tables import at_purity

    curve = {"purity": [0.5, 0.8, 1.0], "completeness": [0.9, 0.7, 0.3]}
    assert at_purity(curve, 0.8) == pytest.approx(0.7)
    assert at_purity(curve, 0.9) == pytest.approx(0.5)
    assert at_purity({"purity": [0.5], "completeness": [0.9]}, 0.9) == 0


def test_matching_by_position():
    from benchmarks.leaderboard.robustness import compare_positions

    masks = np.zeros((3, 40, 40), dtype=bool)
    masks[0, 5:9, 5:9] = masks[1, 20:24, 20:24] = masks[2, 5:9, 30:34] = True
    truth = [Instances.from_masks(masks[:2])]
    positions = [
        np.array([[6.5, 6.5], [21.5, 21.5], [6.5, 31.5]])
    ]  # the third is real, but not labelled
    assert compare_positions(truth, positions, [Instances.from_masks(masks)]) == (1.0, 1.0)
    assert compare_positions(truth, positions, [Instances.from_masks(masks[1:])]) == (0.5, 1.0)
    shifted = [Instances.from_masks(masks[:2]).shift(8, 0)]
    assert compare_positions(truth, positions, shifted) == (0.0, 0.0)


def test_twice_the_noise():
    from benchmarks.leaderboard.fields import noisier_field, observe

    pytest.importorskip("galsim")
    field, sources = observe((256, 256), 3)
    noisy = noisier_field((256, 256), 3, 2.0)
    np.testing.assert_allclose(noisy.rms, 2 * np.asarray(field.rms), rtol=1e-5)
    assert len(noisy.catalog) < len(field.catalog) < len(sources)
    from galaxysegment.datasets import make_field

    same = make_field((256, 256), random_state=3)
    np.testing.assert_array_equal(same.labels, field.labels)
    np.testing.assert_allclose(same.image, field.image, rtol=1e-5)


@pytest.fixture(scope="module")
def crowd():
    """Image with its RMS map, and the truth: sources of many heights, without the faintest."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:256, :256]
    image, truth = rng.normal(size=(256, 256)), np.zeros((256, 256), dtype=np.int32)
    places = [(row, column) for row in range(16, 256, 32) for column in range(16, 256, 32)]
    for label, (row, column) in enumerate(places, start=1):
        light = 1.5 * 1.06**label * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 16)
        image += light
        if label > 20:
            truth[light > 1] = label - 20
    return np.stack([image, np.ones_like(image)]), truth


def test_scores_of_segmenters_rank_as_those_of_the_leaderboard(crowd):
    from benchmarks.leaderboard.scores import ranked
    from benchmarks.leaderboard.settings import A
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.metrics import average_precision

    image, truth = crowd
    segmenter = PhotutilsSegmenter(rms_band=-1, box_size=256, n_sigma=1)
    own = segmenter.predict(image[np.newaxis], output="instances")
    unranked = [Instances.from_label_map(own[0].to_label_map())]
    private = ranked(unranked, image[np.newaxis], A)
    # Clipped mean of the sky here, median there: they differ by a few hundredths of the noise.
    np.testing.assert_allclose(own[0].scores, private[0].scores, rtol=0.1)
    expected = average_precision([truth], private)
    assert average_precision([truth], own) == pytest.approx(expected, abs=1e-12)
    assert average_precision([truth], unranked) < expected - 0.02


def test_scores_of_segmenters_are_not_replaced(crowd):
    from benchmarks.leaderboard.scores import ranked
    from benchmarks.leaderboard.settings import A

    image, truth = crowd
    sources = Instances.from_label_map(truth)
    lone, pair = (
        Instances(sources.shape, part.boxes, part.crops, scores)
        for part, scores in ((sources[:1], [0.7]), (sources[:2], [0.7, 0.9]))
    )
    assert ranked([lone, pair], [image, image], A) == [lone, pair]
    (without,) = ranked([sources], [image], A)
    assert np.ptp(without.scores) > 1


def test_the_page_begins_with_what_is_lost():
    from benchmarks.leaderboard.page import make_pages
    from benchmarks.leaderboard.run import RESULTS
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.summary import contests
    from benchmarks.leaderboard.systems import SYSTEMS
    from benchmarks.leaderboard.verdicts import cells_behind, duels

    store = Store(RESULTS)
    text, pairs = make_pages(store, {"summary"})[""], duels(store)
    leads = [pair.lead for pair in pairs]
    assert leads == sorted(leads)
    behind, n_compared, n_missing = cells_behind(store)
    assert text.count("**behind:**") == len(behind)
    assert f'"Published numbers, on other images", "{len(behind)}/{n_compared}"' in text
    assert f"{n_missing} published numbers were not run" in text
    assert text.count("**behind** by") == sum(lead < 0 for lead in leads)
    # a sentence, a short table and one picture come before everything else
    items, start = contests(store), text[: text.index("summary.png")]
    lost = [item for item in items if item.lost]
    assert 1 <= len(lost) <= 10
    assert start.count('\n   "') == len(lost)
    # docutils makes a list of a cell that begins with "A. "
    assert not [item.title for item in items if item.title[1:3] == ". "]
    places = [start.index(f'"{item.title}", "{len(item.lost)}/') for item in lost]
    assert places == sorted(places)
    won = start[start.index("Behind in no score: ") :]
    assert all((item.title in won) != bool(item.lost) for item in items)
    deficits = [min(ours - theirs for _, ours, theirs in item.scores) for item in items]
    assert deficits == sorted(deficits)
    n_lost = sum(ours < theirs for item in items for _, ours, theirs in item.scores)
    assert start.count("\n**Behind** in ") == 1 and f"**Behind** in {n_lost} of " in start
    assert text.index("summary.png") < text.index("leaderboard_a") < text.index("Variants 1 to 4")
    # nets that saw more images than the peers are not compared with them
    labels = [system.label for system in SYSTEMS.values() if system.more_data]
    assert labels and not [pair for pair in pairs if pair.name in labels]


def test_long_tables_scroll():
    from benchmarks.leaderboard.tables import rst_table

    short, tall = (rst_table(["name"], [["a"]] * count) for count in (12, 13))
    assert "   :class: tall" in tall and "   :class: tall" not in short
    assert tall.count('   "a"') == 13 and tall[-1] == ""
