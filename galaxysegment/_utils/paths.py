"""Files to be written, before any work: they replace no input, and the disk has room."""

import os
from pathlib import Path


def check_paths(inputs, outputs):
    """Refuse to write a file over an input, or two outputs into one file.

    Links are followed, hard links included. Files that do not exist yet are compared by their
    resolved paths.

    Parameters
    ----------
    inputs, outputs : dict of str to path, list of paths, or anything else
        Paths by the name of the user's argument. Values that are no paths, such as arrays and None,
        are ignored.

    Raises
    ------
    ValueError
        If an output is an input, or another output.

    Examples
    --------
    >>> check_paths({"image": "a.fits"}, {"output": "a.fits"})
    Traceback (most recent call last):
    ...
    ValueError: output (a.fits) is the same file as image (a.fits), which must not be overwritten:
    choose another path.
    """
    written = []
    for name, path in _named_paths(outputs):
        for other_name, other in _named_paths(inputs):
            if is_same_file(path, other):
                raise ValueError(
                    f"{name} ({path}) is the same file as {other_name} ({other}), which must not "
                    "be overwritten: choose another path."
                )
        for other_name, other in written:
            if is_same_file(path, other):
                raise ValueError(
                    f"{name} ({path}) is the same file as {other_name} ({other}): give each its "
                    "own path."
                )
        written.append((name, path))


def reserve_space(file, offset, n_bytes):
    """Have the disk keep room in an open file, so that a full disk shows before work is done.

    Systems without such a call, as Windows, show it when the file is written.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), offset, n_bytes)


def is_same_file(path, other):
    """Whether two paths lead to one file, which need not exist yet."""
    path, other = Path(path), Path(other)
    if path.exists() and other.exists():
        return path.samefile(other)
    return _resolve(path) == _resolve(other)


def _resolve(path):
    # normcase: on Windows A.fits and a.fits are one file
    return os.path.normcase(os.path.realpath(path))


def _named_paths(named):
    for name, value in named.items():
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, str | os.PathLike):
                yield name, Path(part)
