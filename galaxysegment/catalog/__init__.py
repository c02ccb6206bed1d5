"""Catalogs of sources: positions, fluxes, shapes and flags as an astropy table, and as files."""

from ._cutouts import Cutout, Cutouts, cutouts, write_cutouts
from ._files import write_catalog, write_regions
from ._flags import CatalogFlags
from ._morphology import morphology
from ._profiles import profiles
from ._regions import from_regions, to_regions
from ._table import source_catalog
from ._units import ab_zero_point

__all__ = [
    "CatalogFlags",
    "Cutout",
    "Cutouts",
    "ab_zero_point",
    "cutouts",
    "from_regions",
    "morphology",
    "profiles",
    "source_catalog",
    "to_regions",
    "write_catalog",
    "write_cutouts",
    "write_regions",
]
