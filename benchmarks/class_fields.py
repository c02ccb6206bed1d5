"""The simulated fields that `train_shipped_classes` learns from, and patches of them.

Half of the fields are `make_sky`'s with all that it adds, a third `make_sky`'s without, the others
`make_field`'s, each of another telescope.
"""

import os

import numpy as np
import torch

from galaxysegment.datasets import make_field, make_sky
from galaxysegment.datasets._sky_stream import draw_telescope
from galaxysegment.detection._background import background_maps
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR, TRAIL, VOID

CLASSES = (GALAXY, STAR, ARTEFACT)  # their number is also the place of their logit
SHAPE = (512, 512)
N_PIXELS = 4  # smallest source in the truth
PLAIN = {
    **dict.fromkeys(("large_galaxies", "clusters", "bright_stars", "cirrus", "satellites"), 0.0),
    "cosmic_rays": 0.0,
}
PATCH, BATCH = 256, 8
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
        no_data = np.isnan(image)
        rms = background_maps(np.where(no_data, 0, image), mask=no_data, box_size=64)[1]
    unit = np.exp(rng.uniform(-8, 4))
    planes = np.stack([image * unit, rms * unit]).astype(np.float32)
    return planes, np.stack([to_classes(class_map, image), field.labels]).astype(np.int32)


def to_classes(class_map, image):
    """Class of each pixel as the net learns it: trails are artefacts, diffuse light is sky."""
    classes = np.where(class_map == TRAIL, ARTEFACT, class_map)
    classes = np.where(np.isin(classes, CLASSES), classes, SKY)
    return np.where(np.isnan(image), VOID, classes)


def cached(seed, folder):
    """Simulate a field, or read it back."""
    path = folder / f"{seed}.npz"
    if path.exists():
        with np.load(path) as stored:
            return stored["planes"], stored["truth"]
    planes, truth = simulate(seed)
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
    """

    def __init__(self, unet, folder, first):
        self.unet, self.folder, self.first, self.fields = unet, folder, first, []

    def add(self):
        """Add the next field."""
        self.fields.append(prepared(self.unet, *cached(self.first + len(self.fields), self.folder)))

    def batch(self, rng):
        """Return images (n, 1, side, side), classes and weights of the pixels of sources.

        Half of the patches are of the fields that joined last.
        """
        recent = max(1, len(self.fields) // 4)
        chosen = rng.integers(len(self.fields), size=BATCH)
        chosen[::2] = len(self.fields) - 1 - rng.integers(recent, size=len(chosen[::2]))
        return tuple(
            torch.from_numpy(np.stack(part))
            for part in zip(
                *(self._patch(self.fields[index], rng) for index in chosen), strict=True
            )
        )

    def _patch(self, field, rng):
        y, x = (rng.integers(size - PATCH + 1) for size in SHAPE)
        mirrored = [slice(None, None, step) for step in rng.choice((1, -1), 2)]
        window = slice(y, y + PATCH), slice(x, x + PATCH)
        parts = [plane[(..., *window)][(..., *mirrored)] for plane in field]
        turned = rng.uniform() < 0.5
        return [np.ascontiguousarray(part.swapaxes(-2, -1) if turned else part) for part in parts]


def prepared(unet, planes, truth):
    """Return the scaled image (1, height, width), the classes and the weights of its sources.

    The pixels of a source share the square root of its area, or a few large sources would decide.
    """
    scaled = unet._scale_all([planes])[0]
    classes = np.where(np.isnan(scaled[0]), VOID, truth[0]).astype(np.int8)
    is_thing = np.isin(classes, (GALAXY, STAR))
    areas = np.bincount(np.where(is_thing, truth[1], 0).ravel())
    weights = np.where(is_thing, 1 / np.sqrt(np.maximum(areas, 1))[truth[1]], 0)
    weights *= np.where(classes == STAR, STAR_WEIGHT, 1.0)
    return np.nan_to_num(scaled), classes, weights.astype(np.float32)
