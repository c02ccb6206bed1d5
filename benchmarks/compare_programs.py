"""Segment one field with SExtractor, sep, photutils and the two segmenters that follow them.

Run ``python benchmarks/compare_programs.py``. The program ``source-extractor`` (Debian: ``apt-get
install source-extractor``) is left out if it is not installed. All programs get the same image, RMS
map, kernel and settings, and split blends. Prints the scores of each map against the truth of the
sample field, and how many pixels and sources differ between pairs of maps.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

from galaxysegment import PhotutilsSegmenter, SEPSegmenter
from galaxysegment._utils.packages import without_bar
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import detection_scores, iou_score

N_SIGMA, N_PIXELS, N_LEVELS, BOX_SIZE, FILTER_SIZE = 1.5, 10, 32, 50, 3
CONTRAST = 0.005
PAIRS = [
    ("sep", "SEPSegmenter"),
    ("photutils", "PhotutilsSegmenter"),
    ("SExtractor", "SEPSegmenter"),
    ("SExtractor", "PhotutilsSegmenter"),
]


def make_kernel():
    """Gaussian kernel of FWHM 3 on 5 × 5 pixels, the default of the segmenters."""
    from photutils.segmentation import make_2dgaussian_kernel

    return make_2dgaussian_kernel(3, 5).array


def run_sextractor(image, rms):
    program = shutil.which("source-extractor") or shutil.which("sex")
    if program is None:
        return None
    rows = "\n".join(" ".join(f"{value:.8f}" for value in row) for row in make_kernel())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "image.fits", image)
        fits.writeto(folder / "rms.fits", rms)
        (folder / "columns.param").write_text("NUMBER\n")
        (folder / "gauss.conv").write_text(f"CONV NORM\n{rows}\n")
        settings = {
            "PARAMETERS_NAME": "columns.param",
            "FILTER_NAME": "gauss.conv",
            "WEIGHT_TYPE": "MAP_RMS",
            "WEIGHT_IMAGE": "rms.fits",
            "RESCALE_WEIGHTS": "N",
            "DETECT_THRESH": N_SIGMA,
            "ANALYSIS_THRESH": N_SIGMA,
            "DETECT_MINAREA": N_PIXELS,
            "DEBLEND_NTHRESH": N_LEVELS,
            "DEBLEND_MINCONT": CONTRAST,
            "BACK_SIZE": BOX_SIZE,
            "BACK_FILTERSIZE": FILTER_SIZE,
            "CATALOG_TYPE": "NONE",
            "CHECKIMAGE_TYPE": "SEGMENTATION",
            "CHECKIMAGE_NAME": "labels.fits",
            "VERBOSE_TYPE": "QUIET",
        }
        options = [word for key, value in settings.items() for word in (f"-{key}", str(value))]
        # Without -c the program looks for default.sex, and takes its own defaults if there is none.
        subprocess.run(
            [program, "image.fits", *options], cwd=folder, check=True, stderr=subprocess.DEVNULL
        )
        return fits.getdata(folder / "labels.fits").astype(np.int32)


def run_sep(image, rms):
    import sep

    background = sep.Background(image, bw=BOX_SIZE, bh=BOX_SIZE, fw=FILTER_SIZE, fh=FILTER_SIZE)
    options = {"err": rms, "minarea": N_PIXELS, "filter_kernel": make_kernel()}
    return sep.extract(
        image - background.back(),
        N_SIGMA,
        filter_type="conv",
        deblend_nthresh=N_LEVELS,
        deblend_cont=CONTRAST,
        segmentation_map=True,
        **options,
    )[1]


def run_photutils(image, rms):
    from astropy.convolution import convolve
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import deblend_sources, detect_sources

    background = Background2D(
        image,
        BOX_SIZE,
        filter_size=FILTER_SIZE,
        exclude_percentile=15,
        bkg_estimator=MedianBackground(),
    )
    smooth = convolve(image - background.background, make_kernel())
    sources = detect_sources(smooth, N_SIGMA * rms, N_PIXELS)
    options = {"n_levels": N_LEVELS, "contrast": CONTRAST, **without_bar()}
    return deblend_sources(smooth, sources, N_PIXELS, **options).data


def make_maps(field):
    image = np.ascontiguousarray(np.squeeze(field.image), dtype=np.float32)
    rms = np.ascontiguousarray(field.rms, dtype=np.float32)
    options = {
        "rms_band": -1,
        "n_sigma": N_SIGMA,
        "n_pixels": N_PIXELS,
        "box_size": BOX_SIZE,
        "deblend": True,
        "contrast": CONTRAST,
        "level_seams": False,
        "correlated_noise": False,
        "mask_objects": False,
    }
    maps = {
        "SExtractor": run_sextractor(image, rms),
        "sep": run_sep(image, rms),
        "SEPSegmenter": SEPSegmenter(**options).predict(field),
        "photutils": run_photutils(image, rms),
        "PhotutilsSegmenter": PhotutilsSegmenter(**options).predict(field),
    }
    return {name: labels for name, labels in maps.items() if labels is not None}


def count_equal_sources(first, second):
    """Number of sources whose masks are equal in both label maps."""
    masks = [
        {np.flatnonzero(labels == label).tobytes() for label in np.unique(labels[labels > 0])}
        for labels in (first, second)
    ]
    return len(masks[0] & masks[1])


def main():
    field = load_sample_field()
    maps = make_maps(field)
    print(f"{'program':20} sources  IoU   completeness  purity")
    for name, labels in maps.items():
        scores = detection_scores([field.labels], [labels])
        iou = iou_score([field.labels], [labels])
        n_sources = len(np.unique(labels[labels > 0]))
        print(f"{name:20} {n_sources:7} {iou:.3f} {scores.recall:13.3f} {scores.precision:7.3f}")
    for first, second in PAIRS:
        if first in maps and second in maps:
            a, b = maps[first], maps[second]
            differ, either = int(((a > 0) != (b > 0)).sum()), int(((a > 0) | (b > 0)).sum())
            print(
                f"{first} and {second}: {differ} of {either} pixels of sources differ, "
                f"{count_equal_sources(a, b)} sources have equal masks"
            )


if __name__ == "__main__":
    main()
