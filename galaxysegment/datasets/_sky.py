"""`make_sky`: a field as rich as the sky, with the class of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils.typed import validated
from ..io import Field
from ..structures._types import RandomState
from ._catalog import truth_catalog
from ._coverage import draw_mosaic, whole_frame
from ._diffuse import cirrus as draw_cirrus
from ._diffuse import intracluster_light
from ._field import (
    _FIELD_CONSTRAINTS,
    _make_header,
    check_shape,
    make_scene,
    make_wcs,
    per_band,
    seed_of,
)
from ._profiles import require_galsim
from ._scene import Camera, add_light
from ._sky_light import draw_sources
from ._sky_population import (
    FORM_NAMES,
    POINT,
    SkyCamera,
    draw_bright_stars,
    draw_cluster,
    draw_large,
    with_forms,
)
from ._sky_truth import as_instances, classify, label_sky
from ._spectra import WAVELENGTHS
from ._stars import Optics, add_ghost, add_spikes, saturate
from ._trails import add_cosmic_rays, add_satellite

__all__ = ["make_sky"]

_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
# What random numbers are for; those of `make_field` are 0 to 3.
_FORMS, _EXTRAS, _OPTICS, _LIGHT, _RAYS, _MOSAIC, _NOISE = range(10, 17)
_EXTENDED = 5000.0  # flux of a bright source over the noise of a pixel
_PIXELS = 1024**2  # that numbers of large galaxies and bright stars refer to

_SKY_CONSTRAINTS = {
    **{
        name: _FIELD_CONSTRAINTS[name]
        for name in (
            *("shape", "pixel_scale", "psf_fwhm", "density", "star_fraction", "depth"),
            *("sky_level", "sky_gradient", "read_noise", "rms_source_noise", "n_pixels"),
            *("n_jobs", "random_state"),
        )
    },
    "bands": [str],
    **{
        name: [_NOT_NEGATIVE]
        for name in (
            *("large_galaxies", "clusters", "bright_stars", "cirrus", "satellites"),
            *("cosmic_rays", "correlation"),
        )
    },
    "mosaic": ["boolean"],
    "truth": [StrOptions({"reference", "stack"})],
    "saturation": [Interval(Real, 0, None, closed="neither")],
}


@validated(_SKY_CONSTRAINTS)
def make_sky(
    shape: tuple[int, int] = (1024, 1024),
    *,
    pixel_scale: float = 0.2,
    psf_fwhm: float = 0.8,
    bands: str = "r",
    depth: float | Sequence[float] = 26.0,
    sky_level: float | Sequence[float] = 500.0,
    sky_gradient: float = 0.05,
    read_noise: float = 9.0,
    density: float = 40.0,
    star_fraction: float = 0.15,
    large_galaxies: float = 2.0,
    clusters: float = 0.2,
    bright_stars: float = 3.0,
    cirrus: float = 0.0,
    satellites: float = 0.2,
    cosmic_rays: float = 5.0,
    mosaic: bool = True,
    saturation: float = 50_000.0,
    correlation: float = 0.0,
    rms_source_noise: bool = True,
    n_pixels: int = 10,
    truth: str = "reference",
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> tuple[Field, NDArray[np.int8]]:
    """Simulate a field as rich as the sky, with the class of every pixel.

    To the galaxies and stars of `make_field` it adds spirals with arms, bars, knots and dust,
    irregulars, ellipticals, mergers with tidal tails, clusters with a cD in intracluster light, and
    cirrus; halos, diffraction spikes, bleeding and ghosts of bright stars; satellites and cosmic
    rays; gaps between chips, steps of level and of depth, and borders without data. GalSim [1]_
    draws the smooth profiles (``pip install "galaxysegment[simulate]"``).

    Parameters
    ----------
    shape : tuple of int, default=(1024, 1024)
        ``(height, width)`` in pixels.
    pixel_scale : float, default=0.2
        Arcseconds per pixel.
    psf_fwhm : float, default=0.8
        Full width at half maximum of the PSF, arcseconds: a Moffat profile of exponent 3. Stars
        have a halo that falls as the inverse square of the radius.
    bands : str, default="r"
        One letter of ``ugrizyJH`` per band, in any order, each once.
    depth : float or sequence of float, default=26
        AB magnitude at which a point source has a signal-to-noise ratio of 5, one for all or one
        per band.
    sky_level : float or sequence of float, default=500
        Electrons per pixel of the sky in the middle of the field, one for all or one per band.
    sky_gradient : float, default=0.05
        By how much of `sky_level` the sky rises from one side of the field to the other.
    read_noise : float, default=9
        Standard deviation of the read-out noise, electrons per pixel.
    density : float, default=40
        Labelled sources per square arcminute that are expected of the population of `make_field`.
    star_fraction : float, default=0.15
        Expected fraction of stars among them.
    large_galaxies : float, default=2
        Expected number of galaxies 60 to 600 pixels across, in 1024 × 1024 pixels.
    clusters : float, default=0.2
        Expected number of clusters of galaxies with a cD and intracluster light.
    bright_stars : float, default=3
        Expected number of saturated stars in 1024 × 1024 pixels.
    cirrus : float, default=0
        Brightness of cirrus, in units of the noise, that a tenth of the pixels exceed.
    satellites : float, default=0.2
        Expected number of satellite trails.
    cosmic_rays : float, default=5
        Expected number of cosmic rays in 1024 × 1024 pixels, in all bands together.
    mosaic : bool, default=True
        Whether the image is made of one to five exposures of a camera of many chips: with gaps,
        steps of level and depth, and perhaps borders without data.
    saturation : float, default=50000
        Electrons that fill a pixel.
    correlation : float, default=0
        Standard deviation, pixels, of the Gaussian that correlates the noise of neighbouring
        pixels, as resampling does; the noise of a pixel stays the same. 0: they are independent.
    rms_source_noise : bool, default=True
        Whether the RMS map holds the photon noise of the sources too.
    n_pixels : int, default=10
        Sources with fewer visible pixels are not labelled.
    truth : {"reference", "stack"}, default="reference"
        Where the light of a source is compared with the noise: in the reference band, or in the
        stack of all bands, each divided by the noise of its sky. The stack of four equally deep
        bands has half the noise, so fainter sources are labelled and masks are larger.
    n_jobs : int, optional
        Number of workers that draw sources. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    field : galaxysegment.io.Field
        As `make_field` returns it. The image is NaN where there are no data. The catalog also has
        the columns ``redshift`` and ``form``.
    class_map : ndarray of int8, shape (height, width)
        Class of each pixel: 0 sky, 1 galaxy, 2 star, 3 artefact (diffraction spikes, bleeding,
        ghosts, cosmic rays), 4 trail of a satellite, 5 diffuse light, 6 cirrus, -1 no data. The
        constants of these values and ``CLASS_NAMES`` are in `galaxysegment.structures`.

    Raises
    ------
    ImportError
        If GalSim is not installed.
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    stream_skies : Many such fields, each of another telescope, for training.
    make_field : The same without large galaxies, artefacts and gaps.

    Notes
    -----
    **The truth is a convention**, that of `make_field` extended. The mask of a galaxy or a star is
    where its own noise-free light, seen through the PSF, exceeds the local noise in the reference
    band: r, or the first band; with ``truth="stack"``, in the stack of the bands. Arms, knots, dust
    and tidal tails belong to their galaxy, the halo to its star. In ``labels`` and ``class_map`` a
    contested pixel belongs to the brightest there, of sources and artefacts; so diffraction spikes
    and trails cut through ``labels``, but not through ``instances``. Diffuse light comes last:
    pixels of no source or artefact where it exceeds half of the noise. A source fainter than the
    cirrus behind it keeps its pixels.

    Numbers and sizes of large galaxies, clusters and artefacts are set in pixels and in units of
    the noise, so that they suit every telescope; they are not a model of their numbers on the sky.

    References
    ----------
    .. [1] Rowe et al. 2015, "GalSim: The modular galaxy image simulation toolkit", Astronomy and
       Computing 10, 121. :doi:`10.1016/j.ascom.2015.02.002`

    Examples
    --------
    >>> from galaxysegment.datasets import make_sky
    >>> field, class_map = make_sky((256, 256), random_state=0)
    >>> field.image.shape, class_map.shape
    ((1, 256, 256), (256, 256))
    >>> bool(((class_map == 1) | (class_map == 2))[field.labels > 0].all())
    True
    """
    require_galsim("make_sky")
    shape, seed = check_shape(shape), seed_of(random_state)
    camera = _make_camera(bands, pixel_scale, psf_fwhm, depth, sky_level, read_noise)
    reference = camera.reference
    base = Camera(
        camera.pixel_scale,
        camera.psf_fwhm,
        "r",
        camera.sky_level[reference : reference + 1],
        camera.depth[reference : reference + 1],
        camera.read_noise,
    )
    scene = make_scene(shape, base, seed, density, star_fraction, sky_gradient, n_pixels)
    n_fields = shape[0] * shape[1] / _PIXELS
    optics = draw_optics(np.random.default_rng([seed, _OPTICS]))
    sources, glow = _draw_population(
        scene,
        camera,
        seed,
        (large_galaxies * n_fields, clusters, bright_stars * n_fields),
        saturation,
    )
    stamps = draw_sources(camera, optics, sources, n_jobs)
    layers = _Layers(camera, shape, stamps)
    layers.add_diffuse(seed, glow, cirrus)
    layers.add_artefacts(seed, optics, sources, satellites, saturation)
    rng = np.random.default_rng([seed, _RAYS])
    layers.add_cosmic_rays(rng, rng.poisson(cosmic_rays * n_fields))
    scene = replace(scene, camera=camera)
    coverage = (
        draw_mosaic(np.random.default_rng([seed, _MOSAIC]), shape) if mosaic else whole_frame(shape)
    )
    image, rms, sky_rms = layers.expose(scene.sky(), coverage, seed, correlation)
    seen = layers.stacked(rms) if truth == "stack" else layers.in_band(reference, rms)
    labels, instances, catalog, class_map = _make_truth(seen, camera, sources, n_pixels)
    wcs = make_wcs(shape, camera.pixel_scale)
    catalog["ra"], catalog["dec"] = wcs.wcs_pix2world(catalog["x"], catalog["y"], 0)
    header = _make_header(wcs, scene, density, star_fraction, n_pixels, rms_source_noise)
    header["SIMULATR"] = "galaxysegment.datasets.make_sky"
    given = np.where(coverage.exposure > 0, rms if rms_source_noise else sky_rms, np.nan)
    field = Field(
        image,
        rms=(given if len(bands) > 1 else given[0]).astype(np.float32),
        labels=labels,
        classes=instances.classes,
        wcs=wcs,
        header=header,
        instances=instances,
        catalog=catalog,
    )
    return field, class_map


def _make_camera(bands, pixel_scale, psf_fwhm, depth, sky_level, read_noise):
    known = "".join(WAVELENGTHS)
    if not bands or len(set(bands)) < len(bands) or set(bands) - set(known):
        raise ValueError(
            f"bands must be letters of {known!r}, each at most once, for example 'gri'. "
            f"Got {bands!r} instead."
        )
    return SkyCamera(
        float(pixel_scale),
        float(psf_fwhm),
        bands,
        per_band(sky_level, bands, "sky_level", lowest=0),
        per_band(depth, bands, "depth"),
        float(read_noise),
    )


def draw_optics(rng):
    """Draw what a telescope does to bright stars."""
    return Optics(
        halo=rng.uniform(0.01, 0.08),
        halo_radius=rng.uniform(1.0, 3.0),
        n_spikes=int(rng.choice([0, 4, 4, 4, 6, 8])),
        spike_angle=float(rng.choice([0.0, 45.0, rng.uniform(0, 90)])),
        spikes=float(np.exp(rng.uniform(np.log(0.003), np.log(0.03)))),
        bleeds=bool(rng.uniform() < 0.7),
        ghosts=float(rng.choice([0.0, 0.002, 0.01])),
    )


def _draw_population(scene, camera, seed, numbers, saturation):
    """Return all sources, and the `Cluster` of each cluster."""
    rng = np.random.default_rng([seed, _FORMS])
    parts = [with_forms(scene.sources(), camera, rng)]
    rng = np.random.default_rng([seed, _EXTRAS])
    n_large, n_clusters, n_stars = (int(rng.poisson(number)) for number in numbers)
    parts.append(draw_large(rng, n_large, scene.shape, camera))
    glow = []
    for _ in range(n_clusters):
        galaxies, light = draw_cluster(rng, scene.shape, camera)
        parts.append(galaxies)
        glow.append(light)
    parts.append(draw_bright_stars(rng, n_stars, scene.shape, camera, saturation))
    return np.concatenate(parts), glow


class _Layers:
    """The light of a field by what it comes from; each layer is (n_bands, height, width)."""

    def __init__(self, camera, shape, stamps):
        self.camera, self.stamps = camera, stamps
        self.sources = add_light(stamps, shape, n_bands=len(camera.bands))
        self.diffuse, self.wisps, self.trails, self.artefacts = (
            np.zeros_like(self.sources) for _ in range(4)
        )
        self.saturation = np.inf
        self.spilled = np.zeros_like(self.sources)

    def in_band(self, band, rms):
        """Return the `_Seen` light of a band; `rms` is of all bands."""
        return self._seen(lambda light: light[band], rms[band], self.camera.sky_rms[band])

    def stacked(self, rms):
        """Return the `_Seen` light of the stack: each band in units of the noise of its sky."""
        weights = 1 / np.asarray(self.camera.sky_rms, dtype=np.float64)

        def combine(light):
            return np.tensordot(weights, light, 1)

        noise = np.sqrt(np.tensordot(weights**2, rms.astype(np.float64) ** 2, 1))
        return self._seen(combine, noise.astype(np.float32), np.sqrt(len(weights)))

    def _seen(self, combine, rms, sky_rms):
        stamps = [stamp._replace(flux=combine(stamp.flux)[None]) for stamp in self.stamps]
        bright = [stamp for stamp in stamps if stamp.flux.sum() > _EXTENDED * sky_rms]
        outskirts = add_light(bright, rms.shape)[0]  # which fade into the sky
        planes = self.trails, self.artefacts + self.spilled + self.trails, self.diffuse, self.wisps
        trails, artefacts, diffuse, wisps = (combine(plane) for plane in planes)
        return _Seen(stamps, trails, artefacts, diffuse + outskirts, wisps, rms)

    def add_diffuse(self, seed, glow, cirrus):
        """Add the light of clusters, and cirrus that is `cirrus` times as bright as the noise."""
        rng = np.random.default_rng([seed, _LIGHT])
        camera, shape = self.camera, self.sources.shape[1:]
        noise = camera.sky_rms[camera.reference]
        for cluster in glow:
            colours = camera.relative_fluxes(0.9, cluster.redshift)
            self.diffuse += colours[:, None, None] * intracluster_light(cluster, shape, noise)
        if cirrus:
            wisps = draw_cirrus(rng, shape, cirrus)
            # cirrus is bluer than galaxies
            self.wisps += wisps * (noise * camera.relative_fluxes(-0.2, 0.0))[:, None, None]

    def add_artefacts(self, seed, optics, sources, satellites, saturation):
        """Add what telescope and satellites add, and clip full pixels."""
        rng = np.random.default_rng([seed, _OPTICS, 1])
        stars = sources[sources["form"] == POINT]
        for star, fluxes in zip(stars, self.camera.fluxes(stars), strict=True):
            add_spikes(self.artefacts, self.camera, optics, star, fluxes)
            add_ghost(self.artefacts, self.camera, optics, star, fluxes, rng)
        fwhm = self.camera.psf_fwhm / self.camera.pixel_scale
        for _ in range(rng.poisson(satellites)):
            add_satellite(self.trails, rng, fwhm, self.camera.sky_rms)
        total = self.sources + self.artefacts
        self.spilled = saturate(total, saturation, optics.bleeds)
        self.saturation = saturation

    def add_cosmic_rays(self, rng, count):
        """Add cosmic rays, on top of everything."""
        self.spilled = self.spilled.copy()
        add_cosmic_rays(self.spilled, rng, count, self.camera.sky_rms)

    def expose(self, sky, coverage, seed, correlation):
        """Return image, noise of everything, and noise of the sky, float32.

        The image is NaN and both kinds of noise are infinite where there are no data.
        """
        light = np.minimum(self.sources + self.artefacts, self.saturation)
        expected = sky + light + self.diffuse + self.wisps + self.trails + self.spilled
        exposure = coverage.exposure
        with np.errstate(divide="ignore"):
            shallower = np.where(exposure > 0, 1 / np.sqrt(exposure), np.inf)
        read = self.camera.read_noise**2
        rms = np.sqrt(expected + read) * shallower
        sky_rms = np.sqrt(sky + read) * shallower
        level = coverage.level * self.camera.sky_rms[:, None, None]
        image = expected + level
        for band, letter in enumerate(self.camera.bands):
            rng = np.random.default_rng([seed, _NOISE, ord(letter)])
            noise = rng.standard_normal(exposure.shape)
            if correlation:
                noise = ndimage.gaussian_filter(noise, correlation, mode="wrap")
                noise /= noise.std()
            image[band] += noise * np.where(exposure > 0, rms[band], 0)
        image[:, exposure == 0] = np.nan
        return tuple(item.astype(np.float32) for item in (image, rms, sky_rms))


class _Seen(NamedTuple):
    """Light by what it comes from, in the band or the stack that the truth is of.

    Parameters
    ----------
    stamps : list of Stamp
        Of one band.
    trails, artefacts, diffuse, wisps : ndarray of shape (height, width)
        Light of satellites, of all artefacts, of halos and clusters, and of cirrus.
    rms : ndarray of float32, shape (height, width)
        Infinite where there are no data.
    """

    stamps: list
    trails: np.ndarray
    artefacts: np.ndarray
    diffuse: np.ndarray
    wisps: np.ndarray
    rms: np.ndarray


def _make_truth(seen, camera, sources, n_pixels):
    """Return label map, instances, catalog and class map of `_Seen` light."""
    rms = seen.rms
    labels, parts, kept, is_artefact = label_sky(seen.stamps, seen.artefacts, rms, 0, n_pixels)
    sources = sources[kept]
    classes = sources["class"].astype(np.int64)
    class_map = classify(
        labels, classes, is_artefact, seen.trails, seen.artefacts, seen.diffuse, seen.wisps, rms
    )
    catalog = truth_catalog(camera, sources, parts, labels, rms)
    catalog["redshift"] = sources["redshift"]
    catalog["form"] = np.array(FORM_NAMES)[sources["form"]]
    return labels, as_instances(parts, classes, rms.shape), catalog, class_map
