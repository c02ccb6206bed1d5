"""Classes, instances and catalogs of a field as FITS tables, there and back."""

from contextlib import contextmanager
from io import BytesIO

import numpy as np
from astropy.io import fits

from ..structures import Instances
from ._excerpt import open_whole_table
from ._hdus import check_complete, scan
from ._headers import quiet, text_of

CLASSES, INSTANCES, CATALOG, SCORES = "CLASSES", "INSTANCES", "CATALOG", "SCORES"
SEMANTIC = "SEMANTIC"  # an image: the class of each pixel


def classes_hdu(classes):
    """Table of labels and their classes."""
    labels = np.arange(1, len(classes) + 1, dtype=np.int32)
    columns = [fits.Column("LABEL", "J", array=labels), fits.Column("CLASS", "K", array=classes)]
    return fits.BinTableHDU.from_columns(columns, name=CLASSES)


def read_classes(hdu, shape):
    """Read what `classes_hdu` made for an image of `shape`."""
    with _opened(hdu) as opened:
        table = opened.data
        labels = np.asarray(table["LABEL"])
        if labels.min(initial=1) < 1 or labels.max(initial=1) > np.prod(shape):
            raise ValueError(f"its labels reach from {labels.min()} to {labels.max()}")
        classes = np.zeros(int(labels.max(initial=0)), dtype=np.int64)
        classes[labels - 1] = table["CLASS"]
    return classes


def scores_hdu(scores):
    """Table of labels and their scores, beside a label map."""
    labels = np.arange(1, len(scores) + 1)
    columns = [fits.Column("LABEL", "K", array=labels), fits.Column("SCORE", "D", array=scores)]
    return fits.BinTableHDU.from_columns(columns, name=SCORES)


def read_scores(path):
    """Read the scores of labels 1, 2… beside the label map of a file; None if it has none."""
    hdu = _table_of_labels(path, SCORES, "SCORE")
    if hdu is None:
        return None
    with _opened(hdu) as opened:
        labels = np.asarray(opened.data["LABEL"])
        if not np.array_equal(labels, np.arange(1, len(labels) + 1)):
            raise ValueError("its labels are not 1, 2, 3 and so on")
        return np.asarray(opened.data["SCORE"], dtype=np.float64)


def read_map_classes(path, shape):
    """Read the classes of labels 1, 2… beside the label map of a file; None if it has none."""
    hdu = _table_of_labels(path, CLASSES, "CLASS")
    return None if hdu is None else read_classes(hdu, shape)


def _table_of_labels(path, name, column):
    """Return the table that gives each label of a file a value; None if there is none.

    A table of this name without such columns is of another program.
    """
    for hdu in scan(path):
        if hdu.kind == "table" and hdu.name == name:
            columns = {text_of(hdu.header, f"TTYPE{number}") for number in (1, 2)}
            if columns == {"LABEL", column}:
                return hdu
    return None


def instances_hdu(instances):
    """Table of boxes, scores and masks; a mask is its box's bits, row by row, eight to a byte."""
    bits = np.empty(len(instances), dtype=object)
    bits[:] = [np.packbits(crop) for crop in instances.crops]
    columns = [
        fits.Column(name, "K", array=instances.boxes[:, index])
        for index, name in enumerate(("Y0", "X0", "Y1", "X1"))
    ]
    columns.append(fits.Column("SCORE", "D", array=instances.scores))
    if instances.classes is not None:
        columns.append(fits.Column("CLASS", "K", array=instances.classes))
    columns.append(fits.Column("MASK", "QB()", array=bits))
    hdu = fits.BinTableHDU.from_columns(columns, name=INSTANCES)
    hdu.header["HEIGHT"], hdu.header["WIDTH"] = instances.shape
    return hdu


def read_instances(hdu, shape):
    """Read what `instances_hdu` made for an image of `shape`."""
    with _opened(hdu) as opened:
        table = opened.data
        boxes = np.stack([table[name] for name in ("Y0", "X0", "Y1", "X1")], axis=1).astype(
            np.int64
        )
        shapes = boxes[:, 2:] - boxes[:, :2]
        crops = [
            _unpack(np.asarray(bits, dtype=np.uint8), crop_shape)
            for bits, crop_shape in zip(table["MASK"], shapes.tolist(), strict=True)
        ]
        classes = table["CLASS"] if "CLASS" in table.dtype.names else None
        described = hdu.header["HEIGHT"], hdu.header["WIDTH"]
        if described != tuple(shape):
            raise ValueError(
                f"it is for an image of shape {described}, but the image has {tuple(shape)}"
            )
        return Instances(shape, boxes, crops, table["SCORE"], classes)


def _unpack(bits, shape):
    height, width = shape
    if height <= 0 or width <= 0 or height * width > 8 * bits.size:
        raise ValueError(f"a mask of {bits.size} bytes cannot have shape {(height, width)}")
    return np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)


def catalog_hdu(catalog):
    """Table of any columns that astropy can write, units and sky positions included."""
    file = BytesIO()
    with quiet():
        catalog.write(file, format="fits")
    file.seek(0)
    with fits.open(file) as opened:
        hdu = opened[1].copy()
    hdu.name = CATALOG
    return hdu


def read_catalog(hdu, _shape):
    """Read a catalog; columns with a unit are quantities."""
    from astropy.table import QTable  # as slow to import as all of astropy.io.fits

    with _opened(hdu) as table:
        return QTable.read(table, format="fits")


@contextmanager
def _opened(hdu):
    check_complete(hdu)
    with _explaining(hdu), open_whole_table(hdu) as table:
        yield table


@contextmanager
def _explaining(hdu):
    """Turn whatever astropy raises into a line that names the table."""
    try:
        with quiet():
            yield
    except Exception as error:  # astropy parses headers late, with errors of many kinds
        reason = " ".join(str(error).split())
        raise OSError(
            f"The table in {hdu.label} is damaged: {reason or type(error).__name__}."
        ) from error
