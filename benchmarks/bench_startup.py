"""Time how long the package takes to start, beside scikit-learn.

    python benchmarks/bench_startup.py [--repeats 9]

Each command runs in a process of its own, in turn, and the median of its processor seconds counts.
The package is compiled to byte code first, as pip does when it installs it, and numba does not find
the package coverage, which it would import.
The last column is the ratio to ``import sklearn.base``, which every estimator needs.
"""

import argparse
import compileall
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import galaxysegment
from galaxysegment.datasets import load_sample_field


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="runs of each (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compileall.compile_dir(Path(galaxysegment.__file__).parent, quiet=1)
        Path(folder, "coverage.py").write_text("raise ImportError", encoding="utf-8")
        paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        commands = make_commands(Path(folder))
        seconds = {name: [] for name in commands}
        for _ in range(arguments.repeats + 1):  # the first run fills the caches
            for name, command in commands.items():
                seconds[name].append(processor_seconds(command))
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    unit = medians["import sklearn.base"]
    for name, median in medians.items():
        print(f"{name:<60}{median:6.2f} s{median / unit:8.2f}")


def make_commands(folder):
    """The commands by the name that the table shows."""
    image = folder / "field.fits"
    load_sample_field().write(image)
    program = [sys.executable, "-m", "galaxysegment"]
    statements = (
        "import numpy",
        "import sklearn.base",
        "import galaxysegment",
        "from galaxysegment import PhotutilsSegmenter",
        "from galaxysegment import UNetSegmenter",
    )
    commands = {statement: [sys.executable, "-c", statement] for statement in statements}
    commands["galaxysegment --help"] = [*program, "--help"]
    for method in ("photutils", "sep"):
        name = f"galaxysegment segment, 512 x 1024 pixels, {method}"
        commands[name] = [*program, "segment", str(image), "--method", method, "--overwrite"]
    return commands


def processor_seconds(command):
    """Run a command; return its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
