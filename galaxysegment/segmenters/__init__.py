"""The segmenters: one a file. A new one is its file, one import line here and one test file."""

__all__ = []
