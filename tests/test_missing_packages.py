"""Without torch, its kin or sep, the rest works, and their segmenters say what to install."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import galaxysegment
from galaxysegment.testing import make_images

# Importing one of these fails as if it were not installed.
BLOCKER = """
import sys

blocked = {blocked!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
TORCH = {"torch", "torchvision", "transformers", "skorch", "accelerate"}
ERRORS = """
from galaxysegment.testing import make_images
import galaxysegment

X, y = make_images(2, shape=(32, 32))

def message(call):
    try:
        call()
    except ImportError as error:
        return str(error)
    raise AssertionError("no ImportError")
"""


def run(code, *arguments, blocked):
    environment = {**os.environ, "PYTHONPATH": str(Path(galaxysegment.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER.format(blocked=blocked) + code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_everything_else_works(tmp_path):
    X, y = make_images(1, shape=(64, 64))
    fits.writeto(tmp_path / "image.fits", X[0])
    fits.writeto(tmp_path / "truth.fits", y[0])
    code = """
import warnings
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
import galaxysegment
from galaxysegment import *
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.catalog import source_catalog
from galaxysegment.cli import main
from galaxysegment.metrics import iou_scorer
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import NoiseNormalizer
from galaxysegment.testing import make_images

warnings.simplefilter("error")
folder = sys.argv[1]
for name, estimator in all_estimators():
    made = clone(estimator())
    assert repr(made).startswith(name) and made.get_params() is not None
X, y = make_images(4, shape=(64, 64))
for segmenter in (
    galaxysegment.PhotutilsSegmenter(),
    galaxysegment.KMeansSegmenter(random_state=0),
    galaxysegment.RandomForestSegmenter(n_estimators=5, random_state=0),
):
    pipeline = make_pipeline(NoiseNormalizer(), segmenter).fit(X, y)
    options = {"scoring": iou_scorer, "cv": 2, "error_score": "raise"}
    assert cross_val_score(pipeline, X, y, **options).mean() > 0.3
    save(pipeline, f"{folder}/model.safetensors")
    assert (load(f"{folder}/model.safetensors").predict(X) == pipeline.predict(X)).all()
labels = segment_mosaic(galaxysegment.PhotutilsSegmenter(), X[0], tile_size=40, progress=False)
assert len(source_catalog(labels, X[0])) == labels.max() > 0
image, truth, output = f"{folder}/image.fits", f"{folder}/truth.fits", f"{folder}/o.fits"
assert main(["segment", image, "--output", output, "--set", "box_size=32"]) == 0
for command in (["evaluate", truth, output], ["methods"], ["methods", "unet"], ["models", "vis"]):
    assert main(command) == 0
for method in ("unet", "sep"):
    assert main(["segment", image, "--method", method]) == 1
assert not {"torch", "sep", "skorch"} & set(sys.modules)
"""
    printed = run(code, tmp_path, blocked=TORCH | {"sep"})
    assert "ships vis" in printed
    assert not (tmp_path / "image_segmentation.fits").exists()


def test_deep_segmenters_say_what_to_install(tmp_path):
    from galaxysegment import UNetSegmenter
    from galaxysegment.persistence import save

    X, y = make_images(2, shape=(32, 32))
    tiny = {"base_width": 2, "depth": 2, "max_epochs": 1, "validation_fraction": 0}
    save(UNetSegmenter(**tiny).fit(X, y), tmp_path / "unet.safetensors")
    code = (
        ERRORS
        + """
from galaxysegment.persistence import load
for name in ("UNetSegmenter", "MaskRCNNSegmenter", "DETRSegmenter"):
    print(message(lambda: getattr(galaxysegment, name)().fit(X, y)))
print(message(lambda: galaxysegment.UNetSegmenter(weights="vis").predict(X)))
print(message(lambda: load(sys.argv[1])))
"""
    )
    lines = run(code, tmp_path / "unet.safetensors", blocked=TORCH).splitlines()
    assert len(lines) == 5
    for line in lines:
        assert "needs the package torch, which is not installed: run `pip install torch`." in line
        assert "UNetSegmenter" in line


def test_each_missing_package_is_named():
    code = (
        ERRORS
        + """
for package, name in (
    ("sep", "SEPSegmenter"),
    ("skorch", "UNetSegmenter"),
    ("torchvision", "MaskRCNNSegmenter"),
    ("transformers", "DETRSegmenter"),
):
    blocked.clear()
    blocked.add(package)
    segmenter = getattr(galaxysegment, name)()
    text = message(lambda: segmenter.fit(X, y).predict(X))
    assert name in text, text
    advice = f"needs the package {package}, which is not installed: run `pip install {package}`"
    assert advice in text
    print(package)
"""
    )
    assert run(code, blocked={"sep"}).split() == ["sep", "skorch", "torchvision", "transformers"]


def test_the_unet_needs_neither_torchvision_nor_transformers():
    code = ERRORS + (
        'labels = galaxysegment.UNetSegmenter(weights="vis").predict(X)\n'
        "print(labels.shape, (labels > 0).any())"
    )
    assert run(code, blocked={"torchvision", "transformers", "sep"}).strip() == "(2, 32, 32) True"


def test_an_error_inside_a_package_is_not_hidden(monkeypatch, tmp_path):
    from galaxysegment._utils.packages import require

    (tmp_path / "broken_package.py").write_text("import no_such_package_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        require("Something", "broken_package")
    assert require("Something", "numpy", "scipy") is np
