"""Options that say which files, extensions and pixels to read."""

import argparse

# Options that set the arguments of `read_field`, which messages of the library speak of.
READ_WORDS = {
    "rms_kind": "--rms-kind",
    "rms_hdu": "--rms-hdu",
    "rms": "--rms",
    "mask_bits": "--mask-bits",
    "mask_hdu": "--mask-hdu",
    "mask": "--mask",
    "hdu": "--hdu",
    "limits": "--no-limits",
}


def add_image_arguments(parser, *, several=True, as_option=False):
    """Declare the options for image, RMS map and mask; ``--band`` adds bands if not several.

    `as_option` makes the image ``--image``, because another file comes first.
    """
    if as_option:
        parser.add_argument(
            "--image",
            action="append",
            required=True,
            help="FITS image to measure; may be repeated, one per band",
        )
    elif several:
        words = "FITS image; several files are bands of one field"
        parser.add_argument("image", nargs="+", help=words)
    else:
        parser.add_argument("image", nargs=1, help="FITS image")
        parser.add_argument(
            "--band",
            action="append",
            default=[],
            metavar="FILE",
            help="FITS image of another band of the same field; may be repeated",
        )
    parser.add_argument(
        "--hdu",
        action="append",
        default=None,
        help="extension of the image: a number, a name, or NAME,VERSION (first image by default); "
        "may be repeated, one per band",
    )
    parser.add_argument(
        "--rms",
        action="append",
        default=None,
        help="FITS file with the RMS, variance or weight map, also the image's own; may be "
        "repeated, one per band",
    )
    parser.add_argument(
        "--rms-hdu",
        action="append",
        default=None,
        help="extension of that map, as for --hdu; without --rms, of the image's file",
    )
    parser.add_argument(
        "--rms-kind",
        choices=("rms", "variance", "weight", "auto"),
        default="auto",
        help="what that map holds (%(default)s)",
    )
    parser.add_argument(
        "--mask",
        action="append",
        default=None,
        help="FITS file with a mask or data quality map: pixels that are not 0 have no data; may "
        "be repeated, one per band; by default the mask in the image's file, if its header says "
        "what it means",
    )
    add_mask_arguments(parser)


def add_mask_arguments(parser):
    """Declare the options for a mask in the image's own file, and for limits on files."""
    parser.add_argument(
        "--mask-hdu",
        action="append",
        default=None,
        help="extension of the mask, as for --hdu; without a file for the mask, of the image's "
        "file",
    )
    parser.add_argument(
        "--mask-bits",
        type=_parse_bits,
        default=None,
        metavar="BITS",
        help="bits of the data quality map that mean no data: 1,4096; or ~4 for all bits but 4 "
        "(all by default)",
    )
    parser.add_argument(
        "--no-mask",
        action="store_true",
        help="use every pixel, also if the image's file holds a mask",
    )
    parser.add_argument(
        "--no-limits",
        action="store_true",
        help="read files that unpack to more than 100 times their size, or hold more than 10,000 "
        "extensions",
    )


def open_field(arguments):
    """Open the field that the options describe; only headers are read."""
    from ..io import read_field

    return read_field(
        only(arguments.image),
        rms=only(arguments.rms),
        rms_kind=arguments.rms_kind,
        hdu=parse_hdus(arguments.hdu),
        rms_hdu=parse_hdus(arguments.rms_hdu),
        **mask_options(arguments, mask=only(arguments.mask)),
    )


def mask_options(arguments, *, mask=None):
    """Return the arguments of `read_field` for a mask in the file `mask`, or in the image's own."""
    named = mask is not None or arguments.mask_hdu is not None
    if arguments.no_mask and (named or arguments.mask_bits is not None):
        raise ValueError("--no-mask uses every pixel: leave out the other options for a mask.")
    if arguments.mask_bits is not None and not named:
        raise ValueError(
            "--mask-bits picks bits of a data quality map: say which extension or file holds it."
        )
    return {
        "mask": False if arguments.no_mask else mask,
        "mask_hdu": parse_hdus(arguments.mask_hdu),
        "mask_bits": arguments.mask_bits,
        "limits": not arguments.no_limits,
    }


def only(values):
    """Return the only value of a list, the list if it has several, or None."""
    return values[0] if values and len(values) == 1 else values


def parse_hdus(texts):
    """Return the HDU of one ``--hdu``, a list of those of several, or None."""
    return only([parse_hdu(text) for text in texts]) if texts else None


def parse_hdu(text):
    """Extension number, name, or (name, version), as FITS readers take it.

    Examples
    --------
    >>> parse_hdu("2"), parse_hdu("SCI"), parse_hdu("SCI,2")
    (2, 'SCI', ('SCI', 2))
    """
    if text is None:
        return None
    if text.lstrip("-").isdigit():
        return int(text)
    name, comma, version = text.rpartition(",")
    return (name, int(version)) if comma and version.isdigit() else text


def _parse_bits(text):
    """Bits as numbers: ``1,4096`` or ``1+4096``, also 0x1000; ``~4`` is every bit but 4."""
    if text.startswith("~"):
        return ~sum(_parse_bits(text[1:]))
    try:
        return [int(part, 0) for part in text.replace("+", ",").split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of bits like 1,4096 or ~4"
        ) from None
