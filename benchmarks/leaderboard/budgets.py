"""Declared budgets in core-minutes, what was used of them, and what was not run."""

import numpy as np

from .recipes import RECIPES, plan
from .reported import REPORTED
from .run import key
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
    """Rows, or seeds of rows, that no table holds, with the core-minutes that they would take."""
    stored = {key(run) for run in store.runs}
    rows, total = [], 0.0
    for name, system in SYSTEMS.items():
        for setting, variants in system.variants.items():
            for variant in variants:
                job = {"setting": setting, "system": name, "variant": variant}
                seeds = [seed for seed in SEEDS if key({**job, "seed": seed}) not in stored]
                if not seeds:
                    continue
                minutes = _core_minutes(store, system, setting, variant)
                total += minutes * len(seeds)
                rows.append(
                    [
                        setting,
                        system.label,
                        VARIANTS[variant],
                        ", ".join(str(seed) for seed in seeds),
                        f"{minutes:.0f}",
                        _reported(setting, name, variant),
                    ]
                )
    header = ["setting", "row", "preprocessing", "seeds", "core-minutes a seed", "reported"]
    text = f"All of it would take {total:.0f} core-minutes on this machine."
    return [*_elsewhere(), text, "", *rst_table(header, rows)]


def _core_minutes(store, system, setting, variant):
    """What a run took, or else what its budget is; 1 for programs that are not trained."""
    if not system.net:
        return 1.0
    budgets = {
        run["variant"]: run["budget"]
        for run in store.runs
        if run["setting"] == setting and SYSTEMS[run["system"]] is system
    }
    minutes = budgets.get(variant) or max(budgets.values(), default=BUDGET)
    recipe = RECIPES[system.net, setting]
    n_train, epochs = plan(recipe, minutes)
    return CORES * n_train * epochs / recipe.rate / 60


def _reported(setting, system, variant):
    places = {(cell.setting, cell.system, cell.variant) for cell in REPORTED}
    return "yes" if (setting, system, variant) in places else ""


def _elsewhere():
    """What no row of the tables stands for."""
    return [
        "- The studies' own lengths: U-Net 30 epochs and random forest 500 patches "
        "([Saverese2022]_), Mask R-CNN 20,000 blends in 4 orientations for 80 epochs "
        "([Kamath2019]_: about 12,000 core-minutes here).",
        "- DETR of the published form from a local checkpoint, and transformers' Mask2Former.",
        "- Nets trained at the seeing of HSC (``equal C8-mask_rcnn``, 90 core-minutes), and the "
        'four stages of [Shah2020]_ (``stages="deep-fields-2020"``, 50 epochs: about 90).',
        "- Nets of the equal budgets with more minutes: see :doc:`leaderboard_equal`.",
        "",
    ]
