"""Sums over the pixels of sources, added up block by block of rows."""

import numpy as np

_FAR = np.iinfo(np.int64).max
# Sums of the brightness b of a pixel and of its place relative to the source's first pixel (dy,
# dx).
_MOMENTS = ("weight", "weight_y", "weight_x", "weight_yy", "weight_xx", "weight_yx")
_SHAPES = ("one_y", "one_x", "one_yy", "one_xx", "one_yx")


class SourceSums:
    """What a catalog is made of, for sources 0…n - 1; grows with the largest number seen.

    Parameters
    ----------
    n_bands : int
        Bands of the image.
    with_rms : bool
        Whether there is an RMS map.
    """

    def __init__(self, n_bands, with_rms):
        self.n, self.n_bands, self.with_rms = 0, n_bands, with_rms
        self.numbers = None  # labels of the sources, if they are not 1…n
        self.area = np.zeros(0, dtype=np.int64)
        self.first = np.zeros((0, 2), dtype=np.int64)
        self.box = np.zeros((0, 4), dtype=np.int64)
        self.moments = np.zeros((len(_MOMENTS) + len(_SHAPES), 0))
        self.flux = np.zeros((n_bands, 0))
        self.variance = np.zeros((n_bands, 0))
        self.missing = np.zeros((n_bands, 0), dtype=np.int64)
        self.peak = np.zeros(0)
        self.peak_place = np.zeros((0, 2), dtype=np.int64)
        self.flags = np.zeros((2, 0), dtype=bool)

    @property
    def highest(self):
        """Highest label."""
        return self.n if self.numbers is None else int(self.numbers.max(initial=0))

    def _grow(self, n):
        if n <= self.n:
            return
        more = max(n, 2 * self.n) - self.n
        for name, fill in (
            ("area", 0),
            ("moments", 0),
            ("flux", 0),
            ("variance", 0),
            ("missing", 0),
            ("flags", False),
        ):
            old = getattr(self, name)
            setattr(
                self,
                name,
                np.concatenate(
                    [old, np.full((*old.shape[:-1], more), fill, dtype=old.dtype)], axis=-1
                ),
            )
        self.peak = np.concatenate([self.peak, np.full(more, -np.inf)])
        for name, columns in (
            ("first", [-1, -1]),
            ("box", [_FAR, _FAR, 0, 0]),
            ("peak_place", [-1, -1]),
        ):
            setattr(self, name, np.concatenate([getattr(self, name), np.tile(columns, (more, 1))]))
        self.n += more

    def add(self, owner, y, x, image, rms, flags):
        """Add pixels.

        Parameters
        ----------
        owner : ndarray of int, shape (n_pixels,)
            Which source each pixel belongs to; a pixel that two share comes twice. Within a source,
            pixels come in raster order.
        y, x : ndarray of int, shape (n_pixels,)
        image : ndarray of float, shape (n_bands, n_pixels)
        rms : ndarray of float, shape (n_bands, n_pixels) or (1, n_pixels), or None
        flags : ndarray of bool, shape (2, n_pixels)
            Whether the pixel is, or touches, one without data; whether it is, or touches, another
            source's.
        """
        if not owner.size:
            return
        self._grow(int(owner.max()) + 1)
        index, own = _compress(owner)
        fresh = index[self.first[index, 0] < 0]
        first = np.full((len(index), 2), -1)
        first[own[::-1], 0], first[own[::-1], 1] = y[::-1], x[::-1]
        self.first[fresh] = first[self.first[index, 0] < 0]
        dy, dx = (y - self.first[owner, 0]).astype(float), (x - self.first[owner, 1]).astype(float)

        def total(values=None):
            return np.bincount(own, values, minlength=len(index))

        mean = image[0] if len(image) == 1 else mean_of_data(image)
        weight = np.where(mean > 0, mean, 0).astype(
            float
        )  # negative pixels and those without data do not count
        terms = (None, dy, dx, dy * dy, dx * dx, dy * dx)
        self.area[index] += total()
        for row, term in enumerate(terms):
            self.moments[row, index] += total(weight if term is None else weight * term)
        for row, term in enumerate(terms[1:], start=len(_MOMENTS)):
            self.moments[row, index] += total(term)
        self._add_bands(index, total, image, rms)
        self._add_extremes(index, own, y, x, mean)
        for flag, where in zip(self.flags, flags, strict=True):
            flag[owner[where]] = True

    def add_rows(self, labels, inner, top, image, missing, rms):
        """Add the pixels of rows of a label map, as `add` does, in one compiled pass.

        Parameters
        ----------
        labels : ndarray of int, shape (height, width)
            Label 1 is source 0; with a row more on each side, if there is one.
        inner : slice
            The rows to add.
        top : int
            Row of the image that is ``labels[0]``.
        image : ndarray of float, shape (n_bands, height, width)
            Without its background.
        missing : ndarray of bool, shape (height, width)
            Pixels without data in a band.
        rms : ndarray of float, shape (height, width) or (n_bands, height, width), or None
        """
        from ._sum_kernels import add_rows

        self._grow(int(labels[inner].max(initial=0)))
        brightness = for_kernels(image[0] if len(image) == 1 else mean_of_data(image))
        image = for_kernels(image)
        noise = np.zeros((0, 0, 0)) if rms is None else rms.reshape(-1, *labels.shape)
        add_rows(
            *(np.ascontiguousarray(labels), (inner.start, inner.stop), top, brightness, image),
            np.ascontiguousarray(noise, dtype=image.dtype),
            np.ascontiguousarray(missing if missing.any() else missing[:0, :0]),
            (
                *(self.area, self.first, self.box, self.moments, self.flux, self.variance),
                *(self.missing, self.peak, self.peak_place, self.flags),
            ),
        )

    def _add_bands(self, index, total, image, rms):
        for band, values in enumerate(image):
            missing = np.isnan(values)
            self.flux[band, index] += total(np.where(missing, 0, values))
            self.missing[band, index] += total(missing).astype(np.int64)
            if self.with_rms:
                noise = rms[band if len(rms) > 1 else 0]
                self.variance[band, index] += total(
                    np.where(missing, 0, np.square(noise, dtype=float))
                )

    def _add_extremes(self, index, own, y, x, brightness):
        first, last = np.empty(len(index), dtype=np.int64), np.empty(len(index), dtype=np.int64)
        first[own[::-1]], last[own] = y[::-1], y + 1  # pixels come in raster order
        left, right = np.full(len(index), _FAR), np.zeros(len(index), dtype=np.int64)
        np.minimum.at(left, own, x)
        np.maximum.at(right, own, x + 1)
        for column, extreme, bound in (
            (0, np.minimum, first),
            (1, np.minimum, left),
            (2, np.maximum, last),
            (3, np.maximum, right),
        ):
            self.box[index, column] = extreme(self.box[index, column], bound)
        peak = np.full(len(index), -np.inf)
        np.fmax.at(peak, own, brightness)
        is_peak = np.flatnonzero(brightness == peak[own])[::-1]
        place = np.empty((len(index), 2), dtype=np.int64)
        place[own[is_peak], 0], place[own[is_peak], 1] = (
            y[is_peak],
            x[is_peak],
        )  # the first of equals
        higher = peak > self.peak[index]
        self.peak[index[higher]] = peak[higher]
        self.peak_place[index[higher]] = place[higher]

    def finish(self, n):
        """Cut the reserve off: sources 0…n - 1."""
        self._grow(n)
        for name in ("moments", "flux", "variance", "missing", "flags"):
            setattr(self, name, getattr(self, name)[:, :n])
        for name in ("area", "first", "box", "peak", "peak_place"):
            setattr(self, name, getattr(self, name)[:n])
        self.n = n

    def shapes(self):
        """Centroids and covariances: ``y, x`` of shape (n,), and (n, 2, 2) in the order y, x.

        Weighted by brightness; by area where nothing of a source is brighter than zero.
        """
        n_moments = len(_MOMENTS)
        bright = self.moments[0] > 0
        weight = np.where(bright, self.moments[0], self.area)
        with np.errstate(invalid="ignore", divide="ignore"):
            y, x, yy, xx, yx = (
                np.where(bright, self.moments[1:n_moments], self.moments[n_moments:]) / weight
            )
        covariance = np.stack([yy - y * y, yx - y * x, yx - y * x, xx - x * x], axis=-1).reshape(
            -1, 2, 2
        )
        return y + self.first[:, 0], x + self.first[:, 1], covariance


def _compress(owner):
    """Return the sources that occur, in order, and the rank of each pixel's among them."""
    lowest, span = int(owner.min()), int(owner.max()) - int(owner.min()) + 1
    if span > 8 * owner.size + 1000:  # a table of that length would cost more than sorting
        return np.unique(owner, return_inverse=True)
    used = np.zeros(span, dtype=bool)
    used[owner - lowest] = True
    return np.flatnonzero(used) + lowest, (np.cumsum(used) - 1)[owner - lowest]


def mean_of_data(image):
    """Return the mean of the bands that have data, shape (n_bands, …) to (…)."""
    has_data = ~np.isnan(image)
    count = np.maximum(has_data.sum(axis=0), 1)
    mean = np.where(has_data, image, 0).sum(axis=0) / count
    return np.where(has_data.any(axis=0), mean, np.nan)


def for_kernels(image):
    """Return an image as kernels are compiled: contiguous, of 32 or 64 bits, in native order."""
    dtype = np.float32 if image.dtype.itemsize == 4 else np.float64
    return np.ascontiguousarray(image, dtype=dtype)
