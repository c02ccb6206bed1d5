"""A package that builds on galaxysegment, installed as any other, tests itself outside this repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "starfinder"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install a copy of the package, without a network, into a folder of its own."""
    folder = tmp_path_factory.mktemp("embedding")
    copy = shutil.copytree(
        PACKAGE, folder / "starfinder", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
        "--target",
        str(folder / "site"),
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        *options,
        str(copy),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode and re.search(
        "No module named '?(pip|setuptools)|Cannot import 'setuptools", done.stderr
    ):
        pytest.skip("pip or setuptools, which install the package, are not there")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_package_passes_its_own_tests(installed):
    tests = shutil.copytree(PACKAGE / "tests", installed / "tests")
    code = (
        f"import sys; sys.path.insert(0, {str(installed / 'site')!r})\n"
        "import pytest, starfinder\n"
        f"assert starfinder.__file__.startswith({str(installed)!r})\n"
        "options = ['-q', '-W', 'error', '-p', 'no:cacheprovider', '--import-mode=importlib']\n"
        f"sys.exit(pytest.main([*options, {str(tests)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=installed,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    counts = re.search(r"(\d+) passed(?:, \d+ skipped)?(?:, (\d+) xfailed)?", done.stdout)
    assert int(counts[1]) > 70 and "failed" not in done.stdout.replace("xfailed", "")


def test_the_tests_can_fail(installed):
    """A segmenter that breaks the contract does not pass the checks."""
    code = (
        f"import sys; sys.path.insert(0, {str(installed / 'site')!r})\n"
        "import numpy as np\n"
        "from galaxysegment.testing import estimator_checks\n"
        "from starfinder import StarFinder\n"
        "class Careless(StarFinder):\n"
        "    def _segment_image(self, image):\n"
        "        image[0, 0, 0] = 99\n"
        "        return np.cumsum(np.ones(image.shape[1:], np.int32)).reshape(image.shape[1:])\n"
        "broken = []\n"
        "for name, check in estimator_checks(Careless()):\n"
        "    try:\n"
        "        check()\n"
        "    except Exception:\n"
        "        broken.append(name)\n"
        "print(*broken)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert "check_images_input_untouched" in done.stdout.split()
