"""Turn whatever a metric is given (an image, a stack, a list) into two lists of equal length."""

import numpy as np

from ..structures import Instances
from ..structures._labels import plain_array

_ALLOWED = (
    "a (height, width) label map or mask, Instances, a panoptic map stack "
    "(n_images, 2, height, width), or a stack or list of them"
)


def as_image_list(y, name):
    """Split a segmentation of any form into one map or `Instances` per image."""
    if isinstance(y, Instances):
        return [y]
    if isinstance(y, (list, tuple)) and (not y or isinstance(y[0], Instances) or np.ndim(y[0]) > 1):
        return [_check_image(image, f"{name}[{index}]") for index, image in enumerate(y)]
    y = plain_array(y)
    if y.dtype == object and y.ndim == 1:  # scikit-learn's splitters make these of ragged lists
        return as_image_list(list(y), name)
    if y.ndim == 2:
        return [y]
    if y.ndim == 3 or (y.ndim == 4 and y.shape[1] == 2):
        return list(y)
    raise ValueError(f"{name} must be {_ALLOWED}. Got shape {y.shape} instead.")


def _check_image(image, name):
    if isinstance(image, Instances):
        return image
    image = plain_array(image)
    if image.ndim == 2 or (image.ndim == 3 and len(image) == 2):
        return image
    raise ValueError(
        f"{name} must be a (height, width) label map or mask, a (2, height, width) panoptic map or "
        f"Instances. Got shape {image.shape} instead."
    )


def is_panoptic(image):
    """Whether a checked image is a panoptic map: semantic class and instance id of every pixel."""
    return not isinstance(image, Instances) and np.ndim(image) == 3


def check_pair(y_true, y_pred):
    """Split truth and prediction into images; refuse them if their numbers or shapes differ.

    Returns
    -------
    y_true, y_pred : list of ndarray or Instances
        Label maps or masks (height, width), panoptic maps (2, height, width) or instances.
    """
    y_true, y_pred = as_image_list(y_true, "y_true"), as_image_list(y_pred, "y_pred")
    if len(y_true) != len(y_pred):
        raise ValueError(
            f"y_true holds {len(y_true)} images, but y_pred holds {len(y_pred)}: give one "
            "prediction per true image."
        )
    if not y_true:
        raise ValueError("y_true holds 0 images while a minimum of 1 is required.")
    for index, (truth, prediction) in enumerate(zip(y_true, y_pred, strict=True)):
        if tuple(truth.shape[-2:]) != tuple(prediction.shape[-2:]):
            raise ValueError(
                f"y_pred[{index}] has shape {tuple(prediction.shape[-2:])}, but y_true[{index}] "
                f"has shape {tuple(truth.shape[-2:])}: they must agree."
            )
    return y_true, y_pred
