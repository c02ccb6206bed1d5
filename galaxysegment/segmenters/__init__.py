"""The segmenters, one a file. A new one is its file, one import line in `__init__.pyi`, one test.

Each file is imported when its segmenter is first used (SPEC 1), because scikit-learn's forests
alone take as long to import as everything that `PhotutilsSegmenter` needs.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
