"""One observation: image, RMS map, truth and WCS, read from FITS only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from .._utils.validation import as_float_image, check_same_shape, warn_if_channels_last
from ..structures import Instances, check_label_map
from ..structures._types import Floats, Labels
from ._mask import as_mask, blank
from ._nddata import header_with_unit, in_unit, take_apart
from ._patches import cut_patches
from ._section import resolve_section
from ._sources import ArraySource, CutSource
from ._wcs import celestial_wcs, check_wcs, cut_header
from ._write import write_field

if TYPE_CHECKING:
    from astropy.nddata import NDData
    from astropy.table import Table
    from astropy.units import Quantity, UnitBase
    from astropy.wcs import WCS

__all__ = ["Field"]

_UNSET = object()


class Field:
    """One observation: image, RMS map, truth, WCS and header.

    Make one from arrays here, or from files with `read_field`, which reads nothing but headers
    until a property asks for pixels.

    Parameters
    ----------
    image : array-like of shape (height, width) or (n_bands, height, width), `Quantity` or `NDData`
        Pixels in any unit; NaN is "no data". An `NDData` or `CCDData` brings its mask, its
        uncertainty as RMS map (standard deviation, variance or inverse variance), its WCS, its
        header and its unit along.
    rms : array-like of shape (height, width) or (n_bands, height, width), optional
        Standard deviation of the noise in the unit of `image`; NaN, or a value that is not
        positive, is "no data".
    mask : array-like of bool or int, shape (height, width) or (n_bands, height, width), optional
        True, or not 0, where there are no data: these pixels of the image become NaN.
    labels : array-like of int, shape (height, width), optional
        The truth: a label map, 0 = background.
    classes : array-like of int, shape (n_sources,), optional
        Category of each source (1 = galaxy, 2 = star): label ``k`` has entry ``k - 1``.
    wcs : `astropy.wcs.WCS`, optional
        Sky positions of the pixels; made from `header` if left out.
    header : `astropy.io.fits.Header`, optional
        Header of the image.
    instances : `galaxysegment.Instances`, optional
        The truth with overlapping masks.
    catalog : `astropy.table.Table`, optional
        One row per source.
    mask_bits : int or list of int, optional
        Which bits of a data quality map as `mask` mean "no data": ``1 + 4096`` or ``[1, 4096]``;
        ``~4`` for every bit but 4. All bits by default.

    Raises
    ------
    ValueError
        If the shapes of image, RMS map, mask, labels and instances disagree, or units do.

    Notes
    -----
    A field made from files can be pickled; the worker that opens it reads the same files.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.io import Field
    >>> field = Field(np.zeros((3, 40, 60)), rms=np.ones((40, 60)))
    >>> field
    Field(n_bands=3, shape=(40, 60), with rms)
    >>> field.section(slice(10, 20), slice(30, 60)).shape
    (10, 30)
    >>> X, y = field.patches(size=20, rms=True)
    >>> X.shape, y
    ((6, 4, 20, 20), None)

    An image of astropy brings what it knows along:

    >>> from astropy.nddata import CCDData, VarianceUncertainty
    >>> mask = np.zeros((40, 60), dtype=bool)
    >>> mask[3, 4] = True
    >>> noise = VarianceUncertainty(np.full((40, 60), 4.0))
    >>> field = Field(CCDData(np.ones((40, 60)), unit="adu", mask=mask, uncertainty=noise))
    >>> float(field.rms[0, 0]), float(field.image[0, 3, 4]), field.unit
    (2.0, nan, Unit("adu"))
    """

    def __init__(
        self,
        image: ArrayLike | NDData | Quantity,
        *,
        rms: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        wcs: WCS | None = None,
        header: fits.Header | None = None,
        instances: Instances | None = None,
        catalog: Table | None = None,
        mask_bits: int | Sequence[int] | None = None,
    ) -> None:
        parts = take_apart(image)
        pixels = _as_bands(parts.image)
        for part in (parts.mask, None if mask is None else as_mask(mask, mask_bits)):
            pixels = blank(pixels, part)
        sources = {"image": ArraySource(pixels)}
        rms = parts.rms if rms is None else in_unit(rms, parts.unit, "rms")
        if rms is not None:
            sources["rms"] = ArraySource(_as_rms(rms))
        if labels is not None:
            sources["labels"] = ArraySource(check_label_map(labels))
        classes = None if classes is None else _as_classes(classes)
        wcs = parts.wcs if wcs is None else wcs
        header = header_with_unit(parts.header if header is None else header, parts.unit)
        self._set_up(sources, classes, wcs, header, instances, catalog, unit=parts.unit)

    def _set_up(
        self,
        sources,
        classes=None,
        wcs=None,
        header=None,
        instances=None,
        catalog=None,
        origin="the field",
        unit=None,
    ):
        if header is not None and not isinstance(header, fits.Header):
            raise TypeError(
                f"header must be an astropy Header or None. Got {type(header).__name__} instead."
            )
        self.header = header
        self._unit = unit
        self._origin = origin
        self._has_own_wcs = wcs is not None
        self._wcs = _UNSET if wcs is None else check_wcs(wcs)
        self._sources = sources
        self._pixels = {}
        # A part that is still in a file is a `partial`, called on first use.
        self._parts = {"classes": classes, "instances": instances, "catalog": catalog}
        _check_shapes(sources, instances)
        _check_classes(classes, sources.get("labels"))

    @classmethod
    def _from_sources(cls, sources, **parts):
        """Make a field of lazy sources: ``image`` (three axes), ``rms`` and ``labels``."""
        field = cls.__new__(cls)
        field._set_up(sources, **parts)
        return field

    def __repr__(self) -> str:
        parts = [name for name in ("rms", "labels") if name in self._sources]
        parts += [name for name, part in self._parts.items() if part is not None]
        extra = f", with {', '.join(parts)}" if parts else ""
        return f"Field(n_bands={self.n_bands}, shape={self.shape}{extra})"

    def _part(self, name):
        if isinstance(self._parts[name], partial):
            self._parts[name] = self._parts[name]()
        return self._parts[name]

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """Category of each source, int of shape (n_sources,), or None; label 1 comes first."""
        return self._part("classes")

    @property
    def instances(self) -> Instances | None:
        """The truth with overlapping masks, `galaxysegment.Instances`, or None."""
        return self._part("instances")

    @property
    def catalog(self) -> Table | None:
        """Table with one row per source, or None."""
        return self._part("catalog")

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``; known without reading pixels."""
        return tuple(self._sources["image"].shape[-2:])

    @property
    def n_bands(self) -> int:
        """Number of bands of the image; known without reading pixels."""
        return self._sources["image"].shape[0]

    @property
    def has_rms(self) -> bool:
        """Whether there is an RMS map."""
        return "rms" in self._sources

    @property
    def has_labels(self) -> bool:
        """Whether there is a truth, as a label map or as instances."""
        return "labels" in self._sources or self._parts["instances"] is not None

    @property
    def image(self) -> Floats:
        """The pixels, float, shape (n_bands, height, width); read on first use and kept."""
        return self._read("image")

    @property
    def rms(self) -> Floats | None:
        """The RMS map, (height, width) or (n_bands, height, width), NaN = no data; or None."""
        return self._read("rms") if self.has_rms else None

    @property
    def labels(self) -> Labels | None:
        """The label map, int32 of shape (height, width), or None; or painted from `instances`."""
        return self._read("labels") if self.has_labels else None

    @property
    def unit(self) -> UnitBase | None:
        """Unit of image and RMS map if they came as `Quantity` or `NDData`; else None."""
        return self._unit

    @property
    def wcs(self) -> WCS | None:
        """The celestial `astropy.wcs.WCS` of two axes, or None."""
        if self._wcs is _UNSET:
            self._wcs = celestial_wcs(self.header, self._origin)
        return self._wcs

    def _read(self, name, section=None):
        """Read pixels: all of them are kept, a section is not."""
        if name not in self._pixels:
            if name == "labels" and name not in self._sources:
                self._pixels[name] = self.instances.to_label_map()
            elif section is None or self._sources[name].reads_whole:
                self._pixels[name] = self._sources[name].read()
            else:
                return self._sources[name].read(section)
        pixels = self._pixels[name]
        return pixels if section is None else pixels[(..., *section)]

    def section(self, rows: slice, columns: slice) -> Field:
        """Cut out a rectangle; of files, only its pixels are read, and only when asked for.

        Parameters
        ----------
        rows, columns : slice
            Step 1, inside the field; negative numbers count from the end.

        Returns
        -------
        Field
            Its WCS and header are shifted. Labels keep their numbers, so that label ``k`` is still
            entry ``k - 1`` of `classes` and of the catalog; instances are shifted and cut at the
            border.

        Notes
        -----
        A file packed as a whole (``.gz``, ``.bz2``) is unpacked anew for every section. To take
        many of them, read it once before: ask for `image`, `rms` and `labels`; sections are then
        cut from memory.
        """
        rows, columns = resolve_section((rows, columns), self.shape, name="section")
        sources = {name: self._cut(name, rows, columns) for name in self._sources}
        parts = dict(self._parts)
        if parts["instances"] is not None:
            parts["instances"] = partial(_cut_instances, self, rows, columns)
        wcs = self._wcs[rows, columns] if self._has_own_wcs else None
        header = None if self.header is None else cut_header(self.header, rows, columns)
        shared = {"origin": self._origin, "unit": self._unit}
        return Field._from_sources(sources, wcs=wcs, header=header, **shared, **parts)

    def _source(self, name):
        """Return where pixels come from: memory, if they were read before."""
        return ArraySource(self._pixels[name]) if name in self._pixels else self._sources[name]

    def _without_unit(self):
        """Copy the field for pixels that are in another, unnamed unit."""
        if self._unit is None:
            return self
        changed = self._with_sources()
        changed._unit, changed.header = None, self.header.copy()
        changed.header.remove("BUNIT", ignore_missing=True)
        return changed

    def _with_sources(self, **changes):
        """Copy the field with other sources of pixels; None takes a source away."""
        sources = {name: self._source(name) for name in self._sources} | changes
        sources = {name: source for name, source in sources.items() if source is not None}
        wcs = self._wcs if self._has_own_wcs else None
        shared = {"origin": self._origin, "unit": self._unit, "header": self.header}
        return Field._from_sources(sources, wcs=wcs, **shared, **self._parts)

    def _cut(self, name, rows, columns):
        if name in self._pixels:
            return ArraySource(self._pixels[name][..., rows, columns])
        return CutSource(self._sources[name], rows, columns)

    def patches(
        self, size: int = 256, step: int | None = None, rms: bool = False, min_sources: int = 0
    ) -> tuple[Floats, Labels | None]:
        """Cut the field into square patches on a regular grid.

        Parameters
        ----------
        size : int, default=256
            Height and width of a patch in pixels. Only full patches are cut.
        step : int, optional
            Pixels between the corners of neighbours; `size` if left out, so that patches touch.
        rms : bool, default=False
            Append the RMS map as the last band. An RMS map of several bands is appended as one: the
            root mean square over the bands that have data.
        min_sources : int, default=0
            Drop patches with fewer sources than this.

        Returns
        -------
        X : ndarray of shape (n, size, size) or (n, n_bands, size, size)
            The former for one band without RMS.
        y : ndarray of int32, shape (n, size, size), or None
            Label maps, renumbered 1…n in each patch; None if the field has no truth.

        Raises
        ------
        ValueError
            If the field is smaller than a patch, has no RMS map or no truth although one is needed,
            or no patch has `min_sources` sources.
        """
        return cut_patches(self, size, step, rms, min_sources)

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the field as one multi-extension FITS file, which `read_field` reads back.

        Extensions: SCI (with the cards of `header`), RMS and LABELS (with the WCS), and the tables
        CLASSES, INSTANCES and CATALOG; those that the field has. The file appears whole or not at
        all.

        Parameters
        ----------
        path : str or path
            A file that ends in ``.fits``, ``.fits.gz`` or ``.fits.fz`` (tile compression,
            lossless), or an existing folder, in which ``field.fits`` is written.
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
        OSError
            If the file cannot be written; nothing is left behind.
        """
        return write_field(self, path, overwrite)


def _as_bands(image):
    image = as_float_image(image, "image")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            "image must have shape (height, width) or (n_bands, height, width), with pixels. Got "
            f"shape {image.shape}."
        )
    warn_if_channels_last(image.shape, "image", 0)
    return image if image.ndim == 3 else image[None]


def _as_rms(rms):
    rms = as_float_image(rms, "rms")
    bad = ~(rms > 0)
    if bad.any():
        rms = np.where(bad, rms.dtype.type(np.nan), rms)
    return rms


def _cut_instances(field, rows, columns):
    shape = rows.stop - rows.start, columns.stop - columns.start
    return field.instances.shift(-rows.start, -columns.start, shape)


def _as_classes(classes):
    """Return classes as int64, one per source."""
    classes = np.asarray(classes)
    if classes.ndim != 1 or (classes.size and classes.dtype.kind not in "iu"):
        raise ValueError(
            "classes must hold a whole number for every source. "
            f"Got an array of shape {classes.shape}, dtype {classes.dtype}, instead."
        )
    return classes.astype(np.int64)


def _check_classes(classes, labels):
    """Refuse classes that do not reach to the last label, if both are in memory."""
    if not isinstance(classes, np.ndarray) or not isinstance(labels, ArraySource):
        return
    highest = labels.array.max(initial=0)
    if highest > len(classes):
        raise ValueError(
            f"classes has {len(classes)} entries, but labels go up to {highest}: "
            "give a class for every label, 1 to n."
        )


def _check_shapes(sources, instances):
    """Refuse an RMS map, labels or instances of another shape than the image."""
    n_bands, *shape = sources["image"].shape
    shape = tuple(shape)
    if "rms" in sources and tuple(sources["rms"].shape) not in (shape, (n_bands, *shape)):
        raise ValueError(
            f"The RMS map has shape {tuple(sources['rms'].shape)}, but the image has shape "
            f"{(n_bands, *shape)}: "
            f"it must have shape {shape}, or the shape of the image."
        )
    if "labels" in sources:
        check_same_shape(sources["labels"].shape, shape, "The label map", "the image")
    if instances is None or isinstance(instances, partial):
        return
    if not isinstance(instances, Instances):
        raise TypeError(
            "instances must be galaxysegment.Instances or None. "
            f"Got {type(instances).__name__} instead."
        )
    check_same_shape(instances.shape, shape, "instances", "the image")
