"""The science that detectors share: background meshes, smoothing, deblending.

Nothing here is public. Segmenters, transformers and catalogs call it with arrays.
"""
