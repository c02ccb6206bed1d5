"""The U-Net of Ronneberger et al. (2015) with padded convolutions and batch normalization."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

__all__ = ["UNet"]


class _Block(nn.Sequential):
    """Two 3×3 convolutions, each normalized and rectified; the size stays."""

    def __init__(self, n_in, n_out, dropout):
        layers = []
        for n_from in (n_in, n_out):
            # the normalization has a shift of its own, so a bias of the convolution would be idle
            layers += [
                nn.Conv2d(n_from, n_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers, nn.Dropout2d(dropout))


class _Upsampler(nn.ConvTranspose2d):
    """Transposed convolution of 2×2 pixels at stride 2, as two matrix products.

    Each input pixel becomes four output pixels of its own, so no two add up. The values are those
    of `torch.nn.ConvTranspose2d`; on a CPU the gradient takes a third of the time. Without
    gradients torch's own is faster.
    """

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out, 2, stride=2)

    def forward(self, x):
        if not torch.is_grad_enabled():
            return super().forward(x)
        n, _, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1)
        kernels = self.weight.permute(2, 3, 1, 0).flatten(
            1, 2
        )  # one for each of the two output rows
        rows = [functional.linear(pixels, kernel, self.bias.repeat(2)) for kernel in kernels]
        return torch.stack(rows, dim=2).view(n, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class _BandPool(nn.Module):
    """Make the same number of maps of any number of bands, in any order.

    The first map is the stack of the bands. Then come mean and maximum, over the bands, of maps of
    each band beside the stack. A pixel that is exactly 0 in a band has no data there and does not
    count. A single band is its own stack.

    Parameters
    ----------
    n_features : int, default=8
        Maps of each band.
    """

    def __init__(self, n_features=8):
        super().__init__()
        self.features = nn.Conv2d(2, n_features, 3, padding=1)
        self.n_outputs = 1 + 2 * n_features

    def forward(self, x):
        """Return (n, n_outputs, height, width) of scaled images (n, n_bands, height, width)."""
        seen = (x != 0).to(x.dtype)
        count = seen.sum(dim=1, keepdim=True).clamp(min=1)
        # The input is the arcsinh of the signal-to-noise ratio. The noise of a sum grows as the
        # root of its terms.
        stack = torch.asinh(torch.sinh(x).sum(dim=1, keepdim=True) / torch.sqrt(count))
        pairs = torch.stack([x, stack.expand_as(x)], dim=2)
        maps = functional.relu(self.features(pairs.flatten(0, 1)))
        maps = maps.unflatten(0, x.shape[:2]) * seen[:, :, None].to(maps.dtype)
        parts = stack, maps.sum(dim=1) / count, maps.amax(dim=1)
        return torch.cat([part.to(maps.dtype) for part in parts], dim=1)


class UNet(nn.Module):
    """Padded U-Net: as many output pixels as input pixels, whatever their number.

    Parameters
    ----------
    n_bands : int or None, default=1
        Bands of the input. None: any number of bands, in any order.
    base_width : int, default=16
        Channels of the first level; each further level has twice as many. The paper's is 64.
    depth : int, default=5
        Number of levels.
    dropout : float, default=0.1
        Probability of dropping a channel, in the two deepest levels.
    n_outputs : int, default=1
        Maps that come out.

    References
    ----------
    .. [1] Ronneberger, Fischer & Brox 2015, MICCAI, 9351, 234. :doi:`10.1007/978-3-319-24574-4_28`
    """

    #: Whether its batch normalization may be folded for prediction.
    foldable = True

    def __init__(self, *, n_bands=1, base_width=16, depth=5, dropout=0.1, n_outputs=1):
        super().__init__()
        widths = [base_width * 2**level for level in range(depth)]
        # the deepest levels have most of the parameters: only there does dropout help
        drop = [dropout if level >= max(depth - 2, 1) else 0.0 for level in range(depth)]
        self.multiple = 2 ** (depth - 1)
        # two convolutions of radius 1 on each level's way down and up, and one pixel of the deepest
        # level for the phase of the pooling: nothing further away changes a pixel
        reach = 2 * (2**depth - 1) + 2 * (2 ** (depth - 1) - 1) + self.multiple
        reach += n_bands is None  # the convolution of each band
        self.halo = -(-reach // self.multiple) * self.multiple
        self.pool = _BandPool() if n_bands is None else None
        inputs = [n_bands if self.pool is None else self.pool.n_outputs, *widths[:-1]]
        self.encoder = nn.ModuleList(
            [_Block(*sizes) for sizes in zip(inputs, widths, drop, strict=True)]
        )
        self.upsamplers = nn.ModuleList(
            [_Upsampler(deep, shallow) for shallow, deep in pairwise(widths)]
        )
        self.decoder = nn.ModuleList(
            [_Block(2 * width, width, p) for width, p in zip(widths[:-1], drop, strict=False)]
        )
        self.head = nn.Conv2d(base_width, n_outputs, 1)

    def forward(self, x):
        """Return logits (n, n_outputs, height, width) of images (n, n_bands, height, width)."""
        height, width = x.shape[-2:]
        return self.head(self.features(x)[-1])[..., :height, :width]

    def features(self, x):
        """Return the decoded map of each level of padded images, the deepest first."""
        height, width = x.shape[-2:]
        # zero is background in scaled units, and what every convolution pads with
        x = functional.pad(x, (0, self._padding(width), 0, self._padding(height)))
        if self.pool is not None:
            x = self.pool(x)
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        decoded = [skips.pop()]
        for level in reversed(range(len(self.decoder))):
            # a skip is given up as soon as it is copied, which saves memory
            x = torch.cat([skips.pop(), self.upsamplers[level](x)], dim=1)
            x = self.decoder[level](x)
            decoded.append(x)
        return decoded

    def _padding(self, size):
        # two pixels at the deepest level, or one small image alone has no batch statistics
        return max(-size % self.multiple, 2 * self.multiple - size)
