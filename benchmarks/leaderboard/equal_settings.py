"""The settings of the table of equal budgets: A, B and C, and C at the seeing of HSC."""

import dataclasses
from functools import lru_cache

from galaxysegment.datasets import make_field

from .fields import cut_instances, without_sky
from .settings import SETTINGS, draw_fields


@lru_cache(maxsize=8)
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


def draw_c8(n, seed, scale):
    side = {"full": 1024, "small": 1024, "tiny": 512}[scale]
    return draw_fields(n, seed, lambda field_seed: patches_c8(side, field_seed), (side // 512) ** 2)


C8 = dataclasses.replace(
    SETTINGS["C"],
    name="C8",
    title="C. at the seeing of HSC",
    text=(
        "512² patches in g, r, z as the Hyper Suprime-Cam sees them: 0.168″ pixels, PSF 0.8″, S/N "
        "5 at magnitude 26, 30 labelled sources a square arcminute, three of ten stars."
    ),
    draw=draw_c8,
)
EQUAL_SETTINGS = {**SETTINGS, "C8": C8}
