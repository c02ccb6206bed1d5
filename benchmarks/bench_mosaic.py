"""Segment one large simulated field with galaxysegment, SExtractor, sep and photutils.

Compare time, memory and number of sources.

    python benchmarks/bench_mosaic.py --side 8192
    python benchmarks/bench_mosaic.py --side 25000 --methods sep-mosaic photutils-mosaic sextractor
    python benchmarks/bench_mosaic.py --side 8192 --copies 3 --deblend --n-jobs 1
    python benchmarks/bench_mosaic.py --side 8192 --deblend --stages sep-mosaic
    python benchmarks/bench_mosaic.py --side 8192 --deblend --dask --methods photutils-mosaic

Every method runs in a process of its own, at the same thresholds, and writes a segmentation map.
Printed are wall time until the process ends and until the map is on the disk, the largest resident
memory of any one process, and the number of sources; and times and memory relative to SExtractor,
or to the first method. The sources are compiled to byte code first, as an installation does: where
Python is told to write none, each process would do that again for 0.12 s.

``--copies 3`` puts 3 × 3 copies of the field side by side, because a large field takes long to
simulate. Every second copy is mirrored, so that the sky has no steps where copies meet. With
``--stages`` one method runs in one process, with ``--n-jobs`` threads, and its processor seconds
are told apart by stage. The last line predicts the wall time on a machine that does nothing else:
what the main thread does alone, the rest divided by the number of threads, and the wait for the
disk. It leaves out that threads wait for each other.
"""

import argparse
import compileall
import gc
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path

N_SIGMA, N_PIXELS, BOX = 1.5, 10, 50
CONTRAST = 0.005
METHODS = ("sextractor", "sep-mosaic", "photutils-mosaic")
METHODS += ("sep-plain", "photutils-plain", "photutils-whole")
# What would not fit into the memory of a small machine.
WHOLE = {"sep-plain", "photutils-plain", "photutils-whole"}


def segment_in_tiles(segmenter, arguments, output):
    from galaxysegment.mosaic import segment_mosaic

    with cluster_of(arguments.n_jobs) if arguments.dask else nullcontext():
        segment_mosaic(
            segmenter,
            arguments.image,
            hdu="SCI",
            output=output,
            n_jobs=arguments.n_jobs,
            tile_size=arguments.tile_size,
            progress=False,
            rms=arguments.rms,  # without it no program looks at the RMS map
        )


@contextmanager
def cluster_of(n_workers):
    """A cluster of dask on this machine, which does what joblib is asked for."""
    import joblib
    from dask.distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "dashboard_address": None}
    with (
        LocalCluster(n_workers=n_workers, **options) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


def options_of(arguments):
    """The parameters that make our segmenters' thresholds and boxes those of the others."""
    options = {
        "n_sigma": N_SIGMA,
        "n_pixels": N_PIXELS,
        "box_size": BOX,
        "deblend": arguments.deblend,
        "contrast": CONTRAST,
    }
    if arguments.bare:
        options |= {"level_seams": False, "mask_objects": False, "correlated_noise": False}
        options |= {"no_data": "nan"}
    return options


def run_sep_mosaic(arguments, output):
    from galaxysegment import SEPSegmenter

    options = options_of(arguments) | {"rms_band": -1 if arguments.rms else None}
    segment_in_tiles(SEPSegmenter(**options), arguments, output)


def run_photutils_mosaic(arguments, output):
    from galaxysegment import PhotutilsSegmenter

    options = options_of(arguments) | {"rms_band": -1 if arguments.rms else None}
    segment_in_tiles(PhotutilsSegmenter(**options), arguments, output)


def run_photutils_whole(arguments, output):
    """Segment the whole image at once: what `predict` does without a mosaic."""
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.io import read_image, write_label_map

    image = read_image(arguments.image, hdu="SCI")
    labels = PhotutilsSegmenter(**options_of(arguments)).predict(image[None])[0]
    write_label_map(output, labels)


def run_photutils_plain(arguments, output):
    """Follow photutils' own tutorial."""
    from astropy.convolution import convolve
    from astropy.io import fits
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import deblend_sources, detect_sources, make_2dgaussian_kernel

    from galaxysegment._utils.packages import without_bar

    data = fits.getdata(arguments.image, "SCI").astype("f4")
    background = Background2D(
        data, (BOX, BOX), filter_size=(3, 3), bkg_estimator=MedianBackground()
    )
    data -= background.background
    smooth = convolve(data, make_2dgaussian_kernel(3.0, size=5))
    sources = detect_sources(smooth, N_SIGMA * background.background_rms, N_PIXELS)
    if arguments.deblend:
        sources = deblend_sources(smooth, sources, N_PIXELS, contrast=CONTRAST, **without_bar())
    fits.writeto(output, sources.data)


def run_sep_plain(arguments, output):
    """Follow sep's own tutorial."""
    import numpy as np
    import sep
    from astropy.io import fits

    from galaxysegment.detection._smoothing import gaussian_profile

    data = np.ascontiguousarray(fits.getdata(arguments.image, "SCI").astype("f4"))
    sep.set_extract_pixstack(20_000_000)
    background = sep.Background(data, bw=BOX, bh=BOX)
    background.subfrom(data)
    profile = gaussian_profile(3.0, 5)
    options = {
        "minarea": N_PIXELS,
        "filter_kernel": np.outer(profile, profile),
        "segmentation_map": True,
    }
    contrast = CONTRAST if arguments.deblend else 1.0
    _, labels = sep.extract(
        data, N_SIGMA, err=background.rms(), filter_type="conv", deblend_cont=contrast, **options
    )
    fits.writeto(output, labels)


def run_sextractor(arguments, output):
    import numpy as np

    from galaxysegment.detection._smoothing import gaussian_profile

    folder = output.parent
    kernel = np.outer(*(gaussian_profile(3.0, 5),) * 2)
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in kernel)
    (folder / "gauss.conv").write_text(f"CONV NORM\n{rows}\n")
    (folder / "out.param").write_text("NUMBER\nX_IMAGE\nY_IMAGE\nFLUX_ISO\n")
    (folder / "empty.sex").write_text("")
    options = {
        "DETECT_MINAREA": N_PIXELS,
        "DETECT_THRESH": N_SIGMA,
        "ANALYSIS_THRESH": N_SIGMA,
        "FILTER": "Y",
        "FILTER_NAME": folder / "gauss.conv",
        "PARAMETERS_NAME": folder / "out.param",
        "DEBLEND_MINCONT": CONTRAST if arguments.deblend else 1.0,
        "BACK_SIZE": BOX,
        "BACK_FILTERSIZE": 3,
        "MEMORY_PIXSTACK": 1_000_000,
        "MEMORY_OBJSTACK": 60_000,
        "CHECKIMAGE_TYPE": "SEGMENTATION",
        "CHECKIMAGE_NAME": output,
        "CATALOG_TYPE": "FITS_1.0",
        "CATALOG_NAME": folder / "out.cat",
        "VERBOSE_TYPE": "QUIET",
    }
    if arguments.rms:
        options |= {"WEIGHT_TYPE": "MAP_RMS", "WEIGHT_IMAGE": f"{arguments.image}[2]"}
    words = [str(word) for name, value in options.items() for word in (f"-{name}", value)]
    subprocess.run(
        ["source-extractor", f"{arguments.image}[1]", "-c", str(folder / "empty.sex"), *words],
        check=True,
        cwd=folder,
    )


# Functions whose processor seconds count as a stage, without what stages inside them take.
STAGES = {
    "open the image": ("galaxysegment.mosaic", "open_pixels"),
    "read pixels": ("galaxysegment.io._sources", "FitsSource.read"),
    "read the mask": ("galaxysegment.io._sources", "MaskedSource.read"),
    "look for constant regions": ("galaxysegment.detection._constant", "ConstantRegions.measure"),
    "blank constant regions": ("galaxysegment.detection._constant", "ConstantBlanker.transform"),
    "medians for seams": ("galaxysegment.detection._seams", "Seams.measure"),
    "look for seams": ("galaxysegment.detection._seams", "Seams.combine"),
    "correlation of the noise": (
        "galaxysegment.detection._correlation",
        "NoiseCorrelation.measure",
    ),
    "background boxes": ("galaxysegment.detection._bands", "_Backgrounds.measure"),
    "background meshes": ("galaxysegment.detection._bands", "_Backgrounds.combine"),
    "detect": ("galaxysegment.base", "BaseSegmenter._find_in_window"),
    "detect (sep)": ("galaxysegment.segmenters._sep", "SEPSegmenter._detect"),
    "split blends": ("galaxysegment.segmenters._photutils", "split_blends"),
    "split blends (sep)": ("galaxysegment.segmenters._sep", "SEPSegmenter._split_blend"),
    "measure for cleaning": ("galaxysegment.segmenters._sep", "SEPSegmenter.find_candidates"),
    "clean": ("galaxysegment.segmenters._sep", "SEPSegmenter.keep_sources"),
    "describe tiles": ("galaxysegment.mosaic._work", "describe_tile"),
    "save records": ("galaxysegment.mosaic._store", "WorkFolder.save"),
    "load records": ("galaxysegment.mosaic._store", "WorkFolder.load"),
    "join tiles": ("galaxysegment.mosaic._run", "join_tiles"),
    "paint and write": ("galaxysegment.mosaic._output", "write_line"),
    "wait for the disk": ("galaxysegment.mosaic._output", "flush"),
    "join ahead": ("galaxysegment.mosaic._painter", "Painter._works"),
    "paint and write ahead": ("galaxysegment.mosaic._painter", "write_line"),
    "disk, ahead": ("galaxysegment.mosaic._painter", "flush"),
    "everything else": ("galaxysegment.mosaic._run", "Run.execute"),
}


class Stopwatch:
    """Adds up processor seconds of each thread by stage; a stage inside another stops that one."""

    def __init__(self):
        self.seconds = {}  # by thread and stage
        self.beside = 0.0  # processor seconds of the main thread while the others have tasks
        self.wall = {}  # seconds of the main thread by stage, with stages inside
        self._here = threading.local()

    def switch(self, begin=None):
        """Book the time since the last switch of this thread; begin a stage, or end the last."""
        here, now = self._here, time.thread_time()
        if not hasattr(here, "running"):
            is_main = threading.current_thread() is threading.main_thread()
            here.running = ["start Python and import" if is_main else "everything else"]
            here.own = self.seconds.setdefault(threading.current_thread().name, {})
            here.since = 0.0
        stage = here.running[-1]
        here.own[stage] = here.own.get(stage, 0.0) + now - here.since
        here.since = now
        if begin is None:
            here.running.pop()
        else:
            here.running.append(begin)

    def timed(self, stage, function):
        def call(*args, **kwargs):
            self.switch(stage)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                if threading.current_thread() is threading.main_thread():
                    seconds = time.perf_counter() - start
                    self.wall[stage] = self.wall.get(stage, 0.0) + seconds
                self.switch()

        return call

    def note_tasks(self, each):
        """Note what the main thread does between the results of tasks."""

        def call(*args, **kwargs):
            start = time.thread_time()
            yield from each(*args, **kwargs)
            self.beside += time.thread_time() - start

        return call

    def watch(self):
        """Replace the functions of all stages by timed ones."""
        for stage, (module, name) in STAGES.items():
            *owners, last = name.split(".")
            owner = import_module(module)
            for part in owners:
                owner = getattr(owner, part)
            setattr(owner, last, self.timed(stage, getattr(owner, last)))
        from galaxysegment.mosaic._work import Scheduler

        Scheduler.each = self.note_tasks(Scheduler.each)


def print_stages(method, arguments):
    """Run a method in this process and print its processor seconds by stage."""
    watch = Stopwatch()
    if "sep" in method:
        import galaxysegment.segmenters._sep
    else:
        import galaxysegment.segmenters._photutils
    import galaxysegment.mosaic  # noqa: F401

    watch.switch("everything else")
    watch.watch()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run(method, arguments, Path(folder) / "labels.fits")
    wall = time.perf_counter() - start
    watch.switch()
    main, *others = watch.seconds.values()
    stages = sorted({stage: None for own in watch.seconds.values() for stage in own})
    totals = {stage: sum(own.get(stage, 0.0) for own in watch.seconds.values()) for stage in stages}
    total = sum(totals.values())
    print(f"{'stage':<28}{'CPU':>10}{'share':>9}{'main thread':>15}")
    for stage in sorted(stages, key=lambda stage: -totals[stage]):
        share, alone = 100 * totals[stage] / total, main.get(stage, 0.0)
        print(f"{stage:<28}{totals[stage]:>8.3f} s{share:>7.1f} %{alone:>13.3f} s")
    print(f"{'all':<28}{total:>8.3f} s{100:>7.1f} %{sum(main.values()):>13.3f} s")
    threads = ", ".join(f"{sum(own.values()):.2f} s" for own in others) or "none"
    print(
        f"{arguments.side**2 / 1e6 / total:.1f} Mpx per CPU second; other threads: {threads}; "
        f"{wall:.2f} s of wall time without imports"
    )
    if arguments.n_jobs > 1:
        alone, disk = sum(main.values()) - watch.beside, watch.wall["wait for the disk"]
        shared = (total - alone) / arguments.n_jobs
        print(
            f"predicted wall time: {alone:.2f} s alone + {shared:.2f} s shared + {disk:.2f} s for "
            f"the disk = {alone + shared + disk:.2f} s"
        )


def run(method, arguments, output):
    globals()[f"run_{method.replace('-', '_')}"](arguments, output)


def copy_field(path, n, target):
    """Write the science image of a field n × n times, side by side, if that was not done before.

    Every second copy is mirrored: the sky goes on smoothly from each copy to the next.
    """
    import numpy as np
    from astropy.io import fits

    if target.exists():
        return target
    with fits.open(path) as hdus, target.open("wb") as file:
        header, pixels = hdus["SCI"].header.copy(), hdus["SCI"].data
        height, width = pixels.shape
        header["NAXIS1"], header["NAXIS2"] = n * width, n * height
        file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
        file.write(header.tostring().encode("ascii"))
        for copy in range(n):
            turned = pixels[::-1] if copy % 2 else pixels
            for y in range(0, height, 256):
                rows = turned[y : y + 256]
                line = [rows[:, ::-1] if column % 2 else rows for column in range(n)]
                file.write(np.concatenate(line, axis=1).astype(">f4").tobytes())
        file.write(bytes(-(4 * n * n * height * width) % 2880))
    return target


def count_sources(path):
    from galaxysegment.io import image_shape, read_label_map

    height, width = image_shape(path)
    rows = (slice(y, min(y + 512, height)) for y in range(0, height, 512))
    return max(int(read_label_map(path, section=(row, slice(0, width))).max()) for row in rows)


class PeakMemory(threading.Thread):
    """Watch the largest resident memory of any process of a session (Linux)."""

    def __init__(self, session):
        super().__init__(daemon=True)
        self.session, self.peak, self.running = session, 0.0, True

    def run(self):
        while self.running:
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError, IndexError, TypeError):
                    words = (process / "stat").read_text().rsplit(")", 1)[1].split()
                    if int(words[3]) == self.session:
                        lines = (process / "status").read_text().splitlines()
                        self.peak = max(
                            self.peak,
                            *(int(x.split()[1]) / 1e6 for x in lines if x.startswith("VmHWM")),
                        )
            time.sleep(0.1)


def measure(method, arguments):
    """Wall seconds to the end and to the disk, CPU seconds, gigabytes and sources of one method."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        output = Path(folder) / "labels.fits"
        own = [sys.executable, __file__, *sys.argv[1:]]
        own += ["--image", str(arguments.image), "--run", method]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        process = subprocess.Popen([*own, "--output", str(output)], start_new_session=True)
        watch = PeakMemory(process.pid)
        watch.start()
        if process.wait():
            raise RuntimeError(f"{method} failed")
        seconds = time.perf_counter() - start
        watch.running = False
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        # galaxysegment waits for the disk, the others leave that to chance
        with output.open("rb") as file:
            os.fsync(file.fileno())
        return seconds, time.perf_counter() - start, cpu, watch.peak, count_sources(output)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=4096, help="pixels of a side (%(default)s)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=None)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--tile-size", type=int, default=2048)
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        help="runs of each method; the fastest counts (%(default)s)",
    )
    parser.add_argument("--deblend", action="store_true")
    parser.add_argument(
        "--dask", action="store_true", help="workers of ours are those of a local cluster of dask"
    )
    parser.add_argument("--rms", action="store_true", help="take the noise from the RMS map")
    parser.add_argument(
        "--bare",
        action="store_true",
        help="no seams, masked objects, correlated noise or constant regions in our segmenters",
    )
    parser.add_argument(
        "--copies", type=int, default=1, help="copies of the field along each side (%(default)s)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to put the field"
    )
    parser.add_argument(
        "--image", type=Path, default=None, help="a field that `galaxysegment simulate` wrote"
    )
    parser.add_argument(
        "--stages",
        choices=("sep-mosaic", "photutils-mosaic"),
        default=None,
        help="show where one process of this method, and its threads, spend their time",
    )
    parser.add_argument("--run", choices=METHODS, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare_field(arguments):
    """Simulate the field and copy it as the arguments say; set image and side."""
    if arguments.image is None:
        from galaxysegment.datasets import write_field

        arguments.image = arguments.folder / f"galaxysegment-bench-{arguments.side}.fits"
        if not arguments.image.exists():
            start = time.perf_counter()
            write_field(
                arguments.image, (arguments.side,) * 2, random_state=0, n_jobs=arguments.n_jobs
            )
            print(f"simulated in {time.perf_counter() - start:.1f} s")
    if arguments.copies > 1:
        target = arguments.folder / f"{arguments.image.stem}-mirrored-{arguments.copies}.fits"
        arguments.image = copy_field(arguments.image, arguments.copies, target)
        arguments.side *= arguments.copies


def print_table(arguments):
    """Measure the methods one after the other; print a row of each."""
    methods = arguments.methods or [
        name for name in METHODS if name not in WHOLE or arguments.side <= 8192
    ]
    columns = ("seconds", "on disk", "CPU s", "GB", "sources", "time", "on disk", "CPU", "memory")
    print(
        f"{'method':<18}"
        + "".join(f"{column:>9}" for column in columns)
        + "   (last four: relative to the first row)"
    )
    first = None
    for method in methods:
        *predicted, sources = min(measure(method, arguments) for _ in range(arguments.repeat))
        first = first or predicted
        ratios = "".join(f"{a / b:>9.2f}" for a, b in zip(predicted, first, strict=True))
        seconds, on_disk, cpu, memory = predicted
        print(
            f"{method:<18}{seconds:>9.1f}{on_disk:>9.1f}{cpu:>9.1f}{memory:>9.2f}{sources:>9d}{ratios}",
            flush=True,
        )


def main():
    arguments = read_arguments()
    if arguments.run:
        sys.modules.setdefault("coverage", None)  # numba imports it where tests are run
        run(arguments.run, arguments, arguments.output)
        gc.freeze()  # as the command line does: else Python looks for garbage as it ends
        return
    compileall.compile_dir(Path(import_module("galaxysegment").__file__).parent, quiet=1)
    prepare_field(arguments)
    if arguments.stages:
        print_stages(arguments.stages, arguments)
    else:
        print_table(arguments)


if __name__ == "__main__":
    main()
