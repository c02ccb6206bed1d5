"""The helpers of this folder are modules of their own, which the fuzzing script runs as well."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
