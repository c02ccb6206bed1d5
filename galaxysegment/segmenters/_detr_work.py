"""What DETR and Mask2Former do in training and prediction, apart from their parameters."""

import warnings
from pathlib import Path

import numpy as np

from ..base import BaseSegmenter
from ..exceptions import CrowdedImageWarning
from ..metrics import iou_score, panoptic_quality
from ..structures import GALAXY, Instances
from ._deep import DeepSegmenterMixin
from ._scaling import ScaledInputMixin
from ._stages import StagedTrainingMixin, check_stages

__all__ = ["DETRWork"]

_THRESHOLDS = np.round(np.linspace(0.05, 0.95, 19), 2)
_N_TUNING = 256  # patches are enough to choose one
_FLAT = 0.005  # panoptic qualities of so many patches are no closer to the truth than this


class DETRWork(StagedTrainingMixin, ScaledInputMixin, DeepSegmenterMixin, BaseSegmenter):
    """Training and prediction of `DETRSegmenter`."""

    _finds_instances = True

    # ---- the decisions of this net ----

    def _kind(self):
        """Which module it is: that of the weights that were read, or what the parameters ask for."""
        if hasattr(self, "_kind_known"):
            return self._kind_known
        if self._is_checkpoint() or self._backbone() != "unet":
            return "detr" if self.architecture == "detr" else "plain"
        return "seeded-detr" if self.architecture == "detr" else "seeded"

    def _backbone(self):
        return "unet" if self.backbone == "auto" else self.backbone

    def _module_spec(self, n_bands):
        shared = {
            "n_bands": n_bands,
            "n_classes": len(self._declared_classes()) + 1,
            "n_queries": self.n_queries,
            "d_model": self.d_model,
            "n_heads": self.n_heads,
            "decoder_layers": self.decoder_layers,
            "feedforward": 4 * self.d_model,
        }
        seeds = {"base_width": self.base_width, "depth": self.depth, "queries": self.queries}
        if self._kind() == "seeded":
            from ..nets._mask2former import SeededMask2Former

            return SeededMask2Former, {**shared, **seeds}
        shared["encoder_layers"] = self.encoder_layers
        if self._kind() == "seeded-detr":
            from ..nets._detr_seeded import SeededDetr

            return SeededDetr, {**shared, **seeds}
        from ..nets._checkpoints import module_class

        return module_class(self._kind()), {
            **shared,
            "backbone": self._backbone(),
            "stem_stride": self.stem_stride,
        }

    def _net_class(self):
        from ..nets._set_net import NETS

        return NETS[self._kind()]

    def _net_settings(self):
        return {"optimizer__momentum": 0.9} if self.optimizer == "sgd" else {}

    def _criterion(self):
        from ..nets._mask_rcnn_net import SumOfLosses

        return SumOfLosses

    def _make_dataset(self, images, targets, training):
        from ..nets._data import MaskDataset

        codes = [self._encode(target) for target in targets]
        augmenter = self._augmenter() if training else None
        return MaskDataset(
            images, codes, patch_size=self.patch_size, augmenter=augmenter, training=training
        )

    def _collate(self):
        from ..nets._segment_data import SegmentCollate

        return SegmentCollate(self.n_points)

    def _encode(self, target):
        """Label map of a target that tells the class index of each source too."""
        from ..nets._segment_data import encode_target

        labels, classes = _segments(target)
        index = {number: place for place, number in enumerate(self._declared_classes(), start=1)}
        unknown = set(classes.tolist()) - set(index)
        if unknown:
            raise ValueError(
                f"y holds the class {min(unknown)}, but classes={tuple(index)!r} are declared: add it there, or leave "
                "these sources out."
            )
        return encode_target(
            labels, np.array([index[one] for one in classes.tolist()], dtype=np.int64)
        )

    def _declared_classes(self):
        return getattr(self, "_classes_known", None) or tuple(int(one) for one in self.classes)

    # ---- what is refused or warned of ----

    def _check_trainable(self, images, targets):
        super()._check_trainable(images, targets)
        self._check_parameters()
        self._warn_of_crowds(targets)

    def _check_parameters(self):
        if self.stages is not None:
            check_stages(self.stages)
        if (
            len(set(self.classes)) < len(self.classes)
            or not len(self.classes)
            or min(self.classes) < 1
        ):
            raise ValueError(
                f"classes must be different whole numbers from 1 on, at least one. Got {self.classes!r} instead."
            )
        self._check_width()

    def _check_width(self):
        """Refuse what attention heads, sines and the groups of DETR's mask head cannot share out."""
        if self.architecture == "detr":
            fits = (
                self.d_model in (32, 64) or self.d_model % 128 == 0
            ) and not self.d_model % self.n_heads
            fits = fits and self.n_heads % 8 == 0
            remedy = (
                "32, 64 or a multiple of 128, and n_heads that is a multiple of 8 and divides it"
            )
        else:
            multiple = max(4 * self.n_heads, 32 if self._backbone() != "unet" else 4)
            fits, remedy = not self.d_model % multiple, f"that is a multiple of {multiple}"
        if not fits:
            raise ValueError(
                f"d_model={self.d_model} with n_heads={self.n_heads} cannot be divided as the net needs it: use a "
                f"d_model {remedy}."
            )

    def _warn_of_crowds(self, targets):
        """Warn where an image that is trained on whole has more sources than there are queries."""
        limit = self.n_queries - (self._backbone() != "unet")
        counts = [
            len(target) if isinstance(target, Instances) else int(target.max(initial=0))
            for target in targets
            if self.patch_size is None or max(target.shape) <= self.patch_size
        ]
        if counts and max(counts) > limit:
            warnings.warn(
                f"A training image holds {max(counts)} sources, but n_queries={self.n_queries} finds at most {limit} "
                f"in one: the others cannot be learnt. Use n_queries >= {max(counts) + self.n_queries - limit}, or a "
                "smaller patch_size.",
                CrowdedImageWarning,
                stacklevel=5,
            )

    # ---- training ----

    def _after_training(self, images, targets):
        self.score_threshold_ = self.score_threshold
        if self.score_threshold == "auto":
            patches = self._make_dataset(images, targets, training=False)
            patches.windows = patches.windows[:: -(-len(patches) // _N_TUNING)]
            self.score_threshold_ = self._best_threshold(
                [patches[index] for index in range(len(patches))]
            )

    def _best_threshold(self, patches):
        """Score with the best panoptic quality of the sources; where that hardly differs, with the best IoU of pixels.

        The quality counts a galaxy of ten thousand pixels like one of ten, and is nearly flat up to scores at which
        the largest ones are lost.
        """
        from ..nets._segment_data import decode_target
        from ..nets._segment_prediction import find_candidates, to_instances

        truths = []
        for _, codes in patches:
            labels, classes, _ = decode_target(codes, 1)
            truths.append(Instances.from_label_map(labels, classes=self._names()[classes]))
        found = find_candidates(self.net_, [image for image, _ in patches], self.batch_size)
        quality, overlap = [], []
        for threshold in _THRESHOLDS:
            sources = [to_instances(one, threshold, self.n_pixels, self._names()) for one in found]
            things = panoptic_quality(truths, sources).things.pq
            quality.append(1.0 if np.isnan(things) else things)  # no source, and none found
            overlap.append(iou_score(truths, sources, average="pixels"))
        rank = np.where(np.array(quality) >= max(quality) - _FLAT, overlap, -1)
        best = np.flatnonzero(rank == rank.max())
        return float(
            _THRESHOLDS[best[len(best) // 2]]
        )  # the middle of equal ones, away from where they end

    def _names(self):
        """Category of each class index, the sky's first."""
        return np.array([0, *self._declared_classes()])

    # ---- prediction ----

    def _segment_images(self, images):
        from ..nets._segment_prediction import predict_instances

        scaled_images = self._scale_all(images)
        threshold = (
            self.score_threshold_ if self.score_threshold == "auto" else self.score_threshold
        )
        window = None if self.patch_size is None else max(self.patch_size, 32)
        found, crowded = predict_instances(
            self.net_,
            scaled_images,
            self.batch_size,
            window,
            threshold,
            self.n_pixels,
            self._names(),
        )
        if crowded:
            warnings.warn(
                f"All {self.net_.module_.n_queries} queries are used in {len(crowded)} of {len(images)} images (index "
                f"{crowded[0]} first), which may hold more sources: train with a larger n_queries or a smaller "
                "patch_size, or raise score_threshold.",
                CrowdedImageWarning,
                stacklevel=4,
            )
        return found

    # ---- weights ----

    def _is_checkpoint(self):
        """Whether `weights` are a checkpoint of transformers, in a folder or on the hub."""
        if self.weights is None:
            return False
        path = Path(self.weights)
        return path.is_dir() or (not path.exists() and not path.suffix and "/" in str(self.weights))

    def __sklearn_is_fitted__(self):
        # checkpoints of photographs know no galaxies
        return hasattr(self, "net_") or (self.weights is not None and not self._is_checkpoint())

    def _start(self, images):
        for name in ("_kind_known", "_classes_known"):
            self.__dict__.pop(name, None)
        self._first_images = images
        try:
            super()._start(images)
        finally:
            del self._first_images

    def _load_weights(self):
        if not self._is_checkpoint():
            super()._load_weights()
            return
        from ..nets._checkpoints import load_checkpoint

        self._learn_scaling(self._first_images)
        n_bands = len(self._scale(self._first_images[0]))
        module, params, state = load_checkpoint(
            self.weights, self.architecture, n_bands, len(self._declared_classes()) + 1
        )
        self._make_net(n_bands, (module, params))
        self.net_.module_.load_state_dict(state)

    # ---- what a model file keeps ----

    def _get_net_state(self):
        own = {
            "kind": self._kind(),
            "score_threshold": self.score_threshold_,
            "classes": list(self._declared_classes()),
        }
        return {**super()._get_net_state(), **self._get_scaling_state(), **own}

    def _set_net_state(self, state):
        self._set_scaling_state(state)
        self._kind_known, self._classes_known = state["kind"], tuple(state["classes"])
        self.score_threshold_ = state["score_threshold"]
        super()._set_net_state(state)


def _segments(target):
    """Label map of a checked target, and the class of every label."""
    if not isinstance(target, Instances):
        return target, np.full(int(target.max(initial=0)), GALAXY)
    semantic, labels = target.to_panoptic()
    classes = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    classes[labels] = semantic
    return labels, classes[1:]
