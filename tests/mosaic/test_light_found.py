"""Sources of mosaics that are found and separated in one call."""

import os
import signal
import subprocess
import sys
from functools import wraps

import numpy as np
import pytest
from astropy.table import Table
from scipy import ndimage

from galaxysegment import Instances, PhotutilsSegmenter
from galaxysegment.base import BaseSegmenter
from galaxysegment.io import Field, read_separated
from galaxysegment.mosaic import TileError, _run, separate_mosaic
from galaxysegment.separation import SegmentThenSeparate, TemplateSeparator
from galaxysegment.structures import label_components
from tests.mosaic.light_scene import (
    IMAGE,
    LABELS,
    NOISE,
    PROGRAM,
    QUIET,
    RMS,
    Failing,
    check_same,
    found_by,
)


def check_same_in_any_order(first, second):
    """Blends that were split are numbered otherwise in mosaics than in whole images."""
    assert len(first) == len(second)
    orders = [np.lexsort((light.fluxes, *light.boxes.T)) for light in (first, second)]
    for name in ("boxes", "fluxes", "flux_errors", "blendedness"):
        values = [
            getattr(light, name)[order]
            for light, order in zip((first, second), orders, strict=True)
        ]
        np.testing.assert_array_equal(*values, err_msg=name)
    for mine, its in zip(*orders, strict=True):
        np.testing.assert_array_equal(first.parts[mine], second.parts[its])
    np.testing.assert_array_equal(first.residual, second.residual)


@pytest.mark.parametrize(
    "both",
    [
        found_by(PhotutilsSegmenter(rms_band=-1, deblend=True), rms_band=-1),
        found_by(rms_band=-1, refine=True),
    ],
    ids=["given", "refined"],
)
def test_sources_are_found_and_separated_in_one_call(both, tmp_path):
    stack = np.stack([IMAGE, RMS])[None]
    (whole,) = both.separate(stack)
    options = {"rms": RMS, "tile_size": 60, **QUIET}
    check_same_in_any_order(whole, separate_mosaic(both, IMAGE, **options))
    options |= {"output": tmp_path / "light.fits", "kind": "parts"}
    from_file = read_separated(separate_mosaic(both, IMAGE, **options))
    check_same_in_any_order(whole, from_file)
    assert not (tmp_path / ".light.fits.unfinished").exists()


def test_a_segmenter_that_takes_no_noise_finds_in_a_field_with_noise():
    both = found_by(PhotutilsSegmenter(deblend=True))
    labels = both.segmenter_.predict([IMAGE])
    (whole,) = TemplateSeparator().separate([IMAGE], labels, rms=[RMS])
    mosaic = separate_mosaic(both, Field(IMAGE, rms=RMS), tile_size=60, background=None, **QUIET)
    check_same_in_any_order(whole, mosaic)


class Grown(BaseSegmenter):
    """Finds sources whose masks overlap."""

    _requires_fit = False
    finds_instances = True

    def _segment_image(self, image):
        pieces = label_components(image[0] > 5 * NOISE)
        masks = [
            ndimage.binary_dilation(pieces == number, iterations=3)
            for number in range(1, pieces.max() + 1)
        ]
        return Instances.from_masks(masks, shape=image.shape[1:])


def test_sources_that_overlap_are_kept_in_the_file(tmp_path):
    both = found_by(Grown())
    options = {"rms": RMS, "tile_size": 90, **QUIET}
    separated = separate_mosaic(both, IMAGE, **options)
    assert len(separated) > 5 and separated.sources.areas.sum() > separated.sources.to_mask().sum()
    path = separate_mosaic(both, IMAGE, output=tmp_path / "light.fits", kind="parts", **options)
    check_same(separated, read_separated(path))


def test_a_segmenter_that_takes_no_rms_leaves_it_to_the_separator():
    both = found_by(PhotutilsSegmenter(n_sigma=3))
    separated = separate_mosaic(both, IMAGE, rms=2 * RMS, **QUIET)
    (whole,) = TemplateSeparator().separate(
        [IMAGE], both.segmenter_.predict([IMAGE], output="instances"), rms=[2 * RMS]
    )
    check_same_in_any_order(whole, separated)


def test_found_sources_are_kept_for_another_try(tmp_path, monkeypatch):
    options = {"tile_size": 60, "output": tmp_path / "light.fits", "resume": True, **QUIET}
    both = found_by(PhotutilsSegmenter(n_sigma=3))
    segment_tile, tiles = _run.segment_tile, []

    @wraps(segment_tile)
    def segment(job, tile):
        if len(tiles) == fail_at:
            raise ValueError("this tile is bad")
        tiles.append(tile.index)
        segment_tile(job, tile)

    monkeypatch.setattr(_run, "segment_tile", segment)
    fail_at = 4
    with pytest.raises(TileError, match="this tile is bad"):
        separate_mosaic(both, IMAGE, **options)
    fail_at = None
    with monkeypatch.context() as patch:
        patch.setattr(TemplateSeparator, "_templates", Failing._templates)
        with pytest.raises(TileError, match="this blend is bad"):
            separate_mosaic(both, IMAGE, **options)
    assert sorted(tiles) == list(range(9))  # each was segmented once
    path = separate_mosaic(both, IMAGE, **options)
    assert len(tiles) == 9
    (expected,) = both.separate([IMAGE])
    np.testing.assert_array_equal(
        np.sort(Table.read(path, hdu="SEPARATED")["FLUX"]), np.sort(expected.fluxes)
    )
    with pytest.raises(TileError):
        separate_mosaic(
            SegmentThenSeparate(both.segmenter, Failing()).fit([IMAGE]),
            IMAGE,
            **{**options, "overwrite": True},
        )
    label_map = tmp_path / ".light.fits.unfinished" / "sources.fits"
    label_map.write_bytes(label_map.read_bytes())  # a file that somebody touched is made anew
    tiles.clear()
    with pytest.raises(TileError):
        separate_mosaic(
            SegmentThenSeparate(both.segmenter, Failing()).fit([IMAGE]),
            IMAGE,
            **{**options, "overwrite": True},
        )
    assert len(tiles) == 9


FIND_PROGRAM = PROGRAM.replace(
    "separate_mosaic(Deadly(), image, labels,",
    "from galaxysegment import PhotutilsSegmenter\n"
    "from galaxysegment.separation import SegmentThenSeparate\n"
    "both = SegmentThenSeparate(PhotutilsSegmenter(rms_band=-1), Deadly(), rms_band=-1)\n"
    "both.fit(np.stack([image, rms])[None])\n"
    "separate_mosaic(both, image,",
)


def test_a_killed_run_finds_its_sources_again(tmp_path):
    for name, array in (("image", IMAGE), ("labels", LABELS), ("rms", RMS)):
        np.save(tmp_path / f"{name}.npy", array)
    outputs = []
    for kill_at in (4, -1):
        outputs.append(
            subprocess.run(
                [sys.executable, "-c", FIND_PROGRAM, str(tmp_path)],
                env={**os.environ, "KILL_AT": str(kill_at)},
                capture_output=True,
                text=True,
                check=False,
            )
        )
        if kill_at > 0:
            kept = tmp_path / ".light.fits.unfinished" / "sources.fits"
            time_of_change = kept.stat().st_mtime_ns
            assert time_of_change and not (tmp_path / "light.fits").exists()
    killed, finished = outputs
    assert killed.returncode == -signal.SIGKILL and finished.returncode == 0, finished.stderr
    both = found_by(PhotutilsSegmenter(rms_band=-1), rms_band=-1)
    (whole,) = both.separate(np.stack([IMAGE, RMS])[None])
    light = read_separated(tmp_path / "light.fits")
    check_same_in_any_order(whole, light)
    assert not (tmp_path / ".light.fits.unfinished").exists()
