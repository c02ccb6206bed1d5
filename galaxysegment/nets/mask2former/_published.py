"""transformers' own Mask2Former, on a ResNet or from a checkpoint."""

import json

from torch import nn
from torch.nn import functional
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from ..queries._backbones import (
    adapt_bands,
    quiet,
    resnet_config,
    resnet_stages,
    set_stem_stride,
)
from ..queries._data import masks_at, truth_at
from ..queries._module import QueryModule, pick, show_likeliest
from ._loss import PointLoss

__all__ = ["PublishedMask2Former"]


class PublishedMask2Former(QueryModule):
    """transformers' Mask2Former with its deformable pixel decoder and learned queries.

    Masks are compared with the truth at every pixel near a source (see `SegmentCollate`), not at
    random points.

    Parameters
    ----------
    n_bands, n_classes : int
        Bands of the input; classes with the sky.
    backbone : {"light", "resnet18", "resnet50"}
    stem_stride : {1, 2, 4}
        Pixels between the features of the first stage, and of the masks.
    d_model, n_heads, encoder_layers, decoder_layers, feedforward : int
        Of the transformer; `d_model` is a multiple of 32.
    n_queries : int
        Sources and sky together are at most so many.
    no_object_weight : float
        Weight of queries without a segment in the loss of classes.
    config : str or None
        JSON of a `transformers.Mask2FormerConfig` that takes the place of all but the first two.

    References
    ----------
    .. [1] Cheng et al. 2022, CVPR, 1280. :doi:`10.1109/CVPR52688.2022.00135`
    """

    architecture = "mask2former"
    model_class = Mask2FormerForUniversalSegmentation
    halo = 0

    def __init__(
        self,
        *,
        n_bands=1,
        n_classes=2,
        backbone="light",
        stem_stride=1,
        d_model=64,
        n_heads=8,
        encoder_layers=1,
        decoder_layers=3,
        feedforward=256,
        n_queries=64,
        no_object_weight=0.1,
        config=None,
    ):
        super().__init__()
        if config is not None:
            with quiet():
                self._take(
                    Mask2FormerForUniversalSegmentation(
                        Mask2FormerConfig.from_dict(json.loads(config))
                    )
                )
            adapt_bands(self.body()[0], n_bands)
            return
        with quiet():
            config = Mask2FormerConfig(
                backbone_config=resnet_config(backbone, n_bands),
                num_labels=n_classes,
                num_queries=n_queries,
                feature_size=d_model,
                mask_feature_size=d_model,
                hidden_dim=d_model,
                num_attention_heads=n_heads,
                encoder_layers=encoder_layers,
                encoder_feedforward_dim=feedforward,
                decoder_layers=decoder_layers + 1,  # transformers builds one less
                dim_feedforward=feedforward,
                feature_strides=[stem_stride * 2**stage for stage in range(4)],
                common_stride=stem_stride,
                no_object_weight=no_object_weight,
            )
            self._take(Mask2FormerForUniversalSegmentation(config))
        set_stem_stride(self.model.model.pixel_level_module.encoder, stem_stride)

    def _take(self, model):
        """Train `model`, a `Mask2FormerForUniversalSegmentation`."""
        self.model, config = model, model.config
        self.model.criterion = nn.Identity()
        self.criterion = PointLoss(config)
        self.n_queries = config.num_queries
        self.multiple = max(config.feature_strides)

    def body(self):
        """Return the backbone and its stages, the stem being the first."""
        return self.model.model.pixel_level_module.encoder, resnet_stages(
            self.model.model.pixel_level_module.encoder
        )

    def forward(self, batch):
        """Return logits of the likeliest queries, or losses if the `SegmentBatch` has targets.

        Returns
        -------
        dict of Tensor
            ``classes`` (n, n_kept, n_classes + 1), ``masks`` (n, n_kept, height, width); or losses.
        """
        height, width = batch.images.shape[-2:]
        padding = [0, max(-width % self.multiple, 2 * self.multiple - width)]
        padding += [0, max(-height % self.multiple, 2 * self.multiple - height)]
        x = functional.pad(batch.images, padding)
        output = self.model.model(x, output_hidden_states=True, return_dict=True)
        states = output.transformer_decoder_intermediate_states
        classes = [self.model.class_predictor(layer.transpose(0, 1)).float() for layer in states]
        masks = [layer.float() for layer in output.masks_queries_logits]
        if batch.targets is None:

            def paint(queries):
                chosen = pick(masks[-1].flatten(2), queries).unflatten(2, masks[-1].shape[-2:])
                enlarged = functional.interpolate(
                    chosen, x.shape[-2:], mode="bilinear", align_corners=False
                )
                return enlarged[..., :height, :width]

            return show_likeliest(classes[-1], paint, batch.least)
        sampled = [masks_at(layer, batch.targets["points"], x.shape[-2:]) for layer in masks]
        return self.criterion.weighted(
            sampled, classes, truth_at(batch.targets), batch.targets["classes"]
        )
