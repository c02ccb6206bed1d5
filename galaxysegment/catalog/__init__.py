"""Catalogs of sources: positions, fluxes, shapes and flags as an astropy table, and as files."""

from ._files import write_catalog, write_regions
from ._flags import CatalogFlags
from ._regions import from_regions, to_regions
from ._table import source_catalog

__all__ = [
    "CatalogFlags",
    "from_regions",
    "source_catalog",
    "to_regions",
    "write_catalog",
    "write_regions",
]
