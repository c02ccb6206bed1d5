"""Count the pieces into which programs cut saturated stars whose core has no data.

    python benchmarks/bench_saturated.py --picture pieces.png

The images are the DECam cut-outs in GALAXYSEGMENT_DATA, each with a weight map and a map of data
quality (3 is saturated, 4 a bleed trail). All of these pixels have weight zero. A star is a
connected region of such pixels that holds saturated ones; if a trail runs through it, there is a
star on both sides of the gap. Its pieces are the sources of at least 10 pixels within 2 pixels of
the region. No program splits blends, so that more than one piece means a cut, or bits of the trail.
The last row compares the largest source on the left of the region and on its right. The background
is measured on meshes of 32 pixels, the threshold is 1.5 times the noise of the weight map.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy import ndimage

from galaxysegment import NoSourcesWarning, PhotutilsSegmenter, SEPSegmenter, UNetSegmenter

SATURATED = 3
N_SIGMA, N_PIXELS, BOX_SIZE, NEAR = 1.5, 10, 32, 2


def main():
    """Print a row per star, and the number of stars that each program keeps whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GALAXYSEGMENT_DATA"))
    parser.add_argument("--picture", type=Path, help="draw the label maps into this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    programs = make_programs()
    print(f"{'star':52s} {'px':>5s} " + " ".join(f"{name:>15s}" for name in programs))
    whole, joined, rows = dict.fromkeys(programs, 0), dict.fromkeys(programs, 0), []
    for path in sorted((Path(options.data) / "legacypipe_decam").glob("*/*_ooi_*")):
        image, rms, quality = read(path)
        stars = saturated_stars(quality)
        if not stars:
            continue
        maps = {name: run(image, rms, path) for name, run in programs.items()}
        rows.append((path.stem, image, maps))
        for star in stars:
            pieces = {name: count_pieces(labels, star) for name, labels in maps.items()}
            for name, n in pieces.items():
                whole[name] += n == 1
                joined[name] += halves_are_one(maps[name], star)
            counts = " ".join(f"{n:15d}" for n in pieces.values())
            print(f"{path.parent.name}/{path.stem:40s} {star.sum():5d} {counts}", flush=True)
    print(f"{'stars in one piece':58s} " + " ".join(f"{n:15d}" for n in whole.values()))
    print(
        f"{'stars whose halves have one label':58s} "
        + " ".join(f"{n:15d}" for n in joined.values())
    )
    if options.picture:
        draw(rows, options.picture)


def read(path):
    """Image, RMS map (NaN where the weight is zero) and data quality."""
    image, weight, quality = (
        fits.getdata(str(path).replace("_ooi_", kind), 1) for kind in ("_ooi_", "_oow_", "_ood_")
    )
    weight = np.where(quality > 0, 0, weight).astype(np.float32)
    rms = np.full(image.shape, np.nan, dtype=np.float32)
    np.divide(
        1, np.sqrt(weight, where=weight > 0, out=np.ones_like(weight)), out=rms, where=weight > 0
    )
    return image.astype(np.float32), rms, quality


def saturated_stars(quality):
    """Masks of the regions without data that hold saturated pixels, the largest first."""
    regions, n = ndimage.label(quality > 0, structure=np.ones((3, 3)))
    masks = [regions == number for number in range(1, n + 1)]
    masks = [mask for mask in masks if (quality[mask] == SATURATED).sum() >= N_PIXELS]
    return sorted(masks, key=np.count_nonzero, reverse=True)


def count_pieces(labels, star):
    """Number of sources of at least `N_PIXELS` pixels that touch the region."""
    near = ndimage.binary_dilation(star, iterations=NEAR, structure=np.ones((3, 3)))
    touching = np.unique(labels[near])
    sizes = np.bincount(labels.ravel())
    return int(sum(sizes[number] >= N_PIXELS for number in touching if number))


def halves_are_one(labels, star):
    """Whether the largest source left of the region is the largest on its right."""
    columns = np.nonzero(star)[1]
    sides = labels[:, : columns.min()], labels[:, columns.max() + 1 :]
    largest = [np.bincount(side[side > 0], minlength=2).argmax() for side in sides]
    return bool(largest[0] == largest[1] > 0)


def make_programs():
    """Functions of image, RMS map and path that return label maps."""
    shared = {"rms_band": -1, "n_sigma": N_SIGMA, "n_pixels": N_PIXELS, "box_size": BOX_SIZE}

    def ours(segmenter):
        return lambda image, rms, _: segmenter.predict(np.stack([image, rms])[None])[0]

    programs = {}
    if shutil.which("source-extractor"):
        programs["SExtractor"] = lambda image, rms, _: run_sextractor(image, rms)
        programs["  no interp."] = lambda image, rms, _: run_sextractor(
            image, rms, INTERP_TYPE="NONE"
        )
    for bridge in (0, 12, 32):
        programs[f"SEP bridge={bridge}"] = ours(
            SEPSegmenter(**shared, deblend=False, bridge=bridge)
        )
    programs["photutils"] = lambda image, rms, _: run_photutils(image, rms)
    programs["PhotutilsS. =32"] = ours(PhotutilsSegmenter(**shared, deblend=False, bridge=32))
    for bridge in (0, 12, 32):
        unet = UNetSegmenter(weights="vis", rms_band=-1, deblend=False, bridge=bridge)
        programs[f"U-Net bridge={bridge}"] = ours(unet)
    return programs


def run_sextractor(image, rms, **changes):
    """Segmentation map of the program, which bridges up to 16 pixels without weight by default."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "image.fits", image)
        weight = np.nan_to_num(1 / rms**2, nan=0)
        fits.writeto(folder / "weight.fits", weight.astype(np.float32))
        (folder / "columns.param").write_text("NUMBER\n")
        settings = {
            "PARAMETERS_NAME": "columns.param",
            "FILTER": "N",
            "WEIGHT_TYPE": "MAP_WEIGHT",
            "WEIGHT_IMAGE": "weight.fits",
            "DETECT_THRESH": N_SIGMA,
            "ANALYSIS_THRESH": N_SIGMA,
            "DETECT_MINAREA": N_PIXELS,
            "DEBLEND_MINCONT": 1,
            "CLEAN": "N",
            "BACK_SIZE": BOX_SIZE,
            "CATALOG_TYPE": "NONE",
            "CHECKIMAGE_TYPE": "SEGMENTATION",
            "CHECKIMAGE_NAME": "labels.fits",
            "VERBOSE_TYPE": "QUIET",
        } | changes
        options = [word for key, value in settings.items() for word in (f"-{key}", str(value))]
        command = ["source-extractor", "image.fits", *options]
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
        return fits.getdata(folder / "labels.fits").astype(np.int32)


def run_photutils(image, rms):
    """Label map of photutils by itself: pixels without weight are masked."""
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import detect_sources

    masked = np.isnan(rms)
    background = Background2D(
        image, BOX_SIZE, mask=masked, exclude_percentile=90, bkg_estimator=MedianBackground()
    )
    sources = detect_sources(
        image - background.background, N_SIGMA * np.nan_to_num(rms, nan=1), N_PIXELS, mask=masked
    )
    return np.zeros(image.shape, np.int32) if sources is None else sources.data


def draw(rows, path):
    """A row of pictures per image: the image, and the label map of each program."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("agg")
    n_columns = 1 + len(rows[0][2])
    size = (2.2 * n_columns, 2.3 * len(rows))
    figure, axes = plt.subplots(len(rows), n_columns, figsize=size, squeeze=False)
    colours = np.random.default_rng(1).uniform(0.3, 1, (1000, 3))
    colours[0] = 0
    for (name, image, maps), line in zip(rows, axes, strict=True):
        sky = np.median(image)
        line[0].imshow(np.arcsinh((image - sky) / 30), cmap="gray", origin="lower")
        line[0].set_title(name[:22], fontsize=7)
        for axis, (program, labels) in zip(line[1:], maps.items(), strict=True):
            axis.imshow(colours[labels % 1000], origin="lower")
            axis.set_title(program.strip(), fontsize=7)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    warnings.simplefilter("ignore", NoSourcesWarning)
    main()
