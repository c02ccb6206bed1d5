"""`BaseSeparator`: the template of every separator, from images and sources to `Separated`."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from .._utils.typed import fit_context
from .._utils.validation import as_float_image, check_images, check_same_shape
from ..io._inputs import open_observations
from ..structures import Instances, Separated, as_label_map
from ..structures._types import Images
from ._divide import separate_image
from ._positions import check_positions

if TYPE_CHECKING:
    from astropy.table import Table


class BaseSeparator(BaseEstimator, metaclass=ABCMeta):
    """Template of a separator: images and their sources in, the light of each source alone out.

    A subclass writes ``_templates(scene)``, the light of each source of one blend as far as it is
    known. Checking, finding blends and centres, dividing the image in proportion to the templates,
    and adding up are done here.
    """

    _parameter_constraints: dict = {"growth": [Interval(Real, 0, None, closed="left")]}

    growth: float
    #: Whose masks the result has: those given, or the pixels where a part exceeds 1 RMS.
    masks: str = "given"

    @fit_context
    def fit(self, X: Images | None = None, y: Any = None, rms: Images | None = None) -> Self:
        """Learn nothing; present so that separators can be used like other estimators.

        Parameters
        ----------
        X, y, rms : ignored

        Returns
        -------
        self : object
        """
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def separate(
        self,
        X: Images,
        sources: NDArray[Any] | Sequence[ArrayLike | Instances | Table],
        rms: Images | None = None,
    ) -> list[Separated]:
        """Divide the light of images among their sources.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images, linear in flux, with the background subtracted; NaN means "no data". A `Field`
            or `NDData` brings its RMS map and its mask.
        sources : array of int, shape (n_images, height, width), or list
            The sources of each image: a label map, `Instances`, or an `astropy.table.Table` with
            columns ``x`` and ``y``, the centres in 0-based pixels.
        rms : array or list, optional
            Standard deviation of the noise in the shape of `X`, or one map of shape (height, width)
            an image for all bands. By default one number a band, estimated from the pixels outside
            all sources.

        Returns
        -------
        list of Separated
            One per image.

        Warns
        -----
        UnsubtractedSkyWarning
            If the sky outside the sources is more than 1 RMS from zero.

        Raises
        ------
        ValueError
            If shapes disagree, or a position is outside the image, not finite, or within half a
            pixel of another.
        """
        self._validate_params()
        fields, _ = open_observations(X)
        if fields is not None:
            X = [field.image for field in fields]
            if rms is None and all(field.has_rms for field in fields):
                rms = [field.rms for field in fields]
            sources = sources if len(sources) == len(fields) else [sources]
        images, layout = check_images(X)
        has_bands = layout.has_bands if fields is None else len(images[0]) > 1
        given = list(sources)
        if len(given) != len(images):
            raise ValueError(
                f"X holds {len(images)} images, but sources holds {len(given)} entries: give one "
                "per image."
            )
        noises = [None] * len(images) if rms is None else check_rms(rms, images)
        checked = [
            _check_sources(entry, image, f"sources[{index}]")
            for index, (entry, image) in enumerate(zip(given, images, strict=True))
        ]
        return [
            _result(separate_image(self, image, noise, entry), has_bands)
            for image, noise, entry in zip(images, noises, checked, strict=True)
        ]

    def _complete(self, scene):
        """Return the scene with undetected sources appended; override to find them.

        Parameters
        ----------
        scene : Scene

        Returns
        -------
        Scene
        """
        return scene

    @abstractmethod
    def _templates(self, scene):
        """Return the light of each source in its stamp, without noise.

        Parameters
        ----------
        scene : Scene

        Returns
        -------
        list of ndarray, shape (n_bands, stamp height, stamp width)
            Positive, in the unit of the image.
        """


def check_rms(rms, images):
    maps = list(rms)
    if len(maps) != len(images):
        raise ValueError(
            f"X holds {len(images)} images, but rms holds {len(maps)}: give one per image."
        )
    checked = []
    for index, (entry, image) in enumerate(zip(maps, images, strict=True)):
        noise = as_float_image(np.asanyarray(entry), f"rms[{index}]")
        check_same_shape(noise.shape[-2:], image.shape[1:], f"rms[{index}]", f"X[{index}]")
        if noise.ndim == 3 and len(noise) not in (1, len(image)):
            raise ValueError(
                f"rms[{index}] has {len(noise)} bands, but X[{index}] has {len(image)}: give one "
                "map for all "
                "bands, or one for each."
            )
        if not (noise > 0).any():
            raise ValueError(no_noise(f"rms[{index}]"))
        checked.append(np.broadcast_to(noise, image.shape))
    return checked


def no_noise(name):
    """Return what is wrong with an RMS map that is nowhere positive."""
    return (
        f"{name} has no positive value, so it says nothing about the noise: check the file, or "
        "leave rms out to estimate the noise from the image."
    )


def _check_sources(entry, image, name):
    """`Instances` of a label map or of `Instances`; the positions of a table."""
    if hasattr(entry, "colnames"):
        return check_positions(entry, image.shape[1:], name)
    instances = (
        entry
        if isinstance(entry, Instances)
        else Instances.from_label_map(as_label_map(entry, name))
    )
    check_same_shape(instances.shape, image.shape[1:], name, f"X{name.removeprefix('sources')}")
    return instances


def _result(divided, has_bands):
    canvas, instances = divided
    return canvas.result(instances, has_bands=has_bands)
