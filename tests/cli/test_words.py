"""Messages of the library, in the words of the command line."""

import pytest

from galaxysegment.cli._segment import _WORDS
from galaxysegment.cli._words import say_options


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "rms_kind='auto' cannot tell: pass rms_kind= one of ('rms', 'weight').",
            "--rms-kind auto cannot tell: pass --rms-kind one of ('rms', 'weight').",
        ),
        ("a.fits exists: pass overwrite=True.", "a.fits exists: pass --overwrite."),
        ("or start over with resume=False.", "or start over without --resume."),
        ("tile_size must be at least 1. Got -5", "--tile-size must be at least 1. Got -5"),
        ("unpack it first, or pass limits=False.", "unpack it first, or pass --no-limits."),
        ("a.fits: rms_hdu=2", "a.fits: --rms-hdu 2"),
        ("X has rms_band=None: set rms_band=-1.", "X has rms_band=None: pass --set rms_band=-1."),
        ("n_sigma must be positive", "--set n_sigma must be positive"),
        ("The 'n_sigma' parameter of X must be", "The 'n_sigma' parameter of X must be"),
        ("the sigma_output=3 of /data/rms=3.fits", "the sigma_output=3 of /data/rms=3.fits"),
        ("the rms of the image is fine", "the rms of the image is fine"),
    ],
)
def test_arguments_become_options(message, expected):
    assert say_options(message, _WORDS, ["rms_band", "n_sigma"]) == expected
