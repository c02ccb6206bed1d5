"""Mask2Former, as published and seeded."""
