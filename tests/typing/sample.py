"""What a user's own program looks like to a type checker.

Run by ``tests/test_types.py`` under ``mypy --strict``.
"""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import galaxysegment
from galaxysegment import (
    DETRSegmenter,
    Instances,
    KMeansSegmenter,
    MaskRCNNSegmenter,
    PhotutilsSegmenter,
    RandomForestSegmenter,
    UNetSegmenter,
)
from galaxysegment.base import BaseSegmenter
from galaxysegment.catalog import source_catalog, write_catalog
from galaxysegment.coco import from_coco, to_coco
from galaxysegment.datasets import load_sample_field, make_blends
from galaxysegment.display import SegmentationDisplay
from galaxysegment.io import Field, read_field, write_label_map
from galaxysegment.metrics import (
    DetectionScores,
    detection_scores,
    get_scorer,
    iou_score,
    panoptic_quality,
)
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import GaussianSmoother, augment, make_variant
from galaxysegment.structures import GALAXY, label_components, remove_small
from galaxysegment.testing import estimator_checks


class BrightSegmenter(BaseSegmenter):
    """A segmenter of the user's own."""

    _requires_fit = False

    def __init__(self, *, level: float = 10.0) -> None:
        self.level = level

    def _segment_image(self, image: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        return remove_small(label_components(image[0] > self.level), 5)


def containers(stack: NDArray[np.float32], images: list[NDArray[np.float64]]) -> None:
    segmenter = PhotutilsSegmenter(n_sigma=2, deblend=True).fit(stack)
    assert_type(segmenter, PhotutilsSegmenter)
    assert_type(segmenter.predict(stack), NDArray[np.int32])
    assert_type(segmenter.predict(images), list[NDArray[np.int32]])
    assert_type(segmenter.predict(stack, output="instances"), list[Instances])
    assert_type(segmenter.predict(images, output="panoptic"), list[NDArray[np.int32]])
    assert_type(
        GaussianSmoother(fwhm=2).fit_transform(stack), Any
    )  # scikit-learn's own method has no types
    assert_type(
        GaussianSmoother(fwhm=2).fit(images).transform(images), list[NDArray[np.floating[Any]]]
    )
    assert_type(RandomForestSegmenter().predict_proba(stack), NDArray[np.floating[Any]])


def observations(field: Field, fields: list[Field]) -> None:
    segmenter = PhotutilsSegmenter(rms_band=-1).fit(fields)
    assert_type(segmenter.predict(field), NDArray[np.int32])
    assert_type(segmenter.predict(fields), list[NDArray[np.int32]])
    assert_type(segmenter.predict(field, output="instances"), Instances)
    assert_type(GaussianSmoother(fwhm=2).transform(field), Field)
    assert_type(GaussianSmoother(fwhm=2).transform(fields), list[Field])


def scores(truth: list[Instances], predicted: list[Instances], labels: NDArray[np.int32]) -> float:
    assert_type(iou_score(truth, predicted), float)
    assert_type(iou_score(labels, labels, average=None), NDArray[np.floating[Any]])
    assert_type(detection_scores(truth, predicted, iou=0.3), DetectionScores)
    assert_type(detection_scores(truth, predicted, average=None), list[DetectionScores])
    assert_type(from_coco(to_coco(truth)), list[Instances])
    return panoptic_quality(labels, labels).things.pq


def mosaic(folder: Path, field: Field) -> Path:
    segmenter = BrightSegmenter(level=3)
    assert_type(segment_mosaic(segmenter, field, kind="instances"), Instances)
    output = segment_mosaic(
        segmenter, "mosaic.fits", rms="rms.fits", output=folder / "labels.fits", n_jobs=2
    )
    catalog = source_catalog(output, field, zero_point=25.0)
    return write_catalog(folder / "sources.fits", catalog)


def whole() -> None:
    field = load_sample_field()
    X, y = field.patches(size=128, rms=True)
    assert y is not None
    print(
        KMeansSegmenter(random_state=0).fit(X).score(X, y),
        get_scorer("pq")(BrightSegmenter(), X, y),
    )
    more, labels = augment(X, y, n=2, random_state=np.random.RandomState(0))
    assert_type(labels, NDArray[np.int32])
    blends, truth = make_blends(10, (64, 64), random_state=1)
    assert_type(truth, list[Instances])
    save(make_variant(4).fit(more), "variant.safetensors")
    SegmentationDisplay.from_predictions(
        truth[0], load("segmenter").predict(blends)[0], image=blends[0]
    )
    sources = Instances((5, 5), [[0, 0, 2, 2]], [np.ones((2, 2), dtype=bool)], classes=[GALAXY])
    write_label_map("labels.fits", sources.to_label_map(), header=read_field("image.fits").header)
    print(galaxysegment.__version__, galaxysegment.io.image_shape("image.fits"))
    for name, check in estimator_checks(BrightSegmenter()):
        print(name)
        check()


def nets(stack: NDArray[np.float32], truth: list[Instances]) -> None:
    unet = (
        UNetSegmenter(weights="vis", max_epochs=2, optimizer="adam")
        .fit(stack, truth)
        .partial_fit(stack, truth)
    )
    assert_type(unet, UNetSegmenter)
    assert_type(unet.predict_proba([stack[0], stack[1]]), list[NDArray[np.floating[Any]]])
    stages = [{"layers": "heads", "max_epochs": 3}]
    blends = MaskRCNNSegmenter(backbone="resnet50", classes=(1,), stages=stages).fit(stack, truth)
    assert_type(blends.predict(stack, output="instances"), list[Instances])
    assert_type(
        DETRSegmenter(architecture="detr").fit(stack, truth).predict(stack, "panoptic"),
        NDArray[np.int32],
    )
