"""List the segmenters that --method takes, or the parameters that --set takes."""

import inspect
import re
import textwrap

from ._choose import find_method, find_methods, is_fitted, needs_truth

_WIDTH = 100


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument(
        "name", nargs="?", default=None, help="name of a method, to list its parameters"
    )


def run(arguments):
    """Print a table of the methods, or the parameters of a method."""
    if arguments.name is not None:
        _print_parameters(find_method(arguments.name), arguments.name)
        return
    print(f"{'method':<14}{'learns from':<22}{'what it is'}")
    for name, load in find_methods().items():
        try:
            segmenter = load()
        except (ImportError, TypeError) as error:
            print(f"{name:<14}{'(cannot be used)':<22}{error}")
            continue
        print(f"{name:<14}{_learns_from(segmenter()):<22}{_summary(segmenter)}")
    print("\ngalaxysegment methods METHOD lists the parameters that --set takes.")


def _learns_from(segmenter):
    from .._utils.shipped import shipped_models

    if needs_truth(segmenter):
        names = [model.name for model in shipped_models(type(segmenter).__name__)]
        return f"truth; ships {', '.join(names)}" if names else "truth"
    return "nothing" if is_fitted(segmenter) else "the image"


def _summary(segmenter):
    return (inspect.getdoc(segmenter) or "").split("\n\n")[0].replace("\n", " ")


def _print_parameters(segmenter, name):
    print(f"{segmenter.__name__}: {_summary(segmenter)}\n")
    print("Parameters that --set takes, with their defaults:")
    texts = parameter_texts(segmenter)
    for parameter, default in segmenter().get_params().items():
        print(f"\n  {parameter}={default}")
        text = texts.get(parameter, "")
        if text:
            print(textwrap.fill(text, _WIDTH, initial_indent="      ", subsequent_indent="      "))
    print(f"\nExample: galaxysegment segment IMAGE --method {name} --set {_example(segmenter)}")


def _example(segmenter):
    name, default = next(iter(segmenter().get_params().items()), ("NAME", "VALUE"))
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
