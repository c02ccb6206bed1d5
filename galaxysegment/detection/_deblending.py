"""Split blended sources by multi-threshold deblending, as photutils and SExtractor do."""

from typing import NamedTuple

import numpy as np

from .._utils.learn import StrOptions
from ..structures._labels import source_pixels

#: What the parameter `deblend` of a segmenter may be.
DEBLEND = ["boolean", StrOptions({"galaxy"})]
_MOST_MARKERS = 200  # as photutils: more are noise, and slow to flood


def split_blends(how, labels, image, n_pixels, *, connectivity=8, in_place=False, **options):
    """Split blended sources as the parameter `deblend` of a segmenter says.

    Parameters
    ----------
    how : {True, "galaxy"}
    labels, image, n_pixels, connectivity, in_place
        As of `deblend` and `deblend_galaxies`.
    **options
        `n_levels` and `contrast` of `deblend`; "galaxy" needs neither.
    """
    shared = {"connectivity": connectivity, "in_place": in_place}
    if how == "galaxy":
        from ._galaxies import deblend_galaxies

        return deblend_galaxies(labels, image, n_pixels, **shared)
    return deblend(labels, image, n_pixels, **shared, **options)


def deblend(
    labels, image, n_pixels, *, n_levels=32, contrast=0.001, connectivity=8, in_place=False
):
    """Split the blended sources of a label map.

    The result is that of `photutils.segmentation.deblend_sources` (with scikit-image 0.26),
    numbering included, in a fraction of the time: sources in which no threshold leaves two parts of
    `n_pixels` are passed over, and compiled functions work on the pixels of the others.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
        Label map with consecutive labels.
    image : ndarray of shape (height, width)
        What to look for saddles in: the smoothed image or a probability map. NaN counts as its
        minimum.
    n_pixels : int
        Smallest number of pixels of a part.
    n_levels : int, default=32
        Number of thresholds between a source's minimum and maximum.
    contrast : float, default=0.001
        Smallest fraction of the source's flux that a part must have.
    connectivity : {4, 8}, default=8
        Whether pixels that touch at a corner belong together; as when the sources were found.
    in_place : bool, default=False
        Whether to change `labels`, C-ordered, instead of a copy.

    Returns
    -------
    ndarray of int32, shape (height, width)
        Consecutive labels: the sources that stay whole in their order, then the parts of the
        others.
    """
    pixels = source_pixels(labels)
    if not pixels.size:
        return labels
    values = _finite(image if image.dtype.kind == "f" else image.astype(np.float64), pixels)
    flat = labels.ravel() if in_place else labels.flatten()
    options = {"n_levels": n_levels, "contrast": contrast, "connectivity": connectivity}
    flat[pixels] = split_pixels(flat[pixels], values, pixels, labels.shape[1], n_pixels, **options)
    return flat.reshape(labels.shape)


def split_pixels(
    owner, values, pixels, width, n_pixels, *, n_levels=32, contrast=0.001, connectivity=8
):
    """`deblend` the pixels of sources, without a map; parameters that are not here as there.

    Parameters
    ----------
    owner : ndarray of int32, shape (n,)
        Label of each pixel.
    values : ndarray of float, shape (n,)
        All finite.
    pixels : ndarray of int64, shape (n,)
        Positions in a map of this `width`, in raster order.

    Returns
    -------
    ndarray of int32, shape (n,)
        New label of each pixel.
    """
    from . import _deblend_kernels as kernels

    order, starts = kernels.group_pixels(owner)
    grouped, values = pixels[order], values[order]
    wide = values.astype(np.float64)
    chosen = kernels.find_candidates(wide, grouped, starts, width, n_pixels, connectivity, 0.0)
    n_found = int(owner.max())
    numbers, whole = owner.copy(), np.ones(n_found + 1, dtype=bool)
    for label in np.flatnonzero(chosen).tolist():
        own = slice(starts[label], starts[label + 1])
        source = _Source(values[own], wide[own], grouped[own], width, connectivity)
        parts, n_parts = source.split(n_pixels, n_levels, contrast)
        if n_parts > 1:
            numbers[order[own]] = parts + n_found
            n_found += n_parts
            whole[label] = False
    if not whole.all():
        close_gaps(numbers, slice(None), whole, n_found)
    return numbers


def _finite(image, pixels):
    """Values of pixels; those that are not finite take the minimum of the image."""
    values = image.ravel()[pixels]
    is_finite = np.isfinite(values)
    if not is_finite.all():
        others = image[np.isfinite(image)]
        values[~is_finite] = others.min() if others.size else 0
    return values


class _Source(NamedTuple):
    """The pixels of a source in raster order: values, the same as float64, and positions."""

    values: np.ndarray
    wide: np.ndarray
    pixels: np.ndarray
    width: int
    connectivity: int

    def split(self, n_pixels, n_levels, contrast):
        """Part of each pixel, 1…n, and n; 1 if the source stays whole."""
        from . import _deblend_kernels as kernels

        # By numpy, whose sort uses vectors of the processor.
        place = self.wide, np.argsort(self.wide), self.pixels, self.width
        markers, n_markers = self.markers(place, n_pixels, n_levels)
        if n_markers < 2:
            return markers, 1
        total = float(self.values.sum())
        n_parts = kernels.divide(*place, markers, n_markers, total, contrast, self.connectivity)
        return markers, n_parts

    def markers(self, place, n_pixels, n_levels):
        """Marker of each pixel, 1…n or 0, and n; `place` are the kernel's first arguments."""
        from . import _deblend_kernels as kernels

        if self.values.min() == self.values.max():
            return np.zeros(len(self.values), dtype=np.int64), 0
        for exponential in (True, False):
            thresholds = _thresholds(self.values, n_levels, exponential).astype(np.float64)
            markers, n_markers = kernels.find_markers(
                *place, thresholds, n_pixels, self.connectivity
            )
            # Else again with linear levels: fewer at the faint end.
            if n_markers <= _MOST_MARKERS:
                break
        return markers, n_markers


def _thresholds(values, n_levels, exponential):
    """Levels from the faintest to the brightest pixel; exponential if the minimum is positive."""
    low, high = values.min(), values.max()
    linear = np.linspace(low, high, n_levels + 2)
    if not exponential or low <= 0:
        return linear[1:-1]
    return (low * (high / low) ** ((linear - low) / (high - low)))[1:-1]


def close_gaps(flat, pixels, whole, n_found):
    """Renumber 1…n, in place, once sources that are not `whole` have given way to their parts."""
    stays = np.concatenate([whole, np.ones(n_found + 1 - len(whole), dtype=bool)])
    stays[0] = False
    flat[pixels] = np.cumsum(stays, dtype=np.int32)[flat[pixels]]
