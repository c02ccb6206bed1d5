"""How fluxes become columns: their unit, the magnitudes and the name of each band."""

import numpy as np

from ._radii import number_name
from ._stars import star_probability
from ._units import check_flux_unit, check_zero_point, scale_to

_POGSON = 2.5 / np.log(10)


class Columns:
    """How values per band become columns of a table.

    Parameters
    ----------
    pixels : FieldPixels or ArrayPixels
    zero_point, bands, flux_unit
        As of `source_catalog`.
    wcs : `astropy.wcs.WCS` or None
    """

    def __init__(self, pixels, zero_point, bands, flux_unit, wcs):
        self.n_bands = n_bands = pixels.n_bands - pixels.with_rms
        self.with_rms = pixels.with_rms
        self.unit = pixels.unit
        self.bands = None if bands is None else _check_bands(bands, n_bands)
        flux_unit = check_flux_unit(flux_unit)
        self.zero_point = check_zero_point(zero_point, flux_unit, pixels, self.bands, wcs)
        self.flux_unit = self.unit if flux_unit is None else flux_unit
        self.scale = 1.0 if flux_unit is None else scale_to(flux_unit, self.zero_point)

    def add(self, table, name, values, unit=None):
        """Add values of shape (n_bands, n_sources): a column per named band, or one for all."""
        values = values if unit is None else values * unit
        if self.bands is None:
            table[name] = values[0] if len(values) == 1 else values.T
        else:
            for band, of_band in zip(self.bands, values, strict=True):
                table[f"{name}_{band}"] = of_band

    def add_fluxes(self, table, suffix, flux, error):
        """Add ``flux`` and, if known, its error and magnitudes, with a suffix like ``"_kron"``."""
        from astropy import units as u

        self.add(table, f"flux{suffix}", self.scale * flux, self.flux_unit)
        if self.with_rms:
            self.add(table, f"flux{suffix}_error", self.scale * error, self.flux_unit)
        if self.zero_point is not None:
            positive = np.where(flux > 0, flux, np.nan)
            magnitude = self.zero_point - 2.5 * np.log10(positive)
            self.add(table, f"magnitude{suffix}", magnitude, u.mag)
            if self.with_rms:
                self.add(table, f"magnitude{suffix}_error", _POGSON * error / positive, u.mag)


def add_photometry(table, measured, columns, shape_flags):
    """Add the columns of `Photometry` to a table."""
    from astropy import units as u

    wanted = measured.apertures
    if wanted.kron:
        table["kron_radius"] = measured.kron_radius
    for name, sums in measured.sums.items():
        flux, error = sums[..., 0], wanted.noise_factor * np.sqrt(sums[..., 1])
        columns.add_fluxes(table, f"_{name}", flux, error)
    if wanted.total:
        flux, error = measured.total_fluxes()
        columns.add_fluxes(table, "_total", flux, wanted.noise_factor * error)
    for index, fraction in enumerate(wanted.shown_fractions):
        name = "half_light_radius" if fraction == 0.5 else f"light_radius_{_percent(fraction)}"
        columns.add(table, name, measured.radii[..., index], u.pix)
    if wanted.stars:
        table["star_probability"], radius = star_probability(measured, shape_flags)
        table.meta["psf_half_light_radius"] = radius
    if wanted.local_background:
        columns.add(table, "local_background", measured.levels, columns.unit)
    table["flags"] = measured.flags | shape_flags


def _percent(fraction):
    return number_name(100 * fraction)


def _check_bands(bands, n_bands):
    names = [bands] if isinstance(bands, str) and n_bands == 1 else list(bands)
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError(f"bands must be different names, like ['g', 'r']. Got {bands!r} instead.")
    if len(names) != n_bands:
        raise ValueError(
            f"bands has {len(names)} names, but the image has {n_bands} bands: give one per band."
        )
    return names
