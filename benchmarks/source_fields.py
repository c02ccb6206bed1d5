"""The simulated fields that `train_shipped_sources` learns from.

Every other field is of `train_shipped_weights`, as in the first course. Of the rest a third hold
large galaxies, a quarter are times −1, and the others are crowded, rich in stars, or empty. Half of
these are seen as four small images, because a galaxy that fills an image has no sky beside it.
"""

import numpy as np

from galaxysegment.datasets import make_sky
from galaxysegment.datasets._sky_stream import draw_telescope
from galaxysegment.detection._background import background_maps
from galaxysegment.export import net_inputs
from galaxysegment.structures import GALAXY, SKY, STAR, VOID

from .class_fields import (
    N_PIXELS,
    PLAIN,
    SHAPE,
    cached,
    estimate_rms,
    planes_and_truth,
    simulate_weak,
)
from .class_fields import Fields as ClassFields
from .train_shipped_weights import simulate as simulate_field

WEAK_SEEDS = 50_000  # what is added to the seeds of the fields of `simulate_hard`


def simulate_known(seed):
    """Make a field of the first course; returns planes and truth as `class_fields.simulate`."""
    planes, labels = simulate_field(seed)
    return planes, np.stack([np.where(labels > 0, GALAXY, SKY), labels]).astype(np.int32)


def simulate_hard(seed):
    """Make a field of what the net of the first course is weak at."""
    rng = np.random.default_rng([seed, 19])
    kind = rng.uniform()
    if kind < 0.35:
        planes, truth = large(seed, rng)
    elif kind < 0.5:
        planes, truth = negative(seed, rng)
    else:
        planes, truth = simulate_weak(seed)
    is_source = np.isin(truth[0], (GALAXY, STAR))
    classes = np.where(truth[0] == VOID, VOID, np.where(is_source, GALAXY, SKY))
    return planes, np.stack([classes, np.where(is_source, truth[1], 0)]).astype(np.int32)


def negative(seed, rng):
    """Make a field times −1; of two thirds, a pipeline subtracted too much."""
    planes = large(seed, rng)[0] if rng.uniform() < 0.5 else simulate_field(seed)[0]
    if rng.uniform() < 0.67:
        filled = np.where(np.isnan(planes[0]), np.nanmedian(planes[0]), planes[0])
        planes[0] -= background_maps(filled, box_size=int(rng.choice([24, 32, 64, 128])))[0]
    planes[0] *= -1
    classes = np.where(np.isnan(planes[0]), VOID, SKY)
    return planes, np.stack([classes, 0 * classes]).astype(np.int32)


def large(seed, rng):
    """Make a field with galaxies of 60 to 600 pixels, smooth and with arms, and little else."""
    settings = draw_telescope(rng) | PLAIN | {"mosaic": bool(rng.uniform() < 0.2)}
    settings["large_galaxies"] = float(rng.choice([8.0, 16.0, 30.0]))
    settings["clusters"] = float(rng.choice([0.0, 0.0, 0.5]))
    field, class_map = make_sky(SHAPE, n_pixels=N_PIXELS, **settings, random_state=seed)
    image, rms = np.array(field.image[0]), np.array(field.rms)
    if rng.uniform() < 0.4:
        rms = estimate_rms(image)
    return planes_and_truth(image, rms, np.exp(rng.uniform(-8, 4)), field.labels, class_map)


class Fields(ClassFields):
    """Training fields as the net sees them, and random patches of them."""

    def add(self):
        """Add the next field."""
        self.fields.append(make_seen(self.unet, len(self.fields), self.first, self.folder))


def make_seen(unet, index, first, folder):
    """Make a field of the course, or read it back; return it as `seen` does."""
    if index % 2 == 0:
        return seen(unet, *cached(first + index // 2, folder, simulate_known))
    planes, truth = cached(first + index + WEAK_SEEDS, folder, simulate_hard)
    if index % 4 == 1:
        return seen(unet, planes, truth)
    rows = [[seen(unet, part, true) for part, true in quarters] for quarters in cut(planes, truth)]
    return [
        np.concatenate([np.concatenate(parts, axis=-1) for parts in zipped], axis=-2)
        for zipped in zip(*(list(zip(*row, strict=True)) for row in rows), strict=True)
    ]


def cut(planes, truth):
    """Cut a field in four; return two rows of two pairs."""
    halves = [slice(0, SHAPE[0] // 2), slice(SHAPE[0] // 2, None)]
    return [[(planes[:, y, x], truth[:, y, x]) for x in halves] for y in halves]


def seen(unet, planes, truth):
    """Return the image as it reaches the net in `predict`, and its classes, VOID without data."""
    (scaled,) = net_inputs(unet, planes[None])
    no_data = np.isnan(planes).any(axis=0) | np.isnan(scaled).all(axis=0)
    return np.nan_to_num(scaled), np.where(no_data, VOID, truth[0]).astype(np.int8)
