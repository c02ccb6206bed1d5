"""skorch nets of the modules that predict sets of segments."""

import torch

from ._mask_rcnn_net import DetectionNet

__all__ = ["NETS", "DetrNet", "Mask2FormerNet", "SeededDetrNet", "SetNet"]


class SetNet(DetectionNet):
    """Net of a `PlainMask2Former`; as all of these, it takes a `SegmentBatch`."""

    loss_names: tuple[str, ...] = ("loss_class", "loss_mask", "loss_dice")
    max_norm = 50.0  # of the gradient; only a batch that is matched anew as a whole reaches it

    def train_step_single(self, batch, **fit_params):
        step = super().train_step_single(batch, **fit_params)
        torch.nn.utils.clip_grad_norm_(self.module_.parameters(), self.max_norm)
        return step


class Mask2FormerNet(SetNet):
    """Net of a `SeededMask2Former`, whose U-Net has losses of its own."""

    loss_names = (*SetNet.loss_names, "loss_pixel", "loss_centre")


class DetrNet(SetNet):
    """Net of a `PanopticDetr`."""

    loss_names = (*SetNet.loss_names, "loss_box", "loss_giou")
    max_norm = 1.0


class SeededDetrNet(DetrNet):
    """Net of a `SeededDetr`, whose U-Net has losses of its own."""

    loss_names = (*DetrNet.loss_names, "loss_pixel", "loss_centre")


#: Net of each kind of module.
NETS = {"detr": DetrNet, "plain": SetNet, "seeded": Mask2FormerNet, "seeded-detr": SeededDetrNet}
