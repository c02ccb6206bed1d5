"""Fractions with the help of what is known of each injected galaxy: model-assisted estimates."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import ndimage, stats

from ..datasets._population import draw_galaxies
from ..detection._background import background_maps

_N_DRAWN = 20_000  # galaxies of each bin whose probability is averaged
_SCALES = (1.0, 2.0)  # widths of the smoothing, in units of the PSF
_SIGMA_TO_FWHM = 2 * np.sqrt(2 * np.log(2))


class LocalNoise:
    """The image as a detection filter sees it, in units of its scatter beside sources.

    Parameters
    ----------
    pixels : ndarray of float, shape (height, width)
        The image before the injection.
    is_open : ndarray of bool, shape (height, width)
        Where galaxies may be injected.
    camera : Camera
    """

    def __init__(self, pixels, is_open, camera):
        light = pixels - background_maps(pixels)[0]
        light = np.where(np.isfinite(light), light, 0)
        width = camera.psf_fwhm / camera.pixel_scale / _SIGMA_TO_FWHM
        smooth = [ndimage.gaussian_filter(light, scale * width) for scale in _SCALES]
        self._maps = [image / max(image[is_open].std(), 1e-300) for image in smooth]
        self._places = np.flatnonzero(is_open)

    def at(self, y, x):
        """Return the smoothed images at pixels, shape (n, 2)."""
        return np.column_stack([image[y, x] for image in self._maps])

    def nearest(self, centres, axis):
        """Return the pixels of centres along an axis."""
        return np.clip(np.rint(centres).astype(int), 0, self._maps[0].shape[axis] - 1)

    def draw(self, rng, n):
        """Return the smoothed images at random places for galaxies."""
        places = self._places[rng.randint(len(self._places), size=n)]
        return self.at(*np.divmod(places, self._maps[0].shape[1]))


def assist(curve, sources, hits, noise, rng):
    """Return a curve whose fractions are difference estimates; see `injection_completeness`.

    Parameters
    ----------
    curve : FractionCurve
        Of the counts.
    sources : ndarray of dtype SOURCE, shape (n,)
        The injected galaxies.
    hits : ndarray of bool, shape (n,)
        Which were recovered.
    noise : LocalNoise
    rng : RandomState

    Returns
    -------
    FractionCurve
        With the counts of `curve`; without a hit or without a miss, `curve` itself.
    """
    if hits.all() or not hits.any():
        return curve
    y, x = (noise.nearest(sources[name], axis) for axis, name in enumerate("yx"))
    known = _features(sources, noise.at(y, x))
    model = _model().fit(known, hits)
    chance = model.predict_proba(known)[:, 1]
    edges, n = curve.edges, np.maximum(curve.n, 1)
    bin_of = np.clip(np.searchsorted(edges, sources["mag"], side="right") - 1, 0, len(n) - 1)
    surplus = np.bincount(bin_of, hits - chance, minlength=len(n)) / n
    scatter = np.sqrt(np.bincount(bin_of, (hits - chance) ** 2, minlength=len(n))) / n
    expected, error = _expected(model, edges, noise, rng)
    fraction = np.where(curve.n > 0, np.clip(expected + surplus, 0, 1), np.nan)
    half = stats.norm.ppf((1 + curve.confidence) / 2) * np.hypot(scatter, error)
    low, high = np.maximum(fraction - half, 0), np.minimum(fraction + half, 1)
    return replace(curve, fraction=fraction, low=low, high=high)


def _expected(model, edges, noise, rng):
    """Return the mean probability of galaxies of each bin at random places, and its error."""
    generator = np.random.default_rng(rng.randint(2**31 - 1))
    means, errors = [], []
    for low, high in pairwise(edges):
        galaxies = draw_galaxies(generator, _N_DRAWN, low, high)
        chance = model.predict_proba(_features(galaxies, noise.draw(rng, _N_DRAWN)))[:, 1]
        means.append(chance.mean())
        errors.append(chance.std() / np.sqrt(_N_DRAWN))
    return np.array(means), np.array(errors)


def _features(sources, light):
    """What decides whether a galaxy is recovered, shape (n, 6)."""
    return np.column_stack([
        sources["mag"], np.log(sources["radius"]), sources["bulge_fraction"],
        np.log(sources["disk_axis_ratio"]), light,
    ])  # fmt: skip


def _model():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    terms = PolynomialFeatures(2, include_bias=False)
    return make_pipeline(StandardScaler(), terms, LogisticRegression(C=10, max_iter=2000))
