"""Train a segmenter on fields with a truth and keep it in one file."""

from pathlib import Path

import numpy as np


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument(
        "field",
        nargs="+",
        help="FITS file with image, labels and, at best, RMS map: as simulate writes",
    )
    parser.add_argument("--output", type=Path, required=True, help="model file to write")
    parser.add_argument(
        "--method", default="unet", help="unet, randomforest, kmeans, … (%(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the method; may be repeated",
    )
    parser.add_argument(
        "--patch-size", type=int, default=256, help="side of the training patches (%(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def run(arguments):
    """Read patches, fit, save."""
    from ..io import read_field
    from ..persistence import save
    from ._segment import make_segmenter

    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(
            f"{arguments.output} exists: choose another name, or pass --overwrite."
        )
    fields = [read_field(path) for path in arguments.field]
    with_rms = all(field.has_rms for field in fields)
    segmenter = make_segmenter(arguments.method, arguments.set, with_rms=with_rms)
    X, y = _read_patches(fields, arguments, with_rms)
    if "verbose" in segmenter.get_params():
        segmenter.set_params(verbose=True)
    print(
        f"Training {type(segmenter).__name__} on {len(X)} patches of {X.shape[-2]} x {X.shape[-1]} pixels.",
        flush=True,
    )
    save(segmenter.fit(X, y), arguments.output)
    print(f"Wrote {arguments.output}: galaxysegment segment IMAGE --model {arguments.output}")


def _read_patches(fields, arguments, with_rms):
    for path, field in zip(arguments.field, fields, strict=True):
        if not field.has_labels:
            raise ValueError(
                f"{path} has no truth: give a file with an extension LABELS, as galaxysegment simulate writes."
            )
    patches = [field.patches(size=arguments.patch_size, rms=with_rms) for field in fields]
    return np.concatenate([X for X, _ in patches]), np.concatenate([y for _, y in patches])
