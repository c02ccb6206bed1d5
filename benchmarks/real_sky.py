"""Pictures of real fields, segmented by photutils, sep, SExtractor and the shipped nets.

Run ``GALAXYSEGMENT_DATA=data python -m benchmarks.real_sky pictures``: one PNG per field and a
table of counts, ``counts.csv``, appear in the folder, and the counts are printed. If the folder is
``docs/_static/real_sky``, the documentation that you build shows the pictures. ``--only kpno``
picks fields by a word of their names. ``--set photutils:deblend=True`` changes a parameter. The
program ``source-extractor`` (Debian: ``apt-get install source-extractor``) is left out if it is not
installed. It runs with its own defaults.

Nothing here has a truth: look at the pictures.
"""

import argparse
import ast
import contextlib
import csv
import os
import shutil
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from galaxysegment import (
    MaskRCNNSegmenter,
    PhotutilsSegmenter,
    SEPSegmenter,
    UNetSegmenter,
)
from galaxysegment.io import read_field

SEXTRACTOR = "SExtractor"
SEGMENTERS = {
    "photutils": PhotutilsSegmenter,
    "sep": SEPSegmenter,
    "unet": lambda **options: UNetSegmenter(weights="vis", **options),
    "sky": lambda **options: UNetSegmenter(weights="sky", **options),
    "blends": lambda **options: MaskRCNNSegmenter(weights="blends", **options),
}
LARGE = 3000  # pixels of a source that is counted as large


@dataclass(frozen=True)
class RealField:
    """Where an image is, and its weight map, if the data have one."""

    name: str
    image: str
    weight: str | None = None
    rms: str | None = None


def list_fields(data):
    """Real fields at hand, in the order of the table."""
    fields = [
        RealField("decals_cluster", "decals_cluster_astro_rcnn/img_r.fits"),
        RealField("hsc_spiral_1", "hsc_spirals_galmask/gal1_G.fits"),
        RealField("hsc_spiral_2", "hsc_spirals_galmask/gal2_R.fits"),
        RealField("kpno_coma_int16", "kpno_clusters_int16/A1656-1-3_coma.fits"),
        RealField("emmi_patched", "emmi_sep_sextractor/galaxies.fits"),
        RealField(
            "xdf_hst",
            "xdf_hst/xdf_hst_wfc3ir_60mas_f160w_sci.fits",
            rms="xdf_hst/xdf_hst_wfc3ir_60mas_f160w_rms.fits",
        ),
    ]
    for path in sorted((data / "lsst_mef_exposures").glob("*.fits")):
        fields.append(RealField(f"subaru_{path.stem}", str(path.relative_to(data))))
    for path in sorted((data / "kids_galaxies_profit").glob("*fitim.fits.gz")):
        name = f"kids_{path.name.removesuffix('fitim.fits.gz')}"
        fields.append(RealField(name, str(path.relative_to(data))))
    for path in sorted((data / "legacypipe_decam").glob("*/*_ooi_*.fits")):
        weight = str(path.relative_to(data)).replace("_ooi_", "_oow_")
        name = f"legacy_{path.parent.name}_{path.stem.split('_ooi_')[1]}_{path.stem[4:17]}"
        fields.append(RealField(name, str(path.relative_to(data)), weight))
    return [field for field in fields if (data / field.image).is_file()]


def open_field(data, field):
    """Image, and RMS map or None, as float32; NaN is "no data"."""
    options = {}
    if field.weight and (data / field.weight).is_file():
        options = {"rms": data / field.weight, "rms_kind": "weight"}
    elif field.rms:
        options = {"rms": data / field.rms}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # illegal cards of headers
        opened = read_field(data / field.image, **options)
        rms = opened.rms if opened.has_rms else None
        return opened.image[0].astype(np.float32), None if rms is None else np.squeeze(rms)


def run_sextractor(image, no_data):
    """Label map by SExtractor's own defaults; `no_data` gets the weight 0. None without it."""
    program = shutil.which("source-extractor") or shutil.which("sex")
    if program is None:
        return None
    settings = {
        "PARAMETERS_NAME": "columns.param",
        "FILTER": "Y",
        "FILTER_NAME": "default.conv",
        "CATALOG_TYPE": "NONE",
        "CHECKIMAGE_TYPE": "SEGMENTATION",
        "CHECKIMAGE_NAME": "labels.fits",
        "VERBOSE_TYPE": "QUIET",
        "DETECT_THRESH": 1.5,
        "ANALYSIS_THRESH": 1.5,
        "DETECT_MINAREA": 5,
        "DEBLEND_NTHRESH": 32,
        "DEBLEND_MINCONT": 0.005,
        "BACK_SIZE": 64,
        "BACK_FILTERSIZE": 3,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "image.fits", np.where(no_data, np.float32(0), image))
        if no_data.any():
            fits.writeto(folder / "weight.fits", (~no_data).astype(np.float32))
            settings |= {"WEIGHT_TYPE": "MAP_WEIGHT", "WEIGHT_IMAGE": "weight.fits"}
        (folder / "columns.param").write_text("NUMBER\n")
        (folder / "default.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
        options = [word for key, value in settings.items() for word in (f"-{key}", str(value))]
        subprocess.run(
            [program, "image.fits", *options], cwd=folder, check=True, stderr=subprocess.DEVNULL
        )
        return fits.getdata(folder / "labels.fits").astype(np.int32)


def segment(image, rms, programs, options):
    """Label map by each of the programs, and by SExtractor if it is installed."""
    X = image[np.newaxis] if rms is None else np.stack([image, rms])[np.newaxis]
    rms_band = None if rms is None else -1
    no_data = np.isnan(image) if rms is None else np.isnan(image) | ~(rms > 0)
    maps = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in programs:
            segmenter = SEGMENTERS[name](rms_band=rms_band, **options.get(name, {}))
            maps[name] = segmenter.predict(X)[0]
    maps[SEXTRACTOR] = run_sextractor(image, no_data)
    return {name: labels for name, labels in maps.items() if labels is not None}


def draw(path, title, image, maps):
    """Write a PNG: the image, and its sources in colours for each program."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    middle = np.nanmedian(image)
    scale = 1.4826 * np.nanmedian(np.abs(image - middle)) or np.nanstd(image)
    stretched = np.arcsinh((image - middle) / scale)
    limits = {"vmin": -1, "vmax": 5, "origin": "lower", "interpolation": "nearest"}
    columns = -(-(1 + len(maps)) // 2)  # two rows: panels that a page has room for
    figure, axes = plt.subplots(2, columns, figsize=(4.5 * columns, 9.8))
    axes = axes.ravel()
    axes[0].imshow(stretched, cmap="gray", **limits)
    axes[0].set_title(title)
    colours = np.random.default_rng(1).uniform(0.15, 1, (1 << 16, 3))
    for axis, (name, labels) in zip(axes[1:], maps.items(), strict=False):
        axis.imshow(stretched, cmap="gray", **limits)
        coloured = np.zeros((*labels.shape, 4))
        coloured[..., :3] = colours[labels % len(colours)]
        coloured[..., 3] = 0.55 * (labels > 0)
        axis.imshow(coloured, origin="lower", interpolation="nearest")
        axis.set_title(f"{name}: {len(np.unique(labels[labels > 0]))}")
    for axis in axes:
        axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def count(labels):
    """Sources, large sources, and the share of the pixels that sources cover."""
    sizes = np.bincount(labels.ravel())[1:]
    return int((sizes > 0).sum()), int((sizes > LARGE).sum()), float((labels > 0).mean())


def write_counts(path, rows):
    """Write a table: field, program, sources, large sources, share of the pixels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("field", "program", "sources", "large", "covered"))
        table.writerows(rows)


def parse_options(words):
    """``photutils:deblend=True`` as ``{"photutils": {"deblend": True}}``."""
    options = {}
    for word in words:
        name, setting = word.split(":", 1)
        key, value = setting.split("=", 1)
        with contextlib.suppress(SyntaxError, ValueError):  # a word stays a word
            value = ast.literal_eval(value)
        options.setdefault(name, {})[key] = value
    return options


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--only", default="", help="fields whose name holds this word")
    parser.add_argument("--programs", nargs="+", choices=list(SEGMENTERS), default=list(SEGMENTERS))
    parser.add_argument("--set", action="append", default=[], metavar="PROGRAM:NAME=VALUE")
    arguments = parser.parse_args()
    data, options = Path(os.environ["GALAXYSEGMENT_DATA"]), parse_options(arguments.set)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(f"{'field':42}", *(f"{name:>18}" for name in (*arguments.programs, SEXTRACTOR)))
    rows = []
    for field in list_fields(data):
        if arguments.only not in field.name:
            continue
        image, rms = open_field(data, field)
        maps = segment(image, rms, arguments.programs, options)
        draw(arguments.folder / f"{field.name}.png", field.name, image, maps)
        counts = {program: count(labels) for program, labels in maps.items()}
        cells = ("{} ({}, {:.0%})".format(*numbers) for numbers in counts.values())
        print(f"{field.name:42}", *(f"{cell:>18}" for cell in cells), flush=True)
        rows += [(field.name, program, *numbers) for program, numbers in counts.items()]
        write_counts(arguments.folder / "counts.csv", rows)


if __name__ == "__main__":
    main()
