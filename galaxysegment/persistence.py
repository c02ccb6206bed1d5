"""Keep a fitted segmenter or pipeline in one file, without pickle.

The file is a safetensors file. Arrays and the weights of nets are tensors; class names and
parameters are JSON in its header. Loading looks classes up in a fixed list and runs no code from
the file: a model from a stranger can do no harm.
"""

import inspect
import os
from pathlib import Path, PurePath
from typing import Any

from sklearn.pipeline import Pipeline

from ._utils.discovery import persistent_class, persistent_name
from ._utils.model_file import DAMAGE, KIND, one_line, read_model_file, write_model_file
from ._utils.sklearn_state import supported_models

__all__ = ["load", "save"]

_MOST_WORKERS = 64


def save(estimator: Any, path: str | Path) -> None:
    """Write a segmenter, a transformer or a pipeline of them to one file.

    Parameters
    ----------
    estimator : estimator of galaxysegment, or `sklearn.pipeline.Pipeline` of such estimators
        Fitted or not.
    path : str or path
        Where to write; the usual ending is ``.safetensors``. An existing file is replaced once the
        new file is complete: an interrupted or failed write leaves it as it was.

    Raises
    ------
    TypeError
        If the estimator, or an estimator inside it, is not of galaxysegment and its class does not
        ask to be kept by ``_in_model_files = True``, or if a parameter holds an object (a callback,
        a class) that JSON cannot express.
    OSError
        If there is no space or no permission; nothing is left behind.

    See Also
    --------
    load : The way back.

    Examples
    --------
    >>> import tempfile
    >>> from galaxysegment.persistence import load, save
    >>> from galaxysegment.preprocessing import GaussianSmoother
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(GaussianSmoother(fwhm=2.5), f"{folder}/smoother.safetensors")
    ...     load(f"{folder}/smoother.safetensors")
    GaussianSmoother(fwhm=2.5)
    """
    if not _is_estimator(estimator):
        raise TypeError(
            "estimator must be a segmenter, a transformer or a Pipeline. "
            f"Got {type(estimator).__name__} instead."
        )
    write_model_file(path, _encode(estimator))


def load(path: str | Path) -> Any:
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    estimator
        It predicts what the saved estimator predicts. A net runs on the device that its `device`
        parameter names on this machine. ``n_jobs`` of more than 64, and more than this machine has
        cores, becomes -1: one worker for each core.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, of another program, of a newer version, or names a class that is not
        allowed.

    See Also
    --------
    save : The way there, with an example.
    """
    tree = read_model_file(path)
    try:
        return _decode_object(tree)
    except DAMAGE as error:
        raise ValueError(
            f"{str(path)!r} cannot be loaded ({type(error).__name__}: {one_line(error)}): it is "
            "damaged, or was written by another version of galaxysegment; write it anew with this "
            "version."
        ) from error


def _is_estimator(value):
    return not inspect.isclass(value) and hasattr(value, "get_params") and hasattr(value, "fit")


def _encode(value):
    """Tree of a value in which every estimator is an object node."""
    if _is_estimator(value):
        return _encode_estimator(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_encode(item) for item in value])
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    return str(value) if isinstance(value, PurePath) else value


def _encode_estimator(estimator):
    name = type(estimator).__name__
    own_name = persistent_name(type(estimator))
    if type(estimator) is Pipeline:
        state = None
    elif own_name is not None and type(estimator) is persistent_class(own_name):
        name, state = own_name, _encode(_own_state(estimator))
    elif type(estimator) is supported_models().get(name, [None])[0]:
        state = supported_models()[name][1](estimator)
    else:
        raise TypeError(
            "A model file holds estimators of galaxysegment and pipelines of them, but not "
            f"{type(estimator)!r}: take it out of the pipeline, or keep the pipeline with "
            "joblib.dump. A class of another package is kept if an entry point of the group "
            "'galaxysegment.segmenters' names it and it says _in_model_files = True."
        )
    params = _encode(estimator.get_params(deep=False))
    return {KIND: "object", "class": name, "params": params, "state": state}


def _own_state(estimator):
    """Fitted attributes: what the class says (``_get_model_state``) or all public ones."""
    if hasattr(estimator, "_get_model_state"):
        return estimator._get_model_state() if estimator.__sklearn_is_fitted__() else None
    return {name: value for name, value in vars(estimator).items() if _is_fitted_name(name)}


def _is_fitted_name(name):
    return name.endswith("_") and not name.startswith("_")


def _decode(node):
    if isinstance(node, dict) and node.get(KIND) == "object":
        return _decode_object(node)
    if isinstance(node, (list, tuple)):
        return type(node)([_decode(item) for item in node])
    if isinstance(node, dict):
        return {key: _decode(item) for key, item in node.items()}
    return node


def _decode_object(node):
    name, params, state = node["class"], _limited(_decode(node["params"])), node["state"]
    if name == "Pipeline":
        return _make_pipeline(params)
    if name in supported_models():
        cls, _, write = supported_models()[name]
        model = cls(**params)
        write(model, state)
        return model
    cls = persistent_class(name)
    if cls is None:
        hint = f"; is the package {name.split('.')[0]} installed?" if "." in name else ""
        raise ValueError(f"the class {name!r} is not one that a model file may hold{hint}")
    estimator = cls(**params)
    if state is not None:
        _set_own_state(estimator, _decode(state))
    return estimator


def _limited(params):
    """Take one worker for each core instead of a number of workers that no machine starts."""
    n_jobs = params.get("n_jobs")
    if isinstance(n_jobs, int) and n_jobs > max(_MOST_WORKERS, os.cpu_count() or 1):
        return {**params, "n_jobs": -1}
    return params


def _make_pipeline(params):
    """Make a pipeline without a cache, which would hold pickles in a folder named by the file."""
    for name, step in params["steps"]:
        if not isinstance(name, str) or not (
            step is None or step == "passthrough" or _is_estimator(step)
        ):
            raise ValueError(f"{step!r} is no step of a pipeline")
    return Pipeline(**{**params, "memory": None})


def _set_own_state(estimator, state):
    if hasattr(estimator, "_set_model_state"):
        estimator._set_model_state(state)
        return
    for name, value in state.items():
        if not _is_fitted_name(name) or hasattr(type(estimator), name):
            raise ValueError(f"{name!r} is no fitted attribute of {type(estimator).__name__}")
        setattr(estimator, name, value)
