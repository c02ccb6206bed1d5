"""Split blended sources by multi-threshold deblending, as photutils and SExtractor do."""

import warnings

import numpy as np


def deblend(labels, image, n_pixels, *, n_levels=32, contrast=0.001):
    """Split the blended sources of a label map.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
        Label map with consecutive labels.
    image : ndarray of shape (height, width)
        What to look for saddles in: the smoothed image or a probability map. NaN counts as its minimum.
    n_pixels : int
        Smallest number of pixels of a part.
    n_levels : int, default=32
        Number of thresholds between a source's minimum and maximum.
    contrast : float, default=0.001
        Smallest fraction of the source's flux that a part must have.

    Returns
    -------
    ndarray of int32, shape (height, width)
        Consecutive labels.
    """
    if not labels.any():
        return labels
    from photutils.segmentation import SegmentationImage, deblend_sources

    finite = np.isfinite(image)
    if not finite.all():
        image = np.where(finite, image, image[finite].min() if finite.any() else 0)
    with warnings.catch_warnings():
        # photutils warns when a source has negative pixels and switches to linear levels: expected here
        warnings.filterwarnings("ignore", message="The deblending mode of one or more source labels")
        parts = deblend_sources(
            image, SegmentationImage(labels), n_pixels, n_levels=n_levels, contrast=contrast, progress_bar=False
        )
    return parts.data.astype(np.int32, copy=False)
