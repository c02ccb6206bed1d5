"""The stored results: read, grouped over seeds, formatted."""

import statistics
from pathlib import Path

from .settings import SETTINGS
from .systems import SYSTEMS, VARIANTS, version_of_weights
from .table_file import read_runs

#: Our rows that were run before this day are marked: today's code gives other numbers.
CODE_SINCE = "2026-11-22"
OLD = " †"
#: Mark of rows by a former version of weights that ship with the package.
FORMER = " ‡"
ELSEWHERE = ("btk", "galsim")  # tables that `benchmarks.bench_elsewhere` writes


class Store:
    """All results of a folder of tables.

    Parameters
    ----------
    folder : path

    Attributes
    ----------
    runs : list of dict
        Runs that the page shows: those that their command repeats, training included.
    left_out : list of dict
        Runs of nets that another program trained. They stay in the tables and off the page.
    elsewhere : dict of str to list of dict
        Rows on images of other simulators, by setting. The names of rows by former weights have
        their mark.
    untrained : set of str
        Names of the nets that another program trained, as ``"C.mask_rcnn.snr.0"``.
    equal : list of dict
        Rows of nets at equal data and processor minutes.
    """

    def __init__(self, folder):
        folder = Path(folder)
        rows = [run for setting in SETTINGS for run in read_runs(folder / f"{setting}.csv")]
        rows.sort(key=_order)
        self.runs = [run for run in rows if not trained_elsewhere(run)]
        self.left_out = [run for run in rows if trained_elsewhere(run)]
        self.equal = read_runs(folder / "equal.csv")
        self.untrained = {
            f"{run['setting']}.{run['system']}.{run['variant']}.{run['seed']}"
            for run in self.left_out
        }
        tables = {name: read_runs(folder / f"{name}.csv") for name in ELSEWHERE}
        shipped = {system.label: name for name, system in SYSTEMS.items() if system.weights}
        for row in (row for rows in tables.values() for row in rows):
            former = is_former({**row, "system": shipped.get(row["system"])})
            row["system"] += FORMER * former
        self.elsewhere = {name: rows for name, rows in tables.items() if rows}

    def groups(self, setting):
        """Runs that differ in the seed only, in the order of the table of systems.

        List of `Group`.
        """
        grouped = {}
        for run in self.runs:
            if run["setting"] == setting:
                grouped.setdefault((run["system"], run["variant"]), []).append(run)
        return [Group(runs) for runs in grouped.values()]

    def get(self, setting, system, variant):
        """The `Group` of a system's variant, or None."""
        for group in self.groups(setting):
            if (group.system, group.variant) == (system, variant):
                return group
        return None


def trained_elsewhere(run):
    """Whether the command of a run does not train the net that the run scored."""
    return bool(dig(run, "fit.trained elsewhere"))


def is_former(run):
    """Whether a run is by another version of the shipped weights than the installed one."""
    system = SYSTEMS.get(run["system"])
    return bool(system and system.weights) and run.get("weights") != version_of_weights(system)


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
    def old(self):
        """Whether a run of ours is older than the code that its command would run."""
        dates = [run.get("date", CODE_SINCE) for run in self.runs]
        return not self.peer and min(dates) < CODE_SINCE

    @property
    def former(self):
        """Whether a run is by a former version of the weights that ship."""
        return any(map(is_former, self.runs))

    @property
    def name(self):
        """Label, with the variant if the system has several, and marks if `old` or `former`."""
        several = len(SYSTEMS[self.system].variants[self.setting]) > 1
        name = f"{self.label}, {VARIANTS[self.variant]}" if several else self.label
        return name + OLD * self.old + FORMER * self.former

    def values(self, path):
        """The number at ``"pixels.mean.iou"`` of every seed that has it."""
        values = [dig(run, path) for run in self.runs]
        return [value for value in values if isinstance(value, (int, float))]

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
        """Sum of the lists at `path` over seeds; None if no seed has such a list."""
        lists = [values for values in (dig(run, path) for run in self.runs) if values is not None]
        return [sum(column) for column in zip(*lists, strict=True)] if lists else None


def dig(run, path):
    """The value at a path of names with dots between them; None if there is no such value."""
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
    names = run["setting"], run["system"], run["variant"]
    return (*(place.index(name) for place, name in zip(places, names, strict=True)), run["seed"])
