"""Panoptic DETR, as published and seeded."""
