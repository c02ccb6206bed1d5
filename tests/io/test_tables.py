"""Tables of classes, instances and catalogs: there and back, and what damage is refused."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.catalog import source_catalog
from galaxysegment.io import Field, read_field
from galaxysegment.io._hdus import find_hdu
from galaxysegment.io._tables import (
    catalog_hdu,
    classes_hdu,
    instances_hdu,
    read_catalog,
    read_classes,
    read_instances,
    read_map_classes,
    read_scores,
    scores_hdu,
)

SHAPE = (11, 13)


def written(folder, hdu):
    path = folder / "table.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)
    return find_hdu(path, 1)


@pytest.mark.parametrize("has_classes", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 6))
def test_instances_come_back_bit_by_bit(tmp_path_factory, has_classes, seed, n):
    rng = np.random.default_rng(seed)
    masks = [rng.random(SHAPE) < rng.uniform(0.01, 0.5) for _ in range(n)]
    masks = [mask for mask in masks if mask.any()]
    scores = rng.normal(size=len(masks))
    classes = rng.integers(0, 2**40, len(masks)) if has_classes else None
    instances = Instances.from_masks(masks, scores, classes, shape=SHAPE)
    hdu = written(tmp_path_factory.mktemp("tables"), instances_hdu(instances))
    back = read_instances(hdu, SHAPE)
    assert back == instances and back.shape == SHAPE
    np.testing.assert_array_equal(back.scores, instances.scores)
    assert (back.classes is None) == (not has_classes)
    with pytest.raises(OSError, match=r"it is for an image of shape \(11, 13\)"):
        read_instances(hdu, (13, 11))


@pytest.mark.parametrize("classes", [[], [3], [2, 1, 2, 2**40, 0]])
def test_classes_come_back(tmp_path, classes):
    hdu = written(tmp_path, classes_hdu(np.array(classes, dtype=np.int64)))
    back = read_classes(hdu, SHAPE)
    assert back.tolist() == classes and back.dtype == np.int64


@pytest.mark.parametrize("labels", [[0], [-1, 2], [144], [1, 10**9]])
def test_labels_that_no_image_of_the_shape_has(tmp_path, labels):
    hdu = classes_hdu(np.ones(len(labels), np.int64))
    hdu.data["LABEL"] = labels
    with pytest.raises(OSError, match="damaged: its labels reach from"):
        read_classes(written(tmp_path, hdu), SHAPE)


def test_classes_in_any_order_and_with_gaps(tmp_path):
    hdu = classes_hdu(np.array([7, 8, 9], np.int64))
    hdu.data["LABEL"] = [143, 1, 4]
    back = read_classes(written(tmp_path, hdu), SHAPE)
    assert len(back) == 143 and np.flatnonzero(back).tolist() == [0, 3, 142]
    assert back[[142, 0, 3]].tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("box", "is_whole"),
    [
        ((2, 3, 4, 11), True), ((2, 3, 4, 10), True), ((2, 3, 3, 11), True),
        ((2, 3, 4, 12), False), ((2, 3, 2, 11), False), ((2, 3, 4, 3), False),
        ((4, 3, 2, 11), False),
    ],
)  # fmt: skip
def test_masks_must_fill_their_boxes(tmp_path, box, is_whole):
    """Two rows of eight pixels are two bytes; a box of fewer leaves bits over."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:4, 3:11] = True
    hdu = instances_hdu(Instances.from_masks([mask], shape=SHAPE))
    for name, bound in zip(("Y0", "X0", "Y1", "X1"), box, strict=True):
        hdu.data[name] = bound
    if is_whole:
        back = read_instances(written(tmp_path, hdu), SHAPE)
        assert back.boxes.tolist() == [list(box)] and back.crops[0].all()
    else:
        with pytest.raises(OSError, match="damaged: a mask of 2 bytes cannot have shape"):
            read_instances(written(tmp_path, hdu), SHAPE)


def test_units_of_catalogs_come_back(tmp_path):
    catalog = QTable({"label": [1, 2], "flux": [1.5, 2.5] * u.uJy, "name": ["a", "b"]})
    back = read_catalog(written(tmp_path, catalog_hdu(catalog)), SHAPE)
    assert back.colnames == catalog.colnames and back["flux"].unit == u.uJy
    assert back["name"].tolist() == ["a", "b"] and back["flux"].value.tolist() == [1.5, 2.5]


def test_tables_beside_an_image_are_found_by_name(tmp_path):
    labels = np.zeros(SHAPE, dtype=int)
    labels[1:3, 1:3], labels[5:7, 5:9] = 1, 2
    image = np.ones(SHAPE)
    truth = Field(
        image, labels=labels, classes=[4, 5], catalog=QTable({"label": [1, 2]}),
        instances=Instances.from_label_map(labels),
    ).write(tmp_path / "truth.fits")  # fmt: skip
    plain = Field(image, catalog=QTable({"label": [9]})).write(tmp_path / "plain.fits")
    own = read_field(truth)
    assert own.classes.tolist() == [4, 5] and len(own.instances) == 2 and len(own.catalog) == 2
    both = read_field(plain, labels=truth)
    assert both.classes.tolist() == [4, 5] and both.catalog["label"].tolist() == [9]
    assert read_field(plain).classes is None and read_field(plain).instances is None


# ---- beside a label map ----

LABELS = np.array([[1, 1, 0, 0], [0, 0, 0, 2]], dtype=np.int32)


def write_map(path, *tables):
    fits.HDUList([fits.PrimaryHDU(LABELS), *tables]).writeto(path)
    return path


def test_classes_and_scores_come_back(tmp_path):
    path = write_map(tmp_path / "map.fits", classes_hdu([2, 1]), scores_hdu([0.5, 0.25]))
    assert read_map_classes(path, LABELS.shape).tolist() == [2, 1]
    assert read_scores(path).tolist() == [0.5, 0.25]


def test_tables_of_other_programs_are_left_alone(tmp_path):
    tables = []
    for name in ("CLASSES", "SCORES"):
        columns = [fits.Column("CODE", "J", array=[7]), fits.Column("NAME", "8A", array=["spiral"])]
        tables.append(fits.BinTableHDU.from_columns(columns, name=name))
    path = write_map(tmp_path / "map.fits", *tables)
    assert read_map_classes(path, LABELS.shape) is None
    assert read_scores(path) is None
    catalog = source_catalog(path, np.ones(LABELS.shape))
    assert len(catalog) == 2
    assert not {"class", "score"} & set(catalog.colnames)
    path = write_map(tmp_path / "both.fits", *tables, classes_hdu([2, 1]))
    assert read_map_classes(path, LABELS.shape).tolist() == [2, 1]


def test_a_damaged_table_of_scores_is_named(tmp_path):
    table = scores_hdu([0.5, 0.25])
    table.data["LABEL"] = [1, 3]
    path = write_map(tmp_path / "map.fits", table)
    with pytest.raises(OSError, match=r"SCORES.* is damaged: its labels are not 1, 2, 3 and so on"):
        read_scores(path)
