"""A reader who follows an image through `segment_mosaic` looks at few files."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "walk_mosaic.py"


# Five of the 48 files hold compiled functions. A small image without blends needs none of them, in
# a process where no other call has loaded numba.
@pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not there")
@pytest.mark.parametrize(("options", "n_files"), [([], 27), (["--fits", "--deblend"], 48)])
def test_an_image_passes_through_few_files(options, n_files):
    printed = subprocess.check_output([sys.executable, SCRIPT, *options], text=True)
    entered = [line.split()[2] for line in printed.splitlines()[1:-1]]
    assert len(entered) <= n_files, f"the image enters {', '.join(entered)}"
    assert "segmenters/_photutils.py" in entered and "mosaic/_plan.py" in entered
