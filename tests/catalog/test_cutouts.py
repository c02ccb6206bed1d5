"""Cutouts hold the pixels, sources and sky positions of their windows."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from galaxysegment.catalog import cutouts, source_catalog, write_cutouts
from galaxysegment.datasets import load_sample_field
from galaxysegment.display import contact_sheet
from galaxysegment.io import read_field
from galaxysegment.separation import TemplateSeparator
from galaxysegment.structures import Instances


@pytest.fixture(scope="module")
def field():
    return load_sample_field()


@pytest.mark.parametrize("size", [None, 21, 40])
def test_windows_hold_their_pixels(field, size):
    stamps = cutouts(field, field.labels, size=size)
    image, labels = np.asarray(field.image).reshape(field.shape), field.labels
    assert len(stamps) == labels.max()
    for stamp in stamps[::17]:
        (y0, x0), (height, width) = stamp.origin, stamp.mask.shape
        window = slice(y0, y0 + height), slice(x0, x0 + width)
        np.testing.assert_array_equal(stamp.image, image[window])
        np.testing.assert_array_equal(stamp.mask, labels[window] == stamp.label)
        np.testing.assert_array_equal(
            stamp.neighbors, (labels[window] > 0) & (labels[window] != stamp.label)
        )
        rows, columns = np.nonzero(labels == stamp.label)
        centre = np.array([rows.mean(), columns.mean()])
        np.testing.assert_allclose(np.add(stamp.origin, stamp.position), centre)
        if size is None:
            assert stamp.mask.sum() == (labels == stamp.label).sum()
        else:
            at_border = (centre < size).any() or (np.array(labels.shape) - centre < size).any()
            assert at_border or stamp.image.shape == (size, size)
            assert at_border or np.abs(np.array(stamp.position) - (size - 1) / 2).max() <= 0.5


def test_files_are_read_window_by_window(field, tmp_path, monkeypatch):
    field.write(tmp_path / "field.fits")
    stored = read_field(tmp_path / "field.fits")
    stamps = cutouts(stored, field.labels, size=30)

    def refuse(_):
        raise AssertionError("the whole image was read")

    monkeypatch.setattr(type(stored), "image", property(refuse))
    whole = cutouts(field, field.labels, size=30)
    monkeypatch.undo()
    np.testing.assert_array_equal(stamps[5].image, whole[5].image)
    np.testing.assert_array_equal(stamps[5].field.rms, whole[5].field.rms)


def test_positions_on_the_sky_stay(field):
    catalog = source_catalog(field.labels, field)
    for stamp in cutouts(field, catalog, size=32)[::13]:
        row = catalog[catalog["label"] == stamp.label][0]
        y, x = stamp.position
        ra, dec = stamp.field.wcs.wcs_pix2world(x, y, 0)
        assert float(ra) == pytest.approx(row["ra"].value, abs=1e-9)
        assert float(dec) == pytest.approx(row["dec"].value, abs=1e-9)
        assert stamp.mask is None and stamp.isolated is None


def test_overlapping_instances_and_isolated_light():
    rows, columns = np.indices((50, 60))
    lights = [
        200 * np.exp(-((rows - 25) ** 2 + (columns - centre) ** 2) / 20) for centre in (22, 32)
    ]
    image = np.sum(lights, axis=0) + np.random.default_rng(0).normal(size=(50, 60))
    sources = Instances.from_masks(np.array(lights) > 3)
    (separated,) = TemplateSeparator().separate(image[None], [sources], rms=np.ones((1, 50, 60)))
    first, second = cutouts(image, separated, size=24)
    assert (first.mask & first.neighbors).any()
    y0, x0 = first.origin
    window = slice(y0, y0 + 24), slice(x0, x0 + 24)
    np.testing.assert_array_equal(first.mask, sources.masks[0][window])
    np.testing.assert_array_equal(first.isolated, separated.isolated(0)[window])
    assert np.abs(first.isolated - lights[0][window]).max() < 20
    assert second.isolated.sum() == pytest.approx(lights[1].sum(), rel=0.1)


def test_a_file_of_cutouts_is_read_back(field, tmp_path):
    stamps = cutouts(field, field.labels, size=25)[:4]
    path = write_cutouts(tmp_path / "stamps.fits", stamps)
    sky = field.wcs
    with fits.open(path) as hdus:
        assert hdus[0].header["NCUTOUTS"] == 4 and len(hdus) == 1 + 3 * 4
        for version, stamp in enumerate(stamps, start=1):
            hdu = hdus["SCI", version]
            np.testing.assert_array_equal(hdu.data, stamp.image)
            np.testing.assert_array_equal(hdus["RMS", version].data, stamp.field.rms)
            np.testing.assert_array_equal(hdus["MASK", version].data == 1, stamp.mask)
            assert hdu.header["LABEL"] == stamp.label
            x0, y0 = hdu.header["X0"], hdu.header["Y0"]
            np.testing.assert_allclose(
                WCS(hdu.header).wcs_pix2world(3, 5, 0), sky.wcs_pix2world(x0 + 3, y0 + 5, 0)
            )
    with pytest.raises(FileExistsError):
        write_cutouts(path, stamps)


def test_a_contact_sheet_shows_the_first_cutouts(field):
    figure = contact_sheet(cutouts(field, field.labels, size=25), n_columns=5, most=12)
    assert [bool(ax.images) for ax in figure.axes] == [True] * 12 + [False] * 3
    plt.close(figure)


@pytest.mark.parametrize(
    ("sources", "size", "words"),
    [
        (np.zeros((3, 3), dtype=int), None, "shape"),
        (Table({"x": [5.0], "y": [5.0]}), None, "size is needed"),
        (Table({"x": [5000.0], "y": [5.0]}), 9, "row 0 at y=5, x=5000, outside"),
        (np.zeros((512, 1024), dtype=int), 0, "size must be a positive number"),
    ],
)
def test_bad_input_is_refused(field, sources, size, words):
    with pytest.raises(ValueError, match=words):
        cutouts(field, sources, size=size)


def test_empty_files_are_refused(field, tmp_path):
    with pytest.raises(ValueError, match="stamps holds 0 cutouts"):
        write_cutouts(tmp_path / "a.fits", [])
    assert not list(tmp_path.iterdir())
