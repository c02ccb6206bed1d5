"""Images of any size read window by window: files and fields by section, or arrays."""

from functools import partial
from pathlib import Path

import joblib
import numpy as np

from .._utils.rms import append_rms
from .._utils.validation import as_float_image, check_same_shape
from ._field import Field
from ._hdus import Hdu
from ._open import read_field
from ._sources import ArraySource


class FieldPixels:
    """Windows of a `Field`, which reads no more of its files than it is asked for."""

    def __init__(self, field, with_rms):
        self.field, self.with_rms = field, with_rms
        self.shape, self.header, self.wcs = field.shape, field.header, field.wcs
        self.n_bands = field.n_bands + with_rms

    def read_parts(self, rows, columns):
        """Return image (n_bands, height, width) and RMS map of a window, the latter None if not wanted."""
        part = self.field.section(rows, columns)
        return part.image, part.rms if self.with_rms else None

    def read(self, rows, columns):
        """Return the bands of a window, the RMS map last, shape (n_bands, height, width)."""
        return append_rms(*self.read_parts(rows, columns))

    def identity(self):
        """Return what tells these pixels from others: files by name, size and time of change."""
        sources = self.field._sources
        return [_identity(sources["image"]), _identity(sources["rms"]) if self.with_rms else None]

    def paths(self):
        """Return the files that are read, by the name of the argument."""
        return _paths_by_name(self.field._sources["image"], self.field._sources.get("rms"))

    def for_workers(self, folder):
        """Workers open the files themselves."""
        return partial(FieldPixels, self.field, self.with_rms)


def _identity(part):
    """What tells one source of pixels from another, whatever it is made of, as JSON values."""
    if isinstance(part, np.ndarray):
        return joblib.hash(part)
    if isinstance(part, Hdu):
        stat = part.path.stat()
        return [str(part.path.resolve()), part.index, stat.st_size, stat.st_mtime_ns]
    if isinstance(part, partial):
        return repr(part.keywords)
    if isinstance(part, list | tuple):
        return [_identity(one) for one in part]
    if hasattr(part, "read"):
        return [_identity(one) for one in vars(part).values()]
    return part.__name__ if callable(part) else repr(part)


def _paths_by_name(image, rms):
    return {"image": list(_paths(image)), "rms": list(_paths(rms))}


def _paths(part):
    """Yield the files that a source of pixels, whatever it is made of, reads."""
    if isinstance(part, Hdu):
        yield part.path
    elif isinstance(part, np.ndarray):
        while isinstance(part, np.ndarray):  # a view knows the memory map that it looks at
            if isinstance(part, np.memmap) and part.filename is not None:
                yield part.filename
                return
            part = part.base
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _paths(item)
    elif hasattr(part, "read"):
        yield from _paths(list(vars(part).values()))


class ArrayPixels:
    """Windows of arrays in memory, or in files of numpy's own format."""

    def __init__(self, image, rms, header=None, wcs=None):
        self.image, self.rms, self.header, self.wcs = image, rms, header, wcs
        self.shape = tuple(image.shape[-2:])
        self.n_bands = len(image) + (rms is not None)

    def read_parts(self, rows, columns):
        """Return image (n_bands, height, width) and RMS map of a window, the latter None if not wanted."""
        image = as_float_image(self.image[..., rows, columns], "image")
        return image, None if self.rms is None else as_float_image(
            self.rms[..., rows, columns], "rms"
        )

    def read(self, rows, columns):
        """Return the bands of a window, the RMS map last, shape (n_bands, height, width)."""
        return append_rms(*self.read_parts(rows, columns))

    def identity(self):
        """Return what tells these pixels from others."""
        return joblib.hash((self.image, self.rms))

    def paths(self):
        """Return the files that are read, by the name of the argument: those of memory maps."""
        return _paths_by_name(self.image, self.rms)

    def for_workers(self, folder):
        """Put the arrays into files, so that no worker holds a copy of its own."""
        parts = []
        for name, array in (("image", self.image), ("rms", self.rms)):
            if array is not None:
                np.save(
                    folder / f"{name}.npy",
                    np.ma.filled(array.astype(float), np.nan) if np.ma.isMA(array) else array,
                )
            parts.append(None if array is None else folder / f"{name}.npy")
        return partial(_open_arrays, *parts, self.header, self.wcs)


class _Stored:
    """An array in a file. It is mapped anew for every read: what stays mapped counts as a worker's memory."""

    def __init__(self, path):
        self.path = path
        mapped = np.load(path, mmap_mode="r")
        self.shape, self.dtype = mapped.shape, mapped.dtype

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return np.array(np.load(self.path, mmap_mode="r")[index])


def _open_arrays(image, rms, header, wcs):
    return ArrayPixels(_Stored(image), None if rms is None else _Stored(rms), header, wcs)


def open_pixels(image, rms, *, hdu=None, rms_hdu=None, rms_kind="rms"):
    """Turn what users pass as a mosaic into something that reads windows.

    Parameters
    ----------
    image : path, list of paths, Field or ndarray
    rms : path, ndarray, True or None
    hdu, rms_hdu, rms_kind
        As of `galaxysegment.io.read_field`.

    Returns
    -------
    FieldPixels or ArrayPixels
    """
    if isinstance(image, Field) or _is_path(image):
        if not (rms is None or rms is True or (_is_path(rms) and not isinstance(image, Field))):
            allowed = "True or None" if isinstance(image, Field) else "a file, True or None"
            raise TypeError(
                f"rms must be {allowed} where image is a {'Field' if isinstance(image, Field) else 'file'}. "
                f"Got {type(rms).__name__} instead."
            )
        if not isinstance(image, Field):
            given = rms if _is_path(rms) else None
            image = read_field(image, rms=given, hdu=hdu, rms_hdu=rms_hdu, rms_kind=rms_kind)
        if rms is True and not image.has_rms:
            raise ValueError(
                "rms=True takes the RMS map that comes with the image, but there is none: pass its path."
            )
        if all(
            isinstance(image._sources[name], ArraySource)
            for name in ("image", "rms")
            if name in image._sources
        ):
            return ArrayPixels(image.image, image.rms if rms else None, image.header, image.wcs)
        return FieldPixels(image, rms is not None)
    if rms is True or _is_path(rms):
        raise TypeError(
            f"rms must be an array or None where image is an array. Got {rms!r} instead."
        )
    return ArrayPixels(*_check_arrays(image, rms))


def _is_path(value):
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return (
        all(isinstance(one, str | Path) for one in value)
        if is_list
        else isinstance(value, str | Path)
    )


def _check_arrays(image, rms):
    image = np.asanyarray(image)
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            "image must have shape (height, width) or (n_bands, height, width), with pixels. "
            f"Got shape {image.shape} instead."
        )
    as_float_image(image[..., :1, :1], "image")  # the dtype is refused now, not in the first tile
    if rms is not None:
        rms = np.asanyarray(rms)
        check_same_shape(rms.shape[-2:], image.shape[-2:], "The RMS map", "the image")
        as_float_image(rms[..., :1, :1], "rms")
    return image if image.ndim == 3 else image[None], rms
