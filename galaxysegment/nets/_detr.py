"""Panoptic DETR, transformers' modules: masks are made only for the queries that need one."""

import json

import torch
from torch import nn
from torch.nn import functional
from transformers import DetrConfig, DetrForSegmentation
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss, dice_loss, sigmoid_focal_loss

from ._segment_data import masks_at, truth_at
from ._set_module import SetModule
from ._transformer_backbones import adapt_bands, resnet_config, resnet_stages, set_stem_stride, thaw

__all__ = ["PanopticDetr"]

_HARDLY = 0.05  # queries with less confidence get no mask in prediction


class PanopticDetr(SetModule):
    """`transformers.DetrForSegmentation` [1]_ on a ResNet that learns, with masks for matched queries only.

    The published form makes a mask for every query, where a few of them are compared with the truth. Masks are
    compared at every pixel near a source (see `SegmentCollate`), as in `SeededMask2Former`.

    Parameters
    ----------
    n_bands, n_classes : int
        Bands of the input; classes with the sky.
    backbone : {"light", "resnet18", "resnet50"}
    stem_stride : {1, 2, 4}
        Pixels between the features of the first stage, and of the masks; those of the transformer are 8 times as far.
    d_model, n_heads, encoder_layers, decoder_layers, feedforward : int
        Of the transformer.
    n_queries : int
        Sources and sky together are at most so many.
    no_object_weight : float
        Weight of queries without a segment in the loss of classes.
    dropout : float
    config : str or None
        JSON of a `transformers.DetrConfig` that takes the place of all but the first two; its backbone keeps its
        normalizations frozen, as published.

    References
    ----------
    .. [1] Carion et al. 2020, ECCV, 213. :doi:`10.1007/978-3-030-58452-8_13`
    """

    multiple, halo = 1, 0
    # Attention over thousands of cells is of the order of a thousandth in each: beside features of order one the masks
    # cannot see it, and all queries get the same. From scratch it is taken relative to its mean; a checkpoint has
    # learnt to live with it.
    relative_attention = False

    def __init__(
        self,
        *,
        n_bands=1,
        n_classes=2,
        backbone="light",
        stem_stride=1,
        d_model=64,
        n_heads=8,
        encoder_layers=2,
        decoder_layers=3,
        feedforward=256,
        n_queries=64,
        no_object_weight=0.1,
        dropout=0.0,
        config=None,
    ):
        super().__init__()
        if config is not None:
            self._take(DetrForSegmentation(DetrConfig.from_dict(json.loads(config))))
            self.model.requires_grad_(True)
            adapt_bands(self.body()[0], n_bands)
            return
        config = DetrConfig(
            backbone_config=resnet_config(backbone, n_bands),
            use_timm_backbone=False,
            num_channels=n_bands,
            num_labels=n_classes,
            num_queries=n_queries,
            d_model=d_model,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            encoder_attention_heads=n_heads,
            decoder_attention_heads=n_heads,
            encoder_ffn_dim=feedforward,
            decoder_ffn_dim=feedforward,
            dropout=dropout,
            auxiliary_loss=True,
            eos_coefficient=no_object_weight,
        )
        self._take(DetrForSegmentation(config))
        self.relative_attention = True
        _initialize(self.model.detr.model)
        thaw(self.model.detr.model.backbone)
        set_stem_stride(self.model.detr.model.backbone.model, stem_stride)

    def _take(self, model):
        """Make `model`, a `DetrForSegmentation`, the one that is trained."""
        self.model, config = model, model.config
        matcher = HungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
        self.criterion = ImageLoss(matcher, config.num_labels, config.eos_coefficient, ["labels", "boxes"])
        self.n_queries = config.num_queries

    def body(self):
        """Return the backbone and its stages, the stem being the first."""
        return self.model.detr.model.backbone, resnet_stages(self.model.detr.model.backbone.model)

    def forward(self, batch):
        """Return logits of the likeliest queries, or the losses where the `SegmentBatch` has targets.

        Returns
        -------
        dict of Tensor
            ``classes`` (n, n_kept, n_classes + 1), ``masks`` (n, n_kept, height, width); or losses.
        """
        shape = batch.images.shape[-2:]
        features, states, memory = self._attend(batch.images)
        detector = self.model.detr
        logits, boxes = detector.class_labels_classifier(states).float(), detector.bbox_predictor(states)
        boxes = boxes.float().sigmoid()
        if batch.targets is None:
            kept = _likeliest(logits[-1])
            masks = self._masks(features, states[-1], memory, kept)
            masks = functional.interpolate(masks, shape, mode="bilinear", align_corners=False)
            return {"classes": logits[-1].gather(1, kept[..., None].expand(-1, -1, logits.shape[-1])), "masks": masks}
        truth = [
            {"class_labels": classes, "boxes": box}
            for classes, box in zip(batch.targets["classes"], batch.targets["boxes"], strict=True)
        ]
        losses, indices = self._set_losses(logits, boxes, truth)
        return {**losses, **self._mask_losses(features, states[-1], memory, indices, batch.targets)}

    def _attend(self, x):
        """Features of the backbone's stages, states of the queries after each layer, and the encoder's memory."""
        core = self.model.detr.model
        everywhere = torch.ones((len(x), *x.shape[-2:]), device=x.device)
        features = [one for one, _ in core.backbone(x, everywhere)]
        projected = core.input_projection(features[-1])
        seen = torch.ones((len(x), *projected.shape[-2:]), dtype=torch.bool, device=x.device)
        place = core.position_embedding(shape=projected.shape, device=x.device, dtype=projected.dtype, mask=seen)
        place = place.flatten(2).transpose(1, 2)
        encoded = core.encoder(
            inputs_embeds=projected.flatten(2).transpose(1, 2), spatial_position_embeddings=place
        ).last_hidden_state
        queries = core.query_position_embeddings.weight.expand(len(x), -1, -1)
        decoded = core.decoder(
            inputs_embeds=torch.zeros_like(queries),
            spatial_position_embeddings=place,
            object_queries_position_embeddings=queries,
            encoder_hidden_states=encoded,
        )
        states = [decoded.last_hidden_state]
        if decoded.intermediate_hidden_states is not None:
            states = [*decoded.intermediate_hidden_states[:-1], *states]
        memory = encoded.transpose(1, 2).unflatten(2, projected.shape[-2:])
        return [*features, projected], torch.stack(states), memory

    def _masks(self, features, states, memory, queries):
        """Mask logits (n, n_chosen, …) of some queries (n, n_chosen), at the resolution of the first stage."""
        chosen = states.gather(1, queries[..., None].expand(-1, -1, states.shape[-1]))
        attention = self.model.bbox_attention(chosen, memory)
        if self.relative_attention:
            attention = attention * attention[0, 0].numel()
        *stages, projected = features
        return self._paint(projected, attention, stages[2::-1]).unflatten(0, queries.shape)[:, :, 0].float()

    def _paint(self, projected, attention, stages):
        """What `DetrMaskHeadSmallConv` does, but adapts the features of the image before it copies them per query."""
        head, n_queries = self.model.mask_head, attention.shape[1]
        found = torch.cat([projected.repeat_interleave(n_queries, dim=0), attention.flatten(0, 1)], dim=1)
        found = head.conv2(head.conv1(found))
        for fusion, stage in zip(head.fpn_stages, stages, strict=True):
            adapted = fusion.fpn_adapter(stage).repeat_interleave(n_queries, dim=0)
            found = fusion.refine(adapted + functional.interpolate(found, adapted.shape[-2:]))
        return head.output_conv(found)

    def _set_losses(self, logits, boxes, truth):
        """Weighted losses of classes and boxes over all layers, and the matching of the last."""
        n_boxes = max(sum(len(one["boxes"]) for one in truth), 1)
        sums = {"loss_ce": 0.0, "loss_bbox": 0.0, "loss_giou": 0.0}
        for layer in zip(logits, boxes, strict=True):
            outputs = dict(zip(("logits", "pred_boxes"), layer, strict=True))
            indices = self.criterion.matcher(outputs, truth)
            for kind in self.criterion.losses:
                for name, loss in self.criterion.get_loss(kind, outputs, truth, indices, n_boxes).items():
                    sums[name] = sums[name] + loss
        config = self.model.config
        return {
            "loss_class": sums["loss_ce"],
            "loss_box": config.bbox_loss_coefficient * sums["loss_bbox"],
            "loss_giou": config.giou_loss_coefficient * sums["loss_giou"],
        }, indices

    def _mask_losses(self, features, states, memory, indices, targets):
        most = max(len(queries) for queries, _ in indices)
        chosen = torch.stack([functional.pad(queries, (0, most - len(queries))) for queries, _ in indices])
        masks = self._masks(features, states, memory, chosen.to(states.device))
        found = masks_at(masks, targets["points"], targets["labels"].shape[-2:])
        found = torch.cat([one[: len(queries)] for one, (queries, _) in zip(found, indices, strict=True)])
        truth = truth_at(targets)
        truth = torch.cat([one[segments] for one, (_, segments) in zip(truth, indices, strict=True)])
        config, n_masks = self.model.config, max(len(truth), 1)
        return {
            "loss_mask": config.mask_loss_coefficient * sigmoid_focal_loss(found, truth, n_masks),
            "loss_dice": config.dice_loss_coefficient * dice_loss(found, truth, n_masks),
        }


def _initialize(core):
    """Draw weights as published; those of transformers, 0.02 throughout, leave all queries alike for long."""
    for weight in [*core.encoder.parameters(), *core.decoder.parameters()]:
        if weight.dim() > 1:
            nn.init.xavier_uniform_(weight)
    nn.init.normal_(core.query_position_embeddings.weight)


def _likeliest(logits):
    """Queries (n, n_kept) by decreasing probability of being a segment, as many as any image may need."""
    proba = 1 - logits.softmax(-1)[..., -1]
    count = int((proba >= _HARDLY).sum(dim=1).max().clamp(min=1))
    return proba.topk(count, dim=1).indices
