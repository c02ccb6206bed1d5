"""Simulate a field with exact truth and write it to a FITS file."""

from pathlib import Path

from ._outputs import check_outputs

_LARGEST_SIDE = 4096  # of a field that is made as a whole, overlapping instances included


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument(
        "output", type=Path, help="FITS file to write: image, RMS, labels and catalog"
    )
    parser.add_argument(
        "--shape", type=int, nargs=2, default=(1024, 1024), metavar=("HEIGHT", "WIDTH")
    )
    parser.add_argument(
        "--bands", choices=("r", "grz"), default="r", help="bands to simulate (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the random numbers (%(default)s)"
    )
    parser.add_argument(
        "--n-jobs", type=int, default=1, help="processes; -1: one per core (%(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.set_defaults(
        words={
            "random_state": "--seed",
            "n_jobs": "--n-jobs",
            "shape": "--shape",
            "overwrite": "--overwrite",
        }
    )


def run(arguments):
    """Simulate and write, block by block if the field is large."""
    from ..datasets import make_field, write_field
    from ..io._write import FITS_ENDINGS

    shape = tuple(arguments.shape)
    streamed = min(shape) > _LARGEST_SIDE
    endings = {"output": [".fits"] if streamed else FITS_ENDINGS}
    check_outputs({}, {"output": arguments.output}, overwrite=arguments.overwrite, endings=endings)
    options = {"bands": arguments.bands, "random_state": arguments.seed, "n_jobs": arguments.n_jobs}
    if streamed:
        write_field(arguments.output, shape, overwrite=arguments.overwrite, **options)
        print(f"Wrote {arguments.output}: {shape[0]} x {shape[1]} pixels.")
        return
    field = make_field(shape, **options)
    field.write(arguments.output, overwrite=arguments.overwrite)
    print(
        f"Wrote {arguments.output}: {int(field.labels.max())} sources in {shape[0]} x {shape[1]} "
        "pixels."
    )
