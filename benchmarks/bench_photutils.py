"""Time PhotutilsSegmenter, the plain photutils script, sep and SExtractor in one run.

    python benchmarks/bench_photutils.py --size 4096

Every contestant does the same: background on boxes of 50 pixels, a Gaussian kernel of FWHM 3 on 5×5
pixels, 1.5 × the background's RMS, 10 connected pixels, deblending with 32 levels and a contrast of
0.001. One process, one thread; the best of `--repeat` rounds, in each of which every contestant
runs once.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

SETTINGS = {"n_sigma": 1.5, "n_pixels": 10, "n_levels": 32, "contrast": 0.001}
_SEXTRACTOR = {
    "CATALOG_TYPE": "NONE",
    "CHECKIMAGE_TYPE": "SEGMENTATION",
    "CHECKIMAGE_NAME": "segmentation.fits",
    "PARAMETERS_NAME": "numbers.param",
    "FILTER_NAME": "gauss.conv",
    "BACK_SIZE": "50",
    "BACK_FILTERSIZE": "3",
    "DETECT_THRESH": "1.5",
    "ANALYSIS_THRESH": "1.5",
    "DETECT_MINAREA": "10",
    "DEBLEND_NTHRESH": "32",
    "DEBLEND_MINCONT": "0.001",
    "NTHREADS": "1",
    "VERBOSE_TYPE": "QUIET",
}


def plain_photutils(image):
    """Run the steps of the photutils documentation, in its order."""
    from astropy.convolution import convolve
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import deblend_sources, detect_sources, make_2dgaussian_kernel

    from galaxysegment._utils.packages import without_bar

    background = Background2D(
        image, (50, 50), filter_size=(3, 3), exclude_percentile=15, bkg_estimator=MedianBackground()
    )
    smooth = convolve(image - background.background, make_2dgaussian_kernel(3.0, size=5))
    sources = detect_sources(
        smooth, SETTINGS["n_sigma"] * background.background_rms, n_pixels=SETTINGS["n_pixels"]
    )
    return deblend_sources(
        smooth,
        sources,
        SETTINGS["n_pixels"],
        n_levels=SETTINGS["n_levels"],
        contrast=SETTINGS["contrast"],
        **without_bar(),
    ).data


def segmenter(name, **options):
    """Return a function of an image that predicts with a segmenter of galaxysegment."""
    import galaxysegment.segmenters

    ground = {"level_seams": False, "correlated_noise": False, "mask_objects": False}
    cls = getattr(galaxysegment.segmenters, name)
    estimator = cls(deblend=True, **ground, **SETTINGS, **options)
    return lambda image: estimator.predict(image[np.newaxis])[0]


def plain_sep(image):
    """Run sep's documented steps: background, subtraction, extraction with a segmentation map."""
    import sep
    from photutils.segmentation import make_2dgaussian_kernel

    background = sep.Background(image, bw=50, bh=50)
    _, labels = sep.extract(
        image - background,
        SETTINGS["n_sigma"],
        err=background.rms(),
        minarea=SETTINGS["n_pixels"],
        filter_kernel=make_2dgaussian_kernel(3.0, size=5).array,
        filter_type="conv",
        deblend_nthresh=SETTINGS["n_levels"],
        deblend_cont=SETTINGS["contrast"],
        segmentation_map=True,
    )
    return labels


def sextractor(image, program, folder):
    """Return a function that runs SExtractor on the image, which it reads from a FITS file."""
    from astropy.io import fits
    from photutils.segmentation import make_2dgaussian_kernel

    fits.writeto(folder / "image.fits", image)
    kernel = make_2dgaussian_kernel(3.0, size=5).array
    rows = "\n".join(" ".join(f"{value:.8f}" for value in row) for row in kernel)
    (folder / "gauss.conv").write_text(f"CONV NORM\n{rows}\n")
    (folder / "numbers.param").write_text("NUMBER\n")
    (folder / "empty.sex").write_text("")
    options = [word for name, value in _SEXTRACTOR.items() for word in (f"-{name}", value)]

    def run(_):
        subprocess.run([program, "image.fits", "-c", "empty.sex", *options], cwd=folder, check=True)
        return fits.getdata(folder / "segmentation.fits")

    return run


def make_image(size, seed):
    """Tile a simulated field of at most 1024² up to the size."""
    from galaxysegment.datasets import make_field

    side = min(size, 1024)
    field = make_field(shape=(side, side), random_state=seed)
    repeats = -(-size // side)
    image = np.tile(np.asarray(field.image).reshape(side, side), (repeats, repeats))[:size, :size]
    return np.ascontiguousarray(image, dtype=np.float32)


def contestants(image, folder):
    predicted = {
        "photutils, plain script": plain_photutils,
        "PhotutilsSegmenter": segmenter("PhotutilsSegmenter"),
        "PhotutilsSegmenter(fast=False)": segmenter("PhotutilsSegmenter", fast=False),
        "sep, plain script": plain_sep,
        "SEPSegmenter": segmenter("SEPSegmenter"),
    }
    program = shutil.which("source-extractor") or shutil.which("sex")
    if program:
        predicted["SExtractor (reads and writes FITS)"] = sextractor(image, program, folder)
    else:
        print("SExtractor is not installed (Debian package source-extractor): left out.")
    return predicted


def measure(runs, image, repeat):
    """Best time and label map of each contestant."""
    times, maps = dict.fromkeys(runs, np.inf), {}
    for _ in range(repeat):
        for name, run in runs.items():
            start = time.perf_counter()
            maps[name] = run(image)
            times[name] = min(times[name], time.perf_counter() - start)
    return times, maps


def report(times, maps):
    reference = next(iter(times))
    mask = maps[reference] > 0
    print(f"{'':36}{'seconds':>9}{'speed':>9}{'sources':>9}{'mask IoU':>10}")
    for name, seconds in times.items():
        other = maps[name] > 0
        overlap = np.count_nonzero(mask & other) / np.count_nonzero(mask | other)
        speed = f"{times[reference] / seconds:.2f} ×"
        print(f"{name:36}{seconds:9.3f}{speed:>9}{maps[name].max():9d}{overlap:10.4f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=4096, help="side of the field in pixels")
    parser.add_argument("--repeat", type=int, default=3, help="rounds, of which the best counts")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="The deblending mode")
    image = make_image(arguments.size, arguments.seed)
    print(f"{arguments.size}² pixels, float32; speed relative to the plain photutils script")
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        times, maps = measure(contestants(image, Path(folder)), image, arguments.repeat)
    report(times, maps)


if __name__ == "__main__":
    main()
