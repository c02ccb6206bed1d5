"""The first screen: every contest in one row, the largest deficit first."""

from dataclasses import dataclass

from . import elsewhere_page, equal_page
from .reported import REPORTED
from .settings import SETTINGS
from .store import number
from .systems import SYSTEMS, VARIANTS
from .tables import rst_table
from .verdicts import KINDS, cells_behind, duels

HEADER = ("contest", "lost", "largest deficit: ours to theirs", "largest lead: ours to theirs")
TEXT = """\
Ours against others on the same simulated images, but for the published numbers: a row is a contest
with losses, the largest deficit first. A score is lost however small the gap.

"""


@dataclass(frozen=True)
class Contest:
    """Scores of ours and of a rival: list of (name of the score, ours, theirs)."""

    title: str
    scores: list

    @property
    def lost(self):
        return [score for score in self.scores if _lead(score) < 0]

    @property
    def worst(self):
        return min(self.scores, key=_lead)

    @property
    def best(self):
        return max(self.scores, key=_lead)


def _lead(score):
    _, ours, theirs = score
    return ours - theirs


def contests(store):
    """All contests of the tables, the largest deficit first."""
    named = [("Published numbers, on other images", _published(store))]
    for setting in SETTINGS:
        for kind, what in KINDS.items():
            pairs = [duel for duel in duels(store) if (duel.setting, duel.kind) == (setting, kind)]
            scores = [(duel.score, duel.ours, duel.theirs) for duel in pairs]
            named.append((f"Setting {setting}: {what}", scores))
    named += elsewhere_page.comparisons(store.elsewhere)
    named += equal_page.comparisons(store.equal)
    items = [Contest(title, scores) for title, scores in named if scores]
    return sorted(items, key=lambda contest: _lead(contest.worst))


def _published(store):
    scores = []
    for cell in REPORTED:
        group = store.get(cell.setting, cell.system, cell.variant)
        value = None if group is None else group.mean(cell.path)
        if value is not None:
            label, variant = SYSTEMS[cell.system].label, VARIANTS[cell.variant]
            what = ", ".join([cell.name, label.split(",")[0], variant.split(":")[0]])
            scores.append((what, value, cell.value))
    return scores


def lines(store):
    """A sentence and the table; empty where nothing is compared."""
    items = contests(store)
    if not items:
        return []
    n_lost, n = sum(len(item.lost) for item in items), sum(len(item.scores) for item in items)
    told = f"**Behind** in {n_lost} of {n} scores." if n_lost else f"Behind in none of {n} scores."
    *_, n_missing = cells_behind(store)
    told += f" {n_missing} published numbers were not run." if n_missing else ""
    rows = [
        [
            item.title,
            f"{len(item.lost)}/{len(item.scores)}",
            _told(item.worst),
            _told(item.best) if _lead(item.best) >= 0 else "–",
        ]
        for item in items
        if item.lost
    ]
    table = rst_table(HEADER, rows) if rows else []
    return [told, TEXT, *table, *_won([item for item in items if not item.lost])]


def _won(items):
    """Name the contests without a loss, with the smallest lead of each."""
    if not items:
        return []
    told = [
        f"{item.title} ({len(item.scores)} scores, least lead {number(_lead(item.worst))})"
        for item in items
    ]
    return [f"Behind in no score: {'; '.join(told)}.", ""]


def _told(score):
    name, ours, theirs = score
    return f"{number(ours)} to {number(theirs)}: {name}"
