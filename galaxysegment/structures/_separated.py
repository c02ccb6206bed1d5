"""`Separated`: the light of one image, divided among its sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._instances import GALAXY, Instances
from ._labels import relabel

Floats32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Separated:
    """The light of an image divided among its sources; ``parts`` and ``residual`` add up to it.

    Parts are stored in boxes, because 100,000 sources of a mosaic would not fit into memory as
    whole images.

    Parameters
    ----------
    sources : Instances
        The n sources that were separated, in the order given.
    boxes : ndarray of int, shape (n, 4)
        ``y0, x0, y1, x1`` of each part, half-open, within the image. Larger than the boxes of
        `sources`, because light reaches beyond a mask.
    parts : list of n ndarrays of float32, shape (height, width) or (n_bands, height, width)
        The light of each source alone, in the unit of the image; 0 where there are no data. Where
        a source is fainter than the noise, the noise is left to the residual.
    residual : ndarray of float32, shape (height, width) or (n_bands, height, width)
        Light that belongs to no source; NaN where there are no data.
    fluxes, flux_errors : ndarray of float, shape (n,) or (n, n_bands)
        Sum of each part, in the unit of the image, and its standard deviation by the noise alone.
    blendedness : ndarray of float, shape (n,) or (n, n_bands)
        ``1 - sum(share * part) / sum(share * image)``: 0 for an isolated source, near 1 for a
        source in the light of a much brighter one [1]_. NaN if the source has no light.

    References
    ----------
    .. [1] Bosch et al. 2018, PASJ, 70, S5. :doi:`10.1093/pasj/psx080`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.separation import TemplateSeparator
    >>> y, x = np.indices((40, 48))
    >>> galaxies = [np.exp(-((y - 20) ** 2 + (x - centre) ** 2) / 18) for centre in (18, 29)]
    >>> image = 300 * galaxies[0] + 100 * galaxies[1]
    >>> labels = np.where(image > 3, np.where(x < 24, 1, 2), 0)
    >>> rms = np.ones((1, 40, 48))
    >>> separated, = TemplateSeparator().separate(image[None], labels[None], rms=rms)
    >>> [round(float(flux) / galaxy.sum()) for flux, galaxy in zip(separated.fluxes, galaxies)]
    [300, 100]
    """

    sources: Instances
    boxes: NDArray[np.int64]
    parts: list[Floats32]
    residual: Floats32
    fluxes: NDArray[np.float64]
    flux_errors: NDArray[np.float64]
    blendedness: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.sources)
        for name in ("boxes", "parts", "fluxes", "flux_errors", "blendedness"):
            if len(getattr(self, name)) != n:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} entries for {n} sources: give one per "
                    "source."
                )
        if self.residual.shape[-2:] != self.sources.shape:
            raise ValueError(
                f"residual has shape {self.residual.shape}, but sources lie in an image of shape "
                f"{self.sources.shape}: they must agree."
            )

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        return f"Separated(n={len(self)}, shape={self.residual.shape})"

    def isolated(self, index: int) -> Floats32:
        """Return the image of one source alone, in the shape of the whole image.

        Parameters
        ----------
        index : int
            Place of the source in `sources`.

        Returns
        -------
        ndarray of float32, shape (height, width) or (n_bands, height, width)
            Zero outside the box of the part.
        """
        image = np.zeros(self.residual.shape, dtype=np.float32)
        y0, x0, y1, x1 = self.boxes[index].tolist()
        image[..., y0:y1, x0:x1] = self.parts[index]
        return image

    def total(self) -> NDArray[Any]:
        """Return the sum of all parts, float32, in the shape of the image."""
        image = np.zeros(self.residual.shape, dtype=np.float32)
        for (y0, x0, y1, x1), part in zip(self.boxes.tolist(), self.parts, strict=True):
            image[..., y0:y1, x0:x1] += part
        return image

    def to_label_map(self) -> NDArray[np.int32]:
        """Give each pixel of a mask to the source with most of its light.

        Returns
        -------
        ndarray of int32, shape (height, width)
            Labels follow the order of the sources. A source that is nowhere the brightest gets no
            label, and the labels stay consecutive.
        """
        return relabel(self._owners())

    def to_panoptic(self) -> NDArray[np.int32]:
        """Class and instance id of each pixel of `to_label_map`, int32 of shape (2, h, w)."""
        owners, classes = self._owners(), self.sources.classes
        classes = np.full(len(self), GALAXY) if classes is None else classes
        semantic = np.concatenate([[0], classes]).astype(np.int32)[owners]
        return np.stack([semantic, relabel(owners)])

    def _owners(self):
        """Index plus one of the source with most of the light of each pixel; 0 in the sky."""
        owners = np.zeros(self.residual.shape[-2:], dtype=np.int32)
        most = np.full(owners.shape, -np.inf, dtype=np.float32)
        crops, boxes = self.sources.crops, self.sources.boxes.tolist()
        for index, (crop, box) in enumerate(zip(crops, boxes, strict=True)):
            window = slice(box[0], box[2]), slice(box[1], box[3])
            light = self._light_in(index, box)
            wins = crop & (light > most[window])
            owners[window][wins] = index + 1
            most[window][wins] = light[wins]
        return owners

    def _light_in(self, index, box):
        """Light of a source in a box, which may reach beyond that of its part."""
        part, own = self.parts[index], self.boxes[index]
        low, high = np.maximum(own[:2], box[:2]), np.minimum(own[2:], box[2:])
        light = np.zeros((box[2] - box[0], box[3] - box[1]), dtype=np.float32)
        if (low < high).all():
            (y0, x0), (y1, x1) = low - box[:2], high - box[:2]
            (v0, u0), (v1, u1) = low - own[:2], high - own[:2]
            flat = part if part.ndim == 2 else part.sum(axis=0)
            light[y0:y1, x0:x1] = flat[v0:v1, u0:u1]
        return light
