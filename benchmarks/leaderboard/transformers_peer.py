"""transformers' Mask2Former as a segmenter: the model as it is shipped, in a plain loop."""

import numpy as np

from galaxysegment.base import BaseSegmenter
from galaxysegment.structures import Instances

from .clock import TrainingClock
from .peers import padded
from .torchvision_peer import flipped


class TransformersMask2Former(BaseSegmenter):
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
    checkpoint : path or None, default=None
        File that an interrupted training goes on from.
    """

    _requires_y = True

    def __init__(
        self,
        *,
        score_threshold=0.5,
        batch_size=8,
        lr=1e-4,
        config=None,
        core_minutes=1.0,
        checkpoint=None,
        random_state=0,
    ):
        self.score_threshold = score_threshold
        self.batch_size = batch_size
        self.lr = lr
        self.config = config
        self.core_minutes = core_minutes
        self.checkpoint = checkpoint
        self.random_state = random_state

    def _fit_images(self, images, targets):
        import torch

        torch.manual_seed(self.random_state)
        rng = np.random.default_rng(self.random_state)
        images = np.stack(images).astype(np.float32)
        self.centre_ = np.nanmedian(images, axis=(0, 2, 3))
        deviation = np.abs(images - self.centre_[:, None, None])
        self.scale_ = 1.4826 * np.nanmedian(deviation, axis=(0, 2, 3))
        self.net_ = self._make_net(images.shape[1])
        optimizer = torch.optim.AdamW(self.net_.parameters(), lr=self.lr)
        clock = TrainingClock(self.core_minutes, self.checkpoint)
        clock.resume(self.net_, optimizer)
        self.net_.train()
        while clock.share < 1:
            index = rng.choice(len(images), min(self.batch_size, len(images)), replace=False)
            batch = [flipped(images[i], targets[i], rng) for i in index]
            batch = [(image, target) for image, target in batch if len(target)]
            for group in optimizer.param_groups:
                group["lr"] = self.lr * clock.rate
            optimizer.zero_grad()
            loss = self.net_(
                pixel_values=self._scaled([image for image, _ in batch]),
                mask_labels=[_masks(target) for _, target in batch],
                class_labels=[torch.zeros(len(target), dtype=torch.long) for _, target in batch],
            ).loss
            loss.backward()
            optimizer.step()
            clock.step(self.net_, optimizer, len(batch), loss.item())
        self.net_.eval()
        if clock.checkpoint is not None:
            clock.save(self.net_, optimizer)

    def _make_net(self, n_bands):
        from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

        config = Mask2FormerConfig(**{"num_labels": 1, **(self.config or {})})
        config.backbone_config.num_channels = n_bands
        return Mask2FormerForUniversalSegmentation(config)

    def _scaled(self, images):
        import torch

        stack = np.stack(images)
        scaled = (stack - self.centre_[:, None, None]) / self.scale_[:, None, None]
        return torch.from_numpy(padded(np.arcsinh(np.nan_to_num(scaled)).astype(np.float32)))

    def _segment_images(self, images):
        import torch

        predicted = []
        with torch.inference_mode():
            for image in images:
                output = self.net_(pixel_values=self._scaled([image]))
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
