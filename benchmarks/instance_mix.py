"""The fields of later trainings of `train_shipped_instances`, and patches of them.

`COURSES` says how many of twelve fields are of each kind. Some batches have patches of 256 or 384
pixels, so that galaxies of more than a hundred pixels come whole. Two in five other patches are
cut-outs of up to 160 pixels, scaled on their own.
"""

import numpy as np
from scipy import ndimage

from galaxysegment.datasets import make_field, make_sky
from galaxysegment.datasets._population import draw_galaxies, draw_stars
from galaxysegment.datasets._sky_stream import draw_telescope
from galaxysegment.nets.common._data import cut
from galaxysegment.structures import GALAXY, STAR, Instances

from . import instance_fields
from .class_fields import PLAIN, starry_field
from .galaxy_scenes import make_scene
from .instance_fields import N_PIXELS, Fields, as_seen, draw_camera, see, simulate, turned
from .train_shipped_weights import correlated_noise

#: Fields in twelve of the second training: groups far from each other, as in the first training
#: with large galaxies, stars and galaxies at any distance, stars and galaxies of `make_field`, all
#: of `make_sky`, a field times -1, and noise alone. The last two hold no source. The third training
#: has large galaxies with stars and companions on them, four in a field or a single one, and fields
#: as surveys from the ground see them, crowded ones and with saturated stars. The fourth has more
#: of those from the ground, and groups as in the first training.
COURSES = {
    2: ("spread",) * 4 + ("large",) * 2 + ("stars",) * 2 + ("starry", "sky", "negative", "noise"),
    3: (
        *("hosts",) * 2,
        "giant",
        *("survey",) * 2,
        *("saturated",) * 2,
        *("spread",) * 2,
        *("large", "stars", "negative"),
    ),
    4: (
        *("survey",) * 3,
        *("groups",) * 2,
        *("spread",) * 2,
        *("stars", "large", "hosts", "sky", "negative"),
    ),
}
WIDE, WIDE_BATCH = 256, 2  # some batches hold two patches of 256 pixels
WIDEST = 384  # or, in the third training, a single one of 384
EVERY = {2: 6, 3: 3, 4: 6}  # one in so many batches is of these
HOST_SHARE = {3: 0.6, 4: 0.3}  # of those with galaxies of `hosts`
WIDEST_SHARE = {3: 0.25, 4: 0.0}  # of those with a patch of 384 pixels
CUT_OUTS, LARGEST = 0.4, 160  # share of the patches, and their largest side in pixels
GROUPS = (3, 6)  # groups along each side of a field of `spread`
MOST_IN_GROUP = 6
WHOLE = ("spread", "large", "sky", "saturated")  # fields of sources that a patch may cut
COMPANIONS = 7  # on the galaxy of a field of `hosts`, on average
HIDDEN = 0.3  # of the light of all others at its brightest pixel: a fainter companion has no label
FAINTEST = 7.0  # signal to noise of a companion with a label


def simulate_kind(seed, kind):
    """Make a field of a kind: image and RMS, float32 (2, height, width), and its `Instances`."""
    rng = np.random.default_rng([seed, 17])
    if kind in ("groups", "large"):
        return simulate(seed, large=kind == "large")
    if kind == "negative":
        planes, _ = simulate(seed, large=bool(seed % 2))
        return planes * np.float32([[[-1]], [[1]]]), nothing()
    if kind == "noise":
        image, rms, instances = make_noise(rng)
    elif kind in ("hosts", "giant"):
        image, rms, instances = make_hosts(rng, 2 if kind == "hosts" else 1)
    elif kind == "survey":
        field = make_field(instance_fields.SHAPE, n_pixels=5, **draw_survey(rng), random_state=seed)
        image, rms, instances = field.image[0], field.rms, field.instances
    elif kind == "saturated":
        settings = draw_survey(rng) | PLAIN
        settings |= {"bright_stars": rng.uniform(10, 60), "mosaic": False}
        settings |= {"saturation": np.exp(rng.uniform(*np.log([2e4, 2e5])))}
        field, _ = make_sky(instance_fields.SHAPE, n_pixels=5, **settings, random_state=seed)
        image, rms, instances = field.image[0], field.rms, field.instances
        instances = instances.select(np.isin(instances.classes, (GALAXY, STAR)))
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


def make_hosts(rng, n_along):
    """Large galaxies with stars and companions on them: image, RMS and `Instances`.

    Each lies in a square of its own, `n_along` along each side of the field.
    """
    side = instance_fields.SHAPE[0] // n_along
    image, rms = np.zeros((2, *instance_fields.SHAPE))
    parts = []
    for corner in np.ndindex(n_along, n_along):
        y0, x0 = side * np.array(corner)
        seed, rich = int(rng.integers(2**31)) + 2**31, rng.uniform() < 0.5
        n_companions = rng.poisson(COMPANIONS * (1 + (n_along == 1)))
        scene = make_scene(seed, side=side, n_companions=n_companions, rich=rich)
        image[y0 : y0 + side, x0 : x0 + side] = scene.image
        rms[y0 : y0 + side, x0 : x0 + side] = scene.rms
        parts.append(sources_of(scene).shift(y0, x0, instance_fields.SHAPE))
    return image, rms, Instances.concatenate(parts)


def sources_of(scene):
    """`Instances` of a scene: where the light of each source exceeds the noise.

    Companions without a pixel that shows them are left out.
    """
    total, boxes, crops, classes = scene.light.sum(axis=0), [], [], []
    for light, is_star in zip(scene.light, scene.is_star, strict=True):
        parts, _ = ndimage.label(light > scene.rms)
        peak = np.unravel_index(np.argmax(light), light.shape)
        mask = (parts == parts[peak]) & (parts[peak] > 0)
        shown = light[peak] > HIDDEN * (total - light)[peak]
        strong = np.sum((light / scene.rms)[mask] ** 2) > FAINTEST**2
        if np.count_nonzero(mask) < N_PIXELS or not (shown and strong):
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        boxes.append(box)
        crops.append(mask[box[0] : box[2], box[1] : box[3]])
        classes.append(STAR if is_star else GALAXY)
    return Instances(scene.image.shape, boxes, crops, classes=classes)


def draw_survey(rng):
    """Draw the settings of a survey from the ground, as of Hyper Suprime-Cam."""
    return {
        "pixel_scale": float(rng.uniform(0.15, 0.22)),
        "psf_fwhm": float(rng.uniform(0.55, 0.9)),
        "depth": float(rng.uniform(25.3, 26.8)),
        "density": float(np.exp(rng.uniform(*np.log([25, 200])))),
        "star_fraction": float(rng.uniform(0.1, 0.5)),
    }


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
    """Fields of `COURSES` in turn, and random patches of them; parameters as of `Fields`.

    `course` is the number of the training, 2 to 4.
    """

    def __init__(self, segmenter, folder, first, course=2):
        super().__init__(segmenter, folder, first)
        self.course = course

    def add(self, kind=None):
        """Add the next field."""
        number, kinds = len(self.fields), COURSES[self.course]
        kind = kinds[5 * number % len(kinds)] if kind is None else kind
        planes, instances = instance_fields.cached(
            self.first + number, self.folder, kind, simulate_kind
        )
        self.fields.append((planes, self.segmenter._scale_all([planes])[0], instances, kind))

    def batch(self, rng, step=0):
        """Return a `DetectionBatch`; some have patches of 256 or 384 pixels."""
        if step % EVERY[self.course]:
            chosen = rng.integers(len(self.fields), size=instance_fields.BATCH)
            items = [self._ordinary(self.fields[index], rng) for index in chosen]
        else:
            items = self._wide(rng)
        return self.collate(items)[0]

    def _ordinary(self, field, rng):
        if field[3] == "hosts":
            return self._in_square(field, rng, instance_fields.PATCH)
        return self._patch(field[:3], rng, CUT_OUTS, largest=LARGEST)

    def _wide(self, rng):
        has_hosts = self.course in HOST_SHARE
        widest = has_hosts and rng.uniform() < WIDEST_SHARE[self.course]
        hosts = ("giant",) if widest else ("giant", "hosts")
        kinds = hosts if has_hosts and rng.uniform() < HOST_SHARE[self.course] else WHOLE
        fields = [field for field in self.fields if field[3] in kinds]
        side = WIDEST if widest else WIDE
        chosen = rng.integers(len(fields), size=1 if widest else WIDE_BATCH)
        return [self._wide_patch(fields[index], rng, side) for index in chosen]

    def _wide_patch(self, field, rng, side):
        if field[3] == "hosts":
            return self._in_square(field, rng, side)
        return self._patch(field[:3], rng, 0, side=side)

    def _in_square(self, field, rng, side):
        """Return a patch of one of the four squares of a field, scaled on its own."""
        planes, _, instances, _ = field
        half = instance_fields.SHAPE[0] // 2
        start = half * rng.integers(2, size=2) + rng.integers(half - side + 1, size=2)
        window = tuple(slice(low, low + side) for low in start)
        image = self.segmenter._scale_all([planes[(..., *window)]])[0]
        sources = cut(instances, *window)
        return turned(image, sources.select(sources.areas >= N_PIXELS - 1), rng)
