"""The template of a transformer of images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self, overload

from numpy.typing import ArrayLike, NDArray

from .._utils import learn
from .._utils.typed import fit_context
from ..io import Field
from ..structures._types import Floats, Images
from ._estimator import ImageEstimator

__all__ = ["BaseImageTransformer"]


class BaseImageTransformer(  # type: ignore[call-arg]
    learn.TransformerMixin, ImageEstimator, auto_wrap_output_keys=None
):
    """Template of a transformer of images: same container out as in, NaN stays NaN.

    A subclass writes ``_transform_image(image)``, image of shape (n_bands, height, width) in and
    out, and, if it learns from data, ``_fit_images(images)``; it must not write to what it is
    given. If it looks at more than the pixel itself, it says so as `MosaicAware` describes.

    A `Field` goes in with its RMS map as the last band if `rms_band` or `_any_band` says so, and
    comes out as a `Field`. Otherwise its bands are transformed and the RMS map stays beside them,
    as it is.
    """

    reach = 0

    # Whether every band is treated alike, so that an RMS map may be one of them.
    _any_band = False

    def _takes_rms(self, n_bands, n_bands_fitted):
        if self._any_band and n_bands_fitted is None:
            return True
        return super()._takes_rms(n_bands, n_bands_fitted)

    def _keeps_rms(self, n_bands):
        """Whether the last of `n_bands` bands, an RMS map, still is the last band afterwards."""
        return True

    @fit_context
    def fit(self, X: Images, y: object = None) -> Self:
        """Check the images and learn what the transformer needs from them.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images; NaN means "no data". A list holds arrays of different sizes, fields or `NDData`.
        y : ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        images, _ = self._check_fit_images(X)
        self._fit_images(images)
        return self

    def set_output(self, *, transform: str | None = None) -> Self:
        """Accept scikit-learn's default output container; images do not fit into a table.

        Parameters
        ----------
        transform : {"default"} or None, default=None
            Both change nothing.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For any other container.
        """
        if transform not in ("default", None):
            raise ValueError(
                f"transform must be 'default' or None. Got {transform!r} instead: images do not "
                "fit into the rows "
                "of a table."
            )
        return self

    @overload
    def transform(self, X: Field) -> Field: ...
    @overload
    def transform(self, X: Sequence[Field]) -> list[Field]: ...
    @overload
    def transform(self, X: Sequence[ArrayLike]) -> list[Floats]: ...
    @overload
    def transform(self, X: NDArray[Any]) -> Floats: ...
    def transform(self, X):
        """Transform images.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images, or one `Field`, with as many bands as in `fit`. An `NDData` is taken for a
            `Field`.

        Returns
        -------
        array, list or `Field`
            The transformed images, packed as `X` was; float32 stays float32.
        """
        images, layout = self._check_images(X)
        self._validate_params()
        transformed = [self._transform_image(image) for image in images]
        return layout.pack(transformed, keeps_rms=self._keeps_rms(images[0].shape[0]))

    def _fit_images(self, images):
        """Learn from images; override if there is something to learn."""

    @abstractmethod
    def _transform_image(self, image):
        """Transform one image of shape (n_bands, height, width)."""
