"""The two templates: what every transformer and every segmenter of images shares.

A transformer writes `_transform_image` (and `_fit_images` if it learns something); a segmenter
writes `_segment_image` (and `_fit_images`). Checking, packing, output formats and scoring live
here.
"""

from __future__ import annotations

import sys
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._utils import learn
from ._utils.calibration import METHODS, apply_calibration, fit_calibration
from ._utils.typed import fit_context
from ._utils.validation import check_images, check_window, common_shape, split_rms
from .detection._constant import blank_constant
from .detection._contract import MosaicAware, Statistic
from .detection._deblending import DEBLEND, split_blends
from .detection._gaps import bridge_gaps
from .detection._scores import ScoreMaps, mean_light, sum_over_sources
from .io import Field
from .io._inputs import FieldLayout, is_observation, open_observations, stack, truth_of
from .structures import (
    GALAXY,
    SKY,
    Instances,
    NoSourcesWarning,
    as_label_map,
    label_components,
    relabel,
    remove_small,
)
from .structures._labels import labels_of, source_pixels
from .structures._truth import check_targets, target_mask
from .structures._types import Floats, Images, Labels, Sources

__all__ = [
    "BaseImageTransformer",
    "BaseSegmenter",
    "MosaicAware",
    "ProbabilisticSegmenter",
    "ScoreMaps",
    "SemanticSegmenter",
    "Statistic",
]

# Pixels that the Gaussian looks at which smooths an image before its blends are split.
SMOOTHING_REACH = 4
_OUTPUTS = ("labels", "instances", "panoptic")


class _ImageEstimator(MosaicAware, learn.BaseEstimator, metaclass=ABCMeta):
    """What transformers and segmenters share: checking of images, tags, statelessness."""

    _parameter_constraints: dict = {}
    # Subclasses that learn nothing from data set this to False: they work without `fit`.
    _requires_fit = True
    # A class of another package sets this to True to be kept by `galaxysegment.persistence`: its
    # parameters, and its attributes that end in an underscore, are numbers, strings, arrays, or
    # lists of such.
    _in_model_files = False
    #: Band that is the RMS map; an estimator that uses RMS maps has a parameter of this name.
    rms_band: int | None = None

    def _check_fit_images(self, X):
        images, layout = self._unpack(X, None)
        self.n_bands_in_ = images[0].shape[0]
        return images, layout

    @property
    def _n_bands_fitted(self):
        """Number of bands of the images in `fit`; None before, and if nothing was to be learnt."""
        return vars(self).get("n_bands_in_")

    def _check_images(self, X):
        learn.check_is_fitted(self)
        return self._unpack(X, self._n_bands_fitted)

    def _unpack(self, X, n_bands_fitted):
        """Split `X` into images (n_bands, height, width) and a layout that packs as `X` came."""
        fields, is_list = open_observations(X)
        if fields is None:
            return check_images(X, n_bands=n_bands_fitted)
        stacked = [
            field.has_rms and self._takes_rms(field.n_bands, n_bands_fitted) for field in fields
        ]
        images = [stack(field, with_rms) for field, with_rms in zip(fields, stacked, strict=True)]
        images, _ = check_images(images, n_bands=n_bands_fitted)
        return images, FieldLayout(fields, is_list, stacked)

    def _takes_rms(self, n_bands, n_bands_fitted):
        """Whether the RMS map of a field of `n_bands` bands is appended as the last band."""
        if self.rms_band is None:
            return n_bands_fitted == n_bands + 1
        if self.rms_band not in (-1, n_bands):
            raise ValueError(
                f"rms_band={self.rms_band}, but the RMS map of a Field or NDData becomes the last "
                "band: use rms_band=-1."
            )
        return True

    def __sklearn_is_fitted__(self):
        return not self._requires_fit or hasattr(self, "n_bands_in_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Images are not 2-D arrays, but scikit-learn yields one check of 47 if this tag is False
        # (scikit-learn issue 14057). It stays True so that every check is yielded; those that feed
        # 2-D data are replaced, by name, by the image checks of `galaxysegment.testing`.
        tags.input_tags.two_d_array = True
        tags.input_tags.allow_nan = True
        tags.requires_fit = self._requires_fit
        tags.target_tags.required = False
        return tags


class BaseImageTransformer(  # type: ignore[call-arg]
    learn.TransformerMixin, _ImageEstimator, auto_wrap_output_keys=None
):
    """Template of a transformer of images: same container out as in, NaN stays NaN.

    A subclass writes ``_transform_image(image)``, image of shape (n_bands, height, width) in and
    out, and, if it learns from data, ``_fit_images(images)``; it must not write to what it is
    given. If it looks at more than the pixel itself, it says so as `MosaicAware` describes.

    A `Field` goes in with its RMS map as the last band if `rms_band` or `_any_band` says so, and
    comes out as a `Field`. Otherwise its bands are transformed and the RMS map stays beside them,
    as it is.
    """

    reach = 0

    # Whether every band is treated alike, so that an RMS map may be one of them.
    _any_band = False

    def _takes_rms(self, n_bands, n_bands_fitted):
        if self._any_band and n_bands_fitted is None:
            return True
        return super()._takes_rms(n_bands, n_bands_fitted)

    def _keeps_rms(self, n_bands):
        """Whether the last of `n_bands` bands, an RMS map, still is the last band afterwards."""
        return True

    @fit_context
    def fit(self, X: Images, y: object = None) -> Self:
        """Check the images and learn what the transformer needs from them.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images; NaN means "no data". A list holds arrays of different sizes, fields or `NDData`.
        y : ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        images, _ = self._check_fit_images(X)
        self._fit_images(images)
        return self

    def set_output(self, *, transform: str | None = None) -> Self:
        """Accept scikit-learn's default output container; images do not fit into a table.

        Parameters
        ----------
        transform : {"default"} or None, default=None
            Both change nothing.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For any other container.
        """
        if transform not in ("default", None):
            raise ValueError(
                f"transform must be 'default' or None. Got {transform!r} instead: images do not "
                "fit into the rows "
                "of a table."
            )
        return self

    @overload
    def transform(self, X: Field) -> Field: ...
    @overload
    def transform(self, X: Sequence[Field]) -> list[Field]: ...
    @overload
    def transform(self, X: Sequence[ArrayLike]) -> list[Floats]: ...
    @overload
    def transform(self, X: NDArray[Any]) -> Floats: ...
    def transform(self, X):
        """Transform images.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images, or one `Field`, with as many bands as in `fit`. An `NDData` is taken for a
            `Field`.

        Returns
        -------
        array, list or `Field`
            The transformed images, packed as `X` was; float32 stays float32.
        """
        images, layout = self._check_images(X)
        self._validate_params()
        transformed = [self._transform_image(image) for image in images]
        return layout.pack(transformed, keeps_rms=self._keeps_rms(images[0].shape[0]))

    def _fit_images(self, images):
        """Learn from images; override if there is something to learn."""

    @abstractmethod
    def _transform_image(self, image):
        """Transform one image of shape (n_bands, height, width)."""


class BaseSegmenter(_ImageEstimator):
    """Template of a segmenter: images in; label maps, instances or panoptic maps out.

    A subclass writes ``_segment_image(image)``, which returns a label map or `Instances` for one
    image of shape (n_bands, height, width), and, if it learns from data, ``_fit_images(images,
    targets)``. A method that works on many images at once overrides ``_segment_images(images)``
    instead.

    Sources of a label map have the score 1, unless the subclass writes ``_score_maps(image)``: it
    returns the `ScoreMaps` of an image, background-subtracted light and its noise. The score of a
    source is then its signal to noise, the sum of the light of its pixels over the noise of this
    sum.
    """

    # Whether `fit` needs the truth `y`.
    _requires_y = False
    # Height and width of the training images, if they are all the same.
    _image_shape: tuple[int, int] | None = None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "segmenter"
        tags.target_tags.required = self._requires_y
        return tags

    @fit_context
    def fit(self, X: Images, y: Sources | None = None) -> Self:
        """Fit the segmenter to images.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images; NaN means "no data". A list holds arrays of different sizes, fields or `NDData`;
            the RMS map of a field becomes its last band if `rms_band` is -1.
        y : array of shape (n_images, height, width), list of label maps or of `Instances`, optional
            The truth: label maps (0 = background), binary masks or instances. Fields bring their
            own.

        Returns
        -------
        self : object
            The fitted segmenter.
        """
        y = self._find_truth(X, y)
        images, _ = self._check_fit_images(X)
        self._fit_images(self._with_data(images), None if y is None else check_targets(y, images))
        return self

    def _find_truth(self, X, y):
        """Return `y`, or the truth of the fields `X` if `y` is None and the segmenter needs it."""
        if y is None and self._requires_y:
            y = truth_of(X)
            if y is None:
                raise ValueError(
                    f"{type(self).__name__} requires y to be passed, but the target y is None: "
                    "pass one label map per image."
                )
        return [y] if is_observation(X) and (isinstance(y, Instances) or np.ndim(y) == 2) else y

    @overload
    def predict(self, X: Field, output: Literal["instances"]) -> Instances: ...
    @overload
    def predict(self, X: Field, output: Literal["labels", "panoptic"] = "labels") -> Labels: ...
    @overload
    def predict(
        self, X: ArrayLike | Sequence[ArrayLike] | Sequence[Field], output: Literal["instances"]
    ) -> list[Instances]: ...
    @overload
    def predict(
        self,
        X: Sequence[ArrayLike] | Sequence[Field],
        output: Literal["labels", "panoptic"] = "labels",
    ) -> list[Labels]: ...
    @overload
    def predict(
        self, X: NDArray[Any], output: Literal["labels", "panoptic"] = "labels"
    ) -> Labels: ...
    @overload
    def predict(
        self, X: Images, output: Literal["labels", "panoptic"] = "labels"
    ) -> Labels | list[Labels]: ...
    def predict(self, X, output="labels"):
        """Find the sources in images.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images, or one `Field` or `NDData`, with as many bands as in `fit`. The RMS map of a
            `Field` or `NDData` becomes its last band if `rms_band` is -1; otherwise it only says
            which pixels have no data.
        output : {"labels", "instances", "panoptic"}, default="labels"
            What to return for each image: an int32 label map; `Instances`, with the scores that
            the description of the segmenter explains; or class and instance id of each pixel, int32
            of shape (2, height, width).

        Returns
        -------
        array or list
            Label or panoptic maps packed as `X` was; instances in a list. A single `Field` or
            `NDData` gives the map, of shape (height, width), or the instances without a list.

        Warns
        -----
        NoSourcesWarning
            If an image has no source; its label map is all zeros.
        """
        if output not in _OUTPUTS:
            raise ValueError(f"output must be one of {_OUTPUTS}. Got {output!r} instead.")
        images, layout = self._check_images(X)
        self._validate_params()
        if output == "instances":
            scored = [self._with_scores(*pair) for pair in self._find_sources(images, scored=True)]
            _warn_if_empty(scored)
            return layout.pack_list(scored)
        if output == "panoptic":
            pairs = list(self._find_sources(images, scored=self.classifies_sources))
            _warn_if_empty([sources for sources, _ in pairs])
            return layout.pack_maps([self._panoptic(*pair) for pair in pairs])
        predicted = [sources for sources, _ in self._find_sources(images)]
        _warn_if_empty(predicted)
        return layout.pack_maps([as_label_map(sources) for sources in predicted])

    def score(
        self,
        X: Images,
        y: Sources | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Mean over the images of the pixel IoU of sources against background.

        Parameters
        ----------
        X : array, list, `Field` or `NDData`
            Images, as in `predict`.
        y : array or list, optional
            Truth, as in `fit`. Fields bring their own.
        sample_weight : array-like of shape (n_images,), optional
            Weight of each image in the mean; by default all count alike. A pipeline with metadata
            routing passes it on after ``set_score_request(sample_weight=True)``.

        Returns
        -------
        float
            Between 0 and 1.
        """
        y = truth_of(X) if y is None else y
        if y is None:
            raise ValueError(
                "score needs the truth: pass y=, one label map per image, or fields that have "
                "labels."
            )
        from .metrics._scorers import weighted_iou  # scikit-learn's metrics are slow to import

        return weighted_iou(self, X, y, sample_weight)

    def _fit_images(self, images, targets):
        """Learn from images and targets (label maps, Instances or None); override if needed."""

    def _validate_params(self):
        super()._validate_params()
        constraints = {
            "bridge": [learn.Interval(Integral, 0, None, closed="left")],
            "label_bridge": ["boolean"],
            "no_data": [learn.StrOptions({"auto", "nan"})],
        }
        values = {name: getattr(self, name) for name in constraints}
        learn.validate_parameter_constraints(constraints, values, caller_name=type(self).__name__)

    def _with_data(self, images):
        """Set the regions to NaN that are taken for "no data"."""
        return images if self.no_data == "nan" else blank_constant(images, self.rms_band)

    def _prepared(self, images):
        """Images as sources are sought in them, and as they say where labels may lie."""
        images = self._with_data(images)
        if not self.bridge:
            return images, images
        bridged = [bridge_gaps(image, self.bridge, self.rms_band) for image in images]
        return bridged, bridged if self.label_bridge else images

    def _no_data(self, image):
        """Pixels that can belong to no source: NaN in every band, or without a positive RMS."""
        science, rms = split_rms(image, self.rms_band)
        no_data = np.isnan(science).all(axis=0)
        return no_data if rms is None else no_data | np.isnan(rms)

    def _find_in_window(self, image, output, *, scored=False):
        """Find the sources of a window of a mosaic, which was looked at when it was opened.

        Returns
        -------
        sources : ndarray of int32 or Instances
            As `output` says, "labels" or "instances".
        maps : ScoreMaps or None
            What scores come from, if they are wanted of a label map.
        """
        learn.check_is_fitted(self)
        self._validate_params()
        image = check_window(image, self._n_bands_fitted)
        as_instances = output == "instances"
        [(sources, maps)] = self._find_sources([image], scored=scored or as_instances)
        if as_instances:
            return self._with_scores(sources, maps), None
        is_map = not isinstance(sources, Instances)
        return labels_of(sources) if is_map else sources.to_label_map(), maps

    def _candidates_in_window(self, image):
        """Find and measure the instances of a window of a mosaic; their classes are rows."""
        image = check_window(image, self._n_bands_fitted)
        sources, measured = self.find_candidates(image)
        numbered = replace(sources, classes=np.arange(len(sources)))
        return clear_no_data(numbered, self._no_data(image)), measured

    def _find_sources(self, images, *, scored=False):
        """Yield label map or `Instances` of each image; with `scored`, its `ScoreMaps`, or None."""
        bridged, shown = self._prepared(images)
        if scored:
            pairs = self._segment_scored(bridged)
        else:
            pairs = ((result, None) for result in self._segment_images(bridged))
        for (result, maps), image in zip(pairs, shown, strict=True):
            yield clear_no_data(result, self._no_data(image)), maps

    def _segment_scored(self, images):
        """Yield what `_segment_images` returns, each with its `ScoreMaps` or None."""
        for result, image in zip(self._segment_images(images), images, strict=True):
            is_map = not isinstance(result, Instances)
            needs_maps = is_map and (self.classifies_sources or result.any())
            yield result, self._score_maps(image) if needs_maps else None

    def _score_maps(self, image):
        """Return the `ScoreMaps` of one image, or None if every source has the score 1."""

    def _with_scores(self, result, maps):
        """Make `Instances` of the sources of an image."""
        if isinstance(result, Instances):
            return result
        if maps is None:
            return Instances.from_label_map(result)
        labels = relabel(result)
        pixels = source_pixels(labels)
        owners = labels.ravel()[pixels]
        sums = sum_over_sources(maps, pixels, owners, int(owners.max(initial=0)))
        classes = self.classify_sources(sums) if self.classifies_sources else None
        return Instances.from_label_map(labels, self.score_sources(sums), classes)

    def _panoptic(self, result, maps):
        """Return the panoptic map of the sources of an image; `maps` are what scores come from."""
        if isinstance(result, Instances):
            return result.to_panoptic()
        if maps is None or not self.classifies_sources:
            return np.stack([np.where(result > 0, GALAXY, SKY).astype(np.int32), result])
        labels, stuff = relabel(result), self.classify_stuff(maps)
        owners = np.concatenate([[SKY], self._with_scores(labels, maps).classes])
        semantic = np.where(labels > 0, owners[labels], SKY if stuff is None else stuff)
        return np.stack([semantic, labels]).astype(np.int32)

    def _segment_images(self, images):
        return [self._segment_image(image) for image in images]

    def _segment_image(self, image):
        """Return the label map or `Instances` of one image of shape (n_bands, height, width)."""
        if not (self.finds_instances and self.classifies_sources):
            raise NotImplementedError
        sources, measured = self.find_candidates(image)
        return replace(sources, classes=self.classify_sources(measured))


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
        labels = remove_small(label_components(proba > self._threshold()), self.n_pixels)
        if self.deblend:
            image = self._deblending_image(proba, image)
            labels = split_blends(
                self.deblend, labels, image, self.n_pixels, contrast=self.contrast
            )
        return labels

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


def pipeline_steps(estimator):
    """List the steps of a `sklearn.pipeline.Pipeline`; anything else is its only step."""
    module = sys.modules.get("sklearn.pipeline")  # not imported: nobody has made a Pipeline
    is_pipeline = module is not None and isinstance(estimator, module.Pipeline)
    return [step for _, step in estimator.steps] if is_pipeline else [estimator]


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


def clear_no_data(result, no_data):
    """Take the pixels without data away from the sources."""
    if not no_data.any():
        return result
    if isinstance(result, Instances):
        masks = [
            crop & ~no_data[y0:y1, x0:x1]
            for (y0, x0, y1, x1), crop in zip(result.boxes.tolist(), result.crops, strict=True)
        ]
        left = [index for index, mask in enumerate(masks) if mask.any()]
        kept = result.select(left)
        return Instances(
            kept.shape, kept.boxes, [masks[i] for i in left], kept.scores, kept.classes
        )
    return relabel(np.where(no_data, 0, result).astype(np.int32))


def _warn_if_empty(predicted):
    empty = [
        index
        for index, sources in enumerate(predicted)
        if not (len(sources) if isinstance(sources, Instances) else sources.any())
    ]
    if empty:
        which = ", ".join(map(str, empty[:5])) + (", …" if len(empty) > 5 else "")
        warnings.warn(
            f"No source was found in {len(empty)} of {len(predicted)} images (index {which}): "
            "their "
            "label maps are zero.",
            NoSourcesWarning,
            stacklevel=3,
        )
