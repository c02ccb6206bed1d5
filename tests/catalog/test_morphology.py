"""Gini, M20 and CAS: against statmorph if it is installed, and where the answer is known."""

import warnings

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment import Instances
from galaxysegment.catalog import morphology
from galaxysegment.io import write_label_map

_COMPARED = {
    "gini": "gini",
    "m20": "m20",
    "concentration": "concentration",
    "asymmetry": "asymmetry",
    "smoothness": "smoothness",
    "petrosian_radius": "rpetro_circ",
    "petrosian_semi_major": "rpetro_ellip",
    "x": "xc_asymmetry",
    "y": "yc_asymmetry",
}

# Of `scene`, measured by statmorph 0.7.2.
STATMORPH = {
    "gini": [0.494848, 0.487610, 0.500905],
    "m20": [-1.775709, -1.736350, -1.797547],
    "concentration": [2.769244, 2.730430, 2.674838],
    "asymmetry": [-0.010128, 0.099176, 0.038411],
    "smoothness": [-0.004384, 0.001840, 0.041695],
    "petrosian_radius": [12.598668, 13.432514, 9.158183],
    "petrosian_semi_major": [14.575347, 17.872980, 10.622076],
    "x": [50.296653, 140.097256, 120.003292],
    "y": [49.992098, 100.098872, 5.003628],
}


def disk(shape, y, x, scale, ratio=0.7, angle=0.4):
    rows, columns = np.indices(shape)
    cos, sin = np.cos(angle), np.sin(angle)
    along = ((columns - x) * cos + (rows - y) * sin) / scale
    across = ((rows - y) * cos - (columns - x) * sin) / (scale * ratio)
    return np.exp(-np.hypot(along, across))


@pytest.fixture(scope="module")
def scene():
    """A disk, a disk with a clump and a neighbour, and a galaxy at the edge; noise of 0.2."""
    shape = (150, 200)
    image = 60 * disk(shape, 50, 50.3, 4) + 80 * disk(shape, 100, 140, 5, 0.5, 1.2)
    image += 30 * disk(shape, 104, 147, 1.5, 1) + 70 * disk(shape, 5, 120, 3)
    labels = np.where(image > 1.5, 1, 0)
    labels[labels > 0] += 1 * (np.indices(shape)[1][labels > 0] > 95)
    labels[(labels == 2) & (np.indices(shape)[0] < 50)] = 3
    neighbour = 40 * disk(shape, 112, 116, 2, 1)
    labels[neighbour > np.maximum(image, 1.5)] = 7
    image += neighbour
    return image + np.random.default_rng(0).normal(0, 0.2, shape), labels


def test_numbers_are_those_of_statmorph(scene):
    statmorph = pytest.importorskip("statmorph")
    image, labels = scene
    for row in morphology(labels, image, labels=[1, 2, 3]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = statmorph.SourceMorphology(
                image, labels, row["label"], weightmap=np.full(image.shape, 0.2)
            )
        for name, theirs in _COMPARED.items():
            value = float(getattr(row[name], "value", row[name]))
            assert value == pytest.approx(getattr(expected, theirs), rel=1e-6, abs=1e-8), name


def test_numbers_of_statmorph_for_a_known_scene(scene):
    """The numbers of statmorph 0.7.2, so that its definitions are checked without it."""
    image, labels = scene
    table = morphology(labels, image, labels=[1, 2, 3])
    for name, expected in STATMORPH.items():
        values = np.asarray(getattr(table[name], "value", table[name]))
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=2e-5, err_msg=name)
    assert table["morphology_flag"].tolist() == [0, 0, 0]


def test_a_symmetric_disk(scene):
    image = 100 * disk((121, 121), 60, 60, 5, 1)
    image += np.random.default_rng(1).normal(0, 0.05, image.shape)
    row = morphology((image > 1).astype(int), image)[0]
    assert abs(row["asymmetry"]) < 0.02 and abs(row["smoothness"]) < 0.05
    # Of an infinite disk the radii with 20 % and 80 % of the light are 0.82 and 2.99 scales.
    assert row["concentration"] == pytest.approx(5 * np.log10(2.99 / 0.82), abs=0.2)
    assert (row["x"], row["y"]) == pytest.approx((60, 60), abs=0.05)
    assert row["morphology_flag"] == 0


def test_a_second_nucleus_raises_asymmetry_and_m20():
    smooth = 100 * disk((121, 121), 60, 60, 5, 1)
    merger = smooth + 60 * disk((121, 121), 60, 74, 2, 1)
    noise = np.random.default_rng(2).normal(0, 0.1, smooth.shape)
    quiet, disturbed = (morphology((i > 1).astype(int), i + noise)[0] for i in (smooth, merger))
    assert disturbed["asymmetry"] > quiet["asymmetry"] + 0.15
    assert disturbed["m20"] > quiet["m20"] + 0.2


def test_files_instances_and_backgrounds_change_nothing(scene, tmp_path):
    image, labels = scene
    expected = morphology(labels, image)
    write_label_map(tmp_path / "labels.fits", labels)
    fits.writeto(tmp_path / "image.fits", image)
    for table in (
        morphology(tmp_path / "labels.fits", tmp_path / "image.fits"),
        morphology(labels, np.stack([image, image])),
        morphology(labels, image + 5, background=5.0),
    ):
        for name in expected.colnames:
            np.testing.assert_allclose(table[name], expected[name], rtol=1e-6, err_msg=name)
    present = Instances.from_label_map(np.where(labels == 7, 4, labels))
    np.testing.assert_allclose(morphology(present, image)["gini"], expected["gini"])


def test_workers_change_no_bit(scene):
    image, labels = scene
    alone, many = (morphology(labels, image, n_jobs=n_jobs) for n_jobs in (1, 2))
    for name in alone.colnames:
        np.testing.assert_array_equal(alone[name], many[name], err_msg=name)


def test_failures_are_flags():
    image, labels = np.zeros((60, 60)), np.zeros((60, 60), dtype=int)
    labels[10:14, 10:14], labels[40, 40] = 1, 2
    image[10:14, 10:14], image[40, 40] = -1, 5
    table = morphology(labels, image)
    assert table["morphology_flag"].tolist() == [2, 2]
    assert np.isnan(table["gini"][0])
    crowded = morphology(np.ones((60, 60), dtype=int), disk((60, 60), 30, 30, 5))
    assert crowded["morphology_flag"][0] == 2
    with_sky = morphology(
        (disk((60, 60), 30, 30, 3) > 0.1).astype(int), disk((60, 60), 30, 30, 3) + 9
    )
    assert with_sky["morphology_flag"][0] == 2


def test_labels_that_do_not_occur_are_refused(scene):
    image, labels = scene
    with pytest.raises(ValueError, match="labels holds 5, which no pixel has"):
        morphology(labels, image, labels=[1, 5])
    assert len(morphology(labels, image, labels=[])) == 0
