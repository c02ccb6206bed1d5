"""Feature pyramids on residual nets or on a U-Net, for inputs of any number of bands."""

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import get_model
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import BasicBlock, ResNet

from ..unet._module import UNet

__all__ = ["N_STAGES", "UNetPyramid", "make_backbone", "stages_of", "widen_stem"]

#: Modules of the residual net from the input up, as the stages 1 to 5 of the paper count them.
_STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
N_STAGES = len(_STAGES)


def make_backbone(name, *, n_bands=1, stem_stride=1, channels=128):
    """Make a residual net [1]_ with a feature pyramid [2]_ of five levels, with fresh weights.

    Parameters
    ----------
    name : {"resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "unet"}
        The first has one block at each stage. ``"unet"`` makes a `UNetPyramid`, whose stride is
        always 1.
    n_bands : int, default=1
        Bands of the input.
    stem_stride : {1, 2}, default=1
        Stride of the first convolution. The finest level has twice its stride: with 1, a source of
        ten pixels is still five pixels wide there.
    channels : int, default=128
        Channels of each level.

    Returns
    -------
    torchvision.models.detection.backbone_utils.BackboneWithFPN or UNetPyramid

    References
    ----------
    .. [1] He et al. 2016, CVPR, 770. :doi:`10.1109/CVPR.2016.90`
    .. [2] Lin et al. 2017, CVPR, 936. :doi:`10.1109/CVPR.2017.106`
    """
    if name == "unet":
        return UNetPyramid(n_bands, channels)
    # the stem is replaced below, and the classifier is not used
    resnet = (
        ResNet(BasicBlock, [1, 1, 1, 1]) if name == "resnet10" else get_model(name, weights=None)
    )
    resnet.conv1 = nn.Conv2d(n_bands, 64, kernel_size=7, stride=stem_stride, padding=3, bias=False)
    nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    widths = [resnet.inplanes >> shift for shift in (3, 2, 1, 0)]
    layers = {f"layer{level + 1}": str(level) for level in range(4)}
    return BackboneWithFPN(resnet, layers, widths, channels)


class UNetPyramid(nn.Module):
    """The decoded maps of a U-Net as a feature pyramid of five levels, strides 2 to 32.

    The decoder of a U-Net is such a pyramid already. Its finest map, which has all pixels, joins
    the first level.

    Parameters
    ----------
    n_bands : int, default=1
    channels : int, default=64
        Channels of each level.
    base_width : int, default=16
        Channels of the finest map of the U-Net.
    """

    def __init__(self, n_bands=1, channels=64, base_width=16):
        super().__init__()
        self.body = UNet(n_bands=n_bands, base_width=base_width)
        self.body.head = nn.Identity()
        widths = [base_width * 2**level for level in range(1, len(self.body.encoder))]
        self.fine = nn.Conv2d(base_width, channels, 2, stride=2)
        self.lateral = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in widths])

    def forward(self, x):
        """Return the levels of images whose sides are multiples of 32, the finest first."""
        *deeper, fine = self.body.features(x)
        levels = [
            convolution(part)
            for convolution, part in zip(self.lateral, reversed(deeper), strict=True)
        ]
        levels[0] = levels[0] + self.fine(fine)
        named = {str(level): part for level, part in enumerate(levels)}
        return {**named, "pool": functional.max_pool2d(levels[-1], 1, stride=2)}


def stages_of(backbone):
    """Return the modules of each of the `N_STAGES` stages of a backbone, from the input up."""
    if isinstance(backbone, UNetPyramid):
        return [[block] for block in backbone.body.encoder]
    return [[getattr(backbone.body, name) for name in names] for names in _STAGES]


def widen_stem(weight, n_bands):
    """Spread the weights of a first convolution over `n_bands` bands; its mean response stays."""
    if weight.shape[1] == n_bands:
        return weight
    return torch.repeat_interleave(weight.mean(dim=1, keepdim=True), n_bands, dim=1) * (
        weight.shape[1] / n_bands
    )
