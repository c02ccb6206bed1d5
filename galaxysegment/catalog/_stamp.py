"""Non-parametric shape of one galaxy in its stamp."""

import numpy as np
from scipy import ndimage

_OUTLIER = 10  # standard deviations of its neighbours that a pixel may differ from them
_ANNULUS = 1.0  # pixels, width of the annulus of the Petrosian ratio
_ETA = 0.2  # Petrosian ratio
_GINI_SMOOTHING = 0.2  # Petrosian semi-axes
_CAS_EXTENT = 1.5  # Petrosian radii
_CAS_CENTRE = 0.25  # Petrosian radii
_SKY_BOX = 32  # pixels
_STEPS = 100
GOOD, SUSPECT, BAD = 0, 1, 2


class Stamp:
    """The image around one galaxy and what is measured on it.

    Parameters
    ----------
    image : ndarray of float64, shape (height, width)
        NaN is "no data".
    labels : ndarray of int, shape (height, width)
    own : int
        Label of the galaxy.
    """

    def __init__(self, image, labels, own):
        unknown = ~np.isfinite(image)
        clean = np.where(unknown, 0.0, image)
        self.masked = unknown | _outliers(clean) | ((labels != 0) & (labels != own))
        self.light = np.where(self.masked, 0.0, clean)
        self.source = np.where(labels == own, self.light, 0.0)
        self.is_sky = labels == 0
        self.flag = GOOD

    def measure(self):
        """Return the measurements by name; NaN for those that cannot be made."""
        if not self.source.sum() > 0:
            self.flag = BAD
            return {}
        self.sky = self._sky()
        self.centroid = self._centroid(self.source)
        self.first_radius = self._petrosian(self.centroid, 1.0, 0.0)
        self.centre = self._symmetric_centre()
        self.elongation, self.angle = self._shape(self.centre)
        radius = self._petrosian(self.centre, 1.0, 0.0)
        semi_major = self._petrosian(self.centre, self.elongation, self.angle)
        region = self._gini_region(semi_major)
        return {
            "gini": self._gini(region),
            "m20": self._m20(region),
            "concentration": self._concentration(radius),
            "asymmetry": self._asymmetry(self.centre),
            "smoothness": self._smoothness(radius),
            "petrosian_radius": radius,
            "petrosian_semi_major": semi_major,
            "x": self.centre[1],
            "y": self.centre[0],
        }

    def _doubt(self, flag):
        self.flag = max(self.flag, flag)

    def _sky(self):
        """Return a part of the stamp without sources; empty if there is none."""
        side = _SKY_BOX
        while side >= 2:
            free = _first_free_box(self.is_sky, side)
            if free is not None:
                return self.light[free[0] : free[0] + side, free[1] : free[1] + side]
            side //= 2
        self._doubt(BAD)
        return self.light[:0, :0]

    def sky_is_subtracted(self):
        """Whether the mean of the sky is within its scatter."""
        return bool(self.sky.size) and abs(self.sky.mean()) <= self.sky.std()

    @staticmethod
    def _centroid(image):
        y, x = np.indices(image.shape, sparse=True)
        return np.array([(image * y).sum(), (image * x).sum()]) / image.sum()

    def _sum(self, centre, major, elongation, angle):
        from ._morphology_kernels import ellipse_sum

        y, x = centre
        return ellipse_sum(self.light, self.masked, y, x, major, major / elongation, angle)

    def _petrosian(self, centre, elongation, angle):
        """Semi-major axis at which the light of an annulus is a fifth of the mean within."""

        def excess(major):
            light, area = self._sum(centre, major, elongation, angle)
            outer = self._sum(centre, major + _ANNULUS / 2, elongation, angle)
            inner = self._sum(centre, major - _ANNULUS / 2, elongation, angle)
            ring_area = outer[1] - inner[1]
            ring = abs((outer[0] - inner[0]) / ring_area) if ring_area > 1e-12 else 0.0
            mean = abs(light / area) if area > 0 else 0.0
            if mean == 0:
                self._doubt(BAD)
                return float(ring != 0) - _ETA
            return ring / mean - _ETA

        longest = np.hypot(*self.light.shape) * elongation
        below = None
        for major in np.linspace(_ANNULUS, longest, _STEPS):
            value = excess(major)
            if value == 0:
                return major
            if value < 0:
                break
            below = major
        else:
            self._doubt(BAD)
            return longest
        if below is None:
            self._doubt(BAD)
            return _ANNULUS
        return _root(excess, below, major)

    def _asymmetry(self, centre):
        from ._morphology_kernels import asymmetry_sums

        y, x = centre
        if not (0 <= x < self.light.shape[1] and 0 <= y < self.light.shape[0]):
            return 100.0  # keeps the minimizer inside
        radius = _CAS_EXTENT * self.first_radius
        area, light, difference = asymmetry_sums(self.light, self.masked, y, x, radius)
        if light == 0:
            return 100.0
        sky = np.abs(self.sky[::-1, ::-1] - self.sky).sum() / max(self.sky.size, 1)
        return (difference - area * sky) / light

    def _symmetric_centre(self):
        """Return the centre of the least asymmetry, ``y, x``."""
        from scipy.optimize import fmin

        def search(start):
            # In the order x, y: the simplex of the first steps depends on it.
            best = fmin(lambda p: self._asymmetry(p[::-1]), start[::-1], xtol=1e-6, disp=False)
            return best[::-1]

        farthest = _CAS_CENTRE * self.first_radius
        centre = search(self.centroid)
        if np.linalg.norm(centre - self.centroid) > farthest:
            self._doubt(SUSPECT)
            brightest = np.array(np.unravel_index(self.source.argmax(), self.source.shape), float)
            centre = search(brightest)
            if np.linalg.norm(centre - brightest) > farthest:
                self._doubt(BAD)
                centre = self.centroid
        if self.light[int(centre[0]), int(centre[1])] == 0:
            self._doubt(BAD)
        return centre

    def _shape(self, centre):
        """Return the axis ratio, and the angle of the major axis from x to y in radians."""
        y, x = np.indices(self.source.shape, sparse=True)
        y, x = y - centre[0], x - centre[1]
        xx, yy, xy = (np.sum(self.source * part) for part in (x * x, y * y, x * y))
        xx, yy, xy = np.array([xx, yy, xy]) / self.source.sum()
        if xx <= 0 or yy <= 0:
            self._doubt(BAD)
        while abs(xx * yy - xy * xy) < 1 / 144:
            xx, yy = (value + (1 / 12 if value >= 0 else -1 / 12) for value in (xx, yy))
        axes = np.sqrt(np.sort(np.abs(np.linalg.eigvalsh([[xx, xy], [xy, yy]]))))
        return axes[1] / axes[0], 0.5 * np.arctan2(2 * xy, xx - yy)

    def _gini_region(self, semi_major):
        """Return the pixels that are brighter than the mean at the Petrosian ellipse."""
        smooth = ndimage.gaussian_filter(self.light, _GINI_SMOOTHING * semi_major, mode="constant")
        outer, inner = semi_major + _ANNULUS / 2, semi_major - _ANNULUS / 2
        from ._morphology_kernels import ellipse_sum

        y, x = self.centroid
        light = [
            ellipse_sum(smooth, self.masked, y, x, major, major / self.elongation, self.angle)[0]
            for major in (outer, inner)
        ]
        area = np.pi * (outer**2 - inner**2) / self.elongation
        above = smooth >= (light[0] - light[1]) / area
        parts, n_parts = ndimage.label(above, structure=np.ones((3, 3)))
        if n_parts == 0 or above.all():
            self._doubt(BAD)
        elif n_parts > 1:
            self._doubt(SUSPECT)
            return parts == parts[np.unravel_index(smooth.argmax(), smooth.shape)]
        return above

    def _gini(self, region):
        values = np.sort(np.abs(self.light[region]))
        n = len(values)
        if n <= 1 or values.sum() == 0:
            self._doubt(BAD)
            return np.nan
        order = np.arange(1, n + 1)
        return np.sum((2 * order - n - 1) * values) / ((n - 1) * values.sum())

    def _m20(self, region):
        image = np.where(region, self.light, 0.0)
        if not image.sum() > 0:
            self._doubt(BAD)
            return np.nan
        centre = self._centroid(image)
        y, x = np.indices(image.shape, sparse=True)
        distance = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
        values = np.sort(image.ravel())
        brightest = values[np.cumsum(values) / values.sum() >= 0.8]
        total = (image * distance).sum()
        inner = (np.where(image >= brightest[0], image, 0.0) * distance).sum()
        if inner <= 0 or total <= 0:
            self._doubt(BAD)
            return np.nan
        return np.log10(inner / total)

    def _concentration(self, radius):
        radii = [self._light_radius(fraction, _CAS_EXTENT * radius) for fraction in (0.2, 0.8)]
        if not np.isfinite(radii).all() or min(radii) <= 0:
            self._doubt(BAD)
            return np.nan
        return 5 * np.log10(radii[1] / radii[0])

    def _light_radius(self, fraction, largest):
        total = self._sum(self.centre, largest, 1.0, 0.0)[0]
        if total <= 0:
            self._doubt(BAD)
            return np.nan

        def excess(radius):
            return abs(self._sum(self.centre, radius, 1.0, 0.0)[0]) / total - fraction

        low = 0.0
        for radius in np.linspace(0, largest, _STEPS):
            if excess(radius) > 0:
                return _root(excess, low, radius)
            low = radius
        return np.nan

    def _smoothness(self, radius):
        side = int(_CAS_CENTRE * radius)

        def clumps(image):
            return np.maximum(image - ndimage.uniform_filter(image, size=side), 0.0)

        from ._morphology_kernels import ellipse_sum

        y, x = self.centre
        outer, inner = _CAS_EXTENT * radius, _CAS_CENTRE * radius
        light, rough = (
            ellipse_sum(image, self.masked, y, x, outer, outer, 0.0)[0]
            - ellipse_sum(image, self.masked, y, x, inner, inner, 0.0)[0]
            for image in (self.light, clumps(self.light))
        )
        if light <= 0:
            self._doubt(BAD)
            return np.nan
        sky = clumps(self.sky).sum() / self.sky.size if self.sky.size else 0.0
        return (rough - np.pi * (outer**2 - inner**2) * sky) / light


def _root(function, low, high):
    from scipy.optimize import brentq

    return brentq(function, low, high, xtol=1e-6)


def _outliers(image):
    """Return the pixels that differ much from their eight neighbours."""
    weight = np.ones((3, 3)) / 8
    weight[1, 1] = 0
    mean = ndimage.convolve(image, weight, mode="nearest")
    square = ndimage.convolve(image**2, weight, mode="nearest")
    with np.errstate(invalid="ignore"):
        return np.abs(image - mean) > _OUTLIER * np.sqrt(square - mean**2)


def _first_free_box(free, side):
    """Return the first corner, in raster order, of a square of free pixels; None if none is."""
    height, width = (length - side for length in free.shape)
    if height <= 0 or width <= 0:
        return None
    taken = np.pad(np.cumsum(np.cumsum(~free, axis=0), axis=1), ((1, 0), (1, 0)))
    inside = (
        taken[side:, side:] - taken[:-side, side:] - taken[side:, :-side] + taken[:-side, :-side]
    )
    places = np.argwhere(inside[:height, :width] == 0)
    return places[0].tolist() if len(places) else None
