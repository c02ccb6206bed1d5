"""Sources that overlap, with scores and classes, come through the tiles as they are."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.base import BaseSegmenter
from galaxysegment.io import read_field, read_label_map
from galaxysegment.mosaic import segment_mosaic


class Disks(BaseSegmenter):
    """Finds the disks whose centres are marked by ``class * 1000 + 10 * radius + score`` (score
    below 10).

    A disk whose centre lies outside the image is not found, as a net does not find what it hardly
    sees; near an inner edge the mask loses pixels, as a net's does.
    """

    _requires_fit = False
    finds_instances = True

    def _segment_image(self, image):
        y, x = np.nonzero(image[0])
        codes = image[0, y, x].astype(int)
        rows, columns = np.mgrid[: image.shape[1], : image.shape[2]]
        masks = [
            np.hypot(rows - cy, columns - cx) <= code // 10 % 100
            for cy, cx, code in zip(y, x, codes, strict=True)
        ]
        return Instances.from_masks(masks, codes % 10 / 10, codes // 1000, shape=image.shape[1:])


def draw(shape, n, seed, largest=12):
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    for _ in range(n):
        code = 1000 * rng.integers(1, 3) + 10 * rng.integers(1, largest) + rng.integers(1, 10)
        image[rng.integers(shape[0]), rng.integers(shape[1])] = code
    return image


def in_order(instances):
    first = [
        np.ravel_multi_index((box[0], box[1] + np.flatnonzero(crop[0])[0]), instances.shape)
        for box, crop in zip(instances.boxes, instances.crops, strict=True)
    ]
    return instances.select(np.lexsort((instances.boxes[:, 3], first)))


@settings(max_examples=25, deadline=None)
@example(shape=(41, 42), tile_size=20, n=23, seed=42)  # two disks that a third tile tells apart
@given(
    shape=st.tuples(st.integers(40, 130), st.integers(40, 130)),
    tile_size=st.integers(20, 70),
    n=st.integers(0, 25),
    seed=st.integers(0, 2**31),
)
@pytest.mark.filterwarnings("ignore::galaxysegment.structures.NoSourcesWarning")
def test_tiles_find_the_instances_of_the_whole(shape, tile_size, n, seed):
    image = draw(shape, n, seed)
    whole = Disks().predict(image[np.newaxis], output="instances")[0]
    tiled = segment_mosaic(
        Disks(), image, kind="instances", tile_size=tile_size, overlap=30, progress=False
    )
    assert len(tiled) == len(whole)
    rank = [
        sorted(
            zip(
                map(tuple, instances.boxes.tolist()),
                instances.scores.tolist(),
                instances.areas.tolist(),
                instances.classes.tolist()
                if instances.classes is not None
                else [0] * len(instances),
                strict=True,
            )
        )
        for instances in (tiled, whole)
    ]
    assert rank[0] == rank[1]


def test_an_object_larger_than_a_tile_is_put_together():
    class Blob(Disks):
        """One object: all pixels that are not zero."""

        def _segment_image(self, image):
            mask = image[0] != 0
            return Instances.from_masks([mask] if mask.any() else [], shape=mask.shape)

    y, x = np.mgrid[:150, :160]
    image = (np.hypot(y - 70, x - 80) < 65).astype(float)
    tiled = segment_mosaic(
        Blob(), image, kind="instances", tile_size=40, overlap=16, progress=False
    )
    assert len(tiled) == 1
    np.testing.assert_array_equal(tiled.masks[0], image > 0)


def test_the_file_holds_labels_and_instances(tmp_path):
    image = draw((100, 120), 20, 1)
    output = segment_mosaic(
        Disks(), image, output=tmp_path / "sources.fits", tile_size=50, overlap=30, progress=False
    )
    instances = segment_mosaic(
        Disks(), image, kind="instances", tile_size=50, overlap=30, progress=False
    )
    labels = segment_mosaic(Disks(), image, tile_size=50, overlap=30, progress=False)
    np.testing.assert_array_equal(read_label_map(output), labels)
    np.testing.assert_array_equal(labels, instances.to_label_map())
    back = read_field(output).instances
    np.testing.assert_array_equal(back.boxes, instances.boxes)
    assert set(back.classes) == {1, 2}
    np.testing.assert_allclose(back.scores, instances.scores)


def test_instances_of_a_label_map():
    from galaxysegment import PhotutilsSegmenter

    rng = np.random.default_rng(0)
    image = rng.normal(size=(150, 160))
    image[60:70, 20:140] += 30
    tiled = segment_mosaic(
        PhotutilsSegmenter(), image, kind="instances", tile_size=60, progress=False
    )
    assert isinstance(tiled, Instances)
    assert tiled.areas.max() > 1000
    with pytest.raises(ValueError, match="kind must be"):
        segment_mosaic(PhotutilsSegmenter(), image, kind="masks")
