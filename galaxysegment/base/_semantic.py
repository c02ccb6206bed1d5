"""The templates of segmenters that tell galaxy from background pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._utils import learn
from .._utils.calibration import METHODS, apply_calibration, fit_calibration
from .._utils.validation import common_shape
from ..detection._deblending import DEBLEND, split_blends
from ..detection._scores import ScoreMaps, mean_light
from ..io import Field
from ..structures import label_components, remove_small
from ..structures._truth import check_targets, target_mask
from ..structures._types import Floats, Images, Sources
from ._segmenter import BaseSegmenter

__all__ = ["ProbabilisticSegmenter", "SemanticSegmenter"]

# Pixels that the Gaussian looks at which smooths an image before its blends are split.
SMOOTHING_REACH = 4


class SemanticSegmenter(BaseSegmenter):
    """Template of a segmenter that tells galaxy from background pixel by pixel.

    A subclass writes ``_image_proba(image)``, the probability or the binary mask of one image. Its
    pixels above `threshold` become sources by connected components of at least `n_pixels` pixels,
    which ``deblend=True`` splits at saddles of the smoothed first band, and ``deblend="galaxy"``
    only where galaxies or stars meet. A part must have at least
    the fraction `contrast` of the light of its blend: 0.001 splits sources that differ by up to 7.5
    magnitudes. The score of a source is the mean probability of its pixels, 1 for binary masks.
    """

    _parameter_constraints: dict = {
        "n_pixels": [learn.Interval(Integral, 1, None, closed="left")],
        "deblend": DEBLEND,
        "contrast": [learn.Interval(Real, 0, 1, closed="both")],
    }
    deblend: bool | str = False
    contrast = 0.001
    threshold: float | str = 0.5

    @property
    def splits_blends(self) -> bool:  # type: ignore[override]
        """Whether sources depend on the whole blend they are in."""
        return bool(self.deblend)

    def _threshold(self):
        """Probability above which a pixel belongs to a source."""
        return self.threshold

    def _segment_images(self, images):
        probabilities = self._images_proba(images)
        return [
            self._sources(proba, image) for proba, image in zip(probabilities, images, strict=True)
        ]

    def _segment_scored(self, images):
        for proba, image in zip(self._images_proba(images), images, strict=True):
            yield self._sources(proba, image), self._maps_of(proba, image)

    def _maps_of(self, proba, image):
        """Return the `ScoreMaps` of an image, given its probability map or mask."""
        return ScoreMaps(proba)

    def score_sources(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score sources by the mean of their probabilities; see `MosaicAware`."""
        return mean_light(sums)

    def _sources(self, proba, image):
        labels = self._regions(proba, image)
        if self.deblend:
            image = self._deblending_image(proba, image)
            labels = split_blends(
                self.deblend, labels, image, self.n_pixels, contrast=self.contrast
            )
        return labels

    def _regions(self, proba, image):
        """Return the label map of the regions above the threshold, before blends are split."""
        return remove_small(label_components(proba > self._threshold()), self.n_pixels)

    def _deblending_image(self, proba, image):
        from scipy import ndimage

        return ndimage.gaussian_filter(np.nan_to_num(image[0].astype(np.float64)), 1.0)

    def _images_proba(self, images):
        return [self._image_proba(image) for image in images]

    def _image_proba(self, image):
        """Return the galaxy probability (or mask) of one image, shape (height, width)."""
        raise NotImplementedError


class ProbabilisticSegmenter(SemanticSegmenter):
    """Template of a semantic segmenter with probabilities: ``_image_proba`` returns them.

    `calibrate` fits them to held-out images. It changes `predict_proba`, and with it the scores of
    sources, and leaves the sources of `predict` as they are. The score of a source is the mean of
    `predict_proba` over its pixels.

    Attributes
    ----------
    calibration_ : ndarray of shape (2, n_knots)
        Logits before and after calibration; only there after `calibrate`, or if calibrated weights
        are in use.
    """

    def _check_fit_images(self, X):
        images, layout = super()._check_fit_images(X)
        self._image_shape = common_shape(images)
        return images, layout

    @property
    def classes_(self) -> NDArray[np.int64]:
        """Classes of a pixel, 0 for the sky and 1 for galaxies.

        As for scikit-learn's estimators of several outputs there are classes for each output, which
        are pixels here: shape (height, width, 2), or (2,) after training on images of several
        shapes. `sklearn.model_selection.cross_val_predict` needs them for
        ``method="predict_proba"``.
        """
        return np.broadcast_to(np.arange(2), (*(self._image_shape or ()), 2))

    @property
    def proba_threshold_(self) -> float:
        """Probability, as `predict_proba` gives it, above which a pixel belongs to a source."""
        return float(self._calibrated(np.float64(self._threshold())))

    def fit(self, X: Images, y: Sources | None = None) -> Self:
        self._drop_calibration()
        return super().fit(X, y)

    fit.__doc__ = BaseSegmenter.fit.__doc__

    def calibrate(self, X: Images, y: Sources, *, method: str = "isotonic") -> Self:
        """Calibrate the probabilities on images that `fit` has not seen.

        Of the pixels to which `predict_proba` then gives 0.9, nine in ten belong to a galaxy, on
        images like these. `predict` returns the same labels as before: the parameter `threshold`
        keeps its meaning, on the probabilities before calibration, and `proba_threshold_` is the
        same threshold after calibration. `fit` drops the calibration.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Held-out images with as many bands as in `fit`. A megapixel is enough if several fields
            share it; a single large galaxy can bend the curve of a single field.
        y : array of shape (n_images, height, width), or list of label maps or `Instances`
            The truth.
        method : {"isotonic", "temperature"}, default="isotonic"
            ``"isotonic"`` fits a rising curve of any form. ``"temperature"`` divides the logit by
            a number, for a few thousand pixels.

        Returns
        -------
        self : object
            The calibrated segmenter.
        """
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}. Got {method!r} instead.")
        images = self._with_data(self._check_images(X)[0])
        self._validate_params()
        masks = [target_mask(target) for target in check_targets(y, images)]
        has_data = [~self._no_data(image) for image in images]
        probas = self._images_proba(images)
        self.calibration_ = fit_calibration(
            [proba[kept] for proba, kept in zip(probas, has_data, strict=True)],
            [mask[kept] for mask, kept in zip(masks, has_data, strict=True)],
            method,
        )
        return self

    def _calibration_state(self):
        """Return what a model file keeps of the calibration."""
        table = vars(self).get("calibration_")
        return {} if table is None else {"calibration": table}

    def _drop_calibration(self):
        """Forget the calibration, because the probabilities change."""
        vars(self).pop("calibration_", None)

    def _maps_of(self, proba, image):
        return ScoreMaps(self._calibrated(proba))

    def _calibrated(self, proba):
        state = self._calibration_state()
        return apply_calibration(state["calibration"], proba) if state else proba

    @overload
    def predict_proba(self, X: Field) -> Floats: ...
    @overload
    def predict_proba(self, X: Sequence[ArrayLike]) -> list[Floats]: ...
    @overload
    def predict_proba(self, X: NDArray[Any]) -> Floats: ...
    def predict_proba(self, X):
        """Probability of each pixel to belong to a galaxy.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images, or one `Field` or `NDData`, as in `predict`.

        Returns
        -------
        array of float32, shape (n_images, height, width), or list
            Between 0 and 1, packed as `X` was; 0 for pixels without data. Pixels above
            `proba_threshold_` become the sources of `predict`.
        """
        images, layout = self._check_images(X)
        self._validate_params()
        bridged, shown = self._prepared(images)
        return layout.pack_maps(
            [
                np.where(self._no_data(image), np.float32(0), self._calibrated(proba))
                for proba, image in zip(self._images_proba(bridged), shown, strict=True)
            ]
        )
