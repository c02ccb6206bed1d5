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

__all__ = ["DETR_LOSSES", "DETR_MAX_NORM", "DetrLoss", "paint_masks"]

#: Names of the losses of both forms of DETR, as in the history.
DETR_LOSSES = ("loss_class", "loss_mask", "loss_dice", "loss_box", "loss_giou")
DETR_MAX_NORM = 1.0  # norm to which gradients are clipped


class DetrLoss(ImageLoss):
    """transformers' losses of classes and boxes, and of masks at chosen pixels of matched queries.

    Parameters
    ----------
    config : transformers.DetrConfig
    """

    def __init__(self, config):
        matcher = HungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
        super().__init__(matcher, config.num_labels, config.eos_coefficient, ["labels", "boxes"])
        self.config = config

    def of_sets(self, logits, boxes, targets):
        """Return the losses of classes and boxes, summed over layers, and the last matching.

        Parameters
        ----------
        logits : Tensor of shape (n_layers, n, n_queries, n_classes + 1)
        boxes : Tensor of shape (n_layers, n, n_queries, 4)
        targets : dict
            Of a `SegmentBatch`.
        """
        truth = [
            {"class_labels": classes, "boxes": box}
            for classes, box in zip(targets["classes"], targets["boxes"], strict=True)
        ]
        n_boxes = max(sum(len(target["boxes"]) for target in truth), 1)
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
        """Return weighted losses of the masks that ``paint(queries)`` makes."""
        most = max(len(queries) for queries, _ in indices)
        chosen = torch.stack(
            [functional.pad(queries, (0, most - len(queries))) for queries, _ in indices]
        )
        masks = paint(chosen.to(targets["labels"].device))
        predicted = masks_at(masks, targets["points"], targets["labels"].shape[-2:])
        predicted = torch.cat(
            [
                masks_of_image[: len(queries)]
                for masks_of_image, (queries, _) in zip(predicted, indices, strict=True)
            ]
        )
        truth = truth_at(targets)
        truth = torch.cat(
            [
                masks_of_image[segments]
                for masks_of_image, (_, segments) in zip(truth, indices, strict=True)
            ]
        )
        n_masks = max(len(truth), 1)
        return {
            "loss_mask": self.config.mask_loss_coefficient
            * sigmoid_focal_loss(predicted, truth, n_masks),
            "loss_dice": self.config.dice_loss_coefficient * dice_loss(predicted, truth, n_masks),
        }


def paint_masks(head, projected, attention, stages):
    """Mask logits (n, n_queries, …) at the resolution of the last stage.

    As `DetrMaskHeadSmallConv`, with fewer operations: the features of the image are convolved once,
    not once for each query, and those of a query before they are enlarged, not after.

    Parameters
    ----------
    head : transformers' DetrMaskHeadSmallConv
    projected : Tensor of shape (n, d_model, height, width)
    attention : Tensor of shape (n, n_queries, n_heads, height, width)
    stages : sequence of three Tensor
        Features of the image, the coarsest first.
    """
    n_queries = attention.shape[1]
    features = torch.cat(
        [projected.repeat_interleave(n_queries, dim=0), attention.flatten(0, 1)], dim=1
    )
    for block in (head.conv1, head.conv2):
        features = _refine(block, block.conv(features))
    for fusion, stage in zip(head.fpn_stages, stages, strict=True):
        features = _refine(fusion.refine, _fuse(fusion, stage, features))
    return head.output_conv(features).unflatten(0, attention.shape[:2])[:, :, 0].float()


def _refine(block, convolved):
    """Normalize and rectify.

    On a CPU groups are normalized twenty times as fast if channels come first.
    """
    return block.activation(block.norm(convolved.contiguous()))


def _fuse(fusion, stage, features):
    """Convolve the sum of the features of an image and of those of each query, enlarged."""
    conv = fusion.refine.conv
    shared = conv(fusion.fpn_adapter(stage))
    own = _convolve_enlarged(conv.weight, features, shared.shape[-2:])
    return (own.unflatten(0, (len(stage), -1)) + shared[:, None]).flatten(0, 1)


# What of a 3×3 kernel on pixels that are doubled falls on the cell before, this one and the next:
# of the first pixel of a cell, and of the second.
_DOUBLED = (
    ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
)


def _convolve_enlarged(weight, features, shape):
    """Convolve features that are enlarged to a shape by repetition.

    If that doubles them, each of the four pixels of a cell sees only nine cells. One convolution of
    the small map gives all four of them.
    """
    height, width = features.shape[-2:]
    if tuple(shape) != (2 * height, 2 * width):
        return functional.conv2d(functional.interpolate(features, shape), weight, padding=1)
    shares = torch.tensor(_DOUBLED, device=weight.device, dtype=weight.dtype)
    kernels = torch.einsum("auk,bvl,oikl->oabiuv", shares, shares, weight).flatten(0, 2)
    return functional.pixel_shuffle(functional.conv2d(features, kernels, padding=1), 2)
