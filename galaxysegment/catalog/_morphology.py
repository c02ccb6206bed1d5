"""Gini, M20, concentration, asymmetry and smoothness of galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike

from ..io import Field
from ..io._windows import open_pixels
from ..structures import Instances
from ..structures._types import Hdu
from ._background import background_of
from ._stamp import BAD, Stamp
from ._sums import mean_of_data
from ._table import open_sources, source_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

_EXTENT = 2.5  # sides of the stamp in sides of the bounding box
_LEAST_SIDE = 48  # pixels
_COLUMNS = ("gini", "m20", "concentration", "asymmetry", "smoothness")
_RADII = ("petrosian_radius", "petrosian_semi_major")


def morphology(
    sources: ArrayLike | Instances | str | Path,
    image: ArrayLike | str | Path | Sequence[str | Path] | Field,
    *,
    labels: ArrayLike | None = None,
    mask: ArrayLike | str | Path | None = None,
    background: float | ArrayLike | str | None = None,
    hdu: Hdu = None,
    mask_hdu: Hdu = None,
    labels_hdu: Hdu = None,
    n_jobs: int | None = None,
) -> QTable:
    """Measure the shapes of galaxies without a model: Gini, M20 and CAS.

    The definitions, and the numbers, are those of statmorph [1]_, with its default parameters.

    Parameters
    ----------
    sources : label map of shape (height, width), `Instances`, or path
        The sources. Pixels of other sources take no part.
    image : array of shape (height, width) or (n_bands, height, width), path, `Field` or `NDData`
        Measured is the mean of the bands. Its background must be subtracted, here or before.
    labels : array-like of int, optional
        Which labels to measure; all by default. A galaxy takes about 20 ms.
    mask : array or path, optional
        Pixels that are not 0 have no data.
    background : float, array of shape (height, width), or "mesh", optional
        What to subtract, as in `source_catalog`.
    hdu, mask_hdu, labels_hdu : int, str or (str, int), optional
        Where image, mask and label map are in their files.
    n_jobs : int, optional
        Processes that measure galaxies; their number changes no result.

    Returns
    -------
    `astropy.table.QTable`
        One row per source, in order of ``label``:

        - ``x``, ``y``: centre of the least asymmetry, 0-based pixels;
        - ``gini``: 0 if all pixels are equally bright, 1 if one pixel has all light [2]_;
        - ``m20``: how far from the centre the brightest 20 % of the light lie: from -2.5
          (concentrated) to -0.5 (a merger with two nuclei) [2]_;
        - ``concentration``: ``5 log10(r80 / r20)``, 2.5 to 5 [3]_;
        - ``asymmetry``: difference from the image rotated by 180°, less that of the sky; 0 if the
          galaxy is symmetric [3]_;
        - ``smoothness``: light in structures smaller than a quarter of the Petrosian radius [3]_;
        - ``petrosian_radius``, ``petrosian_semi_major``: where an annulus is a fifth as bright as
          the mean within it, of circles and ellipses, in pixels;
        - ``morphology_flag``: 0 good; 1 suspect, because the galaxy has parts or no clear centre; 2
          bad, because a measurement failed, the stamp shows no sky or its sky is not subtracted.
          Measurements that fail are NaN.

    Raises
    ------
    ValueError
        If shapes disagree or a label does not occur.

    Notes
    -----
    statmorph also sets its flag to 1 if two of its segmentation maps differ; these maps are not
    made here. A signal to noise of 2.5 per pixel is recommended [2]_.

    References
    ----------
    .. [1] V. Rodriguez-Gomez et al., "The optical morphologies of galaxies in the IllustrisTNG
       simulation: a comparison to Pan-STARRS observations", MNRAS 483, 4140 (2019),
       :doi:`10.1093/mnras/sty3345`
    .. [2] J. M. Lotz, J. Primack and P. Madau, "A new nonparametric approach to galaxy
       morphological classification", AJ 128, 163 (2004), :doi:`10.1086/421849`
    .. [3] C. J. Conselice, "The relationship between stellar light distributions of galaxies and
       their formation histories", ApJS 147, 1 (2003), :doi:`10.1086/375001`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.catalog import morphology
    >>> y, x = np.mgrid[:121, :121] - 60
    >>> image = 100 * np.exp(-np.hypot(x, y / 0.7) / 5)
    >>> image += np.random.default_rng(0).normal(0, 0.1, image.shape)
    >>> row = morphology((image > 1).astype(int), image)[0]
    >>> [round(float(row[name]), 2) for name in ("gini", "m20", "concentration")]
    [0.49, -1.79, 2.76]
    """
    catalog = source_catalog(
        sources,
        image,
        rms=False,
        mask=mask,
        background=background,
        hdu=hdu,
        mask_hdu=mask_hdu,
        labels_hdu=labels_hdu,
    )
    rows = chosen_rows(catalog["label"], labels)
    pixels = open_pixels(image, False, mask=mask, hdu=hdu, mask_hdu=mask_hdu)
    owner = open_sources(sources, labels_hdu, pixels)
    sky = background_of(background, pixels, owner)
    # Stamps are cut here and sent to the workers one by one, so that few are in memory at once.
    measured = Parallel(n_jobs=n_jobs)(
        delayed(_measure)(*_cut(row, owner, pixels, sky)) for row in catalog[rows]
    )
    return _table(catalog[rows], measured)


def chosen_rows(present, labels):
    """Return the rows of the labels that were asked for."""
    present = np.asarray(present)
    if labels is None:
        return np.arange(len(present))
    labels = np.atleast_1d(np.asarray(labels))
    missing = labels[~np.isin(labels, present)]
    if len(missing):
        raise ValueError(
            f"labels holds {missing[0]}, which no pixel has: choose from the labels of sources."
        )
    return np.searchsorted(present, labels)


def _cut(row, owner, pixels, background):
    """Return light and labels of the stamp of a source, its label, and the stamp's first pixel."""
    rows, columns = _stamp(row, pixels.shape)
    image, _ = pixels.read_parts(rows, columns)
    image = image if background is None else image - background(rows, columns)
    light = mean_of_data(image).astype(float)
    return light, owner.labels(rows, columns), int(row["label"]), (rows.start, columns.start)


def _measure(light, labels, label, corner):
    stamp = Stamp(light, labels, label)
    measured = stamp.measure()
    if measured:
        measured["y"], measured["x"] = measured["y"] + corner[0], measured["x"] + corner[1]
        if not stamp.sky_is_subtracted():
            stamp.flag = BAD
    return {**measured, "morphology_flag": stamp.flag}


def _stamp(row, shape):
    """Return rows and columns of the stamp: a square around the bounding box."""
    width, height = (row[f"{axis}_max"] + 1 - row[f"{axis}_min"] for axis in "xy")
    x, y = row["x_min"] + width // 2, row["y_min"] + height // 2
    half = max(int(max(width, height) * _EXTENT / 2), _LEAST_SIDE // 2)
    return tuple(
        slice(int(max(0, centre - half)), int(min(side, centre + half)))
        for centre, side in zip((y, x), shape, strict=True)
    )


def _table(catalog, measured):
    from astropy import units as u
    from astropy.table import QTable

    table = QTable({"label": catalog["label"]})
    for name in ("x", "y", *_COLUMNS, *_RADII):
        values = np.array([row.get(name, np.nan) for row in measured], dtype=float)
        table[name] = values * u.pix if name in _RADII else values
    table["morphology_flag"] = np.array([row["morphology_flag"] for row in measured], dtype=int)
    return table
