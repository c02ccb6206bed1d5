"""Simulate a field with exact truth and write it as one FITS file."""

from pathlib import Path

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
        "--n-jobs", type=int, default=1, help="processes; -1: one a core (%(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def run(arguments):
    """Simulate and write: block by block where the field is large."""
    from ..datasets import make_field, write_field

    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(
            f"{arguments.output} exists: choose another name, or pass --overwrite."
        )
    shape = tuple(arguments.shape)
    options = {"bands": arguments.bands, "random_state": arguments.seed, "n_jobs": arguments.n_jobs}
    if min(shape) > _LARGEST_SIDE:
        write_field(arguments.output, shape, overwrite=arguments.overwrite, **options)
        print(f"Wrote {arguments.output}: {shape[0]} x {shape[1]} pixels.")
        return
    field = make_field(shape, **options)
    field.write(arguments.output, overwrite=arguments.overwrite)
    print(
        f"Wrote {arguments.output}: {int(field.labels.max())} sources in {shape[0]} x {shape[1]} pixels."
    )
