"""What becomes of separated light if a run of a mosaic stops, or its inputs change."""

import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from galaxysegment.io import read_separated
from galaxysegment.mosaic import TileError, _light_output, _light_run, _light_work, separate_mosaic
from galaxysegment.mosaic._run import work_path
from tests.mosaic.bells import (
    IMAGE,
    LABELS,
    QUIET,
    RMS,
    TABLE,
    Bells,
)
from tests.mosaic.light_scene import check_same

pytestmark = pytest.mark.usefixtures("fresh_bells")


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
