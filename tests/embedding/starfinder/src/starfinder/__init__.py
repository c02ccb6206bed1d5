"""Find point sources: a package of its own that builds on galaxysegment."""

from ._kinds import KindFinder
from ._segmenter import StarFinder
from ._unsharp import UnsharpMask

__all__ = ["KindFinder", "StarFinder", "UnsharpMask"]
