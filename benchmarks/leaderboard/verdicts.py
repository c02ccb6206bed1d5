"""What the numbers say: ahead or behind, of whom, and what changed since the first edition."""

import statistics
from dataclasses import dataclass
from pathlib import Path

from .elsewhere_page import SHORT, leaders
from .reported import GOALS, NAMES, REASONS, REPORTED, reported_tables
from .settings import SETTINGS
from .store import OLD, dig, number
from .systems import SYSTEMS, VARIANTS
from .table_file import read_runs
from .tables import rst_table

FIRST_EDITION = Path(__file__).parent / "first_edition.csv"


def compare_reported(store):
    """Every reported number beside ours with the same preprocessing.

    Tables of one kind of scores each, and lines about those that are behind.
    """
    lines, behind = [], []
    for paths, places in reported_tables().items():
        rows = []
        for place in places:
            setting, system, variant = place
            group = store.get(*place)
            where = f"{setting}, {SYSTEMS[system].label}, {VARIANTS[variant]}"
            where += OLD if group is not None and group.old else ""
            cells = [
                cell for cell in REPORTED if (cell.setting, cell.system, cell.variant) == place
            ]
            cells = [cell for cell in cells if cell.path in paths]
            behind += [(cell, group.mean(cell.path)) for cell in cells if is_behind(group, cell)]
            rows.append([where, *(_beside(group, cell) for cell in cells)])
        lines += rst_table(
            ["setting, system, preprocessing", *(NAMES[path] for path in paths)], rows
        )
    return [*lines, *_behind(behind)]


def is_behind(group, cell):
    value = None if group is None else group.mean(cell.path)
    return value is not None and value < cell.value


def _beside(group, cell):
    ours = "not run" if group is None else group.text(cell.path)
    text = f"{ours} (reported {number(cell.value)})"
    return f"**behind:** {text}" if is_behind(group, cell) else text


def _top(top):
    return ("–", "–") if top is None else (number(top[0]), VARIANTS[top[1]])


def best_variant(store, cell):
    """Best mean and its variant, over the variants of the system or of the cell's only.

    None where there is none.
    """
    groups = [group for group in store.groups(cell.setting) if group.system == cell.system]
    groups = [group for group in groups if cell.variant in ("", group.variant)]
    predicted = [
        (group.mean(cell.path), group.variant)
        for group in groups
        if group.mean(cell.path) is not None
    ]
    return max(predicted) if predicted else None


def _verdict(value, reported):
    if value is None:
        return ""
    return f"{'ahead' if value >= reported else '**behind**'} by {number(abs(value - reported), 4)}"


def _behind(cells):
    if not cells:
        return ["No number that was run is behind the reported one.", ""]
    lines = ["Behind the reported number:", ""]
    for cell, value in cells:
        reason = REASONS.get((cell.system, cell.path), "")
        excess = number(cell.value - value)
        text = f"* {SYSTEMS[cell.system].label}, {VARIANTS[cell.variant]}, {cell.name}: by {excess}"
        lines.append(f"{text}; {reason}." if reason else f"{text}.")
    return [*lines, ""]


def goal_table(store):
    rows = []
    for cell in GOALS:
        top = best_variant(store, cell)
        what = f"{cell.setting}, {SYSTEMS[cell.system].label}, {cell.name}"
        gap = None if top is None else cell.value - top[0]
        verdict = (
            "not run" if gap is None else "reached" if gap <= 0 else f"short by {number(gap, 4)}"
        )
        rows.append([what, number(cell.value), *_top(top), verdict])
    return rst_table(["what", "goal", "ours", "variant", ""], rows)


#: Ways to a source F1 of .91 from the S/N alone: (system, variant, what is special about it).
TRIED = (
    ("unet", "snr", "16 epochs of 1024 patches"),
    ("unet_long", "snr", "16 epochs of 4096 patches"),
    ("unet_shipped", "raw", "trained on 800 other fields"),
    ("unet_shipped_tuned", "raw", "its threshold, least pixels and deblending chosen here"),
    ("mask2former", "snr", "queries at the peaks of a learnt centre map"),
    ("mask_rcnn", "snr", "a mask for each box"),
    ("mask_rcnn_blends", "raw", "the same, trained on 600 other fields"),
)


def tried_table(store):
    """What was tried for the source F1 of setting A."""
    rows = []
    for system, variant, what in TRIED:
        group = store.get("A", system, variant)
        if group is not None:
            paths = "sources.f1", "sources.precision", "sources.recall", "sources of 20 pixels.f1"
            rows.append([group.name, what, *map(group.text, paths), str(len(group.runs))])
    header = ["row", "what it is", "F1", "precision", "recall", "F1, 20 pixels", "seeds"]
    return rst_table(header, rows)


PEER_PATHS = (
    "pixels.mean.iou",
    "pixels.mean.dice",
    "sources.f1",
    "sources of 20 pixels.f1",
    "segm.all.AP",
    "segm.all.AP50",
    "panoptic.galaxy.PQ",
)

#: Who meets whom; see `duels`.
KINDS = {"tuned": "programs tuned alike", "trained": "nets on as many patches"}


@dataclass(frozen=True)
class Duel:
    """Our best system and the best program of others in one score of one setting.

    `kind` is "tuned" or "trained": see `duels`. `seeds` are those that both have.
    """

    setting: str
    path: str
    kind: str
    ours: float
    name: str
    theirs: float
    peer: str
    seeds: tuple = ()

    @property
    def lead(self):
        return self.ours - self.theirs

    @property
    def score(self):
        return NAMES[self.path]

    @property
    def title(self):
        return f"{self.score} of setting {self.setting} ({self.kind})"


def duels(store):
    """Compare our best with the peers' best in every score, the largest deficit first.

    Only equals meet. "tuned" are programs that learn no weights, as they are or with parameters
    chosen on the same few training patches. "trained" are nets on the same number of patches. Both
    sides have their main variants, and meet on the seeds that the best peer has: a system of ours
    without one of them does not take part.
    """
    pairs = []
    for setting in SETTINGS:
        for kind in KINDS:
            groups = [group for group in store.groups(setting) if _takes_part(group, kind)]
            for path in PEER_PATHS:
                theirs = _best([group for group in groups if group.peer], path)
                if theirs is None:
                    continue
                seeds = _seeds(theirs, path)
                ours = _best([group for group in groups if not group.peer], path, seeds)
                if ours is not None:
                    seeds = tuple(seed for seed in seeds if seed in _seeds(ours, path))
                    means = [(_on(group, path, seeds), group.name) for group in (ours, theirs)]
                    pairs.append(Duel(setting, path, kind, *means[0], *means[1], seeds))
    return sorted(pairs, key=lambda duel: duel.lead)


def _takes_part(group, kind):
    system = SYSTEMS[group.system]
    return group.main and not system.more_data and system.kind == kind


def _best(groups, path, seeds=None):
    """The group with the highest mean over `seeds`, or over all; None if no group has one."""
    scored = [group for group in groups if _on(group, path, seeds) is not None]
    return max(scored, key=lambda group: _on(group, path, seeds), default=None)


def _on(group, path, seeds=None):
    """Mean of a group's runs with these seeds, or of all; None without such runs."""
    values = _seeds(group, path)
    values = [value for seed, value in values.items() if seeds is None or seed in seeds]
    return statistics.fmean(values) if values else None


def _seeds(group, path):
    """The score of each seed that has it: dict."""
    values = {run["seed"]: dig(run, path) for run in group.runs}
    return {seed: value for seed, value in values.items() if isinstance(value, (int, float))}


def against_peers(store):
    """One row for each duel, losses first."""
    rows = [
        [
            duel.setting,
            duel.kind,
            duel.score,
            f"{number(duel.ours)} ({duel.name})",
            f"{number(duel.theirs)} ({duel.peer})",
            ", ".join(map(str, duel.seeds)),
            _verdict(duel.ours, duel.theirs),
        ]
        for duel in duels(store)
    ]
    header = ["setting", "kind", "score", "best of ours", "best of the peers", "seeds", ""]
    return rst_table(header, rows)


def cells_behind(store):
    """Return the reported numbers that ours are behind, how many were compared, and not run."""
    pairs = [(store.get(cell.setting, cell.system, cell.variant), cell) for cell in REPORTED]
    compared = [(group, cell) for group, cell in pairs if group is not None]
    behind = [cell for group, cell in compared if is_behind(group, cell)]
    return behind, len(compared), len(pairs) - len(compared)


def changed(store):
    """Verdicts that changed sign since the first edition, one row each, and what is compared no
    more.
    """
    rows, gone = [], 0
    for first in read_runs(FIRST_EDITION):
        then = _lead(first["ours"], first["theirs"])
        for what, name, ours, rival, theirs in _now(store, first):
            now = _lead(ours, theirs)
            if then is not None and now is None:
                gone += 1
            elif _sign(then) != _sign(now):
                before = _told(then, first["name"], first["rival"])
                rows.append([what, before, _told(now, name, rival)])
    lines = rst_table(["score", "first edition", "now"], rows)
    if gone:
        lines += [f"{gone} reported numbers that the first edition compared are not compared.", ""]
    return lines


def _now(store, first):
    """The verdicts of today about a row of the first edition."""
    if first["kind"] == "elsewhere":
        scores = leaders(store.elsewhere.get(first["setting"], []))
        return [
            (f"{SHORT[first['setting']]}: {name}", ours[1], ours[0], theirs[1], theirs[0])
            for name, ours, theirs in scores
            if name == first["path"]
        ]
    if first["kind"] == "peers":
        place = first["setting"], first["path"]
        pairs = [duel for duel in duels(store) if (duel.setting, duel.path) == place]
        return [(duel.title, duel.name, duel.ours, duel.peer, duel.theirs) for duel in pairs]
    group = store.get(first["setting"], first["system"], first["variant"])
    ours = None if group is None else group.mean(first["path"])
    what = f"{first['setting']}, {SYSTEMS[first['system']].label}, "
    what += f"{VARIANTS[first['variant']]}: {NAMES[first['path']]}"
    return [(what, group.name if group else "", ours, first["rival"], first["theirs"])]


def _lead(ours, theirs):
    return None if ours in (None, "") else float(ours) - float(theirs)


def _sign(lead):
    return None if lead is None else lead >= 0


def _told(lead, name, rival):
    if lead is None:
        return "not compared"
    word = "ahead" if lead >= 0 else "behind"
    return f"{name} {word} by {number(abs(lead))} ({rival})"
