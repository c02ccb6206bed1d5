"""`segment` in tiles with catalog and regions; `simulate` of a field that is streamed."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from galaxysegment.cli import _simulate, main
from galaxysegment.testing import make_images

X, _ = make_images(n_images=1, shape=(150, 170))


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


def test_tiles_give_the_sources_of_the_whole(image, tmp_path, capsys):
    options = ["--set", "n_sigma=3", "--set", "box_size=32"]
    assert main(["segment", str(image), *options]) == 0
    tiled = tmp_path / "tiled.fits"
    assert main(["segment", str(image), *options, "--tile-size", "70", "--output", str(tiled)]) == 0
    np.testing.assert_array_equal(
        fits.getdata(tiled), fits.getdata(tmp_path / "image_segmentation.fits")
    )
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize("tiles", [[], ["--tile-size", "70"]])
def test_catalog_and_regions(image, tmp_path, capsys, tiles):
    rms = tmp_path / "rms.fits"
    fits.PrimaryHDU(np.ones_like(X[0])).writeto(rms)
    catalog, regions = tmp_path / "sources.ecsv", tmp_path / "sources.reg"
    files = [
        "--catalog",
        str(catalog),
        "--regions",
        str(regions),
        "--rms",
        str(rms),
        "--rms-kind",
        "rms",
    ]
    assert main(["segment", str(image), "--zero-point", "25", *files, *tiles]) == 0
    table = QTable.read(catalog)
    labels = fits.getdata(tmp_path / "image_segmentation.fits")
    assert len(table) == labels.max() > 2
    assert {"ra", "flux_error", "magnitude"} <= set(table.colnames)
    assert regions.read_text().count("ellipse") == len(table)
    assert "sources measured" in capsys.readouterr().out
    assert (
        main(
            ["segment", str(image), "--output", str(tmp_path / "x.fits"), "--catalog", str(catalog)]
        )
        == 1
    )
    assert "exists" in capsys.readouterr().err


def test_a_large_field_is_streamed(tmp_path, monkeypatch, capsys):
    pytest.importorskip("galsim")
    monkeypatch.setattr(_simulate, "_LARGEST_SIDE", 100)
    assert (
        main(["simulate", str(tmp_path / "field.fits"), "--shape", "150", "160", "--seed", "4"])
        == 0
    )
    assert "150 x 160" in capsys.readouterr().out
    with fits.open(tmp_path / "field.fits") as opened:
        assert [hdu.name for hdu in opened][1:4] == ["SCI", "RMS", "LABELS"]
        assert opened["SCI"].shape == (150, 160)


@pytest.mark.parametrize("command", ["segment", "separate"])
@pytest.mark.parametrize("size", ["0", "-5"])
def test_tiles_have_a_pixel_at_least(image, command, size, capsys):
    assert main([command, str(image), "--tile-size", size]) == 1
    message = f"--tile-size must be a whole number, at least 1. Got {size} instead."
    assert message in capsys.readouterr().err
    assert [path.name for path in image.parent.iterdir()] == ["image.fits"]
