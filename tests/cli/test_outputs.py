"""No command writes over its inputs, or begins work whose result it could not write."""

import shutil

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.cli import _segment, _simulate, _train, main
from galaxysegment.testing import make_images

X, Y = make_images(n_images=1, shape=(64, 64))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with an image and an RMS map, in which no command gets to work."""
    fits.writeto(tmp_path / "a.fits", X[0])
    fits.writeto(tmp_path / "rms.fits", np.ones_like(X[0]))
    (tmp_path / "link.fits").symlink_to(tmp_path / "a.fits")
    shutil.copy(tmp_path / "a.fits", tmp_path / "model.safetensors")
    (tmp_path / "folder.fits").mkdir()
    monkeypatch.chdir(tmp_path)
    for module, name in ((_segment, "open_field"), (_train, "_fit")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("the work has begun"))
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "segment a.fits --output a.fits --overwrite",
            "--output (a.fits) is the same file as image",
        ),
        (
            "segment a.fits --output ./link.fits --overwrite",
            "(link.fits) is the same file as image",
        ),
        (
            "segment a.fits --catalog a.fits --overwrite",
            "--catalog (a.fits) is the same file as image",
        ),
        (
            "segment a.fits --rms rms.fits --output rms.fits --overwrite",
            "--output (rms.fits) is the same file as --rms (rms.fits)",
        ),
        (
            "segment a.fits --model model.safetensors --catalog model.safetensors --overwrite",
            "is the same file as --model",
        ),
        (
            "segment a.fits --output o.fits --catalog o.fits --overwrite",
            "--catalog (o.fits) is the same file as --output (o.fits)",
        ),
        ("segment a.fits --output o.txt", "--output must end in .fits, .fit, .fts, .fits.gz"),
        ("segment a.fits --picture p.xyz", "--picture must end in "),
        ("segment a.fits --catalog c.txt", "--catalog must end in .fits, "),
        ("segment a.fits --regions r.txt", "--regions must end in .reg"),
        ("segment a.fits --output no/o.fits", "There is no folder no"),
        ("segment a.fits --output folder.fits --overwrite", "folder.fits is a folder"),
        ("segment a.fits --picture rms.fits", "--picture must end in"),
        (
            "segment a.fits --catalog rms.fits",
            "rms.fits exists: choose another name, or pass --overwrite",
        ),
        ("train a.fits --output a.fits --overwrite", "--output (a.fits) is the same file as field"),
        ("train a.fits --output no/m.safetensors", "There is no folder no"),
        ("simulate o.txt", "output must end in .fits"),
        ("simulate no/o.fits", "There is no folder no"),
    ],
)
def test_outputs_are_checked_before_any_work(folder, capsys, monkeypatch, command, words):
    monkeypatch.setattr("galaxysegment.datasets.make_field", lambda *_, **__: pytest.fail("work"))
    before = contents(folder)
    assert main(command.split()) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert contents(folder) == before


def test_a_missing_pyarrow_is_noticed_before_any_work(folder, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert main(["segment", "a.fits", "--catalog", "c.parquet"]) == 1
    assert "pip install pyarrow" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--tile-size=32", "--n-jobs=2", "--resume"])
def test_a_map_in_tiles_is_not_packed(tmp_path, capsys, option):
    fits.writeto(tmp_path / "a.fits", X[0])
    output = tmp_path / "o.fits.gz"
    assert main(["segment", str(tmp_path / "a.fits"), "--output", str(output), option]) == 1
    assert "--output must end in .fits or .fits.fz if the work is done" in capsys.readouterr().err


def test_a_streamed_field_is_not_packed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_simulate, "_LARGEST_SIDE", 100)
    assert main(["simulate", str(tmp_path / "o.fits.gz"), "--shape", "150", "160"]) == 1
    assert "output must end in .fits." in capsys.readouterr().err


def test_what_is_measured_needs_a_catalog(folder, capsys):
    assert main(["segment", "a.fits", "--measure", "kron"]) == 1
    assert "pass --catalog too" in capsys.readouterr().err
