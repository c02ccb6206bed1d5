"""Import packages that only some estimators need, and say what to install if one is missing."""

from importlib import import_module


def require(user, *packages):
    """Import packages.

    Parameters
    ----------
    user : str
        What needs them, for the message.
    *packages : str
        Names of packages, which are also the names that pip knows them by.

    Returns
    -------
    module
        The first of them.

    Raises
    ------
    ImportError
        If one is missing or cannot be imported.

    Examples
    --------
    >>> require("SEPSegmenter", "nothing")
    Traceback (most recent call last):
    ...
    ImportError: SEPSegmenter needs the package nothing, which is not installed: run ...
    """
    modules = [_import(user, package) for package in packages]
    return modules[0]


def without_bar():
    """Options that keep photutils' functions from drawing a progress bar, as a dict.

    From version 3.1 on they draw none, and warn of the option.
    """
    version = import_module("photutils").__version__.split(".")
    return {"progress_bar": False} if tuple(map(int, version[:2])) < (3, 1) else {}


def _import(user, package):
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(
            f"{user} needs the package {package}, which is not installed: run `pip install "
            f"{package}`.",
            name=package,
        ) from error
