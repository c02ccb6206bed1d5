"""Write a page to look at: image, outlines of the sources, catalog and histograms."""

from pathlib import Path

from ._inputs import READ_WORDS, add_image_arguments, open_field, parse_hdu
from ._measure import add_zero_point
from ._outputs import check_outputs

_WORDS = {
    **READ_WORDS,
    "overwrite": "--overwrite",
    "path": "--output",
    "sources": "labels",
    "labels_hdu": "--labels-hdu",
    "zero_point": "--zero-point",
    "max_size": "--max-size",
    "catalog": "--catalog",
    "rgb": "--rgb",
}


def add_arguments(parser):
    """Declare the command's arguments."""
    add_image_arguments(parser, several=False)
    parser.add_argument("labels", type=Path, help="FITS label map of the sources")
    parser.add_argument(
        "--labels-hdu", default=None, help="extension of the label map, as for --hdu"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=None,
        help="HTML file to write (<image>_report.html)",
    )
    parser.add_argument(
        "--catalog",
        type=Path,
        default=None,
        help="catalog of the sources to show, a .fits, .ecsv, .csv, .vot or .parquet file with a "
        "column label; without it they are measured",
    )
    add_zero_point(parser, "for measuring: magnitude of one count")
    parser.add_argument(
        "--rgb",
        type=int,
        nargs=3,
        default=None,
        metavar=("RED", "GREEN", "BLUE"),
        help="bands of the picture, counted from 1 in the order of the images",
    )
    parser.add_argument("--title", default=None, help="title of the page (name of the image)")
    parser.add_argument(
        "--max-size",
        type=float,
        default=48.0,
        metavar="MB",
        help="largest size of the file; the picture gets the finest resolution that fits "
        "(%(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.set_defaults(words=_WORDS)


def run(arguments):
    """Read, measure, write the page."""
    from ..report import write_report

    arguments.image += arguments.band
    image = Path(arguments.image[0])
    name = image.name.split(".fit")[0] or image.stem
    output = arguments.output or image.with_name(f"{name}_report.html")
    inputs = {
        "image": arguments.image,
        "labels": arguments.labels,
        "--rms": arguments.rms,
        "--mask": arguments.mask,
        "--catalog": arguments.catalog,
    }
    endings = {"--output": [".html", ".htm"]}
    outputs = {"--output": output}
    check_outputs(inputs, outputs, overwrite=arguments.overwrite, endings=endings)
    write_report(
        output,
        open_field(arguments),
        arguments.labels,
        catalog=arguments.catalog,
        rgb=None if arguments.rgb is None else [band - 1 for band in arguments.rgb],
        zero_point=arguments.zero_point,
        title=arguments.title or image.name,
        max_size=arguments.max_size,
        overwrite=arguments.overwrite,
        labels_hdu=parse_hdu(arguments.labels_hdu),
    )
    print(f"Wrote {output}.")
