"""What the package passes around: label maps, binary masks, panoptic maps and `Instances`.

A *label map* is an int32 array ``(height, width)``: 0 is background, 1…n are the sources. It is the
lingua franca of the package. `Instances` holds one image's sources, which may overlap; `Separated`
holds the light of each.
"""

from ..exceptions import NoSourcesWarning
from ._classes import (
    ARTEFACT,
    CIRRUS,
    CLASS_NAMES,
    DIFFUSE,
    GALAXY,
    SKY,
    STAR,
    STUFF,
    THINGS,
    TRAIL,
    VOID,
)
from ._instances import Instances
from ._labels import check_label_map, label_components, relabel, remove_small
from ._separated import Separated
from ._truth import as_binary_mask, as_label_map, is_binary

__all__ = [
    "ARTEFACT",
    "CIRRUS",
    "CLASS_NAMES",
    "DIFFUSE",
    "GALAXY",
    "SKY",
    "STAR",
    "STUFF",
    "THINGS",
    "TRAIL",
    "VOID",
    "Instances",
    "NoSourcesWarning",
    "Separated",
    "as_binary_mask",
    "as_label_map",
    "check_label_map",
    "is_binary",
    "label_components",
    "relabel",
    "remove_small",
]
