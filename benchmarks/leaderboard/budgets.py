"""Declared budgets in core-minutes, what was used of them, and what was not run."""

import numpy as np

from .recipes import RECIPES, plan
from .reported import REPORTED
from .run import command, key
from .settings import SETTINGS
from .store import number
from .systems import SYSTEMS, VARIANTS
from .tables import rst_table

CORES = 2  # a budget of minutes is meant for two cores
SEEDS = (0, 1, 2)
BUDGET = 20.0  # minutes, where no run of the system tells it


def budget_table(store):
    """Core-minutes declared and used, patches and epochs of every net and forest."""
    rows = []
    for setting in SETTINGS:
        for group in store.groups(setting):
            system = SYSTEMS[group.system]
            if system.kind != "trained" or group.missing:
                continue
            used = group.values("fit.processor_seconds")
            plans = [run.get("plan", {}) for run in group.runs]
            n_train = {str(item.get("n_train", system.n_train.get(setting))) for item in plans}
            epochs = {str(item["epochs"]) for item in plans if "epochs" in item}
            declared = {f"{CORES * run['budget']:g}" for run in group.runs} if system.net else set()
            rows.append(
                [
                    setting,
                    f"*{group.name}*" if group.peer else group.name,
                    _join(declared),
                    number(float(np.mean(used)) / 60, 1) if used else "–",
                    _join(n_train),
                    _join(epochs),
                    str(len(group.runs)),
                ]
            )
    header = ["setting", "row", "declared", "used", "patches", "epochs", "seeds"]
    text = "Minutes of one core for each seed. Forests have no budget; what they used is told."
    return [text, "", *rst_table(header, rows)]


def _join(values):
    return ", ".join(sorted(values)) or "–"


def not_run(store):
    """Rows, or seeds of rows, that no table holds: their commands, and core-minutes for a seed."""
    stored = {key(run) for run in store.runs}
    rows, total = [], 0.0
    for name, system in SYSTEMS.items():
        for setting, variants in system.variants.items():
            for variant in variants:
                job = {"setting": setting, "system": name, "variant": variant}
                seeds = [seed for seed in SEEDS if key({**job, "seed": seed}) not in stored]
                if not seeds:
                    continue
                budget = _budget(store, system, setting, variant)
                minutes = _core_minutes(system, setting, budget)
                total += minutes * len(seeds)
                rows.append(
                    [
                        setting,
                        system.label,
                        VARIANTS[variant],
                        f"``{_command(job, seeds[0], budget)}``",
                        ", ".join(str(seed) for seed in seeds),
                        f"{minutes:.0f}",
                        _reported(setting, name, variant),
                    ]
                )
    header = [
        "setting",
        "row",
        "preprocessing",
        "command of the first seed",
        "seeds",
        "core-minutes a seed",
        "reported",
    ]
    text = (
        f"All of it would take {total:.0f} core-minutes on this machine. Each command begins with "
        "``python -m benchmarks.leaderboard``."
    )
    return [*_elsewhere(), text, "", *rst_table(header, rows)]


def _command(job, seed, budget):
    """The command of a run, without its beginning."""
    words = command({**job, "seed": seed, "budget": budget, "scale": "full", "speed": 1})
    return words.removeprefix("python -m benchmarks.leaderboard ")


def _budget(store, system, setting, variant):
    """Minutes that the variant's other seeds had, or else the longest of its system."""
    budgets = {
        run["variant"]: run["budget"]
        for run in store.runs
        if run["setting"] == setting and SYSTEMS[run["system"]] is system
    }
    return budgets.get(variant) or max(budgets.values(), default=BUDGET)


def _core_minutes(system, setting, budget):
    """What the training of a budget takes; 1 for programs that are not trained."""
    if not system.net:
        return 1.0
    recipe = RECIPES[system.net, setting]
    n_train, epochs = plan(recipe, budget)
    return CORES * n_train * epochs / recipe.rate / 60


def _reported(setting, system, variant):
    places = {(cell.setting, cell.system, cell.variant) for cell in REPORTED}
    return "yes" if (setting, system, variant) in places else ""


def _elsewhere():
    """What no row of the tables stands for."""
    return [
        "- The studies' own lengths: U-Net 30 epochs ([Saverese2022]_: "
        "``run --setting A --system unet --variant 4 --budget 20.5``, 41 core-minutes a seed), "
        "Mask R-CNN 20,000 blends in 4 orientations for 80 epochs ([Kamath2019]_: "
        "``n_train = 20000`` in the recipe and ``run --setting B --system mask_rcnn "
        "--budget 6000``, about 12,000 core-minutes).",
        '- The four stages of [Shah2020]_ in full: ``stages = "deep-fields-2020"`` in the recipe '
        "``C8-mask_rcnn_stages.toml`` (50 epochs, about 90 core-minutes).",
        "- DETR of the published form from a checkpoint: none is reachable here, and "
        "``DETRSegmenter(weights=FILE)`` reads it.",
        "- Nets and seeds of the equal budgets: see :doc:`leaderboard_equal`.",
        "",
    ]
