"""List the segmenters and separators, or the parameters of a method."""

import inspect
import re
import textwrap

from ._choose import find_method, find_methods, is_fitted, needs_truth

_WIDTH = 100
_OPTIONS = {
    "segmenter": ("segment", "--method", "--set"),
    "separator": ("separate", "--separator", "--set-separator"),
}


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument(
        "name", nargs="?", default=None, help="name of a method, to list its parameters"
    )


def run(arguments):
    """Print a table of the methods, or the parameters of a method."""
    if arguments.name is not None:
        # "unet" is a segmenter and a separator
        kinds = [kind for kind in _OPTIONS if arguments.name in find_methods(kind)]
        for index, kind in enumerate(kinds or ["segmenter"]):
            print("\n" * bool(index), end="")
            _print_parameters(find_method(arguments.name, kind), arguments.name, kind)
        return
    print(f"{'method':<14}{'learns from':<22}{'what it is'}")
    _print_methods("segmenter")
    print(f"\n{'separator':<14}{'learns from':<22}{'what it is'}")
    _print_methods("separator")
    print("\ngalaxysegment methods METHOD lists the parameters that --set takes.")


def _print_methods(kind):
    for name, load in find_methods(kind).items():
        try:
            method = load()
        except (ImportError, TypeError) as error:
            print(f"{name:<14}{'(cannot be used)':<22}{error}")
            continue
        print(f"{name:<14}{_learns_from(method()):<22}{_summary(method)}")


def _learns_from(segmenter):
    from .._utils.shipped import shipped_models

    if needs_truth(segmenter):
        names = [model.name for model in shipped_models(type(segmenter).__name__)]
        return f"truth; ships {', '.join(names)}" if names else "truth"
    return "nothing" if is_fitted(segmenter) else "the image"


def _summary(segmenter):
    return (inspect.getdoc(segmenter) or "").split("\n\n")[0].replace("\n", " ")


def _print_parameters(method, name, kind):
    command, option, setting = _OPTIONS[kind]
    print(f"{method.__name__}: {_summary(method)}\n")
    print(f"Parameters that {setting} takes, with their defaults:")
    texts = parameter_texts(method)
    for parameter, default in method().get_params().items():
        print(f"\n  {parameter}={default}")
        text = texts.get(parameter, "")
        if text:
            print(textwrap.fill(text, _WIDTH, initial_indent="      ", subsequent_indent="      "))
    print(f"\nExample: galaxysegment {command} IMAGE {option} {name} {setting} {_example(method)}")


def _example(method):
    name, default = next(iter(method().get_params().items()), ("NAME", "VALUE"))
    return f"{name}={default}"


def parameter_texts(estimator):
    """Read what a docstring says of each parameter.

    Parameters
    ----------
    estimator : type
        A class with a numpydoc docstring.

    Returns
    -------
    dict of str to str
        Description by the name of the parameter, as one line.
    """
    sections = re.split(r"\n([A-Z][\w ]*)\n-{3,}\n", inspect.getdoc(estimator) or "")
    names = dict(zip(sections[1::2], sections[2::2], strict=True))
    texts, current = {}, []
    for line in names.get("Parameters", "").splitlines():
        if line and not line.startswith(" "):
            current = [name.strip() for name in line.split(" : ")[0].split(",")]
            texts.update(dict.fromkeys(current, ""))
        else:
            for name in current:
                texts[name] = f"{texts[name]} {line.strip()}".strip().replace("``", "")
    return texts
