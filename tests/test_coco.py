import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from galaxysegment import Instances
from galaxysegment.coco import from_coco, to_coco

masks = (
    st.tuples(st.integers(1, 9), st.integers(1, 9))
    .flatmap(lambda shape: arrays(bool, shape))
    .filter(np.any)
)


def random_sources(seed, n=6, shape=(30, 40), classes=True):
    rng = np.random.default_rng(seed)
    boxes, crops = [], []
    for _ in range(n):
        size = rng.integers(1, 10, 2)
        corner = rng.integers(0, np.array(shape) - size + 1)
        crop = rng.random(size) < 0.6
        crop[0, :] = crop[:, 0] = crop[-1, -1] = True  # it reaches the edges of its box
        boxes.append([*corner, *(corner + size)])
        crops.append(crop)
    return Instances(shape, boxes, crops, rng.random(n), rng.integers(1, 3, n) if classes else None)


@pytest.fixture
def sources():
    return [random_sources(0), random_sources(1, shape=(25, 33)), random_sources(2, n=0)]


@pytest.fixture
def document(sources):
    return to_coco(sources)


def with_annotation(document, **changes):
    """Copy a document with changes to its second annotation; None takes a key away."""
    document = json.loads(json.dumps(document))
    document["annotations"][1].update(changes)
    for key in [key for key, value in changes.items() if value is None]:
        del document["annotations"][1][key]
    return document


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 6)), min_size=1, max_size=3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_round_trip_through_run_lengths_is_exact(seeds, classes):
    sources = [random_sources(seed, n, classes=classes) for seed, n in seeds]
    for document in (to_coco(sources), json.loads(json.dumps(to_coco(sources)))):
        again = from_coco(document)
        for before, after in zip(sources, again, strict=True):
            if len(before):
                assert after == before
            assert (len(after), after.shape) == (len(before), before.shape)


@given(masks)
def test_run_lengths_equal_those_of_pycocotools(mask):
    from pycocotools import mask as peer

    (annotation,) = to_coco(Instances.from_masks([mask]))["annotations"]
    expected = peer.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert annotation["segmentation"]["counts"] == expected["counts"].decode()
    assert annotation["area"] == peer.area(expected)
    assert annotation["bbox"] == peer.toBbox(expected).tolist()


@given(masks)
@settings(deadline=None)
def test_polygons_give_the_mask_back_with_its_holes_filled(mask):
    parts, n = ndimage.label(mask)
    # a hole is what cannot reach the outside, not even across a corner
    filled = np.any(
        [ndimage.binary_fill_holes(parts == k, np.ones((3, 3))) for k in range(1, n + 1)], axis=0
    )
    document = to_coco(Instances.from_masks([mask]), segmentation="polygon")
    assert len(document["annotations"][0]["segmentation"]) == n
    (again,) = from_coco(document)
    np.testing.assert_array_equal(again.masks[0], filled)


def test_uncompressed_run_lengths_are_read(sources):
    document = to_coco(sources)
    for annotation, mask in zip(
        document["annotations"],
        np.concatenate([instances.masks for instances in sources[:1]]),
        strict=False,
    ):
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat, prepend=False))
        annotation["segmentation"]["counts"] = np.diff([0, *edges, flat.size]).tolist()
    assert from_coco(document)[0] == sources[0]


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword"
)  # inside pycocotools
def test_pycocotools_loads_and_evaluates_the_file(tmp_path, sources):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path = tmp_path / "truth.json"
    to_coco(sources, path=path)
    noise = np.random.default_rng(0)
    shifted = [shifted.shift(0, int(noise.integers(0, 2))) for shifted in sources]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        evaluation = COCOeval(coco, coco.loadRes(to_coco(shifted)["annotations"]), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        perfect = COCOeval(coco, coco.loadRes(to_coco(sources)["annotations"]), "segm")
        perfect.evaluate()
        perfect.accumulate()
        perfect.summarize()
    for annotation, mask in zip(coco.dataset["annotations"][:6], sources[0].masks, strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
    assert perfect.stats[0] == pytest.approx(1)
    from galaxysegment.metrics import average_precision

    assert evaluation.eval["precision"][..., 0, -1].mean() == pytest.approx(
        average_precision(sources, shifted)
    )
    assert from_coco(path) == sources[:2] + from_coco(path)[2:]


def test_every_form_of_sources_is_written():
    labels = np.array([[1, 1, 0], [0, 0, 2]])
    expected = to_coco(labels[None])["annotations"]
    assert (
        to_coco([labels])["annotations"]
        == to_coco(Instances.from_label_map(labels))["annotations"]
        == expected
    )
    assert to_coco([labels > 0])["annotations"][0]["area"] == 3  # one component, corners connect
    panoptic = np.stack([[[2, 2, 0], [0, 0, 1]], labels])
    assert [annotation["category_id"] for annotation in to_coco(panoptic[None])["annotations"]] == [
        2,
        1,
    ]
    assert from_coco(to_coco(panoptic[None]))[0].classes.tolist() == [2, 1]


def test_names_and_categories():
    labels = np.array([[1, 0, 2]])
    document = to_coco([labels], images=["a.fits"])
    assert document["images"] == [{"id": 1, "file_name": "a.fits", "height": 1, "width": 3}]
    assert [category["name"] for category in document["categories"]] == ["source"]
    told = to_coco(
        [Instances.from_label_map(labels, classes=[7, 1])], categories={7: "quasar", 1: "galaxy"}
    )
    assert [(category["id"], category["name"]) for category in told["categories"]] == [
        (7, "quasar"),
        (1, "galaxy"),
    ]
    assert from_coco(to_coco([labels], categories=[{"id": 1, "name": "galaxy"}]))[
        0
    ].classes.tolist() == [1, 1]


def test_a_source_in_a_mosaic_costs_no_mosaic():
    mosaic = Instances(
        (25_000, 25_000), [(20_000, 24_000, 20_002, 24_002)], [np.eye(2, dtype=bool)]
    )
    (again,) = from_coco(to_coco(mosaic))
    assert again == mosaic


def test_crowds_are_left_out_unless_wanted(document, sources):
    crowd = with_annotation(document, iscrowd=1)
    assert len(from_coco(crowd)[0]) == len(sources[0]) - 1
    assert len(from_coco(crowd, keep_crowds=True)[0]) == len(sources[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_id": 99},
            r"annotations\[1\] \(id 2\) refers to image_id 99, which is not among the images 1, 2, "
            r"3",
        ),
        ({"image_id": [1]}, r"annotations\[1\] \(id 2\) refers to image_id \[1\]"),
        ({"image_id": None}, r"annotations\[1\] \(id 2\) has no 'image_id'"),
        (
            {"category_id": 5},
            r"annotations\[1\] \(id 2\) has category_id 5, which is not among the categories 1, 2",
        ),
        ({"category_id": {}}, r"annotations\[1\] \(id 2\) has category_id {}"),
        ({"segmentation": None}, r"annotations\[1\] \(id 2\) has no 'segmentation'"),
        ({"segmentation": []}, r"\(id 2\) has a broken mask: the segmentation is neither"),
        (
            {"segmentation": {"counts": [3, 4]}},
            r"\(id 2\) has a broken mask: the counts add up to 7 pixels",
        ),
        (
            {"segmentation": {"counts": [1205, -5]}},
            r"\(id 2\) has a broken mask: the counts add up to 1200 .* minimum of -5",
        ),
        (
            {"segmentation": {"counts": [1200]}},
            r"\(id 2\) has a broken mask: the mask has no pixel",
        ),
        (
            {"segmentation": {"counts": [2**62, 2**62, 2**62, 2**62, 1200]}},
            r"\(id 2\) has a broken mask: the counts add",
        ),
        (
            {"segmentation": {"counts": ["a"]}},
            r"\(id 2\) has a broken mask: the counts are not a list",
        ),
        ({"segmentation": {"counts": 7}}, r"\(id 2\) has a broken mask: the counts are not a list"),
        (
            {"segmentation": {"counts": "~~"}},
            r"\(id 2\) has a broken mask: the counts are not a compressed RLE",
        ),
        (
            {"segmentation": {"counts": ""}},
            r"\(id 2\) has a broken mask: the counts are not a compressed RLE",
        ),
        (
            {"segmentation": {"counts": "ooooooooooooooo0"}},
            r"\(id 2\) has a broken mask: .* more than 9 digits",
        ),
        ({"segmentation": {"counts": "é0"}}, r"\(id 2\) has a broken mask: the counts"),
        (
            {"segmentation": {"size": [3, 3], "counts": [9]}},
            r"the run lengths are for an image of shape \(3, 3\)",
        ),
        ({"segmentation": [[0, 0, 1, 1]]}, r"\(id 2\) has a broken mask: a polygon is not a list"),
        (
            {"segmentation": [[0, 0, 1, 1, "x", 0]]},
            r"\(id 2\) has a broken mask: a polygon is not a list",
        ),
        (
            {"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]]},
            r"\(id 2\) has a broken mask: a polygon lies outside",
        ),
        (
            {"segmentation": [[5, 5, 5, 5, 5, 5]]},
            r"\(id 2\) has a broken mask: the mask has no pixel",
        ),
        ({"bbox": [0, 0, 60, 5]}, r"\(id 2\) has a broken mask: its bbox \[0, 0, 60, 5\]"),
        ({"bbox": [0, 0]}, r"\(id 2\) has a broken mask"),
        ({"score": "high"}, r"\(id 2\) has score 'high'"),
    ],
)
def test_a_broken_annotation_is_named(document, changes, message):
    with pytest.raises(ValueError, match=message):
        from_coco(with_annotation(document, **changes))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"annotations": [], "categories": []}, "The COCO document has no 'images'"),
        ({"images": [], "annotations": []}, "The COCO document has no 'categories'"),
        ({"images": [], "categories": []}, "The COCO document has no 'annotations'"),
        (
            {"images": [{"id": 1}], "annotations": [], "categories": []},
            r"images\[0\] has no 'height'",
        ),
        (
            {"images": [{"id": 1, "height": 0, "width": 3}]},
            r"images\[0\] has height and width \(0, 3\)",
        ),
        (
            {"images": [{"id": 1, "height": 2, "width": 3}] * 2},
            r"images\[1\] repeats the image id 1",
        ),
        ({"images": [{"id": [], "height": 2, "width": 3}]}, r"images\[0\] has id \[\]"),
        ({"images": ["a"]}, r"images\[0\] has no 'id'"),
    ],
)
def test_a_broken_document_is_refused(broken, message):
    with pytest.raises(ValueError, match=message):
        from_coco(broken)


def test_broken_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no COCO file"):
        from_coco(tmp_path / "none.json")
    path = tmp_path / "broken.json"
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match="is no JSON file"):
        from_coco(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="must hold an object with images"):
        from_coco(path)


def test_what_cannot_be_written_is_refused():
    labels = np.array([[1, 0, 2]])
    with pytest.raises(
        ValueError, match=r"y\[0\] has class 5, which is not among the categories 1, 2"
    ):
        to_coco(Instances.from_label_map(labels, classes=[5, 1]))
    with pytest.raises(ValueError, match=r"images holds 2 names for 1 images"):
        to_coco([labels], images=["a", "b"])
    with pytest.raises(ValueError, match=r"segmentation must be 'rle' or 'polygon'"):
        to_coco([labels], segmentation="bitmap")
    with pytest.raises(
        ValueError, match=r"y\[0\] must be .*Got shape \(3,\) instead: pass a single map as"
    ):
        to_coco(labels)
    with pytest.raises(ValueError, match=r"categories\[0\] has no 'id'"):
        to_coco([labels], categories=[{"name": "galaxy"}])
    huge = Instances((2**17, 2**17), [(0, 0, 1, 1)], [np.ones((1, 1), bool)])
    with pytest.raises(ValueError, match="too large"):
        to_coco(huge)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "truth.json"
    to_coco(np.eye(3, dtype=int)[None], path=path)
    before = path.read_bytes()

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        to_coco(np.zeros((1, 3, 3), dtype=int), path=path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["truth.json"]
