"""Run-length encoding of masks as COCO defines it, from crops and into crops.

A mask is a list of counts: pixels outside, inside, outside, … column by column. Working on crops,
the cost grows with the source, not with the mosaic.
"""

import numpy as np

_MANY_PIXELS = 1_000_000
# No source of a mosaic is larger; a few characters of run lengths could be.
_LARGEST_CROP = 2**28


def encode_crop(box, crop, shape):
    """Run-length encode the mask of one source.

    Parameters
    ----------
    box : sequence of 4 int
        ``y0, x0, y1, x1``, half-open.
    crop : ndarray of bool
        The mask inside its box.
    shape : tuple of int
        ``(height, width)`` of the image.

    Returns
    -------
    list of int
        The counts; they add up to ``height * width``.
    """
    height, width = shape
    columns, rows = np.nonzero(crop.T)
    position = (columns + int(box[1])) * height + rows + int(box[0])
    breaks = np.flatnonzero(position[1:] - position[:-1] != 1)
    edges = np.zeros(2 * len(breaks) + 3, dtype=np.int64)  # 0, then the start and end of every run
    edges[1], edges[-1] = position[0], position[-1] + 1
    edges[2:-1:2], edges[3::2] = position[breaks] + 1, position[breaks + 1]
    counts = (edges[1:] - edges[:-1]).tolist()
    rest = height * width - int(edges[-1])
    return [*counts, rest] if rest else counts


def decode_crop(counts, shape):
    """Turn run lengths into a box and a crop; the inverse of `encode_crop`.

    Raises
    ------
    ValueError
        If counts are negative, do not add up to the size of the image, or hold no pixel.
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or (counts.size and counts.dtype.kind not in "iu"):
        raise ValueError("the counts are not a list of whole numbers")
    height, width = shape
    if (counts < 0).any() or (counts > height * width).any() or counts.sum() != height * width:
        raise ValueError(
            f"the counts add up to {counts.sum()} pixels with a minimum of "
            f"{counts.min(initial=0)}, "
            f"but the image of shape {tuple(shape)} has {height * width}"
        )
    ends = np.cumsum(counts)[1::2]
    lengths = counts[1::2]
    n_pixels = int(lengths.sum())
    if not n_pixels:
        raise ValueError("the mask has no pixel")
    if n_pixels > _MANY_PIXELS:
        return _decode_runs(ends - lengths, ends, shape)
    position = np.arange(n_pixels) + np.repeat(ends - np.cumsum(lengths), lengths)
    columns, rows = np.divmod(position, height)
    y0, x0 = int(rows.min()), int(columns.min())
    crop = np.zeros((int(rows.max()) + 1 - y0, int(columns.max()) + 1 - x0), dtype=bool)
    crop[rows - y0, columns - x0] = True
    return (y0, x0, y0 + crop.shape[0], x0 + crop.shape[1]), crop


def _decode_runs(starts, ends, shape):
    """Decode masks of many pixels run by run: memory grows with the crop."""
    height = shape[0]
    starts, ends = starts[ends > starts].tolist(), ends[ends > starts].tolist()
    runs = [
        (*divmod(start, height), *divmod(end - 1, height))
        for start, end in zip(starts, ends, strict=True)
    ]
    spans = [(0, height) if first < last else (y0, y1 + 1) for first, y0, last, y1 in runs]
    box = min(y0 for y0, _ in spans), runs[0][0], max(y1 for _, y1 in spans), runs[-1][2] + 1
    crop_shape = box[2] - box[0], box[3] - box[1]
    if crop_shape[0] * crop_shape[1] > _LARGEST_CROP:
        raise ValueError(
            f"the mask fills a box of shape {crop_shape}, of at most {_LARGEST_CROP} pixels"
        )
    crop = np.zeros(crop_shape, dtype=bool)
    for (first, y0, last, y1), (top, bottom) in zip(runs, spans, strict=True):
        crop[y0 - box[0] : bottom - box[0], first - box[1]] = True
        if first < last:
            crop[:, first + 1 - box[1] : last - box[1]] = True
            crop[top - box[0] : y1 + 1 - box[0], last - box[1]] = True
    return box, crop


def decompress(text):
    """Read COCO's compressed string: base 32, each number less the one before the last.

    Unlike the C code of pycocotools, it refuses other strings instead of reading past its
    end.

    Raises
    ------
    ValueError
        If the string holds characters that are no digit of it, or stops within a number.
    """
    if isinstance(text, str):
        text = text.encode("ascii", errors="replace")
    digits = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if not digits.size or digits.min() < 0 or digits.max() > 63 or digits[-1] & 0x20:
        raise ValueError("the counts are not a compressed RLE string")
    ends = np.flatnonzero((digits & 0x20) == 0)
    starts = np.append(0, ends[:-1] + 1)
    if (ends - starts).max() > 8:
        raise ValueError(
            "the counts are not a compressed RLE string: a number has more than 9 digits"
        )
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((digits & 0x1F) << (5 * place), starts)
    values -= np.where(digits[ends] & 0x10, 1 << (5 * (ends - starts + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
