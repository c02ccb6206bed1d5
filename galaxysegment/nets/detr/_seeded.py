"""Panoptic DETR on the U-Net's features, with a query for every peak that the U-Net sees."""

import torch
from torch import nn
from torch.nn import functional
from transformers import DetrConfig
from transformers.models.detr.modeling_detr import (
    DetrDecoder,
    DetrEncoder,
    DetrMaskHeadSmallConv,
    DetrMHAttentionMap,
    DetrMLPPredictionHead,
)

from ..queries._module import draw_weights, pick, show_likeliest
from ..queries._seeds import (
    SeededModule,
    cell_centres,
    log_distance,
    peak_losses,
    sine_position,
    stride_of,
)
from ._loss import DETR_LOSSES, DETR_MAX_NORM, DetrLoss, paint_masks

__all__ = ["SeededDetr"]

_BOX = 8.0  # pixels; size of a box before anything is learnt
_STEP = 4.0  # pixels by which an output of one moves a box
_MASK_WEIGHT = 5  # of both losses; 1 as published, but masks are made after the last layer only


class SeededDetr(SeededModule):
    """Panoptic DETR [1]_ on a U-Net at full resolution, whose queries begin at peaks.

    Encoder, decoder, heads, matching and losses are transformers'. DETR needs hundreds of epochs to
    learn where each query looks. Here each query starts from the features at a peak of a centre
    map, which the U-Net learns beside the mask [2]_. Its box is relative to that peak. Its mask,
    and the attention that makes the mask, fall off with the distance from the peak, by an amount
    that the query decides, as in [3]_.

    Parameters
    ----------
    n_bands, n_classes : int
        Bands of the input; classes with the sky.
    base_width, depth : int
        Of the `UNet`.
    d_model, n_heads, encoder_layers, decoder_layers, feedforward : int
        Of the transformer, which sees features at a stride of 8 pixels.
    n_queries : int
        Queries for sources. The sky has another one.
    queries : {"peaks", "learned"}
        Where queries begin; learned places are the same in each image.
    no_object_weight : float
        Weight of queries without a source in the loss of classes.

    References
    ----------
    .. [1] Carion et al. 2020, ECCV, 213. :doi:`10.1007/978-3-030-58452-8_13`
    .. [2] He et al. 2023, CVPR, 23663. :doi:`10.1109/CVPR52729.2023.02266`
    .. [3] Gao et al. 2021, ICCV, 3621. :doi:`10.1109/ICCV48922.2021.00360`
    """

    loss_names = (*DETR_LOSSES, "loss_pixel", "loss_centre")
    max_norm = DETR_MAX_NORM

    def __init__(
        self,
        *,
        n_bands=1,
        n_classes=2,
        base_width=16,
        depth=5,
        d_model=64,
        n_heads=8,
        encoder_layers=1,
        decoder_layers=3,
        feedforward=256,
        n_queries=64,
        queries="peaks",
        no_object_weight=0.1,
    ):
        super().__init__()
        widths = self._make_unet(n_bands, base_width, depth)
        self._make_queries(n_queries, queries, sum(widths), d_model)
        if queries == "learned":
            self.anchors = nn.Parameter(torch.rand(n_queries, 2))
        # the map of the transformer, and the three that refine masks
        self.levels = [max(depth - back, 0) for back in (4, 3, 2, 1)]
        config = DetrConfig(
            num_labels=n_classes,
            d_model=d_model,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            encoder_attention_heads=n_heads,
            decoder_attention_heads=n_heads,
            encoder_ffn_dim=feedforward,
            decoder_ffn_dim=feedforward,
            dropout=0.0,
            auxiliary_loss=True,
            eos_coefficient=no_object_weight,
            mask_loss_coefficient=_MASK_WEIGHT,
            dice_loss_coefficient=_MASK_WEIGHT,
        )
        deep, *finer = (widths[level] for level in self.levels)
        self.projection = nn.Conv2d(deep, d_model, 1)
        self.encoder, self.decoder = DetrEncoder(config), DetrDecoder(config)
        draw_weights(self.encoder, self.decoder)
        self.classifier = nn.Linear(d_model, n_classes + 1)
        self.box_head = DetrMLPPredictionHead(d_model, d_model, 4, 3)
        self.attention = DetrMHAttentionMap(d_model, n_heads)
        self.fall = nn.Linear(
            d_model, n_heads + 1
        )  # of the attention in each head, and of the mask
        self.mask_head = DetrMaskHeadSmallConv(d_model + n_heads, finer, d_model)
        self.criterion = DetrLoss(config)

    def forward(self, batch):
        """Return logits of the likeliest queries, or losses if the `SegmentBatch` has targets.

        Returns
        -------
        dict of Tensor
            ``classes`` (n, n_kept, n_classes + 1), ``masks`` (n, n_kept, height, width); or losses.
        """
        shape, targets = batch.images.shape[-2:], batch.targets
        maps, pixel_logits = self._look(batch.images)
        seeds, content, place = self._located_queries(maps, pixel_logits[:, 1], shape)
        states, projected, memory = self._attend(maps, content, place)
        logits = self.classifier(states).float()

        def paint(queries):
            return self._masks(maps, projected, memory, states[-1] + place, seeds, queries)[
                ..., : shape[0], : shape[1]
            ]

        if targets is None:
            return show_likeliest(logits[-1], paint, batch.least)
        losses, indices = self.criterion.of_sets(logits, self._boxes(states, seeds, shape), targets)
        masks = self.criterion.of_masks(paint, indices, targets)
        return {**losses, **masks, **peak_losses(pixel_logits, targets)}

    def _located_queries(self, maps, heat, shape):
        """Seeds, content and place of every query; learned ones have places too."""
        seeds, content, place = self._queries(maps, heat)
        if seeds is None:
            frame = torch.tensor(shape, device=heat.device)
            seeds = functional.pad(self.anchors * frame, (0, 0, 0, 1)).expand(len(heat), -1, -1)
            where = sine_position(seeds[:, :-1], place.shape[-1])
            place = torch.cat([where, place[:, -1:]], dim=1)
        return seeds, content, place

    def _attend(self, maps, content, place):
        """Return states of the queries by layer, features of the cells, the encoder's output."""
        deep = maps[self.levels[0]]
        projected = self.projection(deep)
        cells = sine_position(cell_centres(deep, stride_of(deep, maps)), projected.shape[1]).expand(
            len(deep), -1, -1
        )
        encoded = self.encoder(
            inputs_embeds=projected.flatten(2).transpose(1, 2), spatial_position_embeddings=cells
        ).last_hidden_state
        states = self.decoder(
            inputs_embeds=content,
            spatial_position_embeddings=cells,
            object_queries_position_embeddings=place,
            encoder_hidden_states=encoded,
        ).intermediate_hidden_states
        memory = (encoded + cells).transpose(1, 2).unflatten(2, projected.shape[-2:])
        return states, projected, memory

    def _boxes(self, states, seeds, shape):
        """Boxes as fractions of the frame, centre and size; the sky's begin as the whole frame."""
        frame = torch.tensor(shape[::-1], device=states.device, dtype=torch.float32)
        offset, growth = self.box_head(states).float().clamp(-8, 8).split(2, dim=-1)
        centre = torch.cat(
            [seeds[:, :-1].flip(-1) + 0.5, (frame / 2).expand(len(seeds), 1, 2)], dim=1
        )
        size = torch.cat(
            [torch.full_like(centre[:, :-1], _BOX), frame.expand(len(seeds), 1, 2)], dim=1
        )
        return torch.cat(
            [centre + _STEP * offset, size * (growth / 2).exp()], dim=-1
        ) / frame.repeat(2)

    def _masks(self, maps, projected, memory, states, seeds, queries):
        """Mask logits (n, n_chosen, …) of some queries (n, n_chosen), at full resolution."""
        is_source = queries[..., None] < states.shape[1] - 1
        states, seeds = pick(states, queries), pick(seeds, queries)
        fall = functional.softplus(self.fall(states).float()) * is_source
        near = log_distance(seeds, cell_centres(projected, stride_of(projected, maps)))
        prior = -(fall[..., :-1, None] * near[:, :, None]).unflatten(3, projected.shape[-2:])
        attention = self.attention(states, memory, prior)
        # relative to its mean, which makes attention as large as the features
        attention = torch.log1p(attention * attention[0, 0].numel())
        masks = paint_masks(
            self.mask_head, projected, attention, [maps[level] for level in self.levels[1:]]
        )
        far = log_distance(seeds, cell_centres(maps[-1], 1)).unflatten(2, maps[-1].shape[-2:])
        return masks - fall[..., -1, None, None] * far
