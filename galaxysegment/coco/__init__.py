"""Sources to and from the JSON formats of COCO, for instances and for panoptic maps."""

from ._instances import from_coco, to_coco
from ._panoptic import from_coco_panoptic, to_coco_panoptic

__all__ = ["from_coco", "from_coco_panoptic", "to_coco", "to_coco_panoptic"]
