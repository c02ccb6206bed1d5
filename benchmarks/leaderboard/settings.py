"""The settings: which images, how many, and what counts as a true source."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from galaxysegment.datasets import make_blends, make_field

from .fields import Patches, cut_instances, cut_labels, join, noisier_field, without_sky

#: Setting A: about 17 sources of 10 pixels or more in 256² pixels, and half as many again of 3 to
#: 9.
DEEP = {"density": 154.0, "n_pixels": 3}
#: How many patches are tested on, by scale; and the side of the fields they are cut from.
SCALES = ("full", "small", "tiny")


@dataclass(frozen=True)
class Setting:
    """A kind of images with its truth.

    `draw(n, seed, scale)` makes `n` patches; `n_test` holds their number by scale. True sources
    with fewer than `n_pixels` pixels in a patch, and predictions on them, are ignored in scoring.
    """

    name: str
    title: str
    text: str
    draw: Callable
    n_test: dict
    n_pixels: int = 10
    rms_band: int | None = -1
    n_bands: int = 1
    classes: bool = False
    short: str = ""

    @property
    def called(self):
        """Name with a word on the images."""
        return f"Setting {self.name} ({self.short})"

    def train(self, n, seed, scale="full"):
        """Draw training patches; those of another seed, and of the test, are of other fields."""
        return self.draw(n, 100 + 1000 * seed, scale)

    def test(self, seed, scale="full"):
        """Draw the patches that are scored."""
        return self.draw(self.n_test[scale], 900 + 1000 * seed, scale)


def draw_fields(n, first_seed, draw_field, per_field):
    """Cut as many fields as `n` patches need, the seeds counting up from the first."""
    return join([draw_field(first_seed + index) for index in range(-(-n // per_field))])[:n]


def draw_a(n, seed, scale):
    side = {"full": 2048, "small": 1024, "tiny": 512}[scale]
    return draw_fields(n, seed, lambda field_seed: patches_a(side, field_seed), (side // 256) ** 2)


@lru_cache(maxsize=8)  # several systems in a row look at the same fields
def patches_a(side, seed):
    return cut_labels(without_sky(make_a(side, seed)), 256)


def make_a(side, seed, **options):
    """A field of setting A, labelled down to 3 pixels: a faint real source is not called false."""
    return make_field((side, side), random_state=seed, **DEEP, **options)


@lru_cache(maxsize=4)
def draw_b(n, seed, scale):  # noqa: ARG001 - one image costs the same at every scale
    X, y, catalog = make_blends(n, random_state=seed, return_catalog=True)
    ends = np.cumsum([len(target) for target in y])[:-1]
    noise = np.sqrt(500.0 + 9.0**2)
    flux, area, mag = (
        np.split(np.asarray(catalog[name], dtype=float), ends)
        for name in ("flux", "n_pixels", "mag")
    )
    snr = [
        item / np.sqrt(item + pixels * noise**2) for item, pixels in zip(flux, area, strict=True)
    ]
    return Patches(X, y, y, y, snr, mag)


def draw_c(n, seed, scale):
    side = {"full": 2048, "small": 1024, "tiny": 512}[scale]
    return draw_fields(n, seed, lambda field_seed: patches_c(side, field_seed), (side // 512) ** 2)


@lru_cache(maxsize=8)
def patches_c(side, seed):
    field = make_field((side, side), bands="grz", star_fraction=0.3, random_state=seed)
    return cut_instances(without_sky(field), 512)


def draw_c8(n, seed, scale):
    side = {"full": 1024, "small": 1024, "tiny": 512}[scale]
    return draw_fields(n, seed, lambda field_seed: patches_c8(side, field_seed), (side // 512) ** 2)


@lru_cache(maxsize=16)
def patches_c8(side, seed):
    field = make_field(
        (side, side),
        bands="grz",
        star_fraction=0.3,
        pixel_scale=0.168,
        psf_fwhm=0.8,
        density=30.0,
        depth=26.0,
        random_state=seed,
    )
    return cut_instances(without_sky(field), 512)


_FIELD = (
    "``make_field``: 0.1″ pixels, PSF 0.17″, about 17 sources of at least 10 pixels in 256² "
    "pixels, S/N 5 at magnitude "
    "27, with an RMS map. The background is taken from each whole field before it is cut. "
    "The mask of a source is where its noise-free light exceeds 1 local RMS."
)
A = Setting(
    "A",
    "A. Field patches",
    f"256² patches. {_FIELD} A contested pixel belongs to the source that is brightest there. "
    "Sources of 3 to 9 pixels are labelled as well, and learnt, but not scored: their pixels are "
    "left out of the pixel "
    "scores, and predictions that lie on them out of the source scores.",
    draw_a,
    {"full": 128, "small": 16, "tiny": 2},
    short="deep field",
)
B = Setting(
    "B",
    "B. Blends",
    "``make_blends``: two overlapping galaxies in 120² pixels of 0.2″, PSF 0.7″, sky subtracted, "
    "no RMS map. Masks are "
    "those of each galaxy's own light above 1 local RMS, so that they overlap.",
    draw_b,
    {"full": 500, "small": 100, "tiny": 6},
    rms_band=None,
    short="blends",
)
C = Setting(
    "C",
    "C. Stars and galaxies in g, r, z",
    f"512² patches in three bands, three of ten sources stars. {_FIELD} Masks overlap.",
    draw_c,
    {"full": 32, "small": 4, "tiny": 1},
    n_bands=3,
    classes=True,
    short="stars and galaxies",
)
C8 = dataclasses.replace(
    C,
    name="C8",
    short="the same at .8″ seeing",
    title="C8. Setting C at the seeing of HSC",
    text=(
        "512² patches in g, r, z as the Hyper Suprime-Cam sees them: 0.168″ pixels, PSF 0.8″, S/N "
        "5 at magnitude 26, 30 labelled sources a square arcminute, three of ten stars."
    ),
    draw=draw_c8,
)
SETTINGS = {item.name: item for item in (A, B, C, C8)}


@lru_cache(maxsize=1)
def disturbed(seed, scale):
    """Patches of setting A under conditions that nothing was trained for, by name."""
    side = {"full": 1024, "small": 512, "tiny": 256}[scale]
    seed = 1900 + 1000 * seed
    fields = {
        "as trained": make_a(side, seed),
        "PSF × 2": make_a(side, seed, psf_fwhm=0.34),
        "noise × 2": noisier_field((side, side), seed, 2.0, **DEEP),
        "pixel scale × 2": make_a(side, seed, pixel_scale=0.2),
        "sky gradient": make_a(side, seed, sky_gradient=1.0),
    }
    # a mesh alone leaves up to three times the noise at the edges under such a gradient
    return {name: cut_labels(without_sky(field, plane=True), 256) for name, field in fields.items()}
