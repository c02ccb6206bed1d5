"""From noise-free light to truth: masks of the single sources, and who owns a contested pixel."""

from typing import NamedTuple

import numpy as np

from ..structures import Separated
from ._scene import add_light, overlap


class Visible(NamedTuple):
    """The part of a frame where one source's own light exceeds the noise: corner, light, mask."""

    y0: int
    x0: int
    flux: np.ndarray
    mask: np.ndarray

    @property
    def window(self):
        """Slices of the frame."""
        return slice(self.y0, self.y0 + self.mask.shape[0]), slice(
            self.x0, self.x0 + self.mask.shape[1]
        )

    @property
    def box(self):
        """``y0, x0, y1, x1``, half-open."""
        return self.y0, self.x0, self.y0 + self.mask.shape[0], self.x0 + self.mask.shape[1]


def visible_part(stamp, rms, band, threshold=1.0):
    """Return where a source's own light exceeds `threshold` times `rms`, or None if nowhere.

    Parameters
    ----------
    stamp : Stamp
    rms : ndarray of float32, shape (height, width)
        Noise of sky, sources and read-out in the reference band.
    band : int
        Index of the reference band.
    threshold : float, default=1.0
    """
    meeting = overlap(stamp, rms.shape)
    if meeting is None:
        return None
    window, inside = meeting
    flux = stamp.flux[(band, *inside)]
    mask = flux > threshold * rms[window]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    tight = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    y0, x0 = int(window[0].start + rows[0]), int(window[1].start + columns[0])
    return Visible(y0, x0, flux[tight], mask[tight])


def owners(parts, shape):
    """Give each pixel to the source that is brightest there among those whose mask covers it.

    Parameters
    ----------
    parts : list of Visible or None
    shape : tuple of int

    Returns
    -------
    ndarray of int32, shape (height, width)
        Index of the source plus one; 0 is sky. The first of equally bright sources wins.
    """
    owner = np.zeros(shape, dtype=np.int32)
    brightest = np.zeros(shape, dtype=np.float32)
    for index, part in enumerate(parts, start=1):
        if part is None:
            continue
        won = part.mask & (part.flux > brightest[part.window])
        owner[part.window][won] = index
        brightest[part.window][won] = part.flux[won]
    return owner


def label_sources(parts, shape, n_pixels):
    """Label the sources of which at least `n_pixels` pixels are seen.

    The others are dropped, and the pixels they had won go to the next brightest labelled source
    there.

    Returns
    -------
    labels : ndarray of int32, shape (height, width)
        Consecutive, in the order of the sources.
    kept : ndarray of int
        Indices of the labelled sources: label ``k + 1`` is source ``kept[k]``.
    """
    sizes = np.bincount(owners(parts, shape).ravel(), minlength=len(parts) + 1)[1:]
    kept = np.flatnonzero(sizes >= n_pixels)
    return owners([parts[index] for index in kept], shape), kept


def isolated_light(stamps, instances, expected):
    """Return the light of sources without noise as a `Separated`.

    Parameters
    ----------
    stamps : list of Stamp
        Of the sources, each of which meets the frame.
    instances : Instances
        The same sources.
    expected : ndarray of float64, shape (n_bands, height, width)
        The image without noise; the residual is what the stamps leave of it.
    """
    n_bands, *shape = expected.shape
    total = add_light(stamps, shape, n_bands=n_bands)
    bands = slice(None) if n_bands > 1 else 0
    boxes, parts, fluxes, blendedness = [], [], [], []
    for stamp in stamps:
        (rows, columns), inside = overlap(stamp, shape)
        part = stamp.flux[:, *inside].astype(np.float32)
        flux = part.sum(axis=(1, 2), dtype=np.float64)
        light = total[:, rows, columns]
        own = np.divide(part**2, light, out=np.zeros(light.shape), where=light > 0)
        boxes.append((rows.start, columns.start, rows.stop, columns.stop))
        parts.append(part[bands])
        fluxes.append(flux)
        blendedness.append(1 - own.sum(axis=(1, 2)) / flux)
    fluxes = np.reshape(fluxes, (-1, n_bands))[:, bands]
    return Separated(
        sources=instances,
        boxes=np.array(boxes, dtype=np.int64).reshape(-1, 4),
        parts=parts,
        residual=(expected - total).astype(np.float32)[bands],
        fluxes=fluxes,
        flux_errors=np.zeros(fluxes.shape),
        blendedness=np.reshape(blendedness, (-1, n_bands))[:, bands],
    )
