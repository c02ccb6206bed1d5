"""Trained nets for programs without Python or torch, as ONNX files.

An ONNX file holds the net alone. Scaling comes before it and thresholds after it; the metadata of
the file hold their numbers.
"""

import json
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from ._utils.model_file import write_whole
from ._utils.packages import require
from .segmenters import UNetSegmenter
from .structures._types import Floats, Images

__all__ = ["net_inputs", "to_onnx"]


def to_onnx(segmenter: UNetSegmenter, path: str | Path) -> None:
    """Write the net of a trained `UNetSegmenter` as an ONNX file.

    The file takes ``image``, float32 of shape (n, n_bands, height, width), scaled as `net_inputs`
    does it, with NaN or 0 in pixels without data. It gives ``probability``, float32 of shape (n,
    height, width): the mean over the `n_views` views of the segmenter, before calibration. Images
    may have any size from 32 × 32 pixels on (twice the deepest level's pixel). Of a net that tells
    classes apart the probabilities are those of each class, (n, n_classes, height, width).

    Parameters
    ----------
    segmenter : UNetSegmenter
        Trained, or with `weights`.
    path : str or path
        Where to write; the usual ending is ``.onnx``. An existing file is replaced once the new
        file is complete.

    Raises
    ------
    TypeError
        If the segmenter is no `UNetSegmenter`. Other segmenters join masks by code that ONNX cannot
        hold.
    sklearn.exceptions.NotFittedError
        If there is no net yet.
    ImportError
        If onnx or onnxscript is missing: ``pip install "galaxysegment[onnx]"``.
    OSError
        If there is no space or no permission; nothing is left behind.

    See Also
    --------
    net_inputs : What goes into the net.
    galaxysegment.persistence.save : A file for galaxysegment itself.

    Notes
    -----
    The metadata of the file are strings: ``scaling``, ``rms_band``, ``centre`` and ``scale`` (of
    ``scaling="asinh"``), ``n_bands``, ``halo`` (pixels that the net looks around a pixel: let tiles
    overlap by twice as many), ``multiple`` (let tiles begin at multiples of it), ``threshold``,
    ``n_pixels``, ``classes`` (the sky and the others), and ``calibration`` (logits before and after
    calibration), those after ``scaling`` as JSON.

    Examples
    --------
    >>> from galaxysegment import UNetSegmenter
    >>> from galaxysegment.export import to_onnx
    >>> to_onnx(UNetSegmenter(weights="vis"), "vis.onnx")  # doctest: +SKIP
    """
    _check_unet(segmenter)
    check_is_fitted(segmenter)
    require("galaxysegment.export.to_onnx", "onnx", "onnxscript")
    from .nets.unet._onnx import onnx_graph

    net = segmenter._ready_net()
    content = onnx_graph(
        net.module_, segmenter.n_net_bands_, segmenter.n_views, _metadata(segmenter)
    )
    write_whole(path, content)


def net_inputs(segmenter: UNetSegmenter, X: Images) -> list[Floats]:
    """Scale images as the net of a trained `UNetSegmenter` sees them.

    With ``scaling="noise"`` this is arcsinh((image - background) / noise), with background and
    noise on a mesh of 64 pixels. With ``scaling="asinh"`` it is arcsinh((image - centre) / scale).

    Parameters
    ----------
    segmenter : UNetSegmenter
        Trained, or with `weights`.
    X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
        Images, or one `Field` or `NDData`, as in `predict`.

    Returns
    -------
    list of ndarray of float32, shape (n_net_bands, height, width)
        One for each image; NaN stays.

    Examples
    --------
    >>> from galaxysegment import UNetSegmenter
    >>> from galaxysegment.datasets import load_sample_field
    >>> from galaxysegment.export import net_inputs
    >>> (pixels,) = net_inputs(UNetSegmenter(weights="vis", rms_band=-1), load_sample_field())
    >>> pixels.shape, pixels.dtype
    ((1, 512, 1024), dtype('float32'))
    """
    _check_unet(segmenter)
    images, _ = segmenter._check_images(X)
    return segmenter._scale_all(segmenter._prepared(images)[0])


def _check_unet(segmenter: object) -> None:
    if not isinstance(segmenter, UNetSegmenter):
        raise TypeError(
            f"segmenter must be a UNetSegmenter. Got {type(segmenter).__name__} instead: other "
            "segmenters are kept by galaxysegment.persistence.save."
        )


def _metadata(segmenter: UNetSegmenter) -> dict[str, str]:
    """Name what comes before the net and after it."""
    module = segmenter.net_.module_
    numbers: dict[str, Any] = {
        "rms_band": segmenter.rms_band,
        "centre": None if segmenter.centre_ is None else segmenter.centre_.tolist(),
        "scale": None if segmenter.scale_ is None else segmenter.scale_.tolist(),
        "n_bands": segmenter.n_net_bands_,
        "halo": module.halo,
        "multiple": module.multiple,
        "threshold": float(segmenter._threshold()),
        "n_pixels": segmenter.n_pixels,
        "classes": segmenter.pixel_classes_.tolist(),
        "calibration": segmenter._calibration_state().get("calibration"),
    }
    if numbers["calibration"] is not None:
        numbers["calibration"] = numbers["calibration"].tolist()
    return {
        "scaling": segmenter.scaling_,
        **{name: json.dumps(value) for name, value in numbers.items()},
    }
