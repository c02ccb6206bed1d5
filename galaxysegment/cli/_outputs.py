"""Check, before any work, the files that a command is asked to write."""

from .._utils.paths import check_paths


def check_outputs(inputs, outputs, *, overwrite, endings=None):
    """Refuse outputs that a command cannot write or must not replace.

    Parameters
    ----------
    inputs, outputs : dict of str to path, list of paths or None
        Files by the option that the user gave them with.
    overwrite : bool
        Whether outputs may replace files that exist.
    endings : dict of str to sequence of str, optional
        Endings that an output may have, by option; others may have any.

    Raises
    ------
    ValueError
        If an output is an input or another output, or its name has another ending.
    FileNotFoundError, IsADirectoryError, FileExistsError
        If there is no folder for it, it is a folder itself, or it exists and `overwrite` is False.
    """
    outputs = {option: path for option, path in outputs.items() if path is not None}
    check_paths(inputs, outputs)
    for option, path in outputs.items():
        allowed = tuple((endings or {}).get(option, ()))
        if allowed and not path.name.lower().endswith(allowed):
            raise ValueError(f"{option} must end in {', '.join(allowed)}. Got {path} instead.")
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"There is no folder {path.parent} to write {path.name} to: make it first."
            )
        if path.is_dir():
            raise IsADirectoryError(f"{option} must be a file, but {path} is a folder.")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists: choose another name, or pass --overwrite.")


def picture_endings():
    """Endings of the pictures that matplotlib writes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return [f".{ending}" for ending in sorted(FigureCanvasAgg.get_supported_filetypes())]
