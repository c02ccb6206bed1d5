"""Seeds of queries: peaks of a map of centres, their features, and the losses of the map."""

import math

import torch
from torch import nn
from torch.nn import functional

from ..common._losses import BCEDiceLoss
from ..unet._module import UNet
from ._module import QueryModule

__all__ = [
    "SeededModule",
    "cell_centres",
    "centre_loss",
    "features_at",
    "find_peaks",
    "log_distance",
    "peak_losses",
    "sine_position",
    "stride_of",
]

_CORE = 5.0  # pixels; within it, masks do not fall off much


class SeededModule(QueryModule):
    """Module on a U-Net that sees the sources' mask and their centres, where queries begin."""

    def _make_unet(self, n_bands, base_width, depth):
        """Channels of its decoded maps, the deepest first."""
        self.unet = UNet(n_bands=n_bands, base_width=base_width, depth=depth, n_outputs=2)
        self.multiple, self.halo = self.unet.multiple, self.unet.halo
        # few pixels are a centre: begin by saying so, or the first steps unlearn it
        nn.init.constant_(self.unet.head.bias[1:], -4.0)
        return [base_width * 2**level for level in reversed(range(depth))]

    def _make_queries(self, n_queries, queries, n_features, d_model):
        self.n_queries, self.queries = n_queries, queries
        if queries == "peaks":
            self.start = nn.Sequential(nn.Linear(n_features, d_model), nn.LayerNorm(d_model))
        n_learned = 1 if queries == "peaks" else n_queries + 1
        self.learned, self.learned_place = (
            nn.Embedding(n_learned, d_model),
            nn.Embedding(n_learned, d_model),
        )

    def body(self):
        """Return the U-Net and the levels of its encoder."""
        return self.unet, list(self.unet.encoder)

    def _look(self, x):
        """Return the decoded maps of the U-Net, padded, and logits of mask and centres."""
        maps = self.unet.features(x)
        return maps, self.unet.head(maps[-1]).float()[..., : x.shape[-2], : x.shape[-1]]

    def _queries(self, maps, heat):
        """Return seeds (n, n_queries + 1, 2) in pixels, content and places of the queries."""
        n = len(heat)
        learned, learned_place = (
            part.weight[None].expand(n, -1, -1) for part in (self.learned, self.learned_place)
        )
        if self.queries == "learned":
            return None, learned, learned_place
        seeds = find_peaks(heat.detach(), self.n_queries)
        content = self.start(
            torch.cat([features_at(part, seeds, stride_of(part, maps)) for part in maps], dim=-1)
        )
        place = sine_position(seeds.float(), content.shape[-1])
        seeds = functional.pad(seeds, (0, 0, 0, 1))
        return seeds, torch.cat([content, learned], dim=1), torch.cat([place, learned_place], dim=1)


def stride_of(features, maps):
    return maps[-1].shape[-1] // features.shape[-1]


def cell_centres(features, stride):
    """Centres of the cells of a map in pixels of the image, (n_cells, 2)."""
    axes = [
        (torch.arange(size, device=features.device) + 0.5) * stride - 0.5
        for size in features.shape[-2:]
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)


def features_at(features, points, stride):
    """Features (n, n_points, n_features) of a map at pixels (n, n_points, 2) of the image."""
    cells = torch.div(points, stride, rounding_mode="floor").long()
    index = (cells[..., 0] * features.shape[-1] + cells[..., 1])[:, None].expand(
        -1, features.shape[1], -1
    )
    return features.flatten(2).gather(2, index).transpose(1, 2)


def find_peaks(heat, n_peaks):
    """Return the pixels (n, n_peaks, 2) of the highest local maxima of maps (n, height, width)."""
    is_peak = heat == functional.max_pool2d(heat[:, None], 3, stride=1, padding=1)[:, 0]
    ranked = torch.where(is_peak, heat, heat - 1e4).flatten(1)
    best = ranked.topk(min(n_peaks, ranked.shape[1]), dim=1).indices
    return torch.stack(
        [torch.div(best, heat.shape[-1], rounding_mode="floor"), best % heat.shape[-1]], dim=-1
    )


def sine_position(places, size):
    """Sines and cosines of pixel coordinates (…, 2), wavelengths of 4 to 1024 pixels: (…, size)."""
    n_waves = size // 4
    waves = (
        2 * math.pi / torch.logspace(math.log10(4), math.log10(1024), n_waves, device=places.device)
    )
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


def log_distance(seeds, places):
    """Return the logarithm of the distances (n, n_seeds, n_places) of pixels (…, n_places, 2)."""
    seeds = seeds.float()
    offset_y, offset_x = (seeds[:, :, None, axis] - places[..., None, :, axis] for axis in (0, 1))
    return torch.log1p((offset_y**2 + offset_x**2) / _CORE**2)


def peak_losses(logits, targets):
    """Return the losses of two maps (n, 2, height, width): the sources' mask and their centres."""
    is_source = (targets["labels"] > 0).float()
    mask = BCEDiceLoss()(logits, torch.stack([is_source, targets["weight"]], dim=1))
    centre = centre_loss(logits[:, 1], targets["heat"], targets["weight"])
    return {"loss_pixel": 5 * mask, "loss_centre": 2 * centre}
