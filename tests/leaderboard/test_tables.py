"""Stored rows and the tables of the pages: what they keep, show and leave out."""

import pytest


def test_stored_results_say_how_they_were_made(results, read):
    from benchmarks.leaderboard.run import key

    for setting in "ABC":
        runs = read(results, setting)
        assert len({key(run) for run in runs}) == len(runs) > 30
        for run in runs:
            assert run["setting"] == setting
            assert run["scale"] == "full"
            assert f"--setting {setting} --system {run['system']}" in run["command"]
            assert {"versions", "machine", "date", "seed", "budget"} <= set(run)
            assert "not installed" in run or {"fit", "predict", "sources", "pixels"} <= set(run)


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


def test_what_was_not_run_is_listed_with_its_budget(stored):
    from benchmarks.leaderboard.budgets import not_run

    rows = [line for line in not_run(stored(("smp_unet", "snr", 1, 0.8))) if "pytorch" in line]
    assert rows[0].startswith('   "A", "segmentation_models_pytorch U-Net", "asinh of S/N", ')
    command = "``run --setting A --system smp_unet --variant snr --seed 0 --budget 20``"
    assert f'"{command}", "0, 2", ' in rows[0]
    minutes = float(rows[0].split(", ")[-2].strip('"'))
    assert minutes == pytest.approx(40, rel=0.2)  # 20 minutes of two cores
    every = "\n".join(not_run(stored()))
    command = "run --setting A --system mask_rcnn --variant 3 --seed 0 --budget 20"
    assert f'"variant 3: Liberator + RMS", "``{command}``", "0, 1, 2"' in every


def test_long_tables_scroll():
    from benchmarks.leaderboard.tables import rst_table

    short, tall = (rst_table(["name"], [["a"]] * count) for count in (12, 13))
    assert "   :class: tall" in tall and "   :class: tall" not in short
    assert tall.count('   "a"') == 13 and tall[-1] == ""


def test_completeness_at_a_purity():
    from benchmarks.leaderboard.tables import at_purity

    curve = {"purity": [0.5, 0.8, 1.0], "completeness": [0.9, 0.7, 0.3]}
    assert at_purity(curve, 0.8) == pytest.approx(0.7)
    assert at_purity(curve, 0.9) == pytest.approx(0.5)
    assert at_purity({"purity": [0.5], "completeness": [0.9]}, 0.9) == 0
