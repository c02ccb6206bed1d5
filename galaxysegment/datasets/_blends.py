"""`make_blends`: small images of a few galaxies that overlap, each with a mask of its own light."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
from astropy import units as u
from astropy.table import Table
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils.typed import validated
from ..structures import Instances
from ..structures._types import RandomState
from ._field import BANDS, check_shape, per_band, seed_of
from ._population import draw_galaxies
from ._profiles import require_galsim
from ._scene import Camera, add_light, add_noise
from ._truth import visible_part

#: Magnitudes of the galaxies, relative to the depth: brightest and faintest.
_MAGS = (-7.0, -4.0)
_LEAST_PIXELS = 10
_ATTEMPTS = 200
_CHUNK = 50
_POSITIVE = Interval(Real, 0, None, closed="neither")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")


class _Options(TypedDict, total=False):
    """What `make_blends` takes in either of its forms."""

    n_sources: int
    separation: tuple[float, float]
    pixel_scale: float
    psf_fwhm: float
    bands: str
    depth: float | Sequence[float]
    sky_level: float | Sequence[float]
    read_noise: float
    threshold: float
    n_jobs: int | None
    random_state: RandomState


@overload
def make_blends(
    n: int,
    shape: tuple[int, int] = (120, 120),
    *,
    return_isolated: Literal[False] = False,
    return_catalog: Literal[False] = False,
    **options: Unpack[_Options],
) -> tuple[NDArray[np.float32], list[Instances]]: ...
@overload
def make_blends(
    n: int,
    shape: tuple[int, int] = (120, 120),
    *,
    return_isolated: bool = False,
    return_catalog: bool = False,
    **options: Unpack[_Options],
) -> tuple[Any, ...]: ...
@validated(
    {
        "n": [Interval(Integral, 1, None, closed="left")],
        "shape": [tuple, list],
        "n_sources": [Interval(Integral, 1, None, closed="left")],
        "separation": [tuple, list],
        "pixel_scale": [_POSITIVE],
        "psf_fwhm": [_POSITIVE],
        "bands": [StrOptions(BANDS)],
        "depth": [Interval(Real, None, None, closed="neither"), "array-like"],
        "sky_level": [_NOT_NEGATIVE, "array-like"],
        "read_noise": [_NOT_NEGATIVE],
        "threshold": [_POSITIVE],
        "return_isolated": ["boolean"],
        "return_catalog": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }
)
def make_blends(
    n,
    shape=(120, 120),
    *,
    n_sources=2,
    separation=(3.0, 36.0),
    pixel_scale=0.2,
    psf_fwhm=0.7,
    bands="r",
    depth=27.0,
    sky_level=500.0,
    read_noise=9.0,
    threshold=1.0,
    return_isolated=False,
    return_catalog=False,
    n_jobs=None,
    random_state=None,
):
    """Simulate images of overlapping galaxies, each with a mask of its own light.

    The setting of Mask R-CNN trials on blends [1]_: two galaxies in 120 × 120 pixels, seen from the
    ground. The masks overlap where the galaxies do.

    Parameters
    ----------
    n : int
        Number of images.
    shape : tuple of int, default=(120, 120)
        ``(height, width)`` of an image in pixels.
    n_sources : int, default=2
        Galaxies per image.
    separation : tuple of float, default=(3, 36)
        Smallest and largest distance in pixels between the centre of each galaxy after the first
        and that of an earlier one: uniform between them, but pairs whose masks do not overlap are
        drawn again. By default one pair in twenty is closer than 4 pixels and three in four are
        farther than 8.
    pixel_scale : float, default=0.2
        Arcseconds per pixel.
    psf_fwhm : float, default=0.7
        Full width at half maximum of the Moffat PSF, arcseconds.
    bands : {"r", "g", "z", "gr", "gz", "rz", "grz"}, default="r"
        One letter per band, in this order. Bulges are redder than disks. Masks, depth and
        magnitudes of the galaxies are those in r, or else in the first band.
    depth : float or sequence of float, default=27
        AB magnitude at which a point source has a signal-to-noise ratio of 5, for all bands or one
        per band. The galaxies are 4 to 7 magnitudes brighter.
    sky_level : float or sequence of float, default=500
        Electrons per pixel of the sky, for all bands or one per band. The images come with the sky
        subtracted.
    read_noise : float, default=9
        Standard deviation of the read-out noise, electrons.
    threshold : float, default=1
        The mask of a galaxy is where its own noise-free light exceeds this many times the local
        RMS: the noise of sky, all galaxies and read-out in that pixel.
    return_isolated : bool, default=False
        Also return the noise-free image of each galaxy alone.
    return_catalog : bool, default=False
        Also return positions and magnitudes.
    n_jobs : int, optional
        Number of workers. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed. With an int, a larger `n` only adds images.

    Returns
    -------
    X : ndarray of float32, shape (n, height, width) or (n, n_bands, height, width)
        Electrons, sky subtracted; the second shape with several bands.
    y : list of n Instances
        One mask of at least 10 pixels per galaxy, class 1.
    isolated : ndarray of float32, shape (n, n_sources, height, width)
        With several bands (n, n_sources, n_bands, height, width). Only with
        ``return_isolated=True``. Electrons; their sum is the image without noise.
    catalog : `~astropy.table.Table`
        Only with ``return_catalog=True``: ``image``, ``source`` (places in `X` and ``y[image]``),
        ``x``, ``y`` (pixels, the first is 0), ``mag``, ``flux`` (electrons), ``half_light_radius``
        (arcseconds), ``bulge_fraction`` and ``n_pixels`` of each galaxy.

    Raises
    ------
    ImportError
        If GalSim is not installed.
    ValueError
        If a parameter is out of its range, or galaxies at such distances do not overlap.

    References
    ----------
    .. [1] Burke et al. 2019, "Deblending and classifying astronomical sources with Mask R-CNN deep
       learning", MNRAS 490, 3952. :doi:`10.1093/mnras/stz2845`

    Examples
    --------
    >>> from galaxysegment.datasets import make_blends
    >>> X, y = make_blends(3, random_state=0)
    >>> X.shape, [len(instances) for instances in y]
    ((3, 120, 120), [2, 2, 2])
    >>> first, second = y[0].masks
    >>> bool((first & second).any())
    True
    """
    require_galsim("make_blends")
    shape, separation = check_shape(shape), _check_separation(separation)
    camera = Camera(
        float(pixel_scale),
        float(psf_fwhm),
        bands,
        per_band(sky_level, bands, "sky_level", lowest=0),
        per_band(depth, bands, "depth"),
        float(read_noise),
    )
    seed = seed_of(random_state)
    chunks = [range(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
    settings = (camera, shape, n_sources, separation, threshold, seed, return_isolated)
    drawn = Parallel(n_jobs=n_jobs)(delayed(_draw_chunk)(chunk, *settings) for chunk in chunks)
    images, instances, isolated, sources = zip(
        *(scene for chunk in drawn for scene in chunk), strict=True
    )
    only = 0 if len(bands) == 1 else slice(None)
    result = [np.stack(images)[:, only], list(instances)]
    if return_isolated:
        result.append(np.stack(isolated)[:, :, only])
    if return_catalog:
        result.append(_catalog(camera, sources, instances))
    return tuple(result)


def _check_separation(separation):
    if len(separation) != 2 or not 0 <= separation[0] <= separation[1]:
        raise ValueError(
            f"separation must be (smallest, largest) distance in pixels, 0 <= smallest <= largest. "
            f"Got {separation!r} instead."
        )
    return float(separation[0]), float(separation[1])


def _draw_chunk(indices, camera, shape, n_sources, separation, threshold, seed, keep_isolated):
    return [
        _draw_blend(camera, shape, n_sources, separation, threshold, seed, i, keep_isolated)
        for i in indices
    ]


def _draw_blend(camera, shape, n_sources, separation, threshold, seed, index, keep_isolated):
    rng = np.random.default_rng([seed, index])
    sources, stamps, parts = None, [], []
    for _ in range(n_sources):
        sources, stamps, parts = _add_galaxy(
            rng, camera, shape, separation, threshold, sources, stamps
        )
    n_bands = len(camera.bands)
    light = np.maximum(add_light(stamps, shape, n_bands=n_bands), 0)
    image = np.stack(
        [
            add_noise(sky + own, camera.read_noise, rng) - sky
            for sky, own in zip(camera.sky_level, light, strict=True)
        ]
    ).astype(np.float32)
    instances = Instances(
        shape, [part.box for part in parts], [part.mask for part in parts], classes=sources["class"]
    )
    isolated = None
    if keep_isolated:
        isolated = np.stack([add_light([stamp], shape, n_bands=n_bands) for stamp in stamps])
        isolated = isolated.astype(np.float32)
    return image, instances, isolated, sources


def _add_galaxy(rng, camera, shape, separation, threshold, sources, stamps):
    """Try galaxies and places until a galaxy overlaps an earlier one and all masks are large."""
    band, n_bands = camera.reference, len(camera.bands)
    mags = (camera.depth[band] + _MAGS[0], camera.depth[band] + _MAGS[1])
    for _ in range(_ATTEMPTS):
        galaxy = draw_galaxies(rng, 1, *mags)
        galaxy["y"], galaxy["x"] = _place(rng, shape, separation, sources)
        if not (0 <= galaxy["y"][0] <= shape[0] - 1 and 0 <= galaxy["x"][0] <= shape[1] - 1):
            continue
        trial = [*stamps, *camera.draw(galaxy)]
        light = add_light(trial, shape, n_bands=n_bands)[band]
        rms = np.sqrt(camera.sky_rms[band] ** 2 + np.maximum(light, 0)).astype(np.float32)
        parts = [visible_part(stamp, rms, band, threshold) for stamp in trial]
        if _is_blend(parts, shape):
            return galaxy if sources is None else np.concatenate([sources, galaxy]), trial, parts
    raise ValueError(
        f"{_ATTEMPTS} galaxies were tried at separation={separation} pixels from another, but "
        "none overlapped it with "
        f"a mask of at least {_LEAST_PIXELS} pixels in an image of shape {shape}: ask for smaller "
        "separations, a "
        "larger shape or a greater depth."
    )


def _place(rng, shape, separation, sources):
    if sources is None:  # near the middle
        return tuple((side - 1) / 2 + rng.uniform(-0.1, 0.1) * side for side in shape)
    anchor = sources[rng.integers(len(sources))]
    distance, angle = rng.uniform(*separation), rng.uniform(0, 2 * np.pi)
    return anchor["y"] + distance * np.sin(angle), anchor["x"] + distance * np.cos(angle)


def _is_blend(parts, shape):
    """Whether all masks are large enough and the last one overlaps another."""
    if any(part is None or np.count_nonzero(part.mask) < _LEAST_PIXELS for part in parts):
        return False
    if len(parts) == 1:
        return True
    others = np.zeros(shape, dtype=bool)
    for part in parts[:-1]:
        others[part.window] |= part.mask
    return bool((others[parts[-1].window] & parts[-1].mask).any())


def _catalog(camera, sources, instances):
    n_sources = len(sources[0])
    images = np.arange(len(sources))
    sources = np.concatenate(sources)
    return Table(
        {
            "image": np.repeat(images, n_sources),
            "source": np.tile(np.arange(n_sources), len(images)),
            "x": sources["x"] * u.pix,
            "y": sources["y"] * u.pix,
            "mag": sources["mag"] * u.mag,
            "flux": camera.fluxes(sources)[:, camera.reference].sum(axis=1) * u.ct,
            "half_light_radius": sources["radius"] * u.arcsec,
            "bulge_fraction": sources["bulge_fraction"],
            "n_pixels": np.concatenate([image_sources.areas for image_sources in instances]),
        }
    )
