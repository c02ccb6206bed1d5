"""The torch modules and the skorch glue: the only place that imports torch at the top.

One folder for each family of nets, one for what several families share:

``common``
    The skorch nets, the trainer, datasets, losses and memory.
``unet``
    The U-Net and its prediction of probabilities.
``shares``
    The net that corrects how `UNetSeparator` shares out light, its data and its loss.
``mask_rcnn``
    Mask R-CNN, its data, its prediction and torchvision's weights for it.
``queries``
    What DETR and Mask2Former share: a query for each source, its seeds, its targets, its
    prediction.
``detr``, ``mask2former``
    Each in two forms. ``_published`` is the net of the paper, on a residual net; ``_seeded`` stands
    on a U-Net, and its queries begin at the peaks that the U-Net sees.

All of them need torch and skorch. If one is not installed, importing this folder says what to do.
"""

from .._utils.packages import require

require("Every deep segmenter (UNetSegmenter, MaskRCNNSegmenter, DETRSegmenter)", "torch", "skorch")

from .common import _forks  # noqa: E402, F401 - needs torch, and acts when a process forks
