"""A cheap separator and a field for tests of what a mosaic keeps of the light."""

from dataclasses import replace

import numpy as np
from astropy.table import Table

from galaxysegment import Instances
from galaxysegment.separation import BaseSeparator

SHAPE = (70, 90)
QUIET = {"progress": False}


class Bells(BaseSeparator):
    """A Gaussian around each centre, and one more source beside the brightest of each blend."""

    calls = 0
    event = None  # what happens at a call

    def __init__(self, *, growth=1.0, masks="given", companions=False):
        self.growth, self.masks, self.companions = growth, masks, companions

    def _complete(self, scene):
        if not self.companions:
            return scene
        centres = np.concatenate([scene.centres, scene.centres[:1] + 0.25])
        boxes = np.concatenate([scene.boxes, scene.boxes[:1]])
        return replace(scene, centres=centres, boxes=boxes, freedom=np.zeros(len(boxes)))

    def _templates(self, scene):
        Bells.calls += 1
        if Bells.event is not None:
            Bells.event(Bells.calls)
        bells = []
        for (y, x), (y0, x0, y1, x1) in zip(scene.centres, scene.boxes, strict=True):
            rows, columns = np.ogrid[y0:y1, x0:x1]
            bell = 20 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6)
            bells.append(np.stack([bell * (1 + band) for band in range(len(scene.image))]))
        return bells


def a_field(n_bands=1):
    rng = np.random.default_rng(0)
    rows, columns = np.indices(SHAPE)
    image, masks, places = np.zeros(SHAPE), [], []
    for y, x in rng.uniform(-0.4, np.array(SHAPE) - 0.6, (14, 2)):
        light = 30 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / rng.uniform(4, 12))
        image += light
        masks.append(light > 3)
        places.append((y, x))
    order = np.argsort([np.flatnonzero(mask)[0] for mask in masks])[::-1]
    bands = [(1 + band) * image + rng.normal(0, 0.3, SHAPE) for band in range(n_bands)]
    image = bands[0] if n_bands == 1 else np.stack(bands)
    masks = [masks[index] for index in order]
    return image, masks, np.array(places)


IMAGE, MASKS, PLACES = a_field()
BANDS = a_field(3)[0]
RMS = np.full(SHAPE, 0.5)
INSTANCES = Instances.from_masks(MASKS, np.linspace(0.1, 0.9, 14), 1 + np.arange(14) % 2)
LABELS = 5 * INSTANCES.to_label_map() + 2 * (INSTANCES.to_label_map() > 0)
TABLE = Table(PLACES, names=("y", "x"))
SOURCES = {"labels": LABELS, "instances": INSTANCES, "places": TABLE}
