"""What the commands measure of each source beside its mask."""

from argparse import ArgumentTypeError

_CHOICES = {
    "kron": {"kron": True},
    "total": {"kron": True, "total": True},
    "half-light": {"light_fractions": 0.5},
    "stars": {"star_probability": True},
}
#: Words of the command for the parameters of `source_catalog`.
MEASURE_WORDS = {"apertures": "--apertures", "flux_unit": "--flux-unit"}


def add_measure_arguments(parser):
    """Declare the options of the catalog."""
    parser.add_argument(
        "--measure",
        nargs="+",
        choices=list(_CHOICES),
        default=(),
        help="also measure for the catalog: kron (Kron fluxes), total (with the light beyond the "
        "Kron aperture), half-light (radii), stars (probability of being a star; needs --rms)",
    )
    parser.add_argument(
        "--apertures",
        nargs="+",
        type=_radius,
        default=None,
        metavar="RADIUS",
        help="also measure in circles of these radii: pixels, or angles like 1.0arcsec",
    )
    parser.add_argument(
        "--flux-unit",
        default=None,
        metavar="UNIT",
        help="unit of the catalog's fluxes, like uJy; the zero point of the header is taken if "
        "there is no --zero-point",
    )


def add_zero_point(parser, what="magnitude of one count"):
    """Declare the zero point of magnitudes."""
    parser.add_argument(
        "--zero-point",
        type=_zero_point,
        default=None,
        help=f"{what}, or 'header': the AB zero point that the header tells",
    )


def _zero_point(text):
    """Return a number, or the word "header".

    Examples
    --------
    >>> _zero_point("27.5"), _zero_point("header")
    (27.5, 'header')
    """
    if text == "header":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is neither a number nor 'header'") from error


def _radius(text):
    """Return a radius in pixels, or an angle on the sky.

    Examples
    --------
    >>> _radius("5"), _radius("0.5arcsec")
    (5.0, <Quantity 0.5 arcsec>)
    """
    try:
        return float(text)
    except ValueError:
        from astropy.units import Quantity

    try:
        return Quantity(text)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(f"{text!r} is neither a number nor like 1.0arcsec") from error


def check_measurable(arguments, field, bands=None):
    """Refuse what needs an RMS map or a zero point in the header, if the field has none.

    `bands` are the names of the bands, or None.
    """
    if "stars" in arguments.measure and not field.has_rms:
        raise ValueError("--measure stars needs the noise of each pixel: pass --rms too.")
    asks_header = arguments.zero_point == "header" or (
        arguments.zero_point is None and arguments.flux_unit
    )
    if arguments.catalog and asks_header:
        from ..catalog._units import header_zero_points

        header_zero_points(field.header, None, bands or [None], field.wcs)


def measure_options(arguments):
    """Return the options of `source_catalog`; refuse them if no catalog is written."""
    options = {}
    for choice in arguments.measure:
        options |= _CHOICES[choice]
    if arguments.apertures:
        options["apertures"] = arguments.apertures
    if arguments.flux_unit:
        options["flux_unit"] = arguments.flux_unit
    if options and not arguments.catalog:
        raise ValueError(
            "--measure, --apertures and --flux-unit are for the catalog: pass --catalog too."
        )
    return options
