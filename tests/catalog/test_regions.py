"""Sources as regions and as photutils' segmentation images, there and back."""

import sys

import numpy as np
import pytest
from astropy.wcs import WCS
from photutils.segmentation import SegmentationImage

from galaxysegment import Instances, PhotutilsSegmenter
from galaxysegment.catalog import from_regions, source_catalog, to_regions, write_regions
from galaxysegment.metrics import iou_score
from galaxysegment.structures._truth import check_targets


@pytest.fixture
def labels():
    labels = np.zeros((40, 50), dtype=np.int32)
    labels[0:5, 0:4], labels[10:20, 12:30], labels[20:22, 12:14] = 3, 7, 7
    labels[35, 45], labels[37, 47] = 9, 9  # two parts
    return labels


@pytest.fixture
def wcs():
    """A WCS turned by 30 degrees, far from the equator."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [10, 60]
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    wcs.wcs.cd = 1e-4 * np.array([[-cos, sin], [sin, cos]])
    wcs.wcs.crpix = [25, 20]
    return wcs


def read_ds9(path):
    """Label and vertices of the polygons of a region file."""
    for line in path.read_text().splitlines()[3:]:
        numbers = line[line.index("(") + 1 : line.index(")")].split(",")
        yield int(line.split("{")[1][:-1]), np.array(numbers, dtype=float).reshape(-1, 2)


def test_outlines_in_pixels_are_written_without_the_package(labels, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "regions", None)
    polygons = list(read_ds9(write_regions(tmp_path / "sources.reg", labels)))
    assert [label for label, _ in polygons] == [3, 7, 9, 9]
    corners = polygons[0][
        1
    ]  # DS9 counts pixels from 1, and the first pixel reaches from 0.5 to 1.5
    assert corners.min(axis=0).tolist() == [0.5, 0.5] and corners.max(axis=0).tolist() == [4.5, 5.5]
    with pytest.raises(ImportError, match="to_regions needs the package regions"):
        to_regions(labels)


def test_outlines_on_the_sky_lie_where_the_pixels_are(labels, wcs, tmp_path):
    path = write_regions(tmp_path / "sky.reg", Instances.from_label_map(labels), wcs=wcs)
    assert path.read_text().splitlines()[2] == "icrs"
    label, sky = next(read_ds9(path))
    x, y = wcs.all_world2pix(sky, 0).T
    assert label == 1
    np.testing.assert_allclose(
        [x.min(), x.max(), y.min(), y.max()], [-0.5, 3.5, -0.5, 4.5], atol=1e-2
    )


@pytest.mark.parametrize("on_sky", [False, True])
def test_regions_come_back_as_they_went(labels, wcs, on_sky, tmp_path):
    pytest.importorskip("regions", reason="the package regions is not installed")
    sources = Instances.from_label_map(labels)
    place = {"wcs": wcs} if on_sky else {}
    there = to_regions(labels, **place)
    assert [region.meta["text"] for region in there] == ["3", "7", "9", "9"]
    assert from_regions(there, labels.shape, wcs=wcs) == sources
    path = write_regions(tmp_path / "sources.reg", labels, **place)
    assert from_regions(path, labels.shape, wcs=wcs) == sources
    if on_sky:
        with pytest.raises(ValueError, match=r"regions\[0\] is on the sky: pass wcs="):
            from_regions(there, labels.shape)


def test_regions_of_other_forms_become_masks(wcs):
    regions = pytest.importorskip("regions", reason="the package regions is not installed")
    circle = regions.CirclePixelRegion(regions.PixCoord(10, 20), radius=5)
    outside = regions.CirclePixelRegion(regions.PixCoord(-50, 20), radius=5)
    instances = from_regions([circle, outside, circle.to_sky(wcs)], (40, 50), wcs=wcs)
    y, x = np.mgrid[:40, :50]
    assert len(instances) == 2
    np.testing.assert_array_equal(instances.masks[0], (x - 10) ** 2 + (y - 20) ** 2 < 25)


def test_a_segmentation_image_is_a_label_map(labels):
    segmentation = SegmentationImage(labels)
    image = np.random.default_rng(0).normal(0, 1, labels.shape)
    assert source_catalog(segmentation, image)["label"].tolist() == [3, 7, 9]
    assert iou_score(segmentation, labels) == 1
    assert Instances.from_label_map(segmentation) == Instances.from_label_map(labels)
    target = check_targets([segmentation], [image[None]])[0]
    assert np.unique(target).tolist() == [0, 1, 2, 3]
    assert PhotutilsSegmenter().fit(image[None], [segmentation]) is not None


def test_instances_become_a_segmentation_image(labels):
    segmentation = Instances.from_label_map(labels).to_segmentation_image()
    assert isinstance(segmentation, SegmentationImage) and segmentation.n_labels == 3
    np.testing.assert_array_equal(segmentation.data > 0, labels > 0)
