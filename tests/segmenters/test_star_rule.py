"""Stars told from galaxies by comparing all sources of an image."""

from dataclasses import replace

import numpy as np
import pytest

from galaxysegment import Instances
from galaxysegment.segmenters._star_rule import (
    StarRule,
    check_star_rule,
    evidence_of_instances,
    light_powers,
    measure_instances,
    star_evidence,
    star_logits,
)

SIDE = 41
RULE = StarRule(image=0.5, votes=0.3, shift=0.0, limit=4.0)


def sources(widths, fluxes, seed=0, rms=1.0):
    """Sums over round Gaussian sources in noise: weights, powers, numbers of pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    weights, powers, n_pixels = [], [], []
    for width, flux in zip(widths, fluxes, strict=True):
        light = flux * np.exp(-(x**2 + y**2) / (2 * width**2)) / (2 * np.pi * width**2)
        inside = light > 1
        noisy = np.arcsinh(light + rng.normal(size=light.shape))[None]
        pair = light_powers(noisy, None if rms is None else np.full(light.shape, rms))
        powers.append(pair[:, inside].sum(axis=1))
        weights.append(np.sinh(noisy[0][inside]).sum())
        n_pixels.append(inside.sum())
    return np.array(weights), np.transpose(powers), np.array(n_pixels)


def population(n_stars, n_galaxies, seed=0):
    """Widths, fluxes and whether each is a star, bright ones and faint ones."""
    rng = np.random.default_rng(seed)
    is_star = np.arange(n_stars + n_galaxies) < n_stars
    widths = np.where(is_star, 1.8, 1.8 * np.exp(rng.uniform(0.2, 0.8, len(is_star))))
    return widths, 10 ** rng.uniform(2.3, 4, len(is_star)), is_star


def test_the_stars_of_an_image_share_a_radius():
    widths, fluxes, is_star = population(40, 60)
    weights, powers, n_pixels = sources(widths, fluxes)
    star = np.where(is_star, 0.02, 0.01)  # the net takes all for galaxies
    compared, votes = star_evidence(star, 1 - star, weights, powers, n_pixels)
    assert (votes < 0).all()
    assert np.mean((compared > 0) == is_star) >= 0.97
    logits = star_logits(np.stack([compared, votes]), RULE)
    assert np.mean((logits > 0) == is_star) >= 0.9


def test_galaxies_alone_stay_galaxies():
    widths, fluxes, _ = population(0, 60, seed=1)
    evidence = star_evidence(np.full(60, 0.1), np.full(60, 0.9), *sources(widths, fluxes))
    assert np.mean(star_logits(evidence, RULE) > 0) <= 0.05


def test_few_sources_leave_the_vote_alone():
    widths, fluxes, is_star = population(1, 1)
    star = np.where(is_star, 0.9, 0.2)
    compared, votes = star_evidence(star, 1 - star, *sources(widths, fluxes))
    np.testing.assert_array_equal(compared, 0)
    np.testing.assert_allclose(votes, np.log(star / (1 - star)))
    nothing = star_evidence(*np.zeros((3, 0)), np.zeros((2, 0)), np.zeros(0))
    assert nothing.shape == (2, 0)


def test_the_order_and_the_unit_do_not_matter():
    widths, fluxes, is_star = population(20, 30, seed=2)
    star = np.where(is_star, 0.4, 0.2)
    sums = sources(widths, fluxes)
    evidence = star_evidence(star, 1 - star, *sums)
    order = np.random.default_rng(3).permutation(len(star))
    mixed = star_evidence(star[order], 1 - star[order], *(values[..., order] for values in sums))
    np.testing.assert_allclose(mixed, evidence[:, order], rtol=1e-9)
    for rms in (1e-12, 1e9):
        scaled = star_evidence(star, 1 - star, *sources(widths, fluxes, rms=rms))
        np.testing.assert_allclose(scaled, evidence, rtol=1e-6)


def test_a_saturated_star_is_left_to_the_vote():
    widths, fluxes, is_star = population(20, 30, seed=2)
    widths, fluxes = np.append(widths, 3.0), np.append(fluxes, 1e5)
    star = np.append(np.where(is_star, 0.4, 0.2), 0.99)
    evidence = star_evidence(star, 1 - star, *sources(widths, fluxes))
    assert evidence[0, -1] == 0 and star_logits(evidence, RULE)[-1] > 0


def test_the_noise_adds_nothing_to_the_powers():
    rng = np.random.default_rng(4)
    light = rng.normal(3.0, 1.0, size=(2, 500, 500))
    square, cube = light_powers(np.arcsinh(light), np.full((500, 500), 2.0))
    assert square.mean() == pytest.approx((2 * 3.0) ** 2, rel=0.01)
    assert cube.mean() == pytest.approx((2 * 3.0) ** 3, rel=0.01)
    light[:, 0, 0] = np.nan
    gap = light_powers(np.arcsinh(light), np.where(np.isnan(light[0]), np.nan, 2.0))
    assert (gap[:, 0, 0] == 0).all()


@pytest.mark.parametrize("values", [[1, 2], [1, -1, 0, 3], [np.nan, 1, 0, 3], ["a", 1, 0, 3], 7])
def test_bad_rules_are_refused(values):
    with pytest.raises((TypeError, ValueError)):
        check_star_rule(values)
    assert check_star_rule([0.5, 0.3, 0, 4]) == RULE


def two_masks(overlap):
    """A narrow source beside a wide one, whose mask covers `overlap` columns of the other's."""
    y, x = np.indices((40, 60))
    narrow = 60 * np.exp(-((x - 15) ** 2 + (y - 20) ** 2) / 8)
    wide = 900 * np.exp(-((x - 36) ** 2 + (y - 20) ** 2) / 60)
    first, second = (x < 20 + overlap) & (x >= 5), x >= 20
    near = abs(y - 20) < 12
    scaled = np.arcsinh(narrow + wide).astype(np.float32)[None]
    return Instances.from_masks([first & near, second & near]), scaled


def test_light_of_a_neighbour_does_not_make_a_source_wide():
    votes = np.full((2, 2), 0.5)
    alone, both = (
        measure_instances(sources, votes, scaled, None)
        for sources, scaled in map(two_masks, (0, 20))
    )
    np.testing.assert_allclose(both[0], alone[0])
    assert both[1, 5] < alone[1, 5]  # the other has lost the shared pixels
    sources, scaled = two_masks(0)
    twice = Instances.concatenate([sources, sources])  # no pixel is of one source alone
    four = measure_instances(twice, np.full((4, 2), 0.5), scaled, None)
    np.testing.assert_allclose(four, np.concatenate([alone, alone]))
    assert measure_instances(sources.select([]), votes[:0], scaled, None).shape == (0, 7)


def test_second_masks_of_low_score_change_nothing():
    """A low threshold shows each source several times."""
    sources, scaled = two_masks(0)
    votes = np.full((2, 2), 0.5)
    alone = measure_instances(sources, votes, scaled, None, 0.4)
    sure = replace(sources, scores=np.full(2, 0.9))
    unsure = replace(sources, scores=np.full(2, 0.1))
    both = Instances.concatenate([sure, unsure])
    four = measure_instances(both, np.full((4, 2), 0.5), scaled, None, 0.4)
    np.testing.assert_allclose(four[:2], alone)
    np.testing.assert_allclose(four[2:, :-1], alone[:, :-1])
    assert four[:, -1].tolist() == [1, 1, 0, 0]


def test_unlikely_sources_do_not_show_what_stars_are_like():
    widths, fluxes, is_star = population(40, 60)
    own = sources(widths, fluxes)
    star = np.where(is_star, 0.02, 0.01)
    expected = star_evidence(star, 1 - star, *own)
    pieces = sources(np.full(300, 0.9), np.full(300, 400.0), seed=3)  # narrower than any star
    votes = np.concatenate([star, np.full(300, 0.02)])
    joined = [np.concatenate(pair, axis=-1) for pair in zip(own, pieces, strict=True)]
    is_likely = np.arange(400) < 100
    told = star_evidence(votes, 1 - votes, *joined, is_likely)
    np.testing.assert_allclose(told[:, :100], expected)
    assert (told[0, 100:] > 0).all()  # narrow sources are stars
    misled = star_evidence(votes, 1 - votes, *joined)
    assert np.mean((misled[0, :100] > 0) == is_star) < 0.9


def test_the_measure_is_that_of_the_sums():
    sources, scaled = two_masks(0)
    votes = np.array([[0.7, 0.2], [0.1, 0.8]])
    rms = np.full(scaled.shape[1:], 2.0)
    pixels = [sources.masks[index] for index in (0, 1)]
    powers = np.transpose([light_powers(scaled, rms)[:, own].sum(axis=1) for own in pixels])
    weights = np.array([np.sinh(scaled[0, own].astype(float)).sum() for own in pixels])
    expected = star_evidence(*votes.T, weights, powers, sources.areas)
    measured = measure_instances(sources, votes, scaled, rms)
    np.testing.assert_allclose(evidence_of_instances(measured), expected)
