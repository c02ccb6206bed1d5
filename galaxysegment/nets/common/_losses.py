"""Losses of semantic segmentation that know which pixels count."""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["BCEDiceLoss"]


class BCEDiceLoss(nn.Module):
    """Binary cross-entropy plus one minus the soft Dice coefficient, over the pixels that count.

    Cross-entropy makes the probabilities honest; Dice looks at the galaxies only, so the many
    pixels of the sky cannot outvote them. Dice is taken over the whole batch: a patch without any
    source has a defined loss.

    Parameters
    ----------
    dice_weight : float, default=1.0
        Weight of the Dice term against the cross-entropy.

    References
    ----------
    .. [1] Milletari, Navab & Ahmadi 2016, 3DV, 565. :doi:`10.1109/3DV.2016.79`
    """

    def __init__(self, dice_weight=1.0):
        super().__init__()
        self.dice_weight = dice_weight

    def forward(self, logits, target):
        """Return the loss of logits (n, 1, h, w) for a target (n, 2, h, w) of mask and weight."""
        logits, truth, weight = logits[:, 0].float(), target[:, 0], target[:, 1]
        total = weight.sum().clamp(min=1)
        entropy = (
            functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weight
        ).sum() / total
        proba = torch.sigmoid(logits) * weight
        overlap = (proba * truth).sum()
        dice = (2 * overlap + 1) / (proba.sum() + (truth * weight).sum() + 1)
        return entropy + self.dice_weight * (1 - dice)
