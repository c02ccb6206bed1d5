"""Nets at equal data and equal processor minutes: one recipe file a system and setting.

    python -m benchmarks.leaderboard equal B-mask_rcnn --seed 0

A recipe is ``equal_recipes/B-mask_rcnn.toml``. Rivals of one setting have the same patches and the
same processor minutes of training. A recipe may say how many patches a net sees in these minutes on
a quiet core (see `pace`); its training then ends after so many, however busy the machine is. A
training that was interrupted goes on where its last checkpoint stands, if the same command is given
again.
"""

import json
import time
import tomllib
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from galaxysegment.persistence import save

from . import outside
from .clock import CoreClock
from .measure import Stopwatch, machine, versions
from .peers import NotInstalledError, import_smp
from .run import RESULTS, plain, quiet_log, told
from .scores import evaluate, quality
from .settings import SETTINGS
from .systems import ours, predict
from .table_file import add_run
from .torchvision_peer import TorchvisionMaskRCNN
from .transformers_peer import TransformersMask2Former

RECIPES = Path(__file__).parent / "equal_recipes"
CHECKPOINTS = Path("build/leaderboard/checkpoints")
N_CHOOSE = 64  # training patches that thresholds are chosen on
LOWEST = 0.005  # average precision ranks sources below the threshold, too


@dataclass(frozen=True)
class EqualRecipe:
    """The content of a recipe file.

    Parameters
    ----------
    name : str
        Name of the file.
    setting, system : str
        Keys of `SETTINGS` and `RIVALS`.
    n_train : int
        Patches to train on.
    core_minutes : float
        Processor minutes of training; 0 for systems that are only tuned.
    patches : int
        Patches that the training sees in these minutes; 0: the clock ends it.
    params : dict
        Arguments of the constructor.
    choose : dict
        Grid of parameters that are chosen on training patches after the training.
    curve : bool
        Whether it is a point of a learning curve, which meets no rival.
    """

    name: str
    setting: str
    system: str
    n_train: int
    core_minutes: float
    patches: int = 0
    variant: str = "raw"
    params: dict = field(default_factory=dict)
    choose: dict = field(default_factory=dict)
    curve: bool = False


@dataclass(frozen=True)
class Rival:
    """A net of the table: its label, whether others wrote it, and ``make(seed, recipe, file)``."""

    label: str
    peer: bool
    make: object


def read_recipe(name):
    """Read a recipe by its name, or say which there are."""
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        raise ValueError(f"No recipe {name!r}: the recipes are {', '.join(recipe_names())}.")
    return EqualRecipe(name=name, **tomllib.loads(path.read_text(encoding="utf-8")))


def recipe_names():
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def _ours(name):
    """Return a maker of one of our segmenters that is trained by `CoreClock`."""

    def make(seed, recipe, checkpoint):
        clock = CoreClock(recipe.core_minutes, str(checkpoint), recipe.patches)
        fixed = {"max_epochs": 100_000, "schedule": None, "patience": None, "callbacks": [clock]}
        if name == "UNetSegmenter":
            fixed["min_snr"] = 0  # all regions count: the rows compare what nets have learnt
        setting = SETTINGS[recipe.setting]
        return ours(name, seeded=True)(setting, "raw", seed, **{**fixed, **recipe.params})

    return make


def _smp_in_ours():
    """Return a maker of `UNetSegmenter` with the U-Net of segmentation_models_pytorch in it.

    Flips, rate, views, threshold and deblending are then those of ours.
    """
    ours_of = _ours("UNetSegmenter")

    def make(seed, recipe, checkpoint):
        estimator = ours_of(seed, recipe, checkpoint)
        return estimator.set_params(module=make_smp_net)

    return make


def make_smp_net(n_bands):
    """Return the net of `peers.SmpUNet` for images of so many bands, without weights."""
    smp = import_smp()
    return smp.Unet("resnet18", encoder_weights=None, in_channels=n_bands, classes=1)


def _theirs(cls):
    def make(seed, recipe, checkpoint):
        counted = {"patches": recipe.patches} if recipe.patches else {}
        return cls(
            random_state=seed,
            core_minutes=recipe.core_minutes,
            checkpoint=str(checkpoint),
            **counted,
            **recipe.params,
        )

    return make


RIVALS = {
    "mask_rcnn": Rival("MaskRCNNSegmenter", False, _ours("MaskRCNNSegmenter")),
    "mask2former": Rival(
        "DETRSegmenter, mask2former (queries at peaks, on a U-Net)", False, _ours("DETRSegmenter")
    ),
    "detr": Rival(
        "DETRSegmenter, detr (queries at peaks, on a U-Net)", False, _ours("DETRSegmenter")
    ),
    "detr_published": Rival(
        "DETRSegmenter, detr (published form: ResNet-50, learnt queries)",
        False,
        _ours("DETRSegmenter"),
    ),
    "unet": Rival("UNetSegmenter", False, _ours("UNetSegmenter")),
    "smp_unet": Rival(
        "segmentation_models_pytorch U-Net, trained and deblended as ours", True, _smp_in_ours()
    ),
    "torchvision": Rival("torchvision Mask R-CNN", True, _theirs(TorchvisionMaskRCNN)),
    "transformers": Rival("transformers Mask2Former", True, _theirs(TransformersMask2Former)),
    "stardist": Rival("StarDist", True, _theirs(outside.StarDist)),
    "cellpose": Rival("Cellpose", True, _theirs(outside.Cellpose)),
}


def command(recipe, seed):
    """Return the command that repeats a run."""
    return f"python -m benchmarks.leaderboard equal {recipe.name} --seed {seed}"


def run_equal(recipe, seed, results=RESULTS, checkpoints=CHECKPOINTS, scale="full"):
    """Train by a recipe, score, and store the row in ``equal.csv``; return the table's path."""
    rival, setting = RIVALS[recipe.system], SETTINGS[recipe.setting]
    row = {
        "recipe": recipe.name,
        "setting": recipe.setting,
        "system": recipe.system,
        "label": rival.label,
        "peer": rival.peer,
        "seed": seed,
        "core_minutes": recipe.core_minutes,
        "n_train": recipe.n_train,
        "params": {name: repr(value) for name, value in recipe.params.items()},
        "scale": scale,
        "command": command(recipe, seed),
    }
    checkpoint = Path(checkpoints) / f"{recipe.name}.{seed}.pt"
    with warnings.catch_warnings(record=True) as caught, quiet_log():
        warnings.simplefilter("always")
        try:
            row |= _fit_and_score(rival, setting, recipe, seed, checkpoint, scale)
        except NotInstalledError as error:
            row["not installed"] = str(error)
    row |= {"warnings": told(caught), "versions": versions(), "machine": machine()}
    row["date"] = time.strftime("%Y-%m-%d")
    path = Path(results) / "equal.csv"
    add_run(path, plain(row), lambda other: (other["recipe"], other["seed"]))
    return path


def _fit_and_score(rival, setting, recipe, seed, checkpoint, scale):
    train = setting.train(recipe.n_train, seed, scale)
    estimator = rival.make(seed, recipe, checkpoint)
    with Stopwatch() as training:
        estimator.fit(train.X, train.y)
    if not rival.peer:
        estimator.set_params(callbacks=None)
        save(estimator, checkpoint.with_suffix(".safetensors"))
    with Stopwatch() as choosing:
        threshold = _threshold(estimator, recipe, train[:N_CHOOSE], setting)
    test = setting.test(seed, scale)
    with Stopwatch() as predicting:
        candidates = predict(_lowest(estimator), test.X)
    predicted = _cut(candidates, threshold)
    return {
        "fit": _noted(checkpoint) | {"processor_seconds": round(training.processor_seconds, 1)},
        "choosing_seconds": round(choosing.processor_seconds, 1),
        "score_threshold": threshold,
        "predict": predicting.as_dict(),
        **evaluate(test, predicted, setting, candidates),
    }


def _threshold(estimator, recipe, train, setting):
    """The score from which a source counts: ours chooses it in `fit`, a peer on training patches.

    None for a net that gives label maps.
    """
    if hasattr(estimator, "score_threshold_"):
        return float(estimator.score_threshold_)
    thresholds = recipe.choose.get("score_threshold")
    if thresholds is None:
        return None
    candidates = predict(_lowest(estimator), train.X)
    scores = [quality(train, _cut(candidates, item), setting.n_pixels) for item in thresholds]
    return thresholds[scores.index(max(scores))]


def _lowest(estimator):
    """Set the score threshold, if there is one, so low that nothing is lost."""
    if "score_threshold" in estimator.get_params():
        estimator.set_params(score_threshold=LOWEST)
    return estimator


def _cut(candidates, threshold):
    if threshold is None:
        return candidates
    return [sources.select(sources.scores >= threshold) for sources in candidates]


def _noted(checkpoint):
    """Processor seconds and patches of the training, as the clock noted them at its end."""
    return json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8"))
