"""The steps of a pipeline, and whether one of them takes the RMS map of a field."""

from __future__ import annotations

import sys

from ._transformer import BaseImageTransformer

__all__ = ["pipeline_steps", "predict_with_panoptic", "takes_rms"]


def pipeline_steps(estimator):
    """List the steps of a `sklearn.pipeline.Pipeline`; anything else is its only step."""
    module = sys.modules.get("sklearn.pipeline")  # not imported: nobody has made a Pipeline
    is_pipeline = module is not None and isinstance(estimator, module.Pipeline)
    return [step for _, step in estimator.steps] if is_pipeline else [estimator]


def predict_with_panoptic(estimator, X):
    """Find the sources of images once, and return them in two forms.

    Parameters
    ----------
    estimator : segmenter or Pipeline
        Fitted.
    X : ndarray of shape (n_images, n_bands, height, width)

    Returns
    -------
    list of (Instances, ndarray of int32, shape (2, height, width))
        What ``predict`` returns with ``output="instances"``, and with ``output="panoptic"``.
    """
    *before, last = pipeline_steps(estimator)
    return last._predict_with_panoptic(estimator[:-1].transform(X) if before else X)


def takes_rms(estimator, n_bands):
    """Whether a segmenter or pipeline takes the RMS map of a field of `n_bands` bands.

    Raises
    ------
    ValueError
        If a step before the one that uses the RMS map would take the map for an image.
    """
    steps = pipeline_steps(estimator)
    users = [
        index for index, step in enumerate(steps) if getattr(step, "rms_band", None) is not None
    ]
    if not users:
        return getattr(steps[0], "n_bands_in_", None) == n_bands + 1
    for step in steps[: users[0]]:
        n_bands_fitted = getattr(step, "n_bands_in_", None)
        if isinstance(step, BaseImageTransformer) and not step._takes_rms(n_bands, n_bands_fitted):
            raise ValueError(
                f"{type(steps[users[0]]).__name__} uses the RMS map, but {type(step).__name__} "
                "before it would take the map for an image: set rms_band=-1 there, or pass "
                "rms=False to leave the map out."
            )
    return True
