"""The command line ``galaxysegment``, a private file for each command."""

import argparse
import atexit
import gc
import os
import sys
import warnings
from collections.abc import Sequence

from .. import __version__
from . import (
    _catalog,
    _demo,
    _evaluate,
    _methods,
    _models,
    _report,
    _segment,
    _separate,
    _simulate,
    _train,
)
from ._words import say_options

__all__ = ["main"]

_COMMANDS = {
    "demo": _demo,
    "simulate": _simulate,
    "train": _train,
    "segment": _segment,
    "separate": _separate,
    "catalog": _catalog,
    "report": _report,
    "evaluate": _evaluate,
    "methods": _methods,
    "models": _models,
}
_INTERRUPTED = 130  # exit status of a command that Ctrl-C ended, as shells have it
_UNREAD = 141  # that of a command whose output nobody reads any more
_AFTER_INTERRUPT = "files that were written are complete."


def _spare_garbage():
    """Let Python end without a search through all objects, which takes 0.5 s with numba.

    Torch's triton reports what is not collected then as leaks.
    """
    if "torch" not in sys.modules:
        gc.freeze()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; by default the arguments of the process.

    Returns
    -------
    int
        0; 1 after an error, which is one line on the standard error stream; 130 after Ctrl-C; or
        141 if the program that reads the output ends.
    """
    if argv is None:  # the process ends after this
        atexit.register(_spare_garbage)
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, category, *_: _tell(
                arguments, category.__name__, message
            )
            arguments.run(arguments)
            sys.stdout.flush()
    except BrokenPipeError:  # the program that reads the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _UNREAD
    except (OSError, ValueError, TypeError, ImportError, MemoryError, RuntimeError) as error:
        _tell(arguments, "error", " ".join(str(error).split()) or type(error).__name__)
        return 1
    except KeyboardInterrupt as interrupt:
        _tell(
            arguments,
            "interrupted",
            " ".join(map(str, interrupt.args)) or arguments.after_interrupt,
        )
        return _INTERRUPTED
    return 0


def _tell(arguments, what, message):
    """Print one line about an error or a warning, in the words of the command line."""
    text = say_options(str(message), arguments.words, arguments.parameters)
    print(f"galaxysegment {arguments.command}: {what}: {text}", file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(
        prog="galaxysegment", description="Find and separate galaxies in astronomical images."
    )
    parser.add_argument("--version", action="version", version=f"galaxysegment {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        summary = module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(
            run=module.run, words={}, parameters=(), after_interrupt=_AFTER_INTERRUPT
        )
        module.add_arguments(command)
    return parser
