"""transformers' Mask2Former as a segmenter: the model as it is shipped, in a plain loop."""

import numpy as np

from galaxysegment.structures import Instances

from .peers import padded
from .trained_peer import TrainedPeer


class TransformersMask2Former(TrainedPeer):
    """`transformers.Mask2FormerForUniversalSegmentation` of the default configuration.

    A Swin transformer, a deformable pixel decoder and 100 learned queries; no weights from
    elsewhere, and nothing of the net or its loss is ours. Images are scaled as for our nets:
    arcsinh of robust deviations. Training is AdamW with a one-cycle rate and flips. A query's score
    is its probability of a galaxy times the mean probability of its mask, as in the package's own
    post-processing.

    Parameters
    ----------
    score_threshold : float, default=0.5
        Score from which a source counts.
    config : dict or None, default=None
        Arguments of `transformers.Mask2FormerConfig`.
    core_minutes : float, default=1
        Processor minutes of training.
    patches : int, default=0
        Patches to train on, in place of the minutes; 0 for none.
    checkpoint : path or None, default=None
        File that an interrupted training goes on from.
    """

    def __init__(
        self,
        *,
        score_threshold=0.5,
        batch_size=8,
        lr=1e-4,
        config=None,
        core_minutes=1.0,
        patches=0,
        checkpoint=None,
        random_state=0,
    ):
        self.score_threshold = score_threshold
        self.batch_size = batch_size
        self.lr = lr
        self.config = config
        self.core_minutes = core_minutes
        self.patches = patches
        self.checkpoint = checkpoint
        self.random_state = random_state

    def _loss_of(self, batch):
        import torch

        return self.net_(
            pixel_values=self._stacked([image for image, _ in batch]),
            mask_labels=[_masks(target) for _, target in batch],
            class_labels=[torch.zeros(len(target), dtype=torch.long) for _, target in batch],
        ).loss

    def _make_net(self, n_bands, shape):
        from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

        config = Mask2FormerConfig(**{"num_labels": 1, **(self.config or {})})
        config.backbone_config.num_channels = n_bands
        return Mask2FormerForUniversalSegmentation(config)

    def _stacked(self, images):
        import torch

        return torch.from_numpy(padded(np.stack([self._scaled(image) for image in images])))

    def _segment_images(self, images):
        import torch

        predicted = []
        with torch.inference_mode():
            for image in images:
                output = self.net_(pixel_values=self._stacked([image]))
                predicted.append(self._instances(output, image.shape[1:]))
        return predicted

    def _instances(self, output, shape):
        import torch

        chances = output.class_queries_logits[0].softmax(-1)[:, 0]
        sides = [4 * side for side in output.masks_queries_logits.shape[-2:]]
        logits = torch.nn.functional.interpolate(
            output.masks_queries_logits, sides, mode="bilinear", align_corners=False
        )[0, :, : shape[0], : shape[1]]
        masks, light = logits > 0, logits.sigmoid()
        inside = (light * masks).sum((1, 2)) / masks.sum((1, 2)).clamp(min=1)
        scores = (chances * inside).numpy()
        keep = (scores >= self.score_threshold) & masks.any(2).any(1).numpy()
        return Instances.from_masks(masks.numpy()[keep], scores=scores[keep], shape=shape)


def _masks(target):
    """Masks of the sources, padded as the image: shape (n, height, width)."""
    import torch

    return torch.from_numpy(padded(target.masks[np.newaxis].astype(np.float32))[0])
