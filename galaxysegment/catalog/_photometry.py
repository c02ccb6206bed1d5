"""Fluxes in apertures: what is asked for, and measuring it window by window."""

from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from ._convolve import convolve
from ._flags import CatalogFlags
from ._radii import check_radii, in_pixels, number_name
from ._sums import for_kernels, mean_of_data
from ._total import GROWTH, extrapolate, total_over_aperture
from ._windows import FAR_REACH, MOST_PIXELS, group_by_tile, window_around

KRON = (2.5, 1.4, 0.0)  # factor, minimum radius in semi-axes, minimum radius of a circle in pixels
_MODES = {"none": 0, "mask": 1, "correct": 2}
_CROWDED = 0.1  # share of an aperture that may belong to other sources
_FIRST_LOOK = 7.5  # semi-axes: most Kron apertures of large sources fit into this reach
_MOST_KRON = 6.0  # semi-axes: Kron radii beyond are not used


@dataclass
class Apertures:
    """What to measure, as `source_catalog` is asked; see there."""

    kron: tuple | None = None
    circles: tuple = ()
    circle_names: tuple = ()
    ellipses: tuple = ()
    fractions: tuple = ()
    total: bool = False
    stars: bool = False
    local_background: float = 0.0
    mode: int = 2
    noise_factor: float = 1.0
    n_jobs: int | None = None
    adds_half: bool = False
    rings: bool = False  # each ellipse leaves a ring around the one before

    @property
    def shown_fractions(self):
        """The fractions that were asked for; the total flux needs one half besides."""
        return self.fractions[: len(self.fractions) - self.adds_half]

    def in_pixels(self, wcs):
        """Return the same apertures with all radii in pixels."""
        return replace(self, circles=tuple(in_pixels(radius, wcs) for radius in self.circles))

    @property
    def any(self):
        """Whether there is anything to measure."""
        return bool(self.kron or self.circles or self.ellipses or self.fractions)


def check_apertures(kron, apertures, ellipses, light_fractions, total, stars, neighbours, **others):
    """Check the options of `source_catalog` and return them as `Apertures`."""
    fractions = _numbers("light_fractions", light_fractions, 1.0)
    adds_half = bool(total or stars) and 0.5 not in fractions
    fractions += (0.5,) * adds_half
    kron = _check_kron(kron)
    circles, names = check_radii(apertures)
    if neighbours not in _MODES:
        raise ValueError(
            f"neighbours must be 'correct', 'mask' or 'none'. Got {neighbours!r} instead."
        )
    return Apertures(
        kron=KRON if kron is None and fractions else kron,
        circles=circles,
        circle_names=names,
        ellipses=_numbers("ellipses", ellipses),
        fractions=fractions,
        total=bool(total),
        stars=bool(stars),
        local_background=_number("local_background", others["local_background"], least=0.0),
        mode=_MODES[neighbours],
        noise_factor=_number("noise_factor", others["noise_factor"]),
        n_jobs=others["n_jobs"],
        adds_half=adds_half,
    )


def _check_kron(kron):
    if kron is None or kron is False:
        return None
    if kron is True:
        return KRON
    values = np.asarray(kron, dtype=float).ravel()
    good = len(values) in (2, 3) and np.isfinite(values).all()
    if not good or values[0] <= 0 or (values[1:] < 0).any():
        raise ValueError(
            "kron must be True, or a positive factor and a minimum radius, like (2.5, 1.4), and "
            f"optionally the minimum radius of a circle in pixels. Got {kron!r} instead."
        )
    return (*values.tolist(), 0.0)[:3]


def _number(name, value, least=None):
    good = isinstance(value, Real) and not isinstance(value, bool) and np.isfinite(value)
    if not good or value < 0 or (least is None and value == 0):
        kind = "a positive number" if least is None else "a number of at least 0"
        raise ValueError(f"{name} must be {kind}. Got {value!r} instead.")
    return float(value)


def _numbers(name, values, most=np.inf):
    if values is None:
        return ()
    array = np.atleast_1d(np.asarray(values, dtype=float))
    if array.ndim != 1 or not ((array > 0) & (array <= most) & np.isfinite(array)).all():
        limit = "" if most == np.inf else f" up to {most:g}"
        raise ValueError(
            f"{name} must be a positive number{limit}, or several. Got {values!r} instead."
        )
    if len(np.unique(array)) < len(array):
        raise ValueError(f"{name} must differ from each other. Got {values!r} instead.")
    return tuple(array.tolist())


class Photometry:
    """Fluxes of sources in apertures, of all bands of an image.

    Parameters
    ----------
    places : Places
    pixels : FieldPixels or ArrayPixels
        The image that is measured.
    sources : LabelSource, InstanceSource or SeparatedSource
    background : callable or None
        As of `sum_label_map`.
    apertures : Apertures
    kernels : list of ndarray or None, optional
        What each band is convolved with; None for a band that stays as it is.
    detection : callable, optional
        ``detection(rows, columns)`` returns a window of the image that sets the Kron radius,
        shape (height, width); the mean of the bands if left out.

    Attributes
    ----------
    kron_radius : ndarray of float, shape (n,)
    sums : dict of ndarray, shape (n_bands, n, 7)
        As of `aperture_sums`, by the name of the column.
    inner : dict of float
        As of `aperture_sums`, by the name of the column.
    radii : ndarray of float, shape (n_bands, n, n_fractions)
    growth : ndarray of float, shape (n_bands, n, 4, 2), or None
        As of `extrapolate`, if the total flux is wanted and there is an RMS map.
    levels : ndarray of float, shape (n_bands, n)
        Local background.
    flags : ndarray of int, shape (n,)
    """

    def __init__(
        self, places, pixels, sources, background, apertures, kernels=None, detection=None
    ):
        self.places, self.pixels, self.sources = places, pixels, sources
        self.background, self.apertures, self.detection = background, apertures, detection
        self.kernels = kernels
        # Whole rows of an image in memory are measured where they are, without a copy.
        self._row_width = None if pixels.in_files else pixels.shape[1]
        self.mode = 0 if sources.separated else apertures.mode
        n, n_bands = len(places), pixels.n_bands - pixels.with_rms
        self.n_bands = n_bands
        self.kron_radius = np.full(n, np.nan)
        self.sums = {name: np.full((n_bands, n, 7), np.nan) for name in self._names()}
        self.radii = np.full((n_bands, n, len(apertures.fractions)), np.nan)
        self.inner = dict.fromkeys(self.sums, 0.0)
        if apertures.rings:
            scales = np.array(apertures.ellipses)
            within = np.append(0.0, scales[:-1] / scales[1:]).tolist()
            self.inner = dict(zip(self.sums, within, strict=True))
        grows = apertures.total and pixels.with_rms
        self.growth = np.full((n_bands, n, len(GROWTH), 2), np.nan) if grows else None
        self.levels = np.zeros((n_bands, n))
        self.flags = np.zeros(n, dtype=np.int32)

    def _names(self):
        wanted = self.apertures
        names = ["kron"] if wanted.kron else []
        names += [f"aperture_{name}" for name in wanted.circle_names]
        return names + [f"ellipse_{number_name(scale)}" for scale in wanted.ellipses]

    def again(self, apertures):
        """Measure the same sources in other apertures."""
        parts = self.places, self.pixels, self.sources, self.background
        return Photometry(*parts, apertures, self.kernels, self.detection).run()

    def run(self):
        """Measure all sources."""
        from joblib import Parallel, delayed

        reach = self._first_reach()
        groups = group_by_tile(self.places, reach, self._row_width)
        # Threads, because kernels release the lock and share the image. A source is measured by
        # one thread alone, so the number of threads changes no number.
        Parallel(n_jobs=self.apertures.n_jobs, require="sharedmem")(
            delayed(self._measure)(group, reach[group]) for group in groups
        )
        self._set_flags()
        return self

    def _first_reach(self):
        wanted, places = self.apertures, self.places
        reach = np.full(len(places), max(wanted.circles, default=0.0))
        reach = np.maximum(reach, max(wanted.ellipses, default=0.0) * places.major)
        if wanted.kron:
            # All that a Kron aperture may need, unless that takes a window of its own.
            most = max(wanted.kron[0] * _MOST_KRON, _FIRST_LOOK) * places.major
            near = most <= FAR_REACH
            reach = np.maximum(reach, np.where(near, most, _FIRST_LOOK * places.major))
        if wanted.local_background:
            # From the centroid, which lies in the box, to the far end of the annulus.
            boxes = places.boxes
            side = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
            reach = np.maximum(reach, 1.25 * side + wanted.local_background)
        return reach

    def _measure(self, group, reach):
        """Measure a group of sources in one window; sources that need more in larger windows."""
        window = self._open(group, reach)
        if window is None:
            return
        if self.apertures.kron:
            self._measure_kron_radius(window, group)
        needed = self._kron_reach(group)
        fits = ~(needed > reach)
        self._measure_light(window, group[fits])
        rest, needed = group[~fits], needed[~fits]
        del window
        for part in group_by_tile(self.places.take(rest), needed):
            window = self._open(rest[part], np.maximum(needed[part], reach[~fits][part]))
            if window is not None:
                self._measure_light(window, rest[part])

    def _kron_reach(self, group):
        if not self.apertures.kron:
            return np.zeros(len(group))
        return self._kron_axes(group).max(axis=1, initial=0.0, where=[True, True, False])

    def _kron_axes(self, group):
        """Return the Kron apertures, shape (n, 3); circles for sources with a radius of 0."""
        factor, _, least = self.apertures.kron
        radius = self.kron_radius[group]
        axes = self.places.take(group).ellipses(1.0)
        axes[:, :2] *= factor * radius[:, None]
        axes[radius == 0, :2] = least if least > 0 else np.nan
        return axes

    def _open(self, group, reach):
        places = self.places.take(group)
        rows, columns = window_around(places, reach, self.pixels.shape)
        if self._row_width and (reach <= FAR_REACH).all():
            columns = slice(0, self._row_width)
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        if size > MOST_PIXELS:
            self.flags[group] |= CatalogFlags.TOO_LARGE
            return None
        return _Window(self, rows, columns)

    def _measure_kron_radius(self, window, group):
        from ._aperture_kernels import kron_radii

        places = self.places.take(group)
        image, noise, stamps = window.detection(places)
        radius = kron_radii(
            *(image, noise, window.labels, stamps, places.own),
            *(window.centres(places), places.ellipses(1.0), self.mode),
        )
        self.kron_radius[group] = self._limited(radius, group)

    def _limited(self, radius, group):
        """Apply the limits of the Kron radius and set flags; 0 means the smallest circle."""
        factor, lowest, least = self.apertures.kron
        failed, low = ~(radius <= _MOST_KRON), radius < lowest
        self.flags[group[failed]] |= CatalogFlags.KRON_FAILED
        self.flags[group[low]] |= CatalogFlags.KRON_MINIMUM
        radius = np.where(failed, np.nan, np.where(low, lowest, radius))
        places = self.places.take(group)
        mean_axis = factor * radius * np.sqrt(places.major * places.minor)
        return np.where(mean_axis <= least, 0.0, radius)

    def _measure_light(self, window, group):
        from ._aperture_kernels import (
            aperture_sums,
            growth_sums,
            light_radii,
            local_backgrounds,
        )

        if not len(group):
            return
        places, wanted = self.places.take(group), self.apertures
        centres = window.centres(places)
        axes = self._axes(group)
        all_stamps = self.sources.stamps(places, window.rows, window.columns, self.n_bands)
        for band, stamps in enumerate(all_stamps):
            image, noise = window.band(band)
            pixels = image, noise, window.labels, stamps, places.own
            if wanted.local_background:
                boxes = places.boxes - window.corner
                levels = local_backgrounds(image, window.labels, boxes, wanted.local_background)
                self.flags[group[np.isnan(levels)]] |= CatalogFlags.NO_LOCAL_BACKGROUND
                self.levels[band, group] = np.nan_to_num(levels)
            levels = self.levels[band, group]
            for name, sums in self.sums.items():
                sums[band, group] = aperture_sums(
                    *(*pixels, centres, axes[name], self.mode, levels, self.inner[name])
                )
            if self.growth is not None:
                self.growth[band, group] = growth_sums(
                    *(*pixels, centres, axes["kron"], np.array(GROWTH), self.mode, levels)
                )
            if wanted.fractions:
                fluxes = self.sums["kron"][band, group, 0].copy()
                most = axes["kron"][:, 0].copy()
                self.radii[band, group] = light_radii(
                    *(*pixels, centres, most, self.mode),
                    *(levels, fluxes, np.array(wanted.fractions)),
                )

    def _axes(self, group):
        """Return the ellipse of each aperture by the name of its column."""
        places, wanted = self.places.take(group), self.apertures
        shapes = [self._kron_axes(group)] if wanted.kron else []
        circle = np.column_stack([np.ones(len(group)), np.ones(len(group)), np.zeros(len(group))])
        shapes += [circle * [radius, radius, 0] for radius in wanted.circles]
        shapes += [places.ellipses(scale) for scale in wanted.ellipses]
        return dict(zip(self.sums, shapes, strict=True))

    def _set_flags(self):
        for name, sums in self.sums.items():
            used = np.isfinite(sums[..., 2])
            area = np.pi * self._areas(name)
            with np.errstate(invalid="ignore"):
                crowded = sums[..., 4] > _CROWDED * area
                cut = sums[..., 5] < area * (1 - 1e-9)
            for bit, where in (
                (CatalogFlags.NEIGHBOUR, crowded),
                (CatalogFlags.MISSING, sums[..., 3] > 0),
                (CatalogFlags.TRUNCATED, cut),
            ):
                self.flags[(where & used).any(axis=0)] |= bit
        if self.apertures.fractions:
            unknown = np.isnan(self.radii).any(axis=(0, 2))
            self.flags[unknown] |= CatalogFlags.NO_LIGHT_RADIUS

    def total_fluxes(self):
        """Return Kron fluxes with the light beyond their apertures, and errors: (n_bands, n)."""
        flux, error = self.sums["kron"][..., 0], np.sqrt(self.sums["kron"][..., 1])
        if self.growth is None:
            half_light = self.radii[..., self.apertures.fractions.index(0.5)]
            factor = total_over_aperture(np.sqrt(self._areas("kron")), half_light)
            return factor * flux, factor * error
        factor, unsure = np.stack([extrapolate(band) for band in self.growth], axis=1)
        return factor * flux, np.hypot(factor * error, unsure * flux)

    def _areas(self, name):
        axes = self._axes(np.arange(len(self.places)))[name]
        return axes[:, 0] * axes[:, 1]


class _Window:
    """Pixels of one window, for kernels."""

    def __init__(self, photometry, rows, columns):
        self.rows, self.columns, self._of = rows, columns, photometry
        self.corner = np.array([rows.start, columns.start, rows.start, columns.start])
        self.labels = photometry.sources.labels(rows, columns)
        self._bands = {}
        self._image, rms = self._read(rows, columns)
        self._rms = rms if rms is None or rms.ndim == 3 else rms[None]
        if photometry.kernels is not None:
            self._image = self._convolved()

    def _read(self, rows, columns):
        photometry = self._of
        image, rms = photometry.pixels.read_parts(rows, columns)
        if photometry.sources.separated:
            image = photometry.sources.residual(rows, columns)
        background = photometry.background
        return image if background is None else image - background(rows, columns), rms

    def _convolved(self):
        """Return the bands convolved; kernels look beyond the window."""
        kernels = self._of.kernels
        reach = max(max(kernel.shape) // 2 for kernel in kernels if kernel is not None)
        wide = [
            slice(max(0, part.start - reach), min(side, part.stop + reach))
            for part, side in zip((self.rows, self.columns), self._of.pixels.shape, strict=True)
        ]
        inner = tuple(
            slice(part.start - outer.start, part.stop - outer.start)
            for part, outer in zip((self.rows, self.columns), wide, strict=True)
        )
        image, _ = self._read(*wide)
        return np.stack([
            band[inner] if kernel is None else convolve(band, kernel)[inner]
            for band, kernel in zip(image, kernels, strict=True)
        ])  # fmt: skip

    def centres(self, places):
        """Return the centroids in the window, shape (n, 2)."""
        return np.column_stack([places.y - self.rows.start, places.x - self.columns.start])

    def band(self, band):
        """Return one band and its noise; noise of shape (0, 0) if there is no RMS map."""
        if band not in self._bands:
            image = for_kernels(self._image[band])
            if self._rms is None:
                noise = np.zeros((0, 0), dtype=image.dtype)
            else:
                noise = self._rms[band if len(self._rms) > 1 else 0]
                noise = np.ascontiguousarray(noise, dtype=image.dtype)
            self._bands[band] = image, noise
        return self._bands[band]

    def detection(self, places):
        """Return the image that sets the Kron radius, its noise and its stamps."""
        photometry = self._of
        n_bands = photometry.n_bands
        stamps = photometry.sources.stamps(places, self.rows, self.columns, n_bands)
        if photometry.detection is None and n_bands == 1:
            return *self.band(0), stamps[0]
        if photometry.detection is None:
            image = mean_of_data(self._image)
            parts = np.mean([light for *_, light in stamps], axis=0)
        else:
            image = photometry.detection(self.rows, self.columns)
            parts = np.zeros(0)
        image = for_kernels(image)
        return image, np.zeros((0, 0), dtype=image.dtype), (*stamps[0][:3], parts)
