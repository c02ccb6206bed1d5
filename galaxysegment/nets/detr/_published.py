"""Panoptic DETR of transformers' modules; only matched and likely queries get masks."""

import json

import torch
from torch import nn
from torch.nn import functional
from transformers import DetrConfig, DetrForSegmentation

from ..queries._backbones import adapt_bands, resnet_config, resnet_stages, set_stem_stride, thaw
from ..queries._module import QueryModule, draw_weights, pick, show_likeliest
from ._loss import DETR_LOSSES, DETR_MAX_NORM, DetrLoss, paint_masks

__all__ = ["PublishedDetr"]


class PublishedDetr(QueryModule):
    """`transformers.DetrForSegmentation` [1]_ on a ResNet; only matched queries get masks.

    The published form makes a mask for every query, but compares only a few of them with the
    truth. Masks are compared at every pixel near a source (see `SegmentCollate`), as in
    `SeededMask2Former`.

    Parameters
    ----------
    n_bands, n_classes : int
        Bands of the input; classes with the sky.
    backbone : {"light", "resnet18", "resnet50"}
    stem_stride : {1, 2, 4}
        Pixels between the features of the first stage, and of the masks; those of the transformer
        are 8 times as far.
    d_model, n_heads, encoder_layers, decoder_layers, feedforward : int
        Of the transformer.
    n_queries : int
        Sources and sky together are at most so many.
    no_object_weight : float
        Weight of queries without a segment in the loss of classes.
    dropout : float
    config : str or None
        JSON of a `transformers.DetrConfig` that takes the place of all but the first two; its
        backbone keeps its normalizations frozen, as published.

    References
    ----------
    .. [1] Carion et al. 2020, ECCV, 213. :doi:`10.1007/978-3-030-58452-8_13`
    """

    architecture = "detr"
    model_class = DetrForSegmentation
    loss_names = DETR_LOSSES
    max_norm = DETR_MAX_NORM
    multiple, halo = 1, 0
    # From scratch, the attention that makes masks knows where cells and queries are, and is told
    # relative to its mean, of which it has thousandths: else the masks can neither tell one source
    # from another nor see the attention beside the features. A checkpoint has learnt to live
    # without.
    located = False

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
        self.located = True
        core = self.model.detr.model
        draw_weights(core.encoder, core.decoder)
        nn.init.normal_(core.query_position_embeddings.weight)
        thaw(self.model.detr.model.backbone)
        set_stem_stride(self.model.detr.model.backbone.model, stem_stride)

    def _take(self, model):
        """Train `model`, a `DetrForSegmentation`."""
        self.model = model
        self.criterion = DetrLoss(model.config)
        self.n_queries = model.config.num_queries

    def body(self):
        """Return the backbone and its stages, the stem being the first."""
        return self.model.detr.model.backbone, resnet_stages(self.model.detr.model.backbone.model)

    def forward(self, batch):
        """Return logits of the likeliest queries, or losses if the `SegmentBatch` has targets.

        Returns
        -------
        dict of Tensor
            ``classes`` (n, n_kept, n_classes + 1), ``masks`` (n, n_kept, height, width); or losses.
        """
        shape = batch.images.shape[-2:]
        features, states, memory, place = self._attend(batch.images)
        detector = self.model.detr
        logits, boxes = (
            detector.class_labels_classifier(states).float(),
            detector.bbox_predictor(states),
        )
        boxes = boxes.float().sigmoid()

        def paint(queries):
            return self._masks(features, states[-1], memory, place, queries)

        if batch.targets is not None:
            losses, indices = self.criterion.of_sets(logits, boxes, batch.targets)
            return {**losses, **self.criterion.of_masks(paint, indices, batch.targets)}
        shown = show_likeliest(logits[-1], paint, batch.least)
        return {
            **shown,
            "masks": functional.interpolate(
                shown["masks"], shape, mode="bilinear", align_corners=False
            ),
        }

    def _attend(self, x):
        """Return features of the stages, states of the queries by layer, memory and its places."""
        core = self.model.detr.model
        everywhere = torch.ones((len(x), *x.shape[-2:]), device=x.device)
        features = [part for part, _ in core.backbone(x, everywhere)]
        projected = core.input_projection(features[-1])
        seen = torch.ones((len(x), *projected.shape[-2:]), dtype=torch.bool, device=x.device)
        place = core.position_embedding(
            shape=projected.shape, device=x.device, dtype=projected.dtype, mask=seen
        )
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
        memory, place = (
            part.transpose(1, 2).unflatten(2, projected.shape[-2:]) for part in (encoded, place)
        )
        return [*features, projected], torch.stack(states), memory, place

    def _masks(self, features, states, memory, place, queries):
        """Mask logits (n, n_chosen, …) of some queries, at the resolution of the first stage."""
        if self.located:
            states, memory = (
                states + self.model.detr.model.query_position_embeddings.weight,
                memory + place,
            )
        attention = self.model.bbox_attention(pick(states, queries), memory)
        if self.located:
            attention = torch.log1p(attention * attention[0, 0].numel())
        *stages, projected = features
        return paint_masks(self.model.mask_head, projected, attention, stages[2::-1])
