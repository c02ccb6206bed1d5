"""A field that was streamed to a file is the field that `make_field` makes."""

import numpy as np
import pytest
from astropy.io import fits

pytest.importorskip("galsim")

from galaxysegment.datasets import _stream, make_field, write_field
from galaxysegment.io import read_field


@pytest.mark.parametrize(("bands", "n_jobs"), [("r", 1), ("grz", 1), ("r", 2)])
def test_blocks_make_the_whole_field(tmp_path, monkeypatch, bands, n_jobs):
    monkeypatch.setattr(_stream, "_BLOCK", (256, 256))
    shape = (400, 700)
    expected = make_field(shape, bands=bands, random_state=3)
    path = write_field(
        tmp_path / "field.fits", shape, bands=bands, random_state=3, n_jobs=n_jobs, progress=False
    )
    field = read_field(path)
    for name in ("image", "rms", "labels", "classes"):
        np.testing.assert_array_equal(getattr(field, name), getattr(expected, name), err_msg=name)
    assert field.labels.max() > 30
    for name in expected.catalog.colnames:
        value = np.asarray(field.catalog[name])
        np.testing.assert_allclose(
            value, np.asarray(expected.catalog[name]), rtol=1e-12, err_msg=name
        )
    np.testing.assert_allclose(field.wcs.wcs.crpix, expected.wcs.wcs.crpix)
    assert field.header["SEED"] == 3
    assert field.header["BUNIT"] == "ct"
    with fits.open(path) as opened:
        opened.verify("exception")
    assert [path.name for path in tmp_path.iterdir()] == ["field.fits"]


def test_an_empty_sky(tmp_path):
    path = write_field(
        tmp_path / "field.fits", (100, 120), density=0, random_state=0, progress=False
    )
    field = read_field(path)
    assert not field.labels.any()
    assert len(field.catalog) == 0


def test_nothing_is_overwritten_or_left_behind(tmp_path, monkeypatch):
    (tmp_path / "field.fits").write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_field(tmp_path / "field.fits", (50, 50))
    with pytest.raises(ValueError, match="piece by piece"):
        write_field(tmp_path / "field.fits.gz", (50, 50))

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(_stream, "_draw_block", fail)
    with pytest.raises(OSError, match="No space"):
        write_field(tmp_path / "other.fits", (50, 50), random_state=0, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["field.fits"]
    assert (tmp_path / "field.fits").read_text() == "precious"
