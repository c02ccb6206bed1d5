"""Split blended sources and keep each galaxy whole, with its arms, bars, knots and dust."""

from functools import lru_cache
from importlib.resources import files

import numpy as np
from scipy import ndimage

from ..structures._labels import source_pixels
from ._deblending import close_gaps, split_pixels

FAINT = 0.02  # of the pixels of a source are taken for its zero level
N_SIGMA = 3.0  # a peak rises over its saddle by this many times the noise
SHARE = 0.03  # and by this share of the saddle's value
LIMIT = 0.5  # a part belongs to a galaxy if it does so more likely than this
STEP = 3  # pixels between those that the noise is measured with
SMALLEST = 5  # pixels of a part above its saddle, at most
LARGE_AREA = 1200  # pixels from which on a source may be a galaxy with arms and knots
ACROSS = 60  # or pixels across
FOOT = 0.01  # of the range of a small source lie between zero and its faintest pixel


def deblend_galaxies(labels, image, n_pixels, *, connectivity=8, in_place=False):
    """Split the blended sources of a label map into galaxies and stars.

    Every peak of a source is compared with the galaxies around it, from the largest to the
    smallest: how far it stands out, how compact it is, whether the galaxy is as bright on the
    opposite side, how its light goes on under the peak. Boosted trees that learnt from simulated
    galaxies decide whether the peak is a part of the galaxy or a source of its own.

    Sources of less than 1200 pixels and less than 60 pixels across show no arms. `deblend` splits
    them by 32 thresholds with a contrast of 0.001.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
        Label map with consecutive labels.
    image : ndarray of shape (height, width)
        The smoothed image without background. NaN counts as its minimum.
    n_pixels : int
        Smallest number of pixels of a source.
    connectivity : {4, 8}, default=8
        Whether pixels that touch at a corner belong together.
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
    owner = labels.ravel()[pixels]
    areas = np.bincount(owner)
    candidates = _splittable(labels, image, areas, n_pixels, connectivity)
    n_labels = int(owner.max())
    result, whole = labels if in_place else labels.copy(), np.ones(n_labels + 1, dtype=bool)
    windows = ndimage.find_objects(result) if candidates.size else []
    is_large = _are_large(candidates, windows, areas)
    small, candidates = candidates[~is_large], candidates[is_large]
    if small.size:
        n_labels = _split_small(result, image, pixels, small, whole, n_pixels, connectivity)
    for label in candidates.tolist():
        window = windows[label - 1]
        own = result[window] == label
        parts = split_source(image[window], own, n_pixels, connectivity)
        if parts is not None:
            result[window][own] = parts[own] + n_labels
            n_labels += int(parts.max())
            whole[label] = False
    if not whole.all():
        close_gaps(result.reshape(-1), pixels, whole, n_labels)
    return result


def _splittable(labels, image, areas, n_pixels, connectivity):
    """Labels that are large enough for two parts and have more than one local maximum.

    Whatever the threshold, each part of a source above it holds a local maximum of the source:
    where there is but one, no threshold makes two parts.
    """
    from ._deblend_kernels import count_peaks

    is_large = areas >= 2 * n_pixels
    is_large[0] = False
    n_peaks = count_peaks(np.ascontiguousarray(labels), image, is_large, connectivity == 8)
    return np.flatnonzero(n_peaks > 1)


def _are_large(candidates, windows, areas):
    """Whether each of some sources may be a galaxy that shows its arms."""
    sides = [max(side.stop - side.start for side in windows[label - 1]) for label in candidates]
    return (areas[candidates] >= LARGE_AREA) | (np.array(sides, dtype=int) >= ACROSS)


def _split_small(labels, image, pixels, small, whole, n_pixels, connectivity):
    """Split sources by thresholds, in place; return the largest number of a label.

    `split_pixels` sees a source above its own faintest pixel, so that neither the unit of the image
    nor the level of its sky matters.
    """
    order = np.zeros(len(whole), dtype=np.int32)
    order[small] = np.arange(1, small.size + 1)
    number = order[labels.ravel()[pixels]]
    pixels, number = pixels[number > 0], number[number > 0]
    value = image.ravel()[pixels].astype(np.float64)
    value[~np.isfinite(value)] = np.nan
    low, high = np.full(small.size + 1, np.inf), np.full(small.size + 1, -np.inf)
    np.fmin.at(low, number, value)
    np.fmax.at(high, number, value)
    span = np.where(high > low, high - low, 1)
    value = np.where(np.isnan(value), 0, value - low[number]) / span[number] + FOOT
    # The parts of sources that are split have the numbers after those that stay whole.
    place = pixels, labels.shape[1], n_pixels
    parts = split_pixels(number, value, *place, connectivity=connectivity)
    first, last = np.full(small.size + 1, parts.max() + 1), np.zeros(small.size + 1, dtype=int)
    np.minimum.at(first, number, parts)
    np.maximum.at(last, number, parts)
    is_split = first < last
    n_whole = small.size - np.count_nonzero(is_split)
    moved = is_split[number]
    n_labels = len(whole) - 1
    labels.reshape(-1)[pixels[moved]] = parts[moved] - n_whole + n_labels
    whole[small[is_split[1:]]] = False
    return n_labels + int(parts.max()) - n_whole


def find_parts(image, own, n_pixels, connectivity):
    """Peaks of a source: image in units of its noise, and what `grow_parts` returns, or None."""
    from ._galaxy_parts import grow_parts, noise_of

    values = image[own].astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, values[finite].min() if finite.any() else 0)
    if values.size < 2 * n_pixels or values.min() == values.max():
        return None
    faint = int(FAINT * values.size)
    level, middle = np.partition(values, (faint, values.size // 2))[[faint, values.size // 2]]
    scaled = np.zeros(own.shape)
    scaled[own] = values - level
    noise = noise_of(scaled, own, middle - level, STEP) or (values.max() - values.min()) / 1000
    scaled /= noise
    positions = np.flatnonzero(own)
    order = positions[np.argsort(-scaled.ravel()[positions], kind="stable")]
    smallest = min(n_pixels, SMALLEST)
    return scaled, grow_parts(scaled, order, connectivity == 8, N_SIGMA, SHARE, smallest)


def split_source(image, own, n_pixels, connectivity, tell=None):
    """Number the sources 1…n in the pixels where `own` is true; None if there is only one.

    `tell` takes flat positions of peaks and of their saddles (-1 for the first peak) and returns
    the true source of each peak, which decides instead of the trees.
    """
    from ._galaxy_hosts import draw_objects
    from ._galaxy_judge import N_FEATURES, judge_parts

    parts = find_parts(image, own, n_pixels, connectivity)
    if parts is None or parts[1][1].size < 2:
        return None
    scaled, (part, peak, saddle, saddle_pixel, winner) = parts
    teacher, rows = np.zeros(0, dtype=np.int64), np.zeros((0, 0))
    if tell is not None:
        teacher, rows = tell(peak, saddle_pixel), np.zeros((3 * peak.size, 2 + N_FEATURES))
    owner, hosts, profiles, inside, area, _ = judge_parts(
        *(scaled, own, peak, saddle, saddle_pixel, winner),
        *(1.0, LIMIT, load_trees(), teacher, rows),
    )
    drawn = draw_objects(scaled, own, part, peak, saddle, area, owner, hosts, profiles, inside)
    _grow_small(drawn, scaled, own, part, saddle, owner, n_pixels)
    drawn = _without_small(drawn, own, inside, n_pixels)
    numbers = np.unique(drawn[own])
    if numbers.size == 1:
        return None
    return np.where(own, np.searchsorted(numbers, drawn) + 1, 0)


def _grow_small(drawn, scaled, own, part, saddle, owner, n_pixels):
    """Give hosts of too few pixels all pixels of their part that rise over its saddle, in place."""
    sizes = np.bincount(drawn[own], minlength=len(owner))
    rising = own & (scaled > saddle[part])
    risen = np.bincount(part[rising], minlength=len(owner))
    is_host = owner == np.arange(len(owner))
    grows = rising & (is_host & (sizes < n_pixels) & (risen >= n_pixels))[part]
    drawn[grows] = part[grows]


def _without_small(drawn, own, inside, n_pixels):
    """Hand sources of too few pixels to the source that they lie in."""
    sizes = np.bincount(drawn[own], minlength=len(inside))
    order = np.argsort(sizes, kind="stable")
    for number in order[(sizes[order] > 0) & (sizes[order] < n_pixels)].tolist():
        heir = inside[number] if inside[number] >= 0 else int(np.argmax(sizes))
        if heir != number:
            drawn[drawn == number] = heir
    return drawn


@lru_cache(maxsize=1)
def load_trees():
    """The boosted trees that ship with the package, as `probability` takes them."""
    with files(__package__).joinpath("galaxy_trees.npz").open("rb") as file, np.load(file) as saved:
        return as_trees(saved)


def as_trees(saved):
    """Arrays of boosted trees in the types that the kernels expect."""
    return (
        saved["feature"].astype(np.int64),
        saved["threshold"].astype(np.float64),
        saved["low"].astype(np.int64),
        saved["high"].astype(np.int64),
        saved["value"].astype(np.float64),
        saved["starts"].astype(np.int64),
        saved["bias"].astype(np.float64),
    )
