"""The segmenters, one a file. A new one is its file, one import line in `__init__.pyi`, one test.

Each file is imported when its segmenter is first used (SPEC 1), because scikit-learn's forests
alone take as long to import as everything that `PhotutilsSegmenter` needs.
"""

from lazy_loader import attach_stub

from .._utils.shared import NO_COLLECTION

_import_segmenter, __dir__, __all__ = attach_stub(__name__, __file__)


def __getattr__(name):
    with NO_COLLECTION:
        return _import_segmenter(name)
