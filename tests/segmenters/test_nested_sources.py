"""Sources inside a surer source: second masks sink, companions that stand out come on top."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from galaxysegment import Instances, MaskRCNNSegmenter
from galaxysegment.datasets import make_blends
from galaxysegment.segmenters._nested_sources import _own_peaks, _pairs, find_peaks, weigh_nested

SHAPE = (60, 60)
Y, X = np.indices(SHAPE)


def disk(y, x, radius):
    return np.hypot(Y - y, X - x) < radius


def light(y, x, flux, width=2.5):
    return flux * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * width**2))


def sources_of(*masks):
    """Sources in order of falling score."""
    alone = [Instances.from_label_map(mask.astype(int)) for mask in masks]
    boxes = np.concatenate([source.boxes for source in alone])
    crops = [source.crops[0] for source in alone]
    return Instances(SHAPE, boxes, crops, np.linspace(0.9, 0.6, len(masks)))


def scaled(sky):
    noise = np.random.default_rng(3).standard_normal(SHAPE)
    return np.arcsinh(sky + noise)[None].astype(np.float32)


def test_the_core_of_a_galaxy_is_a_second_mask():
    image = scaled(light(30, 30, 40, width=6))
    sources = sources_of(disk(30, 30, 12), disk(31, 31, 5))
    lowered = weigh_nested(sources, image, 0.5)
    np.testing.assert_allclose(lowered.scores, [0.9, 0.3])
    assert lowered.crops[0].sum() == sources.crops[0].sum()


def test_a_companion_with_a_peak_keeps_its_score():
    image = scaled(light(30, 30, 40, width=6) + light(36, 36, 30, width=1.5))
    sources = sources_of(disk(30, 30, 12), disk(36, 36, 4))
    assert weigh_nested(sources, image, 0.5) == sources


def test_a_bright_star_on_a_surer_galaxy_keeps_its_peak():
    """The brightest peak inside the galaxy is the star's; the galaxy has another one."""
    image = scaled(light(30, 30, 20, width=4) + light(40, 36, 300, width=1.5))
    sources = sources_of(disk(33, 32, 16), disk(40, 36, 4))
    assert weigh_nested(sources, image, 0.5) == sources


def test_a_companion_that_stands_out_comes_on_top():
    image = scaled(light(30, 30, 4, width=8) + light(38, 38, 80, width=1.5))
    sources = sources_of(disk(30, 30, 28), disk(38, 38, 4.5))
    weighed = weigh_nested(sources, image, 0.5)
    np.testing.assert_array_equal(weighed.scores, [0.9, 0.9])
    assert weighed.to_label_map()[38, 38] == 2
    assert sources.to_label_map()[38, 38] == 1


@pytest.mark.parametrize(
    ("mask", "flux"), [(disk(38, 38, 4.5), 4), (disk(38, 38, 8), 80), (None, 80)]
)
def test_a_faint_or_large_or_long_piece_does_not(mask, flux):
    if mask is None:  # 3 pixels wide
        mask = (np.abs(Y - X) < 3) & disk(38, 38, 9)
    image = scaled(light(30, 30, 4, width=8) + light(38, 38, flux, width=1.5))
    sources = sources_of(disk(30, 30, 28), mask)
    assert weigh_nested(sources, image, 0.5) == sources


def test_an_unsure_companion_does_not():
    image = scaled(light(30, 30, 4, width=8) + light(38, 38, 80, width=1.5))
    sources = sources_of(disk(30, 30, 28), disk(38, 38, 4.5))
    unsure = replace(sources, scores=np.array([0.9, 0.4]))
    assert weigh_nested(unsure, image, 0.5) == unsure


def test_the_surest_come_first_afterwards():
    image = scaled(light(30, 30, 40, width=6) + light(10, 50, 40))
    sources = sources_of(disk(30, 30, 12), disk(31, 31, 5), disk(10, 50, 6))
    lowered = weigh_nested(sources, image, 0.1)
    np.testing.assert_allclose(lowered.scores, [0.9, 0.6, 0.075])
    assert (np.diff(lowered.scores) < 0).all()


def test_apart_sources_stay_as_they_are():
    """Two sources without any peak, of which neither lies in the other."""
    sources = sources_of(disk(20, 20, 8), disk(20, 32, 8))
    assert weigh_nested(sources, np.zeros((1, *SHAPE)), 0.0) is sources
    nothing = Instances(SHAPE, [], [])
    assert weigh_nested(nothing, np.zeros((1, *SHAPE)), 0.5) is nothing


def test_peaks_are_those_of_the_light():
    image = scaled(light(30, 30, 40) + light(12, 40, 15))
    image[:, 50:, :10] = np.nan
    sky = np.sinh(np.nan_to_num(image[0]).astype(float))
    peaks = find_peaks(sky, ndimage.gaussian_filter(sky, 1.0))
    for place in ((30, 30), (12, 40)):
        assert np.hypot(*(peaks - place).T).min() < 1.5
    assert len(peaks) < 24  # of noise alone, one in two hundred pixels
    assert not ((peaks[:, 0] >= 52) & (peaks[:, 1] < 8)).any()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 5), n_peaks=st.integers(0, 4))
def test_as_many_sources_as_possible_have_a_peak(seed, n, n_peaks):
    """The surest ones first: an exhaustive search gives no other answer."""
    rng = np.random.default_rng(seed)
    masks = [rng.random((6, 6)) < 0.3 for _ in range(n)]
    for mask in masks:
        mask[0, 0] = mask[5, 5] = True
    sources = Instances((6, 6), [(0, 0, 6, 6)] * n, masks, np.linspace(0.9, 0.1, n))
    places = rng.permutation(36)[:n_peaks]
    peaks = np.stack(np.unravel_index(places, (6, 6)), axis=1)
    choices = [[k for k, place in enumerate(peaks) if mask[tuple(place)]] for mask in masks]
    expected = []
    for index in range(n):
        wanted = [*[k for k, has in enumerate(expected) if has], index]
        expected.append(
            any(
                all(peak in choices[k] for k, peak in zip(wanted, chosen, strict=True))
                for chosen in permutations(range(n_peaks), len(wanted))
            )
        )
    assert _own_peaks(sources, peaks).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 8))
@example(seed=912981, n=5)  # 27 of 45 pixels are shared
def test_inside_a_surer_source(seed, n):
    rng = np.random.default_rng(seed)
    masks = [disk(*rng.uniform(10, 30, size=2), rng.uniform(2, 12)) for _ in range(n)]
    host, source = _pairs(sources_of(*masks))
    assert {*zip(host.tolist(), source.tolist(), strict=True)} == {
        (k, index)
        for index in range(n)
        for k in range(index)
        if (masks[k] & masks[index]).sum() >= 0.6 * masks[index].sum()
    }


def test_the_shipped_net_lowers_second_masks():
    pytest.importorskip("torch")
    pytest.importorskip("galsim", reason="simulates blends")
    images, _ = make_blends(8, random_state=5)
    every = MaskRCNNSegmenter(weights="blends", nested_sources=1, score_threshold=0.05)
    n_sources = [len(sources) for sources in every.predict(images, output="instances")]
    weighed = MaskRCNNSegmenter(weights="blends", score_threshold=0.05)
    fewer = weighed.predict(images, output="instances")
    assert weighed.nested_sources_ == 0.6
    none = MaskRCNNSegmenter(weights="blends", nested_sources=0, score_threshold=0.05)
    fewest = [len(sources) for sources in none.predict(images, output="instances")]
    assert sum(fewest) < sum(map(len, fewer)) <= sum(n_sources)
    for sources in fewer:
        assert (sources.scores >= 0.05).all()
