"""What reading a file came to: a clear error, or a value; everything else is a defect."""

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path


class Defect(AssertionError):  # noqa: N818 - a finding, not an error
    """A file made something happen that must not."""


@dataclass
class Case:
    """A file to read, and what must come of it where that is known."""

    path: Path
    same_as: object = None  # the pixels that reading must give
    must_fail: bool = False
    oracle: bool = (
        False  # whether astropy, where it reads the file without complaint, says the same
    )


def attempt(function, *args, names=(), allowed=(ValueError, OSError), **options):
    """Call a function on a bad file.

    Returns
    -------
    error : exception or None
        A clear one: of an allowed kind, one line, naming the file.
    value : object
        What came back where there is no error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # What users have to be told: the pixels are good and the sky positions are not; nothing
            # was found.
            warnings.filterwarnings("ignore", "The WCS of .* cannot be used", UserWarning)
            warnings.filterwarnings("ignore", "No source was found", UserWarning)
            return None, function(*args, **options)
    except allowed as error:
        _check_message(function, str(error), names, type(error).__name__)
        return error, None
    except Warning as warning:
        raise Defect(f"{_name(function)} warns: {type(warning).__name__}: {warning}") from warning
    except MemoryError as error:
        raise Defect(f"{_name(function)} takes the memory") from error
    except Exception as error:
        raise Defect(f"{_name(function)} raises {type(error).__name__}: {error}") from error


def _name(function):
    return getattr(function, "__qualname__", None) or repr(function)


def _check_message(function, message, names, error):
    if not message.strip():
        raise Defect(f"{_name(function)}: {error} without a word")
    if "\n" in message:
        raise Defect(f"{_name(function)}: {error} of several lines: {message!r}")
    if names and not any(name in message for name in names):
        raise Defect(f"{_name(function)}: {error} names none of {names}: {message!r}")
    if len(message) > 2000:
        raise Defect(f"{_name(function)}: {error} of {len(message)} characters")


def run_command(argv):
    """Run the command line; return its exit status, and raise where it shows a traceback or several
    errors.
    """
    from galaxysegment.cli import main

    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("default")
            status = main([str(word) for word in argv])
    except Exception as error:
        raise Defect(f"galaxysegment {argv[0]} raises {type(error).__name__}: {error}") from error
    lines = [line for line in err.getvalue().splitlines() if ": error: " in line]
    if len(lines) != (1 if status else 0) or (
        status and not lines[0].split(": error: ")[1].strip()
    ):
        raise Defect(f"galaxysegment {argv[0]} ends with {status} and says {err.getvalue()!r}")
    if "MemoryError" in err.getvalue() or "Unable to allocate" in err.getvalue():
        raise Defect(f"galaxysegment {argv[0]} takes the memory: {err.getvalue()!r}")
    return status
