"""The plain loop in which peers that find instances are trained."""

import numpy as np

from galaxysegment.base import BaseSegmenter
from galaxysegment.structures import Instances

from .clock import TrainingClock


class TrainedPeer(BaseSegmenter):
    """A net of another package, trained with AdamW, a one-cycle rate and flips.

    A subclass has the parameters ``batch_size``, ``lr``, ``core_minutes``, ``patches``,
    ``checkpoint`` and ``random_state``, and provides ``_make_net(n_bands, shape)`` and
    ``_loss_of(batch)``, whose argument is a list of images and their `Instances`.
    """

    _requires_y = True

    def _fit_images(self, images, targets):
        import torch

        torch.manual_seed(self.random_state)
        rng = np.random.default_rng(self.random_state)
        images = np.stack(images).astype(np.float32)
        self.centre_ = np.nanmedian(images, axis=(0, 2, 3))
        deviation = np.abs(images - self.centre_[:, None, None])
        self.scale_ = 1.4826 * np.nanmedian(deviation, axis=(0, 2, 3))
        self.net_ = self._make_net(images.shape[1], images.shape[2:])
        optimizer = torch.optim.AdamW(self.net_.parameters(), lr=self.lr)
        clock = TrainingClock(self.core_minutes, self.checkpoint, patches=self.patches)
        clock.resume(self.net_, optimizer)
        self.net_.train()
        while clock.share < 1:
            index = rng.choice(len(images), min(self.batch_size, len(images)), replace=False)
            batch = [flipped(images[i], targets[i], rng) for i in index]
            batch = [(image, target) for image, target in batch if len(target)]
            for group in optimizer.param_groups:
                group["lr"] = self.lr * clock.rate
            optimizer.zero_grad()
            loss = self._loss_of(batch)
            loss.backward()
            optimizer.step()
            clock.step(self.net_, optimizer, len(batch), loss.item())
        self.net_.eval()
        if clock.checkpoint is not None:
            clock.save(self.net_, optimizer)

    def _scaled(self, image):
        """Arcsinh of robust deviations, as for our nets."""
        scaled = (image - self.centre_[:, None, None]) / self.scale_[:, None, None]
        return np.arcsinh(np.nan_to_num(scaled)).astype(np.float32)


def flipped(image, target, rng):
    """Flip an image and its instances at random: one of eight orientations."""
    masks = target.masks
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    image, masks = (np.rot90(item, turns, axes=(-2, -1)) for item in (image, masks))
    if mirror:
        image, masks = image[..., ::-1], masks[..., ::-1]
    masks = np.ascontiguousarray(masks)
    return image, Instances.from_masks(masks, classes=target.classes, shape=image.shape[-2:])
