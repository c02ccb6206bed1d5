"""Batch normalization folded into convolutions, for prediction."""

import copy
from itertools import pairwise
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

__all__ = ["folded"]

# Libraries whose modules run their children in the order in which they are defined.
_ORDERED = ("torchvision.models.resnet", "torchvision.models._utils", "transformers.models.resnet")

# Copies, and the stamp of the weights that they are made of: a copy takes as long as the prediction
# of a small image.
_READY: WeakKeyDictionary = WeakKeyDictionary()


def folded(module):
    """Return a copy of a module that predicts the same with fewer steps.

    After training a batch normalization multiplies each channel by a number and adds another one.
    The convolution before it can do both: its weights and its bias take the two numbers up. Up to
    rounding, the copy's output in evaluation mode is that of the module. The copy is kept until the
    weights change. A module whose class says ``foldable = False`` is returned as it is, and so is a
    module with hooks or parametrizations, which would not run in a copy.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        In evaluation mode.
    """
    if not module.foldable or any(map(_is_extended, module.modules())):
        return module.eval()
    tensors = [*module.parameters(), *module.buffers()]
    stamp = _stamp(tensors)
    known_stamp, ready = _READY.get(module, (None, None))
    if stamp != known_stamp:
        # the copy shares all weights but those that change
        ready = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors}).eval()
        for parent in list(ready.modules()):
            for conv, name in _pairs(parent):
                _fold(conv, getattr(parent, name))
                setattr(parent, name, nn.Identity())
        _READY[module] = stamp, ready
    return ready


def _is_extended(part):
    """Whether a user has added something to a part of a module that runs when it is called."""
    return bool(part._forward_hooks or part._forward_pre_hooks) or is_parametrized(part)


def _stamp(tensors):
    """Places, versions and sums of tensors.

    The version of a tensor misses edits of its ``data``, and inference mode makes tensors without.
    """
    with torch.no_grad():
        sums = torch.stack([tensor.sum(dtype=torch.float32) for tensor in tensors]).tolist()
    versions = [None if tensor.is_inference() else tensor._version for tensor in tensors]
    return [tensor.data_ptr() for tensor in tensors], versions, sums


def _pairs(parent):
    """Convolutions, and the names of the normalizations that follow them at once."""
    in_order = isinstance(parent, nn.Sequential) or type(parent).__module__.startswith(_ORDERED)
    children = list(parent.named_children()) if in_order else []
    return [
        (conv, name)
        for (_, conv), (name, norm) in pairwise(children)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    ]


def _fold(conv, norm):
    """Give a convolution the work of a normalization."""
    with torch.no_grad():
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
        weight = conv.weight * gain[:, None, None, None]
        bias = shift * gain + norm.bias
    conv.weight, conv.bias = (
        nn.Parameter(values, requires_grad=False) for values in (weight, bias)
    )
