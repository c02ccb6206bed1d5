"""How faint a segmenter finds galaxies in your own image: inject some, and see which come back."""

from ._injection import injection_completeness

__all__ = ["injection_completeness"]
