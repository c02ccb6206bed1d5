"""`load_sample_field`: a small simulated field that ships, and how it was written."""

from importlib.resources import as_file, files

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ..io import Field
from ..structures import Instances

#: The settings of `make_field` behind the sample.
SAMPLE_SETTINGS = {"shape": (512, 1024), "random_state": 10}
_FILE = "sample_field.fits"


def load_sample_field() -> Field:
    """Load the small simulated field that ships with the package; it needs no GalSim.

    It is ``make_field((512, 1024), random_state=10)``, of one band, with image and RMS map rounded
    to an eighth and to a 2000th of the noise of the sky, so that the file stays small.

    Returns
    -------
    galaxysegment.io.Field
        Image in electrons, RMS map, labels, classes, instances, WCS, header and catalog; see
        `make_field` for each of them and for what counts as truth.

    Examples
    --------
    >>> from galaxysegment.datasets import load_sample_field
    >>> field = load_sample_field()
    >>> X, y = field.patches(size=128)
    >>> X.shape
    (32, 128, 128)
    """
    with as_file(files(__package__) / "data" / _FILE) as path:
        return read_sample(path)


def read_sample(path):
    """Read what `write_sample` wrote."""
    with fits.open(path) as hdus:
        labels = hdus["LABEL"].data.astype(np.int32)
        catalog = _native(Table.read(hdus["CATALOG"]))
        return Field(
            hdus["SCI"].data.astype(np.float32)[None],
            rms=hdus["RMS"].data.astype(np.float32),
            labels=labels,
            classes=np.array(catalog["class"]),
            header=hdus["SCI"].header.copy(),
            instances=_unpack(
                hdus["BOXES"].data["box"], hdus["MASKS"].data, labels.shape, catalog["class"]
            ),
            catalog=catalog,
        )


def write_sample(field, path):
    """Write a field of one band and all its truth to one small FITS file.

    ``write_sample(make_field(**SAMPLE_SETTINGS), path)`` writes the sample of the package again.
    """
    boxes, bits = _pack(field.instances)
    catalog = fits.table_to_hdu(field.catalog)
    catalog.name = "CATALOG"
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            _rounded(field.image[0], field.header, "SCI", step=3.0),
            _rounded(field.rms, None, "RMS", step=0.012),
            fits.CompImageHDU(field.labels, name="LABEL", compression_type="GZIP_2"),
            catalog,
            fits.BinTableHDU.from_columns([fits.Column("box", "4J", array=boxes)], name="BOXES"),
            fits.CompImageHDU(bits, name="MASKS", compression_type="GZIP_1"),
        ]
    ).writeto(path, overwrite=True)


def _rounded(image, header, name, step):
    return fits.CompImageHDU(
        image,
        header=header,
        name=name,
        compression_type="RICE_1",
        quantize_level=-step,  # negative: in units of the image, not of its noise
        quantize_method=fits.hdu.compressed.SUBTRACTIVE_DITHER_1,
        dither_seed=1,
    )


def _native(table):
    """Return the table in the byte order of this machine; FITS is big-endian."""
    for name in table.colnames:
        table[name] = table[name].astype(table[name].dtype.newbyteorder("="))
    return table


def _pack(instances):
    """Boxes, and the crops one after the other as bits."""
    bits = np.concatenate([crop.ravel() for crop in instances.crops])
    return instances.boxes.astype(np.int32), np.packbits(bits)[None]


def _unpack(boxes, packed, shape, classes):
    boxes = boxes.astype(np.int64)
    sides = boxes[:, 2:] - boxes[:, :2]
    ends = np.cumsum(sides.prod(axis=1))
    bits = np.unpackbits(packed.ravel(), count=int(ends[-1])).astype(bool)
    crops = [
        part.reshape(side) for part, side in zip(np.split(bits, ends[:-1]), sides, strict=True)
    ]
    return Instances(shape, boxes, crops, classes=np.array(classes))
