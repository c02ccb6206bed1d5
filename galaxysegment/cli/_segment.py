"""Segment an image and write its label map with the image's WCS."""

from contextlib import ExitStack
from dataclasses import replace
from math import prod
from pathlib import Path

from .._utils.shared import NO_COLLECTION
from ._bands import add_bands_argument, choose_bands
from ._choose import (
    add_gap_arguments,
    add_method_arguments,
    bridge_gaps,
    is_fitted,
    ready_segmenter,
    segment_field,
    segment_with_panoptic,
    stack_field,
)
from ._inputs import READ_WORDS, add_image_arguments, open_field
from ._measure import (
    MEASURE_WORDS,
    add_measure_arguments,
    add_zero_point,
    check_measurable,
    measure_options,
)
from ._outputs import check_outputs, picture_endings
from ._picture import bands_to_draw, draw

LARGEST_SIDE = 8192  # of an image that is worked on as a whole
TILE_SIZE = 2048
_SMALL = 1 << 22  # pixels of an image that is segmented without a search for garbage

_WORDS = {
    **READ_WORDS,
    **MEASURE_WORDS,
    "overwrite": "--overwrite",
    "resume": "--resume",
    "tile_size": "--tile-size",
    "n_jobs": "--n-jobs",
    "output": "--output",
    "zero_point": "--zero-point",
}


def add_arguments(parser):
    """Declare the command's arguments."""
    add_image_arguments(parser)
    add_bands_argument(parser)
    add_method_arguments(parser, default="photutils", examples="photutils, sep, kmeans, unet")
    add_gap_arguments(parser)
    _add_output_arguments(parser)
    parser.add_argument(
        "--tile-size",
        type=int,
        default=None,
        help=f"work in tiles of this side and bounded memory; by default {TILE_SIZE} if the image "
        "is larger than "
        f"{LARGEST_SIDE} x {LARGEST_SIDE}",
    )
    parser.add_argument(
        "--n-jobs",
        type=int,
        default=1,
        help="workers for the tiles; -1: one per core (%(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="continue an unfinished run in tiles")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(
        words=_WORDS,
        after_interrupt="files that were written are complete; --resume continues a run in tiles.",
    )


def _add_output_arguments(parser):
    parser.add_argument(
        "--output", type=Path, default=None, help="FITS file to write (<image>_segmentation.fits)"
    )
    parser.add_argument(
        "--kind",
        choices=("labels", "panoptic"),
        default="labels",
        help="what the file holds: the label map, or also the class of each pixel in the extension "
        "SEMANTIC (%(default)s)",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        default=None,
        help="also draw image and sources into this file; bands in colour, the longest "
        "wavelength in red",
    )
    parser.add_argument(
        "--rgb",
        type=int,
        nargs=3,
        default=None,
        metavar=("RED", "GREEN", "BLUE"),
        help="bands of the picture, counted from 1 in the order of the images or of --bands, "
        "instead of by "
        "wavelength",
    )
    parser.add_argument(
        "--catalog",
        type=Path,
        default=None,
        help="also measure the sources: a .fits, .ecsv, .csv, .vot or .parquet file to write",
    )
    parser.add_argument(
        "--regions", type=Path, default=None, help="also write the sources as regions of DS9 (.reg)"
    )
    add_zero_point(parser, "for the catalog: magnitude of one count")
    add_measure_arguments(parser)


def run(arguments):
    """Read, segment, write."""
    with ExitStack() as start:
        # Most of the time for a small image is imports.
        start.enter_context(NO_COLLECTION)
        _run(arguments, start)


def _run(arguments, start):
    output = arguments.output or default_output(arguments.image[0], "segmentation")
    _check_files(arguments, output)
    measure_options(arguments)  # refused before work starts
    field, bands = choose_bands(arguments, open_field(arguments))
    check_measurable(arguments, field, bands.names)
    tile_size = _choose_tile_size(arguments, field.shape, output)
    shown = _choose_shown(arguments, bands)
    segmenter = ready_segmenter(arguments, with_rms=field.has_rms, n_bands=field.n_bands)
    bridge_gaps(segmenter, arguments.bridge, label=arguments.label_bridge)
    if not _is_small(field, segmenter):
        start.close()
    if tile_size is None:
        labels, values = _segment_whole(field, segmenter, output, arguments)
    else:
        labels, values = _segment_tiles(field, segmenter, output, arguments, tile_size), {}
    if arguments.picture:
        draw(field, labels, arguments.picture, shown)
        print(f"Drew {arguments.picture}.")
    if arguments.catalog or arguments.regions:
        _measure(field, labels, values, arguments, bands.names)


def _is_small(field, segmenter):
    """Whether the work leaves too little garbage to look for, as with a few pixels and no net."""
    from ..base._pipelines import pipeline_steps

    return prod(field.shape) <= _SMALL and pipeline_steps(segmenter)[-1].works_in_threads


def _check_files(arguments, output):
    from ..io._write import FITS_ENDINGS

    inputs = {
        "image": arguments.image,
        "--rms": arguments.rms,
        "--mask": arguments.mask,
        "--model": arguments.model,
    }
    outputs = {
        "--output": output,
        "--picture": arguments.picture,
        "--catalog": arguments.catalog,
        "--regions": arguments.regions,
    }
    endings = {
        "--output": FITS_ENDINGS,
        "--picture": picture_endings() if arguments.picture else (),
        "--catalog": catalog_endings(arguments.catalog),
        "--regions": [".reg"],
    }
    check_outputs(inputs, outputs, overwrite=arguments.overwrite, endings=endings)


def catalog_endings(catalog):
    """Return the endings that a catalog may have; refuse Parquet if pyarrow is missing."""
    if catalog is None:
        return ()
    from ..catalog._files import CATALOG_FORMATS, require_pyarrow

    require_pyarrow(catalog)
    return CATALOG_FORMATS


def _choose_tile_size(arguments, shape, output):
    """Return the side of the tiles, or None to work on the image as a whole."""
    needs_tiles = arguments.resume or arguments.n_jobs != 1 or min(shape) > LARGEST_SIDE
    tile_size = choose_tile_size(arguments, needs_tiles)
    if tile_size is not None and not output.name.endswith((".fits", ".fits.fz")):
        raise ValueError(
            "--output must end in .fits or .fits.fz if the work is done in tiles: what is written "
            f"piece by piece cannot be packed as a whole. Got {output} instead."
        )
    return tile_size


def choose_tile_size(arguments, needs_tiles):
    """Return the side of the tiles that ``--tile-size`` asks for, or the default if needed."""
    size = arguments.tile_size
    if size is not None and size < 1:
        raise ValueError(f"--tile-size must be a whole number, at least 1. Got {size} instead.")
    return TILE_SIZE if size is None and needs_tiles else size


def _choose_shown(arguments, bands):
    if arguments.picture:
        return bands_to_draw(bands, arguments.rgb)
    if arguments.rgb:
        raise ValueError("--rgb chooses the bands of a picture: pass --picture too.")
    return None


def _segment_whole(field, segmenter, output, arguments):
    """Segment and write; return the label map, and scores and classes for a catalog."""
    from ..io import write_label_map, write_panoptic_map

    measures, kind = bool(arguments.catalog or arguments.regions), arguments.kind
    about = {"header": field.header, "segmenter": segmenter, "overwrite": arguments.overwrite}
    if not measures:
        result, values = segment_field(field, segmenter, output=kind), {}
        labels = result if kind == "labels" else result[1]
    elif kind == "labels":
        labels, values = _paint(segment_field(field, segmenter, output="instances"))
        result = labels
    else:
        sources, result = segment_with_panoptic(field, segmenter)
        labels, values = _paint(sources)
    write = write_label_map if kind == "labels" else write_panoptic_map
    write(output, result, **about)
    height, width = labels.shape
    print(f"{count_sources(labels.max())} in {height} x {width} pixels: wrote {output}.")
    return labels, values


def _paint(sources):
    """Return the label map of `Instances`, and a dict of the scores and classes of its labels.

    A source that others hide has no label. Scores that are all 1 say nothing.
    """
    import numpy as np

    numbered = replace(sources, classes=np.arange(1, len(sources) + 1))
    number, labels = numbered.to_panoptic()
    visible = np.unique(number[number > 0]) - 1
    values = {}
    if (sources.scores != 1).any():
        values["scores"] = sources.scores[visible]
    if sources.classes is not None:
        values["classes"] = sources.classes[visible]
    return labels, values


def _segment_tiles(field, segmenter, output, arguments, tile_size):
    """Segment in bounded memory; a method that learns does so from the middle of the field."""
    from ..mosaic import segment_mosaic

    fit_on_middle(segmenter, field, tile_size)
    measures = bool(arguments.catalog or arguments.regions)
    kind = arguments.kind
    if kind == "labels" and measures and _knows_its_reach(segmenter):
        kind = "instances"
    options = {
        "kind": kind,
        "n_jobs": arguments.n_jobs,
        "resume": arguments.resume,
        "overwrite": arguments.overwrite,
    }
    segment_mosaic(segmenter, field, output=output, tile_size=tile_size, **options)
    height, width = field.shape
    print(f"Segmented {height} x {width} pixels in tiles: wrote {output}.")
    return output


def _knows_its_reach(segmenter):
    """Whether a mosaic has the same label map with scores and classes as without them."""
    from ..base._pipelines import pipeline_steps

    return pipeline_steps(segmenter)[-1].reach is not None


def fit_on_middle(segmenter, field, tile_size):
    """Fit a segmenter that is not fitted on a tile in the middle of a field."""
    if not is_fitted(segmenter):
        middle = field.section(*(_middle(side, tile_size) for side in field.shape))
        segmenter.fit(stack_field(middle, segmenter))


def _middle(side, length):
    return slice(max(0, (side - length) // 2), min(side, (side + length) // 2))


def _measure(field, labels, values, arguments, bands):
    from ..catalog import source_catalog, write_catalog, write_regions

    catalog = source_catalog(
        *(labels, field),
        **{"background": "mesh", "zero_point": arguments.zero_point, "bands": bands},
        **values,
        **measure_options(arguments),
    )
    writers = (arguments.catalog, write_catalog), (arguments.regions, write_regions)
    for path, write in writers:
        if path:
            write(path, catalog, overwrite=arguments.overwrite)
            print(f"{count_sources(len(catalog))} measured: wrote {path}.")


def count_sources(number):
    """Return a number of sources in words.

    Examples
    --------
    >>> count_sources(1), count_sources(2)
    ('1 source', '2 sources')
    """
    return f"{number} source{'' if number == 1 else 's'}"


def default_output(image, what):
    """Return the path beside an image for a file that a command makes of it.

    Examples
    --------
    >>> default_output("image.fits.gz", "parts").name
    'image_parts.fits'
    """
    path = Path(image)
    stem = path.name.split(".fit")[0] or path.stem
    return path.with_name(f"{stem}_{what}.fits")
