"""Write label maps and fields: whole or not at all, with WCS and what made them."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike

from .. import __version__
from ..structures import check_label_map
from ..structures._labels import plain_array
from ._headers import quiet
from ._tables import SEMANTIC, catalog_hdu, classes_hdu, instances_hdu
from ._wcs import kept_cards

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["write_label_map", "write_panoptic_map"]

FITS_ENDINGS = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz")
_LONGEST_REPR = 1000


def write_label_map(
    path: str | Path,
    labels: ArrayLike,
    *,
    header: fits.Header | WCS | None = None,
    segmenter: object = None,
    overwrite: bool = False,
) -> Path:
    """Write a label map to FITS with its WCS and what made it.

    The file appears whole or not at all: it is written beside the target under another name and
    then moved.

    Parameters
    ----------
    path : str or path
        Ends in ``.fits``, in ``.fits.gz``, or in ``.fits.fz`` for tile compression (RICE,
        lossless).
    labels : array-like of int, shape (height, width)
        0 = background. Written as 32-bit integers; as 64-bit ones if a label needs them.
    header : `astropy.io.fits.Header` or `astropy.wcs.WCS`, optional
        Of the image: its cards are kept, but for those about how that file was stored (BITPIX,
        BSCALE, BLANK, CHECKSUM, …), about axes after the second, and illegal ones.
    segmenter : estimator, optional
        What made the map. Its class is written as SEGCLASS and all its parameters, as JSON, as
        SEGPARAM. The version of this package (SEGVERS) and DATE are written anyway.
    overwrite : bool, default=False
        Replace a file of this name.

    Returns
    -------
    `pathlib.Path`
        The file written.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    ValueError
        If `labels` is not a label map, `header` is of an image of another size, or the suffix is
        unknown.
    OSError
        If the file cannot be written; nothing is left behind.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from galaxysegment import PhotutilsSegmenter
    >>> from galaxysegment.io import read_header, read_label_map, write_label_map
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels.fits"
    ...     written = write_label_map(path, [[0, 1], [2, 2]], segmenter=PhotutilsSegmenter())
    ...     read_label_map(path), read_header(path)["SEGCLASS"]
    (array([[0, 1],
           [2, 2]], dtype=int32), 'PhotutilsSegmenter')
    """
    path = check_target(path, overwrite)
    labels = _as_written(labels)
    header = kept_cards(header, labels.shape)
    header.extend(_provenance(segmenter), strip=False)
    hdus = [_image_hdu(path, labels, header, "LABELS")]
    if not isinstance(hdus[0], fits.CompImageHDU):
        hdus = [fits.PrimaryHDU(hdus[0].data, hdus[0].header)]
    return write_hdus(path, hdus)


def write_panoptic_map(
    path: str | Path,
    panoptic: ArrayLike,
    *,
    header: fits.Header | WCS | None = None,
    segmenter: object = None,
    overwrite: bool = False,
) -> Path:
    """Write a panoptic map to FITS: the label map, and the class of each pixel behind it.

    Parameters
    ----------
    path : str or path
        As for `write_label_map`.
    panoptic : array-like of int, shape (2, height, width)
        Class and instance id of every pixel, as ``predict(…, output="panoptic")`` returns them.
        Classes reach from -1 ("no data") to 32,767.
    header, segmenter, overwrite
        As for `write_label_map`.

    Returns
    -------
    `pathlib.Path`
        The file written. `read_label_map` reads its label map, `read_panoptic_map` all. The class
        of each pixel is in the extension SEMANTIC, as 16-bit integers.

    Raises
    ------
    FileExistsError, OSError
        As for `write_label_map`.
    ValueError
        If `panoptic` is no panoptic map, and as for `write_label_map`.

    Examples
    --------
    >>> import tempfile
    >>> from galaxysegment.io import read_panoptic_map, write_panoptic_map
    >>> semantic, labels = [[0, 3], [2, 2]], [[0, 0], [1, 1]]  # an artefact (3), a star (2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_panoptic_map(f"{folder}/panoptic.fits", [semantic, labels])
    ...     read_panoptic_map(path)
    array([[[0, 3],
            [2, 2]],
    <BLANKLINE>
           [[0, 0],
            [1, 1]]], dtype=int32)
    """
    path, planes = check_target(path, overwrite), plain_array(panoptic)
    if planes.ndim != 3 or len(planes) != 2 or planes.dtype.kind not in "iu":
        raise ValueError(
            "panoptic must hold whole numbers and have the shape (2, height, width): class and "
            f"instance id of every pixel. Got shape {planes.shape}, dtype {planes.dtype}, instead."
        )
    semantic, labels = planes[0], _as_written(planes[1])
    if not -1 <= semantic.min() <= semantic.max() <= np.iinfo(np.int16).max:
        raise ValueError(
            f"Classes must be from -1 to {np.iinfo(np.int16).max}. Got {semantic.min()} to "
            f"{semantic.max()} instead."
        )
    cards = kept_cards(header, labels.shape)
    own = cards.copy()
    own.extend(_provenance(segmenter), strip=False)
    hdus = [_image_hdu(path, labels, own, "LABELS")]
    if not isinstance(hdus[0], fits.CompImageHDU):
        hdus = [fits.PrimaryHDU(hdus[0].data, hdus[0].header)]
    return write_hdus(path, [*hdus, _image_hdu(path, semantic.astype(np.int16), cards, SEMANTIC)])


def _as_written(labels):
    """Return labels as int32, or as int64 if they need it; masked pixels are background."""
    labels = plain_array(labels)
    needs_64 = labels.dtype.kind in "iu" and labels.size and labels.max() > np.iinfo(np.int32).max
    checked = check_label_map(labels)
    if not labels.size:
        raise ValueError(f"labels has shape {labels.shape}: there is nothing to write.")
    return (
        labels.astype(np.int64) if needs_64 and labels.max() <= np.iinfo(np.int64).max else checked
    )


def _provenance(segmenter):
    """Cards that tell what made a file, and when."""
    cards = [
        ("SEGVERS", f"galaxysegment {__version__}", "software that made this file"),
        ("DATE", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "UTC"),
    ]
    if segmenter is not None:
        if not hasattr(segmenter, "get_params"):
            raise TypeError(
                "segmenter must be an estimator with get_params, or None. "
                f"Got {type(segmenter).__name__} instead."
            )
        cards.append(("SEGCLASS", type(segmenter).__name__, "what made the label map"))
        cards.append(("SEGPARAM", _as_json(segmenter.get_params())))
    return fits.Header(cards)


def _as_json(params):
    text = json.dumps({str(key): value for key, value in params.items()}, default=_simplify)
    # FITS doubles quotes and continues strings with &: escaped, no reader can trip over them
    return text.replace("'", "\\u0027").replace("&", "\\u0026")


def _simplify(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.size <= 100:
        return value.tolist()
    return repr(value)[:_LONGEST_REPR]


def write_field(field, path, overwrite):
    """Do the work of `Field.write`."""
    path = Path(path)
    path = check_target(path / "field.fits" if path.is_dir() else path, overwrite)
    hdus = [fits.PrimaryHDU(header=_provenance(None))]
    image = field.image if field.n_bands > 1 else field.image[0]
    hdus.append(_image_hdu(path, image, _field_cards(field, image.shape, is_image=True), "SCI"))
    maps = {
        "RMS": field.rms,
        "LABELS": field._read("labels") if "labels" in field._sources else None,
    }
    for name, pixels in maps.items():
        if pixels is not None:
            hdus.append(_image_hdu(path, pixels, _field_cards(field, pixels.shape), name))
    tables = (
        (field.classes, classes_hdu),
        (field.instances, instances_hdu),
        (field.catalog, catalog_hdu),
    )
    hdus.extend(make(content) for content, make in tables if content is not None)
    return write_hdus(path, hdus)


def _field_cards(field, shape, is_image=False):
    """Cards of one extension: the image keeps all of its header, the maps their sky positions."""
    if not is_image:
        return kept_cards(field.wcs, shape)
    cards = kept_cards(field.header, shape, keep_unit=True, keep_wcs=not field._has_own_wcs)
    if field._has_own_wcs:
        cards.update(kept_cards(field.wcs, shape))
    if len(shape) > 2 and cards.get("WCSAXES", 0) == 2:
        del cards["WCSAXES"]  # fewer than NAXIS, which the standard does not allow
    return cards


def _image_hdu(path, pixels, header, name):
    """Image extension; tile-compressed without loss where the name of the file says so."""
    if not path.name.lower().endswith(".fz"):
        # Big-endian, or astropy would swap the bytes of the caller's own array while it writes
        return fits.ImageHDU(pixels.astype(pixels.dtype.newbyteorder(">")), header, name=name)
    is_float = pixels.dtype.kind == "f" or pixels.dtype.itemsize > 4
    options = (
        {"compression_type": "GZIP_2", "quantize_level": 0}
        if is_float
        else {"compression_type": "RICE_1"}
    )
    return fits.CompImageHDU(pixels, header, name=name, **options)


def check_target(path, overwrite):
    """Check a path to write to, before any work is done."""
    path = Path(path)
    if not path.name.lower().endswith(FITS_ENDINGS):
        raise ValueError(f"path must end in .fits, .fits.gz or .fits.fz. Got {path} instead.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: pass overwrite=True to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.parent} to write {path.name} to: make it first."
        )
    return path


def write_hdus(path, hdus):
    """Write HDUs to a new file beside `path`, then move it there in one step."""
    if isinstance(hdus[0], fits.CompImageHDU):
        hdus = [fits.PrimaryHDU(), *hdus]
    target = path.resolve()  # a link stays a link
    draft = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        with draft.open("wb") as file:
            if path.name.lower().endswith(".gz"):
                with gzip.GzipFile(
                    filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0
                ) as packed:
                    _write_to(packed, hdus)
            else:
                _write_to(file, hdus)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _write_to(file, hdus):
    with quiet():
        fits.HDUList(hdus).writeto(file, output_verify="silentfix")
