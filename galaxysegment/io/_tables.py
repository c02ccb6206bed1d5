"""Classes, instances and catalogs of a field as FITS tables, there and back."""

from io import BytesIO

import numpy as np
from astropy.io import fits
from astropy.table import QTable

from ..structures import Instances
from ._hdus import check_complete
from ._headers import quiet

CLASSES, INSTANCES, CATALOG = "CLASSES", "INSTANCES", "CATALOG"


def classes_hdu(classes):
    """Table of labels and their classes."""
    labels = np.arange(1, len(classes) + 1, dtype=np.int32)
    columns = [fits.Column("LABEL", "J", array=labels), fits.Column("CLASS", "K", array=classes)]
    return fits.BinTableHDU.from_columns(columns, name=CLASSES)


def read_classes(hdu):
    """Read what `classes_hdu` made."""
    table = _read_table(hdu)
    classes = np.zeros(int(max(table["LABEL"], default=0)), dtype=np.int64)
    classes[table["LABEL"] - 1] = table["CLASS"]
    return classes


def instances_hdu(instances):
    """Table of boxes, scores and masks; a mask is its box's bits, row by row, eight to a byte."""
    bits = np.empty(len(instances), dtype=object)
    bits[:] = [np.packbits(crop) for crop in instances.crops]
    columns = [
        fits.Column(name, "K", array=instances.boxes[:, index]) for index, name in enumerate(("Y0", "X0", "Y1", "X1"))
    ]
    columns.append(fits.Column("SCORE", "D", array=instances.scores))
    if instances.classes is not None:
        columns.append(fits.Column("CLASS", "K", array=instances.classes))
    columns.append(fits.Column("MASK", "QB()", array=bits))
    hdu = fits.BinTableHDU.from_columns(columns, name=INSTANCES)
    hdu.header["HEIGHT"], hdu.header["WIDTH"] = instances.shape
    return hdu


def read_instances(hdu):
    """Read what `instances_hdu` made."""
    table = _read_table(hdu)
    boxes = np.stack([table[name] for name in ("Y0", "X0", "Y1", "X1")], axis=1).astype(np.int64)
    shapes = boxes[:, 2:] - boxes[:, :2]
    crops = [
        np.unpackbits(np.asarray(bits, dtype=np.uint8), count=int(np.prod(shape))).astype(bool).reshape(shape)
        for bits, shape in zip(table["MASK"], shapes, strict=True)
    ]
    classes = table["CLASS"] if "CLASS" in table.dtype.names else None
    return Instances((hdu.header["HEIGHT"], hdu.header["WIDTH"]), boxes, crops, table["SCORE"], classes)


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


def read_catalog(hdu):
    """Read a catalog; columns with a unit are quantities."""
    check_complete(hdu)
    with quiet():
        return QTable.read(hdu.path, hdu=hdu.index, format="fits")


def _read_table(hdu):
    check_complete(hdu)
    with quiet(), fits.open(hdu.path, memmap=False) as opened:
        return opened[hdu.index].data
