"""Segment an image and write its label map with the image's WCS."""

import ast
from pathlib import Path

import numpy as np


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument("image", nargs="+", help="FITS image; several files are bands of one field")
    parser.add_argument(
        "--hdu", default=None, help="extension of the image, by number or name (first image by default)"
    )
    parser.add_argument("--rms", default=None, help="FITS file with the RMS, variance or weight map")
    parser.add_argument("--rms-hdu", default=None, help="extension of that map, by number or name")
    parser.add_argument(
        "--rms-kind", choices=("rms", "variance", "weight", "auto"), default="auto", help="what it holds (%(default)s)"
    )
    parser.add_argument(
        "--method", default="photutils", help="a segmenter that needs no training: photutils, kmeans, … (%(default)s)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="parameter of the method; may be repeated"
    )
    parser.add_argument("--output", type=Path, default=None, help="FITS file to write (<image>_segmentation.fits)")
    parser.add_argument("--picture", type=Path, default=None, help="also draw image and sources into this file")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(arguments):
    """Read, segment, write."""
    from ..io import read_field, write_label_map

    output = arguments.output or _default_output(arguments.image[0])
    for path in filter(None, (output, arguments.picture)):
        if path.exists() and not arguments.overwrite:
            raise FileExistsError(f"{path} exists: choose another name, or pass --overwrite.")
    segmenter = _make_segmenter(arguments.method, arguments.set, with_rms=arguments.rms is not None)
    field = read_field(
        arguments.image if len(arguments.image) > 1 else arguments.image[0],
        rms=arguments.rms,
        rms_kind=arguments.rms_kind,
        hdu=parse_hdu(arguments.hdu),
        rms_hdu=parse_hdu(arguments.rms_hdu),
    )
    X = _stack(field)
    labels = segmenter.fit(X).predict(X)[0]
    write_label_map(output, labels, header=field.header, segmenter=segmenter, overwrite=arguments.overwrite)
    print(f"{int(labels.max())} sources in {labels.shape[0]} x {labels.shape[1]} pixels: wrote {output}.")
    if arguments.picture:
        _draw(field, labels, arguments.picture)


def parse_hdu(text):
    """Extension number or name as FITS readers take it."""
    return int(text) if text is not None and text.lstrip("-").isdigit() else text


def _methods():
    """Segmenters that need no truth, by the name used on the command line."""
    from .._utils.discovery import all_estimators

    found = all_estimators("segmenter")
    return {name.removesuffix("Segmenter").lower(): one for name, one in found if not one._requires_y}


def _make_segmenter(method, settings, *, with_rms):
    methods = _methods()
    if method not in methods:
        raise ValueError(f"--method must be one of {', '.join(sorted(methods))}. Got {method!r} instead.")
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
    image = field.image
    if field.rms is None:
        return image[None]
    rms = field.rms if field.rms.ndim == 3 else field.rms[None]
    if len(rms) > 1:
        # The detection image is a mean over bands, so its noise adds in quadrature.
        rms = np.sqrt(np.mean(rms**2, axis=0, keepdims=True))
    return np.concatenate([image, rms.astype(image.dtype)])[None]


def _default_output(image):
    path = Path(image)
    stem = path.name.split(".fit")[0] or path.stem
    return path.with_name(f"{stem}_segmentation.fits")


def _draw(field, labels, picture):
    import matplotlib

    matplotlib.use("agg")
    from ..display import SegmentationDisplay

    shown = SegmentationDisplay.from_predictions(None, labels, image=field.image)
    shown.figure_.savefig(picture, dpi=130)
