"""`stream_skies`: fields of `make_sky`, each of another telescope and another patch of sky."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from .._utils.typed import validated
from ..io import Field
from ..structures._types import RandomState
from ._field import check_shape, seed_of
from ._profiles import require_galsim
from ._sky import make_sky

__all__ = ["draw_telescope", "stream_skies"]

_SETTINGS = set(signature(make_sky).parameters) - {"shape", "n_jobs", "random_state"}
_TELESCOPE, _SEED = 30, 31


def stream_skies(
    n: int,
    shape: tuple[int, int] = (512, 512),
    *,
    random_state: RandomState = None,
    n_jobs: int | None = None,
    **settings: Any,
) -> Iterator[tuple[Field, NDArray[np.int8]]]:
    """Yield fields of `make_sky`, each of another telescope and another patch of sky.

    Pixel scale (0.03 to 0.4″), PSF (FWHM of 0.1 to 1.5″, at least 1.4 pixels), depth, sky, crowding
    and all that `make_sky` adds differ from field to field. At most a few fields are in memory.

    Parameters
    ----------
    n : int
        Number of fields.
    shape : tuple of int, default=(512, 512)
        ``(height, width)`` of each, in pixels.
    random_state : int, RandomState instance or None, default=None
        Seed. Field ``k`` depends on the seed and on ``k``, not on `n`.
    n_jobs : int, optional
        Number of workers. The fields and their order do not depend on it.
    **settings
        Parameters of `make_sky` that all fields share, such as ``bands="gri"`` or ``depth=25``.

    Yields
    ------
    field : galaxysegment.io.Field
    class_map : ndarray of int8, shape (height, width)
        See `make_sky`.

    Raises
    ------
    TypeError
        If `make_sky` has no parameter of a name.

    Examples
    --------
    >>> from galaxysegment.datasets import stream_skies
    >>> stream = stream_skies(2, (128, 128), random_state=0)
    >>> [field.shape for field, class_map in stream]
    [(128, 128), (128, 128)]
    """
    require_galsim("stream_skies")
    unknown = sorted(set(settings) - _SETTINGS)
    if unknown:
        raise TypeError(
            f"{unknown[0]!r} is no setting of make_sky: use some of {sorted(_SETTINGS)}."
        )
    return _stream(n, shape, random_state, n_jobs, settings)


@validated(
    {
        "n": [Interval(Integral, 0, None, closed="left")],
        "shape": [tuple, list],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "settings": [dict],
    }
)
def _stream(n, shape, random_state, n_jobs, settings):
    shape, seed = check_shape(shape), seed_of(random_state)
    parallel = Parallel(n_jobs=n_jobs, return_as="generator", pre_dispatch="n_jobs")
    return parallel(delayed(_make)(seed, index, shape, settings) for index in range(n))


def _make(seed, index, shape, settings):
    drawn = draw_telescope(np.random.default_rng([seed, _TELESCOPE, index]))
    own = int(np.random.default_rng([seed, _SEED, index]).integers(2**31 - 1))
    return make_sky(shape, **{**drawn, **settings}, random_state=own)


def draw_telescope(rng):
    """Draw settings of `make_sky`: two thirds are seen from the ground, the others from space."""
    ground = rng.uniform() < 0.67
    if ground:
        pixel_scale = rng.uniform(0.15, 0.4)
        psf_fwhm = np.clip(pixel_scale * rng.uniform(2.0, 6.0), 0.4, 1.5)
        depth = rng.uniform(22.5, 27.5)
    else:
        pixel_scale = np.exp(rng.uniform(np.log(0.03), np.log(0.12)))
        psf_fwhm = max(pixel_scale * rng.uniform(1.4, 3.5), 0.1)
        depth = rng.uniform(24.5, 29.0)
    per_patch = np.exp(rng.uniform(np.log(5), np.log(80)))  # sources in 256 × 256 pixels
    return {
        "pixel_scale": float(pixel_scale),
        "psf_fwhm": float(psf_fwhm),
        "depth": float(depth),
        "sky_level": float(np.exp(rng.uniform(4, 9))),
        "sky_gradient": float(rng.uniform(0, 0.1)),
        "read_noise": float(rng.uniform(0, 15)),
        "density": float(per_patch / (256 * pixel_scale / 60) ** 2),
        "star_fraction": float(rng.choice([0.03, rng.uniform(0, 0.5)])),
        "large_galaxies": float(rng.choice([0.0, 3.0, 8.0])),
        "clusters": float(rng.choice([0.0, 0.5])),
        "bright_stars": float(rng.choice([0.0, 3.0, 10.0])),
        "cirrus": float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0.2, 2.0)])),
        "satellites": float(rng.choice([0.0, 0.7])),
        "cosmic_rays": float(rng.choice([0.0, 5.0, 40.0])),
        "mosaic": bool(rng.uniform() < 0.5),
        "saturation": float(np.exp(rng.uniform(np.log(2e4), np.log(1e6)))),
        "correlation": float(rng.choice([0.0, rng.uniform(0.3, 0.9)])),
        "rms_source_noise": bool(rng.uniform() < 0.5),
    }
