"""Separated light of a mosaic: what the file holds, what is kept, what is refused, who is warned.

The separators here are cheap: what they do to a blend does not matter, but it must be the same.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from galaxysegment.detection import _sky_between
from galaxysegment.exceptions import LargeBlendWarning
from galaxysegment.io import read_separated
from galaxysegment.io._windows import open_pixels
from galaxysegment.mosaic import _light_run, separate_mosaic
from galaxysegment.mosaic._light_output import LightTable, _cards, check_light_space
from galaxysegment.mosaic._light_run import LightRun
from galaxysegment.preprocessing import BackgroundSubtractor
from galaxysegment.structures import label_components
from tests.mosaic.bells import (
    BANDS,
    IMAGE,
    INSTANCES,
    LABELS,
    MASKS,
    PLACES,
    QUIET,
    RMS,
    SHAPE,
    SOURCES,
    Bells,
)
from tests.mosaic.light_scene import check_same

pytestmark = pytest.mark.usefixtures("fresh_bells")

# ---- what a file holds ----


def blends_of(light, masks):
    """Number of each source's blend, in the order of their first pixels."""
    pieces = label_components(np.any(masks, axis=0), connectivity=8)
    given = [pieces[mask] for mask in masks]
    for labels in given:  # masks of several pieces join them
        for label in np.unique(labels):
            pieces[pieces == label] = labels[0]
    blends = np.array([pieces[mask][0] for mask in masks])
    first = {blend: np.flatnonzero(pieces == blend)[0] for blend in blends}
    order = sorted(first, key=first.get)
    return np.array([order.index(blend) + 1 for blend in blends])


@pytest.mark.parametrize("image", [IMAGE, BANDS], ids=["one band", "three bands"])
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("masks", ["given", "light"])
def test_every_column_of_the_file_is_that_of_the_result(tmp_path, image, name, masks):
    separator, sources = Bells(companions=True, masks=masks), SOURCES[name]
    options = {"rms": RMS, "tile_size": 40, **QUIET}
    light = separate_mosaic(separator, image, sources, **options)
    rms = np.broadcast_to(RMS, image.shape)
    (whole,) = separator.separate([image], [sources], rms=[rms])
    check_same(light, whole)
    files = {
        kind: separate_mosaic(
            separator, image, sources, output=tmp_path / f"{kind}.fits", kind=kind, **options
        )
        for kind in ("parts", "fluxes")
    }
    n_given = len(np.unique(LABELS)) - 1 if name == "labels" else 14
    n_bands, n = 1 if image.ndim == 2 else 3, len(light)
    assert n > n_given
    for kind, path in files.items():
        assert path.stat().st_size % 2880 == 0
        with fits.open(path) as opened:
            opened.verify("exception")
            names = [hdu.name for hdu in opened]
            assert names == ["PRIMARY", *(["RESIDUAL"] if kind == "parts" else []), "SEPARATED"]
            header = opened["SEPARATED"].header
            assert (header["HEIGHT"], header["WIDTH"], header["NBANDS"]) == (*SHAPE, n_bands)
            if kind == "parts":
                np.testing.assert_array_equal(opened["RESIDUAL"].data, light.residual)
        table = Table.read(path, hdu="SEPARATED")
        columns = [table[f"{axis}{end}"] for end in (0, 1) for axis in "YX"]
        np.testing.assert_array_equal(np.transpose(columns), light.boxes)
        for column, values in (
            ("FLUX", light.fluxes),
            ("FLUX_ERROR", light.flux_errors),
            ("BLENDEDNESS", light.blendedness),
        ):
            np.testing.assert_array_equal(table[column], values)
        labels = np.unique(LABELS)[1:] if name == "labels" else 1 + np.arange(n_given)
        new = labels[-1] + np.arange(1, n - n_given + 1)
        assert table["LABEL"].tolist() == [*labels, *new]
        assert all(
            y0 - 1 <= y <= y1 and x0 - 1 <= x <= x1
            for y, x, y0, x0, y1, x1 in zip(table["Y"], table["X"], *light.boxes.T, strict=True)
        )
        if name == "places":
            np.testing.assert_allclose(np.transpose([table["Y"], table["X"]])[:14], PLACES)
        check_blends(table, light, name, n_given)
        if kind == "fluxes":
            assert "PART" not in table.colnames and "SCORE" not in table.colnames
            continue
        check_same(read_separated(path), light)
        np.testing.assert_array_equal(table["SCORE"], light.sources.scores)
        has_classes = light.sources.classes is not None
        assert has_classes == (name == "instances")
        assert table["CLASS"].tolist() == (
            light.sources.classes.tolist() if has_classes else [-1] * n
        )
        columns = [table[f"MASK_{axis}{end}"] for end in (0, 1) for axis in "YX"]
        np.testing.assert_array_equal(np.transpose(columns), light.sources.boxes)
        for index in (0, n // 2, n - 1):
            np.testing.assert_array_equal(table["PART"][index], light.parts[index].ravel())
            packed = np.packbits(light.sources.crops[index])
            np.testing.assert_array_equal(table["MASK"][index], packed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fluxes.fits", "parts.fits"]


def check_blends(table, light, name, n_given):
    """Blends are counted from 1 in the order of their first pixels; companions belong to one."""
    numbers = np.array(table["BLEND"])
    assert np.unique(numbers).tolist() == list(range(1, numbers.max() + 1))
    # One companion a blend, in the order of the blends.
    assert numbers[n_given:].tolist() == list(range(1, numbers.max() + 1))
    if name != "places":
        labels = np.unique(LABELS)[1:]
        given = [label == LABELS for label in labels] if name == "labels" else MASKS
        np.testing.assert_array_equal(numbers[:n_given], blends_of(light, given))
    for index, number in enumerate(numbers[n_given:], start=n_given):
        same = np.flatnonzero(numbers[:n_given] == number)
        beside = np.hypot(
            table["Y"][same] - table["Y"][index], table["X"][same] - table["X"][index]
        )
        assert beside.min() == pytest.approx(0.25 * np.sqrt(2))


@pytest.mark.parametrize("seed", range(20))
def test_sources_come_in_their_order_and_companions_in_that_of_the_blends(seed):
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(90, 12, replace=False))
    groups = rng.integers(0, 5, 12)
    groups = np.unique(groups, return_inverse=True)[1]
    first_of_group = rng.choice(500, groups.max() + 1, replace=False)
    first = first_of_group[groups]
    piece_of_group = rng.integers(0, 3, groups.max() + 1)
    records, rows = [], []
    for piece in range(3):
        own = [
            (int(ids[k]), int(ids[np.flatnonzero(groups == groups[k])[0]]), int(first[k]))
            for k in rng.permutation(12)
            if piece_of_group[groups[k]] == piece
        ]
        leads = sorted({(lead, pixel) for _, lead, pixel in own})
        own += [(-1, lead, pixel) for lead, pixel in leads for _ in range(rng.integers(0, 3))]
        flux = rng.random(len(own))
        records.append(
            {
                "ids": np.array([entry[0] for entry in own], dtype=np.int64),
                "lead": np.array([entry[1] for entry in own], dtype=np.int64),
                "fluxes": flux,
            }
        )
        rows += [
            (entry[0] < 0, entry[0] if entry[0] >= 0 else entry[2], piece, row, entry[2], flux[row])
            for row, entry in enumerate(own)
        ]
    table = LightTable(records, ids, groups, first)
    expected = sorted(rows, key=lambda row: row[:4])
    assert len(table) == len(rows)
    assert table.piece.tolist() == [row[2] for row in expected]
    assert table.row.tolist() == [row[3] for row in expected]
    np.testing.assert_array_equal(table.column("fluxes"), [row[5] for row in expected])
    pixels = sorted({row[4] for row in rows})
    assert table.blends.tolist() == [pixels.index(row[4]) + 1 for row in expected]
    np.testing.assert_array_equal(table.column("fluxes")[table.rank], [row[5] for row in rows])


def test_the_residual_has_the_sky_and_the_unit_of_the_image(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (150, 2)
    wcs.wcs.cdelt = -1e-4, 1e-4
    header = wcs.to_header()
    header["BUNIT"], header["OBJECT"] = "nJy", "field"
    for shape, axes in ((SHAPE, 2), ((3, *SHAPE), None)):
        cards = _cards(header, shape)
        assert cards.get("WCSAXES") == axes and cards["BUNIT"] == "nJy"
        del header["WCSAXES"]
        assert "WCSAXES" not in _cards(header, shape)
        header["WCSAXES"] = 2
    paths = [tmp_path / f"{band}.fits" for band in range(3)]
    for path, band in zip(paths, BANDS.astype(np.float32), strict=True):
        fits.PrimaryHDU(band, header).writeto(path)
    path = separate_mosaic(
        Bells(), paths, LABELS, rms=False, output=tmp_path / "a.fits", kind="parts", **QUIET
    )
    with fits.open(path) as opened:
        opened.verify("exception")
        residual = opened["RESIDUAL"]
        assert residual.data.shape == (3, *SHAPE) and residual.header["OBJECT"] == "field"
        assert residual.header["BITPIX"] == -32
        places = WCS(residual.header).celestial.all_pix2world([[3, 4]], 0)
        np.testing.assert_allclose(places, wcs.all_pix2world([[3, 4]], 0))
        primary = opened[0].header
        assert (
            primary["SEPCLASS"] == "Bells" and "DATE" not in primary and "SEGCLASS" not in primary
        )
        assert json.loads(primary["SEPPARAM"])["growth"] == 1.0


@pytest.mark.parametrize(
    ("n_bands", "with_parts", "free", "is_refused"),
    [
        (1, True, 12 * 600 - 1, True),
        (1, True, 12 * 600, False),
        (2, True, 24 * 600 - 1, True),
        (2, True, 24 * 600, False),
        (2, False, 0, False),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    tmp_path, monkeypatch, n_bands, with_parts, free, is_refused
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    if is_refused:
        with pytest.raises(OSError, match=r"take about 1 GB, but the disk of .* has 0\.0 GB left"):
            check_light_space(tmp_path, (20, 30), n_bands, with_parts=with_parts)
    else:
        check_light_space(tmp_path, (20, 30), n_bands, with_parts=with_parts)


def test_a_disk_that_is_too_small_shows_before_any_work(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=1000)
    )
    output = tmp_path / "light.fits"
    with pytest.raises(OSError, match=r"make room, choose another output, or take kind='fluxes'"):
        separate_mosaic(Bells(), BANDS, LABELS, rms=RMS, output=output, kind="parts", **QUIET)
    assert asked == [tmp_path.resolve()] and Bells.calls == 0 and not list(tmp_path.iterdir())
    separate_mosaic(Bells(), BANDS, LABELS, rms=RMS, output=output, **QUIET)


# ---- background and noise ----


@pytest.mark.parametrize("image", [IMAGE, BANDS], ids=["one band", "three bands"])
@pytest.mark.parametrize("name", ["labels", "places"])
@pytest.mark.parametrize("block", [1, 9000, 1 << 22])
def test_background_and_noise_are_those_of_the_mosaic_however_it_is_cut(
    monkeypatch, image, name, block
):
    sky = 3 + 0.02 * np.arange(SHAPE[1])
    options = {"background": "mesh", **QUIET}
    whole = separate_mosaic(Bells(), image + sky, SOURCES[name], **options)
    monkeypatch.setattr(_sky_between, "_BLOCK", block)
    tiled = separate_mosaic(Bells(), image + sky, SOURCES[name], tile_size=33, **options)
    check_same(tiled, whole)
    assert abs(np.median(whole.residual[..., LABELS == 0])) < 0.2
    plain = separate_mosaic(Bells(), image, SOURCES[name], tile_size=33, **QUIET)
    check_same(plain, Bells().separate([image], [SOURCES[name]])[0])


def test_the_background_is_taken_off_before_the_noise_is_estimated():
    """A steep sky outside the sources would be taken for noise."""
    sky = np.linspace(0, 40, SHAPE[1])
    flat = BackgroundSubtractor().fit_transform([IMAGE + sky])[0][LABELS == 0]
    expected = 1.4826 * np.median(np.abs(flat - np.median(flat)))
    run = _light_run.LightRun(
        Bells(),
        open_pixels(IMAGE + sky, None),
        _light_run.LabelSources(LABELS),
        None,
        kind="parts",
        background="mesh",
        tile_size=30,
        n_jobs=1,
        progress=False,
        resume=False,
        overwrite=False,
    )
    run.execute()
    np.testing.assert_allclose(run.levels, [expected], rtol=1e-5)


def test_workers_give_the_same_in_memory_and_in_files(tmp_path):
    options = {"background": "mesh", "tile_size": 40, **QUIET}
    separator = Bells(companions=True)
    alone = separate_mosaic(separator, BANDS + 5, INSTANCES, **options)
    check_same(separate_mosaic(separator, BANDS + 5, INSTANCES, n_jobs=2, **options), alone)
    paths = []
    for n_jobs in (1, 2):
        output = tmp_path / f"{n_jobs}.fits"
        options |= {"output": output, "kind": "parts", "n_jobs": n_jobs}
        paths.append(separate_mosaic(separator, BANDS + 5, LABELS, **options))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.fits", "2.fits"]


@pytest.mark.parametrize("kind", ["fluxes", "parts"])
def test_progress_tells_what_is_done(tmp_path, capsys, kind):
    output = tmp_path / "light.fits"
    separate_mosaic(
        Bells(), IMAGE, LABELS, output=output, kind=kind, background="mesh", tile_size=40
    )
    shown = capsys.readouterr().err
    for name in ("background", "sky-tile", "survey-tile", "piece"):
        assert f"{name}: 100%" in shown and f"{name}/s" in shown
    assert "survey-tile: 100%" in shown and "6/6" in shown
    assert ("residual: 100%" in shown) == (kind == "parts")


# ---- blends that are too large ----


@pytest.mark.parametrize("companions", [False, True])
def test_a_blend_too_large_for_a_window_is_divided_tile_by_tile(companions):
    """The caller is warned; every source is divided once, and all light is there."""
    labels = np.zeros((300, 300), dtype=int)
    labels[2:298, 3], labels[150, 4:297], labels[148:153, 293:299] = 4, 7, 9
    labels[40:44, 200:204] = 12  # not part of it
    image = np.random.default_rng(0).normal(0, 1, labels.shape) + 9 * (labels > 0)
    options = {"rms": np.ones(labels.shape), "tile_size": 16, **QUIET}
    separator = Bells(companions=companions)
    with pytest.warns(LargeBlendWarning) as caught:
        light = separate_mosaic(separator, image, labels, **options)
    (warning,) = caught
    assert str(warning.message).startswith(
        "1 blend(s) of touching sources take more than 82944 pixels: "
    )
    assert Path(warning.filename).samefile(__file__)
    np.testing.assert_allclose(light.total() + light.residual, image, atol=1e-4)
    np.testing.assert_array_equal(light.sources.boxes[:4, 0], [2, 150, 148, 40])
    if not companions:
        assert len(light) == 4
        return
    corners = {tuple(box) for box in light.boxes[4:].tolist()}
    assert len(light) > 4 and len(corners) == len(light) - 4


def test_the_background_is_measured_on_every_row_once(monkeypatch):
    windows, each = [], LightRun._each

    def watch(run, work, noun, items, *rest):
        if noun == "background":
            windows.extend(window for (window,) in items)
        return each(run, work, noun, items, *rest)

    monkeypatch.setattr(LightRun, "_each", watch)
    separate_mosaic(Bells(), IMAGE, LABELS, rms=RMS, background="mesh", tile_size=30, **QUIET)
    rows = [row for window in windows for row in range(window.y0, window.y1)]
    assert sorted(rows) == list(range(len(IMAGE)))
    assert {(window.x0, window.x1) for window in windows} == {(0, IMAGE.shape[1])}
