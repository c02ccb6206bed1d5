"""Set-matching losses: each true segment is matched with a query, the others learn "nothing"."""

import torch
from scipy.optimize import linear_sum_assignment
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerHungarianMatcher,
    Mask2FormerLoss,
    dice_loss,
    pair_wise_dice_loss,
    pair_wise_sigmoid_cross_entropy_loss,
    sigmoid_cross_entropy_loss,
)

__all__ = ["PointLoss", "PointMatcher"]


class PointMatcher(Mask2FormerHungarianMatcher):
    """transformers' matcher for masks that are known at chosen pixels.

    The original draws points at random from the frame: of a thousand of them less than two fall on
    a galaxy of 26 pixels in 128 × 128, too few to tell which query it belongs to.
    """

    @torch.no_grad()
    def forward(self, masks_queries_logits, class_queries_logits, mask_labels, class_labels):
        """Match the queries of each image, mask logits (n_queries, n_points), with its segments."""
        matched = []
        for masks, classes, truth, labels in zip(
            masks_queries_logits, class_queries_logits, mask_labels, class_labels, strict=True
        ):
            cost = -self.cost_class * classes.softmax(-1)[:, labels]
            cost = cost + self.cost_mask * pair_wise_sigmoid_cross_entropy_loss(masks, truth)
            cost = cost + self.cost_dice * pair_wise_dice_loss(masks, truth)
            # NaN is matched last; the loss then says that training diverged
            worst = torch.finfo(cost.dtype).max
            cost = torch.nan_to_num(cost, nan=worst, posinf=worst, neginf=-worst)
            queries, segments = linear_sum_assignment(cost.cpu().numpy())
            matched.append((torch.from_numpy(queries), torch.from_numpy(segments)))
        return matched


class PointLoss(Mask2FormerLoss):
    """Mask2Former's loss of classes and masks, at chosen pixels.

    Parameters
    ----------
    config : transformers.Mask2FormerConfig

    References
    ----------
    .. [1] Cheng et al. 2022, CVPR, 1280. :doi:`10.1109/CVPR52688.2022.00135`
    """

    def __init__(self, config):
        weights = {
            "loss_cross_entropy": config.class_weight,
            "loss_mask": config.mask_weight,
            "loss_dice": config.dice_weight,
        }
        super().__init__(config, weights)
        self.matcher = PointMatcher(
            cost_class=config.class_weight,
            cost_mask=config.mask_weight,
            cost_dice=config.dice_weight,
        )

    def loss_masks(self, masks_queries_logits, mask_labels, indices, num_masks):
        """Cross-entropy and Dice of the matched masks."""
        predicted = masks_queries_logits[self._get_predictions_permutation_indices(indices)]
        truth = torch.cat(
            [masks[segments] for masks, (_, segments) in zip(mask_labels, indices, strict=True)]
        )
        return {
            "loss_mask": sigmoid_cross_entropy_loss(predicted, truth, num_masks),
            "loss_dice": dice_loss(predicted, truth, num_masks),
        }

    def weighted(self, masks, classes, mask_labels, class_labels):
        """Return ``loss_class``, ``loss_mask`` and ``loss_dice``, summed over the layers.

        Parameters
        ----------
        masks : list of Tensor of shape (n, n_queries, n_points)
            Logits after each layer.
        classes : list of Tensor of shape (n, n_queries, n_classes + 1)
            Logits after each layer.
        mask_labels, class_labels : list of Tensor of shape (n_segments, n_points) and (n_segments,)
        """
        earlier = [
            {"masks_queries_logits": mask, "class_queries_logits": logits}
            for mask, logits in zip(masks[:-1], classes[:-1], strict=True)
        ]
        losses = self(masks[-1], classes[-1], mask_labels, class_labels, earlier)
        short = {
            "loss_cross_entropy": "loss_class",
            "loss_mask": "loss_mask",
            "loss_dice": "loss_dice",
        }
        return {
            name: self.weight_dict[long]
            * sum(value for key, value in losses.items() if key.startswith(long))
            for long, name in short.items()
        }
