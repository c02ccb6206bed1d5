"""A tiny round of the leaderboard runs, repeats and makes its pages."""

import pytest


def test_a_tiny_round(tiny, read):
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


def test_a_run_repeats(tiny, tmp_path, read):
    from benchmarks.leaderboard.__main__ import main

    main(f"run --setting B --system sep --seed 0 --scale tiny --results {tmp_path}".split())
    first, second = (read(folder, "B")[0] for folder in (tiny, tmp_path))
    assert {**first, "fit": 0, "predict": 0} == {**second, "fit": 0, "predict": 0}


def test_rows_of_other_code_are_named(tiny, tmp_path, capsys, read):
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


def test_the_readme_table(tiny, capsys):
    from benchmarks.leaderboard.__main__ import main

    main(f"readme --results {tiny}".split())
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("| system | A: IoU |")
    assert [row.split(" | ")[0] for row in rows] == ["| SEPSegmenter, defaults", "| sep"]


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


def test_a_peer_that_is_absent_has_a_row(tmp_path, monkeypatch, read):
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


def test_the_shipped_weights_are_those_of_the_page(results, read):
    pytest.importorskip("galsim")
    from benchmarks.leaderboard.run import first_iou
    from benchmarks.leaderboard.settings import A
    from benchmarks.leaderboard.systems import SYSTEMS, build, predict

    runs = [run for run in read(results, "A") if run["system"] == "unet_shipped"]
    stored = runs[0]["first patches"]
    test = A.test(0)[: stored["n"]]
    labels = predict(build(SYSTEMS["unet_shipped"], A, "raw", 0), test.X)
    assert first_iou(test, labels, A) == pytest.approx(stored["iou"], abs=0.01)
