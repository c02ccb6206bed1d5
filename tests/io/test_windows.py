"""Windows of images of every kind against slices of plain arrays."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData, StdDevUncertainty
from astropy.utils.masked import Masked

from galaxysegment.exceptions import ChannelsLastWarning
from galaxysegment.io import Field, read_field
from galaxysegment.io._windows import open_pixels

SHAPE = (11, 13)
WINDOWS = [(slice(0, 11), slice(0, 13)), (slice(2, 9), slice(0, 4)), (slice(10, 11), slice(5, 13))]


def draw(seed, n_bands):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(n_bands, *SHAPE)).astype(np.float32)
    rms = rng.uniform(1, 2, SHAPE).astype(np.float32)
    rms[3, 4] = np.nan
    return image, rms, rng.random(SHAPE) < 0.2


def expected_of(image, rms, mask, *, with_map):
    """The image as an estimator gets it: blank under the mask and where there is no RMS."""
    image = np.where(mask, np.nan, image)
    if rms is None:
        return image
    image = np.where(np.isnan(rms), np.nan, image)
    return np.concatenate([image, rms[None]]) if with_map else image


def as_kind(kind, folder, image, rms, mask):
    """Return an image that brings its RMS map along, as one of the kinds that users have."""
    if kind == "field":
        return Field(image, rms=rms, mask=mask)
    if kind == "nddata":
        return NDData(
            image, uncertainty=StdDevUncertainty(rms), mask=np.broadcast_to(mask, image.shape)
        )
    blanked = np.where(mask, np.nan, image)
    if kind == "files":
        paths = []
        for band, plane in enumerate(blanked):
            paths.append(folder / f"band{band}.fits")
            hdus = [fits.PrimaryHDU(plane), fits.ImageHDU(rms, name="RMS")]
            fits.HDUList(hdus).writeto(paths[-1])
        return paths
    path = folder / f"cube.fits{'.gz' if kind == 'packed' else ''}"
    fits.HDUList([fits.PrimaryHDU(blanked), fits.ImageHDU(rms, name="RMS")]).writeto(path)
    return read_field(path) if kind == "lazy" else path


KINDS = ["field", "nddata", "files", "cube", "packed", "lazy"]


def check(pixels, expected, shape=SHAPE):
    assert pixels.shape == shape and pixels.n_bands == len(expected)
    for rows, columns in WINDOWS:
        window = pixels.read(rows, columns)
        np.testing.assert_allclose(window, expected[:, rows, columns], rtol=1e-6)


@pytest.mark.parametrize("n_bands", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rms", [None, True, False])
def test_images_that_bring_an_rms_map(kind, n_bands, rms, tmp_path):
    image, noise, mask = draw(0, n_bands)
    given = as_kind(kind, tmp_path, image, noise, mask)
    for wanted in (None, True, False):
        asked = []
        takes = None if wanted is None else lambda n, w=wanted, a=asked: a.append(n) or w
        pixels = open_pixels(given, rms, takes_rms=takes)
        with_map = rms is True or (rms is None and wanted is not False)
        known = None if rms is False else noise
        check(pixels, expected_of(image, known, mask, with_map=with_map))
        assert asked == ([n_bands] if rms is None and wanted is not None else [])
        assert (pixels.read_parts(*WINDOWS[1])[1] is None) != with_map


@pytest.mark.parametrize("kind", KINDS)
def test_workers_see_the_same_pixels(kind, tmp_path):
    image, noise, mask = draw(1, 2)
    pixels = open_pixels(as_kind(kind, tmp_path, image, noise, mask), True)
    opener = pickle.loads(pickle.dumps(pixels.for_workers(tmp_path)))
    check(opener(), expected_of(image, noise, mask, with_map=True))
    assert opener().with_rms and opener().header == pixels.header


@pytest.mark.parametrize("rms_axes", [None, 2, 3])
@pytest.mark.parametrize("image_axes", [2, 3])
@pytest.mark.parametrize("mask", [None, "given", "own", "both"])
def test_arrays(image_axes, rms_axes, mask, tmp_path):
    image, noise, first = draw(2, 1 if image_axes == 2 else 2)
    second = np.random.default_rng(3).random(SHAPE) < 0.2
    hidden = np.zeros(SHAPE, dtype=bool)
    own = mask in ("own", "both")
    hidden |= first if own else False
    hidden |= second if mask in ("given", "both") else False
    rms = {None: None, 2: noise, 3: np.stack([noise] * len(image))}[rms_axes]
    given = image[0] if image_axes == 2 else image
    given = Masked(given, mask=np.broadcast_to(first, given.shape)) if own else given
    mask = second if mask in ("given", "both") else None
    pixels = open_pixels(given, rms, mask=mask)
    expected = expected_of(image, None if rms is None else noise, hidden, with_map=True)
    check(pixels, expected)
    check(pickle.loads(pickle.dumps(pixels.for_workers(tmp_path)))(), expected)
    assert pixels.with_rms == (rms is not None) and not pixels.in_files


def test_masked_arrays_of_numpy_reach_the_workers_blank(tmp_path):
    image, _, mask = draw(4, 2)
    masked = np.ma.array((100 * image).astype(int), mask=np.broadcast_to(mask, image.shape))
    expected = np.where(mask, np.nan, (100 * image).astype(int))
    pixels = open_pixels(masked, None)
    check(pixels, expected)
    check(pixels.for_workers(tmp_path)(), expected)


def test_stored_arrays_know_their_length_and_type(tmp_path):
    image, noise, _ = draw(5, 3)
    opened = open_pixels(image, noise).for_workers(tmp_path)()
    assert len(opened.image) == 3 and opened.image.dtype == np.float32
    assert not isinstance(opened.image[..., :2, :2], np.memmap)
    assert opened.rms.shape == SHAPE and opened.mask is None


def test_units_are_made_to_agree():
    image, noise, _ = draw(6, 1)
    pixels = open_pixels(image * u.uJy, (noise / 1000) * u.mJy)
    assert pixels.unit == u.uJy
    np.testing.assert_allclose(pixels.rms, noise, rtol=1e-6)
    with pytest.raises(ValueError, match="rms has the unit"):
        open_pixels(image * u.uJy, noise * u.m)


# ---- files ----


@pytest.mark.parametrize("rms", ["file", True, None, False])
def test_maps_and_masks_in_files_of_their_own(rms, tmp_path):
    image, noise, mask = draw(7, 2)
    variance, flags = noise**2, np.where(mask, 4, 0) | np.where(np.eye(*SHAPE), 1, 0)
    for name, pixels in (("image", image), ("noise", variance), ("mask", flags.astype(np.int16))):
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2)), name="OTHER")]
        hdus.append(fits.ImageHDU(pixels, name="MAP"))
        fits.HDUList(hdus).writeto(tmp_path / f"{name}.fits")
    path = tmp_path / "image.fits"
    options = {"hdu": "MAP", "mask": tmp_path / "mask.fits", "mask_hdu": "MAP", "mask_bits": 4}
    if rms == "file":
        rms = tmp_path / "noise.fits"
        options |= {"rms_kind": "variance", "rms_hdu": 2}
    elif rms is True:
        with pytest.raises(ValueError, match="there is none: pass its path"):
            open_pixels(path, True, **options)
        return
    pixels = open_pixels(path, rms, **options)
    known = noise if isinstance(rms, Path) else None
    for rows, columns in WINDOWS:
        expected = expected_of(image, known, mask, with_map=True)[:, rows, columns]
        np.testing.assert_allclose(pixels.read(rows, columns), expected, rtol=1e-6)
    paths = pixels.paths()
    assert {*paths["image"]} == {path, tmp_path / "mask.fits"}
    assert paths["rms"] == ([rms] if isinstance(rms, Path) else [])
    assert pixels.in_files


def test_a_mask_is_laid_over_the_own_mask_of_a_field():
    image, _, mask = draw(8, 2)
    other = np.random.default_rng(9).random(SHAPE) < 0.3
    pixels = open_pixels(Field(image, mask=mask), None, mask=np.where(other, 6, 1), mask_bits=2)
    check(pixels, expected_of(image, None, mask | other, with_map=False))


def test_a_given_map_replaces_that_of_a_field():
    image, noise, mask = draw(10, 2)
    field = Field(image, rms=np.full(SHAPE, 9.0), mask=mask)
    check(open_pixels(field, noise), expected_of(image, noise, mask, with_map=True))


@pytest.mark.parametrize(
    ("kind", "rms", "words"),
    [
        ("file", np.ones(SHAPE), "rms must be a file, True, False or None if image is a file"),
        ("array", "rms.fits", "rms must be an array or None if image is an array"),
        ("array", True, "rms must be an array or None if image is an array"),
        ("field", "rms.fits", "rms must be an array, True, False or None if image is a Field"),
        ("nddata", ["rms.fits"], "rms must be an array, True, False or None if image is a Field"),
    ],
)
def test_maps_of_another_kind_are_refused_before_any_file_is_opened(kind, rms, words):
    image = np.zeros((1, *SHAPE))
    given = {"file": "nowhere.fits", "array": image, "field": Field(image), "nddata": NDData(image)}
    with pytest.raises(TypeError, match=words):
        open_pixels(given[kind], rms)


@pytest.mark.parametrize("image", [np.zeros(5), np.zeros((1, 2, 3, 4)), np.zeros((0, 4))])
def test_images_without_rows_and_columns_are_refused(image):
    with pytest.raises(ValueError, match=r"image must have shape \(height, width\)"):
        open_pixels(image, None)


@pytest.mark.parametrize("wrong", [np.full(SHAPE, "a"), np.full(SHAPE, "a", dtype=object)])
@pytest.mark.parametrize("name", ["image", "rms"])
def test_types_are_refused_before_the_first_window(name, wrong):
    arrays = {"image": np.zeros(SHAPE), "rms": np.ones(SHAPE)} | {name: wrong}
    with pytest.raises((TypeError, ValueError), match=name):
        open_pixels(**arrays)


def test_an_rms_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="The RMS map"):
        open_pixels(np.zeros(SHAPE), np.ones((11, 12)))


def test_channels_in_the_last_axis_are_remarked_on_once():
    for make in (lambda image: open_pixels(image, None), Field):
        with pytest.warns(
            ChannelsLastWarning, match=r"pass np\.moveaxis\(image, -1, 0\)\."
        ) as caught:
            make(np.zeros((40, 50, 3)))
        assert len(caught) == 1


# ---- what tells pixels from others ----


@pytest.mark.parametrize("kind", ["array", "field", "cube", "lazy"])
@pytest.mark.parametrize("changed", [None, "image", "rms", "mask"])
def test_the_identity_changes_with_every_pixel(kind, changed, tmp_path):
    def opened(folder, change):
        folder.mkdir()
        image, noise, mask = draw(11, 2)
        if change == "image":
            image[~np.broadcast_to(mask, image.shape)] += 1
        elif change == "rms":
            noise[5, 6] += 1
        elif change == "mask":
            mask[5, 6] ^= True
        if kind == "array":
            return open_pixels(image, noise, mask=mask)
        path = as_kind(kind, folder, image, noise, mask)
        return open_pixels(path, True)

    first, second = opened(tmp_path / "a", None), opened(tmp_path / "b", changed)
    assert first.identity() == first.identity()
    if kind in ("cube", "lazy"):  # files also have names and times
        assert first.identity() != second.identity()
    else:
        assert (first.identity() == second.identity()) == (changed is None)


def test_an_unused_rms_map_is_not_part_of_the_identity(tmp_path):
    image, noise, mask = draw(12, 2)
    path = as_kind("cube", tmp_path, image, noise, mask)
    with_map, without = (open_pixels(path, rms).identity() for rms in (True, False))
    assert with_map[0] == without[0] and with_map[1] is not None and without[1] is None


def test_memory_maps_are_files(tmp_path):
    image, noise, mask = draw(13, 2)
    for name, array in (("image", image), ("rms", noise), ("mask", mask)):
        np.save(tmp_path / f"{name}.npy", array)
    maps = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("image", "rms")}
    mask = np.load(tmp_path / "mask.npy", mmap_mode="r")
    paths = open_pixels(maps["image"][:, 1:], maps["rms"][1:], mask=mask[1:]).paths()
    assert {name: [*map(Path, files)] for name, files in paths.items()} == {
        name: [tmp_path / f"{name}.npy"] for name in ("image", "rms", "mask")
    }
