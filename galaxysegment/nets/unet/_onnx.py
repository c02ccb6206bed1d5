"""The U-Net as an ONNX graph: scaled images in, the probability of each pixel out."""

import copy
import warnings

import torch
from torch import nn
from torch.nn import functional

from ._prediction import VIEWS

__all__ = ["onnx_graph"]

_MOST_SIDE, _MOST_BANDS = 1 << 20, 64  # pixels, bands; torch asks for bounds


class _Probability(nn.Module):
    """Mean probability over the views of scaled images of any size."""

    def __init__(self, module, n_views):
        super().__init__()
        self.module = module
        self.views = VIEWS[:n_views]

    def forward(self, image):
        """Return probabilities of images (n, n_bands, height, width).

        They have the shape (n, height, width), or (n, n_classes, height, width) of several classes.
        """
        height, width = image.shape[-2:]
        image = torch.where(torch.isnan(image), 0.0, image)
        multiple = self.module.multiple
        # a whole number of the deepest level's pixels, written so that torch sees it is one
        rows, columns = (multiple * ((side + multiple - 1) // multiple) for side in (height, width))
        padded = functional.pad(image, (0, columns - width, 0, rows - height))
        proba = sum(self._view(padded, *view) for view in self.views) / len(self.views)
        return proba[..., :height, :width]

    def _view(self, image, mirrored, transposed):
        image = image.flip(mirrored) if mirrored else image
        logits = self.module(image.mT if transposed else image)
        several = logits.shape[1] > 1
        proba = torch.softmax(logits, dim=1) if several else torch.sigmoid(logits[:, 0])
        proba = proba.mT if transposed else proba
        return proba.flip(mirrored) if mirrored else proba


def onnx_graph(module, n_bands, n_views, metadata):
    """Return the ONNX file of a net, as bytes.

    Parameters
    ----------
    module : torch.nn.Module
        Images (n, n_bands, height, width) to logits (n, n_outputs, height, width), with the
        attribute ``multiple``.
    n_bands : int or None
        None: the file takes any number of bands.
    n_views : int
        Mirrored views whose mean is the probability.
    metadata : dict of str to str
        Kept in the file.
    """
    net = _Probability(copy.deepcopy(module).cpu().float(), n_views).eval()
    least = 2 * module.multiple
    n_shown = n_bands or 3
    example = torch.zeros(2, n_shown, least + module.multiple, least + 2 * module.multiple)
    side = {"min": least, "max": _MOST_SIDE}
    free = {axis: torch.export.Dim(name, **side) for axis, name in ((2, "height"), (3, "width"))}
    if n_bands is None:
        free[1] = torch.export.Dim("n_bands", max=_MOST_BANDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the exporter about itself
        program = torch.onnx.export(
            net,
            (example,),
            input_names=["image"],
            output_names=["probability"],
            dynamic_shapes={"image": {0: torch.export.Dim("n"), **free}},
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props.update(metadata)
    return program.model_proto.SerializeToString()
