"""The net of `UNetSeparator`: maps around each source in, a change of its log share out."""

from torch import nn
from torch.nn import functional

from ..unet._module import UNet

__all__ = ["ShareNet"]

_MOST = 3.0  # largest change of the logarithm of a share
_BLOCK = 2  # pixels a side that the net sees as one, with a channel each


class ShareNet(nn.Module):
    """A U-Net on blocks of 2 × 2 pixels, whose output is smooth and begins at zero.

    Parameters
    ----------
    n_maps : int
        Maps around each source.
    base_width : int, default=16
        Channels of the first level; each further level has twice as many.
    depth : int, default=3
        Number of levels.
    """

    def __init__(self, *, n_maps, base_width=16, depth=3):
        super().__init__()
        self.blocks = nn.PixelUnshuffle(_BLOCK)
        self.unet = UNet(
            n_bands=n_maps * _BLOCK**2, base_width=base_width, depth=depth, dropout=0.0
        )
        # An untrained net changes nothing: it starts at the templates.
        nn.init.zeros_(self.unet.head.weight)
        nn.init.zeros_(self.unet.head.bias)

    def forward(self, x):
        """Return changes of log shares (n, 1, side, side) for maps (n, n_maps, side, side)."""
        change = functional.interpolate(
            self.unet(self.blocks(x)), scale_factor=_BLOCK, mode="bilinear", align_corners=False
        )
        return _MOST * (change / _MOST).tanh()
