"""What `galaxysegment catalog` makes of a label map that exists."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable

from galaxysegment.catalog import source_catalog
from galaxysegment.cli import main
from galaxysegment.datasets import load_sample_field
from galaxysegment.io import write_label_map


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Image, RMS map and label map of the corner of the sample field."""
    folder = tmp_path_factory.mktemp("catalog")
    field = load_sample_field().section(slice(0, 128), slice(0, 160))
    header = field.wcs.to_header()
    fits.writeto(folder / "image.fits", np.asarray(field.image)[0], header)
    fits.writeto(folder / "rms.fits", np.asarray(field.rms))
    write_label_map(folder / "labels.fits", field.labels, header=field.wcs)
    return folder


def run(folder, *words):
    words = ["catalog", folder / "labels.fits", "--image", folder / "image.fits", *words]
    return main([str(word) for word in words])


def test_the_catalog_is_that_of_the_function(folder, tmp_path, capsys):
    path = tmp_path / "sources.ecsv"
    words = ["--rms", folder / "rms.fits", "-o", path, "--apertures", "3", "0.4arcsec"]
    words += ["--measure", "kron", "total", "half-light", "--zero-point", "25"]
    assert run(folder, *words) == 0
    table = QTable.read(path)
    assert f"{len(table)} sources measured: wrote {path}." in capsys.readouterr().out
    expected = source_catalog(
        *(folder / "labels.fits", folder / "image.fits"),
        **{"rms": folder / "rms.fits", "background": "mesh", "zero_point": 25, "kron": True},
        **{"total": True, "light_fractions": 0.5, "apertures": [3, 0.4 * u.arcsec]},
    )
    assert [name for name in expected.colnames if name != "sky_position"] == table.colnames
    for name in ("flux", "flux_kron", "flux_total", "flux_aperture_3", "flux_aperture_0_4arcsec"):
        np.testing.assert_array_equal(table[name], expected[name])


def test_regions_and_the_image_as_it_is(folder, tmp_path):
    catalog, regions = tmp_path / "sources.fits", tmp_path / "sources.reg"
    assert run(folder, "-o", catalog, "--regions", regions, "--background", "none") == 0
    table = QTable.read(catalog)
    expected = source_catalog(folder / "labels.fits", folder / "image.fits")
    np.testing.assert_array_equal(table["flux"], expected["flux"])
    assert regions.read_text().count("ellipse(") == len(table)


def test_another_image_sets_the_apertures(folder, tmp_path):
    fits.writeto(tmp_path / "twice.fits", 2 * fits.getdata(folder / "image.fits"))
    catalog = tmp_path / "sources.ecsv"
    words = ["--image", tmp_path / "twice.fits", "--detection", folder / "image.fits"]
    assert run(folder, *words, "--bands", "1,2", "-o", catalog, "--measure", "kron") == 0
    table = QTable.read(catalog)
    flux = np.asarray(table["flux_kron"])
    np.testing.assert_allclose(flux[:, 1], 2 * flux[:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "sources.txt"], "--output must end in .fits"),
        (["-o", "labels.fits"], "is the same file as labels"),
        (["-o", "a.ecsv", "--measure", "stars"], "pass --rms"),
        (["-o", "a.ecsv", "--detection", "other.fits"], "detection has shape (9, 9)"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(folder, capsys, words, message, monkeypatch):
    monkeypatch.chdir(folder)
    fits.writeto("other.fits", np.zeros((9, 9)), overwrite=True)
    before = sorted(folder.iterdir())
    assert run(folder, *words) == 1
    assert message in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_angles_need_a_wcs(folder, tmp_path, capsys):
    fits.writeto(tmp_path / "plain.fits", fits.getdata(folder / "image.fits"))
    words = ["catalog", folder / "labels.fits", "--image", tmp_path / "plain.fits"]
    words += ["-o", tmp_path / "a.ecsv", "--apertures", "1arcsec"]
    assert main([str(word) for word in words]) == 1
    assert "--apertures must be numbers of pixels" in capsys.readouterr().err


def test_a_radius_is_a_number_or_an_angle(folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(folder, "-o", tmp_path / "a.ecsv", "--apertures", "wide")
    assert "neither a number nor like 1.0arcsec" in capsys.readouterr().err
