"""Kill mosaics at random moments, resume them, and compare the bytes with an undisturbed run.

    python benchmarks/kill_mosaics.py --kills 100 [--segmenters SEPSegmenter] [--seed 0] [--n-jobs
    1]

A trial goes on until a run finishes. Each of its runs is a process of its own that gets SIGKILL
after a random part of the time that an undisturbed run takes. Most runs resume; some start over,
some belong to a segmenter with another parameter, whose records must not be used. An output that
exists after a kill must be whole. In the last trial of each segmenter, fresh interpreters that read
the segmenter from a model file take turns.

One line for each segmenter says how many kills and trials there were. The exit status is 1 if a map
differs or an unexpected error comes.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "hardening"))

import numpy as np
from trained import scenes, trained

from galaxysegment._utils.discovery import all_estimators
from galaxysegment.io import read_label_map
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.persistence import load, save

CLASSES = dict(all_estimators("segmenter"))
REFUSED = "resume=True, but the unfinished run"
_ERROR = 4


def main():
    """Run the campaign; return the exit status."""
    arguments = _parse()
    if arguments.one:
        return _segment(load(arguments.one), Path(arguments.folder), True, arguments.n_jobs)
    warnings.simplefilter("ignore")
    failures = 0
    for name in arguments.segmenters:
        with tempfile.TemporaryDirectory(prefix="kill-mosaics-") as folder:
            failures += Campaign(name, Path(folder), arguments).run()
    return int(failures > 0)


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="for each segmenter")
    parser.add_argument("--segmenters", nargs="+", default=sorted(CLASSES), choices=sorted(CLASSES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--fresh", type=int, default=2, help="kills of fresh interpreters")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def make_segmenter(name):
    """A small fitted segmenter that finds the galaxies of `scenes`."""
    if name in {"MaskRCNNSegmenter", "DETRSegmenter"}:
        return trained(name)
    tiny = {
        "UNetSegmenter": {"base_width": 4, "depth": 2, "max_epochs": 15, "random_state": 0},
        "RandomForestSegmenter": {"n_estimators": 5, "random_state": 0},
    }
    return CLASSES[name](**tiny.get(name, {})).fit(*scenes(16, random_state=1))


def _segment(segmenter, folder, resume, n_jobs):
    """Segment the image of a folder; return the exit status of the process."""
    output = folder / "labels.fits"
    options = {"resume": resume, "overwrite": True, "n_jobs": n_jobs, "progress": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segment_mosaic(segmenter, folder / "image.fits", output=output, tile_size=64, **options)
    except ValueError as error:
        if not str(error).startswith(REFUSED):
            raise
        return 2
    return 0


class Campaign:
    """All trials of one segmenter."""

    def __init__(self, name, folder, arguments):
        self.name, self.folder = name, folder
        self.n_jobs, self.n_wanted, self.n_fresh = (
            arguments.n_jobs,
            arguments.kills,
            arguments.fresh,
        )
        self.random = random.Random(arguments.seed)
        self.output = folder / "labels.fits"
        self.work = folder / ".labels.fits.unfinished"
        self.n_kills = self.n_trials = self.n_wrong = self.n_kept = 0

    def run(self):
        """Kill and resume until there were enough kills; return the number of defects."""
        self._prepare()
        while self.n_kills < self.n_wanted:
            self._trial(self._fork)
        self.n_wanted += self.n_fresh
        if self.n_fresh:
            self._trial(self._start_fresh)
        print(
            f"{self.name}: {self.n_kills} kills in {self.n_trials} trials, "
            f"{self.n_kept / max(self.n_kills, 1):.1f} records kept at a kill, "
            f"{self.n_wrong} defects; undisturbed {self.seconds:.2f} s, "
            f"{len(self.expected[0])} bytes, {self.n_sources} sources.",
            flush=True,
        )
        return self.n_wrong

    def _prepare(self):
        from astropy.io import fits

        image = np.concatenate(
            [np.concatenate(list(scenes(4, random_state=seed)[0]), axis=1) for seed in (5, 6, 7)]
        )
        fits.PrimaryHDU(image).writeto(self.folder / "image.fits")
        self.segmenter = make_segmenter(self.name)
        save(self.segmenter, self.folder / "segmenter.safetensors")
        self.segmenter = load(self.folder / "segmenter.safetensors")
        self.other = load(self.folder / "segmenter.safetensors").set_params(n_pixels=3)
        _segment(self.segmenter, self.folder, False, 1)  # imports everything for the forks
        self.expected = []
        for segmenter in (self.segmenter, self.other):
            start = time.perf_counter()
            if os.waitpid(self._fork(segmenter, resume=False), 0)[1]:
                raise RuntimeError(f"{self.name}: the undisturbed run fails.")
            self.seconds = time.perf_counter() - start
            self.expected.append(self.output.read_bytes())
            self.n_sources = int(read_label_map(self.output).max())
            self.output.unlink()

    def _trial(self, start):
        """Kill runs of one output until a run finishes, or there were enough kills."""
        self.n_trials += 1
        resume, is_other = False, False
        while True:
            segmenter = self.other if is_other else self.segmenter
            enough = self.n_kills >= self.n_wanted and not is_other
            pid = start(segmenter, resume=resume)
            status = self._wait(pid, None if enough else self._delay(start))
            if os.WIFSIGNALED(status):
                self.n_kills += 1
                self.n_kept += len(list(self.work.glob("*.record")))
                if self.output.exists():  # the run was killed after the map was complete
                    self._compare(is_other)
            elif os.WEXITSTATUS(status) == 2:  # the records are of the other segmenter
                resume, is_other = False, False
                continue
            else:
                self._check(status == 0, f"exit status {os.WEXITSTATUS(status)}")
                self._compare(is_other)
                break
            draw = self.random.random() if start == self._fork else 1
            resume, is_other = draw > 0.2, draw < 0.1
        self._check(not self.work.exists(), "a work folder after the end")
        shutil.rmtree(self.work, ignore_errors=True)

    def _compare(self, is_other):
        """Compare the map with an undisturbed one, and remove it."""
        is_equal = self.output.exists() and self.output.read_bytes() == self.expected[is_other]
        self._check(is_equal, "another map than undisturbed")
        self.output.unlink(missing_ok=True)

    def _delay(self, start):
        # A fresh interpreter takes seconds to import everything.
        wait = self.seconds if start == self._fork else 8 + self.seconds
        return self.random.uniform(0, wait)

    def _check(self, holds, what):
        if not holds:
            self.n_wrong += 1
            print(f"{self.name}: {what} after {self.n_kills} kills", flush=True)

    def _fork(self, segmenter, *, resume):
        pid = os.fork()
        if pid:
            return pid
        status = _ERROR
        try:
            os.setpgid(0, 0)
            status = _segment(segmenter, self.folder, resume, self.n_jobs)
        except BaseException as error:  # whatever it is, it is a defect
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)

    def _start_fresh(self, segmenter, *, resume):
        command = [sys.executable, __file__, "--one", str(self.folder / "segmenter.safetensors")]
        command += ["--folder", str(self.folder), "--n-jobs", str(self.n_jobs)]
        return subprocess.Popen(command, process_group=0).pid

    def _wait(self, pid, delay):
        """Wait for a process and kill it after `delay` seconds; return how it ended."""
        end = None if delay is None else time.perf_counter() + delay
        while True:
            done, status = os.waitpid(pid, 0 if end is None else os.WNOHANG)
            if done:
                return status
            if time.perf_counter() > end:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                end = None
            else:
                time.sleep(0.001)


if __name__ == "__main__":
    sys.exit(main())
