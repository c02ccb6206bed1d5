"""Losses of semantic segmentation that know which pixels count."""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["BCEDiceLoss", "ClassLoss"]


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


class ClassLoss(nn.Module):
    """Cross-entropy of several classes plus one minus the mean soft Dice coefficient.

    The mean is over the classes but the sky, and each coefficient over the whole batch.

    Parameters
    ----------
    dice_weight : float, default=1.0
        Weight of the Dice term against the cross-entropy.
    """

    def __init__(self, dice_weight=1.0):
        super().__init__()
        self.dice_weight = dice_weight

    def forward(self, logits, target):
        """Return the loss of logits (n, n_classes, h, w) for a target (n, 2, h, w).

        The target holds the index of the class and the weight of each pixel.
        """
        logits, index, weight = logits.float(), target[:, 0].long(), target[:, 1]
        entropy = functional.cross_entropy(logits, index, reduction="none") * weight
        proba = torch.softmax(logits, dim=1)[:, 1:] * weight[:, None]
        classes = torch.arange(1, logits.shape[1], device=logits.device)[:, None, None]
        truth = (index[:, None] == classes) * weight[:, None]
        overlap = (proba * truth).sum(dim=(0, 2, 3))
        sizes = (proba.sum(dim=(0, 2, 3)), truth.sum(dim=(0, 2, 3)))
        dice = (2 * overlap + 1) / (sizes[0] + sizes[1] + 1)
        return entropy.sum() / weight.sum().clamp(min=1) + self.dice_weight * (1 - dice.mean())
