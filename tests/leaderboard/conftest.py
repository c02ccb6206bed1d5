"""What the tests of the leaderboard share; without the benchmarks there are none."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# the benchmarks are not part of an installed package
collect_ignore_glob = [] if (ROOT / "benchmarks" / "leaderboard").is_dir() else ["test_*.py"]


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def results():
    """Folder of the stored tables."""
    return ROOT / "benchmarks" / "leaderboard" / "results"


@pytest.fixture
def read():
    """Read the runs of a setting from a folder, by seed."""
    from benchmarks.leaderboard.table_file import read_runs

    def read_setting(folder, setting):
        return sorted(read_runs(folder / f"{setting}.csv"), key=lambda run: run["seed"])

    return read_setting


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
