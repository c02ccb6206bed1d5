"""Kernels are loaded from the disk without what compiling needs, and compiled with it."""

import json
import os
import subprocess
import sys

CODE = """
import json, sys
import numpy as np
from galaxysegment._utils import compiled
from galaxysegment.detection._deblend_kernels import group_pixels
{}
order, starts = group_pixels(np.array([1, 0, 1], dtype=np.int32))
loaded, hits = "numba.np.arraymath" in sys.modules, sum(group_pixels.stats.cache_hits.values())
print(json.dumps([order.tolist(), starts.tolist(), loaded, hits]))
"""
#: The loader of kernels fails as if a release of numba had changed what it relies on.
BROKEN = "compiled.rtsys = None"


def run(folder, statement=""):
    code = CODE.format(statement)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    return json.loads(subprocess.check_output([sys.executable, "-c", code], env=environment))


def test_a_kernel_is_loaded_without_what_compiling_needs(tmp_path):
    result = [[1, 0, 2], [0, 1, 3]]
    assert run(tmp_path) == [*result, True, 0]
    assert run(tmp_path) == [*result, False, 1]
    assert run(tmp_path, BROKEN) == [*result, True, 1]
