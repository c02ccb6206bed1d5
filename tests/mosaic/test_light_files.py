"""Separated light of a mosaic: what the file holds, what is kept, what is refused, who is warned.

The separators here are cheap: what they do to a blend does not matter, but it must be the same.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from galaxysegment import Instances
from galaxysegment.exceptions import LargeBlendWarning
from galaxysegment.io import read_separated
from galaxysegment.io._windows import open_pixels
from galaxysegment.mosaic import TileError, _light_output, _light_run, _light_work, separate_mosaic
from galaxysegment.mosaic._light_output import LightTable, _cards, check_light_space
from galaxysegment.mosaic._light_run import LightRun
from galaxysegment.mosaic._run import work_path
from galaxysegment.preprocessing import BackgroundSubtractor
from galaxysegment.separation import BaseSeparator
from galaxysegment.structures import label_components

SHAPE = (70, 90)
QUIET = {"progress": False}


class Bells(BaseSeparator):
    """A Gaussian around each centre, and one more source beside the brightest of each blend."""

    calls = 0
    event = None  # what happens at a call

    def __init__(self, *, growth=1.0, masks="given", companions=False):
        self.growth, self.masks, self.companions = growth, masks, companions

    def _complete(self, scene):
        if not self.companions:
            return scene
        centres = np.concatenate([scene.centres, scene.centres[:1] + 0.25])
        boxes = np.concatenate([scene.boxes, scene.boxes[:1]])
        return replace(scene, centres=centres, boxes=boxes, freedom=np.zeros(len(boxes)))

    def _templates(self, scene):
        Bells.calls += 1
        if Bells.event is not None:
            Bells.event(Bells.calls)
        bells = []
        for (y, x), (y0, x0, y1, x1) in zip(scene.centres, scene.boxes, strict=True):
            rows, columns = np.ogrid[y0:y1, x0:x1]
            bell = 20 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6)
            bells.append(np.stack([bell * (1 + band) for band in range(len(scene.image))]))
        return bells


@pytest.fixture(autouse=True)
def nothing_happens(monkeypatch):
    monkeypatch.setattr(Bells, "calls", 0)
    monkeypatch.setattr(Bells, "event", None)


def a_field(n_bands=1):
    rng = np.random.default_rng(0)
    rows, columns = np.indices(SHAPE)
    image, masks, places = np.zeros(SHAPE), [], []
    for y, x in rng.uniform(-0.4, np.array(SHAPE) - 0.6, (14, 2)):
        light = 30 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / rng.uniform(4, 12))
        image += light
        masks.append(light > 3)
        places.append((y, x))
    order = np.argsort([np.flatnonzero(mask)[0] for mask in masks])[::-1]
    bands = [(1 + band) * image + rng.normal(0, 0.3, SHAPE) for band in range(n_bands)]
    image = bands[0] if n_bands == 1 else np.stack(bands)
    masks = [masks[index] for index in order]
    return image, masks, np.array(places)


IMAGE, MASKS, PLACES = a_field()
BANDS = a_field(3)[0]
RMS = np.full(SHAPE, 0.5)
INSTANCES = Instances.from_masks(MASKS, np.linspace(0.1, 0.9, 14), 1 + np.arange(14) % 2)
LABELS = 5 * INSTANCES.to_label_map() + 2 * (INSTANCES.to_label_map() > 0)
TABLE = Table(PLACES, names=("y", "x"))
SOURCES = {"labels": LABELS, "instances": INSTANCES, "places": TABLE}


def check_same(first, second):
    for name in ("boxes", "residual", "fluxes", "flux_errors", "blendedness"):
        values = getattr(first, name), getattr(second, name)
        np.testing.assert_array_equal(*values, err_msg=name)
    for mine, its in zip(first.parts, second.parts, strict=True):
        np.testing.assert_array_equal(mine, its)
    assert first.sources == second.sources


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
    monkeypatch.setattr(_light_run, "_BLOCK", block)
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


# ---- what goes wrong ----


def stop_at(number):
    def stop(call):
        if call == number:
            raise ValueError("this blend is bad")

    return staticmethod(stop)


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    """A run that stopped at its fifth blend, by the arguments that go on with it."""
    options = {"rms": RMS, "output": tmp_path / "light.fits", "tile_size": 30, "kind": "parts"}
    monkeypatch.setattr(Bells, "event", stop_at(5))
    words = r"Dividing the light of sources \(sources at rows .*\) failed: ValueError: this blend "
    words += r"is bad\. .*light.fits was not touched\. \d of \d pieces are finished and kept in "
    with pytest.raises(TileError, match=words):
        separate_mosaic(Bells(), IMAGE, LABELS, **options, **QUIET)
    monkeypatch.setattr(Bells, "event", None)
    return options


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"tile_size": 31}, "tile_size"),
        ({"kind": "fluxes"}, "kind"),
        ({"background": "mesh"}, "background"),
        ({"separator": Bells(growth=1.5)}, "separator"),
        ({"image": 2 * IMAGE}, "image"),
        ({"rms": 2 * RMS}, "image"),
        ({"sources": LABELS[::-1]}, "set of sources"),
        ({"sources": TABLE}, "set of sources"),
    ],
    ids=["tile_size", "kind", "background", "separator", "image", "rms", "labels", "places"],
)
def test_a_run_with_other_arguments_is_another_run(unfinished, changes, name):
    arguments = {"separator": Bells(), "image": IMAGE, "sources": LABELS} | unfinished | changes
    first = [arguments.pop(key) for key in ("separator", "image", "sources")]
    with pytest.raises(ValueError, match=f"had another {name}: give the same arguments"):
        separate_mosaic(*first, resume=True, **arguments, **QUIET)
    assert not unfinished["output"].exists()
    separate_mosaic(*first, **arguments, **QUIET)
    assert unfinished["output"].exists() and not work_path(unfinished["output"]).exists()


def test_another_label_map_in_the_same_file_is_another_run(tmp_path, monkeypatch):
    """Same name, same size, same header, other labels."""
    path = tmp_path / "labels.fits"
    fits.PrimaryHDU(LABELS.astype(np.int32)).writeto(path)
    monkeypatch.setattr(Bells, "event", stop_at(5))
    options = {"rms": RMS, "output": tmp_path / "light.fits", "tile_size": 30, **QUIET}
    with pytest.raises(TileError, match="this blend is bad"):
        separate_mosaic(Bells(), IMAGE, path, **options)
    with fits.open(path, mode="update") as opened:
        opened[0].data[:] = opened[0].data[::-1].copy()
    with pytest.raises(ValueError, match="had another set of sources: give"):
        separate_mosaic(Bells(), IMAGE, path, resume=True, **options)


def test_the_same_run_goes_on_where_it_was(unfinished):
    pieces = list(work_path(unfinished["output"]).glob("piece*.record"))
    assert pieces and list(work_path(unfinished["output"]).glob("survey-tile*.record"))
    Bells.calls = 0
    separate_mosaic(Bells(), IMAGE, LABELS, resume=True, **unfinished, **QUIET)
    n_left = Bells.calls
    Bells.calls = 0
    (whole,) = Bells().separate([IMAGE], [LABELS], rms=[RMS])
    assert 0 < n_left < Bells.calls
    check_same(read_separated(unfinished["output"]), whole)


@pytest.mark.parametrize("kind", ["fluxes", "parts"])
@pytest.mark.parametrize("step", ["begin", "write_table", "finish", "reserve_space"])
def test_a_file_that_cannot_be_written_leaves_the_pieces(tmp_path, monkeypatch, step, kind):
    options = {"rms": RMS, "output": tmp_path / "light.fits", "tile_size": 40, "kind": kind}

    def fail(*arguments, **keywords):
        raise OSError("No space left.")

    if step == "reserve_space" and kind == "fluxes":
        return
    owner = _light_output if step == "reserve_space" else _light_output.LightFile
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, fail)
        words = r"The file cannot be written: No space left\. .*light.fits was not touched\. 6 of 6"
        with pytest.raises(TileError, match=words + " tiles are finished and kept .*resume=True"):
            separate_mosaic(Bells(), IMAGE, LABELS, **options, **QUIET)
    left = work_path(options["output"])
    assert not list(left.glob("*.fits")) and list(left.glob("piece*.record"))
    Bells.calls = 0
    separate_mosaic(Bells(), IMAGE, LABELS, resume=True, **options, **QUIET)
    assert Bells.calls == 0 and [path.name for path in tmp_path.iterdir()] == ["light.fits"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sample_sky", r"Estimating the noise in a tile \(tile 0, rows 0:35, columns 0:30\)"),
        ("group_sources", r"Looking for sources that touch in a tile \(tile 0, rows 0:35, "),
        ("divide", r"Dividing the light of sources \(sources at rows "),
    ],
)
def test_an_error_says_what_failed_and_where(monkeypatch, name, words):
    def fail(*arguments):
        raise ValueError("what it was.")

    monkeypatch.setattr(_light_work, name, fail)
    with pytest.raises(TileError, match=words + r".* failed: ValueError: what it was\. Nothing"):
        separate_mosaic(Bells(), IMAGE, LABELS, tile_size=40, **QUIET)


@pytest.mark.parametrize("what", ["image", "labels"])
@pytest.mark.parametrize("to_file", [True, False])
def test_inputs_that_change_during_the_run_are_an_error(tmp_path, monkeypatch, what, to_file):
    paths = {"image": tmp_path / "image.fits", "labels": tmp_path / "labels.fits"}
    fits.PrimaryHDU(IMAGE).writeto(paths["image"])
    fits.PrimaryHDU(LABELS.astype(np.int32)).writeto(paths["labels"])

    def replace_file(call):
        if call == 2:
            status, data = paths[what].stat(), fits.getdata(paths[what])
            fits.PrimaryHDU(data[::-1].copy()).writeto(paths[what], overwrite=True)
            os.utime(paths[what], ns=(status.st_atime_ns, status.st_mtime_ns))

    monkeypatch.setattr(Bells, "event", staticmethod(replace_file))
    options = {"tile_size": 40, **QUIET}
    output = tmp_path / "light.fits" if to_file else None
    with pytest.raises(TileError, match="changed while it was separated: no file was written"):
        separate_mosaic(Bells(), *paths.values(), output=output, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.fits", "labels.fits"]


def test_an_output_that_appears_during_the_run_is_not_replaced(tmp_path, monkeypatch):
    output = tmp_path / "light.fits"
    monkeypatch.setattr(Bells, "event", staticmethod(lambda _: output.write_text("precious")))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        separate_mosaic(Bells(), IMAGE, LABELS, rms=RMS, output=output, **QUIET)
    assert output.read_text() == "precious"
    separate_mosaic(
        Bells(), IMAGE, LABELS, rms=RMS, output=output, overwrite=True, resume=True, **QUIET
    )
    assert len(Table.read(output, hdu="SEPARATED")) == len(np.unique(LABELS)) - 1


def test_a_defect_of_ours_is_no_change_of_the_inputs(monkeypatch):
    def fail(*arguments):
        raise ValueError("a defect")

    monkeypatch.setattr(_light_run, "in_memory", fail)
    with pytest.raises(ValueError, match="a defect"):
        separate_mosaic(Bells(), IMAGE, LABELS, rms=RMS, **QUIET)


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
            windows.extend(window for window, _ in items)
        return each(run, work, noun, items, *rest)

    monkeypatch.setattr(LightRun, "_each", watch)
    separate_mosaic(Bells(), IMAGE, LABELS, rms=RMS, background="mesh", tile_size=30, **QUIET)
    rows = [row for window in windows for row in range(window.y0, window.y1)]
    assert sorted(rows) == list(range(len(IMAGE)))
    assert {(window.x0, window.x1) for window in windows} == {(0, IMAGE.shape[1])}
