"""Segment an image and write its label map with the image's WCS."""

import ast
from pathlib import Path

_LARGEST_SIDE = 8192  # of an image that is worked on as a whole


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument("image", nargs="+", help="FITS image; several files are bands of one field")
    parser.add_argument(
        "--hdu",
        default=None,
        help="extension of the image, by number or name (first image by default)",
    )
    parser.add_argument(
        "--rms", default=None, help="FITS file with the RMS, variance or weight map"
    )
    parser.add_argument("--rms-hdu", default=None, help="extension of that map, by number or name")
    parser.add_argument(
        "--rms-kind",
        choices=("rms", "variance", "weight", "auto"),
        default="auto",
        help="what it holds (%(default)s)",
    )
    parser.add_argument(
        "--method", default="photutils", help="photutils, sep, kmeans, unet, … (%(default)s)"
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=None,
        help="a trained segmenter in a file, instead of --method",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the method; may be repeated",
    )
    _add_outputs(parser)
    _add_tiling(parser)


def _add_outputs(parser):
    parser.add_argument(
        "--output", type=Path, default=None, help="FITS file to write (<image>_segmentation.fits)"
    )
    parser.add_argument(
        "--picture", type=Path, default=None, help="also draw image and sources into this file"
    )
    parser.add_argument(
        "--catalog",
        type=Path,
        default=None,
        help="also measure the sources: a .fits, .ecsv or .parquet file to write",
    )
    parser.add_argument(
        "--regions", type=Path, default=None, help="also write the sources as regions of DS9 (.reg)"
    )
    parser.add_argument(
        "--zero-point", type=float, default=None, help="magnitude of one count, for the catalog"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _add_tiling(parser):
    parser.add_argument(
        "--tile-size",
        type=int,
        default=None,
        help="work in tiles of this side and bounded memory; by default 2048 where the image is larger than "
        f"{_LARGEST_SIDE} x {_LARGEST_SIDE}",
    )
    parser.add_argument(
        "--n-jobs",
        type=int,
        default=1,
        help="processes for the tiles; -1: one a core (%(default)s)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with an unfinished run in tiles"
    )


def run(arguments):
    """Read, segment, write."""
    output = arguments.output or _default_output(arguments.image[0])
    for path in filter(None, (output, arguments.picture, arguments.catalog, arguments.regions)):
        if path.exists() and not arguments.overwrite:
            raise FileExistsError(f"{path} exists: choose another name, or pass --overwrite.")
    field = _open(arguments)
    segmenter = (
        _load(arguments) if arguments.model else _untrained(arguments, with_rms=field.has_rms)
    )
    tile_size = arguments.tile_size
    if tile_size is None and (
        arguments.resume or arguments.n_jobs != 1 or min(field.shape) > _LARGEST_SIDE
    ):
        tile_size = 2048
    if tile_size is None:
        labels = _segment_whole(field, segmenter, output, arguments.overwrite)
    else:
        labels = _segment_tiles(field, segmenter, output, arguments, tile_size)
    if arguments.picture:
        _draw(field, labels, arguments.picture)
    if arguments.catalog or arguments.regions:
        _measure(field, labels, arguments)


def _open(arguments):
    from ..io import read_field

    return read_field(
        arguments.image if len(arguments.image) > 1 else arguments.image[0],
        rms=arguments.rms,
        rms_kind=arguments.rms_kind,
        hdu=parse_hdu(arguments.hdu),
        rms_hdu=parse_hdu(arguments.rms_hdu),
    )


def _segment_whole(field, segmenter, output, overwrite):
    from ..io import write_label_map

    X = _stack(field)
    labels = _ready(segmenter, X).predict(X)[0]
    write_label_map(output, labels, header=field.header, segmenter=segmenter, overwrite=overwrite)
    print(
        f"{int(labels.max())} sources in {labels.shape[0]} x {labels.shape[1]} pixels: wrote {output}."
    )
    return labels


def _segment_tiles(field, segmenter, output, arguments, tile_size):
    """Segment in bounded memory; a method that learns does so from the middle of the field."""
    from ..mosaic import segment_mosaic

    middle = [
        slice(max(0, (side - tile_size) // 2), min(side, (side + tile_size) // 2))
        for side in field.shape
    ]
    if not _is_fitted(segmenter):
        segmenter.fit(_stack(field.section(*middle)))
    options = {
        "n_jobs": arguments.n_jobs,
        "resume": arguments.resume,
        "overwrite": arguments.overwrite,
    }
    rms = True if field.has_rms else None
    segment_mosaic(segmenter, field, rms=rms, output=output, tile_size=tile_size, **options)
    height, width = field.shape
    print(f"Segmented {height} x {width} pixels in tiles: wrote {output}.")
    return output


def _measure(field, labels, arguments):
    from ..catalog import source_catalog, write_catalog, write_regions

    rms = True if field.has_rms else None
    catalog = source_catalog(
        labels, field, rms=rms, background="mesh", zero_point=arguments.zero_point
    )
    writers = (arguments.catalog, write_catalog), (arguments.regions, write_regions)
    for path, write in writers:
        if path:
            write(path, catalog, overwrite=arguments.overwrite)
            print(f"{len(catalog)} sources measured: wrote {path}.")


def parse_hdu(text):
    """Extension number or name as FITS readers take it."""
    return int(text) if text is not None and text.lstrip("-").isdigit() else text


def _ready(segmenter, X):
    return segmenter if _is_fitted(segmenter) else segmenter.fit(X)


def _is_fitted(segmenter):
    """Whether a segmenter works as it is: it learns nothing, or was trained before."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(segmenter)
    except NotFittedError:
        return False
    return True


def _load(arguments):
    """Read a trained segmenter, or a pipeline that ends in one."""
    from ..persistence import load

    if arguments.set:
        raise ValueError(
            "--set changes a --method; a --model has its parameters in its file. Give one of the two."
        )
    return load(arguments.model)


def _untrained(arguments, *, with_rms):
    segmenter = make_segmenter(arguments.method, arguments.set, with_rms=with_rms)
    if segmenter._requires_y and not _is_fitted(segmenter):
        hint = " or --set weights=vis" if "weights" in segmenter.get_params() else ""
        raise ValueError(
            f"{type(segmenter).__name__} has to be trained with a truth first: pass --model FILE{hint}."
        )
    return segmenter


def make_segmenter(method, settings, *, with_rms):
    """Make the segmenter of a method's name, with ``NAME=VALUE`` settings."""
    from .._utils.discovery import all_estimators

    methods = {
        name.removesuffix("Segmenter").lower(): one for name, one in all_estimators("segmenter")
    }
    if method not in methods:
        raise ValueError(
            f"--method must be one of {', '.join(sorted(methods))}. Got {method!r} instead."
        )
    segmenter = methods[method]()
    allowed = segmenter.get_params()
    parameters = {"rms_band": -1} if with_rms and "rms_band" in allowed else {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in allowed:
            raise ValueError(
                f"--set takes NAME=VALUE, NAME one of {', '.join(sorted(allowed))}. Got {setting!r} instead."
            )
        parameters[name] = _parse_value(value)
    return segmenter.set_params(**parameters)


def _parse_value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a bare word is a string
        return text


def _stack(field):
    """One image with its bands, the RMS map last where there is one."""
    from .._utils.rms import append_rms

    return append_rms(field.image, field.rms)[None]


def _default_output(image):
    path = Path(image)
    stem = path.name.split(".fit")[0] or path.stem
    return path.with_name(f"{stem}_segmentation.fits")


def _draw(field, labels, picture):
    import matplotlib

    matplotlib.use("agg")
    from ..display import SegmentationDisplay
    from ..io import read_label_map

    if isinstance(labels, Path):
        labels = read_label_map(labels)
    shown = SegmentationDisplay.from_predictions(None, labels, image=field.image)
    shown.figure_.savefig(picture, dpi=130)
