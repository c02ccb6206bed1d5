"""Seconds, memory and versions: what a number depends on besides the data."""

import os
import platform
import resource
import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "galaxysegment",
    "numpy",
    "scikit-learn",
    "photutils",
    "sep",
    "torch",
    "torchvision",
    "transformers",
    "segmentation-models-pytorch",
    "galsim",
)


class Stopwatch:
    """Context that measures wall and processor seconds and the largest growth of memory, MiB."""

    def __enter__(self):
        self._stop = threading.Event()
        self._before = self._largest = resident_mib()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self._start, self._cpu = time.perf_counter(), _processor_seconds()
        return self

    def __exit__(self, *error):
        self.seconds = time.perf_counter() - self._start
        self.processor_seconds = _processor_seconds() - self._cpu
        self._stop.set()
        self._watcher.join()
        self.memory_mib = max(self._largest, resident_mib()) - self._before

    def _watch(self):
        while not self._stop.wait(0.02):
            self._largest = max(self._largest, resident_mib())

    def as_dict(self):
        return {
            "seconds": round(self.seconds, 3),
            "processor_seconds": round(self.processor_seconds, 3),
            "memory_mib": round(self.memory_mib, 1),
        }


def resident_mib():
    """Memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as statm:  # noqa: PTH123 - fifty times a second
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def _processor_seconds():
    own, children = (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def versions(more=()):
    """Versions of what computes, those that are installed."""
    predicted = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            predicted[name] = version(name)
        except PackageNotFoundError:
            continue
    return predicted | dict(more)


def machine():
    """What kind of machine ran it."""
    predicted = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        predicted["gpu"] = torch.cuda.get_device_name()
    return predicted


def _processor():
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            return next(
                line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor()
