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
from galaxysegment.io import Field, read_field
from galaxysegment.separation import TemplateSeparator
from galaxysegment.structures import Instances, Separated


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


# ---- against dense masks ----


def some_instances(shape=(40, 55), n=25):
    rng, masks = np.random.default_rng(2), []
    while len(masks) < n:
        y, x = rng.integers(0, shape)
        mask = np.zeros(shape, dtype=bool)
        mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 15)] = True
        mask &= rng.random(shape) < 0.6
        masks += [mask] if mask.any() else []
    return np.array(masks)


def window_of(mask, size):
    """Rows and columns of a window, and the middle of the mask."""
    rows, columns = np.nonzero(mask)
    centre = rows.mean(), columns.mean()
    if size is None:
        low, high = (rows.min() - 8, columns.min() - 8), (rows.max() + 9, columns.max() + 9)
    else:
        low = [round(middle - (size - 1) / 2) for middle in centre]
        high = low[0] + size, low[1] + size
    sides = [
        slice(max(a, 0), min(b, side)) for a, b, side in zip(low, high, mask.shape, strict=True)
    ]
    return tuple(sides), centre


@pytest.mark.parametrize("size", [None, 1, 2, 9, np.int64(80)])
@pytest.mark.parametrize("n_bands", [None, 1, 3])
def test_instances_and_their_light_are_cut_as_dense_arrays_are(size, n_bands):
    masks = some_instances()
    rng, shape = np.random.default_rng(0), masks.shape[1:]
    bands = () if n_bands is None else (n_bands,)
    image = rng.normal(size=(*bands, *shape))
    boxes, parts, lights = [], [], []
    for _ in masks:
        y0, x0 = rng.integers(0, np.array(shape) - 1)
        y1, x1 = min(y0 + rng.integers(1, 20), shape[0]), min(x0 + rng.integers(1, 20), shape[1])
        boxes.append((y0, x0, y1, x1))
        parts.append(rng.random((*bands, y1 - y0, x1 - x0)).astype(np.float32))
        lights.append(np.zeros((*bands, *shape), dtype=np.float32))
        lights[-1][..., y0:y1, x0:x1] = parts[-1]
    numbers = np.zeros((len(masks), *bands))
    residual = np.zeros((*bands, *shape), dtype=np.float32)
    sources = Instances.from_masks(masks)
    separated = Separated(sources, np.array(boxes), parts, residual, numbers, numbers, numbers)
    for given in (sources, separated):
        stamps = cutouts(image, given, size=size)
        assert repr(stamps) == "Cutouts(n=25, shape=(40, 55))"
        for index, (mask, stamp) in enumerate(zip(masks, stamps, strict=True)):
            window, centre = window_of(mask, size)
            assert stamp.label == index + 1
            assert stamp.origin == (window[0].start, window[1].start)
            np.testing.assert_allclose(np.add(stamp.position, stamp.origin), centre)
            np.testing.assert_array_equal(stamp.mask, mask[window])
            others = np.delete(masks, index, axis=0).any(axis=0)
            np.testing.assert_array_equal(stamp.neighbors, others[window])
            squeezed = image[0] if n_bands == 1 else image
            np.testing.assert_allclose(stamp.image, squeezed[..., *window], rtol=1e-6)
            if given is sources:
                assert stamp.isolated is None
            else:
                np.testing.assert_array_equal(stamp.isolated, lights[index][..., *window])


def test_cutouts_are_a_sequence(field):
    stamps = cutouts(field, field.labels, size=15)
    part = stamps[3:9:2]
    assert [stamp.label for stamp in part] == [4, 6, 8] and stamps[-1].label == len(stamps)
    assert type(part) is type(stamps) and part[0].origin == stamps[3].origin
    with pytest.raises(IndexError):
        stamps[len(stamps)]


def test_tables_give_labels_and_positions_up_to_the_border():
    image = np.arange(30.0 * 40).reshape(30, 40)
    places = {"x": [-0.5, 39.49, 7.0], "y": [29.49, -0.5, 12.6]}
    for extra, labels in (({}, [1, 2, 3]), ({"label": [7, 5, 9]}, [7, 5, 9])):
        stamps = cutouts(image, Table(places | extra), size=5)
        assert [stamp.label for stamp in stamps] == labels
        assert [stamp.image.shape for stamp in stamps] == [(3, 3), (3, 3), (5, 5)]
        assert [stamp.origin for stamp in stamps] == [(27, 0), (0, 37), (11, 5)]
        assert stamps[2].position == pytest.approx((1.6, 2.0))
        assert stamps[0].mask is stamps[0].neighbors is stamps[0].isolated is None
    for x, y in ((-0.51, 3), (39.5, 3), (3, -0.51), (3, 29.5), (np.nan, 3)):
        with pytest.raises(ValueError, match=r"sources puts row 1 at y=.*, outside the image"):
            cutouts(image, Table({"x": [3.0, x], "y": [3.0, y]}), size=5)


@pytest.mark.parametrize("size", [0, -3, 2.5, "9"])
def test_sizes_that_are_no_sizes_are_refused(size):
    with pytest.raises(ValueError, match="size must be a positive number of pixels"):
        cutouts(np.zeros((9, 9)), np.eye(9, dtype=int), size=size)


def test_sources_of_another_image_are_refused():
    for sources in (np.eye(8, dtype=int), Instances.from_masks([np.eye(8, dtype=bool)])):
        with pytest.raises(ValueError, match=r"sources .*image"):
            cutouts(np.zeros((9, 9)), sources)


@pytest.mark.parametrize("with_rms", [True, False])
def test_a_file_says_units_and_who_is_who(tmp_path, with_rms):
    masks = np.zeros((2, 20, 30), dtype=bool)
    masks[0, 5:10, 5:12], masks[1, 8:14, 10:20] = True, True
    numbers = np.zeros(2)
    sources = Instances.from_masks(masks)
    parts = [np.full((3, 4), value, dtype=np.float32) for value in (2, 5)]
    boxes = np.array([[5, 5, 8, 9], [8, 10, 11, 14]])
    residual = np.zeros((20, 30), dtype=np.float32)
    separated = Separated(sources, boxes, parts, residual, numbers, numbers, numbers)
    header = fits.Header({"BUNIT": "nJy"})
    rms = np.full((20, 30), 2.0) if with_rms else None
    stamps = cutouts(Field(np.ones((20, 30)), rms=rms, header=header), separated)
    path = tmp_path / "stamps.fits"
    for overwrite in (False, True):
        assert write_cutouts(path, stamps, overwrite=overwrite) == path
    names = ["SCI", "RMS", "MASK", "ISOLATED"] if with_rms else ["SCI", "MASK", "ISOLATED"]
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == names * 2
        assert [hdu.ver for hdu in hdus[1:]] == [1] * len(names) + [2] * len(names)
        for hdu in hdus[1:]:
            assert hdu.header["LABEL"] == hdu.ver
            assert (hdu.header.get("BUNIT") == "nJy") == (hdu.name != "MASK")
            y0, x0 = stamps[hdu.ver - 1].origin
            assert (hdu.header["Y0"], hdu.header["X0"]) == (y0, x0)
        for index, stamp in enumerate(stamps, start=1):
            expected = np.where(stamp.mask, 1, np.where(stamp.neighbors, 2, 0))
            data = hdus["MASK", index].data
            np.testing.assert_array_equal(data, expected)
            assert data.dtype == np.uint8 and set(np.unique(data)) == {0, 1, 2}
            np.testing.assert_array_equal(hdus["ISOLATED", index].data, stamp.isolated)


def test_a_file_holds_2000_cutouts_at_most(tmp_path, monkeypatch):
    from galaxysegment.catalog import _cutouts

    stamps = cutouts(np.zeros((9, 9)), np.eye(9, dtype=int), size=3)
    with pytest.raises(ValueError, match="stamps holds 2001 cutouts, 1 to 2000 are allowed"):
        write_cutouts(tmp_path / "a.fits", [stamps[0]] * 2001)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(_cutouts, "_MOST", 3)
    write_cutouts(tmp_path / "a.fits", [stamps[0]] * 3)
