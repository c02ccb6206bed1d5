"""Read images, label maps and RMS maps out of FITS files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..structures import GALAXY, SKY
from ..structures import relabel as close_gaps
from ..structures._types import Floats, Hdu, Labels, Section
from ._hdus import find_hdu, find_image, find_labels, scan
from ._noise import find_noise, read_noise
from ._pixels import image_header, read_floats, read_labels
from ._tables import SEMANTIC, read_map_classes

if TYPE_CHECKING:
    from astropy.io import fits

__all__ = [
    "image_shape",
    "read_header",
    "read_image",
    "read_label_map",
    "read_panoptic_map",
    "read_rms",
]


def read_image(
    path: str | Path, *, hdu: Hdu = None, section: Section | None = None, limits: bool = True
) -> Floats:
    """Read an image, or a section of it.

    Parameters
    ----------
    path : str or path
        FITS file: plain, tile-compressed (``.fz``), or packed as a whole (``.gz``, ``.bz2``,
        ``.xz``).
    hdu : int, str or (str, int), optional
        Index, name, or name and version of the HDU. By default the first with an image of two or
        more axes: empty HDUs and tables are passed over.
    section : tuple of two slices, optional
        Rows and columns to read. Of a plain file only these are read (it is memory-mapped), of a
        tile-compressed one only the tiles they touch. A file packed as a whole has to be unpacked
        from its beginning to the last row wanted.
    limits : bool, default=True
        Refuse a file of more than 10,000 HDUs, and one that unpacks to more than 256 MiB and more
        than 100 times its size. False reads it nonetheless.

    Returns
    -------
    ndarray of shape (height, width) or (n_bands, height, width)
        A new array in native byte order. float32 and float64 stay; integers of 8 and 16 bits become
        float32, wider ones float64. BSCALE and BZERO are applied; BLANK is NaN. Axes of length 1
        before the last two are dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the file is not FITS, truncated, has a header that promises more than the file holds, or
        goes beyond `limits`.
    ValueError
        If the HDU is missing (the message lists those present) or holds no image, or `section` is
        not inside it.

    See Also
    --------
    read_field : Image, RMS map and truth of an observation, read when needed.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from astropy.io import fits
    >>> from galaxysegment.io import read_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "image.fits"
    ...     fits.writeto(path, np.arange(12, dtype=">i2").reshape(3, 4))
    ...     read_image(path, section=np.s_[1:, :2])
    array([[4., 5.],
           [8., 9.]], dtype=float32)
    """
    return read_floats(find_image(path, hdu, scan(path, limits)), section)


def read_header(path: str | Path, hdu: Hdu = None, *, limits: bool = True) -> fits.Header:
    """Read a header; illegal cards are mended, or left out where that is impossible.

    Parameters
    ----------
    path : str or path
    hdu : int, str or (str, int), optional
        As for `read_image`; here it may also be a table or empty.
    limits : bool, default=True
        As for `read_image`.

    Returns
    -------
    `astropy.io.fits.Header`
        For a tile-compressed image, the header of the image, not of the table that stores it.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        As for `read_image`.

    Examples
    --------
    >>> import tempfile
    >>> from galaxysegment.io import read_header, write_label_map
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_label_map(f"{folder}/labels.fits", [[0, 5], [2, 2]])
    ...     read_header(path)["BITPIX"]
    32
    """
    return image_header(find_hdu(path, hdu, scan(path, limits)))


def image_shape(path: str | Path, hdu: Hdu = None, *, limits: bool = True) -> tuple[int, ...]:
    """Shape of what `read_image` returns, from the header alone.

    Parameters
    ----------
    path : str or path
    hdu : int, str or (str, int), optional
        As for `read_image`.
    limits : bool, default=True
        As for `read_image`.

    Returns
    -------
    tuple of int
        ``(height, width)`` or ``(n_bands, height, width)``.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        As for `read_image`.

    Examples
    --------
    >>> import tempfile
    >>> from galaxysegment.io import image_shape, write_label_map
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image_shape(write_label_map(f"{folder}/labels.fits.fz", [[0, 5, 5], [2, 2, 0]]))
    (2, 3)
    """
    return find_image(path, hdu, scan(path, limits)).image_shape


def read_label_map(
    path: str | Path,
    *,
    hdu: Hdu = None,
    section: Section | None = None,
    relabel: bool = False,
    limits: bool = True,
) -> Labels:
    """Read a label map, or a section of it.

    Parameters
    ----------
    path : str or path
        FITS file, as for `read_image`.
    hdu : int, str or (str, int), optional
        As for `read_image`; but an image extension named LABELS (or LABEL, SEGMENTATION, SEGMAP,
        SEGM, SEG, SEGIM) comes before the first image.
    section : tuple of two slices, optional
        Rows and columns to read, as for `read_image`.
    relabel : bool, default=False
        Number the sources 1…n; otherwise numbers stay as they are, gaps included.
    limits : bool, default=True
        As for `read_image`.

    Returns
    -------
    ndarray of int32, shape (height, width)
        0 = background, also where the file has NaN or BLANK. Labels that need 64 bits are numbered
        1…n.

    Raises
    ------
    FileNotFoundError, OSError
        As for `read_image`.
    ValueError
        As for `read_image`, and if the map holds negative or fractional numbers, or is a cube.

    Examples
    --------
    >>> import tempfile
    >>> from galaxysegment.io import read_label_map, write_label_map
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_label_map(f"{folder}/labels.fits", [[0, 5], [2, 2]])
    ...     read_label_map(path, relabel=True)
    array([[0, 2],
           [1, 1]], dtype=int32)
    """
    labels = read_labels(find_labels(path, hdu, scan(path, limits)), section)
    return close_gaps(labels) if relabel else labels


def read_panoptic_map(
    path: str | Path, *, section: Section | None = None, limits: bool = True
) -> Labels:
    """Read the class and the instance id of every pixel, or of a section.

    Parameters
    ----------
    path : str or path
        FITS file that `write_panoptic_map` or ``segment_mosaic(kind="panoptic")`` wrote: a label
        map, and an image extension named SEMANTIC. Without it, sources have the classes of the
        table CLASSES beside the label map; without a table they are galaxies (1).
    section : tuple of two slices, optional
        Rows and columns to read, as for `read_image`.
    limits : bool, default=True
        As for `read_image`.

    Returns
    -------
    ndarray of int32, shape (2, height, width)
        A panoptic map, as ``predict(…, output="panoptic")`` returns it. Numbers of sources stay as
        they are in the file.

    Raises
    ------
    FileNotFoundError, OSError
        As for `read_image`.
    ValueError
        As for `read_label_map`, or if the two maps differ in shape, or if a class is no whole
        number.

    See Also
    --------
    write_panoptic_map : With an example.
    """
    hdus = list(scan(path, limits))
    labels_hdu = find_labels(path, None, hdus)
    labels = read_labels(labels_hdu, section)
    semantic = next((hdu for hdu in hdus if hdu.is_image and hdu.name == SEMANTIC), None)
    if semantic is None:
        classes = read_map_classes(path, labels_hdu.image_shape)
        if classes is None:
            return np.stack([(labels > 0) * np.int32(GALAXY), labels])
        return np.stack([_class_of(labels, classes, labels_hdu), labels])
    if semantic.image_shape != labels_hdu.image_shape:
        raise ValueError(
            f"{semantic.label} has shape {semantic.image_shape}, but {labels_hdu.label} has "
            f"{labels_hdu.image_shape}: they must be of one image."
        )
    classes = read_floats(semantic, section)
    if not (np.isfinite(classes) & (classes == np.trunc(classes))).all():
        raise ValueError(f"{semantic.label} holds numbers that are no classes: fractions or NaN.")
    return np.stack([classes.astype(np.int32), labels])


def _class_of(labels, classes, hdu):
    """Class of each pixel, given the classes of labels 1, 2 and so on."""
    if labels.max(initial=0) > len(classes):
        raise ValueError(
            f"{hdu.label} has the label {labels.max()}, but the table beside it has classes of "
            f"{len(classes)} labels."
        )
    return np.concatenate([[SKY], classes]).astype(np.int32)[labels]


def read_rms(
    path: str | Path,
    *,
    hdu: Hdu = None,
    section: Section | None = None,
    kind: str = "rms",
    limits: bool = True,
) -> Floats:
    """Read an RMS map out of an RMS, variance or weight map.

    Parameters
    ----------
    path : str or path
        FITS file, as for `read_image`.
    hdu : int, str or (str, int), optional
        As for `read_image`; but an image extension whose header calls it a map of this `kind` comes
        before the first image.
    section : tuple of two slices, optional
        Rows and columns to read, as for `read_image`.
    kind : {"rms", "variance", "weight", "auto"}, default="rms"
        What the file holds; a weight is an inverse variance. ``"auto"`` looks for a telling word in
        the header (UTYPE, EXTNAME, EXTTYPE, PRODTYPE, in this order), then in the name of the file:
        WEIGHT, WHT, WGT, WT, WTMAP, IVAR, INVVAR or OOW for a weight; VARIANCE or VAR for a
        variance; RMS, ERR, ERROR, SIGMA, NOISE, UNCERT, STD or STDDEV for an RMS. If several fall,
        weight goes before variance before RMS. No word is an error.
    limits : bool, default=True
        As for `read_image`.

    Returns
    -------
    ndarray of shape (height, width) or (n_bands, height, width)
        Standard deviation, dtype as for `read_image`. NaN where the weight is 0, where the RMS or
        the variance is not positive, and where the map is NaN or infinite.

    Raises
    ------
    FileNotFoundError, OSError
        As for `read_image`.
    ValueError
        As for `read_image`; if `kind` is unknown or cannot be told; or if the file's only noise map
        calls itself something else than `kind`.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from astropy.io import fits
    >>> from galaxysegment.io import read_rms
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fits.writeto(f"{folder}/field.weight.fits", np.array([[4.0, 0.0], [1.0, 0.25]]))
    ...     read_rms(f"{folder}/field.weight.fits", kind="auto")
    array([[0.5, nan],
           [1. , 2. ]])
    """
    noise, kind = find_noise(path, hdu, kind, scan(path, limits))
    return read_noise(noise, kind, section)
