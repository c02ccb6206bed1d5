"""Large sources of an instance segmenter: whole in place of pieces."""

import numpy as np
import pytest
from scipy import ndimage

from galaxysegment import Instances, MaskRCNNSegmenter
from galaxysegment.io import read_field
from galaxysegment.segmenters._large_sources import _filled, keep_whole
from galaxysegment.testing import make_images

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


def test_outlines_are_smooth():
    """Noise at the rim of a galaxy leaves no pixel alone and no hole."""
    large = keep_whole(SOURCES, scaled(disc())).masks[-1]
    _, n_parts = ndimage.label(large)
    holes = ndimage.binary_fill_holes(large | MASKS[4]) & ~large & ~MASKS[4]
    assert n_parts == 1 and not holes.any()


def test_a_mask_that_shows_all_of_a_source_stays():
    all_of_it = disc() > 0.7
    sources = Instances.from_masks([all_of_it, MASKS[4]], [0.9, 0.8], np.arange(2))
    assert keep_whole(sources, scaled(disc())) is sources


def test_bright_pieces_are_of_the_source_whatever_their_size():
    """The core of a galaxy has few of its pixels and much of its light."""
    light = disc() + disc(radius=1.5, peak=1500)
    all_of_it, core = light > 0.7, box_mask(144, 144, 156, 156)
    assert np.count_nonzero(core) < 0.02 * np.count_nonzero(all_of_it)
    sources = Instances.from_masks([all_of_it, core], [0.8, 0.9], [0, 1])
    [whole] = keep_whole(sources, scaled(light)).masks
    assert whole[core].all()
    faint = Instances.from_masks([all_of_it, MASKS[4]], [0.8, 0.9], [0, 1])
    assert len(keep_whole(faint, scaled(light))) == 2


def test_unsure_masks_change_nothing():
    """Precision-recall curves ask for masks with low scores, too."""
    unsure = SOURCES.select([0, 3, 4, 5])  # scores of 0.6, 0.5, 0.8 and 0.95
    assert keep_whole(unsure, scaled(disc()), 0.7) is unsure
    assert keep_whole(unsure, scaled(disc()), 0.55).classes.tolist() == [3, 4, 5, 0]


def test_a_source_beside_a_large_one_keeps_its_pixels():
    """Light counts, not pixels: this mask has more sky and wings in it than its own source."""
    light = disc() + disc(radius=3, centre=(150, 250), peak=400)
    beside = box_mask(130, 232, 170, 270)
    sources = Instances.from_masks([*MASKS[:4], beside], [0.6, 0.9, 0.7, 0.5, 0.8], np.arange(5))
    whole = keep_whole(sources, scaled(light))
    assert whole.classes.tolist() == [4, 1]
    assert whole.masks[1][150, 150] and not whole.masks[1][150, 250]


def test_small_and_unseen_sources_stay_as_they_are():
    small = keep_whole(SOURCES, scaled(disc(radius=6)))
    assert small is SOURCES  # 50 pixels across
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


def test_a_net_of_your_own_keeps_its_masks():
    pytest.importorskip("torch")
    X, y = make_images(4, shape=(32, 32))
    net = MaskRCNNSegmenter(channels=16, n_proposals=20, max_epochs=1, random_state=0)
    assert net.fit(X, y).large_sources_ == "net"
    net.set_params(large_sources="connected").fit(X, y)
    assert net.large_sources_ == "connected"


def test_a_real_spiral_is_whole(data_dir):
    """The net alone has its core and nine pieces around it."""
    pytest.importorskip("torch")
    field = read_field(data_dir / "hsc_spirals_galmask" / "gal2_R.fits")
    net = MaskRCNNSegmenter(weights="blends")
    areas = np.sort(np.bincount(net.predict(field.image[None])[0].ravel())[1:])
    assert net.large_sources_ == "connected"
    assert areas[-1] > 8 * areas[-2] and areas[-1] > 60_000
