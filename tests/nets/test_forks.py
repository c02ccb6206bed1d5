"""Nets predict and learn in forked processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HARDENING = Path(__file__).parents[1] / "hardening"
_CODE = """
import multiprocessing, os, time
import numpy as np
from properties import fitted
from galaxysegment.testing import make_images

images, labels = make_images(2, shape=(96, 96))


def ends_well(work):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    give_up = time.time() + 90
    while time.time() < give_up:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


for name in ("UNetSegmenter", "MaskRCNNSegmenter", "DETRSegmenter"):
    segmenter = fitted(name)
    expected = segmenter.predict(images)
    agrees = lambda: np.mean(segmenter.predict(images) == expected) > 0.99
    print(name, "predicts" if ends_well(agrees) else "hangs")
    print(name, "learns" if ends_well(lambda: segmenter.fit(images, labels)) else "hangs")
with multiprocessing.get_context("fork").Pool(1) as pool:
    result = pool.apply_async(fitted("UNetSegmenter").predict, (images,)).get(90)
print("a pool", "predicts" if result.shape == images.shape else "fails")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_nets_work_in_forked_processes():
    """torch has used several threads before the fork, which leaves them behind."""
    pytest.importorskip("torch")
    path = os.pathsep.join([str(HARDENING), *sys.path])
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CODE],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    names = ("UNetSegmenter", "MaskRCNNSegmenter", "DETRSegmenter")
    expected = [f"{name} {what}" for name in names for what in ("predicts", "learns")]
    assert process.stdout.splitlines() == [*expected, "a pool predicts"], process.stderr
