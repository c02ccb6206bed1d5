"""The template of a segmenter: images in; label maps, instances or panoptic maps out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._utils import learn
from .._utils.typed import fit_context
from .._utils.validation import check_rms_band, check_window, level_of_caller, split_rms
from ..detection._constant import blank_constant
from ..detection._gaps import bridge_gaps
from ..detection._scores import sum_over_sources
from ..io import Field
from ..io._inputs import is_observation, truth_of
from ..structures import (
    GALAXY,
    SKY,
    Instances,
    NoSourcesWarning,
    as_label_map,
    relabel,
)
from ..structures._labels import labels_of, source_pixels
from ..structures._truth import check_targets
from ..structures._types import Images, Labels, Sources
from ._estimator import ImageEstimator

__all__ = ["BaseSegmenter", "clear_no_data"]

_OUTPUTS = ("labels", "instances", "panoptic")
_NOWHERE = np.zeros(1, dtype=bool)  # no pixel is without data


class BaseSegmenter(ImageEstimator):
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
            results = self._find_sources(images, scored=True)
            scored = [self._with_scores(*result) for result in results]
            _warn_if_empty(scored)
            return layout.pack_list(scored)
        if output == "panoptic":
            results = self._find_sources(images, scored=self.classifies_sources)
            panoptic = [self._panoptic(*result) for result in results]
            _warn_if_empty([labels for _, labels in panoptic])
            return layout.pack_maps(panoptic)
        results = self._find_sources(images)
        predicted = [clear_no_data(sources, no_data) for sources, _, no_data in results]
        _warn_if_empty(predicted)
        return layout.pack_maps([as_label_map(sources) for sources in predicted])

    def _predict_with_panoptic(self, X):
        """Find the sources once; return `Instances` and the panoptic map of each image."""
        images, _ = self._check_images(X)
        self._validate_params()
        results = list(self._find_sources(images, scored=True))
        pairs = [(self._with_scores(*result), self._panoptic(*result)) for result in results]
        _warn_if_empty([sources for sources, _ in pairs])
        return pairs

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
        from ..metrics._scorers import weighted_iou  # scikit-learn's metrics are slow to import

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
        if self.rms_band is not None:
            check_rms_band(self.rms_band, len(images[0]))
        return images if self.no_data == "nan" else blank_constant(images, self.rms_band)

    def _prepared(self, images):
        """Images as sources are sought in them, and as they say where labels may lie."""
        images = self._with_data(images)
        bridged = self._bridged(images)
        return bridged, bridged if self.label_bridge else images

    def _bridged(self, images):
        """Images without the narrow gaps that sources may bridge."""
        if not self.bridge:
            return images
        return [bridge_gaps(image, self.bridge, self.rms_band) for image in images]

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
        learn.check_is_fitted(self, msg=self._unfitted_message())
        self._validate_params()
        image = check_window(image, self._n_bands_fitted)
        as_instances = output == "instances"
        [(sources, maps, no_data)] = self._find_sources([image], scored=scored or as_instances)
        if as_instances:
            return self._with_scores(sources, maps, no_data), None
        sources = clear_no_data(sources, no_data)
        is_map = not isinstance(sources, Instances)
        return labels_of(sources) if is_map else sources.to_label_map(), maps

    def _candidates_in_window(self, image):
        """Find and measure the instances of a window of a mosaic; their classes are rows."""
        image = check_window(image, self._n_bands_fitted)
        sources, measured = self.find_candidates(image)
        numbered = replace(sources, classes=np.arange(len(sources)))
        return clear_no_data(numbered, self._no_data(image)), measured

    def _find_sources(self, images, *, scored=False):
        """Yield what is found in each image.

        Yields
        ------
        sources : label map or Instances
            They still hold the pixels without data that they bridge.
        maps : ScoreMaps or None
            None unless `scored`.
        no_data : ndarray of bool
            Pixels that belong to no source.
        """
        images = self._with_data(images)
        bridged = self._bridged(images)
        if scored:
            pairs = self._segment_scored(bridged)
        else:
            pairs = ((result, None) for result in self._segment_images(bridged))
        for (result, maps), image, whole in zip(pairs, images, bridged, strict=True):
            no_data = self._no_data(image)
            left = no_data if whole is image else self._no_data(whole)
            told = None if maps is None else self._bridge_votes(maps, no_data & ~left)
            yield result, told, left if self.label_bridge else no_data

    def _bridge_votes(self, maps, gaps):
        """Return `ScoreMaps` whose classes say of bridged gaps what is known of them: nothing.

        Parameters
        ----------
        maps : ScoreMaps
        gaps : ndarray of bool, shape (height, width)
        """
        if maps.classes is None or not gaps.any():
            return maps
        return maps._replace(classes=np.where(gaps, 0, maps.classes))

    def _segment_scored(self, images):
        """Yield what `_segment_images` returns, each with its `ScoreMaps` or None."""
        for result, image in zip(self._segment_images(images), images, strict=True):
            is_map = not isinstance(result, Instances)
            needs_maps = is_map and (self.classifies_sources or result.any())
            yield result, self._score_maps(image) if needs_maps else None

    def _score_maps(self, image):
        """Return the `ScoreMaps` of one image, or None if every source has the score 1."""

    def _with_scores(self, result, maps, no_data=_NOWHERE):
        """Make `Instances` of what `_find_sources` yields."""
        if isinstance(result, Instances):
            return clear_no_data(result, no_data)
        if maps is None:
            return Instances.from_label_map(clear_no_data(result, no_data))
        labels, sums = self._sums_of(result, maps, no_data)
        classes = self.classify_sources(sums) if self.classifies_sources else None
        return Instances.from_label_map(labels, self.score_sources(sums), classes)

    def _sums_of(self, result, maps, no_data):
        """Return the label map 1…n without the pixels that belong to no source, and its sums.

        The sums come first, because bridged pixels may know the class of their source.
        """
        labels = relabel(result)
        pixels = source_pixels(labels)
        owners = labels.ravel()[pixels]
        gaps = no_data if no_data.any() else None
        sums = sum_over_sources(maps, pixels, owners, int(owners.max(initial=0)), gaps)
        if gaps is None:
            return labels, sums
        kept = np.unique(owners[~no_data.ravel()[pixels]])
        return clear_no_data(labels, no_data), sums[kept - 1]

    def _panoptic(self, result, maps, no_data=_NOWHERE):
        """Return the panoptic map of what `_find_sources` yields."""
        if isinstance(result, Instances):
            return clear_no_data(result, no_data).to_panoptic()
        if maps is None or not self.classifies_sources:
            labels = clear_no_data(result, no_data)
            return np.stack([np.where(labels > 0, GALAXY, SKY).astype(np.int32), labels])
        labels, sums = self._sums_of(result, maps, no_data)
        stuff = self.classify_stuff(maps)
        owners = np.concatenate([[SKY], self.classify_sources(sums)])
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
            "their label maps are zero.",
            NoSourcesWarning,
            stacklevel=level_of_caller(),
        )
