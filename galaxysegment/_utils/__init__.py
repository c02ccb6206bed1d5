"""Helpers shared by every layer of the package; nothing here is public."""
