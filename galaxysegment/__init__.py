"""Find and separate galaxies in astronomical images, the scikit-learn way.

The map of the package:

====================  =====================================================================
``segmenters``        the estimators: images in, label maps, instances or panoptic maps out
``separation``        the light of overlapping sources, one isolated image for each
``preprocessing``     transformers: normalization, stretches, noise, smoothing, features
``metrics``           pixel, instance and panoptic scores; scorers for model selection
``io``                images, RMS maps, label maps and whole fields from and to FITS
``datasets``          seeded simulators with exact truth, and a sample field that ships
``mosaic``            mosaics of any size, tile by tile, in bounded memory, in parallel
``catalog``           positions, fluxes and shapes of the sources
``completeness``      how faint a segmenter finds galaxies in your own image
``report``            a page to look at: image, outlines and catalog in an HTML file
``coco``              COCO instance and panoptic files, to and fro
``persistence``       fitted segmenters in one file, without pickle
``export``            trained nets for other programs, as ONNX files
``display``           pictures of an image, its truth and its segmentation
``structures``        label-map helpers and `Instances` (sources that may overlap)
``exceptions``        the warnings, each with a class of its own
``base``              the templates behind every transformer and segmenter
``testing``           the checks that a segmenter or transformer of your own should pass
``cli``               the command line, ``galaxysegment --help``
====================  =====================================================================

Importing this package is cheap on purpose: every name below is loaded on first use, and torch,
photutils, transformers and matplotlib only when something needs them.
"""

from importlib import import_module as _import_module

# type checkers take this name for True; importing `typing` would cost more than all below
TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import base as base
    from . import catalog as catalog
    from . import cli as cli
    from . import coco as coco
    from . import completeness as completeness
    from . import datasets as datasets
    from . import display as display
    from . import exceptions as exceptions
    from . import export as export
    from . import io as io
    from . import metrics as metrics
    from . import mosaic as mosaic
    from . import persistence as persistence
    from . import preprocessing as preprocessing
    from . import report as report
    from . import segmenters as segmenters
    from . import separation as separation
    from . import structures as structures
    from . import testing as testing
    from .exceptions import NoSourcesWarning as NoSourcesWarning
    from .segmenters import *  # noqa: F403
    from .structures import Instances as Instances

__version__ = "0.1.0"

_SUBMODULES = (
    "base",
    "catalog",
    "cli",
    "coco",
    "completeness",
    "datasets",
    "display",
    "exceptions",
    "export",
    "io",
    "metrics",
    "mosaic",
    "persistence",
    "preprocessing",
    "report",
    "segmenters",
    "separation",
    "structures",
    "testing",
)

# Public names of the root and the subpackage that defines them; every segmenter is one as well.
_NAMES = {"Instances": "structures", "NoSourcesWarning": "exceptions"}


if not TYPE_CHECKING:  # else every misspelt name would pass

    def __getattr__(name):
        if name == "__all__":  # asked for by ``from galaxysegment import *``
            segmenters = _import_module("galaxysegment.segmenters")
            return [*_SUBMODULES, *_NAMES, *segmenters.__all__]
        if name in _SUBMODULES:
            return _import_module(f"galaxysegment.{name}")
        if name in _NAMES:
            return getattr(_import_module(f"galaxysegment.{_NAMES[name]}"), name)
        if name.endswith("Segmenter"):
            segmenters = _import_module("galaxysegment.segmenters")
            if name in segmenters.__all__:
                return getattr(segmenters, name)
        raise AttributeError(f"module 'galaxysegment' has no attribute {name!r}")


def __dir__():
    return sorted([*__getattr__("__all__"), "__version__"])
