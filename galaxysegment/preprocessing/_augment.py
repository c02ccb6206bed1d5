"""More training data out of the same: symmetries, resampling, brightness and noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.utils import check_random_state

from .._utils.validation import check_images, check_rms_band
from ..structures import Instances, relabel
from ..structures._truth import check_targets
from ..structures._types import Floats, Images, Labels, RandomState, Sources

__all__ = ["AUGMENTATIONS", "augment", "augment_one", "check_kinds"]

#: What `augment` can do, in the order in which it does it.
AUGMENTATIONS = ("flip", "rotate", "affine", "brightness", "noise")
_NOISE_PER_MAD = (
    1.4826  # standard deviation of a normal distribution over its median absolute deviation
)


@overload
def augment(
    X: NDArray[Any],
    y: NDArray[Any],
    n: int = 1,
    *,
    kinds: str | Sequence[str] = AUGMENTATIONS,
    rms_band: int | str | None = "auto",
    random_state: RandomState = None,
) -> tuple[Floats, Labels]: ...
@overload
def augment(
    X: Images,
    y: Sources,
    n: int = 1,
    *,
    kinds: str | Sequence[str] = AUGMENTATIONS,
    rms_band: int | str | None = "auto",
    random_state: RandomState = None,
) -> tuple[Any, Any]: ...
def augment(X, y, n=1, *, kinds=AUGMENTATIONS, rms_band="auto", random_state=None):
    """Make `n` randomly changed copies of each image; the labels move with the pixels.

    Parameters
    ----------
    X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
        Images; NaN means "no data".
    y : array of shape (n_images, height, width), list of label maps or of `Instances`
        The truth.
    n : int, default=1
        Copies of each image.
    kinds : str or sequence of str, default=("flip", "rotate", "affine", "brightness", "noise")
        What to do. ``"flip"`` turns by a multiple of 90° (by 180° if the image is not square) and
        mirrors. ``"rotate"`` turns by any angle. ``"affine"`` stretches by up to 25 % and shears by
        up to 10 %. ``"brightness"`` multiplies each band by its own gain between 0.8 and 1.2 about
        its median, so that colours change too, and shifts its level by up to a fifth of its
        standard deviation. ``"noise"`` adds normal noise to each band, up to a third of the noise
        that the band has already.
    rms_band : int, "auto" or None, default="auto"
        Index of the RMS map among the bands. The map moves with the pixels, is multiplied by the
        gain, and added noise is combined with it in quadrature: RMS 3 and noise 1 make RMS 3.16.
        With several science bands, gain and noise are the root mean squares over these bands.
        None: there is no RMS map. "auto": the last band is one if it is never negative while
        another band is, as in images whose sky is subtracted.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    X : array or list
        ``n * n_images`` images, packed as `X` was, all copies of the first image first. Pixels from
        beyond the frame are NaN, and so is the RMS map where it was not positive.
    y : array of int32 or list
        Their truth; a source that left the frame is gone, and labels are consecutive again.

    Raises
    ------
    ValueError
        If a kind is unknown, `n` is below 1, or the images have no band `rms_band`.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import augment
    >>> image = np.zeros((1, 8, 8))
    >>> image[0, 1:3, 1:4] = 1.0
    >>> X, y = augment(image, image.astype(int), 5, kinds="flip", random_state=0)
    >>> X.shape, bool(((X > 0) == (y > 0)).all())
    ((5, 8, 8), True)

    An image and its RMS map: the noise that is added shows in the map.

    >>> pair = np.stack([np.random.default_rng(0).normal(0, 3, (64, 64)), np.full((64, 64), 3.0)])
    >>> X, y = augment(pair[None], image[:1].repeat(8, 1).repeat(8, 2) > 0, kinds="noise",
    ...                rms_band=-1, random_state=0)
    >>> added = (X[0, 0] - pair[0]).std()
    >>> bool(np.isclose(X[0, 1, 0, 0], np.hypot(3, added), rtol=0.01))
    True
    """
    kinds = check_kinds(kinds)
    if n < 1:
        raise ValueError(
            f"n must be at least 1, the number of copies of each image. Got {n} instead."
        )
    images, layout = check_images(X)
    targets = check_targets(y, images)
    rms_band = _find_rms_band(rms_band, images)
    generator = np.random.default_rng(check_random_state(random_state).randint(2**31))
    pairs = [
        augment_one(image, target, generator, kinds, rms_band)
        for image, target in zip(images, targets, strict=True)
        for _ in range(n)
    ]
    targets = [target if isinstance(target, Instances) else relabel(target) for _, target in pairs]
    as_list = any(isinstance(target, Instances) for target in targets)
    return layout.pack([image for image, _ in pairs]), targets if as_list else layout.pack_maps(
        targets
    )


def check_kinds(kinds):
    """Return `kinds` of augmentation as a tuple, refusing what is unknown."""
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds or ())
    unknown = [kind for kind in kinds if kind not in AUGMENTATIONS]
    if unknown:
        raise ValueError(
            f"Unknown augmentation {unknown[0]!r}: choose from {', '.join(AUGMENTATIONS)}."
        )
    return kinds


def _find_rms_band(rms_band, images):
    """Return the index of the RMS band, or None."""
    if rms_band is None:
        return None
    if isinstance(rms_band, str):
        if rms_band != "auto":
            raise ValueError(f"rms_band must be an int, 'auto' or None. Got {rms_band!r} instead.")
        return -1 if _last_band_is_rms(images) else None
    check_rms_band(rms_band, images[0].shape[0])
    return rms_band


def _last_band_is_rms(images):
    """Whether the last band is never negative, while other bands are."""
    if images[0].shape[0] < 2:
        return False
    science_is_negative = any((image[:-1] < 0).any() for image in images)
    return science_is_negative and not any((image[-1] < 0).any() for image in images)


def augment_one(image, target, generator, kinds, rms_band=None):
    """Change an image and its target.

    Parameters
    ----------
    image : ndarray of shape (n_bands, height, width)
    target : ndarray of shape (height, width) or Instances
        A mask, a label map or instances.
    generator : numpy.random.Generator
    kinds : tuple of str
        Of `AUGMENTATIONS`.
    rms_band : int or None, default=None
        Index of the RMS map.

    Returns
    -------
    image, target : ndarray, ndarray or Instances
    """
    if rms_band is not None:
        image = _without_bad_rms(image, rms_band)
    if "flip" in kinds:
        image, target = _flip(image, target, generator)
    if "rotate" in kinds or "affine" in kinds:
        matrix = _random_matrix(generator, "rotate" in kinds, "affine" in kinds)
        image, target = _resample_image(image, matrix), _resample_target(target, matrix)
    if "brightness" in kinds:
        image = _change_brightness(image, generator, rms_band)
    if "noise" in kinds:
        image = _add_noise(image, generator, rms_band)
    return image, target


def _without_bad_rms(image, rms_band):
    """Copy the image with NaN where the RMS is not positive: interpolation must spread no zero."""
    bad = ~(image[rms_band] > 0)
    if not bad.any():
        return image
    image = image.copy()
    image[rms_band][bad] = np.nan
    return image


def _flip(image, target, generator):
    square = image.shape[1] == image.shape[2]
    turns = int(generator.integers(4)) if square else 2 * int(generator.integers(2))
    mirror = bool(generator.integers(2))

    def move(array):
        array = np.rot90(array, turns, axes=(-2, -1))
        return array[..., ::-1] if mirror else array

    if not isinstance(target, Instances):
        return move(image), move(target)
    masks = [_moved_crop(target.shape, box, crop, move) for box, crop in _boxes_and_crops(target)]
    return move(image), _same_sources(target, masks)


def _boxes_and_crops(instances):
    return zip(instances.boxes.tolist(), instances.crops, strict=True)


def _moved_crop(shape, box, crop, move):
    """Box and crop of one source after a symmetry of the frame."""
    y0, x0, y1, x1 = box
    frame = np.zeros(shape, dtype=bool)
    frame[y0:y1, x0:x1] = True
    rows, columns = (np.flatnonzero(move(frame).any(axis=axis)) for axis in (1, 0))
    return (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1), move(crop)


def _same_sources(instances, moved):
    """Instances with the sources' new ``(box, crop)``; ``None`` if a source left the frame."""
    left = [index for index, source in enumerate(moved) if source is not None]
    classes = None if instances.classes is None else instances.classes[left]
    boxes = [moved[index][0] for index in left]
    return Instances(
        instances.shape,
        np.reshape(boxes, (-1, 4)),
        [moved[i][1] for i in left],
        instances.scores[left],
        classes,
    )


def _random_matrix(generator, rotate, affine):
    """Map from output to input offsets about the centre of the frame."""
    angle = generator.uniform(0, 2 * np.pi) if rotate else 0.0
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if affine:
        shear = np.array([[1.0, generator.uniform(-0.1, 0.1)], [0.0, 1.0]])
        matrix = matrix @ shear @ np.diag(np.exp(generator.uniform(-0.22, 0.22, size=2)))
    return matrix


def _offset(matrix, shape):
    centre = (np.array(shape) - 1) / 2
    return centre - matrix @ centre


def _resample_image(image, matrix):
    offset = _offset(matrix, image.shape[1:])
    return np.stack(
        [ndimage.affine_transform(band, matrix, offset, order=1, cval=np.nan) for band in image]
    )


def _resample_target(target, matrix):
    if isinstance(target, Instances):
        return _same_sources(
            target,
            [_resample_crop(target.shape, *source, matrix) for source in _boxes_and_crops(target)],
        )
    moved = ndimage.affine_transform(
        target.astype(np.int32), matrix, _offset(matrix, target.shape), order=0
    )
    return moved.astype(target.dtype)


def _resample_crop(shape, box, crop, matrix):
    """Box and crop of one source after resampling, computed on its own window only."""
    y0, x0, y1, x1 = box
    offset = _offset(matrix, shape)
    corners = np.array([[y, x] for y in (y0 - 1, y1) for x in (x0 - 1, x1)]) - offset
    corners = np.linalg.solve(matrix, corners.T)
    low = np.clip(np.floor(corners.min(axis=1)).astype(int), 0, shape)
    high = np.clip(np.ceil(corners.max(axis=1)).astype(int) + 1, 0, shape)
    if (high <= low).any():
        return None
    # one pixel more all around, because scipy takes the outer half of the last pixel for outside
    window = offset + matrix @ low - (y0 - 1, x0 - 1)
    framed = np.pad(crop.astype(np.uint8), 1)
    moved = ndimage.affine_transform(framed, matrix, window, tuple(high - low), order=0) > 0
    rows, columns = np.flatnonzero(moved.any(axis=1)), np.flatnonzero(moved.any(axis=0))
    if not rows.size:
        return None
    moved = moved[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    start = low + np.array([rows[0], columns[0]])
    return (*start, *(start + moved.shape)), moved


def _change_brightness(image, generator, rms_band):
    """Give each science band a gain and a level of its own, and the RMS map the mean gain."""
    shape = (_n_science(image, rms_band), 1, 1)
    gains = 1 + generator.uniform(-0.2, 0.2, size=shape)
    levels = generator.uniform(-0.2, 0.2, size=shape)
    science, rms = _split(image, rms_band)
    centres, spreads = _per_band(np.nanmedian, science), _per_band(np.nanstd, science)
    science = (science - centres) * gains + centres + levels * spreads
    return _join(science, None if rms is None else rms * _root_mean_square(gains), image, rms_band)


def _add_noise(image, generator, rms_band):
    """Add noise to each science band, and its variance to that of the RMS map."""
    science, rms = _split(image, rms_band)
    deviations = np.abs(science - _per_band(np.nanmedian, science))
    added = generator.uniform(0, 1 / 3) * _NOISE_PER_MAD * _per_band(np.nanmedian, deviations)
    noise = generator.standard_normal(science.shape, dtype=np.float32)
    rms = None if rms is None else np.hypot(rms, _root_mean_square(added))
    return _join(science + added * noise, rms, image, rms_band)


def _n_science(image, rms_band):
    return len(image) - (rms_band is not None)


def _split(image, rms_band):
    """Science bands and RMS map (or None), as they are."""
    if rms_band is None:
        return image, None
    return np.delete(image, rms_band, axis=0), image[rms_band]


def _join(science, rms, image, rms_band):
    """Put bands and RMS map where they are in `image`, in its dtype."""
    result = np.empty_like(image)
    is_rms = np.zeros(len(image), dtype=bool)
    if rms_band is not None:
        is_rms[rms_band] = True
        result[rms_band] = rms
    result[~is_rms] = science
    return result


def _per_band(statistic, bands):
    """A statistic of the pixels of each band, shape (n_bands, 1, 1); zero if all are NaN."""
    values = [0.0 if np.isnan(band).all() else statistic(band) for band in bands]
    return np.reshape(values, (-1, 1, 1))


def _root_mean_square(values):
    return np.sqrt(np.mean(np.square(values)))
