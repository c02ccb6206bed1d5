"""Catalogs of sources: positions, fluxes, shapes and flags as an astropy table, and as files."""

from ._files import write_catalog, write_regions
from ._table import source_catalog

__all__ = ["source_catalog", "write_catalog", "write_regions"]
