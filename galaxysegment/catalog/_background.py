"""The background of a catalog: a number, a map, or the sky between its sources."""

from numbers import Real

from .._utils.validation import as_float_image, check_same_shape
from ..detection._sky_between import blocks_of_rows, measure_rows, skies_of_boxes, sky_window
from ..io._nddata import in_unit


def background_of(background, pixels, own):
    """Return a function that gives the background of a window; None if there is none.

    `own` tells which pixels belong to sources; see `open_sources`.
    """
    background = in_unit(background, pixels.unit, "background")
    if background is None:
        return None
    if isinstance(background, Real) and not isinstance(background, bool):
        return lambda _rows, _columns: float(background)
    if isinstance(background, str):
        if background != "mesh":
            raise ValueError(
                f"background must be a number, a map, 'mesh' or None. Got {background!r} instead."
            )
        return _sky_between(own, pixels)
    background = as_float_image(background, "background")
    check_same_shape(background.shape, pixels.shape, "background", "image")
    return lambda rows, columns: background[rows, columns]


def _sky_between(own, pixels):
    """Return a function that gives the sky of a window between the sources, of all bands."""

    def read_covered(rows, columns):
        return own.labels(rows, columns) > 0

    blocks = []
    for y0, y1 in blocks_of_rows(pixels.shape):
        image, _ = pixels.read_parts(slice(y0, y1), slice(0, pixels.shape[1]))
        blocks.append(measure_rows(image, read_covered, y0, pixels.shape))
        dtypes = [band.dtype for band in image]
    meshes = skies_of_boxes(blocks, dtypes, pixels.shape)
    return lambda rows, columns: sky_window(
        meshes, rows.start, rows.stop, columns.start, columns.stop
    )
