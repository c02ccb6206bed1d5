"""The pages of the leaderboard show its stored results, and begin with what is lost."""

from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def test_the_page_shows_every_stored_number(tmp_path, results):
    from benchmarks.leaderboard.page import write_page
    from benchmarks.leaderboard.store import Store, number

    first = write_page(results, tmp_path / "page.rst")
    text = "".join(path.read_text() for path in sorted(tmp_path.glob("page*.rst")))
    store = Store(results)
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


def test_the_pages_on_disk_are_those_of_the_tables(results):
    from benchmarks.leaderboard.page import CAPTIONS, make_pages
    from benchmarks.leaderboard.store import Store

    guide = ROOT / "docs" / "guide"
    pages = make_pages(Store(results), set(CAPTIONS))
    made = {f"leaderboard{suffix}.rst": text.encode() for suffix, text in pages.items()}
    stored = {path.name: path.read_bytes() for path in guide.glob("leaderboard*.rst")}
    assert sorted(stored) == sorted(made)
    old = [name for name, text in made.items() if stored[name] != text]
    assert not old, "rebuild them: python -m benchmarks.leaderboard page"


def test_the_page_begins_with_what_is_lost(results):
    from benchmarks.leaderboard.page import make_pages
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.summary import contests
    from benchmarks.leaderboard.systems import SYSTEMS
    from benchmarks.leaderboard.verdicts import cells_behind, duels

    store = Store(results)
    text, pairs = make_pages(store, {"summary"})[""], duels(store)
    leads = [pair.lead for pair in pairs]
    assert leads == sorted(leads)
    behind, n_compared, n_missing = cells_behind(store)
    assert text.count("**behind:**") == len(behind)
    row = f'"Published numbers, on other images", "{len(behind)} of {n_compared}"'
    assert row in text
    assert (f"{n_missing} published numbers were not run" in text) == (n_missing > 0)
    assert text.count("**behind** by") == sum(lead < 0 for lead in leads)
    # a sentence, a short table and one picture come before everything else
    items, start = contests(store), text[: text.index(".. toctree")]
    now, former = ([item for item in items if item.former is side] for side in (False, True))
    assert items == [*now, *former]
    assert 1 <= len(now) <= 10
    first, second = start.split("summary.png")
    for part, table in ((now, first), (former, second)):
        assert table.count('\n   "') == len(part)
        rows = [f'"{item.title}", "{len(item.lost)} of {len(item.scores)}"' for item in part]
        places = [table.index(row) for row in rows]
        assert places == sorted(places)
        deficits = [min(ours - theirs for _, ours, theirs in item.scores) for item in part]
        assert deficits == sorted(deficits)
    # docutils makes a list of a cell that begins with "A. "
    assert not [item.title for item in items if item.title[1:3] == ". "]
    n_lost = sum(ours < theirs for item in items for _, ours, theirs in item.scores)
    assert start.count("\n**Behind** in ") == 1 and f"**Behind** in {n_lost} of " in start
    close = [score for item in items for score in item.lost if score[1] - score[2] > -0.002]
    assert f" {len(close)} of these deficits are below .002." in start
    assert text.index("summary.png") < text.index("leaderboard_a") < text.index("Variants 1 to 4")
    # nets that saw more images than the peers are not compared with them
    labels = [system.label for system in SYSTEMS.values() if system.more_data]
    assert labels and not [pair for pair in pairs if pair.name in labels]


def test_nets_of_another_program_stay_off_the_page(tmp_path, results):
    from benchmarks.leaderboard.page import make_pages
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.table_file import read_runs, write_runs

    runs = [run for run in read_runs(results / "C.csv") if run["system"] == "mask_rcnn"]
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


def test_rows_of_former_weights_are_marked(stored, tmp_path, results):
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
    rows = read_runs(results / "btk.csv")
    for row in rows:
        row["weights"] = today if row["system"] == SYSTEMS["unet_sky"].label else "none 0.1"
    write_runs(folder / "btk.csv", rows)
    marked = {row["system"] for row in Store(folder).elsewhere["btk"] if "‡" in row["system"]}
    assert marked == {SYSTEMS[name].label + " ‡" for name in ("unet_shipped", "mask_rcnn_blends")}
    assert "‡: by a former version" in make_pages(Store(folder))["_elsewhere"]
