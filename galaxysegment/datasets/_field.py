"""`make_field`: a simulated observation of a patch of sky, with its exact truth."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal, TypedDict, Unpack, overload

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils.typed import validated
from ..io import Field
from ..structures import GALAXY, STAR, Instances, Separated
from ..structures._types import RandomState
from ._catalog import truth_catalog
from ._profiles import require_galsim
from ._scene import Camera, Scene, add_light, labelled_fraction
from ._truth import isolated_light, label_sources, visible_part

ARCMIN2 = 3600.0
#: Where simulated fields point, degrees: the middle of the COSMOS field.
_POINTING = (150.1, 2.2)
#: Magnitudes of the sources, relative to the depth: brightest and faintest.
_GALAXY_MAGS, _STAR_MAGS = (-10.0, 0.0), (-9.0, -1.0)
#: Fewer labelled sources than this fraction would need too many that are not.
_LEAST_FRACTION = 0.01

#: Choices of bands, one letter each.
BANDS = {"g", "r", "z", "gr", "gz", "rz", "grz"}
_POSITIVE = Interval(Real, 0, None, closed="neither")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_FIELD_CONSTRAINTS = {
    "shape": [tuple, list],
    "pixel_scale": [_POSITIVE],
    "psf_fwhm": [_POSITIVE],
    "density": [_NOT_NEGATIVE],
    "star_fraction": [Interval(Real, 0, 1, closed="both")],
    "bands": [StrOptions(BANDS)],
    "depth": [Interval(Real, None, None, closed="neither"), "array-like"],
    "sky_level": [_NOT_NEGATIVE, "array-like"],
    "sky_gradient": [Interval(Real, 0, 2, closed="left")],
    "read_noise": [_NOT_NEGATIVE],
    "rms_source_noise": ["boolean"],
    "n_pixels": [Interval(Integral, 1, None, closed="left")],
    "n_jobs": [Integral, None],
    "random_state": ["random_state"],
}


class _Options(TypedDict, total=False):
    """What `make_field` takes in either of its forms."""

    pixel_scale: float
    psf_fwhm: float
    density: float
    star_fraction: float
    bands: str
    depth: float | Sequence[float]
    sky_level: float | Sequence[float]
    sky_gradient: float
    read_noise: float
    rms_source_noise: bool
    n_pixels: int
    n_jobs: int | None
    random_state: RandomState


@overload
def make_field(
    shape: tuple[int, int] = (1024, 1024),
    *,
    return_isolated: Literal[False] = False,
    **options: Unpack[_Options],
) -> Field: ...
@overload
def make_field(
    shape: tuple[int, int] = (1024, 1024),
    *,
    return_isolated: Literal[True],
    **options: Unpack[_Options],
) -> tuple[Field, Separated]: ...
@validated({**_FIELD_CONSTRAINTS, "return_isolated": ["boolean"]})
def make_field(
    shape=(1024, 1024),
    *,
    pixel_scale=0.1,
    psf_fwhm=0.17,
    density=92.0,
    star_fraction=0.03,
    bands="r",
    depth=27.0,
    sky_level=500.0,
    sky_gradient=0.05,
    read_noise=9.0,
    rms_source_noise=True,
    n_pixels=10,
    return_isolated=False,
    n_jobs=None,
    random_state=None,
):
    """Simulate a deep field as a space telescope sees it, with its exact truth.

    Bulge and disk galaxies and a few stars, with power-law number counts, a size-magnitude
    relation, random inclinations and colours; a sky with a gradient; photon and read-out noise.
    GalSim [1]_ draws the profiles (``pip install "galaxysegment[simulate]"``).

    Parameters
    ----------
    shape : tuple of int, default=(1024, 1024)
        ``(height, width)`` in pixels.
    pixel_scale : float, default=0.1
        Arcseconds per pixel.
    psf_fwhm : float, default=0.17
        Full width at half maximum of the PSF, arcseconds: a Moffat profile of exponent 3, the same
        in all bands.
    density : float, default=92
        Expected number of labelled sources per square arcminute, but for the few per cent that
        brighter neighbours hide. 92 puts about 17 into 256 × 256 pixels of 0.1″, and 160,000 into
        25000 × 25000.
    star_fraction : float, default=0.03
        Expected fraction of stars among them.
    bands : {"r", "g", "z", "gr", "gz", "rz", "grz"}, default="r"
        One letter per band, in this order. The sources are the same
        for every choice that has r.
    depth : float or sequence of float, default=27
        AB magnitude at which a point source has a signal-to-noise ratio of 5; one for all, or one
        per band. Galaxies are drawn down to it, and are labelled down to a magnitude above it or
        so.
    sky_level : float or sequence of float, default=500
        Electrons per pixel of the sky in the middle of the field, one for all or one per band.
    sky_gradient : float, default=0.05
        By how much of `sky_level` the sky rises from one corner or side to the opposite one; the
        direction is random.
    read_noise : float, default=9
        Standard deviation of the read-out noise, electrons per pixel.
    rms_source_noise : bool, default=True
        Whether the RMS map holds the photon noise of the sources too, so that they show in it. The
        image and the truth are the same without.
    n_pixels : int, default=10
        Sources with fewer visible pixels are not labelled.
    return_isolated : bool, default=False
        Also return the light of each labelled source alone, without noise.
    n_jobs : int, optional
        Number of workers that draw sources. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed. The header's SEED repeats the field.

    Returns
    -------
    galaxysegment.io.Field
        ``image`` (n_bands, height, width) in electrons, float32; ``rms`` (height, width), or with a
        band axis if there are several; ``labels``, int32; ``classes`` (1 = galaxy, 2 = star);
        ``instances``; ``wcs``; ``header`` with the settings; ``catalog``, a `~astropy.table.Table`
        with a row per label.
    Separated
        Only with ``return_isolated=True``. Its ``sources`` are ``instances``, its parts their light
        without noise in electrons; the residual holds the sky and the light of sources without a
        label. Parts and residual add up to the image without noise.

    Raises
    ------
    ImportError
        If GalSim is not installed.
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    **The truth is a convention.** The mask of a source is where its own noise-free, PSF-convolved
    light     exceeds the local RMS, that is the noise of sky, all sources and read-out in that
    pixel, in the reference band: r, or the first band if there is no r. Masks overlap;
    ``instances`` holds them whole. In ``labels`` a contested pixel belongs to the source that is
    brightest in it. A source with fewer than `n_pixels` pixels left there is not labelled: its
    light stays in the image, and its pixels go to the next brightest labelled source. So the image
    also holds about as many faint galaxies again that are not in the truth. Labels are consecutive,
    in the order of 256-pixel cells of the sky; ``classes``, ``instances`` and the rows of
    ``catalog`` follow them. Light fainter than a twentieth of the noise of the sky is not drawn.
    Centres of sources lie within the field.

    Every cell of 256 × 256 pixels has random numbers of its own, made from the seed and its place.

    The catalog's columns are ``label``; ``x``, ``y`` (pixels, the first is 0); ``ra``, ``dec``
    (degrees); ``mag`` and ``flux`` (electrons) in the reference band, with several bands also
    ``mag_g``, ``flux_g`` and so on; ``class``; ``half_light_radius`` (arcseconds, before the PSF, 0
    for stars), ``bulge_fraction`` (in r), ``disk_radius``, ``bulge_radius``, ``disk_axis_ratio``,
    ``bulge_axis_ratio``, ``position_angle`` (degrees, east of north); ``n_pixels`` (in the label
    map), ``n_pixels_total`` (of the whole mask), and ``snr`` (flux in the whole mask over its
    noise).

    References
    ----------
    .. [1] Rowe et al. 2015, "GalSim: The modular galaxy image simulation toolkit", Astronomy and
       Computing 10, 121. :doi:`10.1016/j.ascom.2015.02.002`

    Examples
    --------
    >>> from galaxysegment.datasets import make_field
    >>> field = make_field((256, 256), random_state=0)
    >>> field.image.shape, field.rms.shape
    ((1, 256, 256), (256, 256))
    >>> len(field.catalog) == len(field.instances) == len(field.classes)
    True
    """
    require_galsim("make_field")
    shape = check_shape(shape)
    seed = seed_of(random_state)
    camera = Camera(
        float(pixel_scale),
        float(psf_fwhm),
        bands,
        per_band(sky_level, bands, "sky_level", lowest=0),
        per_band(depth, bands, "depth"),
        float(read_noise),
    )
    scene = make_scene(shape, camera, seed, density, star_fraction, sky_gradient, n_pixels)
    sources = scene.sources()
    stamps = camera.draw_parallel(sources, n_jobs)
    light = add_light(stamps, shape, n_bands=len(bands))
    image, rms, sky_rms = scene.expose(light)
    labels, instances, catalog, kept = make_truth(
        camera, sources, stamps, rms[camera.reference], n_pixels
    )
    wcs = make_wcs(shape, camera.pixel_scale)
    catalog["ra"], catalog["dec"] = wcs.wcs_pix2world(catalog["x"], catalog["y"], 0)
    given = rms if rms_source_noise else sky_rms
    field = Field(
        image,
        rms=given if len(bands) > 1 else given[0],
        labels=labels,
        classes=instances.classes,
        wcs=wcs,
        header=_make_header(wcs, scene, density, star_fraction, n_pixels, rms_source_noise),
        instances=instances,
        catalog=catalog,
    )
    if not return_isolated:
        return field
    expected = scene.sky() + np.maximum(light, 0)
    return field, isolated_light([stamps[index] for index in kept], instances, expected)


def seed_of(random_state):
    """Return a whole number that stands for `random_state`; an int stands for itself."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def check_shape(shape):
    """Return `shape` as two ints, or refuse it."""
    if len(shape) != 2 or not all(isinstance(side, Integral) and side > 0 for side in shape):
        raise ValueError(
            f"shape must be (height, width), two positive whole numbers. Got {shape!r} instead."
        )
    return int(shape[0]), int(shape[1])


def per_band(value, bands, name, lowest=-np.inf):
    """Return one number per band as a tuple; a single number stands for all bands."""
    values = np.asarray(value, dtype=float)
    if values.ndim == 0:
        values = np.full(len(bands), values)
    if values.shape != (len(bands),):
        raise ValueError(
            f"{name} has {values.size} values, but bands={bands!r} asks for {len(bands)}: "
            "give one number for all, or one per band."
        )
    if not (np.isfinite(values).all() and (values >= lowest).all()):
        raise ValueError(
            f"{name} must be finite{' and not negative' if lowest == 0 else ''}. Got {value!r} "
            "instead."
        )
    return tuple(values.tolist())


def make_scene(shape, camera, seed, density, star_fraction, sky_gradient, n_pixels):
    """Fill the sky so densely that `density` sources per square arcminute come out labelled."""
    depth = camera.depth[camera.reference]
    galaxy_mags = tuple(depth + offset for offset in _GALAXY_MAGS)
    star_mags = tuple(depth + offset for offset in _STAR_MAGS)
    per_pixel = density * camera.pixel_scale**2 / ARCMIN2
    return Scene(
        shape=shape,
        camera=camera,
        seed=seed,
        galaxy_density=_drawn_density(
            per_pixel * (1 - star_fraction), camera, GALAXY, galaxy_mags, n_pixels
        ),
        star_density=_drawn_density(per_pixel * star_fraction, camera, STAR, star_mags, n_pixels),
        galaxy_mags=galaxy_mags,
        star_mags=star_mags,
        sky_gradient=sky_gradient,
        sky_angle=np.random.default_rng([seed, 3]).uniform(0, 2 * np.pi),
    )


def _drawn_density(labelled_density, camera, kind, mags, n_pixels):
    """Density of all sources, seen or not, among which so many are large enough for a label."""
    if labelled_density == 0:
        return 0.0
    fraction = labelled_fraction(camera.reference_only(), kind, mags, n_pixels)
    if fraction < _LEAST_FRACTION:
        raise ValueError(
            f"n_pixels={n_pixels} leaves {100 * fraction:.1f} % of the "
            f"{'galaxies' if kind == GALAXY else 'stars'} a "
            f"label with pixel_scale={camera.pixel_scale} and psf_fwhm={camera.psf_fwhm}: ask for "
            "fewer pixels, or "
            "take smaller ones."
        )
    return labelled_density / fraction


def make_truth(camera, sources, stamps, rms, n_pixels):
    """Return label map, overlapping instances, catalog and the indices of the labelled sources.

    See the notes of `make_field`.
    """
    parts = [visible_part(stamp, rms, camera.reference) for stamp in stamps]
    labels, kept = label_sources(parts, rms.shape, n_pixels)
    labelled = [parts[index] for index in kept]
    instances = Instances(
        rms.shape,
        [part.box for part in labelled],
        [part.mask for part in labelled],
        classes=sources["class"][kept],
    )
    catalog = truth_catalog(camera, sources[kept], labelled, labels, rms)
    return labels, instances, catalog, kept


def make_wcs(shape, pixel_scale):
    """Tangential projection, north up and east left, around the middle of the field."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = _POINTING
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    wcs.wcs.set()
    return wcs


def _make_header(wcs, scene, density, star_fraction, n_pixels, rms_source_noise):
    camera = scene.camera
    header = wcs.to_header()
    cards = [
        ("BUNIT", "ct", "electrons, a unit that FITS has no name for"),
        ("GAIN", 1.0, "electrons per count"),
        ("SIMULATR", "galaxysegment.datasets.make_field", "what made this field"),
        ("SEED", scene.seed, "random_state"),
        ("BANDS", camera.bands, "one letter per band"),
        ("REFBAND", camera.bands[camera.reference], "band that defines the truth"),
        ("PIXSCALE", camera.pixel_scale, "[arcsec] pixel scale"),
        ("PSFFWHM", camera.psf_fwhm, "[arcsec] FWHM of the Moffat PSF"),
        ("DENSITY", float(density), "[arcmin-2] expected labelled sources"),
        ("STARFRAC", float(star_fraction), "expected fraction of stars"),
        ("SKYGRAD", float(scene.sky_gradient), "relative rise of the sky"),
        ("RDNOISE", camera.read_noise, "[electron] read noise"),
        ("RMSSRC", bool(rms_source_noise), "RMS map holds the sources' noise"),
        ("MINPIX", int(n_pixels), "fewest visible pixels of a label"),
    ]
    for index, band in enumerate(camera.bands):
        cards += [
            (
                f"MAGZP_{band}".upper(),
                float(camera.zero_point[index]),
                f"[mag] of one electron in {band}",
            ),
            (
                f"DEPTH_{band}".upper(),
                camera.depth[index],
                f"[mag] S/N 5 of a point source in {band}",
            ),
            (f"SKY_{band}".upper(), camera.sky_level[index], f"[electron] sky in {band}"),
        ]
    header.update([fits.Card(*card) for card in cards])
    return header
