"""The light of sources on mosaics: the same as of the whole image, to the bit; resumed; refused."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from galaxysegment import Instances
from galaxysegment.detection._sky_between import sky_between
from galaxysegment.exceptions import LargeBlendWarning, UnsubtractedSkyWarning
from galaxysegment.io import read_header, read_separated, write_label_map
from galaxysegment.mosaic import TileError, separate_mosaic
from galaxysegment.mosaic._light_run import _tile_of
from galaxysegment.mosaic._plan import cut_tiles
from galaxysegment.preprocessing import BackgroundSubtractor
from galaxysegment.separation import TemplateSeparator
from galaxysegment.structures import label_components
from tests.mosaic.light_scene import (
    IMAGE,
    LABELS,
    MASKS,
    PLACES,
    PROGRAM,
    QUIET,
    RMS,
    SHAPE,
    Failing,
    check_same,
    found_by,
)


@pytest.mark.parametrize("tile_size", [47, 100, 2048])
@pytest.mark.parametrize("sources", [LABELS, MASKS, PLACES], ids=["labels", "instances", "places"])
@pytest.mark.parametrize("with_rms", [True, False])
def test_tiles_give_what_the_whole_image_gives(sources, tile_size, with_rms):
    rms = RMS if with_rms else None
    (whole,) = TemplateSeparator().separate([IMAGE], [sources], rms=[rms] if with_rms else None)
    options = {"rms": rms, "tile_size": tile_size}
    check_same(whole, separate_mosaic(TemplateSeparator(), IMAGE, sources, **options, **QUIET))


@pytest.mark.parametrize("sources", [LABELS, PLACES], ids=["labels", "places"])
def test_companions_follow_in_the_same_order(sources):
    separator = TemplateSeparator(find_companions=True)
    # Some galaxies nobody gave.
    sources = PLACES[::3] if sources is PLACES else label_components(LABELS > 0)
    (whole,) = separator.separate([IMAGE], [sources], rms=[RMS])
    n_given = len(sources) if isinstance(sources, Table) else sources.max()
    assert len(whole) > n_given
    check_same(whole, separate_mosaic(separator, IMAGE, sources, rms=RMS, tile_size=60, **QUIET))


def test_scores_and_classes_stay(tmp_path):
    sources = Instances(
        SHAPE, MASKS.boxes, MASKS.crops, np.arange(len(MASKS)), 1 + np.arange(len(MASKS)) % 2
    )
    options = {"rms": RMS, "tile_size": 60, "output": tmp_path / "light.fits", "kind": "parts"}
    for masks in ("given", "light"):
        separator = TemplateSeparator(masks=masks, find_companions=True)
        (whole,) = separator.separate([IMAGE], [sources], rms=[RMS])
        path = separate_mosaic(separator, IMAGE, sources, overwrite=True, **options, **QUIET)
        check_same(whole, read_separated(path))
        assert (whole.sources == sources) == (masks == "given" and len(whole) == len(sources))


def test_bands_and_missing_pixels(tmp_path):
    image = np.stack([IMAGE, 0.5 * IMAGE + 0.1]).astype(np.float32)
    image[:, 40:44, 30:80] = np.nan
    rms = np.stack([RMS, 0.5 * RMS])
    rms[1, 100:110, 100:105] = 0
    (whole,) = TemplateSeparator().separate([image], [LABELS], rms=[rms])
    assert whole.parts[0].ndim == 3
    options = {"rms": rms, "tile_size": 70, **QUIET}
    check_same(whole, separate_mosaic(TemplateSeparator(), image, LABELS, **options))
    path = separate_mosaic(
        TemplateSeparator(), image, LABELS, output=tmp_path / "light.fits", kind="parts", **options
    )
    check_same(whole, read_separated(path))


def test_the_edge_of_a_label_map_with_one_source_a_pixel_wide():
    image, labels = np.zeros((60, 60)), np.zeros((60, 60), dtype=int)
    image[:, 30], labels[:, 30] = 5, 1  # a source as long as the mosaic
    image[0, 0], labels[0, 0] = 9, 2
    rms = np.ones((60, 60))
    (whole,) = TemplateSeparator().separate([image], [labels], rms=[rms])
    options = {"rms": rms, "tile_size": 7}
    check_same(whole, separate_mosaic(TemplateSeparator(), image, labels, **options, **QUIET))


@pytest.mark.parametrize("with_rms", [True, False])
def test_a_source_that_covers_the_image_and_has_no_data_inside(with_rms):
    image, labels = IMAGE[:90, :80].copy(), np.ones((90, 80), dtype=int)
    image[40:50, 20:60] = np.nan
    rms = RMS[:90, :80] if with_rms else None
    separator = TemplateSeparator(n_iterations=2)
    (whole,) = separator.separate([image], [labels], rms=[rms] if with_rms else None)
    check_same(whole, separate_mosaic(separator, image, labels, rms=rms, tile_size=30, **QUIET))
    total = whole.total() + whole.residual
    np.testing.assert_allclose(total, image, atol=1e-3)
    assert np.isfinite(whole.fluxes).all() and not whole.parts[0][np.isnan(image)].any()


def test_the_background_is_that_of_the_mosaic():
    sky = 2 + 0.01 * np.arange(SHAPE[1])
    image = IMAGE + sky
    options = {"rms": RMS, "tile_size": 80, "background": "mesh", **QUIET}
    for sources, covered in ((MASKS, MASKS.to_mask()), (LABELS, LABELS > 0)):
        flat = image - sky_between(image[np.newaxis], covered)[0]
        (whole,) = TemplateSeparator().separate([flat], [sources], rms=[RMS])
        check_same(whole, separate_mosaic(TemplateSeparator(), image, sources, **options))
    (known,) = TemplateSeparator().separate([IMAGE], [LABELS], rms=[RMS])
    (swollen,) = TemplateSeparator().separate(
        BackgroundSubtractor().fit_transform([image]), [LABELS], rms=[RMS]
    )
    errors = [np.abs(each.fluxes - known.fluxes).mean() for each in (whole, swollen)]
    assert errors[0] < errors[1] / 4


@pytest.mark.parametrize("with_rms", [True, False])
def test_a_galaxy_over_many_boxes_keeps_its_light(with_rms):
    y, x = np.indices((500, 500)) - 250
    galaxy = 30 * np.exp(-np.hypot(y / 0.7, x) / 25)
    star = 200 * np.exp(-((y - 20) ** 2 + (x + 30) ** 2) / 8)
    labels = np.where(star > 1, 2, (galaxy > 1).astype(int))
    image = galaxy + star + np.random.default_rng(0).normal(100, 1, galaxy.shape)
    options = {"rms": np.ones(galaxy.shape) if with_rms else None, "tile_size": 200, **QUIET}
    separated = separate_mosaic(TemplateSeparator(), image, labels, background="mesh", **options)
    known = separate_mosaic(TemplateSeparator(), image - 100, labels, **options)
    assert known.fluxes[0] / galaxy.sum() > 0.9
    np.testing.assert_allclose(separated.fluxes / known.fluxes, 1, atol=0.03)


def test_files_hold_the_same_whoever_works(tmp_path):
    header = WCS(naxis=2).to_header()
    header["BUNIT"] = "adu"
    image, rms = IMAGE.astype(np.float32), RMS.astype(np.float32)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, header, "SCI"), fits.ImageHDU(rms, name="RMS")]
    fits.HDUList(hdus).writeto(tmp_path / "image.fits")
    write_label_map(tmp_path / "labels.fits", LABELS)
    options = {"tile_size": 70, "kind": "parts", **QUIET}
    files = tmp_path / "image.fits", tmp_path / "labels.fits"
    first, second, third = (tmp_path / f"{name}.fits" for name in ("first", "second", "third"))
    separate_mosaic(TemplateSeparator(), *files, output=first, **options)
    separate_mosaic(TemplateSeparator(), *files, output=second, n_jobs=2, **options)
    separate_mosaic(TemplateSeparator(), image, LABELS, rms=rms, output=third, n_jobs=2, **options)
    assert first.read_bytes() == second.read_bytes()
    (whole,) = TemplateSeparator().separate([image], [LABELS], rms=[rms])
    check_same(whole, read_separated(first))
    check_same(whole, read_separated(third))
    assert read_header(first, "RESIDUAL")["BUNIT"] == "adu"
    with fits.open(first) as opened:
        opened.verify("exception")
    table = Table.read(first, hdu="SEPARATED")
    np.testing.assert_array_equal(table["LABEL"], np.unique(LABELS)[1:])
    np.testing.assert_array_equal(table["FLUX"], whole.fluxes)
    np.testing.assert_array_equal(table["PART"][3], whole.parts[3].ravel())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["image.fits", "labels.fits", "first.fits", "second.fits", "third.fits"]
    )


@pytest.mark.parametrize("sources", [LABELS, MASKS, PLACES], ids=["labels", "instances", "places"])
@pytest.mark.parametrize("with_rms", [True, False])
def test_a_sky_that_was_not_subtracted_is_noticed(sources, with_rms):
    rms = RMS if with_rms else None
    options = {"rms": rms, "tile_size": 60, **QUIET}
    with pytest.warns(UnsubtractedSkyWarning) as expected:
        TemplateSeparator(n_iterations=1).separate(
            [IMAGE + 2], [sources], rms=[RMS] if with_rms else None
        )
    with pytest.warns(UnsubtractedSkyWarning) as noticed:
        separate_mosaic(TemplateSeparator(n_iterations=1), IMAGE + 2, sources, **options)
    assert str(noticed[0].message) == str(expected[0].message)
    assert noticed[0].filename == __file__
    separate_mosaic(
        TemplateSeparator(n_iterations=1), IMAGE + 2, sources, background="mesh", **options
    )


@pytest.mark.parametrize("n_bands", [1, 2])
def test_pixels_without_noise_are_no_sky(n_bands):
    image, rms = np.where(MASKS.to_mask(), IMAGE, 0.1), RMS.copy()
    rms[:, 70:], image[:, 70:] = 0, 50
    if n_bands > 1:
        image, rms = np.stack([image] * n_bands), np.stack([rms] * n_bands)
    (whole,) = TemplateSeparator(n_iterations=2).separate([image], [LABELS], rms=[rms])
    options = {"rms": rms, "tile_size": 60, **QUIET}
    check_same(whole, separate_mosaic(TemplateSeparator(n_iterations=2), image, LABELS, **options))


@pytest.mark.parametrize("background", [None, "mesh"])
def test_an_rms_map_of_zeros_is_refused(background, tmp_path):
    with pytest.raises(ValueError, match="rms has no positive value"):
        separate_mosaic(
            TemplateSeparator(),
            IMAGE,
            LABELS,
            rms=0 * RMS,
            background=background,
            tile_size=60,
            output=tmp_path / "light.fits",
            **QUIET,
        )
    assert not list(tmp_path.glob("*.fits"))


def test_touching_sources_share_the_number_of_their_blend(tmp_path):
    path = separate_mosaic(
        TemplateSeparator(), IMAGE, LABELS, rms=RMS, output=tmp_path / "light.fits", **QUIET
    )
    table = Table.read(path, hdu="SEPARATED")
    assert table["BLEND"].min() == 1 and len(np.unique(table["BLEND"])) == table["BLEND"].max()
    pieces = label_components(LABELS > 0)
    groups = [pieces[np.nonzero(label == LABELS)][0] for label in table["LABEL"]]
    for first, second in zip(groups, table["BLEND"], strict=True):
        same = np.array(groups) == first
        assert (table["BLEND"][same] == second).all() and same.sum() >= 1
    assert {"Y", "X", "FLUX", "FLUX_ERROR", "BLENDEDNESS"} < set(table.colnames)
    assert "PART" not in table.colnames


def test_sections_add_up_to_the_image(tmp_path):
    path = separate_mosaic(
        TemplateSeparator(),
        IMAGE,
        LABELS,
        rms=RMS,
        output=tmp_path / "light.fits",
        kind="parts",
        **QUIET,
    )
    rows, columns = slice(60, 130), slice(35, 120)
    section = read_separated(path, section=(rows, columns))
    assert section.residual.shape == section.sources.shape == (70, 85)
    np.testing.assert_allclose(section.total() + section.residual, IMAGE[rows, columns], atol=1e-4)
    inside = np.unique(LABELS[rows, columns])
    assert len(section) == np.count_nonzero(inside)
    whole = read_separated(path)
    kept = np.isin(np.unique(LABELS)[1:], inside)
    np.testing.assert_array_equal(section.fluxes, whole.fluxes[kept])
    for words, part in (("no pixel", slice(300, 400)), ("no pixel", slice(5, 5))):
        with pytest.raises(ValueError, match=words):
            read_separated(path, section=(part, columns))


def test_files_without_parts_cannot_be_read_as_parts(tmp_path):
    path = separate_mosaic(
        TemplateSeparator(), IMAGE, LABELS, rms=RMS, output=tmp_path / "light.fits", **QUIET
    )
    with pytest.raises(ValueError, match="no parts"):
        read_separated(path)
    with pytest.raises(ValueError, match="has no table SEPARATED"):
        read_separated(write_label_map(tmp_path / "labels.fits", LABELS))


def test_a_mosaic_without_sources(tmp_path):
    labels = np.zeros(SHAPE, dtype=int)
    separated = separate_mosaic(TemplateSeparator(), IMAGE, labels, tile_size=90, **QUIET)
    assert len(separated) == 0
    np.testing.assert_array_equal(separated.residual, IMAGE.astype(np.float32))
    path = separate_mosaic(
        TemplateSeparator(), IMAGE, labels, output=tmp_path / "a.fits", kind="parts", **QUIET
    )
    assert len(read_separated(path)) == 0


def test_a_blend_too_large_for_a_window_is_divided_in_tiles():
    cell, n = 44, 14
    shape = (n * cell, n * cell)
    image, rms = np.zeros(shape), np.ones(shape)
    labels = np.zeros(shape, dtype=np.int32)
    rng = np.random.default_rng(0)
    for number in range(n * n):
        rows, columns = np.indices((cell, cell)) - cell // 2
        distance = np.hypot(rows - rng.uniform(-6, 6), columns - rng.uniform(-6, 6))
        corner = cell * (number // n), cell * (number % n)
        window = tuple(slice(start, start + cell) for start in corner)
        image[window] = 100 * np.exp(-(distance**2) / rng.uniform(8, 30))
        # Crosses join all galaxies.
        labels[window] = np.where((distance < 8) | (rows == 0) | (columns == 0), number + 1, 0)
    separator = TemplateSeparator(n_iterations=2)
    (whole,) = separator.separate([image], [labels], rms=[rms])
    with pytest.warns(LargeBlendWarning, match=r"1 blend\(s\)"):
        separated = separate_mosaic(separator, image, labels, rms=rms, tile_size=150, **QUIET)
    assert len(separated) == n * n
    error = np.abs(separated.fluxes / whole.fluxes - 1)
    # Which of two fits is better is decided for a whole blend, here for each tile.
    assert np.median(error) < 1e-3 and (error < 0.02).mean() > 0.8
    np.testing.assert_allclose(separated.total() + separated.residual, image, atol=1e-4)


def test_a_killed_run_goes_on(tmp_path):
    for name, array in (("image", IMAGE), ("labels", LABELS), ("rms", RMS)):
        np.save(tmp_path / f"{name}.npy", array)

    def run(kill_at):
        environment = {**os.environ, "KILL_AT": str(kill_at)}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run(8).returncode == -signal.SIGKILL
    assert not (tmp_path / "light.fits").exists()
    finished = run(-1)
    assert finished.returncode == 0, finished.stderr
    n_all = Table.read(tmp_path / "light.fits", hdu="SEPARATED")["BLEND"].max()
    assert 0 < int(finished.stdout) < n_all
    (whole,) = TemplateSeparator().separate([IMAGE], [LABELS], rms=[RMS])
    check_same(whole, read_separated(tmp_path / "light.fits"))
    assert not (tmp_path / ".light.fits.unfinished").exists()


def test_other_arguments_do_not_resume(tmp_path):
    options = {"rms": RMS, "output": tmp_path / "light.fits", "tile_size": 60, **QUIET}
    with pytest.raises(TileError, match=r"this blend is bad.*resume=True"):
        separate_mosaic(Failing(), IMAGE, LABELS, **options)
    with pytest.raises(ValueError, match="another separator"):
        separate_mosaic(Failing(n_iterations=3), IMAGE, LABELS, resume=True, **options)
    with pytest.raises(ValueError, match="another set of sources"):
        separate_mosaic(Failing(), IMAGE, LABELS // 3, resume=True, **options)
    separate_mosaic(TemplateSeparator(), IMAGE, LABELS, **options)


REFUSED = [
    ({"separator": "template"}, TypeError, "separator must be a separator"),
    ({"sources": None}, TypeError, "sources is missing"),
    (
        {"separator": found_by(rms_band=-1)},
        ValueError,
        "SegmentThenSeparate finds its own",
    ),
    ({"sources": np.zeros((9, 9), int)}, ValueError, "sources has shape (9, 9), but the image has"),
    ({"sources": -LABELS}, ValueError, "0 for background"),
    ({"sources": Table({"x": [5.0], "y": [999.0]})}, ValueError, "outside the image"),
    ({"sources": Table({"x": [5.0, 5.2], "y": [9.0, 9.0]})}, ValueError, "within 0.5 pixels"),
    ({"sources": Table({"x": [np.nan], "y": [9.0]})}, ValueError, "outside the image"),
    ({"sources": Table({"x": [5.0]})}, ValueError, "without the column(s) ['y']"),
    ({"rms": np.zeros((5, 5))}, ValueError, "RMS"),
    ({"kind": "all"}, ValueError, "kind must be"),
    ({"kind": "fluxes"}, ValueError, "pass output="),
    ({"background": "flat"}, ValueError, "background must be"),
    ({"tile_size": 0}, ValueError, "tile_size must be a whole number"),
    ({"n_jobs": 0}, ValueError, "n_jobs must be a whole number"),
    ({"resume": True}, ValueError, "resume=True needs output="),
    ({"output": "light.fits.gz"}, ValueError, "output must end in .fits"),
    ({"output": "light.png"}, ValueError, "output must end in .fits"),
    ({"output": "/no/such/folder/light.fits"}, FileNotFoundError, "no folder"),
]


@pytest.mark.parametrize(("changes", "error", "words"), REFUSED)
def test_bad_arguments_are_refused(changes, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"separator": TemplateSeparator(), "sources": LABELS, "rms": RMS} | changes
    separator, sources = arguments.pop("separator"), arguments.pop("sources")
    with pytest.raises(error, match=re.escape(words)):
        separate_mosaic(separator, IMAGE, sources, **arguments, **QUIET)
    assert not list(tmp_path.iterdir())


def test_a_file_says_what_divided_the_light(tmp_path):
    output = tmp_path / "light.fits"
    separator = TemplateSeparator(n_iterations=3, growth=1.25)
    separate_mosaic(separator, IMAGE, LABELS, rms=RMS, output=output, **QUIET)
    header = fits.getheader(output)
    assert header["SEPCLASS"] == "TemplateSeparator"
    assert "growth" in header["SEPPARAM"] and "1.25" in header["SEPPARAM"]
    assert "galaxysegment" in str(header)


@pytest.mark.parametrize("seed", range(5))
def test_a_blend_belongs_to_the_tile_of_its_middle(seed):
    rng = np.random.default_rng(seed)
    shape = (100, 130)
    tiles = [tile for line in cut_tiles(shape, 40, 5) for tile in line]
    low = rng.integers(0, np.array(shape) - 1, (200, 2))
    high = np.minimum(low + rng.integers(1, 60, (200, 2)), shape)
    boxes = np.hstack([low, high])
    for box, index in zip(boxes, _tile_of(boxes, tiles), strict=True):
        core = tiles[index].core
        y, x = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        assert core.y0 <= y < core.y1 and core.x0 <= x < core.x1
