"""The command line: ``galaxysegment demo | simulate | train | segment | evaluate``, one private file each."""

import argparse
import sys
import warnings
from collections.abc import Sequence

from .. import __version__
from . import _demo, _evaluate, _segment, _simulate, _train

__all__ = ["main"]

_COMMANDS = {
    "demo": _demo,
    "simulate": _simulate,
    "train": _train,
    "segment": _segment,
    "evaluate": _evaluate,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0, or 1 after an error, which is one line on the standard error stream.
    """
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments.run(arguments)
    except (OSError, ValueError, TypeError, ImportError, MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"galaxysegment {arguments.command}: error: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        resume = " --resume goes on with a run in tiles." if hasattr(arguments, "resume") else ""
        print(
            f"galaxysegment {arguments.command}: interrupted; no output is unfinished.{resume}",
            file=sys.stderr,
        )
        return 130
    return 0


def _show_warning(message, category, *_):
    print(f"galaxysegment: {category.__name__}: {message}", file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(
        prog="galaxysegment", description="Find and separate galaxies in astronomical images."
    )
    parser.add_argument("--version", action="version", version=f"galaxysegment {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        summary = module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
