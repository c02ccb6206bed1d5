"""Images of any size read window by window: files and fields by section, or arrays."""

from functools import partial

import numpy as np

from .._utils.identity import identify, identify_file
from .._utils.rms import append_rms
from .._utils.validation import as_float_image, check_same_shape, is_path, warn_if_channels_last
from ._hdus import Hdu
from ._inputs import as_field, is_observation, without_rms
from ._mask import blank, mask_source
from ._nddata import in_unit, take_apart
from ._open import read_field
from ._sources import ArraySource, MaskedSource, PixelSource

# What brings nothing along but its pixels: no unit, no noise, no mask of astropy's.
_PLAIN = (np.ndarray, np.memmap, np.ma.MaskedArray)


class FieldPixels:
    """Windows of a `Field`, which reads no more of its files than it is asked for."""

    in_files = True

    def __init__(self, field, with_rms):
        self.field, self.with_rms = field, with_rms
        self.shape, self.header, self.unit = field.shape, field.header, field.unit
        self.n_bands = field.n_bands + with_rms

    @property
    def wcs(self):
        """The field's `astropy.wcs.WCS`, made when it is asked for: its import takes 0.3 s."""
        return self.field.wcs

    def read_parts(self, rows, columns):
        """Return image (n_bands, height, width) and RMS map, or None, of a window."""
        section = rows, columns
        image = self.field._source("image").read(section)
        return image, self.field._source("rms").read(section) if self.with_rms else None

    def read(self, rows, columns):
        """Return the bands of a window, the RMS map last, shape (n_bands, height, width)."""
        image, rms = self.read_parts(rows, columns)
        return image if rms is None else append_rms(image, rms)

    def identity(self):
        """Return the identity of these pixels: name, size, time and samples of the files."""
        sources = self.field._sources
        return [_identity(sources["image"]), _identity(sources["rms"]) if self.with_rms else None]

    def paths(self):
        """Return the files that are read, by the name of the argument."""
        return _paths_by_name(self.field._sources["image"], self.field._sources.get("rms"))

    def for_workers(self, folder):
        """Workers open the files themselves."""
        return partial(FieldPixels, self.field, self.with_rms)


def _identity(part):
    """Return JSON values that tell one source of pixels from another."""
    if isinstance(part, np.ndarray):
        return identify(part)
    if isinstance(part, Hdu):
        return [part.index, *identify_file(part.path)]
    if isinstance(part, partial):
        return repr(part.keywords)
    if isinstance(part, list | tuple):
        return [_identity(member) for member in part]
    if isinstance(part, PixelSource):
        # What a source remembers of its reading is no part of it.
        public = [member for name, member in vars(part).items() if not name.startswith("_")]
        return [_identity(member) for member in public]
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
    elif isinstance(part, PixelSource):
        yield from _paths(list(vars(part).values()))


class ArrayPixels:
    """Windows of arrays in memory, or in files of numpy's own format."""

    in_files = False

    def __init__(self, image, rms, header=None, wcs=None, mask=None, unit=None):
        self.image, self.rms, self.mask = image, rms, mask
        self.header, self.wcs, self.unit = header, wcs, unit
        self.shape = tuple(image.shape[-2:])
        self.with_rms = rms is not None
        self.n_bands = len(image) + self.with_rms

    def read_parts(self, rows, columns):
        """Return image (n_bands, height, width) and RMS map, or None, of a window."""
        image = as_float_image(self.image[..., rows, columns], "image")
        if self.mask is not None:
            image = blank(image, self.mask[..., rows, columns])
        if self.rms is None:
            return image, None
        return image, as_float_image(self.rms[..., rows, columns], "rms")

    def read(self, rows, columns):
        """Return the bands of a window, the RMS map last, shape (n_bands, height, width)."""
        image, rms = self.read_parts(rows, columns)
        return image if rms is None else append_rms(image, rms)

    def identity(self):
        """Return what tells these pixels from others."""
        return identify((self.image, self.rms, self.mask))

    def paths(self):
        """Return the files that are read, by the name of the argument: those of memory maps."""
        return _paths_by_name(self.image, self.rms) | {"mask": list(_paths(self.mask))}

    def for_workers(self, folder):
        """Put the arrays into files, so that no worker holds a copy of its own."""
        parts = []
        for name, array in (("image", self.image), ("rms", self.rms), ("mask", self.mask)):
            if array is not None:
                np.save(
                    folder / f"{name}.npy",
                    np.ma.filled(array.astype(float), np.nan) if np.ma.isMA(array) else array,
                )
            parts.append(None if array is None else folder / f"{name}.npy")
        return partial(_open_arrays, *parts, self.header, self.wcs)


class _Stored:
    """An array in a file, mapped anew for every read: mapped pages count as a worker's memory."""

    def __init__(self, path):
        self.path = path
        mapped = np.load(path, mmap_mode="r")
        self.shape, self.dtype = mapped.shape, mapped.dtype

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return np.array(np.load(self.path, mmap_mode="r")[index])


def _open_arrays(image, rms, mask, header, wcs):
    image, rms, mask = (None if path is None else _Stored(path) for path in (image, rms, mask))
    return ArrayPixels(image, rms, header, wcs, mask)


def open_pixels(
    image,
    rms,
    *,
    mask=None,
    hdu=None,
    rms_hdu=None,
    mask_hdu=None,
    rms_kind="rms",
    mask_bits=None,
    takes_rms=None,
):
    """Turn what users pass as an image into something that reads windows.

    Parameters
    ----------
    image : path, list of paths, Field, NDData, Quantity or ndarray
    rms : path, ndarray, bool or None
        True takes the map that comes with the image, False leaves it out. None takes it if there is
        a map and `takes_rms` says so; otherwise pixels without RMS have no data.
    mask : path, ndarray or None
    hdu, rms_hdu, mask_hdu, rms_kind, mask_bits
        As of `galaxysegment.io.read_field`.
    takes_rms : callable, optional
        Whether an RMS map is wanted beside an image of this many bands; always, if left out.

    Returns
    -------
    FieldPixels or ArrayPixels
    """
    is_file = is_path(image)
    is_field = not is_file and type(image) not in _PLAIN and is_observation(image)
    _check_rms_kind(rms, is_file, is_field)
    if is_file:
        given = rms if is_path(rms) else None
        hdus = {"hdu": hdu, "rms_hdu": rms_hdu, "mask_hdu": mask_hdu}
        field = read_field(
            image, rms=given, mask=mask, rms_kind=rms_kind, mask_bits=mask_bits, **hdus
        )
    elif is_field:
        has_map = not (rms is None or isinstance(rms, bool))
        field = as_field(image, rms if has_map else None)
        masked = mask_source(field._source("image"), mask, mask_hdu, mask_bits)
        field = field if mask is None else field._with_sources(image=masked)
    else:
        rms = None if rms is False else rms
        return _open_array(image, rms, {"mask": mask, "hdu": mask_hdu, "bits": mask_bits})
    if rms is True and not field.has_rms:
        raise ValueError(
            "rms=True takes the RMS map that comes with the image, but there is none: "
            "pass its path."
        )
    if rms is False:
        return _field_pixels(field, with_rms=False)
    if rms is None and not (field.has_rms and (takes_rms is None or takes_rms(field.n_bands))):
        return _field_pixels(without_rms(field), with_rms=False)
    return _field_pixels(field, with_rms=True)


def _check_rms_kind(rms, is_file, is_field):
    """Refuse an RMS map of another kind than the image, before any file is opened."""
    if rms is None or rms is False:
        return
    allowed, what = "an array or None", "an array"
    if is_file:
        allowed, what = "a file, True, False or None", "a file"
    elif is_field:
        allowed, what = "an array, True, False or None", "a Field or NDData"
    if (rms is True and not (is_file or is_field)) or (is_path(rms) != is_file and rms is not True):
        raise TypeError(f"rms must be {allowed} if image is {what}. Got {rms!r} instead.")


def _field_pixels(field, *, with_rms):
    sources = field._sources
    names = ("image", "rms") if with_rms else ("image",)
    if all(isinstance(sources[name], ArraySource) for name in names):
        rms = field.rms if with_rms else None
        return ArrayPixels(field.image, rms, field.header, field.wcs, unit=field.unit)
    return FieldPixels(field, with_rms)


def _open_array(image, rms, mask_options):
    """Open an array: it stays as it is, and becomes floats window by window."""
    mask = unit = None
    if type(image) not in _PLAIN:
        parts = take_apart(image)
        image, mask, unit = parts.image, parts.mask, parts.unit
    image, rms = _check_arrays(image, None if rms is None else in_unit(rms, unit, "rms"))
    if any(option is not None for option in mask_options.values()):
        masked = mask_source(ArraySource(image), **mask_options)
        if isinstance(masked, MaskedSource):
            given = masked.mask.read()
            mask = given if mask is None else given | mask
    return ArrayPixels(image, rms, mask=mask, unit=unit)


def _check_arrays(image, rms):
    image = np.asanyarray(image)
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            "image must have shape (height, width) or (n_bands, height, width), with pixels. "
            f"Got shape {image.shape} instead."
        )
    warn_if_channels_last(image.shape, "image", 0)
    as_float_image(image[..., :1, :1], "image")  # the dtype is refused now, not in the first tile
    if rms is not None:
        rms = np.asanyarray(rms)
        check_same_shape(rms.shape[-2:], image.shape[-2:], "The RMS map", "the image")
        as_float_image(rms[..., :1, :1], "rms")
    return image if image.ndim == 3 else image[None], rms
