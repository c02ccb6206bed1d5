"""The page of equal budgets: nets on the same patches for the same processor minutes."""

import itertools
import math
import statistics

from .budgets import CORES, SEEDS
from .equal import RIVALS, command, read_recipe, recipe_names
from .settings import SETTINGS
from .store import dig, number
from .tables import rst_table

COLUMNS = {
    "source F1": "sources.f1",
    "precision": "sources.precision",
    "recall": "sources.recall",
    "mask AP": "segm.all.AP",
    "mask AP50": "segm.all.AP50",
    "IoU of pixels": "pixels.mean.iou",
    "galaxies, AP50": "segm.galaxy.AP50",
    "stars, AP50": "segm.star.AP50",
    "galaxy PQ": "panoptic.galaxy.PQ",
    "star PQ": "panoptic.star.PQ",
}
CURVE_COLUMNS = {
    "source F1": "sources.f1",
    "mask AP": "segm.all.AP",
    "mask AP50": "segm.all.AP50",
}
STUDY_MINUTES = 12_000  # core-minutes of 20,000 blends in 4 orientations for 80 epochs
INTRODUCTION = """\
Nets that see the same patches for the same processor minutes. The learning rate rises over the
first tenth of the training and falls along a cosine. Cellpose has its own rate: it rises over 10
epochs and is halved ten times in the last 50. Choosing thresholds comes on top, on training
patches.

A processor second does less on a busy machine. Most nets therefore have the number of patches that
they see in their minutes on a quiet core. In setting A ``UNetSegmenter`` saw 2634 there, by the
clock. The net of segmentation_models_pytorch sees .600 times as many in the same time:
``python -m benchmarks.leaderboard rates A-unet A-smp_unet`` lets both train in turns, so that they
meet the same load. In setting B ``MaskRCNNSegmenter`` sees 1992, the most that it saw by the
clock. The ratios of the others stand in their recipes, from two or three turns of 40 patches
(``rates B-mask_rcnn B-stardist --patches 40``). A clock of processor time ended torchvision's
trainings. It saw .61 to .65 times as many patches as ``MaskRCNNSegmenter`` by the same clock, and
fewest with seed 0, when the machine was busiest. *used* are minutes of the machine of that day.

The budgets are small, so these rows compare how fast the nets learn. The rows of the settings'
pages had up to ten times as long. No net starts from weights of others. torchvision's training of
seed 0 was interrupted once and went on from its checkpoint, so that row repeats only roughly.
StarDist and Cellpose learn and give label maps, whereas the true masks overlap. They give no
sources below their own thresholds, so their average precision ranks fewer sources than the other
nets'. StarDist predicts at every second pixel, as in its notebooks: it sees more patches so.
After 488 patches all 100 queries of transformers' Mask2Former still cover the whole blend: its row
tells that it learns slowly from scratch, not what it can do. The published form of DETR, from
random weights, finds no source after 582.

In setting C8 one net had 90 core-minutes, and no rival was trained. Its clock ran while another
training kept the second core busy; on a quiet machine it may see more patches.
"""
CURVE = """\
MaskRCNNSegmenter after growing times. The last row is that of :doc:`leaderboard_b`, which had more
blends to learn from; the others are a run each of the recipe with so many minutes.
"""


def lines(rows, long_runs=()):
    """Lines of the page from the rows of ``equal.csv``.

    `long_runs` are the runs of setting B's own page that end the learning curve.
    """
    text = [INTRODUCTION]
    names = {name: [row for row in rows if row["recipe"] == name] for name in recipe_names()}
    recipes = [read_recipe(name) for name in names]
    for setting in dict.fromkeys(recipe.setting for recipe in recipes):
        here = [recipe for recipe in recipes if recipe.setting == setting and not recipe.curve]
        text += _setting(setting, here, names)
    return [*text, *_curve(recipes, names, long_runs), *_recipes(recipes, names)]


def comparisons(rows):
    """Our best and the peers' best net in every score.

    List of a title and its scores (name, ours, theirs), one for each setting with a rival. They
    meet on common seeds, because another seed has other images.
    """
    named = []
    rows = [row for row in rows if not read_recipe(row["recipe"]).curve]
    for setting in dict.fromkeys(row["setting"] for row in rows):
        here = [row for row in rows if row["setting"] == setting and "sources" in row]
        pairs = {name: _meeting(here, path) for name, path in COLUMNS.items()}
        scores = [(name, *pair) for name, pair in pairs.items() if pair]
        if scores:
            minutes = here[0]["core_minutes"]
            title = f"{SETTINGS[setting].called}: nets after {minutes:g} core-minutes"
            named.append((title, scores))
    return named


def _meeting(rows, path):
    """Means of our best and of the best peer over their common seeds; None if they have none.

    The peer is the best over its own seeds, ours the best over the seeds of that peer.
    """
    ours, theirs = ({}, {})
    for row in rows:
        if dig(row, path) is not None:
            side = theirs if row["peer"] else ours
            side.setdefault(row["label"], {})[row["seed"]] = dig(row, path)
    if not theirs:
        return None
    peer = max(theirs.values(), key=lambda seeds: statistics.fmean(seeds.values()))
    ours = [{seed: seeds[seed] for seed in seeds if seed in peer} for seeds in ours.values()]
    ours = [seeds for seeds in ours if seeds]
    if not ours:
        return None
    best = max(ours, key=lambda seeds: statistics.fmean(seeds.values()))
    return statistics.fmean(best.values()), statistics.fmean(peer[seed] for seed in best)


def _setting(setting, recipes, names):
    runs = [row for recipe in recipes for row in _scored(names[recipe.name])]
    if not runs:
        return []
    columns = {
        name: path
        for name, path in COLUMNS.items()
        if any(dig(run, path) is not None for run in runs)
    }
    table = []
    for recipe in recipes:
        rows = _scored(names[recipe.name])
        if not rows:
            continue
        label = f"*{rows[0]['label']}*" if rows[0]["peer"] else rows[0]["label"]
        table.append(
            [
                label,
                f"{recipe.core_minutes:g}",
                number(_mean(rows, "fit.seconds") / 60, 1),
                _range(rows, "fit.patches"),
                *(_text(rows, path) for path in columns.values()),
                str(len(rows)),
            ]
        )
    header = ["system", "core-minutes", "used", "patches seen", *columns, "seeds"]
    n_train = ", ".join(sorted({str(recipe.n_train) for recipe in recipes}))
    title = f"Setting {setting}: {n_train} patches to train on"
    missing = [RIVALS[item.system].label for item in recipes if not _scored(names[item.name])]
    told = [f"Not run in this setting: {'; '.join(missing)}.", ""] if missing else []
    return [title, "-" * len(title), "", *rst_table(header, table), *told]


def _curve(recipes, names, long_runs):
    """The learning curve of `MaskRCNNSegmenter` in setting B, and what a doubling brings."""
    recipes = [item for item in recipes if item.setting == "B" and item.system == "mask_rcnn"]
    points = {item.core_minutes: (item.n_train, _scored(names[item.name])) for item in recipes}
    if long_runs:
        minutes = CORES * long_runs[0]["budget"]
        points[minutes] = dig(long_runs[0], "plan.n_train"), long_runs
    points = {minutes: point for minutes, point in sorted(points.items()) if point[1]}
    if len(points) < 2:
        return []
    table = [
        [
            f"{minutes:g}",
            str(n_train),
            _range(rows, "fit.patches") if rows[0].get("recipe") else _passes(rows),
            *(_text(rows, path) for path in CURVE_COLUMNS.values()),
            str(len(rows)),
        ]
        for minutes, (n_train, rows) in points.items()
    ]
    title = "What more training would bring: setting B"
    header = ["core-minutes", "patches", "patches seen", *CURVE_COLUMNS, "seeds"]
    return [title, "-" * len(title), "", CURVE, _gain(points), "", *rst_table(header, table)]


def _passes(runs):
    """Patches that a training of whole epochs saw."""
    return str(dig(runs[0], "plan.n_train") * dig(runs[0], "plan.epochs"))


def _gain(points):
    """A sentence on the mask AP that each doubling of the training time brought."""
    means = {minutes: _mean(rows, "segm.all.AP") for minutes, (_, rows) in points.items()}
    told = ", ".join(f"{number(value)} after {minutes:g}" for minutes, value in means.items())
    gains = []
    for before, after in itertools.pairwise(means):
        gain = (means[after] - means[before]) / math.log2(after / before)
        gains.append(f"{number(gain)} from {before:g} to {after:g}")
    doublings = math.log2(STUDY_MINUTES / max(means))
    return (
        f"Mask AP: {told} core-minutes. A doubling of the time brings {', '.join(gains)} "
        f"core-minutes. The 80 epochs of [Kamath2019]_ are {STUDY_MINUTES:,} core-minutes, "
        f"{doublings:.0f} doublings more, of which this curve tells nothing."
    )


def _scored(rows):
    """Rows with scores: a program that is not installed has none."""
    return [row for row in rows if "sources" in row]


def _mean(rows, path):
    values = [dig(row, path) for row in rows if dig(row, path) is not None]
    return statistics.fmean(values) if values else float("nan")


def _range(rows, path):
    """The least and the largest count of the seeds, as ``1508–1928``."""
    counts = sorted({f"{dig(row, path):.0f}" for row in rows if dig(row, path)}, key=int)
    return "–".join([*counts[:1], *counts[1:][-1:]]) or "–"


def _text(rows, path):
    values = [dig(row, path) for row in rows if isinstance(dig(row, path), (int, float))]
    if not values:
        return "–"
    middle = number(statistics.fmean(values))
    return f"{middle} ± {number(statistics.stdev(values))}" if len(values) > 1 else middle


def _state(seeds):
    """Say which seeds of a recipe have a row."""
    missing = ", ".join(str(seed) for seed in SEEDS if seed not in seeds)
    told = [f"seeds run: {', '.join(map(str, seeds))}"] if seeds else []
    return "; ".join([*told, *([f"not run: {missing}"] if missing else [])])


def _recipes(recipes, names):
    title = "Recipes and commands"
    rows = []
    for recipe in recipes:
        seeds = sorted(row["seed"] for row in names[recipe.name])
        rows.append(
            [
                RIVALS[recipe.system].label,
                recipe.setting,
                f"``{command(recipe, 0)}``",
                f"{recipe.core_minutes:g}",
                _state(seeds),
            ]
        )
    text = (
        "One file a system and setting in ``benchmarks/leaderboard/equal_recipes``. A command "
        "that was interrupted goes on from its last checkpoint if it is given again (StarDist and "
        "Cellpose begin anew). ``STARDIST_PYTHON`` and ``CELLPOSE_PYTHON`` name the interpreters "
        "that have these two."
    )
    header = ["system", "setting", "command", "core-minutes", "state"]
    return [title, "-" * len(title), "", text, "", *rst_table(header, rows)]
