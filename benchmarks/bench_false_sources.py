"""Sources that programs see where there is none: noise with a seam, with a frame, correlated noise.

Run ``python -m benchmarks.bench_false_sources``. Every image has 1024 × 1024 pixels of noise and
nothing else. Prints the number of sources of each program, a mean over the seeds. SExtractor runs
with its defaults, the others without a parameter set; the U-Net sees one view.
"""

import argparse
import warnings

import numpy as np
from scipy import ndimage

from galaxysegment import NoSourcesWarning, PhotutilsSegmenter, SEPSegmenter, UNetSegmenter

from .real_sky import run_sextractor

SIDE, FRAME = 1024, 60  # pixels of a side, and of a frame without data


def images(seed):
    """Name and image of every kind of empty sky."""
    noise = np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE))
    y, x = np.indices(noise.shape)
    inside = (np.minimum(y, x) >= FRAME) & (np.maximum(y, x) < SIDE - FRAME)
    smooth = ndimage.gaussian_filter(noise, 1)
    yield "white noise", noise
    yield "seam of 2 sigma", noise + 2 * (x >= 500)
    yield "tilted seam of 2 sigma", noise + 2 * (x >= 500 + 0.12 * (y - 512))
    yield "seam in a gap of 20 columns", _cut(noise + 2 * (x >= 500), (x >= 490) & (x < 510))
    yield "chips of three levels", noise + 2 * (x >= 500) - 1.5 * (y >= 600) * (x < 500)
    yield "bad columns and pixels", _cut(noise, (x % 37 == 0) | (noise[::-1] > 2.5))
    yield "correlated noise", smooth / smooth.std()
    yield "frame of zeros, sky 0", np.where(inside, noise, 0)
    yield "frame of zeros, sky 1000", np.where(inside, noise + 1000, 0)


def _cut(image, missing):
    return np.where(missing, np.nan, image)


def programs():
    """Name and function of an image of every program."""
    yield "SExtractor", lambda image: run_sextractor(image, np.isnan(image))
    for name, segmenter in (
        ("photutils", PhotutilsSegmenter()),
        ("SEP", SEPSegmenter()),
        ("U-Net", UNetSegmenter(weights="vis", n_views=1)),
    ):
        yield name, lambda image, own=segmenter: own.predict(image[np.newaxis])[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    n_seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore", NoSourcesWarning)
    own = list(programs())
    print(f"{'':28}" + "".join(f"{name:>12}" for name, _ in own))
    for fields in zip(*(images(seed) for seed in range(n_seeds)), strict=True):
        counts = []
        for _, find in own:
            maps = [find(image.astype(np.float32)) for _, image in fields]
            counts.append(np.mean([len(np.unique(labels[labels > 0])) for labels in maps]))
        print(f"{fields[0][0]:28}" + "".join(f"{count:12.1f}" for count in counts), flush=True)


if __name__ == "__main__":
    main()
