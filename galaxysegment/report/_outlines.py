"""Outlines of sources as short text: a corner, and the directions of the edges that follow."""

import numpy as np

#: Digits of a number of base 64: three directions each.
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ALPHABET = np.frombuffer(DIGITS.encode("ascii"), dtype=np.uint8)
#: Largest side of a mask that is outlined pixel by pixel; larger masks are thinned out first.
LARGEST = 2048


def thinning(box):
    """Return how many pixels of a source become one in its outline: 1 up to 2048 pixels."""
    y0, x0, y1, x1 = box
    return -(-max(y1 - y0, x1 - x0) // LARGEST)


def encode_outline(crop, step=1):
    """Write the outlines of a mask as text.

    Parameters
    ----------
    crop : ndarray of bool, shape (height, width)
        The mask inside its box, or every `step`-th row and column of it.
    step : int, default=1

    Returns
    -------
    str
        ``step`` and, for each connected part, ``x y n code``, separated by semicolons: the corner
        where the outline begins, relative to the box, the number of its edges, and three
        directions per letter of ``code`` (0 right, 1 up, 2 left, 3 down, rows counted upwards).

    Examples
    --------
    >>> encode_outline(np.ones((1, 2), dtype=bool))
    '1;0 0 6 Br'
    """
    from ._outline_kernels import walk_outlines

    edges = 4 * np.count_nonzero(crop)
    starts, lengths = np.empty((edges, 2), dtype=np.int64), np.empty(edges, dtype=np.int64)
    steps = np.empty(edges, dtype=np.uint8)
    n_loops, _ = walk_outlines(np.ascontiguousarray(crop), starts, lengths, steps)
    parts, first = [str(step)], 0
    for (y, x), length in zip(starts[:n_loops].tolist(), lengths[:n_loops].tolist(), strict=True):
        parts.append(f"{x} {y} {length} {_pack(steps[first : first + length])}")
        first += length
    return ";".join(parts)


def _pack(steps):
    """Three directions of two bits each become a letter."""
    padded = np.zeros(-(-len(steps) // 3) * 3, dtype=np.uint8)
    padded[: len(steps)] = steps
    high, middle, low = padded.reshape(-1, 3).T
    return _ALPHABET[16 * high + 4 * middle + low].tobytes().decode("ascii")


def decode_outline(text):
    """Return the corners ``x, y`` of the outlines, as the page does; `encode_outline` undone."""
    step, *parts = text.split(";")
    loops = []
    for part in parts:
        x, y, length, code = part.split(" ")
        numbers = np.array([DIGITS.index(letter) for letter in code])
        steps = np.stack([numbers // 16, numbers // 4 % 4, numbers % 4], axis=1).ravel()
        steps = steps[: int(length)]
        moves = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])[steps]
        corners = np.cumsum(np.vstack([[[int(x), int(y)]], moves]), axis=0)
        loops.append(corners[:-1] * int(step))
    return loops
