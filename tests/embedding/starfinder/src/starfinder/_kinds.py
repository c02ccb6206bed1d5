"""A segmenter that tells stars, galaxies and over-subtracted sky apart, also on mosaics."""

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval

from galaxysegment.base import ScoreMaps
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR, label_components, remove_small

from ._segmenter import StarFinder


class KindFinder(StarFinder):
    """Connected pixels above a level: small sources are stars, large ones galaxies.

    The effective area of a source is the square of its light over the sum of the squares of the
    light of its pixels. Pixels as far below the sky as sources are above it are artefacts.

    Parameters
    ----------
    n_sigma, fwhm, n_pixels : float, float and int
        As of `StarFinder`.
    star_area : float, default=40.0
        Largest effective area of a star, in pixels.

    Attributes
    ----------
    sky_, noise_ : float
        As of `StarFinder`.
    """

    splits_blends = False  # sources are connected pixels
    classifies_sources = True
    _parameter_constraints: dict = {
        **StarFinder._parameter_constraints,
        "star_area": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, *, n_sigma=5.0, fwhm=2.0, n_pixels=4, star_area=40.0):
        super().__init__(n_sigma=n_sigma, fwhm=fwhm, n_pixels=n_pixels)
        self.star_area = star_area

    @property
    def reach(self):
        """Pixels that the Gaussian looks at on each side."""
        return int(4 * self.fwhm / 2.355 + 0.5)

    def _segment_image(self, image):
        light = self._smooth(image) - self.sky_
        return remove_small(label_components(light > self.n_sigma * self.noise_), self.n_pixels)

    def _score_maps(self, image):
        light = self._smooth(image) - self.sky_
        return ScoreMaps(light, self.noise_, classes=light[np.newaxis] ** 2)

    def classify_sources(self, measured):
        """Name the class of each source from sums over its pixels."""
        _, light, _, squares = measured.T
        return np.where(light**2 / squares <= self.star_area, STAR, GALAXY)

    def classify_stuff(self, maps):
        """Name the class of each pixel that is in no source."""
        return np.where(maps.light < -self.n_sigma * self.noise_, ARTEFACT, SKY)
