"""The programs here are read by a type checker, not run."""

collect_ignore = ["sample.py", "wrong.py"]
