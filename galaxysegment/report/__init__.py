"""A segmentation as a page to look at: image, outlines, catalog and histograms in a single file."""

from ._write import write_report

__all__ = ["write_report"]
