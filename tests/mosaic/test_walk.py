"""A reader who follows an image through `segment_mosaic` looks at few files."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "walk_mosaic.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not there")
@pytest.mark.parametrize(("options", "n_files"), [([], 18), (["--fits", "--deblend"], 35)])
def test_an_image_passes_through_few_files(options, n_files):
    previous = sys.getprofile()
    try:
        entered = runpy.run_path(str(SCRIPT))["walk"](options)
    finally:
        sys.setprofile(previous)
    assert len(entered) <= n_files, f"the image enters {', '.join(entered)}"
    assert "segmenters/_photutils.py" in entered and "mosaic/_plan.py" in entered
