"""``python -m galaxysegment`` is the command ``galaxysegment``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
