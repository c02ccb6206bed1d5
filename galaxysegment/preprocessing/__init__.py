"""Transformers of images: one family a file, same container out as in."""

__all__ = []
