"""Rectangles of an image, as a pair of slices."""


def resolve_section(section, shape, name="section"):
    """Turn a pair of slices into slices with whole bounds inside an image.

    Parameters
    ----------
    section : tuple of two slices, or None
        Rows and columns, step 1; ``None`` bounds and negative numbers as in Python.
    shape : tuple of int
        Shape of the image; the last two axes count.
    name : str
        How to call the argument in an error message.

    Returns
    -------
    tuple of two slices
    """
    if section is None:
        section = (slice(None), slice(None))
    is_pair = isinstance(section, tuple) and len(section) == 2
    if not is_pair or not all(isinstance(window, slice) for window in section):
        raise TypeError(
            f"{name} must be a pair of slices, rows and columns. Got {section!r} instead: "
            "write (slice(0, 100), slice(50, 150)), or numpy.s_[0:100, 50:150]."
        )
    windows = zip(section, shape[-2:], ("rows", "columns"), strict=True)
    return tuple(_resolve(window, length, axis, name) for window, length, axis in windows)


def _resolve(window, length, axis, name):
    if window.step not in (None, 1):
        raise ValueError(
            f"{name} must have step 1. Got {window} for its {axis}: read it, then thin it out."
        )
    start = 0 if window.start is None else window.start
    stop = length if window.stop is None else window.stop
    start, stop = (bound + length if bound < 0 else bound for bound in (start, stop))
    if not 0 <= start < stop <= length:
        raise ValueError(
            f"{name} asks for {axis} {window.start}:{window.stop}, but the image has {length}: "
            f"take at least one of 0:{length}."
        )
    return slice(int(start), int(stop))
