"""Settings of `PhotutilsSegmenter` and `SEPSegmenter` on simulated fields, and on noise alone.

Run ``GALAXYSEGMENT_DATA=data python -m benchmarks.bench_defaults``. Prints the source F1 of each
setting on ten fields, their mean and the mean pixel IoU, beside SExtractor with its defaults; then
how many sources each finds on 1024 × 1024 pixels without any: noise, white or smoothed, steps of
level and depth, gaps and borders. Fields of other simulators
are left out if the data are not there.
"""

import os
import warnings
from pathlib import Path

import numpy as np
from scipy import ndimage

from galaxysegment import NoSourcesWarning, PhotutilsSegmenter, SEPSegmenter
from galaxysegment.datasets import make_field
from galaxysegment.metrics import detection_scores, iou_score

from .leaderboard.elsewhere import btk_parts, galsim_parts
from .real_sky import run_sextractor

PLAIN = {"level_seams": False, "correlated_noise": False, "mask_objects": False}
SETTINGS = [
    {},
    {"deblend": "galaxy", "n_pixels": 10},
    {"deblend": True, "n_pixels": 8, "contrast": 0.01},
    PLAIN,
    {"n_sigma": 1.5, "n_pixels": 10, "box_size": 50, "deblend": False},
    {"n_sigma": 1.5, "n_pixels": 10, "box_size": 50, "deblend": False, **PLAIN},
]
GROUND = {"pixel_scale": 0.2, "psf_fwhm": 0.8}
FIELDS = {
    "space, 45/arcmin²": {"density": 45},
    "space, 92/arcmin²": {"density": 92},
    "space, 250/arcmin²": {"density": 250},
    "ground, 25/arcmin²": {"density": 25, **GROUND},
    "ground, 60/arcmin²": {"density": 60, **GROUND},
    "ground, 30/arcmin²": {"density": 30, "pixel_scale": 0.26, "psf_fwhm": 0.7},
}


def simulated_fields():
    """Images and label maps of each field."""
    fields = {}
    for name, options in FIELDS.items():
        field = make_field((400, 400), random_state=3, **options)
        fields[name] = [field.image[0].astype(np.float32)], [field.labels]
    folder = os.environ.get("GALAXYSEGMENT_DATA")
    if folder is None:
        return fields
    parts = {"galsim": (galsim_parts, 1), "btk": (btk_parts, None)}
    for name, (load, band) in parts.items():
        for index, part in enumerate(load(Path(folder))):
            images = [np.asarray(image if band is None else image[band]) for image in part.X]
            labels = [sources.to_label_map() for sources in part.truth]
            fields[f"{name} {index}"] = [image.astype(np.float32) for image in images], labels
    return fields


def blank_images(side=1024):
    """Noise without sources: white, smoothed, and with steps of level and depth."""
    white = np.random.default_rng(5).normal(0, 1, (side, side)).astype(np.float32)
    images = {"white": white}
    for sigma in (0.5, 1.0):
        smooth = ndimage.gaussian_filter(white, sigma)
        images[f"smoothed by {sigma}"] = smooth / smooth.std()
    right = np.arange(side) >= side // 2 + 5
    images["level step 2"] = white + np.float32(2) * right
    images["depth step 2"] = white * np.where(right, np.float32(2), np.float32(1))
    images["both"] = images["depth step 2"] + np.float32(2) * right
    y, x = np.indices((side, side))
    tilted = x >= side // 2 + 5 + np.tan(np.radians(7)) * (y - side // 2)
    images["tilted by 7°"] = white + np.float32(2) * tilted
    images["gap at the step"] = images["level step 2"].copy()
    images["gap at the step"][:, side // 2 - 12 : side // 2 + 8] = np.nan
    images["zero borders"] = white + np.float32(5)
    images["zero borders"][:40] = images["zero borders"][:, -60:] = 0
    return images


def sextractor(images):
    return [run_sextractor(image, np.isnan(image)) for image in images]


def systems():
    """Name and function of every row."""
    yield "SExtractor", sextractor
    for cls in (SEPSegmenter, PhotutilsSegmenter):
        for setting in SETTINGS:
            words = ", ".join(f"{name}={value}" for name, value in setting.items())
            yield f"{cls.__name__}({words})", cls(**setting).predict


def main():
    warnings.simplefilter("ignore", NoSourcesWarning)
    fields, blanks = simulated_fields(), blank_images()
    print("F1 of", *fields, "mean F1", "mean IoU", sep="; ")
    for name, predict in systems():
        f1, iou = [], []
        for images, truth in fields.values():
            predicted = predict(images)
            f1.append(detection_scores(truth, predicted).f1)
            iou.append(iou_score(truth, predicted))
        cells = " ".join(f"{value:.3f}" for value in (*f1, np.mean(f1), np.mean(iou)))
        print(f"{name:90} {cells}", flush=True)
    print("Sources in noise:", *blanks, sep="; ")
    for name, predict in systems():
        counts = [len(np.unique(predict([image])[0])) - 1 for image in blanks.values()]
        print(f"{name:90}", *(f"{count:6}" for count in counts), flush=True)


if __name__ == "__main__":
    main()
