"""Mask2Former on the U-Net's features, with a query for every peak that the U-Net sees."""

import torch
from torch import nn
from torch.nn import functional
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMaskedAttentionDecoder,
    Mask2FormerMLPPredictionHead,
)

from ..queries._data import truth_at
from ..queries._module import draw_weights, pick, show_likeliest
from ..queries._seeds import (
    SeededModule,
    cell_centres,
    features_at,
    log_distance,
    peak_losses,
    sine_position,
    stride_of,
)
from ._loss import PointLoss

__all__ = ["SeededMask2Former"]

_LEVELS = 3  # maps that the decoder attends to in turn


class SeededMask2Former(SeededModule):
    """Mask2Former [1]_ on a U-Net at full resolution, whose queries begin at peaks.

    The transformer decoder with masked attention, its heads, the matching and the losses are
    transformers'. Three things suit it to galaxies of a few pixels. Masks have the resolution of
    the image. Each query starts from the features at a peak of a centre map, which the U-Net learns
    beside the mask (activation-guided queries [2]_); its mask falls off with the distance from the
    peak, by an amount that it decides. Losses look at every pixel near a source.

    Parameters
    ----------
    n_bands, n_classes : int
        Bands of the input; classes with the sky.
    base_width, depth : int
        Of the `UNet`.
    d_model, n_heads, decoder_layers, feedforward : int
        Width, attention heads, layers and inner width of the transformer.
    n_queries : int
        Queries for sources. The sky has another one.
    queries : {"peaks", "learned"}
        Where queries come from; learned ones have no place of their own.
    no_object_weight : float
        Weight of queries without a source in the loss of classes.

    References
    ----------
    .. [1] Cheng et al. 2022, CVPR, 1280. :doi:`10.1109/CVPR52688.2022.00135`
    .. [2] He et al. 2023, CVPR, 23663. :doi:`10.1109/CVPR52729.2023.02266`
    """

    loss_names = (*SeededModule.loss_names, "loss_pixel", "loss_centre")

    def __init__(
        self,
        *,
        n_bands=1,
        n_classes=2,
        base_width=16,
        depth=5,
        d_model=64,
        n_heads=4,
        decoder_layers=3,
        feedforward=256,
        n_queries=64,
        queries="peaks",
        no_object_weight=0.1,
    ):
        super().__init__()
        self.n_classes = n_classes
        widths = self._make_unet(n_bands, base_width, depth)
        self.levels = [min(level, depth - 1) for level in range(_LEVELS)]
        self.projections = nn.ModuleList(
            [nn.Conv2d(widths[level], d_model, 1) for level in self.levels]
        )
        self.level_embed = nn.Embedding(_LEVELS, d_model)
        self.pixels = nn.Conv2d(base_width, d_model // 2, 3, padding=1)
        self._make_queries(n_queries, queries, sum(widths), d_model)
        config = Mask2FormerConfig(
            num_labels=n_classes,
            hidden_dim=d_model,
            mask_feature_size=d_model // 2,
            num_attention_heads=n_heads,
            dim_feedforward=feedforward,
            decoder_layers=decoder_layers + 1,  # transformers builds one less
            no_object_weight=no_object_weight,
        )
        self.decoder = Mask2FormerMaskedAttentionDecoder(config)
        draw_weights(self.decoder.layers)
        self.decoder.mask_predictor = _MaskPredictor(d_model, n_heads)
        self.classifier = nn.Linear(d_model, n_classes + 1)
        self.criterion = PointLoss(config)

    def forward(self, batch):
        """Return logits of the likeliest queries, or losses if the `SegmentBatch` has targets.

        Returns
        -------
        dict of Tensor
            ``classes`` (n, n_kept, n_classes + 1), ``masks`` (n, n_kept, height, width); or losses.
        """
        x, targets = batch.images, batch.targets
        height, width = x.shape[-2:]
        maps, pixel_logits = self._look(x)
        seeds, content, place = self._queries(maps, pixel_logits[:, 1])
        pixels = _Pixels(self.pixels(maps[-1]).float(), seeds)
        classes, embeddings = self._decode(maps, pixels, content, place)
        if targets is None:
            return show_likeliest(
                classes[-1],
                lambda queries: pixels.masks(embeddings[-1], queries)[..., :height, :width],
                batch.least,
            )
        masks = pixels.masks_at(embeddings, targets["points"])
        losses = self.criterion.weighted(masks, classes, truth_at(targets), targets["classes"])
        return {**losses, **peak_losses(pixel_logits, targets)}

    def _decode(self, maps, pixels, content, place):
        """Class logits and mask embeddings after each layer."""
        tokens, places, sizes = [], [], []
        for index, level in enumerate(self.levels):
            features = self.projections[index](maps[level])
            tokens.append(
                (features.flatten(2) + self.level_embed.weight[index][:, None]).permute(2, 0, 1)
            )
            grid = cell_centres(features, stride_of(features, maps))
            places.append(sine_position(grid, features.shape[1])[:, None].expand_as(tokens[-1]))
            sizes.append(features.shape[-2:])
        output = self.decoder(
            inputs_embeds=content.transpose(0, 1),
            multi_stage_positional_embeddings=places,
            pixel_embeddings=pixels,
            encoder_hidden_states=tokens,
            query_position_embeddings=place.transpose(0, 1),
            feature_size_list=sizes,
            return_dict=True,
        )
        classes = [
            self.classifier(features.transpose(0, 1)).float()
            for features in output.intermediate_hidden_states
        ]
        return classes, output.masks_queries_logits


class _MaskPredictor(nn.Module):
    """Return embeddings of masks, and where to attend, in place of transformers' mask predictor."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.mask_embedder = Mask2FormerMLPPredictionHead(d_model, d_model, d_model // 2 + 1)

    def forward(self, outputs, pixel_embeddings, attention_mask_target_size):
        embedding = self.mask_embedder(outputs.transpose(0, 1)).float()
        with torch.no_grad():
            mask = pixel_embeddings.coarse_masks(embedding)
            # the largest value, since a galaxy of six pixels would vanish between the places of an
            # interpolation
            factor = max(mask.shape[-1] // attention_mask_target_size[-1], 1)
            mask = functional.max_pool2d(mask, factor)
            if mask.shape[-2:] != attention_mask_target_size:
                mask = functional.interpolate(mask, attention_mask_target_size)
            hidden = (mask <= 0).flatten(2)[:, None].expand(-1, self.n_heads, -1, -1).flatten(0, 1)
        return embedding, hidden


class _Pixels:
    """Features of the pixels, and the masks that embeddings make of them.

    An embedding holds the weights of the features and how fast the mask falls off with the distance
    from the seed.
    """

    def __init__(self, features, seeds):
        self.features, self.seeds = features, seeds
        self._coarse = None

    def masks(self, embedding, queries):
        """Mask logits (n, n_chosen, height, width) of some queries (n, n_chosen)."""
        distance = None
        if self.seeds is not None:
            distance = log_distance(pick(self.seeds, queries), cell_centres(self.features, 1))
            distance = distance * (queries < embedding.shape[1] - 1)[..., None]  # not the sky's
        masks = _combine(pick(embedding, queries), self.features.flatten(2), distance)
        return masks.unflatten(2, self.features.shape[-2:])

    def coarse_masks(self, embedding):
        """Mask logits at half the resolution; what they need is made once."""
        if self._coarse is None:
            features = functional.avg_pool2d(self.features.detach(), 2)
            self._coarse = features, self._distance(cell_centres(features, 2))
        features, distance = self._coarse
        return _combine(embedding, features.flatten(2), distance).unflatten(2, features.shape[-2:])

    def masks_at(self, embeddings, points):
        """Mask logits (n, n_queries, n_points) of several embeddings at pixels (n, n_points, 2)."""
        features, distance = (
            features_at(self.features, points, 1).transpose(1, 2),
            self._distance(points),
        )
        return [_combine(embedding, features, distance) for embedding in embeddings]

    def _distance(self, places):
        return (
            None
            if self.seeds is None
            else functional.pad(log_distance(self.seeds[:, :-1], places), (0, 0, 0, 1))
        )


def _combine(embedding, features, distance):
    logits = torch.einsum("bqc,bcp->bqp", embedding[..., :-1], features)
    return (
        logits if distance is None else logits - functional.softplus(embedding[..., -1:]) * distance
    )
