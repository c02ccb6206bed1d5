"""The simulated fields that `train_shipped_instances` learns from, and patches of them.

Three of four fields are groups of galaxies and stars that overlap, an eighth are `make_field`'s,
crowded ones too, an eighth `make_sky`'s, each of another telescope. The PSF of the groups is 1.6 to
8 pixels wide; groups of the later fields hold large galaxies, too. A fifth of the patches are small
cut-outs about a source, scaled on their own: an image that is full of light hides its sky.
"""

import os

import numpy as np

from galaxysegment.base._segmenter import clear_no_data
from galaxysegment.datasets import make_field, make_sky
from galaxysegment.datasets._field import make_truth
from galaxysegment.datasets._population import draw_galaxies, draw_stars
from galaxysegment.datasets._scene import Camera, add_light
from galaxysegment.datasets._sky_stream import draw_telescope
from galaxysegment.nets.common._data import cut
from galaxysegment.structures import GALAXY, STAR, Instances

from .class_fields import PLAIN, estimate_rms
from .train_shipped_weights import correlated_noise

SHAPE = (512, 512)
N_PIXELS = 5  # smallest source in the truth
PATCH, BATCH = 128, 8
CUT_OUTS, SMALLEST, LARGEST = 0.2, 24, 100  # share of the patches, and their sides in pixels
MOST_IN_GROUP = 8
FIRST_LARGE = 392  # number of the first field whose groups hold large galaxies
#: How many groups a field has, and how many magnitudes their brightest source is above the depth.
N_GROUPS, BRIGHTEST = {False: (40, 400), True: (20, 160)}, {False: 7.0, True: 9.5}


def simulate(seed, large=False):
    """Make one field: image and RMS, float32 (2, height, width), and its `Instances`.

    With `large`, groups hold galaxies of up to a hundred pixels.
    """
    rng = np.random.default_rng([seed, 13])
    kind = rng.uniform()
    if kind < 0.75:
        image, rms, instances = make_groups(rng, large)
    elif kind < 0.875:
        settings = draw_telescope(rng)
        names = "pixel_scale psf_fwhm depth sky_level sky_gradient read_noise density star_fraction"
        chosen = {name: settings[name] for name in names.split()}
        field = make_field(SHAPE, n_pixels=N_PIXELS, **chosen, random_state=seed)
        image, rms, instances = field.image[0], field.rms, field.instances
    else:
        settings = draw_telescope(rng) | (PLAIN if kind < 0.95 else {})
        field, _ = make_sky(SHAPE, n_pixels=N_PIXELS, **settings, random_state=seed)
        image, rms, instances = field.image[0], field.rms, field.instances
        instances = instances.select(np.isin(instances.classes, (GALAXY, STAR)))
    return as_seen(rng, image, rms, instances)


def as_seen(rng, image, rms, instances):
    """Return image and RMS as planes, and the sources with data; half of the RMS is measured."""
    image, rms = np.array(image), np.array(rms)
    no_data = np.isnan(image)
    if no_data.any():
        instances = clear_no_data(instances, no_data)
    if rng.uniform() < 0.5:
        rms = estimate_rms(image)
    return np.stack([image, rms]).astype(np.float32), instances


def make_groups(rng, large):
    """Make a field of groups: image, RMS and `Instances`."""
    camera, fwhm = draw_camera(rng)
    return see(rng, camera, fwhm, draw_groups(rng, camera, fwhm, large))


def draw_camera(rng):
    """Draw pixels, PSF, sky and depth; return the camera and the FWHM of its PSF in pixels."""
    pixel_scale = np.exp(rng.uniform(np.log(0.1), np.log(0.4)))
    fwhm = np.exp(rng.uniform(np.log(1.6), np.log(8.0)))  # pixels
    camera = Camera(
        pixel_scale,
        pixel_scale * fwhm,
        "r",
        (np.exp(rng.uniform(3, 9)),),
        (rng.uniform(23.5, 27.5),),
        rng.uniform(0, 15),
    )
    return camera, fwhm


def see(rng, camera, fwhm, sources):
    """Return image, RMS and `Instances` of sources seen by a camera."""
    stamps = camera.draw(sources)
    light = np.maximum(add_light(stamps, SHAPE)[0], 0)
    rms = np.sqrt(camera.sky_rms[0] ** 2 + light).astype(np.float32)
    instances = make_truth(camera, sources, stamps, rms, N_PIXELS)[1]
    noise = correlated_noise(rng) if fwhm > 2.5 else rng.standard_normal(SHAPE)
    return light + camera.sky_level[0] + rms * noise, rms, instances


def draw_groups(rng, camera, fwhm, large):
    """Draw the sources of groups of one to eight; their distances grow with the PSF."""
    depth, groups = camera.depth[0], []
    reach = rng.uniform(2.5, 7.0) * np.hypot(fwhm, 2.0)
    star_fraction = rng.choice([0.0, 0.05, rng.uniform(0, 0.4)])
    for _ in range(int(np.exp(rng.uniform(*np.log(N_GROUPS[large]))))):
        places = [rng.uniform(-0.5, np.array(SHAPE) - 0.5)]
        for _ in range(min(rng.geometric(0.33), MOST_IN_GROUP) - 1):
            angle = rng.uniform(0, 2 * np.pi)
            step = rng.uniform(0.6 * fwhm, reach) * np.array([np.sin(angle), np.cos(angle)])
            places.append(places[rng.integers(len(places))] + step)
        brightest = depth - rng.uniform(1.0, BRIGHTEST[large])
        growth = rng.uniform(1, 2) if large else 1.0  # of the first source
        for number, place in enumerate(places):
            mag = brightest if number == 0 else rng.uniform(brightest, depth)
            draw = draw_stars if rng.uniform() < star_fraction else draw_galaxies
            source = draw(rng, 1, mag, mag + 0.01)
            source["y"], source["x"] = place
            source["radius"] *= growth if number == 0 else 1.0
            groups.append(source)
    sources = np.concatenate(groups)
    y, x = sources["y"], sources["x"]
    return sources[(y >= 0) & (y < SHAPE[0]) & (x >= 0) & (x < SHAPE[1])]


def cached(seed, folder, kind="", make=None):
    """Simulate a field, or read it back.

    `make` is called with the seed and the kind; ``None`` means `simulate`, whose fields are
    ``"large"`` or not.
    """
    path = folder / f"{seed}{'-' * bool(kind)}{kind}.npz"
    if path.exists():
        with np.load(path) as stored:
            boxes, pixels = stored["boxes"], stored["pixels"]
            sides = boxes[:, 2:] - boxes[:, :2]
            parts = np.split(pixels, np.cumsum(sides.prod(axis=1)))  # the last one is empty
            crops = [part.reshape(shape) for part, shape in zip(parts[:-1], sides, strict=True)]
            return stored["planes"], Instances(SHAPE, boxes, crops, classes=stored["classes"])
    planes, instances = make(seed, kind) if make else simulate(seed, kind == "large")
    part = path.with_name(f".{seed}.{os.getpid()}.npz")
    np.savez(
        part,
        planes=planes,
        boxes=instances.boxes,
        pixels=np.concatenate([crop.ravel() for crop in instances.crops] or [np.zeros(0, bool)]),
        classes=instances.classes,
    )
    part.replace(path)
    return planes, instances


class Fields:
    """Training fields as the net sees them, and random patches of them.

    Parameters
    ----------
    segmenter : MaskRCNNSegmenter
        Whose scaling is used.
    folder : Path
        Where simulated fields are kept.
    first : int
        Seed of the first field; the others follow.
    """

    def __init__(self, segmenter, folder, first):
        self.segmenter, self.folder, self.first, self.fields = segmenter, folder, first, []
        self.collate = segmenter._collate()

    def add(self, large=None):
        """Add the next field: its planes, their scaled image and the truth.

        `large` is as in `simulate`; the number of the field decides if it is ``None``.
        """
        number = len(self.fields)
        large = number >= FIRST_LARGE if large is None else large
        planes, instances = cached(self.first + number, self.folder, "large" * large)
        self.fields.append((planes, self.segmenter._scale_all([planes])[0], instances))

    def batch(self, rng, step=0):
        """Return a `DetectionBatch` of random patches, turned and mirrored at random.

        Once there are fields with large galaxies, half of the patches are of these.
        """
        chosen = rng.integers(len(self.fields), size=BATCH)
        if len(self.fields) > FIRST_LARGE:
            chosen[::2] = rng.integers(FIRST_LARGE, len(self.fields), size=len(chosen[::2]))
        items = [self._patch(self.fields[index], rng) for index in chosen]
        return self.collate(items)[0]

    def _patch(self, field, rng, cut_outs=CUT_OUTS, smallest=None, largest=None, side=None):
        planes, scaled, instances = field
        if rng.uniform() < cut_outs and len(instances):
            window = cut_out(instances, rng, smallest or SMALLEST, largest or LARGEST)
            image = self.segmenter._scale_all([planes[(..., *window)]])[0]
        else:
            side = side or PATCH
            corner = (rng.integers(length - side + 1) for length in SHAPE)
            window = tuple(slice(start, start + side) for start in corner)
            image = scaled[(..., *window)]
        sources = cut(instances, *window)
        sources = sources.select(sources.areas >= N_PIXELS - 1)
        return turned(image, sources, rng)


def cut_out(instances, rng, smallest, largest):
    """Return the window of a small cut-out with a source near its middle."""
    box = instances.boxes[rng.integers(len(instances))]
    middle = (box[:2] + box[2:]) / 2 + rng.uniform(-10, 10, size=2)
    sides = np.exp(rng.uniform(np.log(smallest), np.log(largest), size=2)).astype(int)
    corners = np.clip(middle - sides / 2, 0, np.array(SHAPE) - sides).astype(int)
    return tuple(slice(*pair) for pair in zip(corners, corners + sides, strict=True))


def turned(image, sources, rng):
    """Mirror and turn an image and its `Instances`."""
    boxes, crops = sources.boxes.copy(), list(sources.crops)
    for axis in (0, 1):
        if rng.uniform() < 0.5:
            side = image.shape[1 + axis]
            image = np.flip(image, 1 + axis)
            boxes[:, [axis, axis + 2]] = side - boxes[:, [axis + 2, axis]]
            crops = [np.flip(crop, axis) for crop in crops]
    if rng.uniform() < 0.5:
        image, boxes = image.swapaxes(1, 2), boxes[:, [1, 0, 3, 2]]
        crops = [crop.T for crop in crops]
    sources = Instances(image.shape[1:], boxes, crops, classes=sources.classes)
    return np.ascontiguousarray(image), sources
