"""The stored results: read, grouped over seeds, formatted."""

import json
import statistics
from pathlib import Path

from .settings import SETTINGS
from .systems import SYSTEMS, VARIANTS


class Store:
    """All results of a folder, and of the one beside it that `benchmarks.bench_elsewhere` writes.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder):
        runs = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
        self.runs = sorted(runs, key=_order)
        beside = Path(folder).parent / "results_elsewhere"
        self.elsewhere = [json.loads(path.read_text()) for path in sorted(beside.glob("*.json"))]

    def groups(self, setting):
        """Runs that differ in the seed only, in the order of the table of systems: list of `Group`."""
        grouped = {}
        for run in self.runs:
            if run["setting"] == setting:
                grouped.setdefault((run["system"], run["variant"]), []).append(run)
        return [Group(runs) for runs in grouped.values()]

    def get(self, setting, system, variant):
        """The `Group` of a system's variant, or None."""
        found = [
            one for one in self.groups(setting) if (one.system, one.variant) == (system, variant)
        ]
        return found[0] if found else None


class Group:
    """The runs of one system and variant, one for each seed."""

    def __init__(self, runs):
        self.runs = runs
        self.setting, self.system, self.variant, self.label = (
            runs[0][name] for name in ("setting", "system", "variant", "label")
        )
        self.missing = runs[0].get("not installed")

    @property
    def peer(self):
        return SYSTEMS[self.system].peer

    @property
    def main(self):
        """Whether this is the system's main variant."""
        return self.variant == SYSTEMS[self.system].variants[self.setting][-1]

    @property
    def name(self):
        """Label, with the variant where the system has several."""
        several = len(SYSTEMS[self.system].variants[self.setting]) > 1
        return f"{self.label}, {VARIANTS[self.variant]}" if several else self.label

    def values(self, path):
        """The number at ``"pixels.mean.iou"`` of every seed that has it."""
        found = [dig(run, path) for run in self.runs]
        return [one for one in found if isinstance(one, (int, float))]

    def mean(self, path):
        values = self.values(path)
        return statistics.fmean(values) if values else None

    def text(self, path, digits=3, spread=True):
        """Mean and spread over seeds, as ``.817 ± .004``."""
        values = self.values(path)
        if not values:
            return "–"
        middle = number(statistics.fmean(values), digits)
        return (
            f"{middle} ± {number(statistics.stdev(values), digits)}"
            if spread and len(values) > 1
            else middle
        )

    def total(self, path):
        """Sum of the lists at `path` over seeds, None where there is none."""
        lists = [one for one in (dig(run, path) for run in self.runs) if one is not None]
        return [sum(column) for column in zip(*lists, strict=True)] if lists else None


def dig(run, path):
    """What is at a path of names with dots between them; None where there is nothing."""
    for name in path.split("."):
        if not isinstance(run, dict) or name not in run:
            return None
        run = run[name]
    return run


def number(value, digits=3):
    """Format ``.817``: no zero before the point."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) and digits else text


def _order(run):
    system = SYSTEMS[run["system"]]
    places = list(SETTINGS), list(SYSTEMS), list(system.variants[run["setting"]])
    wanted = run["setting"], run["system"], run["variant"]
    return (*(place.index(one) for place, one in zip(places, wanted, strict=True)), run["seed"])
