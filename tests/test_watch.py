"""The script that watches ratios over commits sees a slower commit."""

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import galaxysegment

PATH = Path(galaxysegment.__file__).parents[1] / "benchmarks" / "watch.py"
pytestmark = pytest.mark.skipif(not PATH.is_file(), reason="benchmarks are in the source tree only")
TABLE = {
    "v1": {"sep": 1.0, "unet": 2.0, "mosaic": None},
    "v2": {"sep": 1.1, "unet": None, "mosaic": 3.0},
    "v3": {"sep": 1.0, "unet": 2.6, "mosaic": 3.1},
}


@pytest.fixture(scope="module")
def watch():
    spec = importlib.util.spec_from_file_location("watch", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_slower_commit_is_seen(watch, tmp_path):
    worse = list(watch.slower(TABLE, 1.2))  # unet is compared across the commit that lacks it
    assert [row[:3] for row in worse] == [("unet", "v1", "v3")]
    assert worse[0][3] == pytest.approx(1.3)
    lines = watch.as_text(TABLE, 1.2).splitlines()
    assert lines[0].split() == ["ratio", "to", "peer", "v1", "v2", "v3"]
    assert [line.split()[1:] for line in lines[1:]] == [
        ["1", "1.1", "1"],
        ["2", "–", "2.6!"],
        ["–", "3", "3.1"],
    ]
    watch.write_csv(TABLE, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file))[2] == ["v2", "1.1", "", "3.0"]


def test_ten_ratios(watch):
    assert len(watch.PAIRS) == 10


def test_a_process_measures_a_ratio():
    command = [sys.executable, "-W", "ignore", str(PATH), "--measure", "scores"]
    done = subprocess.run(
        command, cwd=PATH.parents[1], capture_output=True, text=True, check=True, timeout=250
    )
    ratios = json.loads(done.stdout)
    assert list(ratios) == ["scores"] and 0 < ratios["scores"] < 5


def test_a_task_is_measured_in_processor_seconds(watch):
    assert 0 < watch.processor_seconds(lambda: sum(range(10_000))) < 0.1


def test_an_unknown_commit_is_named(watch, tmp_path):
    with pytest.raises(SystemExit, match="no-such-commit"):
        watch.check_out("no-such-commit", tmp_path / "tree")
