"""What `galaxysegment segment` measures for its catalog."""

import numpy as np
from astropy.io import fits
from astropy.table import QTable

from galaxysegment.cli import main
from galaxysegment.testing import make_images


def test_the_catalog_holds_what_was_asked_for(tmp_path, capsys):
    X, _ = make_images(n_images=1, shape=(128, 128))
    header = fits.Header({"MAGZERO": 26.0})
    fits.writeto(tmp_path / "image.fits", X[0], header)
    fits.writeto(tmp_path / "rms.fits", np.full(X[0].shape, X[0].std() / 5))
    catalog = tmp_path / "sources.ecsv"
    words = [
        "segment",
        tmp_path / "image.fits",
        "--rms",
        tmp_path / "rms.fits",
        "--catalog",
        catalog,
    ]
    words += ["--measure", "total", "half-light", "--apertures", "3", "4.5", "--flux-unit", "uJy"]
    assert main([str(word) for word in words]) == 0
    table = QTable.read(catalog)
    expected = {"flux_kron", "flux_total", "half_light_radius", "flux_aperture_4_5", "flags"}
    assert expected <= set(table.colnames)
    assert str(table["flux_kron"].unit) == "uJy"
    assert "magnitude_kron" in table.colnames
    words[1] = tmp_path / "other.fits"
    fits.writeto(words[1], X[0])
    assert main([str(word) for word in [*words, "--overwrite"]]) == 1
    assert "The header has no zero point" in capsys.readouterr().err
