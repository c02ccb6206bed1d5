"""A run is resumed with the same image, RMS map and parameters only."""

import os

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.base import BaseSegmenter
from galaxysegment.io import read_label_map
from galaxysegment.mosaic import TileError, segment_mosaic
from galaxysegment.structures import label_components

OPTIONS = {"tile_size": 30, "overlap": 8, "progress": False}


class Significant(BaseSegmenter):
    """Pixels above a level in units of the RMS.

    Fails in the tile that holds a 99 while `is_bad`.
    """

    _requires_fit = False
    reach = 0
    splits_blends = False
    is_bad = False

    def __init__(self, *, level=3.0, rms_band=-1):
        self.level = level
        self.rms_band = rms_band

    def _segment_image(self, image):
        if type(self).is_bad and (image[0] == 99).any():
            raise ValueError("a bad tile")
        return label_components(image[0] > self.level * image[-1])


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    """An image, its RMS map and an output whose last tile is missing."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(50, 55))
    image[5:9, 5:9] = image[20:24, 33:37] = 20
    image[45:48, 50:53] = 99
    fits.PrimaryHDU(image).writeto(tmp_path / "image.fits")
    fits.PrimaryHDU(np.ones(image.shape)).writeto(tmp_path / "rms.fits")
    monkeypatch.setattr(Significant, "is_bad", True)
    with pytest.raises(TileError, match="3 of 4"):
        run(tmp_path)
    monkeypatch.setattr(Significant, "is_bad", False)
    return tmp_path


def run(folder, segmenter=None, rms="rms.fits", resume=False, **options):
    return segment_mosaic(
        segmenter or Significant(),
        folder / "image.fits",
        rms=None if rms is None else folder / rms,
        output=folder / "labels.fits",
        resume=resume,
        **OPTIONS | options,
    )


def test_the_same_again_is_resumed(unfinished):
    image = fits.getdata(unfinished / "image.fits")
    labels = read_label_map(run(unfinished, resume=True))
    np.testing.assert_array_equal(labels, label_components(image > 3))


@pytest.mark.parametrize("name", ["image.fits", "rms.fits"])
def test_a_file_that_was_written_again_is_another_one(unfinished, name):
    """Same name, same size, other pixels."""
    with fits.open(unfinished / name, mode="update") as opened:
        opened[0].data[:] = opened[0].data + 5
    with pytest.raises(ValueError, match="had another image"):
        run(unfinished, resume=True)


@pytest.mark.parametrize("name", ["image.fits", "rms.fits"])
def test_the_time_of_change_counts(unfinished, name):
    """One pixel between the samples of a hash may differ: the time tells."""
    stat = (unfinished / name).stat()
    os.utime(unfinished / name, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    with pytest.raises(ValueError, match="had another image"):
        run(unfinished, resume=True)


def test_another_rms_map_or_none_is_another_run(unfinished):
    (unfinished / "other.fits").write_bytes((unfinished / "rms.fits").read_bytes())
    for rms in ("other.fits", None):
        segmenter = Significant(rms_band=None if rms is None else -1)
        with pytest.raises(ValueError, match="had another image"):
            run(unfinished, segmenter, rms, resume=True)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"segmenter": Significant(level=4.0)}, "had another segmenter"),
        ({"tile_size": 29}, "had another tile_size"),
        ({"overlap": 9}, "had another overlap"),
    ],
)
def test_other_parameters_are_another_run(unfinished, options, match):
    with pytest.raises(ValueError, match=match):
        run(unfinished, resume=True, **options)
