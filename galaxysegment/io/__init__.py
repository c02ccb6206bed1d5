"""FITS in, label maps out: images, RMS maps, label maps and fields, read by section."""

from .._utils.shared import NO_COLLECTION

with NO_COLLECTION:
    from ._field import Field
    from ._open import read_field
    from ._read import (
        image_shape,
        read_header,
        read_image,
        read_label_map,
        read_panoptic_map,
        read_rms,
    )
    from ._separated import read_separated
    from ._write import write_label_map, write_panoptic_map

__all__ = [
    "Field",
    "image_shape",
    "read_field",
    "read_header",
    "read_image",
    "read_label_map",
    "read_panoptic_map",
    "read_rms",
    "read_separated",
    "write_label_map",
    "write_panoptic_map",
]
