"""How many patches nets train on in a processor second, measured in turns.

    python -m benchmarks.leaderboard rates A-unet A-smp_unet

The nets take turns in one process, so that each meets the same load of the machine and their ratio
is that of a quiet core. A recipe's `patches` are those of a rival that was trained on a quiet core,
times this ratio.
"""

import dataclasses
import json
import statistics
import tempfile
from pathlib import Path

from .equal import RIVALS, read_recipe
from .settings import SETTINGS


def rates(names, n_patches=64, turns=3):
    """Measure the patches a second of each recipe's training.

    Parameters
    ----------
    names : list of str
        Recipes of one setting.
    n_patches : int, default=64
        Patches that a net sees in each of its turns.
    turns : int, default=3
        A first turn, in which libraries prepare themselves, comes on top and is not counted.

    Returns
    -------
    dict of str to list of float
        Patches a processor second of each turn.
    """
    recipes = [
        dataclasses.replace(read_recipe(name), n_train=n_patches, patches=n_patches)
        for name in names
    ]
    train = SETTINGS[recipes[0].setting].train(n_patches, 0)
    measured = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns + 1):
            for recipe in recipes:
                rate = _rate(recipe, train, Path(folder) / f"{recipe.name}.{turn}.pt")
                measured[recipe.name] += [rate] if turn else []
    return measured


def _rate(recipe, train, checkpoint):
    RIVALS[recipe.system].make(0, recipe, checkpoint).fit(train.X, train.y)
    noted = json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8"))
    return noted["patches"] / noted["seconds"]


def report(measured):
    """Lines of text: the median rate of each recipe, and its ratio to the first in each turn."""
    first = next(iter(measured.values()))
    for name, values in measured.items():
        ratios = [value / other for value, other in zip(values, first, strict=True)]
        told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        yield (
            f"{name}: {statistics.median(values):.2f} patches a second; "
            f"{statistics.median(ratios):.3f} times the first (turns: {told})"
        )
