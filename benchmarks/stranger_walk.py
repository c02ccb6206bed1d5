"""Walk as a stranger does: install the wheel in an empty folder, and follow the documentation.

    python benchmarks/stranger_walk.py
    python benchmarks/stranger_walk.py --folder walk --full

It builds the wheel, makes a virtual environment and installs the light environment of the page on
installing (``--full``: everything, torch included). Then it takes the steps of a first day, each
with the commands and code of the documentation, in a folder of its own: demo, an own FITS file with
weight map and flags, a catalog with magnitudes, regions, a notebook with a grid search, a segmenter
in another package, and a mosaic on a dask cluster. It prints the seconds of each step, of the wall
clock and of the processor, and stops at the first stumble with what was said.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

OWN_FILES = """
import numpy as np
from astropy.io import fits
from galaxysegment.datasets import load_sample_field

field = load_sample_field()
header = field.wcs.to_header()
fits.writeto("image.fits", field.image[0], header)
fits.writeto("weight.fits", 1 / field.rms**2, header)
flags = np.zeros(field.rms.shape, np.int16)
flags[100, :] = 1  # a bad row
flags[:, 700:704] = 4096  # a bleeding trail
flags[300:320, 300:320] = 2  # harmless
fits.writeto("flags.fits", flags, header)
print(np.count_nonzero(flags & 4097), "bad pixels")
"""
CATALOG = """
import numpy as np
from astropy.io import fits
from astropy.table import QTable

catalog = QTable.read("sources.fits")
rows = catalog["label", "ra", "dec", "magnitude", "magnitude_error"]
labels, flags = fits.getdata("labels.fits"), fits.getdata("flags.fits")
assert len(rows) == labels.max() > 50
assert not labels[flags & 4097 > 0].any()
assert np.isfinite(rows["magnitude"].value).mean() > 0.9
brightest = rows[np.nanargmin(rows["magnitude"].value)]
print(f"{len(rows)} sources, the brightest of {brightest['magnitude'].value:.2f} mag")
"""
REGIONS = """
from astropy.io import fits
from regions import Regions

regions = Regions.read("sources.reg", format="ds9")
assert len(regions) == fits.getdata("labels.fits").max()
print(len(regions), "regions,", type(regions[0]).__name__)
"""


class Walk:
    """A folder, an environment, and the times of the steps taken so far."""

    def __init__(self, folder):
        self.folder = folder
        self.programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        self.times = []

    def step(self, name, *commands):
        """Run commands in the folder; keep their seconds."""
        wall, before = time.perf_counter(), seconds_of_children()
        for command in commands:
            said = self.run(command)
        self.times.append((name, time.perf_counter() - wall, seconds_of_children() - before))
        last = said.strip().splitlines()[-1:] or [""]
        print("{:<44}{:7.1f} s{:7.1f} s  ".format(*self.times[-1]) + last[0][:70], flush=True)

    def run(self, command):
        """Run a command of the environment; return what it said."""
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"stumbled over {command}:\n{done.stdout}")
        return done.stdout

    def script(self, name, code):
        """Write a script, and return the command that runs it."""
        (self.folder / name).write_text(code, encoding="utf-8")
        return [self.programs / "python", name]


def seconds_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def build_wheel(folder):
    """Build the wheel of this tree."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), "."]
    with tempfile.TemporaryDirectory() as copy:  # setuptools leaves a folder ``build`` behind
        source = Path(copy) / "source"
        names = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "galaxysegment")
        source.mkdir()
        for name in names:
            copier = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copier(ROOT / name, source / name)
        subprocess.run(command, cwd=source, check=True)
    return next(folder.glob("galaxysegment-*.whl"))


def light_environment():
    """Return the packages that the page on installing names."""
    page = (ROOT / "docs" / "guide" / "install.rst").read_text(encoding="utf-8")
    section = page[page.index("A light environment\n-") :]
    command = re.search(r"python -m pip install (numpy .+?)\n +python", section, re.DOTALL)[1]
    return command.replace("\\", "").split()


def snippet(page, caption):
    """Return the code under a caption of a page of the guide."""
    text = (ROOT / "docs" / "guide" / page).read_text(encoding="utf-8")
    block = re.search(rf":caption: {re.escape(caption)}\n\n((?:(?: {{4}}.*)?\n)+)", text)[1]
    return textwrap.dedent(block)


def notebook():
    """Return a notebook with the example of the README, a grid search."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.+?)```", readme, re.DOTALL)[1] + "\nprint(search.best_params_)"
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "id": "a"}
    cells = [{**cell, "source": code}]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def cluster_command(walk):
    """Write what the page on clusters shows, and return the command that runs it."""
    folder = walk.folder / "cluster"
    folder.mkdir()
    for name in ("segment.py", "job.sh"):
        (folder / name).write_text(snippet("clusters.rst", name), encoding="utf-8")
    srun = walk.programs / "srun"  # Slurm's, here: as many processes as tasks
    srun.write_text('#!/bin/bash\nfor n in $(seq "${1#--ntasks=}"); do "${@:2}" & done; wait\n')
    srun.chmod(0o755)
    variables = [f"SLURM_SUBMIT_DIR={folder}", "SLURM_JOB_ID=1", "SLURM_NTASKS=2"]
    return ["env", *variables, "bash", folder / "job.sh"]


def take_steps(walk, wheel, full):
    """Take all steps, in the order of a first day."""
    python, program = walk.programs / "python", walk.programs / "galaxysegment"
    pip = [python, "-m", "pip", "install", "-q"]
    walk.step("make an environment", [sys.executable, "-m", "venv", "env"])
    if full:
        walk.step("install, with torch", [*pip, wheel])
    else:
        light = [*pip, *light_environment()], [*pip, "--no-deps", wheel]
        walk.step("install, the light environment", *light)
    walk.step("demo", [program, "demo", "--output", "demo"])
    walk.step("write an own image, weights and flags", walk.script("own.py", OWN_FILES))
    segment = [program, "segment", "image.fits", "--rms", "weight.fits", "--rms-kind", "weight"]
    segment += ["--mask", "flags.fits", "--mask-bits", "1,4096", "--output", "labels.fits"]
    segment += ["--catalog", "sources.fits", "--zero-point", "25.9", "--regions", "sources.reg"]
    walk.step("segment it", [*segment, "--set", "deblend=True"])
    walk.step("read the catalog", walk.script("catalog.py", CATALOG))
    walk.step("open the regions", [*pip, "regions"], walk.script("regions_.py", REGIONS))
    (walk.folder / "search.ipynb").write_text(notebook(), encoding="utf-8")
    execute = [python, "-m", "nbconvert", "--to", "notebook", "--execute", "search.ipynb"]
    walk.step("install Jupyter", [*pip, "nbconvert", "ipykernel"])
    walk.step("run a notebook with GridSearchCV", [*execute, "--output", "done.ipynb"])
    shutil.copytree(ROOT / "tests" / "embedding" / "starfinder", walk.folder / "starfinder")
    walk.step(
        "an own segmenter in another package",
        [*pip, "setuptools>=77", "pytest"],
        [*pip, "--no-deps", "--no-build-isolation", "./starfinder"],
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "starfinder/tests"],
    )
    walk.step("install dask", [*pip, "dask", "distributed"])
    job = cluster_command(walk)
    field = "from galaxysegment.datasets import load_sample_field as load; "
    field += "load().write('cluster/field.fits')"
    walk.step("a mosaic on a dask cluster", [python, "-c", field], job)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep everything here (a new folder)")
    parser.add_argument("--full", action="store_true", help="install torch and its kin too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary) / "walk").resolve()
        folder.mkdir(parents=True)
        walk = Walk(folder)
        print(f"{'step':<44}{'wall':>9}{'CPU':>9}")
        take_steps(walk, build_wheel(folder), arguments.full)
    wall, processor = (sum(row[index] for row in walk.times) for index in (1, 2))
    print(f"{'all':<44}{wall:7.1f} s{processor:7.1f} s")


if __name__ == "__main__":
    main()
