"""Simulate a field with exact truth and write it as one FITS file."""

from pathlib import Path


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument("output", type=Path, help="FITS file to write: image, RMS, labels and catalog")
    parser.add_argument("--shape", type=int, nargs=2, default=(1024, 1024), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--bands", choices=("r", "grz"), default="r", help="bands to simulate (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def run(arguments):
    """Simulate and write."""
    from ..datasets import make_field

    if arguments.output.exists() and not arguments.overwrite:
        raise FileExistsError(f"{arguments.output} exists: choose another name, or pass --overwrite.")
    field = make_field(tuple(arguments.shape), bands=arguments.bands, random_state=arguments.seed)
    field.write(arguments.output, overwrite=arguments.overwrite)
    print(
        f"Wrote {arguments.output}: {int(field.labels.max())} sources in {field.shape[-2]} x {field.shape[-1]} pixels."
    )
