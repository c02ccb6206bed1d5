"""torchvision's Mask R-CNN as a segmenter, in the plain loop of its documentation."""

import numpy as np

from galaxysegment.structures import Instances

from .trained_peer import TrainedPeer


class TorchvisionMaskRCNN(TrainedPeer):
    """`torchvision.models.detection.MaskRCNN` on a ResNet with a feature pyramid.

    No weights from elsewhere, and nothing of the net is ours. As in the study, images are not
    resized. The anchors are those of torchvision times `anchor_scale`, because the smallest (32
    pixels) is larger than most sources. Images are scaled as for our net: arcsinh of robust
    deviations. Training is AdamW with a one-cycle rate, flips, and bfloat16 where ours has it.

    Parameters
    ----------
    backbone : str, default="resnet18"
        Name of a residual net of torchvision.
    anchor_scale : float, default=0.25
        Factor of the anchors of 32 to 512 pixels.
    n_samples : int, default=64
        Boxes per image that the heads are trained on (torchvision: 512, because photographs hold
        more objects).
    n_proposals : int, default=300
        Boxes per image that the first stage hands to the heads.
    n_detections : int, default=20
        Sources per image at most (torchvision: 100).
    score_threshold : float, default=0.5
        Score from which a source counts.
    n_classes : int, default=1
        Classes beside the background.
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
        backbone="resnet18",
        anchor_scale=0.25,
        n_samples=64,
        n_proposals=300,
        n_detections=20,
        score_threshold=0.5,
        n_classes=1,
        batch_size=8,
        lr=1e-3,
        core_minutes=1.0,
        patches=0,
        checkpoint=None,
        random_state=0,
    ):
        self.backbone = backbone
        self.anchor_scale = anchor_scale
        self.n_samples = n_samples
        self.n_proposals = n_proposals
        self.n_detections = n_detections
        self.score_threshold = score_threshold
        self.n_classes = n_classes
        self.batch_size = batch_size
        self.lr = lr
        self.core_minutes = core_minutes
        self.patches = patches
        self.checkpoint = checkpoint
        self.random_state = random_state

    def _loss_of(self, batch):
        import torch

        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._fast()):
            losses = self.net_(
                [torch.from_numpy(self._scaled(image)) for image, _ in batch],
                [as_target(target) for _, target in batch],
            )
        return sum(losses.values())

    def _fast(self):
        """Whether this processor multiplies bfloat16 natively; our nets ask the same."""
        from galaxysegment.nets.common._net import autocast_dtype

        return autocast_dtype("auto", "cpu") is not None

    def _make_net(self, n_bands, shape):
        from torch import nn
        from torchvision.models.detection import MaskRCNN
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

        backbone = resnet_fpn_backbone(
            backbone_name=self.backbone,
            weights=None,
            norm_layer=nn.BatchNorm2d,
            trainable_layers=5,
        )
        stem = backbone.body.conv1
        backbone.body.conv1 = nn.Conv2d(
            n_bands, stem.out_channels, stem.kernel_size, stem.stride, stem.padding, bias=False
        )
        sides = tuple((self.anchor_scale * side,) for side in (32, 64, 128, 256, 512))
        return MaskRCNN(
            backbone,
            num_classes=self.n_classes + 1,
            min_size=min(shape),
            max_size=max(shape),
            image_mean=[0.0] * n_bands,
            image_std=[1.0] * n_bands,
            rpn_anchor_generator=AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * 5),
            rpn_post_nms_top_n_train=self.n_proposals,
            rpn_post_nms_top_n_test=self.n_proposals,
            box_batch_size_per_image=self.n_samples,
            box_score_thresh=0.005,
            box_detections_per_img=self.n_detections,
        )

    def _segment_images(self, images):
        import torch

        predicted = []
        fast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._fast())
        with torch.inference_mode(), fast:
            for image in images:
                scaled = torch.from_numpy(self._scaled(image))
                predicted.append(self._instances(self.net_([scaled])[0], image.shape[1:]))
        return predicted

    def _instances(self, output, shape):
        keep = (output["scores"] >= self.score_threshold).numpy()
        masks = output["masks"][:, 0].float().numpy() > 0.5
        keep &= masks.any(axis=(1, 2))
        scores, classes = output["scores"].float().numpy()[keep], output["labels"].numpy()[keep]
        return Instances.from_masks(masks[keep], scores=scores, classes=classes, shape=shape)


def as_target(instances):
    """Boxes (x0, y0, x1, y1), classes and masks, as torchvision's detectors are trained on."""
    import torch

    classes = instances.classes
    classes = np.ones(len(instances), dtype=np.int64) if classes is None else classes
    return {
        "boxes": torch.from_numpy(instances.boxes[:, [1, 0, 3, 2]].astype(np.float32)),
        "labels": torch.from_numpy(np.asarray(classes, dtype=np.int64)),
        "masks": torch.from_numpy(instances.masks.astype(np.uint8)),
    }
