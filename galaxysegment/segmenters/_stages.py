"""Staged training: which layers learn, for how long, at what rate."""

from numbers import Integral, Real

__all__ = ["LAYERS", "STAGES", "check_stages"]

#: What a stage can train: the heads, the residual net from a stage on and the heads, or all.
LAYERS = ("heads", "5+", "4+", "3+", "all")


def _stage(layers, max_epochs, lr):
    return {"layers": layers, "max_epochs": max_epochs, "lr": lr}


#: Schedules by name. That of the blends is from its report; the poster of the deep fields tells the
#: order (heads first, then all, four falling rates), not the lengths and rates.
STAGES = {
    "overlapping-2019": [
        _stage("heads", 15, 1e-3),
        _stage("4+", 5, 5e-3),
        _stage("all", 40, 1e-3),
        _stage("all", 20, 1e-4),
    ],
    "deep-fields-2020": [
        _stage("heads", 15, 1e-2),
        _stage("all", 10, 5e-3),
        _stage("all", 10, 1e-3),
        _stage("all", 15, 1e-4),
    ],
}


def check_stages(stages):
    """List of stages of a name or a list, or say what is wrong with it."""
    if isinstance(stages, str):
        if stages not in STAGES:
            raise ValueError(
                f"stages={stages!r} is no schedule: use {', '.join(map(repr, STAGES))} or a list "
                "of dicts."
            )
        return STAGES[stages]
    if not len(stages):
        raise ValueError(
            "stages is empty: give at least one dict, or None for one stage of all layers."
        )
    for index, stage in enumerate(stages):
        _check_stage(stage, f"stages[{index}]")
    return stages


def _check_stage(stage, name):
    if not isinstance(stage, dict) or set(stage) != {"layers", "max_epochs", "lr"}:
        raise ValueError(
            f'{name} must be a dict with the keys "layers", "max_epochs" and "lr". '
            f"Got {stage!r} instead."
        )
    if stage["layers"] not in LAYERS:
        raise ValueError(
            f'{name}["layers"] must be one of {LAYERS}. Got {stage["layers"]!r} instead.'
        )
    if not isinstance(stage["max_epochs"], Integral) or stage["max_epochs"] < 1:
        raise ValueError(
            f'{name}["max_epochs"] must be a whole number from 1 on. '
            f"Got {stage['max_epochs']!r} instead."
        )
    if not isinstance(stage["lr"], Real) or not stage["lr"] > 0:
        raise ValueError(f'{name}["lr"] must be a positive number. Got {stage["lr"]!r} instead.')
