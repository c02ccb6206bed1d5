"""DETR's losses, over all layers of its decoder, and the mask head as far as it is needed."""

import torch
from torch.nn import functional
from transformers.loss.loss_for_object_detection import (
    HungarianMatcher,
    ImageLoss,
    dice_loss,
    sigmoid_focal_loss,
)

from ..queries._data import masks_at, truth_at

__all__ = ["DETR_LOSSES", "DETR_MAX_NORM", "DetrLoss", "paint_masks", "show_likeliest"]

#: Names of the losses of both forms of DETR, as in the history.
DETR_LOSSES = ("loss_class", "loss_mask", "loss_dice", "loss_box", "loss_giou")
DETR_MAX_NORM = 1.0  # norm to which gradients are clipped
_HARDLY = 0.05  # queries with less confidence get no mask in prediction


class DetrLoss(ImageLoss):
    """transformers' losses of classes and boxes, and its losses of masks at chosen pixels of the matched queries.

    Parameters
    ----------
    config : transformers.DetrConfig
    """

    def __init__(self, config):
        matcher = HungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
        super().__init__(matcher, config.num_labels, config.eos_coefficient, ["labels", "boxes"])
        self.config = config

    def of_sets(self, logits, boxes, targets):
        """Weighted losses of classes and boxes, summed over the layers, and the matching of the last.

        Parameters
        ----------
        logits, boxes : Tensor of shape (n_layers, n, n_queries, n_classes + 1) and (n_layers, n, n_queries, 4)
        targets : dict
            Of a `SegmentBatch`.
        """
        truth = [
            {"class_labels": classes, "boxes": box}
            for classes, box in zip(targets["classes"], targets["boxes"], strict=True)
        ]
        n_boxes = max(sum(len(one["boxes"]) for one in truth), 1)
        sums = {"loss_ce": 0.0, "loss_bbox": 0.0, "loss_giou": 0.0}
        for layer in zip(logits, boxes, strict=True):
            outputs = dict(zip(("logits", "pred_boxes"), layer, strict=True))
            indices = self.matcher(outputs, truth)
            for kind in self.losses:
                for name, loss in self.get_loss(kind, outputs, truth, indices, n_boxes).items():
                    sums[name] = sums[name] + loss
        return {
            "loss_class": sums["loss_ce"],
            "loss_box": self.config.bbox_loss_coefficient * sums["loss_bbox"],
            "loss_giou": self.config.giou_loss_coefficient * sums["loss_giou"],
        }, indices

    def of_masks(self, paint, indices, targets):
        """Weighted losses of masks; ``paint(queries)`` makes those of some queries (n, n_chosen)."""
        most = max(len(queries) for queries, _ in indices)
        chosen = torch.stack(
            [functional.pad(queries, (0, most - len(queries))) for queries, _ in indices]
        )
        masks = paint(chosen.to(targets["labels"].device))
        found = masks_at(masks, targets["points"], targets["labels"].shape[-2:])
        found = torch.cat(
            [one[: len(queries)] for one, (queries, _) in zip(found, indices, strict=True)]
        )
        truth = truth_at(targets)
        truth = torch.cat(
            [one[segments] for one, (_, segments) in zip(truth, indices, strict=True)]
        )
        n_masks = max(len(truth), 1)
        return {
            "loss_mask": self.config.mask_loss_coefficient
            * sigmoid_focal_loss(found, truth, n_masks),
            "loss_dice": self.config.dice_loss_coefficient * dice_loss(found, truth, n_masks),
        }


def paint_masks(head, projected, attention, stages):
    """Mask logits (n, n_queries, …) at the resolution of the last stage.

    What `DetrMaskHeadSmallConv` does, but adapts the features of the image before it copies them per query.

    Parameters
    ----------
    head : transformers' DetrMaskHeadSmallConv
    projected : Tensor of shape (n, d_model, height, width)
    attention : Tensor of shape (n, n_queries, n_heads, height, width)
    stages : sequence of three Tensor
        Features of the image, the coarsest first.
    """
    n_queries = attention.shape[1]
    found = torch.cat(
        [projected.repeat_interleave(n_queries, dim=0), attention.flatten(0, 1)], dim=1
    )
    found = _refine(head.conv2, _refine(head.conv1, found))
    for fusion, stage in zip(head.fpn_stages, stages, strict=True):
        adapted = fusion.fpn_adapter(stage).repeat_interleave(n_queries, dim=0)
        found = _refine(fusion.refine, adapted + functional.interpolate(found, adapted.shape[-2:]))
    return head.output_conv(found).unflatten(0, attention.shape[:2])[:, :, 0].float()


def _refine(block, x):
    """Convolve, normalize, rectify; on a CPU groups are normalized twenty times as fast where channels come first."""
    return block.activation(block.norm(block.conv(x).contiguous()))


def show_likeliest(logits, paint):
    """Logits of the queries that may be segments, as many as any image needs, and of their masks.

    Parameters
    ----------
    logits : Tensor of shape (n, n_queries, n_classes + 1)
    paint : callable
        ``paint(queries)`` makes the masks of some queries (n, n_chosen).
    """
    proba = 1 - logits.softmax(-1)[..., -1]
    count = int((proba >= _HARDLY).sum(dim=1).max().clamp(min=1))
    kept = proba.topk(count, dim=1).indices
    return {
        "classes": logits.gather(1, kept[..., None].expand(-1, -1, logits.shape[-1])),
        "masks": paint(kept),
    }
