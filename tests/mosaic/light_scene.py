"""A scene of galaxies that overlap, and a program that separates them, for tests of mosaics."""

import numpy as np
from astropy.table import Table

from galaxysegment import Instances
from galaxysegment.separation import SegmentThenSeparate, TemplateSeparator

SHAPE = (150, 180)
NOISE = 0.3
QUIET = {"progress": False}


def scene(random_state=0, shape=SHAPE, n=30):
    """Galaxies that often overlap: image, masks that overlap too, positions."""
    rng = np.random.default_rng(random_state)
    rows, columns = np.indices(shape)
    image, masks, places = np.zeros(shape), [], []
    while len(places) < n:
        y, x = rng.uniform(-0.4, np.array(shape) - 0.6)
        if places and np.hypot(*(np.array(places) - (y, x)).T).min() < 4:
            continue
        radius, flux = rng.uniform(1.2, 3), 10 ** rng.uniform(1.8, 3)
        light = np.exp(-np.hypot(rows - y, 1.5 * (columns - x)) / radius)
        light *= flux / light.sum()
        masks.append(light > NOISE)
        places.append((y, x))
        image += light
    image += NOISE * rng.normal(size=shape)
    return image, Instances.from_masks(masks), Table(np.array(places), names=("y", "x"))


IMAGE, MASKS, PLACES = scene()
LABELS = 3 * MASKS.to_label_map()  # numbers with gaps
RMS = np.full(SHAPE, NOISE)


def check_same(first, second):
    assert len(first) == len(second)
    for name in ("boxes", "residual", "fluxes", "flux_errors", "blendedness"):
        values = getattr(first, name), getattr(second, name)
        np.testing.assert_array_equal(*values, err_msg=name)
    for mine, its in zip(first.parts, second.parts, strict=True):
        np.testing.assert_array_equal(mine, its)
    assert first.sources == second.sources


class Failing(TemplateSeparator):
    def _templates(self, scene):
        raise ValueError("this blend is bad")


def found_by(segmenter=None, **parameters):
    both = SegmentThenSeparate(segmenter, **parameters)
    return both.fit([np.stack([IMAGE, RMS]) if both.rms_band else IMAGE])


PROGRAM = """
import os, sys
import numpy as np
from galaxysegment.mosaic import separate_mosaic
from galaxysegment.separation import SegmentThenSeparate, TemplateSeparator

class Deadly(TemplateSeparator):
    calls = 0

    def _templates(self, scene):
        Deadly.calls += 1
        if Deadly.calls == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), 9)
        return super()._templates(scene)

image, labels, rms = (np.load(f"{sys.argv[1]}/{name}.npy") for name in ("image", "labels", "rms"))
separate_mosaic(Deadly(), image, labels, rms=rms, tile_size=60, kind="parts", progress=False,
                output=f"{sys.argv[1]}/light.fits", resume=True)
print(Deadly.calls)
"""
