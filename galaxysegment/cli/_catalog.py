"""Measure the sources of a label map and write their catalog."""

from pathlib import Path

from ._bands import add_bands_argument, choose_bands
from ._inputs import READ_WORDS, add_image_arguments, open_field, parse_hdu
from ._measure import MEASURE_WORDS, add_measure_arguments, add_zero_point, measure_options
from ._outputs import check_outputs
from ._segment import catalog_endings, count_sources

_WORDS = {
    **READ_WORDS,
    **MEASURE_WORDS,
    "overwrite": "--overwrite",
    "path": "--output",
    "sources": "labels",
    "image": "--image",
    "labels_hdu": "--labels-hdu",
    "zero_point": "--zero-point",
    "detection": "--detection",
    "neighbours": "--neighbours",
    "local_background": "--local-background",
    "noise_factor": "--noise-factor",
}


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument("labels", type=Path, help="FITS label map of the sources")
    parser.add_argument(
        "--labels-hdu", default=None, help="extension of the label map, as for --hdu"
    )
    add_image_arguments(parser, as_option=True)
    add_bands_argument(parser)
    parser.add_argument(
        "-o",
        "--output",
        dest="catalog",
        type=Path,
        required=True,
        help="catalog to write: a .fits, .ecsv, .csv, .vot or .parquet file",
    )
    parser.add_argument(
        "--regions", type=Path, default=None, help="also write the sources as regions of DS9 (.reg)"
    )
    parser.add_argument(
        "--detection",
        default=None,
        metavar="FILE",
        help="FITS image of the same pixels that sets positions, shapes and Kron radii, while "
        "--image gives the fluxes",
    )
    add_zero_point(parser)
    parser.add_argument(
        "--background",
        choices=("mesh", "none"),
        default="mesh",
        help="what to subtract before: the background between the sources, on a mesh of 50 x 50 "
        "pixels, or nothing (%(default)s)",
    )
    _add_aperture_arguments(parser)
    parser.add_argument(
        "--n-jobs", type=int, default=1, help="threads; -1: one per core (%(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(words=_WORDS)


def _add_aperture_arguments(parser):
    add_measure_arguments(parser)
    parser.add_argument(
        "--neighbours",
        choices=("correct", "mask", "none"),
        default="correct",
        help="what apertures hold in place of other sources: the light on the opposite side, "
        "nothing, or the pixels as they are (%(default)s)",
    )
    parser.add_argument(
        "--local-background",
        type=float,
        default=0.0,
        metavar="WIDTH",
        help="width in pixels of an annulus around each source whose background is subtracted "
        "(none)",
    )
    parser.add_argument(
        "--noise-factor",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="factor of the errors because the noise of pixels is correlated (%(default)s)",
    )


def run(arguments):
    """Read, measure, write."""
    from ..catalog import source_catalog, write_catalog, write_regions

    _check_files(arguments)
    field, bands = choose_bands(arguments, open_field(arguments))
    catalog = source_catalog(
        arguments.labels,
        field,
        labels_hdu=parse_hdu(arguments.labels_hdu),
        detection=arguments.detection,
        bands=bands.names,
        zero_point=arguments.zero_point,
        background=None if arguments.background == "none" else "mesh",
        neighbours=arguments.neighbours,
        local_background=arguments.local_background,
        noise_factor=arguments.noise_factor,
        n_jobs=arguments.n_jobs,
        **measure_options(arguments),
    )
    writers = (arguments.catalog, write_catalog), (arguments.regions, write_regions)
    for path, write in writers:
        if path:
            write(path, catalog, overwrite=arguments.overwrite)
            print(f"{count_sources(len(catalog))} measured: wrote {path}.")


def _check_files(arguments):
    inputs = {
        "labels": arguments.labels,
        "--image": arguments.image,
        "--rms": arguments.rms,
        "--mask": arguments.mask,
        "--detection": arguments.detection,
    }
    outputs = {"--output": arguments.catalog, "--regions": arguments.regions}
    endings = {"--output": catalog_endings(arguments.catalog), "--regions": [".reg"]}
    check_outputs(inputs, outputs, overwrite=arguments.overwrite, endings=endings)
