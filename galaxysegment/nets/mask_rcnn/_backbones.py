"""Feature pyramids on residual nets, for inputs of any number of bands."""

import torch
from torch import nn
from torchvision.models import get_model
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import BasicBlock, ResNet

__all__ = ["BACKBONES", "STAGES", "make_backbone", "widen_stem"]

#: Residual nets of torchvision that can stand under the pyramid.
BACKBONES = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101")
#: Modules of the residual net from the input up, as the stages 1 to 5 of the paper count them.
STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


def make_backbone(name, *, n_bands=1, stem_stride=1, channels=128):
    """Make a residual net [1]_ with a feature pyramid [2]_ of five levels, with fresh weights.

    Parameters
    ----------
    name : {"resnet10", "resnet18", "resnet34", "resnet50", "resnet101"}
        The first has one block at each stage.
    n_bands : int, default=1
        Bands of the input.
    stem_stride : {1, 2}, default=1
        Stride of the first convolution. The finest level has twice its stride: with 1, a source of
        ten pixels is still five pixels wide there.
    channels : int, default=128
        Channels of each level.

    Returns
    -------
    torchvision.models.detection.backbone_utils.BackboneWithFPN

    References
    ----------
    .. [1] He et al. 2016, CVPR, 770. :doi:`10.1109/CVPR.2016.90`
    .. [2] Lin et al. 2017, CVPR, 936. :doi:`10.1109/CVPR.2017.106`
    """
    # the stem is replaced below, and the classifier is not used
    resnet = (
        ResNet(BasicBlock, [1, 1, 1, 1]) if name == "resnet10" else get_model(name, weights=None)
    )
    resnet.conv1 = nn.Conv2d(n_bands, 64, kernel_size=7, stride=stem_stride, padding=3, bias=False)
    nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    widths = [resnet.inplanes >> shift for shift in (3, 2, 1, 0)]
    layers = {f"layer{level + 1}": str(level) for level in range(4)}
    return BackboneWithFPN(resnet, layers, widths, channels)


def widen_stem(weight, n_bands):
    """Spread the weights of a first convolution over `n_bands` bands; its mean response stays."""
    if weight.shape[1] == n_bands:
        return weight
    return torch.repeat_interleave(weight.mean(dim=1, keepdim=True), n_bands, dim=1) * (
        weight.shape[1] / n_bands
    )
