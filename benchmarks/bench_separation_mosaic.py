"""Separate all sources of a crowded field: seconds, memory of a worker, and errors of the fluxes.

    python benchmarks/bench_separation_mosaic.py --side 8192
    python benchmarks/bench_separation_mosaic.py --side 25000 --n-jobs 2

The field is made of simulated pieces of 1024 × 1024 pixels, turned and mirrored at random, with
noise drawn anew; the label map is the truth. By default it has four times as many galaxies a square
arcminute as `make_field`. Times are wall and processor seconds of the whole run, survey included.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from subprocess import Popen

import numpy as np
from bench_mosaic import PeakMemory

_PIECE = 1024
_KINDS = 4


def make_pieces(density):
    """Light without noise, RMS, label map and true fluxes of a few simulated fields."""
    from galaxysegment.datasets import make_field

    for seed in range(_KINDS):
        field = make_field(
            (_PIECE, _PIECE), density=density, sky_gradient=0, random_state=seed, n_jobs=2
        )
        image = field.image[0] - np.median(field.image[0][field.labels == 0])
        yield image.astype(np.float32), field.rms.astype(np.float32), field.labels


def write_crowd(folder, side, density):
    """Write image.fits (SCI, RMS) and labels.fits, band of rows by band of rows."""
    from astropy.io import fits

    pieces, rng = list(make_pieces(density)), np.random.default_rng(0)
    paths = {}
    for name, dtype in (("image", ">f4"), ("rms", ">f4"), ("labels", ">i4")):
        header = fits.PrimaryHDU(np.zeros((1, 1), dtype)).header
        header["NAXIS1"] = header["NAXIS2"] = side
        paths[name] = folder / f"{name}.fits"
        paths[name].write_bytes(header.tostring().encode("ascii"))
    n_sources = 0
    for y0 in range(0, side, _PIECE):
        height = min(_PIECE, side - y0)
        rows = [np.empty((height, side), dtype) for dtype in (">f4", ">f4", ">i4")]
        for x0 in range(0, side, _PIECE):
            turns, mirror, kind = rng.integers(4), rng.integers(2), rng.integers(_KINDS)
            for row, plane in zip(rows, pieces[kind], strict=True):
                part = np.rot90(plane[:, :: 1 - 2 * mirror], turns)
                part = part[:height, : side - x0]
                if plane.dtype.kind == "i":
                    part = np.where(part > 0, part + n_sources, 0)
                row[:, x0 : x0 + part.shape[1]] = part
            n_sources += int(pieces[kind][2].max())
        for path, row in zip(paths.values(), rows, strict=True):
            with path.open("ab") as file:
                file.write(row.data)
    for path in paths.values():
        with path.open("ab") as file:
            file.write(b"\0" * (-path.stat().st_size % 2880))
    return paths


def run(arguments):
    from galaxysegment.mosaic import separate_mosaic
    from galaxysegment.separation import TemplateSeparator

    folder = arguments.folder
    separate_mosaic(
        TemplateSeparator(n_iterations=arguments.n_iterations),
        folder / "image.fits",
        folder / "labels.fits",
        rms=folder / "rms.fits",
        output=arguments.output,
        kind=arguments.kind,
        tile_size=arguments.tile_size,
        n_jobs=arguments.n_jobs,
        progress=False,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="pixels of a side (%(default)s)")
    parser.add_argument("--density", type=float, default=368, help="per arcmin² (%(default)s)")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--n-iterations", type=int, default=16)
    parser.add_argument("--tile-size", type=int, default=2048)
    parser.add_argument("--kind", choices=("fluxes", "parts"), default="fluxes")
    parser.add_argument("--folder", type=Path, default=None, help="where to put the field")
    parser.add_argument("--output", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.output:
        run(arguments)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "labels.fits").exists():
            write_crowd(folder, arguments.side, arguments.density)
        output = Path(temporary) / "light.fits"
        command = [sys.executable, __file__, *sys.argv[1:]]
        command += ["--folder", str(folder), "--output", str(output)]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        process = Popen(command, start_new_session=True)
        watch = PeakMemory(process.pid)
        watch.start()
        if process.wait():
            raise RuntimeError("separate_mosaic failed")
        seconds = time.perf_counter() - start
        watch.running = False
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        from astropy.table import Table

        table = Table.read(output, hdu="SEPARATED")
        _, sizes = np.unique(table["BLEND"], return_counts=True)
        print(
            f"{arguments.side}²: {len(table)} sources, {(sizes > 1).sum()} blends (largest "
            f"{sizes.max()}); {seconds:.0f} s, {cpu:.0f} CPU s, {1000 * cpu / len(table):.2f} ms a "
            f"source, {watch.peak:.2f} GB the largest process, {output.stat().st_size / 1e9:.2f} GB"
        )


if __name__ == "__main__":
    main()
