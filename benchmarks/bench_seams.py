"""Spurious sources of a mosaic with seams: near the seams, and elsewhere.

Run ``python -m benchmarks.bench_seams``. A field of galaxies and stars is seen by chips that differ
in depth by up to a factor of 3 and in the level of their sky by one sigma and more. Between two of
them is a gap, and a border has no data. An RMS map follows the depth. The truth are pixels whose
noise-free light exceeds the local RMS. A source is spurious if less than a tenth of its pixels hold
light of half the local RMS.

Prints for each program, with the RMS map and without: sources, spurious ones in per cent of all,
spurious ones for each million pixels within 32 pixels of a seam and elsewhere, F1 and IoU.
"""

import argparse
import time
import warnings

import numpy as np
from scipy import ndimage

from galaxysegment import NoSourcesWarning, PhotutilsSegmenter, SEPSegmenter, UNetSegmenter
from galaxysegment.datasets import make_field
from galaxysegment.metrics import detection_scores, iou_score
from galaxysegment.structures import relabel

from .real_sky import run_sextractor

NEAR = 32  # pixels from a seam
STEP = 1.0  # standard deviation of the levels of the chips, in units of the noise
DEPTHS = (1.0, 1.4, 2.0, 3.0)  # noise of a chip, in units of the noise of the deepest
GROUND = {"pixel_scale": 0.2, "psf_fwhm": 0.8, "density": 25}
CHIP = 500  # pixels of a side
GAP, BORDER = 12, 40  # pixels without data
LEAST_PIXELS = 10


def make_mosaic(side, seed):
    """Image, RMS map, truth, noise-free light and distance from the nearest seam of each pixel."""
    field, alone = make_field((side, side), random_state=seed, return_isolated=True, **GROUND)
    rng = np.random.default_rng(seed)
    edges = [_seams(rng, side) for _ in range(2)]
    chips = np.ix_(*(np.searchsorted(own, np.arange(side), side="right") for own in edges))
    n_chips = len(edges[0]) + 1, len(edges[1]) + 1
    rms = np.asarray(field.rms, dtype=np.float32).reshape(side, side)
    sigma = np.median(rms)
    added = sigma * np.sqrt(rng.choice(DEPTHS, n_chips) ** 2 - 1)[chips]
    level = sigma * STEP * rng.normal(size=n_chips)[chips]
    image = field.image[0] + added * rng.normal(size=rms.shape) + level
    rms = np.hypot(rms, added)
    image[:BORDER] = image[:, edges[1][0] - GAP // 2 : edges[1][0] + GAP // 2] = np.nan
    light = np.zeros(rms.shape)
    for (y0, x0, y1, x1), part in zip(alone.boxes.tolist(), alone.parts, strict=True):
        light[y0:y1, x0:x1] += part
    labels = np.where((light > rms) & ~np.isnan(image), field.labels, 0)
    labels[np.bincount(labels.ravel())[labels] < LEAST_PIXELS] = 0
    is_seam = np.zeros(rms.shape, dtype=bool)
    is_seam[edges[0]] = is_seam[:, edges[1]] = True
    distance = ndimage.distance_transform_edt(~is_seam)
    return image.astype(np.float32), rms.astype(np.float32), relabel(labels), light, distance


def _seams(rng, side):
    """Rows or columns where chips of about 500 pixels meet."""
    n_chips = max(2, side // CHIP)
    return side * np.arange(1, n_chips) // n_chips + rng.integers(-60, 61, n_chips - 1)


def systems():
    """Name and function of image and RMS map of every row."""
    yield "SExtractor", lambda image, _: run_sextractor(image, np.isnan(image))
    for cls, options in (
        (SEPSegmenter, {}),
        (PhotutilsSegmenter, {}),
        (UNetSegmenter, {"weights": "vis", "n_views": 1}),
    ):
        name = cls.__name__

        def with_map(image, rms, cls=cls, options=options):
            return cls(rms_band=-1, **options).predict(np.stack([image, rms])[np.newaxis])[0]

        def alone(image, _, cls=cls, options=options):
            return cls(**options).predict(image[np.newaxis])[0]

        yield f"{name}, RMS map", with_map
        yield name, alone


def spurious_sources(labels, light, rms):
    """Labels of sources of which less than a tenth of the pixels can be seen."""
    seen = np.bincount(labels[light > rms / 2], minlength=labels.max() + 1)
    size = np.bincount(labels.ravel(), minlength=labels.max() + 1)
    spurious = 10 * seen < size
    spurious[0] = False
    return np.flatnonzero(spurious)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore", NoSourcesWarning)
    image, rms, truth, light, distance = make_mosaic(options.side, options.seed)
    near = distance <= NEAR
    millions = [np.count_nonzero(part & ~np.isnan(image)) / 1e6 for part in (near, ~near)]
    print(f"{'':24} sources  spurious %  /Mpx near a seam  elsewhere     F1    IoU   CPU s")
    for name, predict in systems():
        start = time.process_time()
        labels = predict(image, rms)
        seconds = time.process_time() - start
        spurious = spurious_sources(labels, light, rms)
        n_sources = len(np.unique(labels)) - 1
        places = ndimage.center_of_mass(np.ones(labels.shape), labels, spurious)
        places = np.array(places, dtype=int).reshape(-1, 2)
        n_near = np.count_nonzero(near[places[:, 0], places[:, 1]])
        counts = n_near / millions[0], (len(spurious) - n_near) / millions[1]
        f1 = detection_scores([truth], [labels]).f1
        print(
            f"{name:24} {n_sources:7} {100 * len(spurious) / max(n_sources, 1):11.2f} "
            f"{counts[0]:18.1f} {counts[1]:10.1f} {f1:6.3f} {iou_score([truth], [labels]):6.3f} "
            f"{seconds:7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
