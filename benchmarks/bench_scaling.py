"""Measure how time and memory grow with the pixels, the sources and the number of images.

    python -m benchmarks.bench_scaling                          # 2048² to 24576², three densities
    python -m benchmarks.bench_scaling --sides 2048 8192 --densities 92
    python -m benchmarks.bench_scaling --stack 10 50            # images of 2048² through joblib

A field of 2048² pixels is simulated for each density of galaxies (per square arcminute). Larger
fields hold mirrored copies of it, so that pixels and sources grow by the same factor. Each run has
a process of its own on one core, with the default `PhotutilsSegmenter` and a label map as output.
The columns: sources, processor seconds, nanoseconds per pixel with the start of Python, the same
without what the smallest side takes per run, and the largest resident memory of a process.

With ``--stack``, so many files of 2048² go through ``joblib.Parallel(n_jobs=2)``, each read,
segmented and written by a worker.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bench_mosaic import PeakMemory, copy_field, count_sources

SIDE = 2048
DENSITIES = (20.0, 92.0, 400.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[2048, 4096, 8192, 24576], help="multiples of 2048"
    )
    parser.add_argument("--densities", type=float, nargs="+", default=DENSITIES)
    parser.add_argument("--stack", type=int, nargs="+", help="numbers of images, instead of sides")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--n-images", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.n_images:
        segment_stack(options.image, options.n_images, options.folder)
    elif options.image:
        segment(options.image, options.folder)
    elif options.stack:
        image = simulate(options.folder, DENSITIES[1])
        for n_images in options.stack:
            seconds, memory, _ = measure(image, options.folder, n_images)
            print(f"{n_images:>6} images of {SIDE}²{seconds:>8.1f} s{memory:>8.2f} GB", flush=True)
    else:
        for density in options.densities:
            compare_sides(density, options)


def simulate(folder, density):
    """Write a field of 2048² pixels, if that was not done before."""
    from galaxysegment.datasets import write_field

    path = folder / f"scaling-{density:g}.fits"
    if not path.exists():
        write_field(path, (SIDE, SIDE), density=density, random_state=0, progress=False)
    return path


def compare_sides(density, options):
    """Print a line for each side."""
    field, smallest = simulate(options.folder, density), None
    for side in sorted(options.sides):
        n = side // SIDE
        image = field
        if n > 1:
            image = copy_field(field, n, options.folder / f"{field.stem}-mirrored-{n}.fits")
        seconds, memory, n_sources = measure(image, options.folder)
        smallest = smallest or (seconds, side**2)
        each = 1e9 * seconds / side**2
        line = f"{density:>6g}{side:>7}²{n_sources:>9}{seconds:>8.2f} s{each:>8.1f} ns"
        more = side**2 - smallest[1]
        line += f"{1e9 * (seconds - smallest[0]) / more:>8.1f} ns" if more else f"{'':>11}"
        print(f"{line}{memory:>8.2f} GB", flush=True)
        if n > 1:
            image.unlink()


def measure(image, folder, n_images=0):
    """Processor seconds, gigabytes of the largest process, and sources of the map, if any."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        command = [sys.executable, "-m", "benchmarks.bench_scaling", "--folder", own]
        command += ["--image", str(image), "--n-images", str(n_images)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(command, start_new_session=True)
        watch = PeakMemory(process.pid)
        watch.start()
        failed = process.wait()
        watch.running = False
        if failed:
            raise RuntimeError(f"{' '.join(command)} failed")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        labels = Path(own, "labels.fits")
        return seconds, watch.peak, count_sources(labels) if labels.exists() else None


def segment(image, folder):
    """Segment a file in tiles, as ``galaxysegment segment`` does."""
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.mosaic import segment_mosaic

    output = folder / "labels.fits"
    segment_mosaic(PhotutilsSegmenter(), image, hdu="SCI", output=output, rms=False, progress=False)


def segment_stack(image, n_images, folder):
    """Segment a file `n_images` times on two workers, each time into a file of its own."""
    from joblib import Parallel, delayed

    outputs = (folder / f"labels-{index}.fits" for index in range(n_images))
    Parallel(n_jobs=2)(delayed(segment_image)(image, output) for output in outputs)


def segment_image(image, output):
    """Read, segment and write one image."""
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.io import read_image, write_label_map

    labels = PhotutilsSegmenter().predict(read_image(image, hdu="SCI")[None])[0]
    write_label_map(output, labels)
    output.unlink()


if __name__ == "__main__":
    main()
