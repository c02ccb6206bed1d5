"""The template of the deep segmenters that find instances: classes, scores, losses by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ._deep import DeepSegmenter
from ._pixel_classes import class_codes
from ._stages import check_stages

__all__ = ["DeepInstanceSegmenter"]


class DeepInstanceSegmenter(DeepSegmenter):
    """Template of a segmenter whose module returns losses in training, and else scored sources.

    A subclass has the parameters below beside those of `DeepSegmenter`, and overrides the same
    hooks but `_criterion` and `_net_class`. Its module declares ``loss_names`` and ``max_norm``,
    and has ``loss_mode()`` and ``freeze(layers)``.
    """

    # ---- the parameters that the template uses ----

    classes: Sequence[int]
    score_threshold: float | str
    n_pixels: int

    finds_instances = True
    # the classes of the net in a model file, which count in place of the parameter
    _classes_known: tuple[int, ...] | None = None

    def _criterion(self):
        from ..nets.common._loss_net import SumOfLosses

        return SumOfLosses

    def _net_class(self):
        from ..nets.common._loss_net import LossNet

        return LossNet

    def _net_settings(self):
        return {"optimizer__momentum": 0.9} if self.optimizer == "sgd" else {}

    def _check_trainable(self, images, targets):
        super()._check_trainable(images, targets)
        class_codes(self.classes)
        if self.stages is not None:
            check_stages(self.stages)

    def _training_set(self, X, y, mask, weights, n_bands_fitted):
        """Leave out images of weight 0, and scale the weights to a mean of 1."""
        if n_bands_fitted is None:  # a new net: the file of its weights decides about classes
            self._classes_known = None
            if self.weights is not None and not self._has_foreign_weights():
                self._seed = 0
                self._load_weights()
        data = super()._training_set(X, y, mask, weights, n_bands_fitted)
        if data.weights is None:
            return data
        data = data.part(np.flatnonzero(data.weights))
        return replace(data, weights=data.weights / data.weights.mean())

    def _set_untuned(self):
        self.score_threshold_ = 0.5 if self.score_threshold == "auto" else self.score_threshold

    def _start(self, data):
        self._classes_known = None
        super()._start(data)

    def _declared_classes(self):
        """Return the classes that the net tells apart, a tuple."""
        return self._classes_known or class_codes(self.classes)

    def _check_classes(self, numbers, name):
        """Refuse classes of the target `name` that are not declared."""
        unknown = {*np.asarray(numbers).tolist()} - {*self._declared_classes()}
        if unknown:
            raise ValueError(
                f"{name} holds the class {min(unknown)}, but classes={self._declared_classes()!r} "
                "are declared: add it there, or leave these sources out."
            )

    def _threshold_in_use(self, name):
        """Return the parameter `name`, or the tuned threshold if it is ``"auto"``."""
        given = getattr(self, name)
        return getattr(self, f"{name}_") if given == "auto" else given

    def _get_own_state(self):
        return {
            "score_threshold": self.score_threshold_,
            "classes": list(self._declared_classes()),
        }

    def _set_own_state(self, state):
        self.score_threshold_ = state["score_threshold"]
        self._classes_known = tuple(state["classes"])
