"""Damaged, absurd and hostile files, and what reading one may come to.

Every area is a module with ``KINDS``, a dictionary of functions ``(rng, folder) -> Case``, and
``check(case, thorough)``, which reads the file in every way there is and returns what came of it:
``"error"`` (one clear line) or ``"read"``. Everything else raises `Defect`.
"""

from importlib import import_module

from ._outcomes import Case, Defect

__all__ = ["AREAS", "Case", "Defect", "area"]

AREAS = ("fits", "models", "coco", "panoptic", "records")


def area(name):
    """Import the module of an area."""
    return import_module(f".{name}_files", __name__)
