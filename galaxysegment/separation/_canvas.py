"""`Canvas`: the parts of one image, collected blend by blend."""

import numpy as np

from ..structures import Separated
from ._positions import masks_of_parts


class Canvas:
    """Collects the parts of one image, or of one window of a mosaic.

    Parameters
    ----------
    exposure : Exposure
    n : int
        Sources that are known.

    Attributes
    ----------
    residual : ndarray of float32, shape (n_bands, height, width)
        Light that no part has taken so far; NaN where there are no data.
    order : list of int
        Sources in the order in which their parts were added.
    blends : list of int
        The blend of each source, as an index of its members' blend; -1 if it has no part yet.
    """

    def __init__(self, exposure, n):
        self.noise = exposure.detection_noise
        self.residual = np.where(exposure.no_data, np.nan, exposure.image).astype(np.float32)
        self.boxes, self.parts, self.places = [], [], []
        self.fluxes, self.errors, self.blendedness = [], [], []
        self.order, self.blends = [], []
        self.reserve(n)

    def __len__(self):
        return len(self.parts)

    def reserve(self, n, blend=-1):
        """Make room for `n` more sources of a blend; return their indices."""
        first = len(self.parts)
        zero = np.zeros(len(self.residual))
        for _ in range(n):
            self.boxes.append((0, 0, 0, 0))
            self.parts.append(None)
            self.places.append(None)
            self.fluxes.append(zero)
            self.errors.append(zero)
            self.blendedness.append(zero)
            self.blends.append(blend)
        return range(first, first + n)

    def add(self, index, place, box, share, light, noise):
        """Add the part of a source: its share of the light of all sources in a box."""
        y0, x0, y1, x1 = box
        light = share * light
        part = light.astype(np.float32)
        self.boxes[index], self.parts[index], self.places[index] = box, part, place
        self.residual[:, y0:y1, x0:x1] -= part
        own, everything = (share * light).sum(axis=(1, 2)), light.sum(axis=(1, 2))
        self.fluxes[index] = everything
        self.errors[index] = np.sqrt(((share * noise) ** 2).sum(axis=(1, 2)))
        np.divide(own, everything, out=own, where=everything > 0)
        self.blendedness[index] = np.where(everything > 0, 1 - own, np.nan)
        self.order.append(index)

    def masks(self, indices):
        """Masks of sources without masks: pixels where their light exceeds 1 RMS."""
        boxes = np.array([self.boxes[index] for index in indices])
        parts = [self.parts[index].mean(axis=0, dtype=np.float64) for index in indices]
        places = [self.places[index] for index in indices]
        return masks_of_parts(boxes, parts, places, self.noise, self.residual.shape[1:])

    def signal_to_noise(self):
        """Return the flux of each source over its error, bands weighted by their variance."""
        n_bands = len(self.residual)
        fluxes = np.array(self.fluxes, dtype=np.float64).reshape(-1, n_bands)
        errors = np.array(self.errors, dtype=np.float64).reshape(-1, n_bands)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (fluxes / errors**2).sum(axis=1) / np.sqrt((1 / errors**2).sum(axis=1))
        return np.nan_to_num(np.maximum(ratio, 0))

    def result(self, instances, *, has_bands):
        """Return the `Separated` of an image whose parts are all there."""
        n_bands = len(self.residual)
        bands = slice(None) if has_bands else 0

        def column(values):
            return np.array(values, dtype=np.float64).reshape(-1, n_bands)[:, bands]

        return Separated(
            sources=instances,
            boxes=np.array(self.boxes, dtype=np.int64).reshape(-1, 4),
            parts=[part[bands] for part in self.parts],
            residual=self.residual[bands],
            fluxes=column(self.fluxes),
            flux_errors=column(self.errors),
            blendedness=column(self.blendedness),
        )
