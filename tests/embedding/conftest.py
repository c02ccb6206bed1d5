"""The package in this folder is installed and tested by test_starfinder.py; its own tests are not collected here."""

collect_ignore = ["starfinder"]
