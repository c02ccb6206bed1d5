"""Mask2Former on the U-Net's features, with a query for every peak that the U-Net sees."""

import math

import torch
from torch import nn
from torch.nn import functional
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMaskedAttentionDecoder,
    Mask2FormerMLPPredictionHead,
)

from ._losses import BCEDiceLoss
from ._segment_data import truth_at
from ._set_loss import PointLoss
from ._set_module import SetModule
from ._unet import UNet

__all__ = ["SKY", "SeededMask2Former"]

SKY = 0  # class of the stuff
_LEVELS = 3  # maps that the decoder attends to in turn
_CORE = 5.0  # pixels; inside, the distance from a seed hardly counts


class SeededMask2Former(SetModule):
    """Mask2Former [1]_ whose pixel decoder is a U-Net at full resolution and whose queries begin at peaks.

    The transformer decoder with masked attention, its heads, the matching and the losses are transformers'. Three
    things suit it to galaxies of a few pixels: masks have the resolution of the image; each query starts from the
    features at a peak of a centre map that the U-Net learns beside the mask (activation-guided queries [2]_), and its
    mask falls off with the distance from there, by an amount that it decides; losses look at every pixel near a source.

    Parameters
    ----------
    n_bands, n_classes : int
        Bands of the input; classes with the sky.
    base_width, depth : int
        Of the `UNet`.
    d_model, n_heads, decoder_layers, feedforward : int
        Width, attention heads, layers and inner width of the transformer.
    n_queries : int
        Queries for sources; one more is the sky's.
    queries : {"peaks", "learned"}
        Where queries come from; learned ones have no place of their own.
    no_object_weight : float
        Weight of queries without a source in the loss of classes.

    References
    ----------
    .. [1] Cheng et al. 2022, CVPR, 1280. :doi:`10.1109/CVPR52688.2022.00135`
    .. [2] He et al. 2023, CVPR, 23663. :doi:`10.1109/CVPR52729.2023.02266`
    """

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
        self.n_queries, self.queries, self.n_classes = n_queries, queries, n_classes
        self.unet = UNet(n_bands=n_bands, base_width=base_width, depth=depth, n_outputs=2)
        self.multiple, self.halo = self.unet.multiple, self.unet.halo
        # few pixels are a centre: begin by saying so, or the first steps unlearn it
        nn.init.constant_(self.unet.head.bias[1:], -4.0)
        widths = [base_width * 2**level for level in reversed(range(depth))]
        self.levels = [min(level, depth - 1) for level in range(_LEVELS)]
        self.projections = nn.ModuleList([nn.Conv2d(widths[level], d_model, 1) for level in self.levels])
        self.level_embed = nn.Embedding(_LEVELS, d_model)
        self.pixels = nn.Conv2d(base_width, d_model // 2, 3, padding=1)
        if queries == "peaks":
            self.start = nn.Sequential(nn.Linear(sum(widths), d_model), nn.LayerNorm(d_model))
        n_learned = 1 if queries == "peaks" else n_queries + 1
        self.learned, self.learned_place = nn.Embedding(n_learned, d_model), nn.Embedding(n_learned, d_model)
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
        for weight in self.decoder.layers.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
        self.decoder.mask_predictor = _MaskPredictor(d_model, n_heads)
        self.classifier = nn.Linear(d_model, n_classes + 1)
        self.criterion = PointLoss(config)
        self.pixel_loss = BCEDiceLoss()

    def body(self):
        """Return the U-Net and the levels of its encoder."""
        return self.unet, list(self.unet.encoder)

    def forward(self, batch):
        """Return the logits of all queries, or the losses where the `SegmentBatch` has targets.

        Returns
        -------
        dict of Tensor
            ``classes`` (n, n_queries + 1, n_classes + 1), ``masks`` (n, n_queries + 1, height, width); or losses.
        """
        x, targets = batch.images, batch.targets
        maps = self.unet.features(x)
        pixel_logits = self.unet.head(maps[-1]).float()
        height, width = x.shape[-2:]
        pixel_logits = pixel_logits[..., :height, :width]
        seeds, content, place = self._queries(maps, pixel_logits[:, 1])
        pixels = _Pixels(self.pixels(maps[-1]).float(), seeds)
        classes, embeddings = self._decode(maps, pixels, content, place)
        if targets is None:
            return {"classes": classes[-1], "masks": pixels.masks(embeddings[-1])[..., :height, :width]}
        masks = pixels.masks_at(embeddings, targets["points"])
        losses = self.criterion.weighted(masks, classes, truth_at(targets), targets["classes"])
        return {**losses, **self._pixel_losses(pixel_logits, targets)}

    def _queries(self, maps, heat):
        """Seeds (n, n_queries + 1, 2) in pixels with a last one for the sky, content and place of every query."""
        n = len(heat)
        learned, learned_place = (one.weight[None].expand(n, -1, -1) for one in (self.learned, self.learned_place))
        if self.queries == "learned":
            return None, learned, learned_place
        seeds = find_peaks(heat.detach(), self.n_queries)
        content = self.start(torch.cat([_at(one, seeds, _stride(one, maps)) for one in maps], dim=-1))
        place = sine_position(seeds.float(), content.shape[-1])
        seeds = functional.pad(seeds, (0, 0, 0, 1))
        return seeds, torch.cat([content, learned], dim=1), torch.cat([place, learned_place], dim=1)

    def _decode(self, maps, pixels, content, place):
        """Class logits and mask embeddings after each layer."""
        tokens, places, sizes = [], [], []
        for index, level in enumerate(self.levels):
            one = self.projections[index](maps[level])
            tokens.append((one.flatten(2) + self.level_embed.weight[index][:, None]).permute(2, 0, 1))
            grid = _grid(one, _stride(one, maps))
            places.append(sine_position(grid, one.shape[1])[:, None].expand_as(tokens[-1]))
            sizes.append(one.shape[-2:])
        found = self.decoder(
            inputs_embeds=content.transpose(0, 1),
            multi_stage_positional_embeddings=places,
            pixel_embeddings=pixels,
            encoder_hidden_states=tokens,
            query_position_embeddings=place.transpose(0, 1),
            feature_size_list=sizes,
            return_dict=True,
        )
        classes = [self.classifier(one.transpose(0, 1)).float() for one in found.intermediate_hidden_states]
        return classes, found.masks_queries_logits

    def _pixel_losses(self, logits, targets):
        is_source = (targets["labels"] > 0).float()
        mask = self.pixel_loss(logits, torch.stack([is_source, targets["weight"]], dim=1))
        centre = centre_loss(logits[:, 1], targets["heat"], targets["weight"])
        return {"loss_pixel": 5 * mask, "loss_centre": 2 * centre}


class _MaskPredictor(nn.Module):
    """Stands in for transformers' mask predictor: embeddings of masks instead of masks, and where to attend."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.mask_embedder = Mask2FormerMLPPredictionHead(d_model, d_model, d_model // 2 + 1)

    def forward(self, outputs, pixel_embeddings, attention_mask_target_size):
        embedding = self.mask_embedder(outputs.transpose(0, 1)).float()
        with torch.no_grad():
            mask = pixel_embeddings.coarse_masks(embedding)
            # the largest value, since a galaxy of six pixels would vanish between the places of an interpolation
            factor = max(mask.shape[-1] // attention_mask_target_size[-1], 1)
            mask = functional.max_pool2d(mask, factor)
            if mask.shape[-2:] != attention_mask_target_size:
                mask = functional.interpolate(mask, attention_mask_target_size)
            hidden = (mask <= 0).flatten(2)[:, None].expand(-1, self.n_heads, -1, -1).flatten(0, 1)
        return embedding, hidden


class _Pixels:
    """Features of the pixels, and the masks that embeddings make of them.

    An embedding holds the weights of the features and how fast the mask falls off with the distance from the seed.
    """

    def __init__(self, features, seeds):
        self.features, self.seeds = features, seeds
        self._coarse = None

    def masks(self, embedding):
        """Mask logits (n, n_queries, height, width)."""
        masks = _combine(embedding, self.features.flatten(2), self._distance(_grid(self.features, 1)))
        return masks.unflatten(2, self.features.shape[-2:])

    def coarse_masks(self, embedding):
        """Mask logits at half the resolution; what they need is made once."""
        if self._coarse is None:
            features = functional.avg_pool2d(self.features.detach(), 2)
            self._coarse = features, self._distance(_grid(features, 2))
        features, distance = self._coarse
        return _combine(embedding, features.flatten(2), distance).unflatten(2, features.shape[-2:])

    def masks_at(self, embeddings, points):
        """Mask logits (n, n_queries, n_points) of several embeddings at pixels (n, n_points, 2)."""
        features, distance = _at(self.features, points, 1).transpose(1, 2), self._distance(points)
        return [_combine(one, features, distance) for one in embeddings]

    def _distance(self, places):
        """Logarithm of the distance (n, n_queries, n_places) from the seeds; zero for the sky, the last query."""
        if self.seeds is None:
            return None
        seeds = self.seeds[:, :-1].float()
        offset_y, offset_x = (seeds[:, :, None, axis] - places[..., None, :, axis] for axis in (0, 1))
        return functional.pad(torch.log1p((offset_y**2 + offset_x**2) / _CORE**2), (0, 0, 0, 1))


def _combine(embedding, features, distance):
    logits = torch.einsum("bqc,bcp->bqp", embedding[..., :-1], features)
    return logits if distance is None else logits - functional.softplus(embedding[..., -1:]) * distance


def _stride(one, maps):
    return maps[-1].shape[-1] // one.shape[-1]


def _grid(one, stride):
    """Centres of the cells of a map in pixels of the image, (n_cells, 2)."""
    axes = [(torch.arange(size, device=one.device) + 0.5) * stride - 0.5 for size in one.shape[-2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)


def _at(one, points, stride):
    """Features (n, n_points, n_features) of a map at pixels (n, n_points, 2) of the image."""
    cells = torch.div(points, stride, rounding_mode="floor").long()
    index = (cells[..., 0] * one.shape[-1] + cells[..., 1])[:, None].expand(-1, one.shape[1], -1)
    return one.flatten(2).gather(2, index).transpose(1, 2)


def find_peaks(heat, n_peaks):
    """Pixels (n, n_peaks, 2) of the highest local maxima of maps (n, height, width); fewer if pixels are fewer."""
    is_peak = heat == functional.max_pool2d(heat[:, None], 3, stride=1, padding=1)[:, 0]
    ranked = torch.where(is_peak, heat, heat - 1e4).flatten(1)
    best = ranked.topk(min(n_peaks, ranked.shape[1]), dim=1).indices
    return torch.stack([torch.div(best, heat.shape[-1], rounding_mode="floor"), best % heat.shape[-1]], dim=-1)


def sine_position(places, size):
    """Sines and cosines of pixel coordinates (…, 2), wavelengths of 4 to 1024 pixels: (…, size)."""
    n_waves = size // 4
    waves = 2 * math.pi / torch.logspace(math.log10(4), math.log10(1024), n_waves, device=places.device)
    angles = (places[..., None].float() * waves).flatten(-2)
    return functional.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, size - 4 * n_waves))


def centre_loss(logits, heat, weight):
    """Focal loss of a centre map, pixels close to a centre excused in part [1]_, per centre.

    References
    ----------
    .. [1] Zhou, Wang & Krähenbühl 2019, "Objects as Points". :doi:`10.48550/arXiv.1904.07850`
    """
    positive = (heat == 1).float() * weight
    negative = (1 - heat) ** 4 * (1 - positive) * weight
    proba = logits.sigmoid()
    hit = functional.logsigmoid(logits) * (1 - proba) ** 2 * positive
    miss = functional.logsigmoid(-logits) * proba**2 * negative
    return -(hit + miss).sum() / positive.sum().clamp(min=1)
