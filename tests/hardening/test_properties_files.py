"""Properties of what is written to files and read from them: what goes in comes out."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from properties import covers, few, fewer, images, instances, label_maps, pairs

from galaxysegment.coco import from_coco, from_coco_panoptic, to_coco, to_coco_panoptic
from galaxysegment.io import (
    Field,
    image_shape,
    read_field,
    read_header,
    read_image,
    read_label_map,
    read_panoptic_map,
    read_rms,
    write_label_map,
    write_panoptic_map,
)
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import GaussianSmoother
from galaxysegment.structures import relabel

ENDINGS = st.sampled_from([".fits", ".fits.gz", ".fits.fz"])


@st.composite
def windows(draw, shape):
    """A section within an image."""
    edges = [
        sorted(draw(st.tuples(st.integers(0, side - 1), st.integers(1, side)))) for side in shape
    ]
    return tuple(slice(first, max(last, first + 1)) for first, last in edges)


@covers("io.write_label_map", "io.read_label_map", "io.image_shape", "io.read_header")
@given(label_maps(highest=2**31 - 1), ENDINGS, st.data())
@few
def test_label_maps_come_back(tmp_path, labels, ending, data):
    path = write_label_map(tmp_path / f"labels{ending}", labels, overwrite=True)
    np.testing.assert_array_equal(read_label_map(path), labels)
    np.testing.assert_array_equal(read_label_map(path, relabel=True), relabel(labels))
    window = data.draw(windows(labels.shape))
    np.testing.assert_array_equal(read_label_map(path, section=window), labels[window])
    assert image_shape(path) == labels.shape and read_header(path)["NAXIS1"] == labels.shape[1]


@covers("io.write_panoptic_map", "io.read_panoptic_map")
@given(label_maps(highest=2**31 - 1), st.integers(-1, 2**15 - 1), ENDINGS, st.data())
@few
def test_panoptic_files_come_back(tmp_path, labels, kind, ending, data):
    semantic = np.where(labels % 2, 1, kind).astype(np.int32)
    panoptic = np.stack([semantic, labels])
    path = write_panoptic_map(tmp_path / f"panoptic{ending}", panoptic, overwrite=True)
    np.testing.assert_array_equal(read_panoptic_map(path), panoptic)
    np.testing.assert_array_equal(read_label_map(path), labels)
    window = data.draw(windows(labels.shape))
    part = read_panoptic_map(path, section=window)
    np.testing.assert_array_equal(part, panoptic[:, *window])


@covers("io.read_image", "io.image_shape")
@given(images(bands=None), st.booleans(), st.data())
@few
def test_images_of_any_type_are_read(tmp_path, image, is_cube, data):
    stored = np.stack([image, image[::-1]]) if is_cube else image
    fits.writeto(
        tmp_path / "image.fits", stored.astype(stored.dtype.newbyteorder(">")), overwrite=True
    )
    read = read_image(tmp_path / "image.fits")
    assert (
        read.dtype.kind == "f"
        and read.dtype.isnative
        and read.shape == image_shape(tmp_path / "image.fits")
    )
    np.testing.assert_array_equal(read, stored.astype(read.dtype))
    window = data.draw(windows(image.shape))
    np.testing.assert_array_equal(
        read_image(tmp_path / "image.fits", section=window), read[(..., *window)]
    )


@covers("io.read_rms")
@given(images(dtypes=("f8",)), st.sampled_from(["rms", "variance", "weight"]))
@few
def test_noise_maps_are_positive_or_nan(tmp_path, image, kind):
    fits.writeto(tmp_path / f"{kind}.fits", image.astype(">f8"), overwrite=True)
    rms = read_rms(tmp_path / f"{kind}.fits", kind=kind)
    good = np.isfinite(image) & (image > 0)
    np.testing.assert_array_equal(np.isfinite(rms), good)
    expected = {"rms": lambda x: x, "variance": np.sqrt, "weight": lambda x: 1 / np.sqrt(x)}[kind]
    np.testing.assert_allclose(rms[good], expected(image[good]))
    np.testing.assert_array_equal(rms, read_rms(tmp_path / f"{kind}.fits", kind="auto"))


@covers("io.Field", "io.read_field")
@given(images(dtypes=("f4", "f8"), largest=9), instances(largest=9), ENDINGS, st.data())
@few
def test_fields_come_back(tmp_path, image, sources, ending, data):
    sources = sources.shift(0, 0, image.shape)
    labels = sources.to_label_map()
    field = Field(image, rms=np.full(image.shape, 2.0), labels=labels, instances=sources)
    back = read_field(field.write(tmp_path / f"field{ending}", overwrite=True))
    assert back.shape == image.shape and back.has_rms and back.has_labels
    np.testing.assert_array_equal(back.image, field.image)
    np.testing.assert_array_equal(back.rms, field.rms)
    np.testing.assert_array_equal(back.labels, labels)
    assert back.instances == sources
    window = data.draw(windows(image.shape))
    part = back.section(*window)
    np.testing.assert_array_equal(part.image, field.image[(..., *window)])
    np.testing.assert_array_equal(part.labels, labels[window])
    assert part.instances == sources.shift(-window[0].start, -window[1].start, part.shape)


@covers("coco.to_coco", "coco.from_coco")
@given(st.lists(instances(), min_size=1, max_size=3))
@few
def test_coco_comes_back(tmp_path, many):
    has_classes = any(sources.classes is not None for sources in many if len(sources))
    back = from_coco(to_coco(many, path=tmp_path / "truth.json"))
    assert [sources.shape for sources in from_coco(tmp_path / "truth.json")] == [
        sources.shape for sources in many
    ]
    for sources, other in zip(many, back, strict=True):
        np.testing.assert_array_equal(sources.boxes, other.boxes)
        np.testing.assert_array_equal(sources.masks, other.masks)
        np.testing.assert_array_equal(sources.scores, other.scores)
        if has_classes:
            np.testing.assert_array_equal(
                np.ones(len(sources)) if sources.classes is None else sources.classes, other.classes
            )


@covers("coco.to_coco", "coco.from_coco")
@given(label_maps())
@few
def test_polygons_come_back_with_their_holes_filled(labels):
    exact, filled = (
        from_coco(to_coco([labels]))[0],
        from_coco(to_coco([labels], segmentation="polygon"))[0],
    )
    np.testing.assert_array_equal(exact.to_label_map(), relabel(labels))
    assert len(exact) == len(filled) and not (exact.masks & ~filled.masks).any()


@covers("coco.to_coco_panoptic", "coco.from_coco_panoptic")
@given(pairs(largest=8), st.data())
@few
def test_panoptic_maps_come_back(tmp_path, maps, data):
    ids = relabel(maps[0])
    class_of = np.array([0, *data.draw(st.lists(st.integers(1, 2), min_size=5, max_size=5))])
    void = (maps[1] == 4) & (ids == 0)
    panoptic = np.stack([np.where(void, -1, class_of[ids]), ids]).astype(np.int32)
    to_coco_panoptic(panoptic[None], tmp_path / "truth.json")
    np.testing.assert_array_equal(from_coco_panoptic(tmp_path / "truth.json")[0], panoptic)


VALUES = st.one_of(st.floats(0.1, 10), st.integers(1, 5))


@covers("persistence.save", "persistence.load")
@given(fwhm=VALUES)
@fewer
def test_parameters_come_back(tmp_path, fwhm):
    save(GaussianSmoother(fwhm=fwhm), tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.fwhm == fwhm and type(loaded.fwhm) is type(fwhm)
    with pytest.raises(TypeError, match="fwhm"):
        save(GaussianSmoother(fwhm=object()), tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").fwhm == fwhm
