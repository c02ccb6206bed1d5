"""The simulated fields that `train_shipped_classes` learns from, and patches of them.

Half of the fields are `make_sky`'s with all that it adds, a third `make_sky`'s without, the others
`make_field`'s, each of another telescope. In a second course every other field is of what a net of
the first one is weak at: crowds of stars, noise alone, images times −1, maps with wrong noise.
"""

import os
from collections import Counter
from typing import NamedTuple

import numpy as np
import torch

from galaxysegment.datasets import make_field, make_sky
from galaxysegment.datasets._sky_stream import draw_telescope
from galaxysegment.detection._background import background_maps
from galaxysegment.detection._scores import N_SUMS
from galaxysegment.segmenters._pixel_classes import evidence_of_sums
from galaxysegment.segmenters._scaling import noise_scaled, stacked
from galaxysegment.segmenters._star_rule import StarRule
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR, TRAIL, VOID, remove_small

CLASSES = (GALAXY, STAR, ARTEFACT)  # their number is also the place of their logit
SHAPE = (512, 512)
N_PIXELS = 4  # smallest source in the truth
PLAIN = {
    **dict.fromkeys(("large_galaxies", "clusters", "bright_stars", "cirrus", "satellites"), 0.0),
    "cosmic_rays": 0.0,
}
PATCH, BATCH = 256, 8
WEAK_SEEDS = 50_000  # what is added to the seeds of the fields of `simulate_weak`
STAR_WEIGHT = 2.0  # a star's share in telling stars from galaxies, against a galaxy's


def simulate(seed):
    """Make one field: image and RMS, float32 (2, height, width), and its panoptic truth, int32."""
    rng = np.random.default_rng([seed, 11])
    settings, kind = draw_telescope(rng), rng.uniform()
    if kind < 0.17:
        names = "pixel_scale psf_fwhm depth sky_level sky_gradient read_noise density star_fraction"
        chosen = {name: settings[name] for name in names.split()}
        field = make_field(SHAPE, n_pixels=N_PIXELS, **chosen, random_state=seed)
        class_map = np.concatenate([[SKY], field.classes])[field.labels]
    else:
        settings |= PLAIN if kind < 0.5 else {}
        field, class_map = make_sky(SHAPE, n_pixels=N_PIXELS, **settings, random_state=seed)
    image, rms = np.array(field.image[0]), np.array(field.rms)
    if rng.uniform() < 0.3 and kind >= 0.5:  # cores of saturated stars are masked
        image[image > 0.98 * (settings["saturation"] + settings["sky_level"])] = np.nan
    if rng.uniform() < 0.2:  # a pipeline took light of large sources for the sky
        level = background_maps(np.where(np.isnan(image), np.nanmedian(image), image), box_size=128)
        image -= level[0]
    if rng.uniform() < 0.5:
        rms = estimate_rms(image)
    return planes_and_truth(image, rms, np.exp(rng.uniform(-8, 4)), field.labels, class_map)


def simulate_weak(seed):
    """Make one field of what is hard for a net of the first course; returns what `simulate` does.

    Of ten fields seven are crowded or rich in stars, one is empty, and two are fields of `simulate`
    times −1, which hold no source. A fifth have an RMS map that is wrong by a factor. There are
    cosmic rays, or a net would forget what they are, and take their rims for sources.
    """
    rng = np.random.default_rng([seed, 17])
    kind = rng.uniform()
    if kind < 0.2:
        planes, truth = _negative(seed, rng)
    else:
        settings = draw_telescope(rng)
        settings |= PLAIN | (_empty(rng) if kind < 0.3 else _crowd(rng))
        settings["cosmic_rays"] = float(rng.choice([5.0, 40.0, 100.0]))
        with_mosaic = rng.uniform() < 0.3 or kind < 0.3
        field, class_map = make_sky(
            SHAPE, n_pixels=N_PIXELS, **settings | {"mosaic": with_mosaic}, random_state=seed
        )
        image, rms = np.array(field.image[0]), np.array(field.rms)
        if rng.uniform() < 0.4:
            rms = estimate_rms(image)
        planes, truth = planes_and_truth(image, rms, 1.0, field.labels, class_map)
    if rng.uniform() < 0.2:
        planes[1] *= np.exp(rng.uniform(np.log(0.4), np.log(1.3)))
    return planes, truth


def _negative(seed, rng):
    """Make a field of `simulate` times −1; of half, a pipeline took a fine mesh for the sky."""
    planes, truth = simulate(seed)
    if rng.uniform() < 0.5:
        filled = np.where(np.isnan(planes[0]), np.nanmedian(planes[0]), planes[0])
        planes[0] -= background_maps(filled, box_size=int(rng.choice([32, 64, 128])))[0]
    planes[0] *= -1
    return planes, np.stack([np.where(truth[0] == VOID, truth[0], SKY), 0 * truth[1]])


def _empty(rng):
    """Draw settings of a field with next to no source, whose noise is correlated."""
    return {"density": 0.01, "correlation": float(rng.choice([0.0, rng.uniform(0.5, 1.5)]))}


def _crowd(rng):
    """Draw settings of a ground-based field, sparse or crowded, with few or many stars."""
    pixel_scale = rng.uniform(0.1, 0.4)
    per_patch = np.exp(rng.uniform(np.log(15), np.log(300)))  # sources in 256 × 256 pixels
    return {
        "pixel_scale": float(pixel_scale),
        "psf_fwhm": float(np.clip(pixel_scale * rng.uniform(2, 6), 0.5, 1.5)),
        "depth": float(rng.uniform(23.5, 27.5)),
        "density": float(per_patch / (256 * pixel_scale / 60) ** 2),
        "star_fraction": float(rng.choice([0.03, 0.1, 0.2, 0.35, 0.6])),
        "correlation": float(rng.choice([0.0, 0.0, rng.uniform(0.3, 0.9)])),
    }


def seeing_of(seed):
    """FWHM of the PSF of a field of `simulate`, in pixels."""
    settings = draw_telescope(np.random.default_rng([seed, 11]))
    return settings["psf_fwhm"] / settings["pixel_scale"]


def starry_field(seed, bands="r"):
    """Make a ground-based field of galaxies and stars of any density."""
    rng = np.random.default_rng(seed)
    settings = {
        "pixel_scale": float(rng.choice([0.15, 0.2, 0.2, 0.26, 0.3])),
        "psf_fwhm": float(rng.uniform(0.6, 1.2)),
        "depth": float(rng.uniform(24.5, 27)),
        "star_fraction": float(rng.choice([0.05, 0.1, 0.2, 0.3, 0.5])),
        "density": float(np.exp(rng.uniform(np.log(25), np.log(250)))),
    }
    return make_field(SHAPE, bands=bands, **settings, random_state=seed)


def simulate_starry(seed, bands="r"):
    """Make a `starry_field`.

    Returns bands and the RMS map of r, (n_bands + 1, height, width), and the truth as `simulate`.
    """
    field = starry_field(seed, bands)
    rms = field.rms.reshape(-1, *SHAPE)[bands.index("r")]
    return np.stack([*field.image, rms]), truth_of(field)


def truth_of(field):
    """Panoptic truth of a field; a pixel belongs to the first of the sources that cover it."""
    return np.stack([np.concatenate([[0], field.classes])[field.labels], field.labels])


def star_evidence_of(unet, image):
    """Return the label map of an image and the evidence that each source is a star.

    Parameters
    ----------
    unet : UNetSegmenter
        With classes.
    image : ndarray of float, shape (n_bands, height, width)

    Returns
    -------
    labels : ndarray of int32, shape (height, width)
    evidence : ndarray of float, shape (2, n_sources)
        As `galaxysegment.segmenters._star_rule.star_evidence` returns it.
    """
    kept, unet._star_rule = unet._star_rule, StarRule(0, 1, 0, 0)  # any rule measures the evidence
    try:
        [result] = unet._find_sources([image], scored=True)
    finally:
        unet._star_rule = kept
    labels, sums = unet._sums_of(*result)
    return labels, evidence_of_sums(sums[:, 0], sums[:, N_SUMS:].T, CLASSES)


class Match(NamedTuple):
    """A true source that is detected.

    Parameters
    ----------
    snr : float
    kind : int
        True class.
    source : int
        Label of the prediction.
    shared : bool
        Whether the predicted source is that of another true source, too.
    """

    snr: float
    kind: int
    source: int
    shared: bool


def match_sources(planes, truth, labels, n_pixels=8):
    """Return a `Match` of each true source of at least `n_pixels` that is detected.

    A true source is detected if it shares with a predicted source half of the pixels of the smaller
    of the two.
    """
    is_thing = np.isin(truth[0], (GALAXY, STAR))
    wanted = remove_small(np.where(is_thing, truth[1], 0), n_pixels)
    signal, sizes = signal_to_noise(planes), np.bincount(labels.ravel())
    rows = []
    for label in np.unique(wanted[wanted > 0]):
        inside = (wanted == label) & (truth[0] >= 0)
        votes = np.bincount(labels[inside])
        votes[:1] = 0
        if not votes.any():
            continue
        source = int(votes.argmax())
        if 2 * votes[source] >= min(inside.sum(), sizes[source]):
            snr = np.nansum(signal[inside]) / np.sqrt(inside.sum())
            rows.append((float(snr), int(truth[0][inside][0]), source))
    times = Counter(source for _, _, source in rows)
    return [Match(*row, shared=times[row[2]] > 1) for row in rows]


def signal_to_noise(planes):
    """Signal to noise of each pixel in the stack of the bands, as the nets see it."""
    with_rms = np.isfinite(planes[-1]).any()
    scaled = noise_scaled(planes if with_rms else planes[:-1], -1 if with_rms else None)
    return np.sinh(stacked(scaled)[0])


def estimate_rms(image):
    """Noise of an image on a mesh."""
    no_data = np.isnan(image)
    return background_maps(np.where(no_data, 0, image), mask=no_data, box_size=64)[1]


def planes_and_truth(image, rms, unit, labels, class_map):
    """Image and RMS in a unit of brightness, and the classes and labels that a net learns."""
    planes = np.stack([image * unit, rms * unit]).astype(np.float32)
    return planes, np.stack([to_classes(class_map, image), labels]).astype(np.int32)


def to_classes(class_map, image):
    """Class of each pixel as the net learns it: trails are artefacts, diffuse light is sky."""
    classes = np.where(class_map == TRAIL, ARTEFACT, class_map)
    classes = np.where(np.isin(classes, CLASSES), classes, SKY)
    return np.where(np.isnan(image), VOID, classes)


def cached(seed, folder, make=None):
    """Make a field with `make`, by default `simulate`, or read it back."""
    path = folder / f"{seed}.npz"
    if path.exists():
        with np.load(path) as stored:
            return stored["planes"], stored["truth"]
    planes, truth = (make or simulate)(seed)
    part = path.with_name(f".{seed}.{os.getpid()}.npz")
    np.savez(part, planes=planes, truth=truth)
    part.replace(path)
    return planes, truth


class Fields:
    """Training fields as the net sees them, and random patches of them.

    Parameters
    ----------
    unet : UNetSegmenter
        Whose scaling is used.
    folder : Path
        Where simulated fields are kept.
    first : int
        Seed of the first field; the others follow.
    second : bool, default=False
        Whether every other field is of `simulate_weak`, as in the second course.
    """

    def __init__(self, unet, folder, first, second=False):
        self.unet, self.folder, self.first, self.second = unet, folder, first, second
        self.fields = []

    def add(self):
        """Add the next field."""
        index, make = len(self.fields), None
        if self.second and index % 2:
            index, make = index + WEAK_SEEDS, simulate_weak
        elif self.second:
            index //= 2
        field = cached(self.first + index, self.folder, make)
        self.fields.append(prepared(self.unet, *field))

    def batch(self, rng):
        """Return images (n, 1, side, side), classes and weights of the pixels of sources.

        Half of the patches are of the fields that joined last.
        """
        parts = zip(*self._draw(rng), strict=True)
        return tuple(torch.from_numpy(np.stack(part)) for part in parts)

    def _draw(self, rng):
        """Draw the patches of a batch."""
        recent = max(1, len(self.fields) // 4)
        chosen = rng.integers(len(self.fields), size=BATCH)
        chosen[::2] = len(self.fields) - 1 - rng.integers(recent, size=len(chosen[::2]))
        return [self._patch(self.fields[index], rng) for index in chosen]

    def _patch(self, field, rng):
        y, x = (rng.integers(size - PATCH + 1) for size in SHAPE)
        mirrored = [slice(None, None, step) for step in rng.choice((1, -1), 2)]
        window = slice(y, y + PATCH), slice(x, x + PATCH)
        parts = [plane[(..., *window)][(..., *mirrored)] for plane in field]
        turned = rng.uniform() < 0.5
        return [np.ascontiguousarray(part.swapaxes(-2, -1) if turned else part) for part in parts]


def prepared(unet, planes, truth):
    """Return the scaled image (n_bands, height, width), its classes and the weights of sources.

    The pixels of a source share the square root of its area, or a few large sources would decide.
    """
    scaled = unet._scale_all([planes])[0]
    no_data = np.isnan(scaled).all(axis=0)
    classes = np.where(no_data, VOID, truth[0]).astype(np.int8)
    is_thing = np.isin(classes, (GALAXY, STAR))
    areas = np.bincount(np.where(is_thing, truth[1], 0).ravel())
    weights = np.where(is_thing, 1 / np.sqrt(np.maximum(areas, 1))[truth[1]], 0)
    weights *= np.where(classes == STAR, STAR_WEIGHT, 1.0)
    return np.nan_to_num(scaled), classes, weights.astype(np.float32)
