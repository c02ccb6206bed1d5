"""Compare a net's sources in tiles with those of the whole image, over images hard to cut.

    python benchmarks/compare_tiles.py --weights vis --tile-size 150
    python benchmarks/compare_tiles.py --kinds spiral "nested rings"

The images are those of ``tests/mosaic/test_adversarial.py``, continued by their mirror images to
400 × 500 pixels, because a shipped net looks more than a hundred pixels around each. For each the
table tells the sources of the whole image and of the mosaic, the pixels that are part of a source
in one of the two alone, and the sources without a twin of the same pixels. The exit status is 1 if
more pixels than one and one in ten thousand differ, or more than two sources.
"""

import argparse
import importlib.util
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from galaxysegment import UNetSegmenter
from galaxysegment.mosaic import segment_mosaic

IMAGES = Path(__file__).parents[1] / "tests" / "mosaic" / "test_adversarial.py"


def load_images():
    """The module of the images, which pytest does not have to run."""
    spec = importlib.util.spec_from_file_location("adversarial", IMAGES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def enlarge(image, shape):
    """Continue an image by its mirror images; a single row or column stays one."""
    more = [
        max(0, wanted - side) if side > 1 else 0
        for side, wanted in zip(image.shape, shape, strict=True)
    ]
    return np.pad(image, [(0, width) for width in more], mode="symmetric")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="vis", help="of the U-Net (%(default)s)")
    parser.add_argument("--tile-size", type=int, default=150)
    parser.add_argument("--shape", type=int, nargs=2, default=(400, 500))
    parser.add_argument("--kinds", nargs="+", default=None, help="all by default")
    options = parser.parse_args()
    module = load_images()
    segmenter = UNetSegmenter(weights=options.weights, deblend=True)
    print(f"{segmenter}, reach {segmenter.reach}, tiles of {options.tile_size}")
    print(f"{'image':<32}{'whole':>7}{'tiles':>7}{'pixels':>8}{'sources':>9}{'seconds':>9}")
    n_bad = 0
    for name, small in module.make_images().items():
        if options.kinds is not None and name not in options.kinds:
            continue
        image, begin = enlarge(small, options.shape), time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = module.in_raster_order(segmenter.predict(image[None])[0])
            tiled = segment_mosaic(segmenter, image, tile_size=options.tile_size, progress=False)
        n_pixels = int(np.count_nonzero((whole > 0) != (tiled > 0)))
        n_sources = max(module.n_unmatched(whole, tiled), module.n_unmatched(tiled, whole))
        n_bad += n_pixels > 1 + 1e-4 * np.count_nonzero(whole) or n_sources > 2
        numbers = f"{whole.max():>7}{tiled.max():>7}{n_pixels:>8}{n_sources:>9}"
        print(f"{name:<32}{numbers}{time.monotonic() - begin:>9.1f}", flush=True)
    return int(n_bad > 0)


if __name__ == "__main__":
    sys.exit(main())
