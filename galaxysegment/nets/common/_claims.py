"""Check that the weights in a file fit the net that it describes, before memory is taken for it."""

import json

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["check_claims", "without_downloads"]

_SPARE = (
    2**22
)  # values; layers that are made and thrown away again, such as the classifier of a residual net
_CALLS_PER_TENSOR, _SPARE_CALLS = (
    40,
    1000,
)  # the nets of this package and of transformers take ten or fewer
_COUNTS = ("n_bands", "n_classes")  # transformers keeps a name for each class
_COMPILED = "_orig_mod."  # what torch.compile puts before the names


def check_claims(module, params, tensors):
    """Refuse parameters of a module that do not fit the weights that a file holds beside them.

    The module is built on torch's meta device, where tensors have shapes but no memory: what a
    forged file can take is of the order of its own size.

    Parameters
    ----------
    module : type
        Class of the torch module.
    params : dict
        Its arguments.
    tensors : dict of str to ndarray
        Weights by name.

    Raises
    ------
    ValueError
        If a weight is missing, is too much or has another shape; if the module would be far larger
        than the file.
    """
    size = sum(tensor.size for tensor in tensors.values())
    _check_counts(params, size)
    limits = _Limits(size + _SPARE, _CALLS_PER_TENSOR * len(tensors) + _SPARE_CALLS)
    with torch.device("meta"), limits:
        built = module(**params)
    wanted = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    held = {name.removeprefix(_COMPILED): tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in [*wanted, *held]:
        if wanted.get(name) != held.get(name):
            raise ValueError(
                f"The weights {name!r} {_shape_in('the file', held.get(name))}, but "
                f"{_shape_in('the net of its parameters', wanted.get(name))}: they must agree."
            )


def without_downloads(params):
    """Return arguments whose configuration asks for no pretrained backbone."""
    if params.get("config") is None:
        return params
    return {**params, "config": json.dumps(_own_weights_only(json.loads(params["config"])))}


def _own_weights_only(node):
    if isinstance(node, list):
        return [_own_weights_only(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _own_weights_only(value) for key, value in node.items()}
    return changed | dict.fromkeys(node.keys() & {"use_pretrained_backbone"}, False)


def _check_counts(params, size):
    """Refuse numbers that Python would count to: each class and band has a weight at least."""
    for name in _COUNTS:
        if params.get(name) is None:  # any number, or not a parameter of the net
            continue
        if not (type(params[name]) is int and 1 <= params[name] <= size):
            raise ValueError(
                f"The net's {name} is {params[name]!r}, but the file holds {size} weights in all."
            )
    total = sum(_whole_numbers(json.loads(params.get("config") or "null")))
    if total > size + _SPARE:
        raise ValueError(
            f"The net's config holds numbers as large as {total}, but the file {size} weights in "
            "all."
        )


def _whole_numbers(node):
    if isinstance(node, (list, dict)):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _whole_numbers(item)
    elif type(node) is int:
        yield abs(node)


def _shape_in(where, shape):
    return f"are not in {where}" if shape is None else f"have shape {shape} in {where}"


class _Limits(TorchFunctionMode):
    """Refuse tensors of more than `largest` values, and more than `n_calls` calls of torch."""

    def __init__(self, largest, n_calls):
        super().__init__()
        self.largest, self.n_calls = largest, n_calls

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.n_calls -= 1
        if self.n_calls < 0:
            raise ValueError(
                "The net of the file's parameters has far more layers than the file has weights."
            )
        if (
            func is torch.linspace
        ):  # Swin transformers read the values, of which there is one per layer
            kwargs = {**kwargs, "device": "cpu"}
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.numel() > self.largest:
            raise ValueError(
                f"The net of the file's parameters has a layer of shape {tuple(result.shape)}, "
                "more than all weights of the file."
            )
        return result
