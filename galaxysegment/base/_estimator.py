"""What transformers and segmenters of images share: checked images, RMS bands, tags."""

from __future__ import annotations

from abc import ABCMeta

from .._utils import learn
from .._utils.validation import check_images
from ..detection._contract import MosaicAware
from ..io._inputs import FieldLayout, open_observations, stack

__all__ = ["ImageEstimator"]


class ImageEstimator(MosaicAware, learn.BaseEstimator, metaclass=ABCMeta):
    """What transformers and segmenters share: checking of images, tags, statelessness."""

    _parameter_constraints: dict = {}
    # Subclasses that learn nothing from data set this to False: they work without `fit`.
    _requires_fit = True
    # A class of another package sets this to True to be kept by `galaxysegment.persistence`: its
    # parameters, and its attributes that end in an underscore, are numbers, strings, arrays, or
    # lists of such.
    _in_model_files = False
    #: Band that is the RMS map; an estimator that uses RMS maps has a parameter of this name.
    rms_band: int | None = None

    def _check_fit_images(self, X):
        images, layout = self._unpack(X, None)
        self.n_bands_in_ = images[0].shape[0]
        return images, layout

    @property
    def _n_bands_fitted(self):
        """Number of bands of the images in `fit`; None before, and if nothing was to be learnt."""
        return vars(self).get("n_bands_in_")

    def _check_images(self, X):
        learn.check_is_fitted(self, msg=self._unfitted_message())
        return self._unpack(X, self._n_bands_fitted)

    def _unfitted_message(self):
        """What to say if `predict` comes before `fit`; None for scikit-learn's words."""
        return None

    def _unpack(self, X, n_bands_fitted):
        """Split `X` into images (n_bands, height, width) and a layout that packs as `X` came."""
        fields, is_list = open_observations(X)
        if fields is None:
            return check_images(X, n_bands=n_bands_fitted)
        stacked = [
            field.has_rms and self._takes_rms(field.n_bands, n_bands_fitted) for field in fields
        ]
        images = [stack(field, with_rms) for field, with_rms in zip(fields, stacked, strict=True)]
        images, _ = check_images(images, n_bands=n_bands_fitted)
        return images, FieldLayout(fields, is_list, stacked)

    def _takes_rms(self, n_bands, n_bands_fitted):
        """Whether the RMS map of a field of `n_bands` bands is appended as the last band."""
        if self.rms_band is None:
            return n_bands_fitted == n_bands + 1
        if self.rms_band not in (-1, n_bands):
            raise ValueError(
                f"rms_band={self.rms_band}, but the RMS map of a Field or NDData becomes the last "
                "band: use rms_band=-1."
            )
        return True

    def __sklearn_is_fitted__(self):
        return not self._requires_fit or hasattr(self, "n_bands_in_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Images are not 2-D arrays, but scikit-learn yields one check of 47 if this tag is False
        # (scikit-learn issue 14057). It stays True so that every check is yielded; those that feed
        # 2-D data are replaced, by name, by the image checks of `galaxysegment.testing`.
        tags.input_tags.two_d_array = True
        tags.input_tags.allow_nan = True
        tags.requires_fit = self._requires_fit
        tags.target_tags.required = False
        return tags
