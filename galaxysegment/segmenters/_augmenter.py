"""Random changes of the training images of the deep segmenters."""

from ..preprocessing._augment import augment_one

__all__ = ["Augmenter"]


class Augmenter:
    """Random changes of a training image and its target; a class, so that it can be pickled.

    Parameters
    ----------
    changes : tuple of str, or callable
        Kinds of `augment_one`, or a function of image, target and generator.
    rms_band : int or None, default=None
        Index of the RMS map, for kinds.
    """

    def __init__(self, changes, rms_band=None):
        self.changes, self.rms_band = changes, rms_band

    @property
    def before_scaling(self):
        """Whether images are changed before they are scaled, as an RMS map must be."""
        return self.rms_band is not None

    def __call__(self, image, target, generator):
        if callable(self.changes):
            return self.changes(image, target, generator)
        return augment_one(image, target, generator, self.changes, rms_band=self.rms_band)
