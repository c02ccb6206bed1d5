"""Pictures show long wavelengths in red, whatever the order of the files."""

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from galaxysegment.cli import main

SHAPE = (40, 40)
SPOT = (20, 20)


@pytest.fixture
def bands(tmp_path, monkeypatch):
    """Files g.fits, r.fits and i.fits: noise, and a source that only the i band shows."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(SHAPE)
    source = 200 * np.exp(-((rows - SPOT[0]) ** 2 + (columns - SPOT[1]) ** 2) / 30)
    for name in "gri":
        image = rng.normal(0, 1, SHAPE) + (source if name == "i" else 0)
        fits.writeto(tmp_path / f"{name}.fits", image.astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add_card(path, keyword, value):
    with fits.open(path, mode="update") as hdus:
        hdus[0].header[keyword] = value


def colour_of_the_source(*arguments):
    """Draw the bands and return the mean red, green and blue of the source in the left panel."""
    options = ["--set", "n_sigma=5", "--set", "box_size=20", "--overwrite"]
    assert main(["segment", *arguments, "--picture", "p.png", *options]) == 0
    picture = np.asarray(Image.open("p.png").convert("RGB")).astype(float)
    panel = picture[:, : picture.shape[1] // 2]
    bright = panel[(panel.max(axis=2) > 200) & (np.ptp(panel, axis=2) > 100)]
    assert len(bright) > 50, "the source has no colour"
    return bright.mean(axis=0)


@pytest.mark.parametrize("order", ["g r i", "i g r", "r i g"])
def test_a_source_in_the_i_band_is_red(bands, order):
    red, _, blue = colour_of_the_source(*[f"{name}.fits" for name in order.split()])
    assert red > 2 * blue


def test_headers_come_before_names(bands):
    """The file g.fits is the reddest band here."""
    for name, keyword, value in (
        ("g", "FILTER", "z"),
        ("r", "FILTER", "r SDSS"),
        ("i", "FILTER", "g.MP9401"),
    ):
        add_card(bands / f"{name}.fits", keyword, value)
    red, _, blue = colour_of_the_source("g.fits", "r.fits", "i.fits")
    assert blue > 2 * red


def test_an_option_gives_the_order(bands):
    red, _, blue = colour_of_the_source("g.fits", "r.fits", "i.fits", "--rgb", "1", "2", "3")
    assert blue > 2 * red
    red, green, _ = colour_of_the_source("g.fits", "r.fits", "i.fits", "--rgb", "1", "3", "2")
    assert green > 2 * red


def test_bands_in_one_file(bands):
    hdus = [fits.PrimaryHDU()]
    hdus += [
        fits.ImageHDU(fits.getdata(f"{name}.fits"), name=f"SCI_{name.upper()}") for name in "gri"
    ]
    fits.HDUList(hdus).writeto("gri.fits")
    images = ["--hdu", "SCI_G", "--hdu", "SCI_R", "--hdu", "SCI_I"]
    red, _, blue = colour_of_the_source("gri.fits", *images)
    assert red > 2 * blue


def test_a_simulated_cube(bands):
    """A cube of g, r and z, the letters of which are in the card BANDS."""
    cube = np.stack([fits.getdata(f"{name}.fits") for name in "gri"])
    fits.writeto("cube.fits", cube, fits.Header({"BANDS": "grz"}))
    red, _, blue = colour_of_the_source("cube.fits")
    assert red > 2 * blue


def test_two_bands_are_in_colour(bands):
    red, _, blue = colour_of_the_source("i.fits", "g.fits")
    assert red > 2 * blue


def test_unknown_wavelengths_are_said(bands, capsys):
    for name, new in zip("gri", "abc", strict=True):
        (bands / f"{name}.fits").rename(f"{new}.fits")
    _, _, blue = colour_of_the_source("a.fits", "b.fits", "c.fits")
    assert blue > 200 and "--rgb" in capsys.readouterr().err


def test_wrong_bands_are_refused_before_work(bands, capsys):
    command = ["segment", "g.fits", "r.fits", "--picture", "p.png", "--rgb", "1", "2", "3"]
    assert main(command) == 1
    assert "--rgb takes three numbers of bands, 1 to 2" in capsys.readouterr().err
    assert not (bands / "g_segmentation.fits").exists()
