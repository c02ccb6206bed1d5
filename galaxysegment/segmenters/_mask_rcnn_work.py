"""What Mask R-CNN does in training and prediction, apart from its parameters."""

import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..base import BaseSegmenter, _clear_no_data
from ..exceptions import CrowdedImageWarning
from ..metrics import detection_scores
from ..structures import Instances
from ._deep import DeepSegmenterMixin
from ._scaling import ScaledInputMixin
from ._stages import StagedTrainingMixin, check_stages
from ._suppression import suppress

__all__ = ["MaskRCNNWork"]

_THRESHOLDS = np.round(np.linspace(0.05, 0.95, 19), 2)
_MASK_THRESHOLDS = np.round(np.linspace(0.25, 0.65, 9), 2)
_MASK_IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)
_LOWEST = 0.05  # scores below are not looked at when a threshold is chosen
_N_TUNING = 400  # images are enough to choose it
_N_LEVELS = 5
_SMALLEST_ANCHOR = 4
_SAMPLES_PER_SOURCE, _N_SAMPLES = 5, (32, 512)
_DEEP = ("resnet50", "resnet101")
_TORCH_FILES = (".pth", ".pt")


class MaskRCNNWork(StagedTrainingMixin, ScaledInputMixin, DeepSegmenterMixin, BaseSegmenter):
    """Training and prediction of `MaskRCNNSegmenter`."""

    _finds_instances = True

    # ---- the decisions of this net ----

    def _module_spec(self, n_bands):
        from ..nets._mask_rcnn import MaskRCNN

        return MaskRCNN, {
            "n_bands": n_bands,
            "n_classes": len(self.classes),
            "backbone": self.backbone,
            "stem_stride": self.stem_stride,
            "channels": self.channels or (256 if self.backbone in _DEEP else 128),
            "anchor_sizes": getattr(self, "anchor_sizes_", None),
            "n_proposals": self.n_proposals,
            "patch_area": getattr(self, "_patch_area", None),
            "n_samples": getattr(self, "_n_samples", None)
            if self.n_samples == "auto"
            else self.n_samples,
            "proposal_nms": self.proposal_nms,
        }

    def _criterion(self):
        from ..nets._mask_rcnn_net import SumOfLosses

        return SumOfLosses

    def _net_class(self):
        from ..nets._mask_rcnn_net import DetectionNet

        return DetectionNet

    def _net_settings(self):
        if self.optimizer == "sgd":
            return {"optimizer__momentum": 0.9}
        if self.optimizer in ("adam", "adamw") and self.device in ("cpu", "cuda"):
            return {"optimizer__fused": True}  # one pass over the weights in place of a dozen
        return {}

    def _make_dataset(self, images, targets, training):
        from ..nets._detection_data import SourceDataset

        targets = [
            _clear_no_data(self._large_enough(target), np.isnan(image).all(axis=0))
            for target, image in zip(targets, images, strict=True)
        ]
        augmenter = self._augmenter() if training else None
        return SourceDataset(
            images, targets, patch_size=self.patch_size, augmenter=augmenter, training=training
        )

    def _large_enough(self, target):
        instances = target if isinstance(target, Instances) else Instances.from_label_map(target)
        return instances.select(instances.areas >= self.n_pixels)

    def _collate(self):
        from ..nets._detection_data import DetectionCollate

        return DetectionCollate(32 * self.stem_stride, self.classes)

    def _check_trainable(self, images, targets):
        super()._check_trainable(images, targets)
        if self.stages is not None:
            check_stages(self.stages)
        for index, target in enumerate(targets):
            unknown = (
                set()
                if _classes_of(target) is None
                else {*_classes_of(target).tolist()} - {*self.classes}
            )
            if unknown:
                raise ValueError(
                    f"y[{index}] holds the class {min(unknown)}, but classes={tuple(self.classes)!r} are declared: add "
                    "it there, or leave these sources out."
                )

    def _fit_images(self, images, targets):
        if not (self.warm_start and hasattr(self, "net_")):
            self._check_trainable(images, targets)
            self._measure(images, targets)
        super()._fit_images(images, targets)

    def _measure(self, images, targets):
        """Find the area of a training patch, how many boxes to sample in it, and the anchors."""
        limit = self.patch_size or np.inf
        sides = np.array([np.minimum(image.shape[1:], limit) for image in images])
        self._patch_area = int(sides.prod(axis=1).max())
        targets = [self._large_enough(target) for target in targets]
        density = sum(map(len, targets)) / sum(np.prod(image.shape[1:]) for image in images)
        self._n_samples = int(
            np.clip(_SAMPLES_PER_SOURCE * density * self._patch_area, *_N_SAMPLES)
        )
        if isinstance(self.anchors, str):
            self.anchor_sizes_ = _choose_anchors(targets)
            return
        self.anchor_sizes_ = [float(size) for size in self.anchors]
        if len(self.anchor_sizes_) != _N_LEVELS or min(self.anchor_sizes_) <= 0:
            raise ValueError(
                f"anchors must be 'auto' or {_N_LEVELS} positive sides in pixels, one for each level of the pyramid. "
                f"Got {self.anchors!r} instead."
            )

    # ---- training ----

    def _after_training(self, images, targets):
        self.score_threshold_, self.mask_threshold_ = self.score_threshold, self.mask_threshold
        if "auto" not in (self.score_threshold, self.mask_threshold):
            return
        images, targets = (
            images[:_N_TUNING],
            [self._large_enough(target) for target in targets[:_N_TUNING]],
        )
        boxes, _ = self._look(images, _LOWEST)
        draw = partial(self._draw, boxes, images)
        if self.score_threshold == "auto":
            found = draw(0.5 if self.mask_threshold == "auto" else self.mask_threshold)
            self.score_threshold_ = _best_score(targets, found)
        if self.mask_threshold == "auto":
            self.mask_threshold_ = _best_mask(targets, draw, self.score_threshold_)

    # ---- weights ----

    def _torch_weights(self):
        return self.weights == "coco" or (
            self.weights is not None and Path(self.weights).suffix in _TORCH_FILES
        )

    def __sklearn_is_fitted__(self):
        # weights of photographs know no galaxies
        return hasattr(self, "net_") or (self.weights is not None and not self._torch_weights())

    def _load_weights(self):
        if not self._torch_weights():
            super()._load_weights()
            return
        from ..nets._mask_rcnn_weights import load_torchvision

        self._learn_scaling(self._first_images)
        self._make_net(len(self._scale(self._first_images[0])))
        load_torchvision(self.net_.module_, self.weights)

    def _start(self, images):
        self._first_images = images
        try:
            super()._start(images)
        finally:
            del self._first_images

    # ---- prediction ----

    @property
    def _reach(self):
        """Pixels around a pixel that decide about it: those of the largest sources, by the anchors."""
        self._ready_net()
        return int(np.ceil(self.anchor_sizes_[-2]))

    @property
    def _phase(self):
        """A window of a larger image begins at a multiple of this, so that it is pooled as the whole is."""
        self._ready_net()
        return self.net_.module_.multiple

    def _segment_images(self, images):
        scaled_images = self._scale_all(images)
        boxes, saturated = self._look(scaled_images, self._in_use("score_threshold"))
        found = self._draw(boxes, scaled_images, self._in_use("mask_threshold"))
        if saturated:
            warnings.warn(
                f"{len(saturated)} of {len(images)} images (index {saturated[0]} first) may hold more sources than "
                f"the net looks at, {self.net_.module_.n_proposals} boxes for each training patch: use a larger "
                "n_proposals.",
                CrowdedImageWarning,
                stacklevel=4,
            )
        classes = np.asarray(self._declared_classes())
        return [replace(one, classes=classes[one.classes - 1]) for one in found]

    def _declared_classes(self):
        return getattr(self, "_classes_known", None) or self.classes

    def _in_use(self, name):
        """Return a threshold that is given, or else the one that was chosen."""
        given = getattr(self, name)
        return getattr(self, f"{name}_") if given == "auto" else given

    def _look(self, scaled_images, score_threshold):
        """Boxes with masks of probabilities, and the indices of the images that hold too many."""
        from ..nets._mask_rcnn_prediction import find_boxes

        limits = {
            "score_threshold": score_threshold,
            "box_nms": self.box_nms,
            "soft_nms": self.soft_nms,
        }
        return find_boxes(self.net_, scaled_images, self.batch_size, **limits)

    def _draw(self, boxes, scaled_images, mask_threshold):
        """Instances with the net's labels as classes."""
        from ..nets._mask_rcnn_prediction import draw_masks

        shapes = [image.shape[1:] for image in scaled_images]
        found = [
            draw_masks(*one, self.n_pixels, mask_threshold)
            for one in zip(boxes, shapes, strict=True)
        ]
        return found if self.mask_nms is None else [suppress(one, self.mask_nms) for one in found]

    # ---- what a model file keeps ----

    def _get_net_state(self):
        own = {
            "score_threshold": self.score_threshold_,
            "mask_threshold": self.mask_threshold_,
            "anchor_sizes": self.anchor_sizes_,
            "patch_area": self._patch_area,
            "classes": [int(one) for one in self._declared_classes()],
        }
        return {**super()._get_net_state(), **self._get_scaling_state(), **own}

    def _set_net_state(self, state):
        self._set_scaling_state(state)
        self.score_threshold_, self.mask_threshold_ = (
            state["score_threshold"],
            state["mask_threshold"],
        )
        self._classes_known = tuple(state["classes"])
        self.anchor_sizes_, self._patch_area = state["anchor_sizes"], state["patch_area"]
        super()._set_net_state(state)


def _best_score(targets, found):
    """Score with the best F1 of the sources above it."""
    f1 = [
        detection_scores(targets, [one.select(one.scores >= threshold) for one in found]).f1
        for threshold in _THRESHOLDS
    ]
    # the middle of the best ones, for the curve is flat and noisy
    best = np.flatnonzero(np.array(f1) >= max(f1) - 1e-3)
    return float(_THRESHOLDS[best[len(best) // 2]])


def _best_mask(targets, draw, score_threshold):
    """Probability of a pixel with the best F1, as mean over several IoUs: the higher ones ask for exact masks."""
    quality = []
    for mask_threshold in _MASK_THRESHOLDS:
        found = [one.select(one.scores >= score_threshold) for one in draw(mask_threshold)]
        quality.append(
            np.mean([detection_scores(targets, found, iou=iou).f1 for iou in _MASK_IOUS])
        )
    return float(_MASK_THRESHOLDS[int(np.argmax(quality))])


def _classes_of(target):
    return getattr(target, "classes", None)


def _choose_anchors(targets):
    """Sides of the anchors of the levels: from that of small sources up, each at least twice the one before.

    An anchor is then never much finer than the pixels of its level, and the largest source still has one.
    """
    boxes = np.concatenate([target.boxes for target in targets])
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    small, large = (
        np.percentile(sides, [10, 98]) if len(sides) else (_SMALLEST_ANCHOR, _SMALLEST_ANCHOR)
    )
    small = max(small, _SMALLEST_ANCHOR)
    growth = max(2.0, (large / small) ** (1 / (_N_LEVELS - 1)))
    return [round(float(small * growth**level), 1) for level in range(_N_LEVELS)]
