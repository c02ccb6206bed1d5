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
    """Cross-entropy of several classes in three questions, plus one minus the mean soft Dice.

    Source or not, of all pixels; which kind of source, of the pixels of sources; which kind of
    stuff, of the others. Each is a mean over the pixels that it asks about. A single cross-entropy
    over all classes would be the same sum with each question weighed by its pixels, and stars,
    which have few, would be learnt last. Dice is over the whole batch, its mean over the classes
    but the sky.

    Parameters
    ----------
    dice_weight : float, default=1.0
        Weight of the Dice term against the cross-entropy.
    things : sequence of int or None, default=None
        Outputs that are kinds of sources; ``None``: all but the first, the sky.
    """

    def __init__(self, dice_weight=1.0, things=None):
        super().__init__()
        self.dice_weight, self.things = dice_weight, things

    def forward(self, logits, target):
        """Return the loss of logits (n, n_classes, h, w) for a target (n, 2, h, w).

        The target holds the index of the class and the weight of each pixel.
        """
        logits, index, weight = logits.float(), target[:, 0].long(), target[:, 1]
        things = list(range(1, logits.shape[1])) if self.things is None else list(self.things)
        others = [place for place in range(logits.shape[1]) if place not in things]
        is_thing = torch.isin(index, torch.tensor(things, device=index.device))
        light = torch.logsumexp(logits[:, things], 1) - torch.logsumexp(logits[:, others], 1)
        entropy = functional.binary_cross_entropy_with_logits(
            light, is_thing.float(), reduction="none"
        )
        loss = _mean(entropy, weight)
        for group, asked in ((things, is_thing), (others, ~is_thing)):
            loss = loss + _mean(_entropy_within(logits, index, group), weight * asked)
        return loss + self.dice_weight * (1 - self._dice(logits, index, weight))

    def _dice(self, logits, index, weight):
        """Mean soft Dice coefficient of the classes but the sky."""
        proba = torch.softmax(logits, dim=1)[:, 1:] * weight[:, None]
        classes = torch.arange(1, logits.shape[1], device=logits.device)[:, None, None]
        truth = (index[:, None] == classes) * weight[:, None]
        overlap = (proba * truth).sum(dim=(0, 2, 3))
        sizes = (proba.sum(dim=(0, 2, 3)), truth.sum(dim=(0, 2, 3)))
        return ((2 * overlap + 1) / (sizes[0] + sizes[1] + 1)).mean()


def _entropy_within(logits, index, group):
    """Cross-entropy of each pixel among some of the classes; of no use where its class is none."""
    places = torch.zeros(logits.shape[1], dtype=torch.long, device=index.device)
    places[group] = torch.arange(len(group), device=index.device)
    return functional.cross_entropy(logits[:, group], places[index], reduction="none")


def _mean(values, weight):
    """Weighted mean over pixels, 0 without any."""
    return (values * weight).sum() / weight.sum().clamp(min=1)
