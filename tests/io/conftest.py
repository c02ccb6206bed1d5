"""FITS files of every kind, made on the spot."""

import numpy as np
import pytest
from astropy.io import fits


@pytest.fixture
def image():
    """Whole numbers, so that every dtype of FITS holds them."""
    return np.random.default_rng(0).integers(0, 100, (30, 40)).astype(np.float32)


@pytest.fixture
def sky_header():
    """Cards of a tangential projection with a distortion."""
    return fits.Header.fromstring(
        "\n".join(
            [
                "CTYPE1  = 'RA---TAN-SIP'",
                "CTYPE2  = 'DEC--TAN-SIP'",
                "CRVAL1  = 150.1",
                "CRVAL2  = 2.2",
                "CRPIX1  = 20.5",
                "CRPIX2  = 15.5",
                "CD1_1   = -5.5E-05",
                "CD1_2   = 1.0E-06",
                "CD2_1   = 1.0E-06",
                "CD2_2   = 5.5E-05",
                "A_ORDER = 2",
                "B_ORDER = 2",
                "A_2_0   = 1.0E-05",
                "B_0_2   = -2.0E-05",
            ]
        ),
        sep="\n",
    )


@pytest.fixture
def write(tmp_path):
    """Write HDUs to a file and return its path."""

    def write(name, *hdus):
        path = tmp_path / name
        first = hdus[0]
        if not isinstance(first, fits.PrimaryHDU):
            hdus = (fits.PrimaryHDU(), *hdus)
        fits.HDUList(list(hdus)).writeto(path)
        return path

    return write
