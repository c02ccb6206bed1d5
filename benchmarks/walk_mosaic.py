"""Count the files of the package that an image passes through in `segment_mosaic`.

    python benchmarks/walk_mosaic.py
    python benchmarks/walk_mosaic.py --fits --deblend

A file is entered if one of its functions runs; it is handed pixels if one of its functions gets an
array of floats with two or more axes, or a list of such arrays. Few files mean that a reader who
follows an image has few places to look at.
"""

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import galaxysegment
from galaxysegment import PhotutilsSegmenter
from galaxysegment.io import Field
from galaxysegment.mosaic import segment_mosaic

PACKAGE = Path(galaxysegment.__file__).parent


def make_image(side=300, n_sources=40):
    rng = np.random.default_rng(0)
    y, x = np.indices((side, side))
    image = rng.normal(size=(side, side))
    for _ in range(n_sources):
        centre_y, centre_x = rng.uniform(0, side, 2)
        image += 30 * np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / 18)
    return image.astype(np.float32)


def holds_pixels(value):
    if isinstance(value, list | tuple) and value:
        return holds_pixels(next(iter(value)))  # a subclass may take names as indices
    return isinstance(value, np.ndarray) and value.ndim > 1 and value.dtype.kind == "f"


def files_entered(function):
    """Call a function; count the calls into each file of the package, and those that are handed
    pixels.
    """
    calls, with_pixels = Counter(), Counter()

    def note(frame, event, _):
        if event == "call" and not frame.f_code.co_name.startswith("<module"):
            name = frame.f_code.co_filename
            calls[name] += 1
            with_pixels[name] += any(map(holds_pixels, list(frame.f_locals.values())))

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    inside = sorted(Path(name) for name in calls if str(PACKAGE) in name)
    return {
        str(path.relative_to(PACKAGE)): (calls[str(path)], with_pixels[str(path)])
        for path in inside
    }


def walk(words=None):
    """Segment an image in tiles; return the calls into each file, and those with pixels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", action="store_true", help="read a FITS file and write one")
    parser.add_argument("--deblend", action="store_true", help="split blends")
    arguments = parser.parse_args(words)
    image = make_image()
    segmenter = PhotutilsSegmenter(deblend=arguments.deblend)
    options = {"tile_size": 100, "progress": False}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if arguments.fits:
            image = Field(image).write(Path(folder) / "image.fits")
            options["output"] = Path(folder) / "labels.fits"
        return files_entered(lambda: segment_mosaic(segmenter, image, **options))


def main():
    entered = walk()
    print("   calls  with pixels")
    for name, (n_calls, n_with_pixels) in entered.items():
        print(f"{n_calls:8d} {n_with_pixels:12d}  {name}")
    n_handed = sum(n_with_pixels > 0 for _, n_with_pixels in entered.values())
    print(f"{len(entered)} files are entered, {n_handed} are handed pixels")


if __name__ == "__main__":
    main()
