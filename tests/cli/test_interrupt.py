"""Ctrl-C, sent for real: exit status 130, and the best weights in a file named as unfinished."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import galaxysegment
from galaxysegment.cli import _train, main
from galaxysegment.io import Field
from galaxysegment.persistence import load
from galaxysegment.testing import make_images

TINY = ["base_width=2", "depth=2", "max_epochs=100000", "patience=None", "random_state=0"]
# A shell that starts a job in the background has it ignore SIGINT: Python must not inherit that.
RUN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from galaxysegment.cli import main; sys.exit(main())"
)


@pytest.fixture
def field(tmp_path):
    X, y = make_images(1, shape=(64, 64))
    return Field(X[0], rms=np.ones_like(X[0]), labels=y[0]).write(tmp_path / "field.fits")


def train_command(field, output, settings):
    options = [part for setting in settings for part in ("--set", setting)]
    return ["train", str(field), "--patch-size", "32", "--output", str(output), *options]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
def test_ctrl_c_in_training_keeps_the_best_weights(field, tmp_path):
    model = tmp_path / "model.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(Path(galaxysegment.__file__).parents[1])}
    command = [sys.executable, "-c", RUN, *train_command(field, model, TINY)]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        printed = wait_for_epochs(process, 3)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=250)
    printed += rest
    assert process.returncode == 130, printed
    assert not model.exists()
    unfinished = tmp_path / "model.unfinished.safetensors"
    last = printed.strip().splitlines()[-1]
    assert last.startswith("galaxysegment train: interrupted: ") and unfinished.name in last
    segmenter = load(unfinished)
    assert len(segmenter.history_) >= 3
    X, _ = make_images(1, shape=(64, 64))
    proba = segmenter.predict_proba(np.stack([X[0], np.ones_like(X[0])])[None])
    assert np.isfinite(proba).all() and proba.shape == (1, 64, 64)


def wait_for_epochs(process, n_epochs):
    """Read what skorch prints until a table has that many rows."""
    printed, rows, end = "", 0, time.monotonic() + 250
    while rows < n_epochs:
        line = process.stdout.readline()
        printed += line
        rows += line.strip().split(" ")[0].isdigit()
        assert line and time.monotonic() < end, printed
    return printed


@pytest.mark.parametrize("settings", [[], ["weights=vis"]])
def test_an_interrupt_before_the_first_epoch_keeps_nothing(
    field, tmp_path, monkeypatch, capsys, settings
):
    from galaxysegment import UNetSegmenter

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(UNetSegmenter, "fit", interrupt)
    assert main(train_command(field, tmp_path / "model.safetensors", [*TINY, *settings])) == 130
    assert "interrupted: before there was anything to keep" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["field.fits"]


def test_other_commands_say_what_is_left(field, monkeypatch, capsys):
    from galaxysegment.cli import _segment

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_segment, "open_field", interrupt)
    assert main(["segment", str(field)]) == 130
    assert "--resume continues a run in tiles" in capsys.readouterr().err


def test_the_unfinished_model_is_no_input(field, tmp_path, capsys):
    """A training does not write over its field, nor over its own unfinished model."""
    unfinished = _train.unfinished_path(tmp_path / "model.safetensors")
    assert unfinished.name == "model.unfinished.safetensors"
    assert main(train_command(field, field, TINY)) == 1
    assert "is the same file as field" in capsys.readouterr().err
