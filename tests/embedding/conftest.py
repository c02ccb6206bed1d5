"""test_starfinder.py installs and tests the package in this folder: do not collect its tests."""

collect_ignore = ["starfinder"]
