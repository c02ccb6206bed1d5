"""The contract between `galaxysegment.mosaic` and an estimator that sees one window at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ._scores import ScoreMaps, signal_to_noise

if TYPE_CHECKING:
    from ..structures import Instances

__all__ = ["MosaicAware", "Statistic"]


class MosaicAware:
    """What `galaxysegment.mosaic.segment_mosaic` asks of every step of a pipeline.

    A mosaic is cut into tiles. The *write region* of a tile holds the pixels whose labels it
    writes. Its *read region* is the write region and a frame around it, the *context*, which is at
    least `reach` pixels wide. The segmenter sees read regions only. A segmenter whose result on the
    write region depends on nothing beyond the context gives the same labels in tiles as on the
    whole image.

    All transformers and segmenters inherit from this class. Override what differs for yours.

    Attributes
    ----------
    reach : int or None
        Number of pixels around a pixel that decide about it: 2 for a kernel of 5 × 5 pixels.
        Transformers have 0 by default. None, the default of segmenters, means "unknown": half of
        the overlap is then taken as context, and sources are joined if they share half of their
        pixels on a seam.
    phase : int, default=1
        Read regions begin at a multiple of this many pixels. A net that pools by 16 needs 16.
    finds_instances : bool, default=False
        Whether sources may overlap and have scores. Tiles then pass `Instances` on, else label
        maps.
    splits_blends : bool, default=True
        Whether the pixels of a source depend on the whole group of touching sources that it belongs
        to, as after deblending. Groups that no tile sees whole are then segmented again in a window
        of their own. False says that sources are connected pixels: they are joined from their
        pieces, which is faster.
    compares_sources : bool, default=False
        Whether `keep_sources` decides which sources stay once all sources of the mosaic are known,
        as SExtractor's cleaning does. Goes together with `splits_blends`.
    classifies_sources : bool, default=False
        Whether `classify_sources` names the class of each source, once all sources of the mosaic
        are known, and `classify_stuff` the class of each pixel in no source. Only subclasses of
        `BaseSegmenter` are asked. Not needed if your `Instances` bring classes that do not depend
        on the other sources.
    n_pixels : int, default=1
        Smallest number of pixels of a source.
    bridge : int, default=0
        Largest gap without data, in pixels, that a source may bridge if both ends are bright.
    label_bridge : bool, default=False
        Whether the pixels of such a gap belong to the source.
    no_data : {"nan", "auto"}, default="nan"
        With "auto", large regions of exactly equal pixels have no data, as NaN has none.
    works_in_threads : bool, default=False
        Whether several threads may work on windows at the same time, and gain time, because nearly
        all of the work is done by code that releases Python's interpreter lock. The workers of a
        mosaic are then threads of one process, which start at once and share the image and the
        compiled functions. Say so only if no method changes the estimator or anything global. The
        default makes workers processes.

    Examples
    --------
    A segmenter that takes half of the brightest pixel of the whole image for its threshold:

    >>> from galaxysegment.base import BaseSegmenter, Statistic
    >>> from galaxysegment.structures import label_components
    >>> class Brightest(Statistic):
    ...     def measure(self, rows, y0, shape):
    ...         return rows.max()
    ...     def combine(self, parts, shape):
    ...         return max(parts)
    >>> class HalfMaximum(BaseSegmenter):
    ...     _requires_fit = False
    ...     reach, splits_blends = 0, False
    ...     def statistics_needed(self) -> dict[str, Statistic]:
    ...         return {} if self._statistics else {"peak": Brightest()}
    ...     def _segment_image(self, image):
    ...         peak = self._statistics["peak"] if self._statistics else image.max()
    ...         return label_components(image[0] > peak / 2)
    >>> import numpy as np
    >>> from galaxysegment.mosaic import segment_mosaic
    >>> image = np.zeros((60, 60))
    >>> image[5, 5], image[40, 40] = 3.0, 10.0
    >>> int(segment_mosaic(HalfMaximum(), image, tile_size=20, progress=False).max())
    1
    """

    reach: int | None = None
    phase: int = 1
    finds_instances: bool = False
    splits_blends: bool = True
    compares_sources: bool = False
    classifies_sources: bool = False
    n_pixels: int = 1
    bridge: int = 0
    label_bridge: bool = False
    no_data: str = "nan"
    works_in_threads: bool = False
    # What `with_statistics` was given; None on an estimator that sees whole images.
    _statistics: Mapping[str, Any] | None = None
    _corner: tuple[int, int] = (0, 0)

    def statistics_needed(self) -> dict[str, Statistic]:
        """Name the statistics of the whole image that this step needs to work on a window.

        Returns
        -------
        dict of str to Statistic
            All are measured in one pass over the mosaic, as the steps before this one leave it.
            They are handed to `with_statistics`, and the estimator that it returns is asked again:
            it may need more, which depends on the first ones. An empty dict, the default, ends
            this.

        Raises
        ------
        ValueError
            If the step needs what tiles cannot give. The message says which parameter to change.
        """
        return {}

    def with_statistics(self, values: Mapping[str, Any], corner: tuple[int, int]) -> Self:
        """Return a copy of this estimator for one window of a mosaic.

        Parameters
        ----------
        values : mapping of str to object
            The values of all statistics that were asked for.
        corner : tuple of int
            Row and column in the mosaic of the first pixel of the window.

        Returns
        -------
        estimator
            By default a shallow copy that holds the arguments as ``_statistics`` and ``_corner``.
        """
        placed = copy(self)
        placed._statistics, placed._corner = values, corner
        return placed

    def find_candidates(
        self, image: NDArray[Any]
    ) -> tuple[NDArray[np.int32] | Instances, NDArray[np.float64]]:
        """Find and measure the sources of a window, instead of `predict`.

        Asked if `compares_sources`, or if both `finds_instances` and `classifies_sources`.

        Parameters
        ----------
        image : ndarray of shape (n_bands, height, width)
            The window as the steps before the segmenter leave it.

        Returns
        -------
        sources : ndarray of int32, shape (height, width), or Instances
            Label map 1…n of all sources, before any is compared with others. `Instances` if
            `finds_instances`.
        measured : ndarray of float64, shape (n, n_numbers)
            Numbers about each source, positions in pixels of the mosaic. They must not depend on
            the window as long as it holds the source and `reach` pixels around it.
        """
        raise NotImplementedError

    def keep_sources(self, measured: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Decide which sources stay; asked only if `compares_sources`.

        Parameters
        ----------
        measured : ndarray of float64, shape (n_sources, n_numbers)
            Of all sources of the mosaic, in the order of their first pixels. NaN for sources that
            are too large to be seen whole.

        Returns
        -------
        ndarray of bool, shape (n_sources,)
        """
        raise NotImplementedError

    def score_sources(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score sources from the sums of their `ScoreMaps`: signal to noise by default.

        Parameters
        ----------
        sums : ndarray of float64, shape (n_sources, 3 + n_classes)
            Over the pixels of each source: their number, the sum of the light, the sum of the
            squares of the noise, and the sum of each map of `ScoreMaps.classes`.

        Returns
        -------
        ndarray of float64, shape (n_sources,)
        """
        return signal_to_noise(sums)

    def classify_sources(self, measured: NDArray[np.float64]) -> NDArray[np.integer]:
        """Name the class of each source; asked only if `classifies_sources`.

        Parameters
        ----------
        measured : ndarray of float64, shape (n_sources, n_numbers)
            Of all sources of the image or the mosaic: the sums that `score_sources` gets, or, if
            `finds_instances`, the numbers of `find_candidates`.

        Returns
        -------
        ndarray of int, shape (n_sources,)
            1 is a galaxy and 2 a star by default.
        """
        raise NotImplementedError

    def classify_stuff(self, maps: ScoreMaps) -> NDArray[np.integer] | None:
        """Name the class of each pixel as if it were in no source, if `classifies_sources`.

        Panoptic maps of segmenters of label maps hold these classes outside of sources.

        Parameters
        ----------
        maps : ScoreMaps
            Of the image or of a part of it. The class of a pixel may depend on nothing but the
            values of the maps at this pixel.

        Returns
        -------
        ndarray of int, shape (height, width), or None
            None, the default, says that all of it is sky, which is class 0.
        """
        return None


class Statistic(ABC):
    """A property of a whole image, measured block by block to save memory."""

    def block_rows(self, shape: tuple[int, int]) -> int:
        """Blocks begin at multiples of this many rows; 1 by default.

        Parameters
        ----------
        shape : tuple of int
            ``(height, width)`` of the mosaic.
        """
        return 1

    @abstractmethod
    def measure(self, rows: NDArray[Any], y0: int, shape: tuple[int, int]) -> Any:
        """Measure one block of whole rows.

        Parameters
        ----------
        rows : ndarray of shape (n_bands, n_rows, width)
        y0 : int
            Row of the mosaic in which the block begins.
        shape : tuple of int
            ``(height, width)`` of the mosaic.

        Returns
        -------
        object
            Something small that can be pickled.
        """

    @abstractmethod
    def combine(self, parts: Sequence[Any], shape: tuple[int, int]) -> Any:
        """Combine the results of all blocks, from top to bottom, to the value of the image."""
