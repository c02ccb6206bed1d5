"""Mask R-CNN of torchvision's parts, for sources of a few pixels; nothing is resized."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops import boxes as box_ops
from torchvision.ops.poolers import LevelMapper

from ._backbones import N_STAGES, make_backbone, stages_of

__all__ = ["LOSSES", "MaskRCNN"]

#: What a training step returns.
LOSSES = ("loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg")
_ASPECT_RATIOS = (0.5, 1.0, 2.0)
_LEVELS = 5
_BOX_SIZE, _MASK_SIZE = 7, 14  # sides of what the heads see of a box
# Every source draws several proposals. If this fraction of them become sources, some sources
# probably had no proposal.
_CROWDED = 0.5
_FEWEST = 32  # boxes of a small image, at least
_LIKELY = 0.5  # score from which a box is taken for a source there


class MaskRCNN(nn.Module):
    """Region proposals on a feature pyramid, and heads for class, box and mask [1]_.

    The parameters have torchvision's names, so that its weights fit. Nothing is resized: the images
    of a batch come padded to multiples of `multiple` pixels.

    Parameters
    ----------
    n_bands : int, default=1
    n_classes : int, default=1
        Classes without the background.
    backbone, stem_stride, channels
        See `galaxysegment.nets.mask_rcnn._backbones.make_backbone`.
    anchor_sizes : sequence of 5 float
        Side in pixels of the anchors of each level of the pyramid.
    n_proposals : int, default=300
        Boxes that the first stage hands to the second, per `patch_area` pixels of an image.
    patch_area : int, default=65536
        Area of a training image.
    n_samples : int, default=64
        Boxes per image that the heads are trained on.
    proposal_nms : float, default=0.7
        IoU of two proposals above which the proposal with the lower score is dropped.
    box_nms : float, default=0.5
        The same for the boxes of sources.

    References
    ----------
    .. [1] He et al. 2017, ICCV, 2980. :doi:`10.1109/ICCV.2017.322`
    """

    loss_names = LOSSES
    max_norm = None
    foldable = True

    def __init__(
        self,
        *,
        n_bands=1,
        n_classes=1,
        backbone="resnet18",
        stem_stride=1,
        channels=128,
        anchor_sizes=(8, 16, 32, 64, 128),
        n_proposals=300,
        patch_area=65536,
        n_samples=64,
        proposal_nms=0.7,
        box_nms=0.5,
    ):
        super().__init__()
        self.multiple = 32 * stem_stride
        self.n_proposals, self.patch_area = n_proposals, patch_area
        self.backbone = make_backbone(
            backbone, n_bands=n_bands, stem_stride=stem_stride, channels=channels
        )
        strides = [2 * stem_stride << level for level in range(_LEVELS)]
        self.rpn = _Proposals(_Anchors(anchor_sizes, strides), channels, n_proposals, proposal_nms)
        self.roi_heads = _Heads(
            channels, strides[:-1], n_classes + 1, n_samples, box_nms, n_proposals
        )
        self.frozen = ()

    def forward(self, batch):
        """Return the losses of a batch with targets in training, else the sources of each image.

        Parameters
        ----------
        batch : DetectionBatch

        Returns
        -------
        dict of tensor, or list of dict
            In training, the losses by name. Otherwise for each image ``boxes`` (x0, y0, x1, y1 in
            pixels), ``labels``, ``scores``, ``proba`` (of the background and of each class),
            ``masks`` (probabilities in a grid over the box) and ``saturated``, whether they are so
            many that others may have had no proposal.
        """
        features = self.backbone(batch.images)
        self._set_capacity(batch)
        proposals, proposal_losses = self.rpn(batch, features)
        sources, losses = self.roi_heads(features, proposals, batch)
        if self.training:
            return {**losses, **proposal_losses}
        limit = _CROWDED * self.rpn.post_nms_top_n()
        return [
            {**part, "saturated": int((part["scores"] > _LIKELY).sum()) > limit} for part in sources
        ]

    def _set_capacity(self, batch):
        """Look at as many boxes per area as in training."""
        n_proposals = self.n_proposals
        if not self.training:
            area = max(height * width for height, width in batch.sizes)
            n_proposals = max(
                min(n_proposals, _FEWEST), round(n_proposals * area / self.patch_area)
            )
        self.rpn.set_capacity(n_proposals)
        self.roi_heads.detections_per_img = n_proposals

    def loss_mode(self):
        """Compute losses from now on, but with the normalizations' statistics as they are."""
        self.eval()
        for module in (self, self.rpn, self.roi_heads):
            module.training = True
        return self

    def train(self, mode=True):
        """As in torch; frozen layers keep their statistics."""
        super().train(mode)
        if mode:
            for module in self.frozen:
                module.eval()
        return self

    def freeze(self, layers):
        """Choose the layers that are trained.

        ``"all"``, ``"heads"`` (all but the residual net) or ``"3+"`` (heads and stages from 3 on).
        """
        first = {"all": 1, "heads": N_STAGES + 1}.get(layers) or int(layers[:-1])
        stages = stages_of(self.backbone)
        self.frozen = [module for stage in stages[: first - 1] for module in stage]
        for parameter in self.parameters():
            parameter.requires_grad_(True)
        for module in self.frozen:
            module.requires_grad_(False)
        return self


class _Anchors(nn.Module):
    """Boxes of three shapes about the centre of each pixel of each level.

    torchvision's are rounded to whole pixels.
    """

    def __init__(self, sizes, strides):
        super().__init__()
        self.strides = strides
        ratios = torch.tensor(_ASPECT_RATIOS).sqrt()
        for level, size in enumerate(sizes):
            half = torch.stack([size / ratios, size * ratios], dim=1) / 2
            self.register_buffer(f"cell_{level}", torch.cat([-half, half], dim=1), persistent=False)

    def num_anchors_per_location(self):
        return [len(_ASPECT_RATIOS)] * len(self.strides)

    def forward(self, maps):
        """All anchors of feature maps of these shapes, float32 of shape (n, 4)."""
        return torch.cat([self._level(level, *part.shape[-2:]) for level, part in enumerate(maps)])

    def _level(self, level, height, width):
        cell, stride = getattr(self, f"cell_{level}"), self.strides[level]
        y, x = (torch.arange(n, device=cell.device) * stride + 0.5 for n in (height, width))
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
        return (centres + cell).reshape(-1, 4)


class _Proposals(RegionProposalNetwork):
    """torchvision's region proposals; boxes are float32 even if the convolutions are not."""

    def __init__(self, anchors, channels, n_proposals, nms_thresh):
        head = RPNHead(channels, anchors.num_anchors_per_location()[0])
        top_n = {"training": n_proposals, "testing": n_proposals}
        super().__init__(anchors, head, 0.7, 0.3, 256, 0.5, dict(top_n), dict(top_n), nms_thresh)

    def set_capacity(self, n_proposals):
        # many boxes of one source overlap: twice the number is enough for n to be left
        self._pre_nms_top_n = dict.fromkeys(("training", "testing"), 2 * n_proposals)
        self._post_nms_top_n = dict.fromkeys(("training", "testing"), n_proposals)

    def forward(self, batch, features):
        scores, deltas = (
            [part.float() for part in maps] for maps in self.head(list(features.values()))
        )
        with torch.autocast(scores[0].device.type, enabled=False):
            return self._propose(batch, scores, deltas)

    def _propose(self, batch, scores, deltas):
        n_images = len(batch)
        anchors = [self.anchor_generator(scores)] * n_images
        n_per_level = [level[0].numel() for level in scores]
        objectness, deltas = concat_box_prediction_layers(scores, deltas)
        proposals = self.box_coder.decode(deltas.detach(), anchors).view(n_images, -1, 4)
        boxes, _ = self.filter_proposals(proposals, objectness, batch.sizes, n_per_level)
        if not self.training:
            return boxes, {}
        labels, matched = self.assign_targets_to_anchors(anchors, batch.targets)
        wanted = self.box_coder.encode(matched, anchors)
        losses = self.compute_loss(objectness, deltas, labels, wanted)
        return boxes, dict(zip(("loss_objectness", "loss_rpn_box_reg"), losses, strict=True))


class _Heads(RoIHeads):
    """torchvision's heads; true masks are sampled from crops, masks are not pasted."""

    def __init__(self, channels, strides, n_labels, n_samples, box_nms, n_detections):
        names = [str(level) for level in range(len(strides))]
        hidden = 4 * channels
        super().__init__(
            box_roi_pool=_pooler(names, _BOX_SIZE, strides),
            box_head=TwoMLPHead(channels * _BOX_SIZE**2, hidden),
            box_predictor=FastRCNNPredictor(hidden, n_labels),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=n_samples,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=0.05,
            nms_thresh=box_nms,
            detections_per_img=n_detections,
            mask_roi_pool=_pooler(names, _MASK_SIZE, strides),
            mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(channels, channels, n_labels),
        )

        self.soft_nms = None
        self.any_class = False  # whether a score is the probability of any class, not of the best

    def check_targets(self, targets):
        """Masks come as crops, not under torchvision's name."""

    def forward(self, features, proposals, batch):
        padded = [tuple(batch.images.shape[-2:])] * len(batch)
        if self.training:
            return [], self._losses(features, proposals, batch, padded)
        logits, deltas = self._classify(features, proposals, padded)
        sources = self.postprocess_detections(logits, deltas, proposals, batch.sizes)
        boxes, labels = ([part[name] for part in sources] for name in ("boxes", "labels"))
        masks = self._mask_logits(features, boxes, padded)
        chosen = masks[torch.arange(len(masks), device=masks.device), torch.cat(labels)]
        masks = torch.sigmoid(chosen).split([len(part) for part in boxes])
        return [{**part, "masks": own} for part, own in zip(sources, masks, strict=True)], {}

    def _classify(self, features, proposals, padded):
        logits, deltas = self.box_predictor(
            self.box_head(self.box_roi_pool(features, proposals, padded))
        )
        return logits.float(), deltas.float()

    def _mask_logits(self, features, boxes, padded):
        return self.mask_predictor(
            self.mask_head(self.mask_roi_pool(features, boxes, padded))
        ).float()

    def _losses(self, features, proposals, batch, padded):
        proposals, matched, labels, wanted = self.select_training_samples(proposals, batch.targets)
        logits, deltas = self._classify(features, proposals, padded)
        class_loss, box_loss = fastrcnn_loss(logits, deltas, labels, wanted)
        positive = [torch.where(values > 0)[0] for values in labels]
        boxes, matched, labels = (
            [values[index] for values, index in zip(part, positive, strict=True)]
            for part in (proposals, matched, labels)
        )
        masks = self._mask_logits(features, boxes, padded)
        truth = [
            crop_masks(target["crops"], target["boxes"], box, index, masks.shape[-1])
            for target, box, index in zip(batch.targets, boxes, matched, strict=True)
        ]
        mask_loss = _mask_loss(masks, torch.cat(labels), torch.cat(truth))
        return {"loss_classifier": class_loss, "loss_box_reg": box_loss, "loss_mask": mask_loss}

    def postprocess_detections(self, class_logits, box_regression, proposals, image_shapes):
        """Return the likeliest class of each proposal, without those that better boxes overlap.

        A dict for each image: ``boxes``, ``scores``, ``labels`` and ``proba``.
        """
        n_boxes = [len(boxes_of_image) for boxes_of_image in proposals]
        boxes = self.box_coder.decode(box_regression, proposals)
        proba = functional.softmax(class_logits, -1)
        labels = proba[:, 1:].argmax(dim=1) + 1
        boxes = boxes[torch.arange(len(boxes), device=boxes.device), labels]
        parts = zip(boxes.split(n_boxes), proba.split(n_boxes), image_shapes, strict=True)
        return [self._select(*part) for part in parts]

    def _select(self, boxes, proba, shape):
        scores = 1 - proba[:, 0] if self.any_class else proba[:, 1:].amax(dim=1)
        boxes = box_ops.clip_boxes_to_image(boxes, shape)
        likely = (scores > self.score_thresh) & (boxes[:, 2:] - boxes[:, :2] > 0.5).all(dim=1)
        boxes, scores, proba = boxes[likely], scores[likely], proba[likely]
        keep = box_ops.nms(boxes, scores, self.nms_thresh)
        boxes, scores, proba = boxes[keep], scores[keep], proba[keep]
        if self.soft_nms is None:
            order = slice(self.detections_per_img)
        else:
            scores, order = soft_nms(boxes, scores, self.soft_nms, self.score_thresh)
            order = order[: self.detections_per_img]
        proba = proba[order]
        labels = proba[:, 1:].argmax(dim=1) + 1
        return {"boxes": boxes[order], "scores": scores[order], "labels": labels, "proba": proba}


def soft_nms(boxes, scores, sigma, least):
    """Lower the score of a box for each better box that it overlaps, by a Gaussian of the IoU [1]_.

    Two galaxies in almost the same box both stay. A hard cut would drop the fainter one.

    Parameters
    ----------
    boxes : tensor of shape (n, 4)
    scores : tensor of shape (n,)
    sigma : float
        Squared width of the Gaussian.
    least : float
        Boxes whose score sinks to this are dropped.

    Returns
    -------
    scores : tensor of shape (n,)
    order : tensor of int64, shape (n_kept,)
        Indices of the boxes that stay, the best one first.

    References
    ----------
    .. [1] Bodla et al. 2017, ICCV, 5562. :doi:`10.1109/ICCV.2017.593`
    """
    x0, y0, x1, y1 = boxes.double().cpu().numpy().T
    areas, left = (x1 - x0) * (y1 - y0), scores.double().cpu().numpy().copy()
    final, order = np.zeros(len(left)), []
    while len(left) and left[best := int(np.argmax(left))] > least:
        order.append(best)
        final[best] = left[best]
        width = np.minimum(x1, x1[best]) - np.maximum(x0, x0[best])
        height = np.minimum(y1, y1[best]) - np.maximum(y0, y0[best])
        both = np.maximum(width, 0) * np.maximum(height, 0)
        left *= np.exp(-((both / (areas + areas[best] - both)) ** 2) / sigma)
        left[best] = -1.0
    return scores.new_tensor(final), torch.tensor(order, dtype=torch.int64, device=scores.device)


def _pooler(names, size, strides):
    pooler = MultiScaleRoIAlign(names, size, sampling_ratio=2)
    # torchvision guesses these from the first image, and wrongly from one that is much smaller than
    # its padding
    pooler.scales = [1 / stride for stride in strides]
    first, last = (stride.bit_length() - 1 for stride in (strides[0], strides[-1]))
    pooler.map_levels = LevelMapper(first, last, canonical_scale=224, canonical_level=4)
    return pooler


def crop_masks(crops, corners, boxes, index, size):
    """Fraction of each cell of a grid over each box that its source covers: (n, size, size)."""
    origin = corners[index][:, [0, 1, 0, 1]] - 1  # of the crop with its rim
    own = torch.arange(len(index), device=boxes.device, dtype=boxes.dtype)
    rois = torch.cat([own[:, None], boxes - origin], dim=1)
    return roi_align(crops[index][:, None].float(), rois, (size, size), aligned=True)[:, 0]


def _mask_loss(logits, labels, truth):
    if not len(labels):
        return logits.sum() * 0
    own = logits[torch.arange(len(labels), device=logits.device), labels]
    return functional.binary_cross_entropy_with_logits(own, truth)
