"""The panoptic files read back by somebody else: transformers' own image processor for DETR."""

import json

import numpy as np
import pytest

from galaxysegment import Instances
from galaxysegment.coco import to_coco_panoptic
from galaxysegment.datasets import make_field

pytest.importorskip("transformers")
pytest.importorskip("galsim")


@pytest.fixture(scope="module")
def field():
    return make_field((160, 192), star_fraction=0.3, random_state=5)


def panoptic_map(field):
    return Instances.from_label_map(field.labels, classes=field.classes).to_panoptic()


@pytest.fixture(scope="module")
def read(field, tmp_path_factory):
    """What the image processor makes of our files: masks, classes, areas and boxes of one image."""
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

    path = tmp_path_factory.mktemp("coco") / "truth.json"
    to_coco_panoptic(panoptic_map(field)[None], path)
    document = json.loads(path.read_text())
    annotation = document["annotations"][0]
    processor = DetrImageProcessorPil(
        format="coco_panoptic", do_resize=False, do_rescale=False, do_normalize=False, do_pad=False
    )
    picture = np.zeros((*field.labels.shape, 3), dtype=np.uint8)
    prepared = processor(
        images=picture,
        annotations={**annotation, "image_id": 0},
        masks_path=str(path.with_suffix("")),
        return_segmentation_masks=True, return_tensors="np",
    )  # fmt: skip
    return prepared["labels"][0], document


def test_the_masks_are_the_segments(field, read):
    labels, _ = read
    semantic, ids = panoptic_map(field)
    masks = np.asarray(labels["masks"]).astype(bool)
    assert len(masks) == ids.max() + 1  # the sources and the sky
    segments = {
        (int(category), mask.tobytes())
        for category, mask in zip(labels["class_labels"], masks, strict=True)
    }
    first = {number: int(semantic[ids == number][0]) for number in range(1, ids.max() + 1)}
    expected = {(first[number], (ids == number).tobytes()) for number in first} | {
        (0, (ids == 0).tobytes())
    }
    assert segments == expected
    assert {1, 2} <= {category for category, _ in segments}


def test_areas_and_boxes_agree_with_the_masks(read):
    labels, document = read
    masks = np.asarray(labels["masks"]).astype(bool)
    np.testing.assert_array_equal(labels["area"], masks.sum(axis=(1, 2)))
    info = {segment["id"]: segment for segment in document["annotations"][0]["segments_info"]}
    boxes = {tuple(segment["bbox"]) for segment in info.values()}
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1) in boxes
    assert not labels["iscrowd"].any()
