"""What counts as a clear error, and the script that runs thousands of cases."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from fuzzing import AREAS, Defect, area
from fuzzing._outcomes import attempt

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


def raises(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    "function",
    [
        raises(KeyError("x")),
        raises(MemoryError()),
        raises(ValueError("")),
        raises(ValueError("a.fits has\ntwo lines")),
        raises(ValueError("who?")),
        raises(OSError("a.fits " + "long " * 1000)),
        lambda: warnings.warn("a.fits", UserWarning, stacklevel=1),
    ],
)
def test_what_is_no_clear_error_is_a_defect(function):
    with pytest.raises(Defect):
        attempt(function, names=("a.fits",))


def test_clear_errors_and_values_are_told_apart():
    error, _ = attempt(raises(ValueError("a.fits is damaged")), names=("a.fits",))
    assert str(error) == "a.fits is damaged"
    assert attempt(lambda: 3) == (None, 3)


def test_every_area_has_kinds():
    assert sum(len(area(name).KINDS) for name in AREAS) > 50


def test_the_script_counts_outcomes():
    command = [
        sys.executable,
        str(SCRIPT),
        "20",
        "--seed",
        "4",
        "--areas",
        "panoptic",
        "--every",
        "5",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 cases in" in done.stdout and "0 defects" in done.stdout


def test_the_script_shows_crashes_hangs_and_memory(tmp_path):
    """A kind that ends the process, one that sleeps and one that takes the memory.

    Outcomes, not accidents.
    """
    folder = tmp_path / "tests" / "hardening"
    folder.mkdir(parents=True)
    (tmp_path / "benchmarks").mkdir()
    script = tmp_path / "benchmarks" / "fuzz.py"
    script.write_text(SCRIPT.read_text())
    (folder / "fuzzing.py").write_text(
        "import os, sys, time\n"
        "AREAS = ('bad',)\n"
        "area = lambda name: sys.modules[__name__]\n"
        "warm_up = lambda: None\n"
        "check = lambda case, thorough: case()\n"
        "KINDS = {'crash': lambda *_: os.abort, 'hang': lambda *_: lambda: time.sleep(60),\n"
        "         'memory': lambda *_: lambda: bytearray(2**40), 'good': lambda *_: lambda: "
        "'read'}\n"
    )
    command = [sys.executable, str(script), "4", "--seconds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    table = [
        line.split()
        for line in done.stdout.splitlines()
        if line.startswith("bad ") and "|" not in line
    ]
    rows = {kind: counts for _, kind, *counts in table}
    assert done.returncode == 1
    # columns: error, read, defect, crash, hang
    assert rows == {
        "crash": ["0", "0", "0", "1", "0"],
        "hang": ["0", "0", "0", "0", "1"],
        "memory": ["0", "0", "1", "0", "0"],
        "good": ["0", "1", "0", "0", "0"],
    }
