"""Train a segmenter on fields with a truth and keep it in one file."""

from pathlib import Path

import numpy as np

from ._choose import add_method_arguments, is_fitted, make_segmenter
from ._inputs import READ_WORDS, add_mask_arguments, mask_options
from ._outputs import check_outputs


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument(
        "field",
        nargs="+",
        help="FITS file with image, labels and, at best, RMS map: as simulate writes",
    )
    parser.add_argument("--output", type=Path, required=True, help="model file to write")
    add_method_arguments(parser, default="unet", examples="unet, randomforest, kmeans")
    parser.add_argument(
        "--patch-size", type=int, default=256, help="side of the training patches (%(default)s)"
    )
    add_mask_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.set_defaults(words={**READ_WORDS, "size": "--patch-size", "overwrite": "--overwrite"})


def run(arguments):
    """Read patches, fit, save."""
    from ..base._pipelines import takes_rms
    from ..io import read_field
    from ..persistence import save

    inputs = {"field": arguments.field}
    check_outputs(inputs, {"--output": arguments.output}, overwrite=arguments.overwrite)
    options = mask_options(arguments)
    fields = [read_field(path, **options) for path in arguments.field]
    with_rms = all(field.has_rms for field in fields)
    segmenter = make_segmenter(arguments, with_rms=with_rms)
    with_rms = with_rms and takes_rms(segmenter, fields[0].n_bands)
    X, y = _read_patches(fields, arguments, with_rms)
    if "verbose" in segmenter.get_params():
        segmenter.set_params(verbose=True)
    print(
        f"Training {type(segmenter).__name__} on {len(X)} patches of {X.shape[-2]} x "
        f"{X.shape[-1]} pixels.",
        flush=True,
    )
    _fit(segmenter, X, y, arguments.output)
    save(segmenter, arguments.output)
    print(f"Wrote {arguments.output}: galaxysegment segment IMAGE --model {arguments.output}")


def _fit(segmenter, X, y, output):
    """Fit; after Ctrl-C keep the best weights so far in a file of another name."""
    from ..persistence import save

    try:
        segmenter.fit(X, y)
    except KeyboardInterrupt as interrupt:
        if not _has_learnt(segmenter):
            raise KeyboardInterrupt("before there was anything to keep.") from interrupt
        unfinished = unfinished_path(output)
        save(segmenter, unfinished)
        go_on = (
            f" To train on from there, pass --set weights={unfinished}."
            if "weights" in segmenter.get_params()
            else ""
        )
        raise KeyboardInterrupt(
            f"{output} was not written; {unfinished} keeps the best weights so far.{go_on}"
        ) from interrupt


def _has_learnt(segmenter):
    """Whether an interrupted `fit` got anywhere; a net did after its first epoch."""
    if "max_epochs" in segmenter.get_params():
        return len(getattr(segmenter, "history_", ())) > 0
    return is_fitted(segmenter)


def unfinished_path(output):
    """Return the name of the file that keeps an interrupted training.

    Examples
    --------
    >>> from pathlib import Path
    >>> unfinished_path(Path("model.safetensors")).name
    'model.unfinished.safetensors'
    """
    return output.with_name(f"{output.stem}.unfinished{output.suffix}")


def _read_patches(fields, arguments, with_rms):
    for path, field in zip(arguments.field, fields, strict=True):
        if not field.has_labels:
            raise ValueError(
                f"{path} has no truth: give a file with an extension LABELS, as galaxysegment "
                "simulate writes."
            )
    patches = [field.patches(size=arguments.patch_size, rms=with_rms) for field in fields]
    return np.concatenate([X for X, _ in patches]), np.concatenate([y for _, y in patches])
