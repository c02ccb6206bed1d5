"""The fields of the second training of `train_shipped_instances`, and patches of them.

`KINDS` says how many of twelve fields are of each kind. Every sixth batch has patches of 256
pixels, so that galaxies of more than a hundred pixels come whole. Two in five other patches are
cut-outs of up to 160 pixels, scaled on their own.
"""

import numpy as np

from galaxysegment.datasets import make_sky
from galaxysegment.datasets._population import draw_galaxies, draw_stars
from galaxysegment.datasets._sky_stream import draw_telescope
from galaxysegment.structures import GALAXY, STAR, Instances

from . import instance_fields
from .class_fields import starry_field
from .instance_fields import Fields, as_seen, draw_camera, see, simulate
from .train_shipped_weights import correlated_noise

#: Fields in twelve: groups far from each other, as in the first training with large galaxies,
#: stars and galaxies at any distance, stars and galaxies of `make_field`, all of `make_sky`, a
#: field times -1, and noise alone. The last two hold no source.
KINDS = ("spread",) * 4 + ("large",) * 2 + ("stars",) * 2 + ("starry", "sky", "negative", "noise")
EVERY, WIDE, WIDE_BATCH = 6, 256, 2  # every sixth batch holds two patches of 256 pixels
CUT_OUTS, LARGEST = 0.4, 160  # share of the patches, and their largest side in pixels
GROUPS = (3, 6)  # groups along each side of a field of `spread`
MOST_IN_GROUP = 6
WHOLE = ("spread", "large", "sky")  # fields whose galaxies may be larger than a patch


def simulate_kind(seed, kind):
    """Make a field of a kind: image and RMS, float32 (2, height, width), and its `Instances`."""
    rng = np.random.default_rng([seed, 17])
    if kind == "large":
        return simulate(seed, large=True)
    if kind == "negative":
        planes, _ = simulate(seed, large=bool(seed % 2))
        return planes * np.float32([[[-1]], [[1]]]), nothing()
    if kind == "noise":
        image, rms, instances = make_noise(rng)
    elif kind == "starry":
        field = starry_field(seed)
        image, rms, instances = field.image[0], field.rms, field.instances
    elif kind == "sky":
        settings = draw_telescope(rng) | {"large_galaxies": 8.0, "clusters": 0.5}
        field, _ = make_sky(instance_fields.SHAPE, n_pixels=5, **settings, random_state=seed)
        image, rms, instances = field.image[0], field.rms, field.instances
        instances = instances.select(np.isin(instances.classes, (GALAXY, STAR)))
    else:
        camera, fwhm = draw_camera(rng)
        draw = draw_spread if kind == "spread" else draw_stars_between
        image, rms, instances = see(rng, camera, fwhm, draw(rng, camera, fwhm))
    return as_seen(rng, image, rms, instances)


def nothing():
    """No sources."""
    return Instances(instance_fields.SHAPE, [], [], classes=[])


def make_noise(rng):
    """Make an empty sky with a gradient: image, RMS and no sources."""
    shape = instance_fields.SHAPE
    y, x = (np.linspace(-1, 1, side) for side in shape)
    slope = rng.normal(0, 1.0, size=2)
    image = correlated_noise(rng) + slope[0] * y[:, None] + slope[1] * x
    return image, np.ones(shape), nothing()


def draw_spread(rng, camera, fwhm):
    """Draw groups of two to six galaxies on a grid, from faint ones to galaxies of 200 pixels.

    Magnitudes follow number counts whose slope differs from group to group. The galaxies of a group
    lie anywhere in a square, whatever their sizes: some on top of a large one.
    """
    shape, depth, groups = np.array(instance_fields.SHAPE), camera.depth[0], []
    n_along = int(rng.integers(*GROUPS, endpoint=True))
    step = shape / n_along
    for cell in np.ndindex(n_along, n_along):
        middle = (np.array(cell) + 0.5) * step
        reach = np.exp(rng.uniform(np.log(1.2 * fwhm), np.log(0.3 * step.min())))
        brightest = depth - rng.uniform(2.0, 9.5)
        steepness, growth = rng.uniform(1, 4), rng.uniform(1, 2)
        for number in range(int(rng.integers(1, MOST_IN_GROUP, endpoint=True))):
            mag = depth - 0.7 - (depth - 0.7 - brightest) * rng.uniform() ** steepness
            mag = brightest if number == 0 else mag
            source = draw_galaxies(rng, 1, mag, mag + 0.01)
            source["y"], source["x"] = middle + rng.uniform(-reach, reach, size=2)
            source["radius"] *= growth
            groups.append(source)
    return inside(np.concatenate(groups))


def draw_stars_between(rng, camera, fwhm):
    """Draw galaxies and stars of all magnitudes at any distance from each other."""
    depth = camera.depth[0]
    n_sources = int(np.exp(rng.uniform(*np.log([60, 1200]))) * (2.5 / fwhm))
    star_fraction = rng.uniform(0.2, 0.6)
    sources = []
    for _ in range(n_sources):
        mag = depth - 0.3 - rng.uniform() ** 1.5 * 6
        draw = draw_stars if rng.uniform() < star_fraction else draw_galaxies
        sources.append(draw(rng, 1, mag, mag + 0.01))
    sources = np.concatenate(sources)
    places = rng.uniform(-0.5, np.array(instance_fields.SHAPE) - 0.5, size=(n_sources, 2))
    sources["y"], sources["x"] = places.T
    return inside(sources)


def inside(sources):
    y, x = sources["y"], sources["x"]
    height, width = instance_fields.SHAPE
    return sources[(y >= 0) & (y < height) & (x >= 0) & (x < width)]


class MixedFields(Fields):
    """Fields of `KINDS` in turn, and random patches of them; parameters as of `Fields`."""

    def add(self, kind=None):
        """Add the next field."""
        number = len(self.fields)
        kind = KINDS[5 * number % len(KINDS)] if kind is None else kind
        planes, instances = instance_fields.cached(
            self.first + number, self.folder, kind, simulate_kind
        )
        self.fields.append((planes, self.segmenter._scale_all([planes])[0], instances, kind))

    def batch(self, rng, step=0):
        """Return a `DetectionBatch`; every sixth has patches of 256 pixels."""
        if step % EVERY:
            chosen = rng.integers(len(self.fields), size=instance_fields.BATCH)
            items = [
                self._patch(self.fields[index][:3], rng, CUT_OUTS, largest=LARGEST)
                for index in chosen
            ]
        else:
            whole = [field[:3] for field in self.fields if field[3] in WHOLE]
            chosen = rng.integers(len(whole), size=WIDE_BATCH)
            items = [self._patch(whole[index], rng, 0, side=WIDE) for index in chosen]
        return self.collate(items)[0]
