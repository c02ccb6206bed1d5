"""Say messages of the library in the words of the command line: ``--rms-kind auto``."""

import re

# A value as Python writes it, after the equals sign.
_VALUE = r"=(?P<value>'[^']*'|\"[^\"]*\"|True|False|None|-?[\w.+-]*[\w+])?"
_VERBS = r"(?=\s+(?:must|lists)\b)"


def say_options(text, options, parameters=()):
    """Replace the names of arguments in a message by the options that set them.

    Parameters
    ----------
    text : str
        A message of the library.
    options : dict of str to str
        The option of the command line that sets an argument, by the argument's name.
    parameters : iterable of str, optional
        Parameters of the segmenter, which ``--set`` changes.

    Returns
    -------
    str

    Examples
    --------
    >>> say_options("kind='auto' cannot tell: pass kind= or overwrite=True.", {"kind": "--rms-kind",
    ...             "overwrite": "--overwrite"})
    '--rms-kind auto cannot tell: pass --rms-kind or --overwrite.'
    >>> say_options("It has rms_band=None: set rms_band=-1.", {}, ["rms_band"])
    'It has rms_band=None: pass --set rms_band=-1.'
    """
    for argument, option in options.items():
        text = _say_option(text, argument, option)
    for parameter in parameters:
        # only what a message asks for: "has rms_band=None" tells how things are
        text = re.sub(_start(parameter, "set ") + "=", f"pass --set {parameter}=", text)
        text = re.sub(_start(parameter) + _VERBS, f"--set {parameter}", text)
    return text


def _say_option(text, name, option):
    def say(match):
        value = (match["value"] or "").strip("'\"")
        return option if value in ("", "True") else f"{option} {value}"

    off = option if option.startswith("--no-") else f"without {option}"
    text = re.sub(_start(name, "(?:with )?") + "=False", off, text)
    text = re.sub(_start(name) + _VALUE, say, text)
    return re.sub(_start(name) + _VERBS, option, text)


def _start(name, before=""):
    return rf"(?<![\w.'\"/=-]){before}{re.escape(name)}"
