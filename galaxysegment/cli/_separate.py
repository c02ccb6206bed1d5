"""Divide the light of an image among its sources and write an image of each source alone."""

from pathlib import Path

import numpy as np

from ._choose import (
    add_gap_arguments,
    add_method_arguments,
    bridge_gaps,
    change_parameters,
    find_method,
    ready_segmenter,
    segment_field,
)
from ._inputs import READ_WORDS, add_image_arguments, open_field, parse_hdu
from ._measure import (
    MEASURE_WORDS,
    add_measure_arguments,
    add_zero_point,
    check_measurable,
    measure_options,
)
from ._outputs import check_outputs
from ._segment import (
    LARGEST_SIDE,
    TILE_SIZE,
    choose_tile_size,
    count_sources,
    default_output,
    fit_on_middle,
)

_MOST_SOURCES = 9_999  # extensions of a FITS file beside the first that readers take by default

_WORDS = {
    **READ_WORDS,
    **MEASURE_WORDS,
    "overwrite": "--overwrite",
    "output": "--output",
    "zero_point": "--zero-point",
    "resume": "--resume",
    "tile_size": "--tile-size",
    "n_jobs": "--n-jobs",
    "labels_hdu": "--labels-hdu",
}


def add_arguments(parser):
    """Declare the command's arguments."""
    add_image_arguments(parser, several=False)
    parser.add_argument(
        "labels",
        nargs="?",
        default=None,
        help="FITS label map of the sources; without it, --method or --model finds them",
    )
    parser.add_argument(
        "--labels-hdu", default=None, help="extension of the label map, as for --hdu"
    )
    add_method_arguments(parser, default="photutils", examples="photutils, sep, kmeans, unet")
    add_gap_arguments(parser)
    parser.add_argument(
        "--separator",
        default="template",
        help="what divides the light; `galaxysegment methods` lists all (%(default)s)",
    )
    parser.add_argument(
        "--set-separator",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the separator, such as find_companions=True; may be repeated",
    )
    parser.add_argument(
        "--background",
        choices=("mesh", "none"),
        default="mesh",
        help="what to subtract before: the background on a mesh of 50 x 50 pixels, or nothing "
        "(%(default)s)",
    )
    _add_output_arguments(parser)
    add_measure_arguments(parser)
    _add_tile_arguments(parser)
    # None tells whether the user chose a method, which a label map leaves no use for.
    parser.set_defaults(method=None, words=_WORDS)


def _add_output_arguments(parser):
    parser.add_argument(
        "--output",
        type=Path,
        default=None,
        help="FITS file to write, with one extension per source (<image>_parts.fits)",
    )
    parser.add_argument(
        "--residual",
        type=Path,
        default=None,
        help="also write the light that belongs to no source, and the subtracted background as "
        "extension BACKGROUND",
    )
    parser.add_argument(
        "--catalog",
        type=Path,
        default=None,
        help="also measure the sources, with the columns flux_separated and blendedness: a .fits, "
        ".ecsv, .csv, .vot or .parquet file to write",
    )
    add_zero_point(parser, "for the catalog: magnitude of one count")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _add_tile_arguments(parser):
    tiles = parser.add_argument_group(
        "work in tiles",
        "With one of these, or if the image is large, sources are found and their light is divided "
        "tile by tile, in bounded memory, and --output is one table of fluxes.",
    )
    tiles.add_argument("--tile-size", type=int, default=None, help="largest side of a tile (2048)")
    tiles.add_argument(
        "--n-jobs", type=int, default=1, help="processes; -1: one per core (%(default)s)"
    )
    tiles.add_argument("--resume", action="store_true", help="continue an unfinished run in tiles")
    tiles.add_argument(
        "--parts",
        action="store_true",
        help="store the part of each source in the table too, and the residual beside it",
    )


def run(arguments):
    """Read, find the sources, divide the light, write."""
    arguments.image += arguments.band
    output = arguments.output or default_output(arguments.image[0], "parts")
    _check_files(arguments, output)
    separator = find_method(arguments.separator, "separator")()
    change_parameters(separator, arguments.set_separator, "--set-separator", arguments.separator)
    field = open_field(arguments)
    check_measurable(arguments, field)
    if _needs_tiles(arguments, field):
        _separate_tiles(arguments, field, separator, output)
        return
    sources, labels = _find_sources(arguments, field)
    image, background = _subtract(field, sources, arguments.background)
    rms = [field.rms] if field.has_rms else None
    (separated,) = separator.separate([image], [sources], rms=rms)
    labels = np.append(labels, labels.max(initial=0) + np.arange(1, len(separated) + 1))
    labels = labels[: len(separated)]  # companions follow the sources that were given
    _write_parts(output, separated, labels, field, separator, arguments)
    print(f"{count_sources(len(separated))} separated: wrote {output}.")
    if arguments.residual:
        _write_residual(separated, background, field, separator, arguments)
        print(f"Wrote {arguments.residual}.")
    if arguments.catalog:
        _measure(separated, labels, field, arguments)


def _check_files(arguments, output):
    measure_options(arguments)  # refused before work starts
    from ..catalog._files import CATALOG_FORMATS, require_pyarrow
    from ..io._write import FITS_ENDINGS

    inputs = {
        "image": arguments.image,
        "labels": arguments.labels,
        "--rms": arguments.rms,
        "--mask": arguments.mask,
        "--model": arguments.model,
    }
    outputs = {
        "--output": output,
        "--residual": arguments.residual,
        "--catalog": arguments.catalog,
    }
    endings = {
        "--output": FITS_ENDINGS,
        "--residual": FITS_ENDINGS,
        "--catalog": CATALOG_FORMATS,
    }
    check_outputs(inputs, outputs, overwrite=arguments.overwrite, endings=endings)
    require_pyarrow(arguments.catalog)
    chosen = {
        "--method": arguments.method,
        "--model": arguments.model,
        "--set": arguments.set,
        "--bridge": arguments.bridge,
        "--label-bridge": arguments.label_bridge,
    }
    useless = [option for option, value in chosen.items() if value not in (None, [], False)]
    if arguments.labels and useless:
        raise ValueError(
            f"{useless[0]} is about finding sources, but {arguments.labels} holds them: leave out "
            "one of the two."
        )
    if arguments.labels_hdu and not arguments.labels:
        raise ValueError("--labels-hdu is about a label map: pass its file after the image.")


def _needs_tiles(arguments, field):
    height, width = field.shape
    choose_tile_size(arguments, needs_tiles=False)  # refused before work starts
    asked = arguments.resume or arguments.parts or arguments.n_jobs != 1
    is_large = height * width * field.n_bands > LARGEST_SIDE**2
    return arguments.tile_size is not None or bool(asked) or is_large


def _separate_tiles(arguments, field, separator, output):
    """Find the sources, if there is no label map, and divide their light in bounded memory."""
    from ..mosaic import separate_mosaic

    useless = {"--residual": arguments.residual, "--catalog": arguments.catalog}
    useless = [option for option, value in useless.items() if value]
    if useless:
        raise ValueError(
            f"{useless[0]} is not written if the work is done in tiles (--tile-size, --n-jobs, "
            f"--resume, --parts, or more than {LARGEST_SIDE} x {LARGEST_SIDE} pixels): the table "
            "of --output holds fluxes, and with --parts the residual is beside it."
        )
    tile_size = choose_tile_size(arguments, needs_tiles=True)
    if not arguments.labels:
        separator = _find_and(separator, arguments, field, tile_size)
    path = separate_mosaic(
        separator,
        field,
        arguments.labels,
        output=output,
        kind="parts" if arguments.parts else "fluxes",
        background=None if arguments.background == "none" else "mesh",
        tile_size=tile_size,
        n_jobs=arguments.n_jobs,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        labels_hdu=parse_hdu(arguments.labels_hdu),
    )
    print(f"Separated in tiles: wrote {path.name}.")


def _find_and(separator, arguments, field, tile_size):
    """Return an estimator that finds the sources before the separator divides their light."""
    from ..separation import SegmentThenSeparate

    both = SegmentThenSeparate(separator=separator)
    both.segmenter_ = _segmenter(arguments, field)
    fit_on_middle(both.segmenter_, field, tile_size)
    return both


def _segmenter(arguments, field):
    """Return the segmenter that ``--method`` or ``--model`` names."""
    arguments.method = arguments.method or "photutils"
    segmenter = ready_segmenter(arguments, with_rms=field.has_rms)
    bridge_gaps(segmenter, arguments.bridge, label=arguments.label_bridge)
    return segmenter


def _find_sources(arguments, field):
    """Return the sources, and the label of each."""
    from ..io import read_label_map
    from ..structures import Instances

    if arguments.labels:
        label_map = read_label_map(
            arguments.labels,
            hdu=parse_hdu(arguments.labels_hdu),
            limits=not arguments.no_limits,
        )
        sources, labels = label_map, np.unique(label_map[label_map > 0]).astype(np.int64)
    else:
        sources = segment_field(field, _segmenter(arguments, field), output="instances")
        labels = np.arange(1, len(sources) + 1)
    if sources.shape != field.shape:
        raise ValueError(
            f"The label map has {_words(sources.shape)} pixels, but the image has "
            f"{_words(field.shape)}: pass the label map of this image."
        )
    if len(labels) > _MOST_SOURCES:
        raise ValueError(
            f"There are {len(labels)} sources, and a file takes at most {_MOST_SOURCES}, one "
            f"extension each. Pass --tile-size {TILE_SIZE} to write one table."
        )
    if isinstance(sources, Instances):
        return sources, labels
    return Instances.from_label_map(sources), labels


def _words(shape):
    return " x ".join(map(str, shape))


def _subtract(field, sources, background):
    """Return the image, NaN where it has no data, and the background taken from it, or None."""
    from ..detection._sky_between import sky_between
    from ..io._inputs import stack

    bands = stack(field, False)
    bands = bands if bands.ndim == 3 else bands[None]
    shape = bands.shape if len(bands) > 1 else field.shape  # without the axis of a single band
    if background == "none":
        return bands.reshape(shape), None
    level = sky_between(bands, sources.to_mask())
    return (bands - level).reshape(shape), level.reshape(shape)


def _write_parts(path, separated, labels, field, separator, arguments):
    """Write an image extension per source, with a WCS of its own and its numbers in the header."""
    from astropy.io import fits

    from ..io._wcs import cut_header
    from ..io._write import _image_hdu, write_hdus

    whole = _cards(field, separated.residual.shape)
    primary = _about(separator, arguments)
    primary["NSOURCES"] = (len(separated), "sources, one extension each")
    hdus = [fits.PrimaryHDU(header=primary)]
    for index, (label, part) in enumerate(zip(labels.tolist(), separated.parts, strict=True)):
        y0, x0, y1, x1 = separated.boxes[index].tolist()
        header = cut_header(whole, slice(y0, y1), slice(x0, x1))
        header.extend(_numbers(separated, index, label, (y0, x0)), strip=False, update=True)
        hdu = _image_hdu(path, part, header, "SOURCE")
        hdu.ver = label
        hdus.append(hdu)
    write_hdus(path, hdus)


def _numbers(separated, index, label, corner):
    """Cards of a source: its label, place, fluxes, their errors and its blendedness."""
    cards = [
        ("LABEL", label, "label of the source"),
        ("YMIN", corner[0], "row of the image where the part begins, from 0"),
        ("XMIN", corner[1], "column of the image where it begins, from 0"),
    ]
    values = [
        ("FLUX", separated.fluxes, "sum of the part"),
        ("FERR", separated.flux_errors, "standard deviation of FLUX by noise"),
        ("BLEND", separated.blendedness, "blendedness, 0 for an isolated source"),
    ]
    for keyword, of_sources, comment in values:
        bands = np.atleast_1d(of_sources[index]).tolist()
        for band, value in enumerate(bands, start=1):
            name = keyword if len(bands) == 1 else f"{keyword}_{band}"
            # FITS has no NaN in a header: a card without a value says that there is none
            cards.append((name, value if np.isfinite(value) else None, comment))
    return cards


def _write_residual(separated, background, field, separator, arguments):
    from astropy.io import fits

    from ..io._write import _image_hdu, write_hdus

    path, residual = arguments.residual, separated.residual
    header = _cards(field, residual.shape)
    header.extend(_about(separator, arguments), strip=False, update=True)
    hdus = [fits.PrimaryHDU(), _image_hdu(path, residual, header, "RESIDUAL")]
    if background is not None:
        cards = _cards(field, residual.shape)
        hdus.append(_image_hdu(path, background.astype(np.float32), cards, "BACKGROUND"))
    write_hdus(path, hdus)


def _cards(field, shape):
    """Cards of the image that hold for an image of the same pixels in the same unit."""
    from ..io._wcs import kept_cards

    header = kept_cards(field.header, shape, keep_unit=True)
    if len(shape) > 2 and header.get("WCSAXES", 0) == 2:
        del header["WCSAXES"]  # fewer than NAXIS, which the standard does not allow
    return header


def _about(separator, arguments):
    """Cards that tell what divided the light, and what was subtracted before."""
    from ..io._write import _as_json, _provenance

    header = _provenance(None)
    header["SEPCLASS"] = (type(separator).__name__, "what divided the light")
    header["SEPPARAM"] = _as_json(separator.get_params())
    header["BACKSUB"] = (arguments.background, "background subtracted before")
    return header


def _measure(separated, labels, field, arguments):
    from ..catalog import source_catalog, write_catalog

    background = None if arguments.background == "none" else "mesh"
    options = {"background": background, "zero_point": arguments.zero_point}
    options |= measure_options(arguments)
    catalog = source_catalog(separated, field, **options)
    catalog["label"] = labels
    write_catalog(arguments.catalog, catalog, overwrite=arguments.overwrite)
    print(f"{count_sources(len(catalog))} measured: wrote {arguments.catalog}.")
