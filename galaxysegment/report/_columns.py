"""The columns of a catalog, as compact text that a page reads."""

from base64 import b64encode
from pathlib import Path

import numpy as np

from ..catalog._files import CATALOG_FORMATS

_BOX = ("y_min", "x_min", "y_max", "x_max")
#: Columns that say where a source is; the page has its own words for them.
_HIDDEN = {*_BOX, "sky_position", "x_peak", "y_peak", "semi_major_sky", "semi_minor_sky"}
_NEEDED = ("label", "x", "y", *_BOX)


def load_catalog(catalog):
    """Return a catalog as a table; read it, if it is a file.

    Raises
    ------
    ValueError
        If the file has an unknown ending or the table has no column ``label``.
    """
    from astropy.table import Table

    if isinstance(catalog, str | Path):
        suffix = Path(catalog).suffix
        if suffix not in CATALOG_FORMATS:
            raise ValueError(
                f"catalog must end in {', '.join(CATALOG_FORMATS)}. Got {catalog} instead."
            )
        catalog = Table.read(catalog, format=CATALOG_FORMATS[suffix])
    if not isinstance(catalog, Table):
        raise TypeError(
            "catalog must be an astropy table, the path of a file, or None. "
            f"Got {type(catalog).__name__} instead."
        )
    if "label" not in catalog.colnames:
        raise ValueError(
            "catalog must have a column 'label' that says which source a row is about. It has the "
            f"columns {', '.join(catalog.colnames)}."
        )
    labels = np.asarray(catalog["label"])
    if len(np.unique(labels)) < len(labels):
        raise ValueError("catalog lists a label more than once: keep one row per source.")
    return catalog


def complete_catalog(catalog, measure):
    """Add position and box of each source to a catalog that lacks them.

    Parameters
    ----------
    catalog : `astropy.table.Table` or None
        None takes all measured columns.
    measure : callable
        Returns the catalog of all sources; called only if needed.
    """
    if catalog is not None and all(name in catalog.colnames for name in _NEEDED):
        return catalog
    measured = measure()
    if catalog is None:
        return measured
    labels = np.asarray(catalog["label"])
    rows = np.searchsorted(measured["label"], labels)
    known = rows < len(measured)
    known[known] = np.asarray(measured["label"])[rows[known]] == labels[known]
    if not known.all():
        raise ValueError(
            f"catalog lists the source {labels[~known][0]}, which is not in sources: pass the "
            "catalog of these sources."
        )
    complete = catalog.copy(copy_data=False)
    for name in (name for name in _NEEDED if name not in catalog.colnames):
        complete[name] = np.asarray(measured[name])[rows]
    return complete


def boxes_of(catalog, shape):
    """Return the boxes ``y0, x0, y1, x1``, half-open; refuse boxes outside the image."""
    columns = [plain(catalog[name]) for name in _BOX]
    boxes = np.stack(columns, axis=1).astype(np.int64)
    boxes[:, 2:] += 1
    outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > np.array(shape)).any(axis=1)
    outside |= (boxes[:, :2] >= boxes[:, 2:]).any(axis=1)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"catalog puts the source {catalog['label'][row]} into rows {boxes[row, 0]} to "
            f"{boxes[row, 2] - 1} and columns {boxes[row, 1]} to {boxes[row, 3] - 1}, but the "
            f"image has {shape[0]} x {shape[1]} pixels: pass the catalog of this image."
        )
    return boxes


def plain(column):
    """Return the values of a column without unit or mask; masked numbers become NaN."""
    values = getattr(column, "value", column)
    if np.ma.isMaskedArray(values):
        is_number = values.dtype.kind in "iuf" and values.mask.any()
        return np.ma.filled(values.astype(float), np.nan) if is_number else np.asarray(values.data)
    return np.asarray(values)


def pack_columns(catalog):
    """Turn a catalog into columns and flags for the page.

    Returns
    -------
    columns : list of dict
        ``name``, ``unit``, ``type`` ("f4", "f8", "i4" or "text") and ``data``: base64 of
        little-endian numbers, or a list of texts. A column of several bands becomes several.
    flags : list of dict
        ``name`` and ``data`` of the columns that hold truth values: base64, a byte per source.
    """
    columns, flags = [], []
    for name in catalog.colnames:
        if name in _HIDDEN:
            continue
        values = plain(catalog[name])
        if values.ndim == 1 and values.dtype.kind == "b":
            flags.append({"name": name, "data": pack(values, np.uint8)})
            continue
        unit = str(catalog[name].unit or "") if values.dtype.kind in "iuf" else ""
        if values.ndim == 1:
            columns.append({"name": name, "unit": unit, **_column(name, values)})
        elif values.ndim == 2 and values.dtype.kind in "iuf":
            for band, part in enumerate(values.T, start=1):
                columns.append({"name": f"{name}_{band}", "unit": unit, **_column(name, part)})
    return columns, flags


def _column(name, values):
    kind = values.dtype.kind
    if kind in "iu" and values.size and np.abs(values).max() < 2**31:
        return {"type": "i4", "data": pack(values, "<i4")}
    if kind in "iuf":
        # a single-precision right ascension is good to 0.05" only
        type_ = "f8" if name in {"ra", "dec"} or kind in "iu" else "f4"
        return {"type": type_, "data": pack(values, f"<{type_}")}
    return {"type": "text", "data": [str(value) for value in values.tolist()]}


def pack(values, dtype):
    return b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")
