"""How far divided light is from the true light: pixels, fluxes and shapes."""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ShareLoss", "changed_shares"]

_SHAPE_WEIGHT = 0.3
_WIDTH = 3.0  # pixels: standard deviation of the weight of second moments


def changed_shares(changes, shares, blend, corners, n_blends):
    """Return the shares of the sources after changes of their logarithms.

    Parameters
    ----------
    changes : Tensor, shape (n, side, side)
        Of each source in its stamp; none outside of it.
    shares : Tensor, shape (n, height, width)
        Before the change; those of a blend add up to 1 or less in each pixel.
    blend : Tensor of int, shape (n,)
        Number of the blend of each source.
    corners : Tensor of int, shape (n, 2)
        Row and column of the first pixel of each stamp.
    n_blends : int

    Returns
    -------
    Tensor, shape (n, height, width)
        They have the same sum as before in each pixel.
    """
    side, (height, width) = changes.shape[-1], shares.shape[1:]
    placed = [
        functional.pad(change, (x, width - side - x, y, height - side - y))
        for change, (y, x) in zip(changes, corners.tolist(), strict=True)
    ]
    raw = shares * torch.stack(placed).exp()
    sums = raw.new_zeros((n_blends, height, width))
    before = sums.index_add(0, blend, shares)
    after = sums.index_add(0, blend, raw)
    return raw * (before / after.clamp_min(1e-12))[blend]


class ShareLoss(nn.Module):
    """Mean over sources of the errors of light, flux and second moments, relative to the truth.

    Errors enter as ``log(1 + error)``, so that sources that cannot be told apart do not outweigh
    the others.
    """

    def forward(self, changes, target):
        """Return the loss of changes (n, 1, side, side) for a target of `collate_lessons`."""
        blend, light, truths = target["blend"], target["light"], target["truths"]
        shares = changed_shares(
            changes[:, 0], target["shares"], blend, target["corners"], len(light)
        )
        fluxes = target["fluxes"]
        clean = torch.zeros_like(light).index_add(0, blend, truths)[blend]
        missed = (shares * clean - truths).abs().sum((1, 2)) / fluxes
        parts = shares * light[blend]
        offset = (parts.sum((1, 2)) - fluxes).abs() / fluxes
        shape = self._shape_error(parts, truths, target["centres"])
        return (missed.log1p() + offset.log1p() + _SHAPE_WEIGHT * shape.log1p()).mean()

    def _shape_error(self, parts, truths, centres):
        height, width = parts.shape[1:]
        dy = torch.arange(height, device=parts.device) - centres[:, 0, None]
        dx = torch.arange(width, device=parts.device) - centres[:, 1, None]
        near_y, near_x = (torch.exp(-(d**2) / (2 * _WIDTH**2)) for d in (dy, dx))

        def moments(maps):
            # one product of matrices for each moment: sum over rows and columns
            powers = [(0, 0), (2, 0), (0, 2), (1, 1)]
            total, *second = (
                torch.einsum("nyx,ny,nx->n", maps, near_y * dy**p, near_x * dx**q)
                for p, q in powers
            )
            return torch.stack(second, dim=1) / total.clamp_min(1e-6)[:, None]

        true = moments(truths)
        size = true[:, :2].sum(1).clamp_min(1e-3)
        return (moments(parts) - true).abs().sum(1) / size
