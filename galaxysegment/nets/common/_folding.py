"""Batch normalization folded into convolutions, for prediction."""

import copy
from itertools import pairwise

import torch
from torch import nn

__all__ = ["folded"]

# Libraries whose modules run their children in the order in which they are defined.
_ORDERED = ("torchvision.models.resnet", "torchvision.models._utils", "transformers.models.resnet")


def folded(module):
    """Return a copy of a module that predicts the same with fewer steps.

    After training a batch normalization multiplies each channel by a number and adds another one.
    The convolution before it can do both: its weights and its bias take the two numbers up. Up to
    rounding, the copy's output in evaluation mode is that of the module. A module whose class says
    ``foldable = False`` is returned as it is.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        In evaluation mode, without gradients.
    """
    if not module.foldable:
        return module.eval()
    ready = copy.deepcopy(module).eval().requires_grad_(False)
    for parent in list(ready.modules()):
        for (conv_name, conv), (norm_name, norm) in _pairs(parent):
            setattr(parent, conv_name, _fold(conv, norm))
            setattr(parent, norm_name, nn.Identity())
    return ready.to(memory_format=torch.channels_last)


def _pairs(parent):
    """Name and module of the convolutions and the normalizations that follow them at once."""
    in_order = isinstance(parent, nn.Sequential) or type(parent).__module__.startswith(_ORDERED)
    children = list(parent.named_children()) if in_order else []
    return [
        pair
        for pair in pairwise(children)
        if isinstance(pair[0][1], nn.Conv2d) and isinstance(pair[1][1], nn.BatchNorm2d)
    ]


def _fold(conv, norm):
    """Return the convolution and the normalization as one convolution, computed in float64."""
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = 0.0 if conv.bias is None else conv.bias.double()
    merged = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        bias=True,
        padding_mode=conv.padding_mode,
        device=conv.weight.device,
    ).requires_grad_(False)
    merged.weight.copy_(conv.weight.double() * gain[:, None, None, None])
    merged.bias.copy_((bias - norm.running_mean.double()) * gain + norm.bias.double())
    return merged.eval()
