"""ResNets of the transformers library, for any number of bands and for small sources."""

from contextlib import contextmanager

import torch
from torch import nn
from transformers import ResNetConfig
from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d
from transformers.utils import logging

__all__ = ["adapt_bands", "quiet", "resnet_config", "resnet_stages", "set_stem_stride", "thaw"]

_SIZES = {
    "light": {
        "embedding_size": 32,
        "hidden_sizes": [32, 64, 96, 128],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
    },
    "resnet18": {
        "hidden_sizes": [64, 128, 256, 512],
        "depths": [2, 2, 2, 2],
        "layer_type": "basic",
    },
    "resnet50": {
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
    },
}


def resnet_config(name, n_bands):
    """Return the configuration of a ResNet: ``"light"``, ``"resnet18"`` or ``"resnet50"``."""
    stages = [f"stage{number}" for number in range(1, 5)]
    return ResNetConfig(num_channels=n_bands, out_features=stages, **_SIZES[name])


def resnet_stages(backbone):
    """Stem and stages of a ResNet; empty for other backbones."""
    if not hasattr(backbone, "embedder"):
        return []
    return [backbone.embedder, *backbone.encoder.stages]


def set_stem_stride(backbone, stride):
    """Make the first stage of a ResNet have a stride of 4 (as published), 2 or 1 pixels."""
    embedder = backbone.embedder
    if stride < 4:
        embedder.pooler = nn.Identity()
    if stride < 2:
        embedder.embedder.convolution.stride = (1, 1)


def thaw(module):
    """Let a whole backbone learn: real batch normalization, gradients for every weight.

    `transformers.DetrForSegmentation` freezes both: its filter looks for "stage.1", the names say
    "stages.1".
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DetrFrozenBatchNorm2d):
                norm = nn.BatchNorm2d(len(child.weight))
                with torch.no_grad():
                    for part in ("weight", "bias", "running_mean", "running_var"):
                        getattr(norm, part).copy_(getattr(child, part))
                setattr(parent, name, norm)
    for weight in module.parameters():
        weight.requires_grad_(True)


def adapt_bands(module, n_bands):
    """Give the first convolution `n_bands` inputs.

    Their weights are the mean of the present ones, scaled to equal output.
    """
    name, first = next(
        (name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)
    )
    if first.in_channels == n_bands:
        return
    settings = {
        key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation")
    }
    other = nn.Conv2d(n_bands, first.out_channels, bias=first.bias is not None, **settings)
    with torch.no_grad():
        mean = first.weight.mean(dim=1, keepdim=True)
        other.weight.copy_(mean.expand_as(other.weight) * (first.in_channels / n_bands))
        if first.bias is not None:
            other.bias.copy_(first.bias)
    parent = module.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], other)
    for layer in module.modules():
        if getattr(layer, "num_channels", None) == first.in_channels:
            layer.num_channels = n_bands


@contextmanager
def quiet():
    """Silence progress bars of transformers, and warnings of new layers, which are meant."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
