"""Several GPUs, through Hugging Face accelerate and skorch's mixin for it."""

from skorch.hf import AccelerateMixin

from ._net import SegmentationNet

__all__ = ["AcceleratedNet", "accelerated", "make_accelerator"]


class AcceleratedNet(AccelerateMixin, SegmentationNet):
    """`SegmentationNet` whose devices are accelerate's business."""


def accelerated(net_class):
    """The net class whose devices are accelerate's business."""
    if net_class is SegmentationNet:
        return AcceleratedNet
    return type(f"Accelerated{net_class.__name__}", (AccelerateMixin, net_class), {})


def make_accelerator():
    """Return an ``accelerate.Accelerator``, or say how to get one."""
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ImportError(
            "device='accelerate' trains on several devices through Hugging Face accelerate, which "
            "is not installed: `pip install accelerate`, or use device='auto' for one device."
        ) from error
    return Accelerator()
