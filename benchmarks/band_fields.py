"""The simulated fields of several bands that `train_shipped_bands` learns from.

Four in five are `make_sky`'s in two to five bands, each band of a depth of its own, with the truth
of their stack; the others are `class_fields`', of one band.
"""

import numpy as np
import torch

from galaxysegment.datasets import make_sky
from galaxysegment.datasets._sky_stream import draw_telescope
from galaxysegment.detection._background import background_maps

from . import class_fields
from .class_fields import BATCH, N_PIXELS, PLAIN, SHAPE, prepared, to_classes

LETTERS = "ugrizyJH"
# Magnitudes by which a survey of equal exposures is less deep than in r.
SHALLOWER = dict(zip(LETTERS, (1.0, -0.3, 0.0, 0.5, 1.2, 2.0, 2.5, 3.0), strict=True))
SHARES = {2: 0.15, 3: 0.4, 4: 0.2, 5: 0.25}  # of the fields, by their number of bands


def draw_bands(rng, count=None):
    """Draw the letters of neighbouring bands, in the order of wavelength."""
    drawn = int(rng.choice(list(SHARES), p=list(SHARES.values())))
    count = count or drawn
    first = int(rng.integers(len(LETTERS) - count + 1)) if rng.uniform() < 0.4 else 1
    letters = LETTERS[first : first + count]
    return letters if "r" in letters or rng.uniform() < 0.5 else LETTERS[1 : 1 + count]


def draw_settings(rng, n_bands=None):
    """Draw settings of `make_sky` for several bands."""
    settings = draw_telescope(rng)
    bands = draw_bands(rng, n_bands)
    spread = rng.choice([0.0, 0.3, 0.8])
    depth = [settings["depth"] - SHALLOWER[band] + spread * rng.normal() for band in bands]
    sky = settings["sky_level"] * np.exp(rng.normal(0, 0.5, len(bands)))
    return settings | {"bands": bands, "depth": depth, "sky_level": sky.tolist()}


def simulate(seed, n_bands=None):
    """Make one field of several bands, of a random number of them if `n_bands` is None.

    Returns
    -------
    planes : ndarray of float32, shape (n_bands + 1, height, width)
        The bands in any order, then one RMS map.
    truth : ndarray of int32, shape (2, height, width)
        Panoptic map.
    """
    rng = np.random.default_rng([seed, 12])
    settings = draw_settings(rng, n_bands)
    settings |= PLAIN if rng.uniform() < 0.4 else {}
    field, class_map = make_sky(
        SHAPE, n_pixels=N_PIXELS, truth="stack", **settings, random_state=seed
    )
    image, rms = np.array(field.image), np.array(field.rms)[int(rng.integers(len(field.image)))]
    if rng.uniform() < 0.3:  # cores of saturated stars are masked, in each band by itself
        limit = settings["saturation"] + np.array(settings["sky_level"])
        image[image > 0.98 * limit[:, None, None]] = np.nan
    no_data = np.isnan(image).all(axis=0)
    if rng.uniform() < 0.5:  # the noise is measured, which knows nothing of the sources
        band = np.nan_to_num(image[int(rng.integers(len(image)))])
        rms = background_maps(band, mask=no_data, box_size=64)[1]
    order = rng.permutation(len(image))
    units = np.exp(rng.uniform(-8, 4, len(image) + 1))
    planes = np.concatenate([image[order], rms[None]]) * units[:, None, None]
    truth = np.stack([to_classes(class_map, np.where(no_data, np.nan, 0)), field.labels])
    return planes.astype(np.float32), truth.astype(np.int32)


def simulate_starry(seed):
    """Make a ground-based field of galaxies and stars in g, r and z; returns as `simulate`."""
    return class_fields.simulate_starry(seed, "grz")


def cached(seed, folder):
    """Simulate a field of several bands, or read it back."""
    return class_fields.cached(seed, folder, simulate)


class Fields(class_fields.Fields):
    """Training fields of several bands beside fields of one band, as `class_fields.Fields`.

    Parameters
    ----------
    unet : UNetSegmenter
    folder : Path
    first : int
        Seed of the first field of several bands.
    first_single : int
        Seed of the first field of one band.
    """

    def __init__(self, unet, folder, first, first_single):
        super().__init__(unet, folder, first)
        self.first_single = first_single

    def add(self):
        """Add the next field; each fifth has one band."""
        index = len(self.fields)
        if index % 5 == 4:
            field = class_fields.cached(self.first_single + index // 5, self.folder)
        else:
            field = cached(self.first + index, self.folder)
        self.fields.append(prepared(self.unet, *field))

    def batch(self, rng):
        """Return images (n, n_bands, side, side), classes and weights of the pixels of sources.

        Images of fewer bands than others are filled with 0, which means "no data".
        """
        patches = self._draw(rng)
        most = max(len(images) for images, *_ in patches)
        images = np.zeros((BATCH, most, *patches[0][0].shape[1:]), dtype=np.float32)
        for filled, (bands, *_) in zip(images, patches, strict=True):
            filled[: len(bands)] = bands
        rest = (np.stack(part) for part in list(zip(*patches, strict=True))[1:])
        return torch.from_numpy(images), *map(torch.from_numpy, rest)
