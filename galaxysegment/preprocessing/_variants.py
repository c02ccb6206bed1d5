"""The four ways of preparing images that a comparison of segmenters was made with."""

from numbers import Integral

from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils.typed import validated
from ._bands import BandSelector
from ._liberator import FITSLiberatorStretch
from ._normalize import ImageNormalizer
from ._rms import RMSAdder

__all__ = ["VARIANTS", "make_variant"]

#: Names of the variants, in the order of their numbers 1 to 4.
VARIANTS = ("normalized", "liberator", "liberator_rms", "liberator_log_rms")


@validated({"variant": [Interval(Integral, 1, 4, closed="both"), StrOptions(set(VARIANTS))]})
def make_variant(variant: str | int) -> Pipeline:
    """Make one of the four standard pipelines from an image and its RMS map to a normalized image.

    Each adds one step to the one before. Compare a segmenter's scores after each to see what a step
    is worth:

    1. "normalized": the image, normalized between its extremes; no RMS map;
    2. "liberator": the image stretched as by the FITS Liberator, normalized; no RMS map;
    3. "liberator_rms": as 2, with the normalized RMS map added, and normalized again;
    4. "liberator_log_rms": as 3, with the normalized RMS map stretched by a logarithm (`a` = 500)
       before it is added: ``norm(norm(image) + log(norm(rms)))``.

    Parameters
    ----------
    variant : {"normalized", "liberator", "liberator_rms", "liberator_log_rms"} or {1, 2, 3, 4}
        Name of the variant, or its number.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Transformer of images of shape (n_images, n_bands + 1, height, width), the RMS map being the
        last band, into images of shape (n_images, n_bands, height, width) with values between 0 and
        1. It learns nothing: each image is normalized on its own. Its steps are "bands" (1, 2),
        "liberator" (2, 3, 4), "normalize" (all), "rms" and "renormalize" (3, 4).

    See Also
    --------
    ImageNormalizer, FITSLiberatorStretch, RMSAdder, BandSelector : The steps.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import make_variant
    >>> rng = np.random.default_rng(0)
    >>> X = np.stack([rng.normal(10, 1, (3, 64, 64)), rng.uniform(1, 2, (3, 64, 64))], axis=1)
    >>> make_variant("liberator_log_rms").fit_transform(X).shape
    (3, 1, 64, 64)
    """
    name = variant if isinstance(variant, str) else VARIANTS[variant - 1]
    drop_rms = ("bands", BandSelector(bands=-1, drop=True))
    normalize = ("normalize", ImageNormalizer())
    if name == "normalized":
        return Pipeline([drop_rms, normalize])
    if name == "liberator":
        return Pipeline([drop_rms, ("liberator", FITSLiberatorStretch()), normalize])
    add_rms = RMSAdder(stretch="log", stretch_a=500)
    if name == "liberator_rms":
        add_rms = RMSAdder(stretch="linear")
    return Pipeline(
        [
            ("liberator", FITSLiberatorStretch(rms_band=-1)),
            normalize,
            ("rms", add_rms),
            ("renormalize", ImageNormalizer()),
        ]
    )
