"""Seeded simulators of fields with exact truth, and a sample field that ships with the package."""
