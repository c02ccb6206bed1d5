"""Time and memory of the dense Haralick features against one mahotas call per window.

    python benchmarks/bench_haralick.py

Both sides get the same quantized windows in one process, in turns; the largest difference of any
feature is printed. mahotas is timed on a sample of the windows. Work on one thread is timed by the
processor, on more threads by the clock. The memory is how far the peak of a process lies above what
it held before `PixelFeatures` transforms a 2048² field.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import mahotas
import numpy as np

from galaxysegment.preprocessing import PixelFeatures
from galaxysegment.preprocessing._haralick import haralick_maps

WINDOW = 11


def seconds(function, *arguments, clock=time.process_time, **options):
    start = clock()
    result = function(*arguments, **options)
    return clock() - start, result


def mahotas_windows(levels, corners):
    windows = [levels[y : y + WINDOW, x : x + WINDOW] for y, x in corners]
    return np.array([mahotas.features.haralick(window, return_mean=True)[:9] for window in windows])


def compare(n_levels, side, n_windows, repeat, n_jobs):
    """Best seconds a window of mahotas and of the kernel with one and with `n_jobs` threads."""
    rng = np.random.default_rng(n_levels)
    levels = rng.integers(0, n_levels, (side, side))
    corners = rng.integers(0, side - WINDOW, (n_windows, 2))
    best = [np.inf] * 3
    for _ in range(repeat):
        theirs, expected = seconds(mahotas_windows, levels, corners)
        single, maps = seconds(haralick_maps, levels, WINDOW, n_levels)
        many, _ = seconds(
            haralick_maps, levels, WINDOW, n_levels, n_jobs=n_jobs, clock=time.perf_counter
        )
        best = [
            min(pair)
            for pair in zip(
                best, (theirs / n_windows, single / side**2, many / side**2), strict=True
            )
        ]
    y, x = (corners + WINDOW // 2).T
    difference = np.abs(maps[:, y, x].T - expected).max()
    theirs, single, many = best
    print(
        f"{n_levels:4d} levels: mahotas {theirs * 1e6:7.1f} µs a window, kernel "
        f"{single * 1e6:.3f} µs on one thread "
        f"({theirs / single:6.0f} ×), {many * 1e6:.3f} µs on {n_jobs} ({theirs / many:6.0f} ×); "
        f"largest difference {difference:.1e}",
        flush=True,
    )


def growth(repeat):
    """Microseconds a pixel for images of growing size, 32 levels, one thread."""
    rng = np.random.default_rng(0)
    for side in (128, 256, 512, 1024, 2048):
        levels = rng.integers(0, 32, (side, side))
        best = min(seconds(haralick_maps, levels, WINDOW, 32)[0] for _ in range(repeat))
        print(f"{side:5d}²: {best:7.3f} s, {best / side**2 * 1e6:.3f} µs a pixel", flush=True)


def peak_bytes():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def held_bytes():
    """What the process holds now.

    Where the system does not say, its peak, which makes the growth a lower bound.
    """
    status = Path("/proc/self/statm")
    return (
        int(status.read_text().split()[1]) * resource.getpagesize()
        if status.is_file()
        else peak_bytes()
    )


def memory(side, dtype):
    """Print how far the peak of this process grows per pixel and feature of a field."""
    rng = np.random.default_rng(0)
    features = PixelFeatures(n_jobs=2)
    features.fit_transform(rng.normal(size=(1, 64, 64)).astype(dtype))  # compiles, imports
    X = rng.normal(size=(1, side, side)).astype(dtype)
    before = held_bytes()
    out = features.fit_transform(X)
    grown = peak_bytes() - before
    n_features = out.shape[1]
    print(
        f"{side}² {dtype}: {grown / 2**20:.0f} MiB more, {grown / side**2 / n_features:.1f} bytes "
        "a pixel and feature "
        f"({out.dtype.itemsize} of them the result)"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument(
        "--memory", choices=["float32", "float64"], help="measure the memory only, in this process"
    )
    options = parser.parse_args()
    if options.memory:
        memory(2048, options.memory)
        return
    haralick_maps(np.zeros((16, 16), dtype=int), 3, 8)  # compiles
    print(f"256² pixels, window {WINDOW} × {WINDOW}")
    for n_levels, n_windows in ((8, 2000), (32, 2000), (256, 200)):
        compare(n_levels, 256, n_windows, options.repeat, options.n_jobs)
    print("cost and size")
    growth(options.repeat)
    print("memory")
    for dtype in ("float32", "float64"):
        subprocess.run([sys.executable, __file__, "--memory", dtype], check=True)


if __name__ == "__main__":
    main()
