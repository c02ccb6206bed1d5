"""Straight steps of the sky of a mosaic, and what they do to the input of a net."""

import tracemalloc

import numpy as np
import pytest

from galaxysegment.datasets import load_sample_field
from galaxysegment.detection import _seams as seams_module
from galaxysegment.detection import _steps as steps_module
from galaxysegment.detection._seams import (
    LevelledMeshes,
    Seam,
    Seams,
    _stretches,
    find_seams,
    steps_of,
)
from galaxysegment.segmenters._scaling import Scaler


def noise(shape=(320, 400), seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def stepped():
    """Noise with a step of 2 at column 170 and a step of -1.5 at row 201."""
    image = noise()
    image[:, 170:] += 2
    image[201:] -= 1.5
    return image


def test_steps_are_where_they_are():
    vertical, horizontal = find_seams(stepped())
    assert vertical[:4] == (True, 170, 0, 320) and vertical.step == pytest.approx(2, abs=0.15)
    assert horizontal[:4] == (False, 201, 0, 400) and horizontal.step == pytest.approx(
        -1.5, abs=0.15
    )


def test_a_seam_ends_where_its_step_ends():
    image = noise((640, 300))
    image[:320, 150:] += 2
    [vertical] = [seam for seam in find_seams(image) if seam.is_vertical]
    assert (vertical.place, vertical.start, vertical.stop) == (150, 0, 320)


def test_a_source_on_the_seam_does_not_end_it():
    image = noise((640, 300))
    image[:, 150:] += 2
    image[256:320, 120:180] += 50
    [seam] = find_seams(image)
    assert (seam.start, seam.stop) == (0, 640)


def test_sources_and_noise_are_no_seams():
    assert find_seams(noise()) == []
    assert find_seams(load_sample_field().image[0]) == []
    y, x = np.indices((400, 400))
    assert find_seams(noise((400, 400)) + 500 * np.exp(-np.hypot(y - 200, x - 200) / 60)) == []


def test_seams_end_where_chips_meet():
    """Not at the border of a strip: the rest of it would be levelled for nothing, or not at all."""
    image = noise((600, 700))
    image[:310, :275] += 2
    vertical, horizontal = find_seams(image)
    assert vertical[:4] == (True, 275, 0, 310)
    assert horizontal[:4] == (False, 310, 0, 275)
    image = noise((600, 700))
    image[310:, 275:] += 2
    vertical, horizontal = find_seams(image)
    assert vertical[:4] == (True, 275, 310, 600)
    assert horizontal[:4] == (False, 310, 275, 700)


def chips(levels=((0, 2), (0.5, -0.5)), shape=(600, 700), place=(310, 275)):
    """Sky of four chips that meet at a pixel."""
    below, right = (np.arange(n) >= own for n, own in zip(shape, place, strict=True))
    return np.array(levels, dtype=np.float32)[np.ix_(below.astype(int), right.astype(int))]


def test_a_seam_that_is_known_goes_on_with_other_steps():
    """Steps of half a sigma are too low to be found, unless a step on their line is high."""
    half = chips(((0, 0), (0.5, 0)))
    assert find_seams(noise(half.shape) + half) == []
    seams = find_seams(noise(half.shape) + chips())
    expected = [(310, 600, -1), (0, 310, 2), (0, 275, 0.5), (275, 700, -2.5)]
    assert sorted(seam[:2] for seam in seams) == [(False, 310)] * 2 + [(True, 275)] * 2
    own = {(seam.start, seam.stop, round(2 * seam.step) / 2) for seam in seams}
    assert own == set(expected)


def test_nothing_is_left_where_seams_cross():
    levels = chips()
    seams = [
        Seam(True, 275, 0, 310, 2.0),
        Seam(True, 275, 310, 600, -1.0),
        Seam(False, 310, 0, 275, 0.5),
        Seam(False, 310, 275, 700, -2.5),
    ]
    steps = steps_of(seams, (0, 0), levels.shape, np.float64)
    for axis in (0, 1):
        assert np.abs(np.diff(levels - steps, axis=axis)).max() < 3 / 128
    window = steps_of(seams, (200, 170), (180, 230), np.float64)
    np.testing.assert_array_equal(window, steps[200:380, 170:400])


def test_noise_needs_no_second_look(monkeypatch):
    """Lines without an outlier are told at once, not line by line."""
    looked = []
    medians = steps_module._medians_of
    monkeypatch.setattr(
        steps_module, "_medians_of", lambda lines: looked.extend(lines) or medians(lines)
    )
    assert find_seams(noise((512, 512))) == []
    assert len(looked) < 3
    assert len(find_seams(stepped())) == 2
    assert len(looked) > 10


def test_short_and_strange_images_have_none():
    for image in (
        noise((20, 20)),
        np.zeros((100, 100)),
        np.full((200, 200), np.nan),
        noise((1, 500)),
    ):
        assert find_seams(image) == []


def test_steps_leave_a_smooth_rise():
    seams = find_seams(stepped())
    steps = steps_of(seams, (0, 0), (320, 400), np.float32)
    level = stepped() - noise() - steps
    assert np.abs(np.diff(level, axis=1)).max() < 0.2 and np.abs(np.diff(level, axis=0)).max() < 0.2
    window = steps_of(seams, (130, 100), (90, 120), np.float32)
    np.testing.assert_array_equal(window, steps[130:220, 100:220])


@pytest.mark.parametrize("slope", [0.0, -0.5])
def test_only_pixels_near_a_seam_get_a_step(monkeypatch, slope):
    widths, profile = [], seams_module._profile
    monkeypatch.setattr(
        seams_module,
        "_profile",
        lambda offset: widths.append(offset.shape[-1]) or profile(offset),
    )
    steps = steps_of([Seam(True, 1000, 0, 9, 2.0, slope)], (0, 0), (9, 5000), np.float32)
    assert max(widths) < 270
    for y, line in enumerate(steps):
        middle = 1000 + round(slope * y)
        assert line[middle - 2] < -0.9 and line[middle + 2] > 0.9
        assert not line[: middle - 128].any() and not line[middle + 128 :].any()
    assert not steps_of([Seam(True, 1000, 0, 9, 2.0)], (0, 1200), (9, 99), np.float32).any()
    assert not steps_of([Seam(True, 1000, 0, 9, 2.0)], (9, 900), (9, 99), np.float32).any()


def test_missing_pixels_hide_no_seam():
    image = stepped()
    image[:, 50:53] = np.nan
    image[noise(seed=1) > 1.5] = np.nan
    assert [seam[:2] for seam in find_seams(image)] == [(True, 170), (False, 201)]


@pytest.mark.parametrize("tilt", [0.05, 0.12, -0.15])
@pytest.mark.parametrize("is_vertical", [True, False])
def test_tilted_seams(tilt, is_vertical):
    y, x = np.indices((400, 400))
    image = noise((400, 400)) + 2 * (x >= 200.3 + tilt * (y - 200))
    [seam] = find_seams(image if is_vertical else image.T)
    assert (seam.is_vertical, seam.start, seam.stop) == (is_vertical, 0, 400)
    assert seam.slope == pytest.approx(tilt, abs=0.01)
    assert seam.place + 200 * seam.slope == pytest.approx(200.8, abs=1)
    assert seam.step == pytest.approx(2, abs=0.2)
    steps = steps_of([seam], (0, 0), image.shape, np.float64)
    clean = 2 * (x >= 200.3 + tilt * (y - 200)) - (steps if is_vertical else steps.T)
    assert (np.abs(np.diff(clean, axis=1)) < 0.3).mean() > 0.998
    window = steps_of([seam], (130, 100), (90, 120), np.float64)
    np.testing.assert_array_equal(window, steps[130:220, 100:220])


@pytest.mark.parametrize("width", [3, 20, 32])
def test_a_gap_without_data_may_lie_at_a_seam(width):
    image = stepped()
    image[:, 170 - width // 2 : 170 + (width + 1) // 2] = np.nan
    seams = find_seams(image)
    assert [seam.is_vertical for seam in seams] == [True, False]
    assert seams[0].step == pytest.approx(2, abs=0.2)


def test_no_step_is_sought_across_a_wide_gap():
    image = stepped()
    image[:, 140:200] = np.nan
    assert [seam.is_vertical for seam in find_seams(image)] == [False]


def test_a_curved_edge_is_no_tilted_seam():
    y, x = np.indices((400, 400))
    assert find_seams(noise((400, 400)) + 2 * (x >= 200 + 60 * np.sin(y / 40))) == []


@pytest.mark.parametrize("box_rows", [7, 50, 100, 256])
def test_strips_fit_into_boxes_of_any_height(box_rows):
    image = stepped()
    statistic = Seams(identity, box_rows)
    unit = statistic.block_rows(image.shape)
    assert unit % box_rows == 0 and unit >= 48
    parts = [
        statistic.measure(image[None, y : y + unit], y, image.shape) for y in range(0, 320, unit)
    ]
    seams = statistic.combine(parts, image.shape)[0]
    assert [seam[:2] for seam in seams] == [(True, 170), (False, 201)]
    assert seams == find_seams(image, box_rows)


def identity(rows):
    return list(rows)


@pytest.mark.parametrize("n_rows", [64, 128, 320])
def test_blocks_of_rows_give_the_same_seams(n_rows):
    image = np.stack([stepped(), noise()])
    statistic = Seams(identity)
    parts = [
        statistic.measure(image[:, y : y + n_rows], y, (320, 400)) for y in range(0, 320, n_rows)
    ]
    seams = statistic.combine(parts, (320, 400))
    assert seams == [find_seams(band) for band in image]
    meshes = LevelledMeshes(identity, seams, box_size=64)
    parts = [meshes.measure(image[:, y : y + n_rows], y, (320, 400)) for y in range(0, 320, n_rows)]
    background = meshes.combine(parts, (320, 400))[0][0]
    whole = meshes.combine([meshes.measure(image, 0, (320, 400))], (320, 400))[0][0]
    np.testing.assert_array_equal(background.mesh, whole.mesh)


@pytest.mark.parametrize("rms_band", [None, 1])
def test_the_input_of_a_net_has_no_seam(rms_band):
    image = np.stack([stepped(), np.ones((320, 400), np.float32)])[: 1 if rms_band is None else 2]
    [scaled] = Scaler("noise", rms_band=rms_band).scale_image(image)
    light = np.sinh(scaled)
    for side in (light[:, 150:170], light[:, 170:190], light[180:200], light[202:220]):
        assert abs(np.median(side)) < 0.2
    # In windows of a mosaic it is the same.
    stream = Scaler("noise", rms_band=rms_band).stream(image)
    window = stream.window(slice(100, 260), slice(90, 300))[0]
    np.testing.assert_allclose(window, scaled[100:260, 90:300], atol=1e-4)


def test_halves_that_disagree_have_no_step():
    far = np.where(np.arange(8) % 2, 50.0, 0.0)  # the median is far from each of them
    assert list(_stretches(far, far, np.ones(8))) == []


def test_medians_are_not_held_twice():
    side, rng = 12288, np.random.default_rng(0)
    statistic = Seams(lambda rows: [rows[0]], 64)
    columns, rows = (rng.normal(size=(side // 32, side)).astype(np.float32) for _ in range(2))
    tracemalloc.start()
    try:
        assert statistic.combine([[(columns, rows)]], (side, side)) == [[]]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < columns.nbytes / 4  # the medians themselves are not copied


def test_halves_that_contradict_each_other_are_no_seam():
    # Both are far from their median, so that none is left to measure the step by.
    far, scatter = np.array([0.0, 10.0]), np.ones(2)
    assert list(_stretches(far, far, scatter)) == []
