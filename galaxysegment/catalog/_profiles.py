"""Growth curves and surface-brightness profiles of sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..io import Field
from ..io._windows import open_pixels
from ..structures import Instances
from ..structures._types import Hdu
from ._background import background_of
from ._morphology import chosen_rows
from ._photometry import Photometry, check_apertures
from ._table import open_sources, places_of

if TYPE_CHECKING:
    from astropy.table import QTable

_REACH = 8.0  # semi-axes: how far profiles reach by default
_N_RADII = 20


def profiles(
    sources: ArrayLike | Instances | str | Path,
    image: ArrayLike | str | Path | Sequence[str | Path] | Field,
    *,
    radii: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    rms: ArrayLike | str | Path | bool | None = None,
    mask: ArrayLike | str | Path | None = None,
    background: float | ArrayLike | str | None = None,
    local_background: float = 0.0,
    neighbours: str = "mask",
    noise_factor: float = 1.0,
    hdu: Hdu = None,
    rms_hdu: Hdu = None,
    mask_hdu: Hdu = None,
    labels_hdu: Hdu = None,
    n_jobs: int | None = None,
) -> QTable:
    """Measure growth curves and radial profiles in ellipses around sources.

    Parameters
    ----------
    sources : label map of shape (height, width), `Instances`, or path
    image : array of shape (height, width) or (n_bands, height, width), path, `Field` or `NDData`
    radii : array-like of float, optional
        Semi-major axes of the ellipses, in units of ``semi_major`` of each source: 20 steps up to 8
        by default. Ellipses have the centre, axis ratio and angle of the catalog.
    labels : array-like of int, optional
        Which labels to return; all by default.
    rms : array, path or bool, optional
        As of `source_catalog`, for the errors.
    mask : array or path, optional
        Pixels that are not 0 have no data.
    background : float, array of shape (height, width), or "mesh", optional
        What to subtract, as in `source_catalog`.
    local_background : float, default=0
        Width of an annulus whose background is subtracted, as in `source_catalog`.
    neighbours : {"mask", "correct", "none"}, default="mask"
        What a ring holds in place of other sources' pixels. "mask" takes the mean of the rest.
    noise_factor : float, default=1
        What errors are multiplied with, because noise is correlated.
    hdu, rms_hdu, mask_hdu, labels_hdu : int, str or (str, int), optional
        Where image, RMS map, mask and label map are in their files.
    n_jobs : int, optional
        Threads; their number changes no result.

    Returns
    -------
    `astropy.table.QTable`
        One row per source. Columns hold an array with one value per radius, and with one axis
        before it if there are several bands:

        - ``label``;
        - ``radius``: semi-major axis, in pixels;
        - ``growth``: light within the ellipse, and ``growth_error`` with an RMS map; pixels without
          data, of masked neighbours and beyond the image count as the mean of their ring;
        - ``surface_brightness``: mean of the ring between this ellipse and the one before, per
          pixel, and ``surface_brightness_error``; NaN if no pixel of the ring is left. A pixel
          that lies in two rings adds noise to both, so the errors of rings are not independent;
        - ``ring_radius``: middle of the ring, in pixels;
        - ``coverage``: share of the ring's area that was measured, 0 to 1.

    Raises
    ------
    ValueError
        If `radii` do not rise from above 0, or a label does not occur.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.catalog import profiles
    >>> y, x = np.mgrid[:101, :101] - 50
    >>> image = 100 * np.exp(-np.hypot(x, y / 0.6) / 6)
    >>> row = profiles((image > 5).astype(int), image, radii=[1, 2, 4])[0]
    >>> (row["growth"] / image.sum()).round(2).tolist()
    [0.32, 0.67, 0.94]
    """
    radii = _check_radii(radii)
    wanted = check_apertures(
        *(None, None, radii, None, False, False, neighbours),
        **{"local_background": local_background, "noise_factor": noise_factor, "n_jobs": n_jobs},
    )
    hdus = {"hdu": hdu, "rms_hdu": rms_hdu, "mask_hdu": mask_hdu}
    wanted.rings = True
    pixels = open_pixels(image, rms, mask=mask, **hdus)
    own = open_sources(sources, labels_hdu, pixels)
    subtracted = background_of(background, pixels, own)
    _, places = places_of(own.sums(pixels, subtracted))
    places = places.take(chosen_rows(places.own, labels))
    measured = Photometry(places, pixels, own, subtracted, wanted).run()
    return _table(measured, radii, pixels)


def _table(measured, radii, pixels):
    from astropy import units as u
    from astropy.table import QTable

    places, factor = measured.places, measured.apertures.noise_factor
    sums = np.stack(list(measured.sums.values()), axis=-2)  # (n_bands, n, n_radii, 7)
    flux, added, used = (np.diff(sums[..., k], prepend=0.0) for k in (0, 1, 2))
    area = np.diff(np.pi * (places.major * places.minor)[:, None] * radii**2, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = used > 1e-9 * area
        brightness = np.where(seen, flux / used, np.nan)
        error = factor * np.where(seen, np.sqrt(sums[..., 6]) / used, np.nan)
        # Rings share pixels, so the growth of the variance is more than the variance of a ring.
        grown = np.where(seen, np.maximum(added, 0) * (factor * area / used) ** 2, np.nan)
    unit = 1 if pixels.unit is None else pixels.unit
    outer = places.major[:, None] * radii
    table = QTable({"label": places.own, "radius": outer * u.pix})
    table["ring_radius"] = (outer + np.pad(outer[:, :-1], ((0, 0), (1, 0)))) / 2 * u.pix

    def add(name, values):
        table[name] = values[0] if len(values) == 1 else np.moveaxis(values, 0, 1)

    add("growth", np.cumsum(brightness * area, axis=-1) * unit)
    if pixels.with_rms:
        add("growth_error", np.sqrt(np.cumsum(grown, axis=-1)) * unit)
    add("surface_brightness", brightness * unit)
    if pixels.with_rms:
        add("surface_brightness_error", error * unit)
    add("coverage", np.clip(used / area, 0, 1))
    return table


def _check_radii(radii):
    if radii is None:
        return np.linspace(0, _REACH, _N_RADII + 1)[1:]
    radii = np.atleast_1d(np.asarray(radii, dtype=float))
    rising = radii.ndim == 1 and len(radii) and radii[0] > 0 and (np.diff(radii) > 0).all()
    if not rising or not np.isfinite(radii).all():
        raise ValueError(f"radii must rise from above 0, like [1, 2, 4]. Got {radii} instead.")
    return radii
