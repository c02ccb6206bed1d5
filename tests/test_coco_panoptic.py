import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from galaxysegment import Instances
from galaxysegment.coco import from_coco_panoptic, to_coco_panoptic
from galaxysegment.metrics import panoptic_quality


def random_map(seed, shape=(20, 30), largest_id=2**24 - 100):
    """Void, sky, galaxies and stars, with ids as they come."""
    rng = np.random.default_rng(seed)
    panoptic = np.zeros((2, *shape), dtype=np.int32)
    panoptic[0, :, : rng.integers(0, 5)] = -1
    for label in rng.choice(largest_id, 6, replace=False) + 1:
        y, x = rng.integers(0, 15, 2)
        panoptic[0, y : y + 6, x + 5 : x + 11] = 1 + label % 2
        panoptic[1, y : y + 6, x + 5 : x + 11] = label
    return panoptic


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "truth.json"
    to_coco_panoptic([random_map(0), random_map(1)], path)
    return path


def change(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3), st.sampled_from([20, 2**24 - 100])
)
@settings(max_examples=20, deadline=None)
def test_round_trip_is_exact(tmp_path_factory, seeds, largest_id):
    maps = [random_map(seed, (20 + k, 30), largest_id) for k, seed in enumerate(seeds)]
    path = tmp_path_factory.mktemp("panoptic") / "truth.json"
    document = to_coco_panoptic(maps, path)
    assert json.loads(path.read_text()) == document
    for before, after in zip(maps, from_coco_panoptic(path), strict=True):
        assert after.dtype == np.int32
        np.testing.assert_array_equal(after, before)


def test_the_files_are_what_the_format_says(tmp_path):
    panoptic = np.array([[[-1, 0, 0], [2, 1, 1]], [[0, 0, 0], [300, 70_000, 70_000]]])
    path = tmp_path / "annotations" / "name.json"
    document = to_coco_panoptic(panoptic[None], path, images=["field.fits"])
    (annotation,) = document["annotations"]
    assert document["images"][0]["id"] == annotation["image_id"]
    assert annotation["file_name"] == "field.png"
    colours = np.asarray(Image.open(path.with_suffix("") / "field.png")).astype(int)
    assert colours.shape == (2, 3, 3)
    ids = colours[..., 0] + 256 * colours[..., 1] + 256**2 * colours[..., 2]
    assert ids.tolist() == [[0, 70_001, 70_001], [300, 70_000, 70_000]]
    assert annotation["segments_info"] == [
        {"id": 300, "category_id": 2, "area": 1, "bbox": [0, 1, 1, 1], "iscrowd": 0},
        {"id": 70_000, "category_id": 1, "area": 2, "bbox": [1, 1, 2, 1], "iscrowd": 0},
        {"id": 70_001, "category_id": 0, "area": 2, "bbox": [1, 0, 2, 1], "iscrowd": 0},
    ]
    assert [
        (category["id"], category["name"], category["isthing"])
        for category in document["categories"]
    ] == [
        (0, "sky", 0),
        (1, "galaxy", 1),
        (2, "star", 1),
    ]
    assert all(
        len(category["color"]) == 3 and "supercategory" in category
        for category in document["categories"]
    )


def test_label_maps_and_instances_are_written_as_galaxies_and_sky(tmp_path):
    labels = np.array([[0, 1, 1], [2, 0, 0]])
    for k, y in enumerate([labels[None], [labels], Instances.from_label_map(labels)]):
        path = tmp_path / f"{k}.json"
        to_coco_panoptic(y, path)
        np.testing.assert_array_equal(from_coco_panoptic(path)[0], [labels > 0, labels])


def test_classes_of_ones_own(tmp_path):
    panoptic = np.array([[[5, 5, 9]], [[0, 0, 4]]])
    categories = [
        {"id": 5, "name": "nebula", "isthing": 0},
        {"id": 9, "name": "quasar", "isthing": 1, "color": [1, 2, 3]},
    ]
    path = tmp_path / "own.json"
    document = to_coco_panoptic(panoptic[None], path, categories=categories)
    assert document["categories"][1]["color"] == [1, 2, 3]
    np.testing.assert_array_equal(from_coco_panoptic(path)[0], panoptic)
    with pytest.raises(
        ValueError, match=r"y\[0\] has class 5, which is not among the categories 0, 9"
    ):
        to_coco_panoptic(panoptic[None], path, categories={0: "sky", 9: "quasar"})


def test_the_prediction_of_a_file_can_be_scored(written):
    maps = from_coco_panoptic(written)
    assert panoptic_quality(maps, maps).pq == 1


def test_transformers_reads_the_same_segments(written, tmp_path):
    import transformers

    # transformers 5 reads by torchvision unless told otherwise, which torchvision deprecates
    reader = getattr(transformers, "DetrImageProcessorPil", None) or transformers.DetrImageProcessor
    document = json.loads(written.read_text())
    processor = reader(
        format="coco_panoptic", do_resize=False, do_normalize=False, do_rescale=False, do_pad=False
    )
    for annotation, panoptic in zip(
        document["annotations"], from_coco_panoptic(written), strict=True
    ):
        image = np.zeros((3, *panoptic.shape[1:]), dtype=np.uint8)
        encoded = processor(
            image, annotations=annotation, masks_path=written.with_suffix(""), return_tensors="np"
        )
        (labels,) = encoded["labels"]
        for segment, mask, class_id in zip(
            annotation["segments_info"], labels["masks"], labels["class_labels"], strict=True
        ):
            of_class = panoptic[0] == class_id
            expected = of_class & (panoptic[1] == segment["id"]) if class_id else of_class
            assert class_id == segment["category_id"]
            np.testing.assert_array_equal(np.asarray(mask, dtype=bool), expected)


def test_crowds_are_void_unless_wanted(written):
    def edit(document):
        document["annotations"][0]["segments_info"][0]["iscrowd"] = 1

    before = from_coco_panoptic(written)[0]
    change(written, edit)
    after = from_coco_panoptic(written)[0]
    assert (after[0] == -1).sum() > (before[0] == -1).sum()
    np.testing.assert_array_equal(from_coco_panoptic(written, keep_crowds=True)[0], before)


def set_value(*keys, value):
    def edit(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            set_value("annotations", 1, "image_id", value=9),
            r"annotations\[1\] refers to image_id 9, which is not among",
        ),
        (
            set_value("annotations", 1, "image_id", value=1),
            r"annotations\[1\] is the second annotation of image_id 1",
        ),
        (lambda d: d["annotations"].pop(), r"The images 2 have no annotation"),
        (lambda d: d["annotations"][1].pop("file_name"), r"annotations\[1\] has no 'file_name'"),
        (lambda d: d["categories"][0].pop("isthing"), r"categories\[0\] has no 'isthing'"),
        (
            set_value("annotations", 1, "file_name", value="../other.png"),
            r"annotations\[1\] has file_name '../other.png', which",
        ),
        (
            set_value("annotations", 1, "file_name", value="/etc/passwd"),
            r"annotations\[1\] has file_name '/etc/passwd', which",
        ),
        (
            set_value("annotations", 1, "file_name", value="link.png"),
            r"annotations\[1\] has file_name 'link.png', which leads",
        ),
        (
            set_value("annotations", 1, "file_name", value="text.png"),
            r"annotations\[1\]: 'text.png' is no PNG",
        ),
        (
            set_value("annotations", 1, "file_name", value="grey.png"),
            r"annotations\[1\]: the PNG 'grey.png' has mode L",
        ),
        (
            set_value("images", 1, "width", value=31),
            r"annotations\[1\]: the PNG '000001.png' has shape \(20, 30\)",
        ),
        (
            set_value("annotations", 0, "segments_info", 0, "category_id", value=8),
            r"annotations\[0\].segments_info\[0\] has category_id 8",
        ),
        (
            set_value("annotations", 0, "segments_info", 0, "id", value=8),
            r"annotations\[0\] has segments in its PNG that",
        ),
        (
            set_value("annotations", 0, "segments_info", 0, "id", value="x"),
            r"annotations\[0\].segments_info\[0\] has id 'x'",
        ),
        (
            lambda d: d["annotations"][0]["segments_info"].append({"id": 8, "category_id": 1}),
            r"does not hold: 8",
        ),
        (
            lambda d: d["annotations"][0]["segments_info"].append(
                d["annotations"][0]["segments_info"][0]
            ),
            r"repeats the segment id",
        ),
    ],
)
def test_a_broken_entry_is_named(written, edit, message):
    folder = written.with_suffix("")
    (folder / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(folder / "grey.png")
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(folder.parent / "other.png")
    (folder / "link.png").symlink_to(folder.parent / "other.png")
    change(written, edit)
    with pytest.raises(ValueError, match=message):
        from_coco_panoptic(written)


def test_a_missing_png_is_named(written):
    (written.with_suffix("") / "000001.png").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"annotations\[1\] has file_name '000001.png', but there is no such PNG",
    ):
        from_coco_panoptic(written)
    with pytest.raises(ValueError, match="folder must be given"):
        from_coco_panoptic(json.loads(written.read_text()))
    truncated = written.with_suffix("") / "000000.png"
    truncated.write_bytes(truncated.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"annotations\[0\]: '000000.png' is no PNG"):
        from_coco_panoptic(json.loads(written.read_text()), written.with_suffix(""))


@pytest.mark.parametrize(
    ("panoptic", "options", "message"),
    [
        ([[[1, 1]], [[1, 0]]], {}, r"y\[0\] has pixels of class 1 with instance id 0"),
        ([[[1, 2]], [[3, 3]]], {}, r"y\[0\] has two classes for the instance id 3"),
        ([[[1, 0]], [[2**24 - 1, 0]]], {}, r"y\[0\] needs segment ids up to 16777216"),
        (
            [[[0, 0]], [[0, 0]]],
            {"images": ["a.fits", "b.fits"]},
            r"images holds 2 names for 1 images",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, panoptic, options, message):
    with pytest.raises(ValueError, match=message):
        to_coco_panoptic(np.array([panoptic]), tmp_path / "truth.json", **options)
    assert list(tmp_path.iterdir()) == []


def test_names_must_lead_somewhere(tmp_path):
    empty = np.zeros((2, 3, 3), dtype=int)
    with pytest.raises(ValueError, match=r"path must end in \.json"):
        to_coco_panoptic(empty, tmp_path / "truth")
    with pytest.raises(ValueError, match=r"images would write 'a\.png' twice"):
        to_coco_panoptic(empty, tmp_path / "truth.json", images=["x/a.fits", "y/a.fits"])
    document = to_coco_panoptic(empty, tmp_path / "truth.json", images=["../../a.fits", "b.fits"])
    assert [annotation["file_name"] for annotation in document["annotations"]] == ["a.png", "b.png"]
