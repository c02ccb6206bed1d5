"""Large sources of an instance segmenter: whole in place of pieces."""

import numpy as np
import pytest

from galaxysegment import Instances, MaskRCNNSegmenter
from galaxysegment.io import read_field
from galaxysegment.segmenters._large_sources import _filled, keep_whole

SIDE = 300


def disc(radius=28.0, centre=(150, 150), peak=40.0):
    """Exponential disc, in units of the noise."""
    y, x = np.indices((SIDE, SIDE))
    return peak * np.exp(-np.hypot(y - centre[0], (x - centre[1]) / 1.2) / radius)


def scaled(light, seed=0):
    noise = np.random.default_rng(seed).normal(size=light.shape)
    return np.arcsinh(light + noise).astype(np.float32)[None]


def box_mask(y0, x0, y1, x1):
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


#: Four pieces of the disc, a companion on it and a source beside it; classes are numbers of boxes.
MASKS = [
    *(box_mask(y, x, y + 50, x + 50) for y in (100, 150) for x in (100, 150)),
    box_mask(120, 178, 128, 186),
    box_mask(5, 5, 15, 15),
]
SOURCES = Instances.from_masks(MASKS, [0.6, 0.9, 0.7, 0.5, 0.8, 0.95], np.arange(6))


def test_pieces_become_one_source():
    light = disc()
    whole = keep_whole(SOURCES, scaled(light))
    assert whole.classes.tolist() == [4, 5, 1]  # the surest piece stands for the large source
    assert whole.scores.tolist() == [0.8, 0.95, 0.9]
    large = whole.masks[-1]
    assert not (large & MASKS[4]).any()
    true = light > 1
    assert np.count_nonzero(large & true) > 0.9 * np.count_nonzero(true & ~MASKS[4])
    assert np.count_nonzero(large & ~true) < 0.1 * np.count_nonzero(true)


def test_small_and_unseen_sources_stay_as_they_are():
    small = keep_whole(SOURCES, scaled(disc(radius=9)))
    assert small is SOURCES  # 80 pixels across
    outside = SOURCES.select([5])
    assert keep_whole(outside, scaled(disc())) is outside  # the net sees no galaxy
    nothing = SOURCES.select([])
    assert keep_whole(nothing, scaled(disc())) is nothing
    assert keep_whole(nothing, np.full((1, 9, 9), np.nan, dtype=np.float32)) is nothing


def test_an_ellipse_is_filled_and_a_chain_is_not():
    y, x = np.indices((120, 200))
    ellipse = ((y - 60) / 20) ** 2 + ((x - 100) / 80) ** 2 < 1
    assert _filled(ellipse) == pytest.approx(1, abs=0.02)
    chain = np.zeros_like(ellipse)
    for step in range(8):  # around a corner
        centre = (20, 20 + 20 * step) if step < 4 else (20 + 20 * (step - 3), 80)
        chain |= np.hypot(y - centre[0], x - centre[1]) < 13
    assert _filled(chain) < 0.7


def test_a_real_spiral_is_whole(data_dir):
    pytest.importorskip("torch")
    field = read_field(data_dir / "hsc_spirals_galmask" / "gal1_G.fits")
    largest = {
        how: MaskRCNNSegmenter(weights="blends", large_sources=how)
        .predict(field.image[None], output="instances")[0]
        .areas.max()
        for how in ("net", "connected")
    }
    assert 20_000 < largest["connected"] < 30_000  # the pixels above the noise
    assert largest["net"] > 25_000  # and its faint surroundings
