"""More training data out of the same: symmetries, resampling, brightness and noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.utils import check_random_state

from .._utils.validation import check_images
from ..base import check_targets
from ..structures import Instances, relabel
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
    random_state: RandomState = None,
) -> tuple[Floats, Labels]: ...
@overload
def augment(
    X: Images,
    y: Sources,
    n: int = 1,
    *,
    kinds: str | Sequence[str] = AUGMENTATIONS,
    random_state: RandomState = None,
) -> tuple[Any, Any]: ...
def augment(X, y, n=1, *, kinds=AUGMENTATIONS, random_state=None):
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
        What to do: ``"flip"`` turns by a multiple of 90° and mirrors (of an image that is not square, only by
        180°); ``"rotate"`` turns by any angle; ``"affine"`` stretches by up to a quarter and shears by up to a
        tenth; ``"brightness"`` changes level and contrast by up to a fifth of the image's spread; ``"noise"``
        adds normal noise of up to a third of the image's own.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    X : array or list
        ``n * n_images`` images, packed as `X` was, all copies of the first image first. Pixels from beyond the
        frame are NaN.
    y : array of int32 or list
        Their truth; a source that left the frame is gone, and labels are consecutive again.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import augment
    >>> image = np.zeros((1, 8, 8))
    >>> image[0, 1:3, 1:4] = 1.0
    >>> X, y = augment(image, image.astype(int), 5, kinds="flip", random_state=0)
    >>> X.shape, bool(((X > 0) == (y > 0)).all())
    ((5, 8, 8), True)
    """
    kinds = check_kinds(kinds)
    if n < 1:
        raise ValueError(
            f"n must be at least 1, the number of copies of each image. Got {n} instead."
        )
    images, layout = check_images(X)
    targets = check_targets(y, images)
    generator = np.random.default_rng(check_random_state(random_state).randint(2**31))
    pairs = [
        augment_one(image, target, generator, kinds)
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


def augment_one(image, target, generator, kinds):
    """Change one ``(n_bands, height, width)`` image and its target: a mask, a label map or `Instances`."""
    if "flip" in kinds:
        image, target = _flip(image, target, generator)
    if "rotate" in kinds or "affine" in kinds:
        matrix = _random_matrix(generator, "rotate" in kinds, "affine" in kinds)
        image, target = _resample_image(image, matrix), _resample_target(target, matrix)
    if "brightness" in kinds:
        image = _change_brightness(image, generator)
    if "noise" in kinds:
        image = _add_noise(image, generator)
    return image, target


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
    """Instances with the sources' new ``(box, crop)``; ``None`` for one that left the frame."""
    left = [index for index, one in enumerate(moved) if one is not None]
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
            target, [_resample_crop(target.shape, *one, matrix) for one in _boxes_and_crops(target)]
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
    # one more pixel all around: scipy takes what lies within half a pixel beyond the last centre for outside
    window = offset + matrix @ low - (y0 - 1, x0 - 1)
    framed = np.pad(crop.astype(np.uint8), 1)
    moved = ndimage.affine_transform(framed, matrix, window, tuple(high - low), order=0) > 0
    rows, columns = np.flatnonzero(moved.any(axis=1)), np.flatnonzero(moved.any(axis=0))
    if not rows.size:
        return None
    moved = moved[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    start = low + np.array([rows[0], columns[0]])
    return (*start, *(start + moved.shape)), moved


def _change_brightness(image, generator):
    contrast, level = 1 + generator.uniform(-0.2, 0.2), generator.uniform(-0.2, 0.2)
    if np.isnan(image).all():
        return image
    centre, spread = np.nanmedian(image), np.nanstd(image)
    return ((image - centre) * contrast + centre + level * spread).astype(image.dtype)


def _add_noise(image, generator):
    if np.isnan(image).all():
        return image
    centre = np.nanmedian(image, axis=(1, 2), keepdims=True)
    own = _NOISE_PER_MAD * np.nanmedian(np.abs(image - centre), axis=(1, 2), keepdims=True)
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return (image + generator.uniform(0, 1 / 3) * own * noise).astype(image.dtype)
