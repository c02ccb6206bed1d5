import json
import os
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from galaxysegment.cli import main
from galaxysegment.cli._evaluate import evaluate
from galaxysegment.testing import make_images

X, Y = make_images(n_images=1, shape=(64, 64))


@pytest.fixture
def image(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = (
        ["RA---TAN", "DEC--TAN"],
        [150.0, 2.0],
        [-1e-4, 1e-4],
    )
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(X[0], wcs.to_header()).writeto(path)
    return path


def test_segment_writes_a_label_map_with_wcs_and_provenance(image, tmp_path, capsys):
    picture = tmp_path / "picture.png"
    assert (
        main(
            [
                "segment",
                str(image),
                "--set",
                "n_sigma=3",
                "--set",
                "box_size=32",
                "--picture",
                str(picture),
            ]
        )
        == 0
    )
    path = tmp_path / "image_segmentation.fits"
    with fits.open(path) as hdus:
        labels, header = hdus[0].data, hdus[0].header
    assert f"{labels.max()} sources" in capsys.readouterr().out and labels.max() >= 3
    assert WCS(header).wcs.crval.tolist() == [150.0, 2.0]
    assert "PhotutilsSegmenter" in repr(header)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_segment_uses_the_rms_map(image, tmp_path):
    rms = tmp_path / "rms.fits"
    noise = np.ones_like(X[0])
    noise[:, 24:] = 1e6
    fits.PrimaryHDU(noise).writeto(rms)
    output = tmp_path / "labels.fits"
    assert (
        main(
            ["segment", str(image), "--rms", str(rms), "--rms-kind", "rms", "--output", str(output)]
        )
        == 0
    )
    labels = fits.getdata(output)
    assert labels[:, :24].any() and not labels[:, 24:].any()


def test_segment_takes_the_rms_extension_for_what_it_is(tmp_path):
    """An RMS map in the image's own file is no second image."""
    noise = np.where(np.arange(64) < 24, 1, 1e6) * np.ones((64, 1))
    path = tmp_path / "both.fits"
    fits.HDUList(
        [fits.PrimaryHDU(X[0]), fits.ImageHDU(noise.astype(np.float32), name="RMS")]
    ).writeto(path)
    assert main(["segment", str(path)]) == 0
    labels = fits.getdata(tmp_path / "both_segmentation.fits")
    assert labels[:, :24].any() and not labels[:, 24:].any()


def test_segment_with_weights_that_ship_and_with_a_model(image, tmp_path, capsys):
    from galaxysegment import RandomForestSegmenter
    from galaxysegment.persistence import save

    first, second, model = (
        tmp_path / name for name in ("unet.fits", "forest.fits", "forest.safetensors")
    )
    assert (
        main(
            [
                "segment",
                str(image),
                "--method",
                "unet",
                "--output",
                str(first),
            ]
        )
        == 0
    )
    assert "the net 'vis' that ships" in capsys.readouterr().out
    assert (fits.getdata(first) > 0)[Y[0] > 0].mean() > 0.5
    assert '"weights": "vis"' in repr(fits.getheader(first))
    save(RandomForestSegmenter(n_estimators=5, random_state=0).fit(X, Y), model)
    assert main(["segment", str(image), "--model", str(model), "--output", str(second)]) == 0
    assert (fits.getdata(second) > 0)[Y[0] > 0].mean() > 0.5
    assert (
        main(["segment", str(image), "--model", str(model), "--set", "n_pixels=3", "--overwrite"])
        == 1
    )
    assert "one of the two" in capsys.readouterr().err


def test_segment_by_clustering(image, tmp_path):
    output = tmp_path / "labels.fits"
    assert main(["segment", str(image), "--method", "kmeans", "--output", str(output)]) == 0
    assert (fits.getdata(output) > 0)[Y[0] > 0].mean() > 0.2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["segment", "nowhere.fits"], "nowhere.fits"),
        (["segment", "IMAGE", "--method", "magic"], "photutils"),
        (["segment", "IMAGE", "--method", "detr"], "train FIELD --method detr --output FILE"),
        (["segment", "IMAGE", "--method", "randomforest"], "--model FILE."),
        (["segment", "IMAGE", "--set", "n_sigm=3"], "Did you mean n_sigma?"),
        (["segment", "IMAGE", "--rgb", "1", "1", "1"], "pass --picture too"),
        (["segment", "IMAGE", "--rms", "IMAGE"], "pass --rms-hdu the one to read"),
        (["segment", "IMAGE", "--rms", "OTHER"], "--rms-kind auto cannot tell"),
        (["evaluate", "IMAGE", "IMAGE", "--truth-hdu", "X"], "no HDU 'X'"),
        (["segment", "IMAGE", "--set", "sigma=3"], "n_sigma"),
        (["segment", "IMAGE", "--set", "n_sigma=-1"], "n_sigma"),
        (["segment", "IMAGE", "--hdu", "SCI"], "SCI"),
        (["evaluate", "IMAGE", "IMAGE"], "whole numbers"),
    ],
)
def test_errors_are_one_clear_line(arguments, words, image, capsys):
    fits.PrimaryHDU(X[0]).writeto(image.with_name("other.fits"))
    paths = {"IMAGE": str(image), "OTHER": str(image.with_name("other.fits"))}
    assert main([paths.get(argument, argument) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert {path.name for path in image.parent.iterdir()} == {"image.fits", "other.fits"}


def test_files_are_not_replaced_unasked(image, tmp_path, capsys):
    output = tmp_path / "labels.fits"
    output.write_text("precious")
    assert main(["segment", str(image), "--output", str(output)]) == 1
    assert "--overwrite" in capsys.readouterr().err and output.read_text() == "precious"
    assert (
        main(
            ["segment", str(image), "--output", str(output), "--overwrite", "--set", "box_size=32"]
        )
        == 0
    )


def test_evaluate_prints_scores(tmp_path, capsys):
    for name, labels in (("truth", Y[0]), ("found", np.where(Y[0] == 2, 0, Y[0]))):
        fits.PrimaryHDU(labels).writeto(tmp_path / f"{name}.fits")
    arguments = ["evaluate", str(tmp_path / "truth.fits"), str(tmp_path / "found.fits")]
    assert main([*arguments, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == pytest.approx(evaluate(Y[0], np.where(Y[0] == 2, 0, Y[0])))
    assert scores["source_recall"] == pytest.approx(2 / 3) and scores["source_precision"] == 1
    fits.PrimaryHDU(Y[0][1:]).writeto(tmp_path / "cut.fits")
    assert main(["evaluate", str(tmp_path / "truth.fits"), str(tmp_path / "cut.fits")]) == 1
    assert "The prediction has shape (" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "source_recall" in capsys.readouterr().out


def test_simulate_writes_a_field(tmp_path, capsys):
    path = tmp_path / "field.fits"
    assert main(["simulate", str(path), "--shape", "128", "96", "--seed", "3"]) == 0
    from galaxysegment.io import read_field

    field = read_field(path)
    assert field.shape[-2:] == (128, 96) and field.labels.max() > 0
    assert main(["simulate", str(path), "--shape", "128", "96"]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_train_then_segment(tmp_path, capsys):
    field, model, labels = (
        tmp_path / name for name in ("field.fits", "model.safetensors", "labels.fits")
    )
    assert main(["simulate", str(field), "--shape", "128", "128", "--seed", "1"]) == 0
    train = [
        "train",
        str(field),
        "--method",
        "randomforest",
        "--set",
        "n_estimators=5",
        "--patch-size",
        "64",
    ]
    assert main([*train, "--output", str(model)]) == 0
    assert "4 patches of 64 x 64" in capsys.readouterr().out
    assert main(["segment", str(field), "--model", str(model), "--output", str(labels)]) == 0
    assert fits.getdata(labels).max() > 0
    assert main([*train, "--output", str(model)]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_train_needs_a_truth(image, tmp_path, capsys):
    assert main(["train", str(image), "--output", str(tmp_path / "model")]) == 1
    assert "no truth" in capsys.readouterr().err


def test_demo_prints_the_table_and_writes_both_files(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path), "--patch-size", "256", "--folds", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("liberator_log_rms") == 2 and "accuracy" in printed
    header = fits.getheader(tmp_path / "segmentation.fits")
    assert WCS(header).has_celestial
    assert (tmp_path / "segmentation.png").stat().st_size > 10_000


def test_the_command_is_installed():
    done = subprocess.run(
        [sys.executable, "-m", "galaxysegment", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("galaxysegment ")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Windows say something else")
def test_a_reader_that_has_enough_is_no_error():
    """As `galaxysegment methods | head -1`; the pipe is closed before anything is printed."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "galaxysegment", "methods"]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(("argv", "is_frozen"), [("", True), ("['methods']", False)])
def test_a_process_that_ends_is_not_searched_for_garbage(argv, is_frozen):
    """Only if the process is the command's own."""
    code = (
        "import atexit, gc, sys\n"
        "from galaxysegment.cli import main\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count()))\n"
        "sys.argv = ['galaxysegment', 'methods']\n"
        f"main({argv})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    n_frozen = int(done.stdout.split()[-1])
    assert n_frozen > 10_000 if is_frozen else n_frozen == 0
