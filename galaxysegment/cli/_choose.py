"""Make or read the segmenter that a command names, and change its parameters."""

import ast
import difflib
from pathlib import Path


def add_method_arguments(parser, *, default, examples):
    """Declare ``--method`` and ``--set``."""
    parser.add_argument(
        "--method",
        default=default,
        help=f"{examples}, …; `galaxysegment methods` lists all ({default})",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the method; may be repeated; `galaxysegment methods METHOD` lists them",
    )


def add_gap_arguments(parser):
    """Declare ``--model``, ``--bridge`` and ``--label-bridge``."""
    parser.add_argument(
        "--model",
        type=Path,
        default=None,
        help="a trained segmenter in a file, instead of --method",
    )
    parser.add_argument(
        "--bridge",
        type=int,
        default=None,
        metavar="PIXELS",
        help="sources may bridge gaps without data, such as bad columns, of up to so many pixels "
        "(32 with photutils, sep and unet; else 0)",
    )
    parser.add_argument(
        "--label-bridge",
        action="store_true",
        help="pixels of such a gap belong to the source; without this they stay 0",
    )


def find_methods(kind="segmenter"):
    """Return the names of all methods, each with a function that returns its class.

    Parameters
    ----------
    kind : {"segmenter", "separator"}, default="segmenter"

    Returns
    -------
    dict of str to callable
    """
    from .._utils.discovery import added_entry_points, load_entry_point, own_classes

    added = added_entry_points(kind)
    methods = {
        name: lambda entry=entry: load_entry_point(entry, kind) for name, entry in added.items()
    }
    suffix = kind.capitalize()
    for name, load in own_classes(kind).items():
        if name.endswith(suffix) and not name.startswith("Base"):
            methods[name.removesuffix(suffix).lower()] = load
    return dict(sorted(methods.items()))


def find_method(name, kind="segmenter"):
    """Return the class of a method."""
    methods = find_methods(kind)
    if name not in methods:
        option = "--method" if kind == "segmenter" else f"--{kind}"
        close = difflib.get_close_matches(name, methods, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"{option} must be one of {', '.join(methods)}. Got {name!r} instead.{hint}"
        )
    return methods[name]()


def make_segmenter(arguments, *, with_rms):
    """Make the segmenter that ``--method`` and ``--set`` describe.

    Parameters
    ----------
    arguments : argparse.Namespace
        Its `parameters` become the names that ``--set`` takes.
    with_rms : bool
        Whether the RMS map is the last band of the images.

    Returns
    -------
    segmenter
    """
    segmenter = find_method(arguments.method)()
    allowed = segmenter.get_params()
    arguments.parameters = tuple(allowed)
    if with_rms and "rms_band" in allowed:
        segmenter.set_params(rms_band=-1)
    return change_parameters(segmenter, arguments.set, "--set", arguments.method)


def change_parameters(estimator, settings, option, method):
    """Set parameters of an estimator from texts such as ``n_sigma=3``."""
    allowed = estimator.get_params()
    parameters = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in allowed:
            raise ValueError(_explain_setting(setting, name, allowed, option, method))
        parameters[name] = parse_value(value)
    return estimator.set_params(**parameters)


def _explain_setting(setting, name, allowed, option, method):
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" Did you mean {close[0]}?" if close and close[0] != name else ""
    return (
        f"{option} takes NAME=VALUE, NAME one of {', '.join(sorted(allowed))}. Got {setting!r} "
        f"instead.{hint} "
        f"`galaxysegment methods {method}` explains them."
    )


def parse_value(text):
    """Read a number, a list, None, … as Python writes it; a bare word is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def is_fitted(segmenter):
    """Whether a segmenter works as it is: it learns nothing, or was trained before."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(segmenter)
    except NotFittedError:
        return False
    return True


def needs_truth(segmenter):
    """Whether a segmenter has to be trained with a truth."""
    from sklearn.utils import get_tags

    return get_tags(segmenter).target_tags.required


def ready_segmenter(arguments, *, with_rms, n_bands=1):
    """Make or read a segmenter that can segment an image without a truth.

    Parameters
    ----------
    arguments : argparse.Namespace
        With `method`, `set` and `model`.
    with_rms : bool
        Whether the RMS map is the last band of the images.
    n_bands : int, default=1
        Bands of the images, without the RMS map.

    Returns
    -------
    segmenter or Pipeline
        Fitted, unless it learns from the image itself.
    """
    if arguments.model:
        return _load(arguments)
    segmenter = make_segmenter(arguments, with_rms=with_rms)
    if is_fitted(segmenter) or not needs_truth(segmenter):
        return segmenter
    return _with_shipped_weights(segmenter, arguments.method, n_bands)


def _load(arguments):
    from ..persistence import load

    if arguments.set:
        raise ValueError(
            "--set changes a --method; a --model has its parameters in its file. Give one of the "
            "two."
        )
    return load(arguments.model)


def _with_shipped_weights(segmenter, method, n_bands):
    from .._utils.shipped import shipped_models

    name = type(segmenter).__name__
    models = shipped_models(name)
    if not models:
        raise ValueError(
            f"{name} has to be trained with a truth first: run `galaxysegment train FIELD "
            f"--method {method} --output "
            "FILE`, then pass --model FILE."
        )
    fitting = [model for model in models if model.any_bands] if n_bands > 1 else []
    name = (fitting or models)[0].name
    print(f"Using the net {name!r} that ships with galaxysegment.")
    return segmenter.set_params(weights=name)


def bridge_gaps(segmenter, bridge, *, label):
    """Set the width of the gaps that sources bridge, of a segmenter or the last step of a pipeline.

    Parameters
    ----------
    segmenter : segmenter or Pipeline
    bridge : int or None
        In pixels; None leaves the segmenter as it is.
    label : bool
        Whether the pixels of a gap belong to the source.
    """
    if bridge is None and not label:
        return
    from ..base._pipelines import pipeline_steps

    last = pipeline_steps(segmenter)[-1]
    if "bridge" not in last.get_params():
        raise ValueError(
            f"{type(last).__name__} cannot bridge gaps: leave --bridge and --label-bridge out, or "
            "fill them with BadPixelFiller first."
        )
    last.set_params(bridge=last.bridge if bridge is None else bridge, label_bridge=label)
    if label and last.bridge == 0:
        raise ValueError(
            "--label-bridge says what becomes of bridged gaps, and none is bridged: pass --bridge "
            "PIXELS too."
        )


def segment_field(field, segmenter, output="labels"):
    """Segment a field as a whole.

    Parameters
    ----------
    field : Field
    segmenter : segmenter or Pipeline
        Fitted to the field first, unless it is fitted.
    output : {"labels", "instances", "panoptic"}, default="labels"

    Returns
    -------
    ndarray of int or Instances
    """
    return segmenter.predict(_fitted_stack(field, segmenter), output=output)[0]


def segment_with_panoptic(field, segmenter):
    """Segment a field as `segment_field` does; return `Instances` and the panoptic map."""
    from ..base._pipelines import predict_with_panoptic

    return predict_with_panoptic(segmenter, _fitted_stack(field, segmenter))[0]


def _fitted_stack(field, segmenter):
    X = stack_field(field, segmenter)
    if not is_fitted(segmenter):
        segmenter.fit(X)
    return X


def stack_field(field, segmenter):
    """Return an image with its bands, and the RMS map last if the segmenter takes it."""
    from ..base._pipelines import takes_rms
    from ..io._inputs import stack

    return stack(field, field.has_rms and takes_rms(segmenter, field.n_bands))[None]
