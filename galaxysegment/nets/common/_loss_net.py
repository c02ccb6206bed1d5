"""skorch glue for modules that return losses in training and sources otherwise."""

import torch
from skorch.callbacks import PassthroughScoring
from torch import nn

from ._net import SegmentationNet, seeded

__all__ = ["LossNet", "SumOfLosses"]


class SumOfLosses(nn.Module):
    """The loss that is trained on: the sum of the losses that the module returns."""

    def forward(self, losses, target):
        return sum(losses.values())


class LossNet(SegmentationNet):
    """skorch net of a module that takes a batch with targets and returns its losses by name.

    The module's class declares ``loss_names``, the names of these losses, and ``max_norm``, the
    norm to which gradients are clipped (None: they are not). The losses of the parts are in the
    history: ``train_loss_mask``, ``valid_loss_mask`` and so on.
    """

    @property
    def _default_callbacks(self):
        parts = [
            (
                f"{prefix}_{name}",
                PassthroughScoring(f"{prefix}_{name}", lower_is_better=None, on_train=on_train),
            )
            for name in self.module.loss_names
            for prefix, on_train in (("train", True), ("valid", False))
        ]
        own = super()._default_callbacks
        return [*own[:1], *parts, *own[1:]]  # before those that print

    def _output(self, module, x, **fit_params):
        if x.targets is None or x.weights is None:
            return module(x, **fit_params)
        return self._weighted(module, x, **fit_params)

    def _weighted(self, module, batch, **fit_params):
        """Return the losses of a batch whose images have weights.

        The module averages over sources, boxes and pixels of a whole batch. So images that differ
        in weight go through it one by one, and their losses are averaged here.
        """
        weights = batch.weights
        if len(set(weights)) == 1:
            losses = module(batch, **fit_params)
            return {name: weights[0] * loss for name, loss in losses.items()}
        parts = [module(batch.part(index), **fit_params) for index in range(len(weights))]
        return {
            name: sum(w * part[name] for w, part in zip(weights, parts, strict=True)) / len(parts)
            for name in parts[0]
        }

    def get_loss(self, y_pred, y_true, X=None, training=False):
        for name, loss in y_pred.items():
            self.history.record_batch(f"{'train' if training else 'valid'}_{name}", loss.item())
        return super().get_loss(y_pred, y_true, X=X, training=training)

    def train_step_single(self, batch, **fit_params):
        step = super().train_step_single(batch, **fit_params)
        if self.module.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module_.parameters(), self.module.max_norm)
        return step

    def validation_step(self, batch, **fit_params):
        """Compute the losses of a batch as in training; normalizations keep their statistics."""
        pairs, dummy = batch
        self.module_.loss_mode()
        # boxes are sampled: the same in every epoch, so that epochs can be compared
        with torch.no_grad(), seeded(0, self.device or "cpu"):
            losses = self.infer(pairs, **fit_params)
            loss = self.get_loss(losses, dummy, X=pairs, training=False)
        return {"loss": loss, "y_pred": losses}
