"""Weights of torchvision's Mask R-CNN for ours: from its own site or from a local file."""

from urllib.error import URLError

import torch
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from ._backbones import widen_stem

__all__ = ["load_torchvision"]

_COCO = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
_STEM = "backbone.body.conv1.weight"
#: What depends on the number of classes, and is learnt anew.
_CLASS_LAYERS = (
    "box_predictor.cls_score",
    "box_predictor.bbox_pred",
    "mask_predictor.mask_fcn_logits",
)


def load_torchvision(module, weights):
    """Load a state dict of torchvision into a `MaskRCNN`.

    Layers of another number of classes keep their fresh weights; the first convolution is spread
    over the bands.

    Parameters
    ----------
    module : MaskRCNN
    weights : "coco" or path

    Raises
    ------
    ValueError
        If there is no such file, it cannot be got, or its weights are of another architecture.
    """
    tensors = _read(weights)
    own = module.state_dict()
    if _STEM in tensors:
        tensors[_STEM] = widen_stem(tensors[_STEM], own[_STEM].shape[1])
    for name in [name for name in tensors if any(part in name for part in _CLASS_LAYERS)]:
        if name in own and tensors[name].shape != own[name].shape:
            tensors[name] = own[name]
    # counters of batches, which frozen normalizations do not have
    tensors = {
        **{name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")},
        **tensors,
    }
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"weights={str(weights)!r} are not of this architecture "
            f"({str(error).splitlines()[1].strip()} …): torchvision's Mask R-CNN weights are of "
            "backbone='resnet50', channels=256."
        ) from error


def _read(weights):
    if weights == "coco":
        return _download()
    try:
        tensors = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"weights={str(weights)!r} cannot be read as a torch state dict "
            f"({type(error).__name__}): pass a file that torch.save made of a state_dict(), or one "
            "of galaxysegment.persistence.save."
        ) from error
    if not isinstance(tensors, dict) or not all(
        isinstance(tensor, torch.Tensor) for tensor in tensors.values()
    ):
        raise ValueError(
            f"weights={str(weights)!r} hold no state dict: pass what torch.save made of a "
            "state_dict()."
        )
    return dict(tensors)


def _download():
    """Torchvision's own loading, which keeps the file for the next time."""
    try:
        return dict(_COCO.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise OSError(
            f"weights='coco' could not be downloaded ({error}): get {_COCO.url} where there is a "
            f"network, and pass weights='path/to/{_COCO.url.rsplit('/', 1)[1]}' or put the file "
            f"into {torch.hub.get_dir()}/checkpoints."
        ) from error
