"""Stars told from galaxies by comparing all sources of an image with each other.

A net sees a source and its surroundings, but not how wide the point sources of the image are.
The stars of an image share one radius. The radius where the smallest sources pile up is found
first; then a mixture of stars at that radius and larger galaxies is fitted, from bright to faint.
"""

from typing import NamedTuple

import numpy as np

__all__ = [
    "StarRule",
    "check_star_rule",
    "evidence_of_instances",
    "light_powers",
    "measure_instances",
    "star_evidence",
    "star_logits",
]

_LEAST = 1e-4  # least probability of a star or a galaxy
_LEAST_PIXELS = 4  # of a source whose radius is measured
_FEWEST = 3  # sources to find the radius of stars among
_ENOUGH = 8  # bright sources; with fewer, less bright ones help
_BRIGHT = 30.0  # S/N of the sources that show the radius of stars
_MOST = 5000  # sources that show it
_KERNEL = 0.03  # width of the kernel that finds the pile, in ln(radius)
_PILE = 0.4  # least height of the pile, relative to the highest
_CHANCE = 1.5  # sources that may share a radius by chance
_SCATTER = 0.05  # of the radii of stars beyond the noise, in ln(radius): PSFs vary over an image
_NOISE = 1.1  # scatter of ln(radius) times S/N
_BIAS, _MOST_BIAS = 10.0, 0.3  # the noise makes faint sources small: ln(radius) - bias / S/N²
_SATURATED = 500.0  # S/N from which a star may be wider than others, because its core is cut off
_GROUP, _MOST_GROUPS = 80, 300  # sources of similar S/N, which share one fraction of stars
_PULL = 100.0  # sources that the expected fraction of stars counts as
_SHAPE_PULL = 15.0  # sources that the typical galaxy of the brighter group counts as
_GALAXY, _SPREAD = 0.3, 0.2  # typical excess of a galaxy's ln(radius) at first, and its scatter
_LEAST_EXCESS, _SPREADS = 0.05, (0.05, 0.4)
_FRACTIONS = 0.01, 0.9  # of stars, least and most
_FIRST_FRACTIONS = 0.02, 0.6
_FEWER = 0.2  # dex per magnitude by which galaxies outgrow stars
_GAP, _LEAST_GAP, _VOTE_SCATTER = 5.0, 0.5, 1.5  # between the votes of stars and of galaxies
_VOTE_WEIGHT = 0.5  # radius and vote measure much the same
_ROUNDS = 60


class StarRule(NamedTuple):
    """How to weigh the net's vote and the comparison of the sources of an image.

    The logit of a star is ``votes * logit of the net + image * logit of the comparison + shift``.
    """

    image: float
    votes: float
    shift: float
    limit: float


def check_star_rule(values):
    """Return the numbers of a model file as a `StarRule`, or refuse them."""
    rule = StarRule(*(float(value) for value in values))
    if not np.isfinite(rule).all() or min(rule.image, rule.votes, rule.limit) < 0:
        raise ValueError(f"{values!r} are no weights of a rule for stars.")
    return rule


def light_powers(scaled_image, rms):
    """Return the square and the cube of the light without what the noise adds to their sums.

    Parameters
    ----------
    scaled_image : ndarray of float, shape (n_bands, height, width)
        What the net sees: the arcsinh of the light in units of the noise; NaN is "no data".
    rms : ndarray of float, shape (height, width), or None
        The noise; None if it is the same in sources as in the sky.

    Returns
    -------
    ndarray of float64, shape (2, height, width)
        Sums over the pixels of a source give its radius, see `star_logits`.
    """
    light = np.sinh(scaled_image.astype(np.float64)).mean(axis=0)
    noise = 1.0 if rms is None else np.nan_to_num(rms.astype(np.float64))
    light, variance = np.nan_to_num(light) * noise, noise**2 / len(scaled_image)
    return np.stack([light**2 - variance, light**3 - 3 * light * variance])


def measure_instances(instances, votes, scaled_image, rms, least_score=0.0):
    """Measure what the comparison of sources needs, of sources that may overlap.

    The light of a neighbour would make a source wide. So only the pixels count that no other source
    covers, if there are enough of them.

    Parameters
    ----------
    instances : Instances
    votes : ndarray of float, shape (n_sources, 2)
        Probabilities of the net that a source is a star, and that it is a galaxy.
    scaled_image, rms : ndarray
        As of `light_powers`.
    least_score : float, default=0
        Sources of lower scores are no neighbours: most are second masks of the same source.

    Returns
    -------
    ndarray of float64, shape (n_sources, 7)
        Both votes, the light in units of the noise, both sums of `light_powers`, the number of
        pixels, and whether the score reaches `least_score`.
    """
    light = np.sinh(np.nan_to_num(scaled_image.astype(np.float64))).mean(axis=0)
    planes = np.stack([light, *light_powers(scaled_image, rms), np.ones_like(light)])
    windows = [(slice(y0, y1), slice(x0, x1)) for y0, x0, y1, x1 in instances.boxes.tolist()]
    n_sources = np.zeros(instances.shape, dtype=np.int32)
    is_likely = instances.scores >= least_score
    for window, crop, counts in zip(windows, instances.crops, is_likely, strict=True):
        if counts:
            n_sources[window] += crop
    sums = np.zeros((len(windows), len(planes)))
    rows = zip(sums, windows, instances.crops, is_likely, strict=True)
    for row, window, crop, counts in rows:
        alone = crop & (n_sources[window] == counts)
        chosen = alone if np.count_nonzero(alone) >= _LEAST_PIXELS else crop
        row[:] = planes[(slice(None), *window)][:, chosen].sum(axis=1)
    return np.concatenate([votes, sums, is_likely[:, np.newaxis]], axis=1)


def evidence_of_instances(measured):
    """Return `star_evidence` of what `measure_instances` returns."""
    star, galaxy, weights, square, cube, n_pixels, is_likely = measured.T
    powers = np.stack([square, cube])
    return star_evidence(star, galaxy, weights, powers, n_pixels, is_likely > 0)


def star_evidence(star, galaxy, weights, powers, n_pixels, is_likely=None):
    """Return two logits of the probability that each source of an image is a star.

    Parameters
    ----------
    star, galaxy : ndarray of float, shape (n_sources,)
        Votes of the net.
    weights : ndarray of float, shape (n_sources,)
        Sums of the light in units of the noise.
    powers : ndarray of float, shape (2, n_sources)
        Sums of `light_powers`.
    n_pixels : ndarray of float, shape (n_sources,)
    is_likely : ndarray of bool, shape (n_sources,), optional
        The sources that show what stars and galaxies of the image are like; by default all.

    Returns
    -------
    ndarray of float, shape (2, n_sources)
        From the comparison of the sources, 0 if nothing can be said, and from the votes.
    """
    votes = _logit(star / np.maximum(star + galaxy, 1e-30))
    signal = np.maximum(weights / np.sqrt(np.maximum(n_pixels, 1)), 1.0)
    square, cube = powers
    usable = (square > 0) & (cube > 0) & (n_pixels >= _LEAST_PIXELS)
    # For a Gaussian, the cube of the sum of squares over the square of the sum of cubes is 9/4 pi
    # times the variance. The brightest pixels decide, so the edge of the mask matters little.
    radius = 1.5 * np.log(square[usable]) - np.log(cube[usable])
    compared = np.zeros(len(votes))
    shown = np.ones(len(radius), dtype=bool) if is_likely is None else is_likely[usable]
    compared[usable] = _compare(radius, signal[usable], votes[usable], shown)
    return np.stack([compared, votes])


def star_logits(evidence, rule):
    """Return the logit of the probability that each source is a star.

    Parameters
    ----------
    evidence : ndarray of float, shape (2, n_sources)
        As `star_evidence` returns it.
    rule : StarRule

    Returns
    -------
    ndarray of float, shape (n_sources,)
    """
    compared, votes = evidence
    compared = np.clip(compared, -rule.limit, rule.limit)
    return rule.image * compared + rule.votes * votes + rule.shift


def _logit(probability):
    probability = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.log(probability / (1 - probability))


def _compare(radius, signal, votes, shown):
    """Logit of a star from its radius among those of the image; 0 if nothing can be said.

    The sources that are `shown` say what stars and galaxies are like.
    """
    pile = _find_pile(radius[shown], signal[shown], votes[shown])
    if pile is None:
        return np.zeros(len(radius))
    centre, fraction = pile
    excess = radius - centre + np.minimum(_BIAS / signal**2, _MOST_BIAS)
    noise = np.hypot(_SCATTER, _NOISE / signal)
    top = np.quantile(votes[shown], 0.95)
    state = _Mixture(fraction, _GALAXY, _SPREAD, top, top - _GAP)
    order = np.flatnonzero(shown)
    order = order[np.argsort(-signal[order], kind="stable")]
    n_groups = min(max(1, round(len(order) / _GROUP)), _MOST_GROUPS)
    groups = np.array_split(order, n_groups)
    probability, brighter = np.empty(len(radius)), None
    group_of = np.searchsorted([-signal[group[-1]] for group in groups[:-1]], -signal)
    for number, group in enumerate(groups):
        level = np.median(signal[group])
        if brighter is not None:
            state = state._replace(fraction=_fainter(state.fraction, brighter / level))
        probability[group], state = state.fit(excess[group], noise[group], votes[group])
        other = ~shown & (group_of == number)
        probability[other] = state.probability(excess[other], noise[other], votes[other])
        brighter = level
    logits = _logit(probability)
    return np.where(signal > _SATURATED, np.maximum(logits, 0), logits)


def _find_pile(radius, signal, votes):
    """Return where the smallest sources pile up, and the share of stars there; None if nowhere.

    Sources that the net thinks of as stars, more than others of the image, count more.
    """
    chosen = np.flatnonzero(signal > _BRIGHT)
    if len(chosen) < _ENOUGH:
        chosen = np.flatnonzero(signal > _BRIGHT / 2)
    if len(chosen) < _FEWEST:
        return None
    chosen = chosen[np.argsort(-signal[chosen], kind="stable")]
    chosen = chosen[:: -(-len(chosen) // _MOST)]
    values, count = radius[chosen], len(chosen)
    rank = np.argsort(np.argsort(votes[chosen], kind="stable"), kind="stable")
    weight = ((rank + 0.5) / count) ** 2
    width = np.hypot(_KERNEL, 1 / signal[chosen])
    grid = np.arange(values.min() - 0.2, values.max() + 0.2, _KERNEL / 4)
    density = np.zeros(len(grid))
    for part in np.array_split(np.arange(count), -(-count // 200)):
        distance = (grid[:, None] - values[part]) / width[part]
        density += (np.exp(-(distance**2) / 2) * (weight * _KERNEL / width)[part]).sum(axis=1)
    inner = density[1:-1]
    peaks = np.flatnonzero((inner >= density[:-2]) & (inner > density[2:])) + 1
    high = peaks[density[peaks] >= _PILE * density.max()]
    if not len(high):
        return None
    share = 2 * (density[high[0]] - _CHANCE) / count
    return grid[high[0]], float(np.clip(share, *_FIRST_FRACTIONS))


def _fainter(fraction, ratio):
    """Fraction of stars to expect among sources that are fainter by a ratio."""
    odds = fraction / (1 - fraction) * 10 ** (-_FEWER * 2.5 * np.log10(max(ratio, 1.0)))
    return odds / (1 + odds)


class _Mixture(NamedTuple):
    """Stars, whose radius is known, and galaxies, whose radii are learnt.

    Parameters
    ----------
    fraction : float
        Of stars.
    excess, spread : float
        Typical excess of ln(radius) of a galaxy over that of a star, and its scatter.
    star_votes, galaxy_votes : float
        Typical logit of the net's votes.
    """

    fraction: float
    excess: float
    spread: float
    star_votes: float
    galaxy_votes: float

    def fit(self, excess, noise, votes):
        """Return the probability of each source of a group to be a star, and the new mixture.

        The mixture begins as `self`, which counts as some sources of its own.
        """
        state = self
        for _ in range(_ROUNDS):
            star = state.probability(excess, noise, votes)
            state = self._learn(state, star, excess, noise, votes)
        return star, state

    def probability(self, excess, noise, votes):
        """Return the probability of each source to be a star."""
        above = np.maximum(excess, 0.0)  # nothing is smaller than a star but by noise
        star = _gaussian(above, noise) + 1e-10
        galaxy = _gaussian(above - self.excess, np.hypot(noise, self.spread)) + 1e-10
        middle = (self.star_votes + self.galaxy_votes) / 2
        vote = (votes - middle) * (self.star_votes - self.galaxy_votes) / _VOTE_SCATTER**2
        odds = self.fraction / (1 - self.fraction) * star / galaxy
        odds *= np.exp(_VOTE_WEIGHT * np.clip(vote, -6, 6))
        return odds / (1 + odds)

    def _learn(self, state, star, excess, noise, votes):
        galaxy = 1 - star
        fraction = (star.sum() + _PULL * self.fraction) / (len(star) + _PULL)
        weight = galaxy * state.spread**2 / (state.spread**2 + noise**2)
        total = weight.sum() + _SHAPE_PULL
        typical = max((weight @ excess + _SHAPE_PULL * self.excess) / total, _LEAST_EXCESS)
        square = weight @ ((excess - typical) ** 2 - noise**2) + _SHAPE_PULL * self.spread**2
        spread = np.sqrt(np.clip(square / total, _SPREADS[0] ** 2, _SPREADS[1] ** 2))
        pull = _SHAPE_PULL
        star_votes = (star @ votes + pull * self.star_votes) / (star.sum() + pull)
        galaxy_votes = (galaxy @ votes + pull * self.galaxy_votes) / (galaxy.sum() + pull)
        return _Mixture(
            float(np.clip(fraction, *_FRACTIONS)),
            typical,
            spread,
            star_votes,
            min(galaxy_votes, star_votes - _LEAST_GAP),
        )


def _gaussian(value, sigma):
    return np.exp(-np.minimum((value / sigma) ** 2, 80.0) / 2) / sigma
