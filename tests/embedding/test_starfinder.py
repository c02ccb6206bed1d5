"""A package that builds on galaxysegment is installed and tests itself outside this repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import galaxysegment
from galaxysegment.testing import make_images

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
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
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
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=True
    )
    assert "check_images_input_untouched" in done.stdout.split()


def python(*arguments, site=None):
    """Run Python in an environment in which the package is installed, or is not."""
    path = [str(site)] if site else []
    path.append(str(Path(galaxysegment.__file__).parents[1]))
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_it_is_a_method_of_the_command_line(installed, tmp_path):
    X, y = make_images(1, shape=(64, 64))
    fits.writeto(tmp_path / "image.fits", X[0])
    site = installed / "site"
    listed = python("-m", "galaxysegment", "methods", site=site)
    assert re.search(r"^starfinder +the image +Connected pixels", listed.stdout, re.MULTILINE)
    explained = python("-m", "galaxysegment", "methods", "starfinder", site=site)
    assert "n_sigma=5.0" in explained.stdout and "Level above the median sky" in explained.stdout
    segment = ["-m", "galaxysegment", "segment", tmp_path / "image.fits", "--method", "starfinder"]
    done = python(*segment, "--set", "n_sigma=6", site=site)
    assert done.returncode == 0, done.stderr
    with fits.open(tmp_path / "image_segmentation.fits") as hdus:
        assert hdus[0].header["SEGCLASS"] == "StarFinder"
        assert '"n_sigma": 6' in hdus[0].header["SEGPARAM"]
        assert (hdus[0].data > 0)[y[0] > 0].mean() > 0.5
    absent = python(*segment, "--overwrite")
    assert absent.returncode == 1 and "--method must be one of" in absent.stderr


def test_it_is_discovered_and_persisted(installed, tmp_path):
    code = """
import sys
import numpy as np
from sklearn.pipeline import make_pipeline
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.persistence import load, save
from galaxysegment.testing import make_images
from starfinder import StarFinder, UnsharpMask

assert dict(all_estimators("segmenter"))["StarFinder"] is StarFinder
assert dict(all_estimators("transformer"))["UnsharpMask"] is UnsharpMask
assert {"StarFinder", "UnsharpMask", "UNetSegmenter"} <= set(dict(all_estimators()))
X, _ = make_images(3)
pipeline = make_pipeline(UnsharpMask(sigma=6.0), StarFinder(n_sigma=4.0)).fit(X)
save(pipeline, sys.argv[1])
loaded = load(sys.argv[1])
assert type(loaded[-1]) is StarFinder and loaded[-1].noise_ == pipeline[-1].noise_
np.testing.assert_array_equal(loaded.predict(X), pipeline.predict(X))

class Careless(StarFinder):
    pass

try:
    save(Careless(), sys.argv[1])
except TypeError as error:
    assert "_in_model_files" in str(error)
else:
    raise AssertionError("a class that no entry point names was kept")
"""
    model = tmp_path / "stars.safetensors"
    done = python("-c", code, model, site=installed / "site")
    assert done.returncode == 0, done.stderr
    image, _ = make_images(1)
    fits.writeto(tmp_path / "image.fits", image[0])
    segment = ["-m", "galaxysegment", "segment", tmp_path / "image.fits", "--model", model]
    done = python(*segment, site=installed / "site")
    assert done.returncode == 0, done.stderr
    labels = fits.getdata(tmp_path / "image_segmentation.fits")
    assert labels.shape == image[0].shape and len(np.unique(labels)) > 2
    absent = python(*segment, "--overwrite")
    assert absent.returncode == 1 and "is the package starfinder installed?" in absent.stderr
