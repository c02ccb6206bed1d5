"""Walk over the pixels of a label map, block by block of rows, or over the pixels of instances."""

import numpy as np

from ._sums import SourceSums

_PIXELS = 1 << 22  # of a block
_LARGE = 1 << 23  # pixels of an image from which numba saves more time than importing it takes
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def sum_label_map(read_labels, pixels, background, with_rms):
    """Add up the pixels of every label.

    Parameters
    ----------
    read_labels : callable
        ``read_labels(rows)`` returns whole rows of the label map.
    pixels : FieldPixels or ArrayPixels
    background : callable or None
        ``background(rows, columns)`` returns what to subtract from a window, shape (height, width)
        or (n_bands, height, width).
    with_rms : bool

    Returns
    -------
    sums : SourceSums
        Of labels 1…n, as sources 0…n - 1; of the labels that occur, ``sums.numbers``, if a label is
        higher than the number of pixels.
    """
    try:
        return _sum_numbered(read_labels, pixels, background, with_rms)
    except _SparseLabelsError:
        numbers = _labels_of(read_labels, pixels.shape)

    def read_ranks(rows):
        labels = read_labels(rows)
        return np.where(labels > 0, np.searchsorted(numbers, labels) + 1, 0)

    sums = _sum_numbered(read_ranks, pixels, background, with_rms)
    sums.numbers = numbers
    return sums


class _SparseLabelsError(Exception):
    """A label is higher than the number of pixels, too high for a table with a row per number."""


def _row_blocks(shape):
    step = max(1, _PIXELS // shape[1])
    return [(y0, min(y0 + step, shape[0])) for y0 in range(0, shape[0], step)]


def _labels_of(read_labels, shape):
    """Return the labels that occur, in increasing order."""
    blocks = [np.unique(read_labels(slice(*block))) for block in _row_blocks(shape)]
    numbers = np.unique(np.concatenate(blocks))
    return numbers[numbers > 0]


def _sum_numbered(read_labels, pixels, background, with_rms):
    height, width = pixels.shape
    columns = slice(0, width)
    sums, highest = SourceSums(pixels.n_bands - with_rms, with_rms), 0
    for y0, y1 in _row_blocks(pixels.shape):
        top, bottom = max(0, y0 - 1), min(height, y1 + 1)
        labels = read_labels(slice(top, bottom))
        image, rms = pixels.read_parts(slice(top, bottom), columns)
        inner = slice(y0 - top, y1 - top)
        if height * width >= _LARGE:
            last = int(labels[inner].max(initial=0))
            _check_not_sparse(last, height * width)
            light = _subtract(image, background, slice(top, bottom), columns)
            sums.add_rows(labels, inner, top, light, np.isnan(image).any(axis=0), rms)
            highest = max(highest, last)
            continue
        flat = np.flatnonzero(labels[inner]) + inner.start * width
        owner = labels.ravel()[flat].astype(np.int64) - 1
        _check_not_sparse(owner.max(initial=-1) + 1, height * width)
        y, x = np.divmod(flat, width)
        values = _subtract(image, background, slice(top, bottom), columns).reshape(len(image), -1)[
            :, flat
        ]
        noise = None if rms is None else rms.reshape(-1, labels.size)[:, flat]
        flags = np.stack([_touches_missing(image, y, x), _touches_others(labels, y, x)])
        sums.add(owner, y + top, x, values, noise, flags)
        highest = max(highest, int(owner.max(initial=-1)) + 1)
    sums.finish(highest)
    return sums


def _check_not_sparse(highest, n_pixels):
    if highest > n_pixels:
        raise _SparseLabelsError


def _subtract(image, background, rows, columns):
    return image if background is None else image - background(rows, columns)


def _neighbours_of(image, y, x, outside):
    """Yield the values of the eight neighbours of pixels; `outside` beyond the image."""
    height, width = image.shape
    flat, places = image.ravel(), y * width + x
    beyond_y = {-1: np.flatnonzero(y == 0), 0: y[:0], 1: np.flatnonzero(y == height - 1)}
    beyond_x = {-1: np.flatnonzero(x == 0), 0: x[:0], 1: np.flatnonzero(x == width - 1)}
    for dy, dx in _AROUND:
        values = flat.take(places + (dy * width + dx), mode="clip")
        values[beyond_y[dy]] = values[beyond_x[dx]] = outside
        yield values


def _touches_missing(image, y, x):
    missing = np.isnan(image).any(axis=0)
    if not missing.any():
        return np.zeros(len(y), dtype=bool)
    touches = missing[y, x]
    for values in _neighbours_of(missing, y, x, False):
        touches |= values
    return touches


def _touches_others(labels, y, x):
    own = labels[y, x]
    touches = np.zeros(len(y), dtype=bool)
    for other in _neighbours_of(labels, y, x, 0):
        touches |= (other != 0) & (other != own)
    return touches


def sum_instances(instances, pixels, background, with_rms):
    """Add up the pixels of every instance, as `sum_label_map`; shared pixels count for each."""
    height, width = pixels.shape
    count = np.zeros(pixels.shape, dtype=np.uint16)
    windows = [(slice(y0, y1), slice(x0, x1)) for y0, x0, y1, x1 in instances.boxes.tolist()]
    for window, crop in zip(windows, instances.crops, strict=True):
        count[window] += crop
    sums = SourceSums(pixels.n_bands - with_rms, with_rms)
    for index, ((rows, columns), crop) in enumerate(zip(windows, instances.crops, strict=True)):
        wide = (
            slice(max(0, rows.start - 1), min(height, rows.stop + 1)),
            slice(max(0, columns.start - 1), min(width, columns.stop + 1)),
        )
        y, x = np.nonzero(crop)
        y, x = y + rows.start - wide[0].start, x + columns.start - wide[1].start
        image, rms = pixels.read_parts(*wide)
        own = np.zeros(image.shape[1:], dtype=bool)
        own[y, x] = True
        others = (count[wide] - own.astype(np.uint16)) > 0
        touched = others[y, x]
        for values in _neighbours_of(others, y, x, False):
            touched |= values
        values = _subtract(image, background, *wide)[:, y, x]
        noise = None if rms is None else rms.reshape(-1, *own.shape)[:, y, x]
        flags = np.stack([_touches_missing(image, y, x), touched])
        sums.add(np.full(len(y), index), y + wide[0].start, x + wide[1].start, values, noise, flags)
    sums.finish(len(instances))
    return sums
