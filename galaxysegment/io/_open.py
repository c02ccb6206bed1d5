"""Open an observation that lies in one or several FITS files, reading headers only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from numpy.typing import ArrayLike

from ..structures._types import Hdu
from ._field import Field
from ._flags import find_own_mask
from ._hdus import check_complete, find_image, find_labels, find_named_labels, scan
from ._mask import mask_source
from ._noise import find_noise, plain_kind_of_header, read_noise
from ._partners import own_partner
from ._pixels import image_header, read_floats, read_labels
from ._sources import CubeSource, FitsSource, MaskedSource, StackSource
from ._tables import CATALOG, CLASSES, INSTANCES, read_catalog, read_classes, read_instances

__all__ = ["read_field"]


def read_field(
    image: str | Path | Sequence[str | Path],
    *,
    rms: str | Path | Sequence[str | Path] | None = None,
    mask: str | Path | Sequence[str | Path] | ArrayLike | bool | None = None,
    labels: str | Path | None = None,
    rms_kind: str = "rms",
    hdu: Hdu | list[Hdu] = None,
    rms_hdu: Hdu | list[Hdu] = None,
    mask_hdu: Hdu | list[Hdu] = None,
    labels_hdu: Hdu = None,
    mask_bits: int | Sequence[int] | None = None,
    limits: bool = True,
) -> Field:
    """Open an observation; only headers are read before pixels are asked for.

    Parameters
    ----------
    image : str, path or list of them
        FITS file of an image or a cube, or one file per band (for instance g, r, z).
    rms : str, path or list of them, optional
        RMS map: one for all bands, or one per band. Of several maps in its file, the one with the
        image's EXTVER or band (``RMS_G`` for ``SCI_G``) is taken. If left out, an extension of the
        image file whose header calls it an RMS, variance or inverse variance map (see `read_rms`)
        is taken, where its height and width are the image's; with several files, where each has
        one. An extension called WEIGHT or WHT is not taken unasked, for it may hold exposure times:
        say ``rms_hdu="WHT", rms_kind="weight"``.
    mask : str, path, list of them, array or False, optional
        Mask or data quality map: one for all bands, or one per band. Pixels that are not 0 have no
        data: they become NaN when the image is read. If left out, an extension of the image file is
        taken whose header says what it means: a map called MASK, BPM or BADPIX; one whose planes
        LSST's pipelines name (``MP_BAD``, ``MP_CR``, ``MP_NO_DATA``, ``MP_UNMASKEDNAN`` count,
        unless ``MP_INTRP`` says that the pixel was interpolated); DQ of JWST (do not use) and of
        HST (lost, bad, masked, unstable or hit by a cosmic ray). For any other, say
        ``mask_hdu="DQ"``; ``False`` takes none.
    labels : str or path, optional
        Label map. If left out, an extension of the first image file that is named as
        `read_label_map` says is taken, where its shape is the image's.
    rms_kind : {"rms", "variance", "weight", "auto"}, default="rms"
        What `rms` or `rms_hdu` holds, as for `read_rms`.
    hdu, rms_hdu, mask_hdu, labels_hdu : int, str or (str, int), optional
        HDU of image, RMS map, mask and labels, as for `read_image`, `read_rms` and
        `read_label_map`. The latter three without `rms`, `mask` or `labels` mean HDUs of the image
        files. Lists of `hdu`, `rms_hdu` and `mask_hdu` hold one per band: ``read_field("gri.fits",
        hdu=["SCI_G", "SCI_R", "SCI_I"])``.
    mask_bits : int or list of int, optional
        Which bits of a data quality map mean "no data": ``1 + 4096`` or ``[1, 4096]``; ``~4`` for
        every bit but 4. All bits by default.
    limits : bool, default=True
        As for `read_image`: False reads files that are packed more than 100 times, or have more
        than 10,000 HDUs.

    Returns
    -------
    Field
        Header and WCS are those of the first file. Tables CLASSES, INSTANCES (as `Field.write`
        makes them) and CATALOG of the first image file, or of the file of `labels`, come with it.

    Raises
    ------
    FileNotFoundError, OSError
        If a file is missing, not FITS or truncated.
    ValueError
        If an HDU is missing, or the shapes of image, RMS map, mask and labels disagree: found from
        the headers, before any pixel is read.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from galaxysegment.io import Field, read_field
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Field(np.zeros((30, 40)), rms=np.ones((30, 40))).write(folder)
    ...     field = read_field(path)
    ...     field, field.section(slice(0, 2), slice(0, 3)).image
    (Field(n_bands=1, shape=(30, 40), with rms), array([[[0., 0., 0.],
            [0., 0., 0.]]]))
    """
    files, hdu = _one_per_band([_FileHdus(path, limits) for path in _as_list(image)], hdu)
    bands = [find_image(file.path, own, file.hdus) for file, own in zip(files, hdu, strict=True)]
    _check_bands(bands)
    own_masks = mask is None and mask_hdu is None and mask_bits is None
    pixels = [
        _pixels_of(band, file.hdus if own_masks else None)
        for file, band in zip(files, bands, strict=True)
    ]
    sources = {"image": _stack(pixels, as_cube=True)}
    noise = _find_rms(files, bands, rms, rms_kind, rms_hdu, limits)
    if noise:
        sources["rms"] = _stack(
            [FitsSource(partial(_read_noise, kind=kind), map_hdu) for map_hdu, kind in noise]
        )
    if mask is None and mask_hdu is not None:
        mask = list(dict.fromkeys(file.path for file in files))
    if mask is False:
        mask = None
    if mask is not None or mask_bits is not None:
        sources["image"] = mask_source(sources["image"], mask, mask_hdu, mask_bits, limits)
    truth = files[0] if labels is None else _FileHdus(labels, limits)
    label_map = _find_labels(truth, bands[0], labels is not None, labels_hdu)
    if label_map is not None:
        sources["labels"] = FitsSource(read_labels, label_map)
    for used in (*bands, *(map_hdu for map_hdu, _ in noise), label_map):
        if used is not None:
            check_complete(used)
    shape = bands[0].image_shape[-2:]
    tables = {**_find_tables(truth, shape), **_find_tables(files[0], shape)}
    return Field._from_sources(
        sources, header=image_header(bands[0]), origin=bands[0].label, **tables
    )


class _FileHdus:
    """A file and its HDUs, scanned once."""

    def __init__(self, path, limits):
        self.path = path
        self.hdus = list(scan(path, limits))


def _as_list(paths):
    if not isinstance(paths, (list, tuple)):
        return [paths]
    if not paths:
        raise ValueError("image is an empty list: give one FITS file per band.")
    return list(paths)


def _check_bands(bands):
    """Check that several files hold one band each, of one shape."""
    shape = bands[0].image_shape
    for band in bands if len(bands) > 1 else ():
        if len(band.image_shape) == 3:
            raise ValueError(
                f"{band.label} is a cube of shape {band.image_shape}: "
                "in a list, each file is one band."
            )
        if band.image_shape != shape:
            raise ValueError(
                f"{band.label} has shape {band.image_shape}, but {bands[0].label} has shape "
                f"{shape}: all bands must agree."
            )


def _pixels_of(band, hdus):
    """Source of the pixels of a band, without data where a mask among `hdus` says so."""
    pixels = FitsSource(read_floats, band)
    mask = None if hdus is None else find_own_mask(band, hdus)
    if mask is None:
        return pixels
    check_complete(mask.hdu)
    return MaskedSource(pixels, mask)


def _stack(sources, as_cube=False):
    if len(sources) > 1:
        return StackSource(sources)
    return CubeSource(sources[0]) if as_cube and len(sources[0].shape) == 2 else sources[0]


def _read_noise(hdu, section, kind):
    return read_noise(hdu, kind, section)


def _one_per_band(files, hdus, prefix=""):
    """Return the file and the HDU argument of each band; one file may hold several bands."""
    if not isinstance(hdus, list):
        return files, [hdus] * len(files)
    if len(files) == 1 and hdus:
        files = files * len(hdus)
    if len(files) != len(hdus) or not hdus:
        raise ValueError(
            f"{prefix}hdu lists {len(hdus)} HDUs for {len(files)} files: "
            "give one HDU per file, or one file that holds all of them."
        )
    return files, hdus


def _find_rms(files, bands, rms, kind, hdu, limits):
    """Find the HDU and kind of each RMS map."""
    if rms is None and hdu is None:
        noise = [_find_own_rms(file, band) for file, band in zip(files, bands, strict=True)]
        return noise if all(noise) else []
    if rms is not None:
        files = [_FileHdus(path, limits) for path in _as_list(rms)]
    elif isinstance(hdu, list) and len(set(files)) == 1:
        files = files[:1]
    files, hdu = _one_per_band(files, hdu, "rms_")
    if len(files) not in (1, len(bands)):
        raise ValueError(
            f"rms lists {len(files)} files or HDUs, but image lists {len(bands)}: "
            "give one for all, or one per band."
        )
    return [
        find_noise(file.path, own, kind, file.hdus, image=band, prefix="rms_")
        for file, own, band in zip(files, hdu, bands, strict=False)
    ]


def _find_own_rms(file, band):
    kinds = {
        hdu: plain_kind_of_header(hdu)
        for hdu in file.hdus
        if hdu.is_image
        and hdu.index != band.index
        and hdu.image_shape[-2:] == band.image_shape[-2:]
    }
    noise = [hdu for hdu, kind in kinds.items() if kind is not None]
    if not noise:
        return None
    partner = own_partner(noise, band, file.hdus)
    return None if partner is None else (partner, kinds[partner])


def _find_labels(file, band, is_own_file, hdu):
    if is_own_file or hdu is not None:
        return find_labels(file.path, hdu, file.hdus)
    others = [
        candidate
        for candidate in file.hdus
        if candidate.index != band.index and candidate.image_shape == band.image_shape[-2:]
    ]
    return find_named_labels(others)


def _find_tables(file, shape):
    readers = {
        CLASSES: ("classes", read_classes),
        INSTANCES: ("instances", read_instances),
        CATALOG: ("catalog", read_catalog),
    }
    tables = [hdu for hdu in file.hdus if hdu.kind == "table" and hdu.name in readers]
    return {readers[hdu.name][0]: partial(readers[hdu.name][1], hdu, shape) for hdu in tables}
