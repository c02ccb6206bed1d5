"""A sample of the fuzzed COCO files, and limits on the memory that a few lines of JSON take."""

import json
import zlib

import numpy as np
import pytest
from fuzzing import area
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from galaxysegment.coco import from_coco, from_coco_panoptic, to_coco, to_coco_panoptic
from galaxysegment.structures import _rle as rle

N_SEEDS = 3
KINDS = [(name, kind) for name in ("coco", "panoptic") for kind in area(name).KINDS]


@pytest.mark.parametrize("seed", range(N_SEEDS))
@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_clear_error_or_a_right_answer(name, kind, seed, tmp_path):
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    module = area(name)
    assert module.check(module.KINDS[kind](rng, tmp_path)) in ("error", "read")


@given(st.integers(1, 9), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_runs_one_by_one_give_the_same_mask(height, width, data):
    mask = np.array(
        data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    )
    mask = mask.reshape(height, width)
    if not mask.any():
        return
    changes = np.flatnonzero(np.diff(mask.T.ravel().astype(int))) + 1
    edges = [0, *([0] if mask[0, 0] else []), *changes.tolist(), height * width]
    counts = np.diff(edges)
    box, crop = rle.decode_crop(counts, (height, width))
    ends = np.cumsum(counts)[1::2]
    other_box, other = rle._decode_runs(ends - counts[1::2], ends, (height, width))
    assert box == other_box
    np.testing.assert_array_equal(crop, other)


def document(shape, segmentation):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}
    images = [{"id": 1, "height": shape[0], "width": shape[1]}]
    return {
        "images": images,
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "galaxy"}],
    }


def test_large_masks_are_read_and_larger_ones_refused():
    shape = (3000, 2000)
    source = from_coco(document(shape, {"counts": [1, 5_999_998, 1]}))[0]
    assert source.areas.tolist() == [5_999_998] and source.boxes.tolist() == [[0, 0, *shape]]
    with pytest.raises(ValueError, match="fills a box of shape"):
        from_coco(document((20_000, 20_000), {"counts": [0, 400_000_000]}))
    with pytest.raises(ValueError, match="32 bits"):
        from_coco(document((2**20, 2**20), {"counts": [2**40]}))
    with pytest.raises(ValueError, match="pixels long"):
        from_coco(document((2**31, 1), [[0, 0, 1, 0, 1, 2.0**31, 0, 2.0**31]]))


def test_many_large_masks_are_refused_before_memory_is_full(monkeypatch):
    monkeypatch.setattr("galaxysegment.coco._instances._LARGEST_TOTAL", 1000)
    labels = np.ones((20, 30), np.int32)
    assert len(from_coco(to_coco([labels]))) == 1
    with pytest.raises(ValueError, match="1200 pixels in all"):
        from_coco(to_coco([labels, labels]))


def test_panoptic_maps_larger_than_pillows_limit_are_read(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    maps = np.zeros((1, 2, 30, 40), np.int32)
    to_coco_panoptic(maps, tmp_path / "truth.json")
    np.testing.assert_array_equal(from_coco_panoptic(tmp_path / "truth.json")[0][1], maps[0, 1])
    assert not recwarn.list and Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 3}, "'images' of type int"),
        ({"annotations": {"id": 1}}, "'annotations' of type dict"),
        ({"categories": [{"id": [1]}]}, r"categories\[0\] has id \[1\]"),
        ({"categories": [{"id": 2**70}]}, r"categories\[0\] has id"),
    ],
)
def test_parts_of_another_kind_are_named(change, words, tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document((3, 3), {"counts": [0, 9]}) | change))
    with pytest.raises(ValueError, match=words):
        from_coco(path)
